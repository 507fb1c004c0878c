package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"kotool/internal/compat"
	"kotool/internal/diag"
	"kotool/internal/kver"
	"kotool/internal/module"
	"kotool/internal/render"
	"kotool/internal/report"
	"kotool/internal/scan"
	"kotool/internal/source"
	"kotool/internal/symvers"
)

type checkOptions struct {
	inputs
	symvers   []string
	failOn    string
	exitZero  bool
	undecided string
}

func newCheck(g *global) *cobra.Command {
	o := &checkOptions{inputs: inputs{global: g, partial: true}}
	cmd := &cobra.Command{
		Use: "check --symvers Module.symvers FILE...", GroupID: groupDecide,
		Short: "Tell whether a kernel will load a module, and if not, why",
		Long: `Checks modules against what a kernel exports: missing symbols, CRCs that differ, GPL-only
symbols, namespaces, exports that exist already. The modules given together provide their
exports to each other, in the order in which they are given, as if loaded in turn.

The verdict is loads, refused or undecided; with it come the errno, the kernel's own log
lines, what was wanted and found, and what was not checked for want of evidence.

Exit status:
  0  every module loads, as far as was checked
  1  a module is refused, or is no module; or a finding at the level of --fail-on
  2  not answered: wrong usage, unreadable file, a Module.symvers that is none
  3  undecided: the evidence given does not settle it
With several modules the worst wins, in the order 2, 1, 3, 0.`,
		Example: `  kotool check --symvers Module.symvers hello.ko
  kotool check --symvers /usr/src/linux-headers-6.1.0-50-amd64/Module.symvers -o json hello.ko
  kotool check --symvers Module.symvers --symvers extra/Module.symvers -r build/`,
		Args: cobra.MinimumNArgs(1),
		RunE: run(func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) }),
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&o.symvers, "symvers", nil, "the kernel's Module.symvers (repeatable)")
	f.StringVar(&o.failOn, "fail-on", "error", "exit 1 from this severity on: error, warning, note, never")
	f.BoolVar(&o.exitZero, "exit-zero", false, "exit 0 whatever was found (but 2 for trouble)")
	f.StringVar(&o.undecided, "undecided", "", "count undecided as ok (exit 0) or fail (exit 1); by default it is 3")
	complete(cmd, "fail-on", "error", "warning", "note", "never")
	complete(cmd, "undecided", "ok", "fail")
	if err := cmd.MarkFlagRequired("symvers"); err != nil {
		panic(err)
	}
	return cmd
}

// draft is what a worker found out about one module: all that needs the module's bytes.
type draft struct {
	err      error // unreadable: trouble
	im       *compat.Importer
	arch     string
	exports  []export
	findings []diag.Finding // of the file itself
	notELF   error          // no module at all: the kernel refuses it
}

type export struct {
	name string
	ex   compat.Export
}

func (o *checkOptions) run(cmd *cobra.Command, args []string) error {
	if err := o.checkFlags(); err != nil {
		return err
	}
	if !slices.Contains([]string{"error", "warning", "note", "never"}, o.failOn) {
		return fmt.Errorf("--fail-on %s: want error, warning, note or never", o.failOn)
	}
	if !slices.Contains([]string{"", "ok", "fail"}, o.undecided) {
		return fmt.Errorf("--undecided %s: want ok or fail", o.undecided)
	}
	limit, err := o.limit()
	if err != nil {
		return err
	}
	t := &compat.Target{Live: map[string]compat.Export{}}
	var evidence []report.Evidence
	for _, p := range o.symvers {
		tab, err := o.readSymvers(p, limit)
		if err != nil {
			return err
		}
		if tab.Len() == 0 {
			return fmt.Errorf("%s: no rows: this is no Module.symvers of a kernel", p)
		}
		t.Symvers = append(t.Symvers, tab)
		t.ModVersions = t.ModVersions || tab.HasCRC
		says := fmt.Sprintf("%d symbols", tab.Len())
		if !tab.HasCRC {
			says += ", all CRCs 0: a kernel without CONFIG_MODVERSIONS"
		}
		evidence = append(evidence, report.Evidence{Kind: "symvers", Path: p, Text: says})
	}
	c := &checker{o: o, t: t, evidence: evidence, out: render.NewWriter(func(p []byte) error {
		if o.quiet {
			return nil
		}
		_, err := o.Out.Write(p)
		return err
	}), style: o.style()}
	if o.output == formatJSON {
		c.out.Str("[")
	}
	progress := o.progress(cmd.Name())
	defer progress.stop()
	err = scan.Stream(cmd.Context(), o.workers(cmd), o.paths(args), func() *source.Buffers { return &source.Buffers{} },
		func(_ context.Context, pool *source.Buffers, it input, _ func([]byte) error) *draft {
			return o.draft(pool, it, limit)
		},
		func([]byte) error { return nil },
		func(it input, d *draft) error {
			progress.step()
			c.register(d)
			ready := d.im == nil || c.complete(d)
			c.queue = append(c.queue, pending{it.path, d, ready})
			if ready {
				// Later modules cannot change the answer; earlier ones may still wait for theirs.
				progress.hide()
				c.flush(false)
			}
			return c.out.Err()
		})
	if err == nil {
		c.flush(true)
		if o.output == formatJSON {
			c.out.Str("]\n")
		}
		c.out.Flush()
		err = c.out.Err()
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

// readSymvers reads a Module.symvers, which may be compressed.
func (in *inputs) readSymvers(p string, limit uint64) (*symvers.Table, error) {
	src, err := source.Open(p, source.Options{MaxSize: limit, Stdin: in.In, Any: true})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	if src.Damage != nil {
		return nil, fmt.Errorf("%s: %w", p, src.Damage)
	}
	b, err := src.ReadAll() // the table keeps it: src is not closed, and its buffers are used by nobody else
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	tab, err := symvers.Parse(b)
	if err != nil {
		if le, ok := errors.AsType[*symvers.LineError](err); ok && le.Hint != "" {
			return nil, fmt.Errorf("%s: %w\nhint: %s", p, err, le.Hint)
		}
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	return tab, nil
}

// draft reads one module.
func (o *checkOptions) draft(pool *source.Buffers, it input, limit uint64) *draft {
	if it.err != nil {
		return &draft{err: it.err}
	}
	src, err := source.Open(it.path, source.Options{MaxSize: limit, Partial: true, Stdin: o.In, Pool: pool})
	if err != nil {
		if _, broken := errors.AsType[*source.StreamError](err); broken {
			return &draft{notELF: err} // a broken xz, say: no module
		}
		return &draft{err: err}
	}
	defer src.Close()
	m, err := module.Decode(src, module.Meta{Path: it.path, Compression: src.Compression, PackedSize: src.PackedSize, Damage: src.Damage})
	if err == nil {
		err = m.NeedSections()
	}
	if err != nil {
		return &draft{notELF: err}
	}
	d := &draft{im: compat.NewImporter(m)}
	if m.File.Arch != nil {
		d.arch = m.File.Arch.Name
	}
	for i := range m.Exports().Exports {
		e := &m.Exports().Exports[i]
		d.exports = append(d.exports, export{string(e.Name), compat.Export{CRC: e.CRC, HasCRC: e.HasCRC, GPL: e.License.GPL(), Namespace: string(e.Namespace), Owner: d.im.Name}})
	}
	d.findings = m.Findings
	return d
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
	t        *compat.Target
	evidence []report.Evidence
	out      *render.Out
	style    *render.Style
	queue    []pending
	status   int
	n        int
	headed   bool
}

// register makes a module's exports known to those that come after it, and notes those that exist already.
func (c *checker) register(d *draft) {
	for i := range d.exports {
		e := &d.exports[i]
		if f := compat.Duplicate(d.im.Name, e.name, c.t); f != nil {
			d.findings = append(d.findings, *f)
			continue
		}
		c.t.Live[e.name] = e.ex
	}
}

// complete reports whether every symbol that the module needs is provided already.
func (c *checker) complete(d *draft) bool {
	for i := range d.im.Imports {
		if _, ok := c.t.Find([]byte(d.im.Imports[i].Name), d.im.Name); !ok && !d.im.Imports[i].Weak {
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
		c.queue = c.queue[1:]
		c.answer(p)
	}
}

func (c *checker) answer(p pending) {
	if p.d.err != nil {
		c.trouble(p)
		return
	}
	r := c.judge(p)
	c.status = worse(c.status, c.statusOf(r))
	if c.o.quiet {
		return
	}
	switch c.o.output {
	case formatJSON, formatNDJSON:
		c.separate()
		j := render.NewJSON(c.out)
		j.Obj()
		j.KStr("schema", r.Schema())
		j.KStr("file", p.path)
		r.JSON(j)
		j.End()
		j.Done()
		c.terminate()
	case formatTSV:
		t := r.Tables()[0]
		if !c.headed && !c.o.noHead {
			t.TSVHeader(c.out, "file")
		}
		c.headed = true
		t.TSV(c.out, render.AppendText(nil, p.path))
	default:
		r.Text(c.out, c.style)
	}
	c.out.Check()
}

func (c *checker) separate() {
	if c.n++; c.n > 1 && c.o.output == formatJSON {
		c.out.Str(",\n")
	}
}

func (c *checker) terminate() {
	if c.o.output == formatNDJSON {
		c.out.Str("\n")
	}
}

// trouble is an input that could not be read.
func (c *checker) trouble(p pending) {
	c.status = worse(c.status, statusTrouble)
	fmt.Fprintf(c.o.Err, "kotool: check: %s: %s\n", safe(p.path), safe(p.d.err.Error()))
	if c.o.output == formatJSON || c.o.output == formatNDJSON {
		c.separate()
		j := render.NewJSON(c.out)
		j.Obj()
		j.KStr("file", p.path)
		j.KStr("error", p.d.err.Error())
		j.End()
		j.Done()
		c.terminate()
	}
}

// judge puts the kernel's questions in the kernel's order.
func (c *checker) judge(p pending) *report.Check {
	d := p.d
	r := &report.Check{File: p.path, Evidence: c.evidence, Verbose: c.o.verbose, Checked: []string{"format"}}
	if d.im == nil {
		f := diag.New(diag.NotModule, kver.Version{}, d.notELF.Error())
		r.Name = module.NameOfFile(p.path)
		r.Findings = []diag.Finding{f}
		r.Verdict, r.Errno, r.Stage, r.Step, r.Dmesg = report.Refused, f.Errno, "elf_validity_check", "", []string{}
		return r
	}
	r.Name, r.Arch = d.im.Name, d.arch
	for i := range d.findings {
		if d.findings[i].Code != diag.DupExport {
			r.Findings = append(r.Findings, d.findings[i])
		}
	}
	r.Findings = append(r.Findings, compat.Layout(d.im, c.t)...)
	for i := range d.im.Imports {
		o := compat.Resolve(d.im, &d.im.Imports[i], c.t)
		if o.Finding != nil {
			r.Findings = append(r.Findings, *o.Finding)
			if o.Finding.Code == diag.SymCRC {
				r.CRCsDiffer++
			}
		}
		if o.Checked {
			r.CRCs++
		}
		if o.Owner != "" && !slices.Contains(r.Needs, o.Owner) {
			r.Needs = append(r.Needs, o.Owner)
		}
	}
	for i := range d.findings {
		if d.findings[i].Code == diag.DupExport {
			r.Findings = append(r.Findings, d.findings[i])
		}
	}
	r.Checked = append(r.Checked, fmt.Sprintf("%d symbols", len(d.im.Imports)))
	switch {
	case !c.t.ModVersions:
		r.NotChecked = append(r.NotChecked, report.NotChecked{What: "CRCs", Why: "the symvers has none"})
	case d.im.Versions == "none":
		r.NotChecked = append(r.NotChecked, report.NotChecked{What: "CRCs", Why: "the module has none"})
	default:
		r.Checked = append(r.Checked, fmt.Sprintf("%d CRCs", r.CRCs))
	}
	r.Checked = append(r.Checked, "licence", "namespaces", fmt.Sprintf("%d exports", len(d.exports)))
	r.NotChecked = append(r.NotChecked, report.NotChecked{What: "vermagic, struct module, signature, relocations", Why: "only a symvers was given"})
	r.Conclude()
	return r
}

func (c *checker) statusOf(r *report.Check) int {
	if c.o.exitZero {
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
