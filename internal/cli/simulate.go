package cli

import (
	stdelf "debug/elf"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kotool/internal/compat"
	"kotool/internal/diag"
	"kotool/internal/kver"
	"kotool/internal/recording"
	"kotool/internal/render"
	"kotool/internal/report"
	"kotool/internal/sim"
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
own word: its vermagic, its CRCs, every symbol; a weak one only if the module has a version of it,
else it stays 0. Addresses come from a System.map, kallsyms or an image, else they are made up, and
that is said.

Modules are given by path, or by name with --against lib/modules/RELEASE. Words behind a module
that have a =, or name no module, are its parameters.

Not simulated: the module's own code, and the patching of code (alternatives, ftrace, static
calls). Its init function is taken to return 0 (--init-returns).

A script (--script FILE) has a verb a line: load FILE [param=value...], unload NAME [force], lsmod,
expect ERRNO (of the line before; 0 for success). A # at the beginning of a word, outside of double
quotes, begins a comment.

--place FILE says where sections lie, a line each: MODULE SECTION 0xADDRESS, as in
/sys/module/MODULE/sections; or it is a recording's modules.json. Addresses that no kernel could
have are an error; modules that are not loaded are only told.

--all loads a whole tree into one kernel, which no real kernel holds at once: each module has the
reserve of per-CPU memory (8 KiB) for itself there; otherwise all share it.

Exit status:
  0  every module loads
  1  a module is refused, or a line of a script is not answered as expected
  2  not answered: wrong usage, unreadable file, damaged evidence, addresses that cannot be
  3  undecided: the kernel's behaviour is undefined, or hangs on what is not known`,
		Example: `  kotool simulate-load hello.ko who=world
  kotool simulate-load --against Module.symvers --system-map System.map --trace hello.ko
  kotool simulate-load --against /lib/modules/6.1.0-50-amd64 --with-deps e1000e
  kotool simulate-load --against /lib/modules/6.1.0-50-amd64 --all
  kotool simulate-load hello.ko hello_user.ko --unload hello`,
		RunE: run(func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) }),
	}
	o.evidence.flags(cmd)
	cmd.ValidArgsFunction = completeModules
	f := cmd.Flags()
	f.BoolVar(&o.withDeps, "with-deps", false, "load first what the modules need, from the tree that --against names")
	f.BoolVar(&o.all, "all", false, "load every module of the tree, each after what it needs")
	f.StringVar(&o.script, "script", "", "load, unload, lsmod and expect from a file, a line each (- for standard input)")
	f.StringArrayVar(&o.unload, "unload", nil, "unload a module at the end, by name (repeatable)")
	f.StringVar(&o.replay, "replay", "", "repeat a recording: its order, files, parameters, addresses and symbols")
	f.StringVar(&o.place, "place", "", "addresses of sections: lines of MODULE SECTION 0xADDRESS, or a recording's modules.json")
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
	cmd.MarkFlagsMutuallyExclusive("all", "script", "replay")
	cmd.MarkFlagsMutuallyExclusive("place", "replay")
	cmd.MarkFlagsMutuallyExclusive("trace", "dmesg")
	return cmd
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
	if o.output != formatTable && o.dmesg {
		return fmt.Errorf("--dmesg: the log alone is text; with -o %s it stands in each answer", o.output)
	}
	if o.output != formatTable && o.trace {
		return fmt.Errorf("--trace: it is text; --trace-json FILE writes it beside -o %s", o.output)
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
	places  recording.Placed
	placed  map[string]bool // the modules of places that have been loaded
	assumes []string
	out     *render.Out
	style   *render.Style
	trace   sim.Tracer
	file    *os.File // of --trace-json

	traceOut *render.Out
	current  string // the file that is loaded
	status   int
	n        int // rows of tsv: the first has the heading
	objects  render.Objects
	last     diag.Errno
	granted  []string // symbols that the last module uses and the evidence tells nothing of
	troubles int      // of the loads: not answered
	// unanswered says that the last module could not be read, or placed.
	unanswered bool
	loads      int
	bad        int
	machine    stdelf.Machine
	brief      bool
	word       bool // of a recording: what the kernel exports is known by its symbols only
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
	if o.all {
		o.keep = keepUnpacked
	}
	o.link = o.withDeps || o.all || o.script != "" || slices.ContainsFunc(cmd.Flags().Args(), bare)
	t, err := o.build(against, s.limit, o.atOnce(), fallback)
	if err != nil {
		return err
	}
	s.t = t
	if !o.quiet {
		for _, w := range t.Conflicts {
			fmt.Fprintf(o.Err, "kotool: simulate-load: conflicting evidence: %s\n", safe(w))
		}
	}
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
	if o.all {
		s.k.PercpuApart = true // no kernel has the modules of a whole tree at once
	}
	if t.NoExports && t.Learned == nil && s.rec == nil {
		t.Granted, t.LeaveWeak = func([]byte) bool { return true }, true
		s.assumes = append(s.assumes, "the kernel exports every symbol that the modules use (what it exports is not known)")
	} else if t.NoExports && t.Tree == nil && s.rec == nil {
		// A few modules of that kernel: they do not use all that it exports. Which symbols were granted is told of each load.
		t.Granted, t.LeaveWeak = s.grant, true
	}
	if t.Vermagic == "" && s.rec == nil {
		s.assumes = append(s.assumes, "the kernel's version magic is the module's own")
	}
	if o.place != "" {
		b, err := os.ReadFile(o.place)
		if err != nil {
			return fmt.Errorf("--place: %w", err)
		}
		if s.places, err = recording.Places(b); err != nil {
			return fmt.Errorf("%s: %w", o.place, err)
		}
		s.placed = map[string]bool{}
	}
	if o.image != "" {
		if err := os.MkdirAll(o.image, 0o755); err != nil {
			return err
		}
	}
	s.info = checkTarget(t)
	return nil
}

// grant takes a symbol to be the kernel's.
func (s *simulation) grant(name []byte) bool {
	if n := string(name); n != "module_layout" && !slices.Contains(s.granted, n) {
		s.granted = append(s.granted, n)
	}
	return true
}

func (s *simulation) printSteps() error {
	v := s.k.T.Version
	out := render.NewWriter(func(p []byte) error { _, err := s.o.Out.Write(p); return err })
	name := v.String()
	if v.IsZero() {
		name = "the newest kernel known"
	}
	out.Str("load_module() of " + name + "\n")
	if !v.IsZero() && v.Compare(kver.V(5, 10)) < 0 {
		out.Str("  before 5.10: from the kernel's history, held against no real kernel\n")
	}
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
