package cli

import (
	"bufio"
	stdelf "debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"kotool/internal/compat"
	"kotool/internal/diag"
	"kotool/internal/kver"
	"kotool/internal/module"
	"kotool/internal/recording"
	"kotool/internal/render"
	"kotool/internal/report"
	"kotool/internal/sim"
	"kotool/internal/source"
	"kotool/internal/target"
)

type simulateOptions struct {
	inputs
	evidence
	withDeps    bool
	all         bool
	script      string
	unload      []string
	replay      string
	place       string
	seed        uint64
	flagBits    uint32
	syscall     string
	forceMod    bool
	forceMagic  bool
	blacklist   []string
	forbidden   bool
	initReturns int
	steps       bool
	trace       bool
	traceJSON   string
	dmesg       bool
	image       string
}

func newSimulate(g *global) *cobra.Command {
	o := &simulateOptions{inputs: inputs{global: g}}
	cmd := &cobra.Command{
		Use: "simulate-load [flags] MODULE [param=value...] [MODULE [param=value...]]...", GroupID: groupDecide,
		Short: "Go through the kernel's load_module(), stage by stage, to its verdict and bytes",
		Long: `Loads modules in turn into a simulated kernel, as init_module does: signature, ELF checks, vermagic,
layout, symbols, versions, relocations, parameters, taints. Shows each stage and what it did, the
memory with every section's address, the kernel's log, and what lsmod would show then.

The kernel is known by the evidence that check takes (--against and the flags beside it). Without
any, the running system's is taken, if its modules are there, else one that grants the module's
own word: its vermagic, its CRCs, every symbol. Addresses come from a System.map, kallsyms or an
image, else they are made up, and that is said.

Not simulated: the module's own code. Its init function is taken to return 0 (--init-returns).

A script (--script FILE) has a verb a line: load FILE [param=value...], unload NAME [force], lsmod,
expect ERRNO (of the line before; 0 for success).

Exit status:
  0  every module loads
  1  a module is refused, or a line of a script is not answered as expected
  2  not answered: wrong usage, unreadable file, evidence that is damaged
  3  undecided: the kernel's behaviour is undefined, or hangs on what is not known`,
		Example: `  kotool simulate-load hello.ko who=world
  kotool simulate-load --against Module.symvers --system-map System.map --trace hello.ko
  kotool simulate-load --against /lib/modules/6.1.0-50-amd64 --with-deps e1000e`,
		RunE: run(func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) }),
	}
	o.evidence.flags(cmd)
	cmd.ValidArgsFunction = completeModules
	f := cmd.Flags()
	f.BoolVar(&o.withDeps, "with-deps", false, "load first what the modules need, from the tree that --against names")
	f.BoolVar(&o.all, "all", false, "load every module of the tree, each after what it needs")
	f.StringVar(&o.script, "script", "", "a file with a verb a line (- for standard input)")
	f.StringArrayVar(&o.unload, "unload", nil, "unload a module at the end, by name (repeatable)")
	f.StringVar(&o.replay, "replay", "", "repeat a recording: its order, files, parameters, addresses and symbols")
	f.StringVar(&o.place, "place", "", "addresses of sections: lines of MODULE SECTION 0xADDRESS")
	f.Uint64Var(&o.seed, "seed", 0, "begin the module area at another page")
	f.Uint32Var(&o.flagBits, "flags", 0, "raw flags of finit_module")
	f.StringVar(&o.syscall, "syscall", "finit_module", "finit_module or init_module")
	f.BoolVar(&o.forceMod, "force-modversion", false, "ignore symbol versions (MODULE_INIT_IGNORE_MODVERSIONS)")
	f.BoolVar(&o.forceMagic, "force-vermagic", false, "ignore the version magic (MODULE_INIT_IGNORE_VERMAGIC)")
	f.StringSliceVar(&o.blacklist, "module-blacklist", nil, "module_blacklist= of the kernel's command line")
	f.BoolVar(&o.forbidden, "modules-disabled", false, "nobody may load modules (no CAP_SYS_MODULE, kernel.modules_disabled=1)")
	f.IntVar(&o.initReturns, "init-returns", 0, "what the init functions return")
	f.BoolVar(&o.steps, "steps", false, "print the stages of the kernel that --kernel or the evidence names")
	f.BoolVar(&o.trace, "trace", false, "show every placement, resolution and relocation")
	f.StringVar(&o.traceJSON, "trace-json", "", "write the trace to a file, as JSON lines")
	f.BoolVar(&o.dmesg, "dmesg", false, "print only what the kernel would log")
	f.StringVar(&o.image, "image", "", "write each module's memory, when relocation is done, to a directory")
	complete(cmd, "syscall", "finit_module", "init_module")
	return cmd
}

// action is one thing that is done to the kernel.
type action struct {
	verb   string // "load", "unload", "lsmod", "expect"
	path   string
	name   string
	params []string
	force  bool
	errno  diag.Errno
	line   int
	m      *recording.Module // of a replay
}

func (o *simulateOptions) run(cmd *cobra.Command, args []string) error {
	if err := o.checkFlags(); err != nil {
		return err
	}
	limit, err := o.limit()
	if err != nil {
		return err
	}
	if o.syscall != "finit_module" && o.syscall != "init_module" {
		return fmt.Errorf("--syscall %s: want finit_module or init_module", o.syscall)
	}
	if len(o.against) > 1 {
		return errors.New("--against: one kernel only; check takes several")
	}
	s := &simulation{o: o, limit: limit}
	if err := s.prepare(cmd); err != nil {
		return err
	}
	if o.steps {
		return s.printSteps()
	}
	list, err := s.actions(args)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return errors.New("no module is given: name one, or give --all, --script or --replay")
	}
	return s.play(cmd, list)
}

// simulation is one run.
type simulation struct {
	o       *simulateOptions
	limit   uint64
	t       *target.Target
	info    *report.CheckTarget
	k       *sim.Kernel
	rec     *recording.Recording
	places  map[string]map[string]uint64
	assumes []string
	out     *render.Out
	style   *render.Style
	trace   sim.Tracer
	file    *os.File // of --trace-json

	traceOut *render.Out
	current  string // the file that is loaded
	status   int
	n        int
	last     diag.Errno
	loads    int
	bad      int
	machine  stdelf.Machine
	brief    bool
	word     bool // of a recording: what the kernel exports is known by its symbols only
}

// prepare makes the kernel.
func (s *simulation) prepare(cmd *cobra.Command) error {
	o := s.o
	var fallback func(*target.Builder) error
	if !o.single() && o.replay == "" && !o.steps {
		fallback = func(b *target.Builder) error {
			ok, err := b.Running()
			if ok {
				s.assumes = append(s.assumes, "the running system's kernel (no evidence was given)")
			}
			return err
		}
	}
	against := ""
	if len(o.against) == 1 {
		against, fallback = o.against[0], nil
	}
	o.link = o.withDeps || o.all || o.script != "" || slices.ContainsFunc(cmd.Flags().Args(), bare)
	t, err := o.build(against, s.limit, max(1, o.workers(cmd)), fallback)
	if err != nil {
		return err
	}
	s.t = t
	t.OnlyLoaded = true
	t.Blacklist = o.blacklist
	if o.replay != "" {
		if s.rec, err = recording.Open(o.replay); err != nil {
			return err
		}
		if s.k, err = sim.Replayed(s.rec, &t.Target); err != nil {
			return err
		}
		s.word = t.NoExports
		t.NoExports = false // the recording has the kernel's symbols
	} else {
		s.k = sim.NewKernel(&t.Target)
		s.k.Addr = t.Address
	}
	s.k.Forbidden, s.k.Seed = o.forbidden, o.seed
	if t.NoExports && t.Learned == nil && s.rec == nil {
		t.Granted = func([]byte) bool { return true }
		s.assumes = append(s.assumes, "the kernel exports every symbol that the modules use (what it exports is not known)")
	}
	if t.Vermagic == "" && s.rec == nil {
		s.assumes = append(s.assumes, "the kernel's version magic is the module's own")
	}
	if t.Address == nil && s.rec == nil {
		s.assumes = append(s.assumes, "addresses of the kernel's symbols are made up (--system-map gives them)")
	}
	if o.place != "" {
		b, err := os.ReadFile(o.place)
		if err != nil {
			return err
		}
		if s.places, err = recording.Places(b); err != nil {
			return fmt.Errorf("%s: %w", o.place, err)
		}
	}
	if o.image != "" {
		if err := os.MkdirAll(o.image, 0o755); err != nil {
			return err
		}
	}
	s.info = checkTarget(t)
	return nil
}

// bare reports whether an operand can be a module's name.
func bare(a string) bool {
	return !source.IsModuleName(a) && !strings.ContainsAny(a, "=/")
}

func (s *simulation) printSteps() error {
	v := s.k.T.Version
	out := render.NewWriter(func(p []byte) error { _, err := s.o.Out.Write(p); return err })
	name := v.String()
	if v.IsZero() {
		name = "the newest kernel known"
	}
	out.Str("load_module() of " + name + "\n")
	for _, st := range compat.Steps(v) {
		id := st.ID
		pad := strings.Repeat("  ", st.Depth)
		line := fmt.Sprintf("  %-4s %s%s", id, pad, st.Name)
		if st.Source != "" {
			line = fmt.Sprintf("%-48s %s", line, st.Source)
		}
		out.Str(line + "\n")
	}
	out.Flush()
	return out.Err()
}

// actions are what the command line asks for.
func (s *simulation) actions(args []string) ([]action, error) {
	o := s.o
	var list []action
	switch {
	case s.rec != nil:
		want := map[string]bool{}
		for _, a := range args {
			want[a] = true
		}
		for i := range s.rec.Modules {
			m := &s.rec.Modules[i]
			if len(want) > 0 && !want[m.Name] {
				continue
			}
			path, err := s.rec.File(m)
			if err != nil {
				return nil, err
			}
			list = append(list, action{verb: "load", path: path, name: m.Name, m: m})
		}
	case o.script != "":
		var err error
		if list, err = s.readScript(o.script); err != nil {
			return nil, err
		}
	case o.all:
		if s.t.Tree == nil {
			return nil, errors.New("--all: no tree of modules: --against lib/modules/RELEASE names it")
		}
		for _, p := range s.t.Tree.Order() {
			list = append(list, action{verb: "load", path: p})
		}
	}
	for _, a := range args {
		switch {
		case s.rec != nil:
		case len(list) > 0 && strings.Contains(a, "=") && !source.IsModuleName(a):
			list[len(list)-1].params = append(list[len(list)-1].params, a)
		default:
			path, err := s.find(a)
			if err != nil {
				if len(list) > 0 && list[len(list)-1].verb == "load" && !strings.ContainsAny(a, "/") && !source.IsModuleName(a) {
					list[len(list)-1].params = append(list[len(list)-1].params, a) // a parameter without a value
					continue
				}
				return nil, err
			}
			if o.withDeps {
				list = append(list, s.dependencies(path, list)...)
			}
			list = append(list, action{verb: "load", path: path})
		}
	}
	for _, name := range o.unload {
		list = append(list, action{verb: "unload", name: name})
	}
	return list, nil
}

// find is the file of an operand: a path, or a module's name in the tree.
func (s *simulation) find(a string) (string, error) {
	if a == "-" || source.IsModuleName(a) || strings.ContainsRune(a, os.PathSeparator) {
		return a, nil
	}
	if s.t.Tree != nil {
		if p := s.t.Tree.Path(a); p != "" {
			return p, nil
		}
	}
	if _, err := os.Stat(a); err == nil {
		return a, nil
	}
	return "", fmt.Errorf("%s: no such file, and no module of that name in a tree", a)
}

// dependencies are the modules to load before a file, those that are on the list already left out.
func (s *simulation) dependencies(path string, have []action) []action {
	var list []action
	if s.t.Tree == nil {
		return nil
	}
	for _, p := range s.t.Tree.Before(path) {
		known := false
		for _, a := range append(have, list...) {
			known = known || a.path == p
		}
		if !known {
			list = append(list, action{verb: "load", path: p})
		}
	}
	return list
}

// readScript reads a verb a line.
func (s *simulation) readScript(path string) ([]action, error) {
	in := s.o.In
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	var list []action
	sc := bufio.NewScanner(in)
	for n := 1; sc.Scan(); n++ {
		w := strings.Fields(sc.Text())
		if len(w) == 0 || w[0][0] == '#' {
			continue
		}
		bad := func(text string) error { return fmt.Errorf("%s: line %d: %s", path, n, text) }
		a := action{verb: w[0], line: n}
		switch w[0] {
		case "load":
			if len(w) < 2 {
				return nil, bad("load what?")
			}
			p, err := s.find(w[1])
			if err != nil {
				return nil, bad(err.Error())
			}
			a.path, a.params = p, w[2:]
			if s.o.withDeps {
				list = append(list, s.dependencies(p, list)...)
			}
		case "unload":
			if len(w) < 2 || len(w) > 3 || len(w) == 3 && w[2] != "force" {
				return nil, bad("want: unload NAME [force]")
			}
			a.name, a.force = w[1], len(w) == 3
		case "lsmod":
		case "expect":
			if len(w) != 2 {
				return nil, bad("want: expect ERRNO")
			}
			e := diag.ErrnoNamed(strings.TrimPrefix(w[1], "-"))
			if num, err := strconv.Atoi(strings.TrimPrefix(w[1], "-")); err == nil {
				e = diag.Errno(num)
			} else if e == 0 && w[1] != "ok" {
				return nil, bad(w[1] + " is no errno")
			}
			a.errno = e
		default:
			return nil, bad(w[0] + ": want load, unload, lsmod or expect")
		}
		list = append(list, a)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return list, nil
}

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
		// Little of what is allocated lives long: a larger heap saves collections.
		defer debug.SetGCPercent(debug.SetGCPercent(400))
	}
	s.brief = o.all && !o.verbose || len(list) > manyModules && !o.verbose
	if err := s.openTrace(); err != nil {
		return err
	}
	if o.output == formatJSON {
		s.out.Str("[")
	}
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
			if err := s.load(a, buffers, expected); err != nil {
				s.trouble(a.path, err)
			}
		case "unload":
			s.unloaded(a, expected)
		case "lsmod":
			if o.output == formatTable && !o.dmesg {
				report.LsmodText(s.out, s.k)
			}
		case "expect":
			if s.last != a.errno {
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
		s.out.Str("]\n")
	case o.output == formatTable && !o.dmesg && o.all:
		s.out.Str(fmt.Sprintf("%d modules, %d of them are not loaded\n", s.loads, s.bad))
	case o.output == formatTable && !o.dmesg && (s.rec == nil || o.verbose):
		report.LsmodText(s.out, s.k)
		if l := s.k.Taints().Letters(); l != "" {
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
	fmt.Fprintf(s.o.Err, "kotool: simulate-load: %s: %s\n", safe(path), safe(err.Error()))
	if s.o.output == formatJSON || s.o.output == formatNDJSON {
		s.object(func(j *render.JSON) {
			j.KStr("file", path)
			j.KStr("error", err.Error())
		})
	}
}

func (s *simulation) object(write func(j *render.JSON)) {
	if s.n++; s.n > 1 && s.o.output == formatJSON {
		s.out.Str(",\n")
	}
	j := render.NewJSON(s.out)
	j.Obj()
	write(j)
	j.End()
	j.Done()
	if s.o.output == formatNDJSON {
		s.out.Str("\n")
	}
}

// load loads one module.
func (s *simulation) load(a *action, buffers *source.Buffers, expected bool) error {
	o := s.o
	src, err := source.Open(a.path, source.Options{MaxSize: s.limit, Stdin: o.In, Pool: buffers, Any: true})
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
	res := s.k.Load(req)
	if a.m != nil && int(res.Errno) == a.m.Errno {
		res.Assumes = nil // the kernel that was recorded has told
	}
	if a.m != nil && a.m.Errno != 0 && res.Module != nil {
		s.k.Forget(res.Module) // what comes next was loaded without it
	}
	if failed != nil {
		return failed
	}
	sums := r.Hashes
	r = report.NewSimulation(a.path, res, s.info, s.assumes)
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
		req.Fixed = &sim.Fixed{Names: names}
	}
}

func (s *simulation) show(a *action, r *report.Simulation) {
	switch o := s.o; {
	case o.dmesg:
		for _, l := range r.Dmesg {
			s.out.Str(render.Text(l) + "\n")
		}
	case o.output == formatJSON || o.output == formatNDJSON:
		s.object(func(j *render.JSON) {
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
		s.object(func(j *render.JSON) {
			j.KStr("schema", "kotool.unload/1")
			j.KStr("name", a.name)
			j.KInt("errno", int64(errno))
			j.KStrOrNull("errno_name", errno.Name())
			j.KStrOrNull("why", why)
		})
	case o.output == formatTSV:
	case errno == 0:
		s.out.Str("unload " + render.Text(a.name) + ": done\n")
	default:
		s.out.Str(fmt.Sprintf("unload %s: %s (%d), %s\n", render.Text(a.name), errno.Name(), int(errno), render.Text(why)))
	}
}

// relocate loads a module into a kernel that grants its own word, and shows its memory.
func relocate(m *module.Module, show func(*sim.Snapshot)) error {
	t := &compat.Target{OnlyLoaded: true, Granted: func([]byte) bool { return true }}
	if v, err := kver.Parse(m.InfoValue("vermagic")); err == nil {
		t.Version = v
	}
	req := sim.RequestOf(m.File.Source())
	shown := false
	req.Relocated = func(s *sim.Snapshot) {
		shown = true
		show(s)
	}
	res := sim.NewKernel(t).Load(req)
	switch {
	case shown:
		return nil
	case res.Undefined != nil:
		return fmt.Errorf("%s: %w", res.Stage, res.Undefined)
	}
	return fmt.Errorf("%s: refused with %s before it is relocated", res.Stage, res.Errno.Name())
}

// writeImage writes NAME.json, the section table, and NAME.bin, the bytes.
func writeImage(dir, name string, snap *sim.Snapshot) error {
	if name == "" || name != filepath.Base(name) || name == "." || name == ".." {
		return fmt.Errorf("%q is no name for a file", name)
	}
	type section struct {
		Name string `json:"name"`
		Idx  int    `json:"idx"`
		Addr uint64 `json:"addr"`
		Size uint64 `json:"size"`
		Off  int64  `json:"off"`
	}
	var list []section
	var image []byte
	for i := range snap.Sections {
		x := &snap.Sections[i]
		e := section{x.Name, x.Index, x.Addr, x.Size, -1}
		if x.Data != nil {
			e.Off = int64(len(image))
			image = append(image, x.Data...)
		}
		list = append(list, e)
	}
	b, err := json.MarshalIndent(map[string]any{"name": name, "sections": list}, "", " ")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".json"), append(b, '\n'), 0o644)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".bin"), image, 0o644)
	}
	return err
}
