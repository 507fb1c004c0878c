package cli

import (
	stdelf "debug/elf"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kotool/internal/check"
	"kotool/internal/compat"
	"kotool/internal/kver"
	"kotool/internal/module"
	"kotool/internal/render"
	"kotool/internal/report"
	"kotool/internal/sim"
	"kotool/internal/source"
)

// play does it all.
func (s *simulation) play(cmd *cobra.Command, list []action) error {
	o := s.o
	s.out = render.NewWriter(func(p []byte) error {
		if o.quiet {
			return nil
		}
		_, err := o.Out.Write(p)
		return err
	})
	s.style = o.style()
	if len(list) > manyModules {
		// Little of what is allocated lives long: a larger heap saves collections, as long as it is not a large part of what is kept already.
		defer debug.SetGCPercent(debug.SetGCPercent(400))
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		defer debug.SetMemoryLimit(debug.SetMemoryLimit(int64(m.HeapAlloc) + 384<<20))
	}
	s.brief = o.all && !o.verbose || len(list) > manyModules && !o.verbose
	if err := s.openTrace(); err != nil {
		return err
	}
	s.objects = render.Objects{Out: s.out, Lines: o.output == formatNDJSON}
	buffers := &source.Buffers{}
	expected := false
	var failed error
	for i := range list {
		if err := cmd.Context().Err(); err != nil {
			return err
		}
		a := &list[i]
		expected = i+1 < len(list) && list[i+1].verb == "expect"
		switch a.verb {
		case "load":
			s.loads++
			err := s.load(a, buffers, expected)
			if s.unanswered = err != nil; err != nil {
				s.trouble(a.path, err)
			}
		case "unload":
			s.unanswered = false
			s.unloaded(a, expected)
		case "lsmod":
			if o.output == formatTable && !o.dmesg {
				report.LsmodText(s.out, s.k)
			}
		case "expect":
			if !s.unanswered && s.last != a.errno {
				s.status = worse(s.status, statusBad)
				got, want := s.last.Name(), a.errno.Name()
				if s.last == 0 {
					got = "0"
				}
				if a.errno == 0 {
					want = "0"
				}
				fmt.Fprintf(o.Err, "kotool: simulate-load: line %d: got %s, expected %s\n", a.line, got, want)
			}
		}
		if s.out.Check(); s.out.Err() != nil {
			break
		}
	}
	switch {
	case o.output == formatJSON:
		s.objects.End()
	case o.output == formatTable && !o.dmesg && o.all:
		if s.bad == 0 {
			s.out.Str(fmt.Sprintf("all %d modules are loaded\n", s.loads))
		} else {
			s.out.Str(fmt.Sprintf("%d of %d modules are not loaded\n", s.bad, s.loads))
		}
	case o.output == formatTable && !o.dmesg && (s.rec == nil || o.verbose):
		if len(s.k.Modules()) > 0 {
			report.LsmodText(s.out, s.k)
		}
		if l := s.k.Taints().Letters(); l != "" && s.loads > s.troubles {
			s.out.Str("the kernel is tainted: " + l + "\n")
		}
	}
	s.out.Flush()
	failed = s.out.Err()
	if s.file != nil {
		s.traceOut.Flush()
		failed = errors.Join(failed, s.traceOut.Err(), s.file.Close())
	}
	if failed != nil {
		return fmt.Errorf("writing: %w", failed)
	}
	if err := s.unplaced(); err != nil {
		return err
	}
	if s.status != statusGood {
		return statusError(s.status)
	}
	return nil
}

// openTrace makes what the trace goes to.
func (s *simulation) openTrace() error {
	machine := func() stdelf.Machine { return s.machine }
	var both tee
	if s.o.trace && s.o.output == formatTable && !s.o.dmesg {
		both = append(both, &report.TextTrace{Out: s.out, Machine: machine})
	}
	if p := s.o.traceJSON; p != "" {
		f, err := os.Create(p)
		if err != nil {
			return err
		}
		s.file = f
		s.traceOut = render.NewWriter(func(b []byte) error { _, err := f.Write(b); return err })
		both = append(both, &report.JSONTrace{Out: s.traceOut, Machine: machine, File: func() string { return s.current }})
	}
	if len(both) > 0 {
		s.trace = both
	}
	return nil
}

// trouble is a file that could not be read.
func (s *simulation) trouble(path string, err error) {
	s.status = worse(s.status, statusTrouble)
	s.bad++
	s.troubles++
	fmt.Fprintf(s.o.Err, "kotool: simulate-load: %s: %s\n", safe(path), safe(err.Error()))
	if s.o.output == formatJSON || s.o.output == formatNDJSON {
		s.objects.Object(func(j *render.JSON) {
			j.KStr("file", path)
			j.KStr("error", err.Error())
		})
	}
}

// keepUnpacked is how many bytes of unpacked modules --all keeps between finding out their order and loading them: half of a tree's CPU time is
// their decompression.
const keepUnpacked = 1 << 30

// load loads one module.
func (s *simulation) load(a *action, buffers *source.Buffers, expected bool) error {
	o := s.o
	src, err := s.t.Tree.Open(a.path, source.Options{MaxSize: s.limit, Stdin: o.In, Pool: buffers, Any: true})
	if errors.Is(err, source.ErrDirectory) {
		err = fmt.Errorf("%w: --all --against DIR loads the modules of a tree; else name a module", err)
	}
	if err != nil {
		return err
	}
	defer src.Close()
	if src.Damage != nil {
		return src.Damage
	}
	s.current = a.path
	req := sim.RequestOf(src)
	if a.m != nil {
		if err := req.Replay(s.rec, a.m, s.k.T.Arch); err != nil {
			return err
		}
		if s.word {
			s.k.T.Granted = sim.Grants(s.rec, req.Fixed)
		}
	} else {
		req.Args = []byte(strings.Join(a.params, " "))
		req.Flags, req.Raw = o.flagBits, o.syscall == "init_module"
		if o.forceMod {
			req.Flags |= compat.IgnoreModVersions
		}
		if o.forceMagic {
			req.Flags |= compat.IgnoreVermagic
		}
	}
	req.Init, req.Trace = o.initReturns, s.trace
	req.Count = !s.brief || o.output != formatTable
	s.own(req)
	var shot func(*sim.Snapshot)
	r := &report.Simulation{}
	wantHash := o.output == formatJSON || o.output == formatNDJSON
	var failed error
	if wantHash || o.image != "" {
		shot = func(snap *sim.Snapshot) {
			if wantHash {
				r.Hash(snap)
			}
			if o.image != "" {
				name := snap.Name
				if a.m != nil {
					name = a.m.Name
				}
				failed = writeImage(o.image, name, snap)
			}
		}
	}
	req.Relocated = shot
	s.granted = s.granted[:0]
	res := s.k.Load(req)
	if n := len(s.granted); n > 0 {
		res.Assumes = append(res.Assumes, fmt.Sprintf("the kernel exports symbols that the evidence tells nothing of: %d (%s)", n, report.Few(s.granted, n)))
	}
	if a.m != nil && res.Errno.Number(s.machine) == a.m.Errno {
		res.Assumes = nil // the kernel that was recorded has told
	}
	if a.m != nil && a.m.Errno != 0 && res.Module != nil {
		s.k.Forget(res.Module) // what comes next was loaded without it
	}
	if failed != nil {
		return failed
	}
	if e, ok := errors.AsType[*sim.PlaceError](res.Undefined); ok {
		return s.misplaced(res.Name, e)
	}
	sums := r.Hashes
	r = report.NewSimulation(a.path, res, s.info, slices.Concat(s.assumes, s.madeUp(res)))
	r.Unknown = len(s.granted)
	r.Details = func() { check.Simulated(r, s.t, req) }
	r.Hashes, r.Verbose, r.Brief, r.Traced = sums, o.verbose, s.brief, s.trace != nil && o.trace
	if r.Name == "" {
		r.Name = module.NameOfFile(a.path)
	}
	s.last = res.Errno
	if !expected {
		switch r.Verdict {
		case report.Refused:
			s.status = worse(s.status, statusBad)
		case report.Undecided:
			s.status = worse(s.status, statusUndecided)
		}
	}
	if r.Verdict == report.Refused {
		s.bad++
	}
	s.show(a, r)
	return nil
}

// own settles, module by module, what nothing else tells of the kernel, and says so.
func (s *simulation) own(req *sim.Request) {
	m := req.Module
	if m == nil {
		return
	}
	s.machine = m.File.Header.Machine
	if s.k.T.Version.IsZero() {
		if v, err := kver.Parse(m.InfoValue("vermagic")); err == nil {
			// The first module decides: a kernel does not change while it runs.
			s.k.T.Version = v
			s.assumes = append(s.assumes, "the kernel is a "+v.String()+", for which the module was built")
		}
	}
	if names := s.places[m.Name()]; names != nil {
		req.Fixed = &sim.Fixed{Names: map[string]uint64{}, Strict: true}
		for n, p := range names {
			req.Fixed.Names[n] = p.Addr
		}
		s.placed[m.Name()] = true
	}
}

// madeUp says which addresses of kernel symbols nothing tells.
func (s *simulation) madeUp(res *sim.Result) []string {
	n := res.Made
	if n == 0 {
		return nil
	}
	if s.rec == nil && s.t.Address == nil {
		how := "--system-map gives them"
		if m := s.t.Addresses; m != nil && m.Zero {
			how = "those of " + s.t.AddressFrom + " are all 0: it is to be read as root"
		}
		return []string{fmt.Sprintf("addresses of the kernel's symbols are made up: %d synthetic (%s)", n, how)}
	}
	from := s.t.AddressFrom
	if s.rec != nil {
		from = "the recording"
	}
	return []string{fmt.Sprintf("addresses of the kernel's symbols are made up where %s lacks them: %d of %d synthetic (%s)", from, n, res.Kernel+res.Asked, report.Few(res.MadeUp, n))}
}

func (s *simulation) show(a *action, r *report.Simulation) {
	switch o := s.o; {
	case o.dmesg:
		for _, l := range r.Dmesg {
			s.out.Str(render.Text(l) + "\n")
		}
	case o.output == formatJSON || o.output == formatNDJSON:
		s.objects.Object(func(j *render.JSON) {
			j.KStr("schema", r.Schema())
			j.KStr("file", a.path)
			r.JSON(j)
		})
	case o.output == formatTSV:
		t := r.Tables()[0]
		if s.n++; s.n == 1 && !o.noHead {
			t.TSVHeader(s.out, "file")
		}
		t.TSV(s.out, render.AppendText(nil, a.path))
	case o.all && !o.verbose && r.Verdict == report.Loads:
	default:
		r.Text(s.out, s.style)
	}
}

// unloaded unloads one module.
func (s *simulation) unloaded(a *action, expected bool) {
	errno, why := s.k.Unload(a.name, a.force)
	s.last = errno
	if errno != 0 && !expected {
		s.status = worse(s.status, statusBad)
	}
	switch o := s.o; {
	case o.dmesg:
	case o.output == formatJSON || o.output == formatNDJSON:
		s.objects.Object(func(j *render.JSON) {
			j.KStr("schema", "kotool.unload/1")
			j.KStr("name", a.name)
			j.KInt("errno", int64(errno.Number(s.machine)))
			j.KStrOrNull("errno_name", errno.Name())
			j.KStrOrNull("why", why)
		})
	case o.output == formatTSV:
	case errno == 0:
		s.out.Str("unload " + render.Text(a.name) + ": done\n")
	default:
		s.out.Str(fmt.Sprintf("unload %s: %s (%d), %s\n", render.Text(a.name), errno.Name(), errno.Number(s.machine), render.Text(why)))
	}
}
