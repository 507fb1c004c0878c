package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kotool/internal/check"
	"kotool/internal/compat"
	"kotool/internal/deb"
	"kotool/internal/diag"
	"kotool/internal/report"
	"kotool/internal/scan"
	"kotool/internal/source"
	"kotool/internal/target"
)

// evidence holds the flags that say what the kernel is.
type evidence struct {
	against   []string
	symvers   []string
	with      []string
	config    string
	vermagic  string
	systemMap string
	kernel    string
	arch      string
	certs     []string
	enforce   bool
	link      bool // not a flag: which modules of a tree need which is wanted
	keep      int64
}

func (e *evidence) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&e.against, "against", nil, "evidence about the kernel: Module.symvers, headers, lib/modules/REL, vmlinux, vmlinuz, a .deb, another module of it")
	f.StringArrayVar(&e.symvers, "symvers", nil, "a Module.symvers, or the .deb of headers that has it (repeatable)")
	f.StringArrayVar(&e.with, "with", nil, "a directory or .deb of modules whose exports are there too (repeatable)")
	f.StringVar(&e.config, "config", "", "the kernel's .config")
	f.StringVar(&e.vermagic, "vermagic", "", "the kernel's version magic")
	f.StringVar(&e.systemMap, "system-map", "", "the kernel's System.map, or a copy of /proc/kallsyms")
	f.StringVar(&e.kernel, "kernel", "", "the version whose rules apply where no evidence says")
	f.StringVar(&e.arch, "arch", "", "the kernel's machine: x86_64, arm64, … or Debian's name for it")
	f.StringArrayVar(&e.certs, "cert", nil, "a certificate that the kernel trusts, DER or PEM, or a kernel image for those built into it (repeatable)")
	f.BoolVar(&e.enforce, "sig-enforce", false, "signatures are enforced (module.sig_enforce=1)")
}

// single reports whether any flag gives a fact by itself.
func (e *evidence) single() bool {
	return len(e.symvers)+len(e.with)+len(e.certs) > 0 || e.config+e.vermagic+e.systemMap+e.kernel+e.arch != "" || e.enforce
}

// build makes one target; against is "" for one of single facts only. fallback adds evidence where there is none.
func (e *evidence) build(against string, limit uint64, jobs int, fallback func(*target.Builder) error) (*target.Target, error) {
	name := against
	if name == "" && len(e.symvers) > 0 {
		name = e.symvers[0]
	}
	if target.IsPackage(against) || slices.ContainsFunc(e.with, target.IsPackage) {
		defer e.sparePackages(jobs)()
	}
	b := target.New(name, limit, jobs)
	b.Link, b.Keep = e.link, e.keep
	if e.enforce {
		b.SigEnforce()
	}
	var steps []func() error
	add := func(list []string, f func(string) error) {
		for _, s := range list {
			if s != "" {
				steps = append(steps, func() error { return f(s) })
			}
		}
	}
	// What is said by a flag of its own comes first: the rest is looked at for what is not known yet.
	add([]string{e.arch}, b.Arch)
	add([]string{e.vermagic}, func(s string) error { b.Vermagic(s); return nil })
	add([]string{e.kernel}, b.Kernel)
	add([]string{e.config}, b.ConfigFile)
	add(e.symvers, b.Symvers)
	add([]string{e.systemMap}, b.SystemMap)
	add([]string{against}, b.Against)
	add(e.with, b.With)
	add(e.certs, b.Cert)
	for _, f := range steps {
		if err := f(); err != nil {
			return nil, err
		}
	}
	if fallback != nil {
		if err := fallback(b); err != nil {
			return nil, err
		}
	}
	return b.Target()
}

// targets makes all of them.
func (e *evidence) targets(limit uint64, jobs int, fallback func(*target.Builder) error) ([]*target.Target, error) {
	list := e.against
	if len(list) == 0 {
		list = []string{""}
	} else {
		fallback = nil
	}
	var out []*target.Target
	for _, a := range list {
		t, err := e.build(a, limit, jobs, fallback)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// checkTarget is what a report says of a target.
func checkTarget(t *target.Target) *report.CheckTarget {
	r := &report.CheckTarget{Name: t.Name, Release: t.Release, Kernel: t.Version, Conflicts: t.Conflicts}
	if t.Arch != nil {
		r.Arch = t.Arch.Name
	}
	for _, e := range t.Evidence {
		r.Evidence = append(r.Evidence, report.Evidence{Kind: e.Kind, Path: e.Path, Text: e.Says})
	}
	for i := range t.Facts {
		f := &t.Facts[i]
		from := f.From
		if len(f.Also) > 0 {
			from += fmt.Sprintf(" and %d more", len(f.Also))
		}
		r.Facts = append(r.Facts, report.Fact{What: f.What, Value: f.Value, From: from})
	}
	return r
}

type checkOptions struct {
	inputs
	evidence
	outputs   []string
	failOn    string
	exitZero  bool
	undecided string
	ignore    string
}

func newCheck(g *global) *cobra.Command {
	o := &checkOptions{inputs: inputs{global: g, partial: true}}
	cmd := &cobra.Command{
		Use: "check [--against KERNEL]... FILE|DIR...", GroupID: groupDecide,
		Short: "Tell whether a kernel will load a module, and if not, why",
		Long: `Puts the kernel's questions to modules, in the kernel's order, without running anything: ELF
headers, machine, struct module, vermagic, signature, symbols, CRCs, licence, namespaces,
relocation types, duplicate exports and more. The modules given together provide their exports
to each other, in the order in which they are given, as if loaded in turn.

The kernel is known by whatever there is of it: --against takes a Module.symvers, a headers or
build directory, lib/modules/RELEASE, a vmlinux or vmlinuz, a Debian package of an image, of
modules or of headers, or another module of that kernel, and sees by its content what it is
(symvers:, headers:, tree:, image:, module:, deb: before the path say so). Several packages of
one kernel stand with commas between them (deb:A,B). Given more than once, each is a kernel of
its own, and the answer is a matrix. Without evidence the running system is taken, if its modules
are there.

The verdict is loads, refused or undecided; with it come the errno, the kernel's own log lines,
what was wanted and found, what was checked and what was not. -v shows where each fact came from.

check DIR audits a tree of modules, by its own evidence or by what is given: the bad ones are
listed, with a count.

-o takes table, json, ndjson, tsv, junit, sarif and github, each with =FILE behind it if it is to
go to a file; it may be repeated.

Exit status:
  0  every module loads, as far as was checked
  1  a module is refused, or is no module; or a finding at the level of --fail-on
  2  not answered: wrong usage, unreadable file, evidence that is damaged
  3  undecided: the evidence given does not settle it
With several modules the worst wins, in the order 2, 1, 3, 0.`,
		Example: `  kotool check --symvers Module.symvers hello.ko
  kotool check --against /boot/vmlinuz-6.1.0-50-amd64 --against 6.12.107+deb13-amd64 hello.ko
  kotool check -o table -o junit=report.xml rootfs/lib/modules/6.1.0-50-amd64`,
		Args: cobra.MinimumNArgs(1),
		RunE: run(func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) }),
	}
	o.inputs.flags(cmd)
	o.evidence.flags(cmd)
	f := cmd.Flags()
	f.StringArrayVarP(&o.outputs, "output", "o", []string{formatTable}, "table, json, ndjson, tsv, junit, sarif or github, and =FILE (repeatable)")
	f.StringVar(&o.failOn, "fail-on", "error", "exit 1 from this severity on: error, warning, note, never")
	f.BoolVar(&o.exitZero, "exit-zero", false, "exit 0 whatever was found (but 2 for trouble)")
	f.StringVar(&o.undecided, "undecided", "", "count undecided as ok (exit 0) or fail (exit 1); by default it is 3")
	f.StringVar(&o.ignore, "ignore-file", "", "findings that are known: lines of CODE, module (* for any) and the reason")
	complete(cmd, "fail-on", "error", "warning", "note", "never")
	complete(cmd, "undecided", "ok", "fail")
	complete(cmd, "output", slices.Concat([]string{formatTable, formatJSON, formatNDJSON, formatTSV}, report.CIFormats)...)
	return cmd
}

// fallback is the evidence where none was given: the tree that is audited, else the running system.
func (o *checkOptions) fallback(args []string) func(*target.Builder) error {
	if o.single() {
		return nil
	}
	return func(b *target.Builder) error {
		if len(args) == 1 && isDirectory(args[0]) {
			if tree := treeOf(args[0]); tree != "" {
				return b.Against("tree:" + tree)
			}
			return nil
		}
		ok, err := b.Running()
		if ok && !o.quiet {
			fmt.Fprintf(o.Err, "kotool: check: no evidence given: the running system's kernel is taken\n")
		}
		return err
	}
}

func isDirectory(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// treeOf is the directory of modules of one kernel that dir is or holds; "" for none.
func treeOf(dir string) string {
	for _, mark := range []string{"modules.dep", "modules.builtin", "modules.order", "kernel"} {
		if _, err := os.Stat(dir + "/" + mark); err == nil {
			return dir
		}
	}
	if strings.Contains(dir, "/lib/modules/") {
		return dir
	}
	return ""
}

// draft is what a worker found out about one module, for each target.
type draft struct {
	err  error // unreadable: trouble
	list []*check.Draft
}

func (o *checkOptions) run(cmd *cobra.Command, args []string) error {
	limit, err := o.settle(cmd)
	if err != nil {
		return err
	}
	outputs, err := o.openOutputs()
	if err != nil {
		return err
	}
	known, err := readIgnore(o.ignore)
	if err != nil {
		return err
	}
	for _, a := range args {
		o.recursive = o.recursive || a != "-" && isDirectory(a)
	}
	defer spareCollections()()
	targets, err := o.targets(limit, o.atOnce(), o.fallback(args))
	if err != nil {
		return err
	}
	c := &checker{o: o, out: outputs, known: known, dir: args[0]}
	frozen := make([]*compat.Target, len(targets))
	for i, t := range targets {
		s := &check.Session{T: t, Info: checkTarget(t), Open: func(path string) (*source.Input, error) {
			return source.Open(path, source.Options{MaxSize: limit})
		}}
		c.sessions = append(c.sessions, s)
		frozen[i] = s.Frozen()
		if !o.quiet {
			for _, w := range t.Conflicts {
				fmt.Fprintf(o.Err, "kotool: check: conflicting evidence: %s\n", safe(w))
			}
		}
	}
	progress := o.progress(cmd.Name())
	defer progress.stop()
	if o.recursive || len(args) > manyModules {
		limitMemory()
	}
	err = scan.Stream(cmd.Context(), o.workers(cmd), o.paths(args), func() *checkWorker { return &checkWorker{&source.Buffers{}, &compat.Scratch{}} },
		func(_ context.Context, w *checkWorker, it input, _ func([]byte) error) *draft {
			return o.draft(frozen, w, it, limit)
		},
		func([]byte) error { return nil },
		func(it input, d *draft) error {
			progress.step()
			c.take(it.path, d, progress.hide)
			return c.out.err()
		})
	if err == nil {
		c.flush(true)
		err = c.finish(len(args) == 1 && isDirectory(args[0]))
	}
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return err
		}
		return fmt.Errorf("writing: %w", err)
	}
	if c.status != statusGood {
		return statusError(c.status)
	}
	return nil
}

// spareCollections makes the collector wait until the heap has some size: little of what is allocated lives long, but fresh memory costs too, so
// that it may not grow for long either. The result undoes it.
func spareCollections() func() {
	percent := debug.SetGCPercent(400)
	limit := debug.SetMemoryLimit(-1)
	return func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	}
}

// sparePackages tells the collector how much there may be while packages are read: all of a kernel comes by. The result undoes it.
func (e *evidence) sparePackages(jobs int) func() {
	if e.link { // much of it is kept
		percent := debug.SetGCPercent(20)
		return func() { debug.SetGCPercent(percent) }
	}
	limit := debug.SetMemoryLimit(packageMemory + int64(min(jobs, source.MaxAhead))*packageBlock)
	return func() { debug.SetMemoryLimit(limit) }
}

// packageMemory is what it is to keep to, if it can, in bytes.
const packageMemory = 96 << 20

// packageBlock is what a block of a package takes beside that, packed and plain, in bytes.
const packageBlock = 32 << 20

// limitMemory tells the collector how much there may be, by what the evidence takes.
func limitMemory() {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	debug.SetMemoryLimit(max(64<<20, int64(m.HeapAlloc)*3) + 16<<20)
}

// settle looks at the flags.
func (o *checkOptions) settle(cmd *cobra.Command) (limit uint64, err error) {
	o.output = formatTable
	if err := o.checkFlags(); err != nil {
		return 0, err
	}
	if !slices.Contains([]string{"error", "warning", "note", "never"}, o.failOn) {
		return 0, fmt.Errorf("--fail-on %s: want error, warning, note or never", o.failOn)
	}
	for _, list := range []struct {
		flag   string
		values []string
	}{{"against", o.against}, {"symvers", o.symvers}, {"with", o.with}, {"cert", o.certs}} {
		if slices.Contains(list.values, "") {
			return 0, fmt.Errorf("--%s: want a path, got an empty one", list.flag)
		}
	}
	if !slices.Contains([]string{"", "ok", "fail"}, o.undecided) {
		return 0, fmt.Errorf("--undecided %s: want ok or fail", o.undecided)
	}
	return o.limit()
}

// checkWorker is the memory of a worker.
type checkWorker struct {
	pool *source.Buffers
	mem  *compat.Scratch
}

// wholeFile is up to which size a module is read at once: relocations and what they change are most of it. In bytes.
const wholeFile = 16 << 20

// draft reads one module.
func (o *checkOptions) draft(targets []*compat.Target, w *checkWorker, it input, limit uint64) *draft {
	if it.err != nil {
		return &draft{err: it.err}
	}
	if strings.HasSuffix(it.path, ".deb") && bytes.HasPrefix(headOf(it.path), []byte(deb.Magic)) {
		return &draft{err: errors.New("a Debian package, which is evidence (--against); the modules in it are checked when it is unpacked (dpkg-deb -x)")}
	}
	src, err := source.Open(it.path, source.Options{MaxSize: limit, Partial: true, Whole: wholeFile, Stdin: o.In, Pool: w.pool})
	if err != nil {
		if _, broken := errors.AsType[*source.StreamError](err); broken {
			d := &draft{} // a broken xz, say: no module
			for _, t := range targets {
				one := check.Broken(t, it.path, err, headOf(it.path))
				if errors.Is(err, source.ErrWindow) && !one.RefusedPacked() {
					return &draft{err: err} // ours is the limit, not the kernel's
				}
				d.list = append(d.list, one)
			}
			return d
		}
		return &draft{err: err}
	}
	defer src.Close()
	var head []byte
	if src.Compression != "none" && it.path != "-" {
		head = headOf(it.path)
	}
	d := &draft{}
	for _, t := range targets {
		one, err := check.NewDraft(t, it.path, src, head, w.mem)
		if err != nil {
			return &draft{err: err}
		}
		d.list = append(d.list, one)
	}
	return d
}

// headOf is the beginning of a file as it is stored.
func headOf(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	b := make([]byte, 1024)
	n, _ := io.ReadFull(f, b) // fewer bytes are as good
	return b[:n]
}

// pending is a module whose answer has not been given yet.
type pending struct {
	path  string
	d     *draft
	ready bool // needs nobody who has not come yet
}

// checker gives the answers, in the order of the inputs.
type checker struct {
	o        *checkOptions
	dir      string // what is audited
	sessions []*check.Session
	out      *outputs
	known    *ignoreList
	queue    []pending
	status   int
	modules  int
	bad      int
	unsure   int
	warned   int // load, with a warning
	troubled int
}

// take registers a module, and answers those that need nobody else.
func (c *checker) take(path string, d *draft, hide func()) {
	for i, one := range d.list {
		c.sessions[i].Register(one)
	}
	ready := d.err != nil || c.complete(d)
	c.queue = append(c.queue, pending{path, d, ready})
	if ready {
		// Later modules cannot change the answer; earlier ones may still wait for theirs.
		hide()
		c.flush(false)
	}
}

func (c *checker) complete(d *draft) bool {
	for i, one := range d.list {
		if !c.sessions[i].Complete(one) {
			return false
		}
	}
	return true
}

// flush answers the modules at the head of the queue that need nobody else, or all of them.
func (c *checker) flush(all bool) {
	for len(c.queue) > 0 {
		p := c.queue[0]
		if !all && !p.ready && !c.complete(p.d) {
			return
		}
		c.queue[0] = pending{}
		c.queue = c.queue[1:]
		c.answer(p)
	}
}

func (c *checker) answer(p pending) {
	c.modules++
	if p.d.err != nil {
		c.trouble(p.path, p.d.err)
		return
	}
	var list []*report.Check
	worst := statusGood
	for i, one := range p.d.list {
		r, err := c.sessions[i].Answer(one)
		if err != nil {
			c.trouble(p.path, err)
			return
		}
		r.Verbose = c.o.verbose
		c.known.apply(r)
		list = append(list, r)
		worst = worse(worst, c.statusOf(r))
	}
	c.status = worse(c.status, worst)
	for _, r := range list {
		switch r.Verdict {
		case report.Refused:
			c.bad++
		case report.Undecided:
			c.unsure++
		case report.Loads:
			if r.Warned() {
				c.warned++
			}
		}
	}
	c.out.results(list, worst != statusGood)
}

// trouble is an input that could not be read.
func (c *checker) trouble(path string, err error) {
	c.troubled++
	c.status = worse(c.status, statusTrouble)
	fmt.Fprintf(c.o.Err, "kotool: check: %s: %s\n", safe(path), safe(err.Error()))
	c.out.trouble(path, err)
}

// finish ends the output. audit says that a whole tree was asked for.
func (c *checker) finish(audit bool) error {
	for _, u := range c.known.unused() {
		fmt.Fprintf(c.o.Err, "kotool: check: %s: nothing was found for it\n", safe(u))
	}
	summary := ""
	if audit {
		n := c.modules * len(c.sessions)
		switch {
		case c.modules == 0:
			fmt.Fprintf(c.o.Err, "kotool: check: %s: no modules are in this directory\n", safe(c.dir))
			c.status = worse(c.status, statusTrouble)
		case c.bad+c.unsure+c.troubled == 0:
			summary = fmt.Sprintf("all %d modules load", n)
			if n == 1 {
				summary = "the one module loads"
			}
			if c.warned > 0 {
				summary += fmt.Sprintf(", %d with warnings", c.warned)
			}
			summary += "\n"
		default:
			summary = fmt.Sprintf("%d of %d modules would not load", c.bad, n)
			if c.unsure > 0 {
				summary += fmt.Sprintf(", %d are undecided", c.unsure)
			}
			if c.troubled > 0 {
				summary += fmt.Sprintf(", %d could not be read", c.troubled)
			}
			summary += "\n"
		}
	}
	return c.out.finish(summary)
}

func (c *checker) statusOf(r *report.Check) int {
	if c.o.exitZero || r.Excused() {
		return statusGood
	}
	level := map[string]diag.Severity{"error": diag.Error, "warning": diag.Warning, "note": diag.Note, "never": diag.Error + 1}[c.o.failOn]
	switch {
	case c.o.failOn != "never" && r.Verdict == report.Refused:
		return statusBad
	case r.Verdict == report.Undecided && c.o.undecided == "fail":
		return statusBad
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		if len(f.Assumes) == 0 && f.Severity >= level {
			return statusBad
		}
	}
	if r.Verdict == report.Undecided && c.o.undecided == "" {
		return statusUndecided
	}
	return statusGood
}
