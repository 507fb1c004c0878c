package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"kotool/internal/compat"
	"kotool/internal/diag"
	"kotool/internal/module"
	"kotool/internal/report"
	"kotool/internal/sim"
	"kotool/internal/source"
	"kotool/internal/target"
)

// Session answers modules for one target, in the order in which they are given: as if they were loaded in turn.
type Session struct {
	T *target.Target
	// Info is what every answer says of the target.
	Info *report.CheckTarget
	// Open opens a module's file again, for a simulation.
	Open func(path string) (*source.Input, error)
}

// Frozen is the target for drafts: it does not change while a session goes on.
func (s *Session) Frozen() *compat.Target {
	t := s.T.Target
	t.Live, t.LiveModules = nil, nil
	return &t
}

// Register makes a module's exports known to those that come after it, and notes those that exist already.
func (s *Session) Register(d *Draft) {
	if !d.whole {
		return
	}
	t := &s.T.Target
	kernels := 0
	for i := range d.exports {
		e := &d.exports[i]
		if f := compat.Duplicate(d.im.Name, e.Name, t); f != nil {
			if f.Got == "kernel" {
				kernels++
			}
			d.after.Findings = append(d.after.Findings, *f)
			continue
		}
		t.Live[e.Name] = e.Export
	}
	if t.Builtin == nil {
		if kernels > 0 && kernels == len(d.exports) {
			d.extra = append(d.extra, diag.New(diag.Builtin, t.Version, d.name, "the kernel exports all that it exports"))
		}
		return
	}
	if p := t.Builtin(d.name); p != "" {
		d.extra = append(d.extra, diag.New(diag.Builtin, t.Version, d.name, "modules.builtin has "+p))
	}
}

// Complete reports whether every symbol that the module needs is provided already.
func (s *Session) Complete(d *Draft) bool {
	if !d.whole {
		return true
	}
	// What is provided stays so: the search goes on where it stopped.
	for ; d.provided < len(d.im.Imports); d.provided++ {
		imp := &d.im.Imports[d.provided]
		if imp.Bad != "" || imp.Weak {
			continue
		}
		if !s.T.Provides(imp, d.im.Name) {
			return false
		}
	}
	return true
}

// Answer is what the kernel says to a module. An error is one of reading it again.
func (s *Session) Answer(d *Draft) (*report.Check, error) {
	r := &report.Check{File: d.Path, Name: d.name, Arch: d.arch, Target: s.Info, Checked: append(make([]string, 0, 8), "format")}
	r.Findings = append(r.Findings, d.before.Findings...)
	r.Verdict = report.Loads
	t := s.T.Target
	t.Version = d.t.Version
	v := &verdict{r: r, t: &t}
	v.part(&d.before)
	s.structSize(d, r)
	if d.odd {
		return r, s.simulateWhole(d, r, v, &t)
	}
	if !d.whole {
		if d.refusedPacked {
			f := &d.extra[0]
			v.log(f.Dmesg)
			v.refuse(f.Errno, diag.Lookup(f.Code).Stage, f.Step)
		}
		if d.NotModule != nil && r.Verdict == report.Loads {
			f := diag.New(diag.NotModule, t.Version, d.NotModule.Error())
			r.Findings = append(r.Findings, f)
			v.refuse(f.Errno, "elf_validity_cache_copy", "")
		}
		r.Findings = append(r.Findings, d.extra...)
		return r, nil
	}
	if t.NoExports && t.Learned == nil {
		v.doubt() // only what needs no target is looked at
		r.Notes = append(r.Notes, "what the kernel exports is not known: --against or --symvers tells it")
	} else {
		s.symbols(d, r, v, &t)
	}
	r.Findings = append(r.Findings, d.relocs...)
	if len(d.suspicious) > 0 && !v.refused {
		if err := s.simulate(d, r, v, &t); err != nil {
			return nil, err
		}
	}
	for i := range d.relocs {
		if f := &d.relocs[i]; len(f.Assumes) > 0 {
			v.doubt()
		} else if f.Severity == diag.Error {
			v.log(f.Dmesg)
			v.refuse(f.Errno, "apply_relocations", f.Step)
		}
	}
	if !d.modelled {
		v.doubt()
	}
	s.afterwards(d, r, v)
	if note := duplicates(d, r.Findings); note != "" {
		r.Notes = append(r.Notes, note)
	}
	r.Findings = append(r.Findings, d.extra...)
	for i := range d.extra {
		f := &d.extra[i]
		switch {
		case f.Severity != diag.Error:
		case len(f.Assumes) > 0:
			v.doubt()
		case f.Step == "1.8":
			// The kernel sees the compressed file before anything else.
			v.refused, r.Dmesg = false, slices.Clone(f.Dmesg)
			v.refuse(f.Errno, diag.Lookup(f.Code).Stage, f.Step)
		default:
			v.refuse(f.Errno, diag.Lookup(f.Code).Stage, f.Step)
		}
	}
	s.sameRelease(d, r)
	forced(r)
	r.Details = func() { s.says(d, r, &t) }
	return r, nil
}

// verdict gathers the answer in the kernel's order.
type verdict struct {
	r       *report.Check
	t       *compat.Target
	refused bool
}

func (v *verdict) refuse(errno diag.Errno, stage, step string) {
	if v.refused {
		return
	}
	v.refused = true
	v.r.Verdict, v.r.Errno, v.r.Stage, v.r.Step = report.Refused, errno, v.t.StageName(stage, step), step
}

func (v *verdict) doubt() {
	if !v.refused {
		v.r.Verdict = report.Undecided
	}
}

func (v *verdict) log(lines []string) {
	if !v.refused {
		v.r.Dmesg = append(v.r.Dmesg, lines...)
	}
}

func (v *verdict) part(p *compat.Part) {
	for _, l := range p.Log {
		v.log([]string{l.Text})
	}
	if p.Doubt {
		v.doubt()
	}
	switch {
	case p.Errno != 0:
		v.refuse(p.Errno, p.Stage, p.Step)
	case p.Undefined != nil:
		v.undefined(p.Undefined)
	}
}

// undefined says that what the kernel does cannot be told.
func (v *verdict) undefined(err error) {
	f := diag.New(diag.Undefined, v.r.Version(), err.Error())
	f.Assumes = []string{"the kernel survives it; it may crash, or load the module"}
	v.r.Findings = append(v.r.Findings, f)
	v.doubt()
}

// symbols is simplify_symbols.
func (s *Session) symbols(d *Draft, r *report.Check, v *verdict, t *compat.Target) {
	res := compat.NewResolver(d.im, t)
	bad := diag.Errno(0)
	var lines []string
	differ := pattern{owners: map[string]int{}}
	for i := range d.im.Imports {
		imp := &d.im.Imports[i]
		o := res.Resolve(imp)
		if o.Warning != nil {
			r.Findings = append(r.Findings, *o.Warning)
			lines = append(lines, o.Warning.Dmesg...)
		}
		if f := o.Finding; f != nil {
			if f.Code == diag.SymMissing && (t.NoExports && s.T.Tree == nil || s.T.ModulesUnknown && len(d.im.Depends) > 0 && !isFamous(imp.Name, t)) {
				// A few modules are all that is known of the kernel, and that they do not use it says nothing; or the module says that it depends
				// on others, of which nothing is known.
				r.Unknown++
				v.doubt()
				continue
			}
			s.explain(f, imp, t)
			r.Findings = append(r.Findings, *f)
			lines = append(lines, f.Dmesg...)
			switch {
			case o.Errno == 0:
			case len(f.Assumes) > 0:
				v.doubt()
			default:
				bad = o.Errno // the last one counts
			}
			if f.Code == diag.SymCRC {
				r.CRCsDiffer++
				differ.owners[o.Export.OwnerName()]++
			}
		}
		if o.Checked {
			r.CRCs++
		}
		if o.Owner != "" {
			r.Need(o.Owner)
		}
	}
	r.CRCs += d.im.PlainCRCs
	v.log(lines)
	if bad != 0 {
		v.refuse(bad, "simplify_symbols", "2.7")
	}
	for i := range d.before.Findings {
		differ.layout = differ.layout || d.before.Findings[i].Code == diag.LayoutCRC
	}
	if note := differ.text(r.CRCs, r.CRCsDiffer); note != "" {
		r.Notes = append(r.Notes, note)
	}
	for _, note := range []string{trimmed(s.T, r.Findings, d.im.Count()), gplOnly(r.Findings, d.im.License)} {
		if note != "" {
			r.Notes = append(r.Notes, note)
		}
	}
}

// simulateWhole takes the whole answer from a simulation.
func (s *Session) simulateWhole(d *Draft, r *report.Check, v *verdict, t *compat.Target) error {
	res, err := s.load(d, t)
	if err != nil {
		return err
	}
	r.Findings, r.Dmesg = res.Findings, []string{}
	for _, l := range res.Log {
		r.Dmesg = append(r.Dmesg, l.Text)
	}
	switch {
	case res.Undefined != nil:
		v.undefined(res.Undefined)
	case res.Errno != 0:
		v.refuse(res.Errno, res.Stage, res.Step)
	}
	return nil
}

// load simulates a load into a kernel that holds nothing else.
func (s *Session) load(d *Draft, t *compat.Target) (*sim.Result, error) {
	src, done, err := d.source(func() (*source.Input, error) { return s.Open(d.Path) })
	if err != nil {
		return nil, err
	}
	defer done()
	return sim.NewKernel(alone(t)).Load(sim.RequestOf(src)), nil
}

// alone is a target of which a simulation changes nothing, and in which no module has that name yet, whatever has been given before.
func alone(t *compat.Target) *compat.Target {
	c := *t
	if c.NoExports && c.Granted == nil {
		c.Granted, c.LeaveWeak = func([]byte) bool { return true }, true // not the question here
	}
	c.Live, c.LiveModules = maps.Clone(t.Live), map[string]*compat.LiveModule{}
	return &c
}

// simulate lets memory decide.
func (s *Session) simulate(d *Draft, r *report.Check, v *verdict, t *compat.Target) error {
	res, err := s.load(d, t)
	if err != nil {
		return err
	}
	switch {
	case res.Undefined != nil:
		v.undefined(res.Undefined)
	case res.Errno != 0 && (res.Stage == "layout_and_allocate" || res.Stage == "move_module" || res.Stage == "module_frob_arch_sections" || res.Stage == "apply_relocations" || res.Stage == "post_relocation"):
		n := len(res.Findings)
		if n == 0 || res.Findings[n-1].Severity != diag.Error {
			if res.Stage != "module_frob_arch_sections" { // of which the judgement has said all that there is to say
				v.refuse(res.Errno, res.Stage, res.Step)
			}
			break
		}
		f := res.Findings[n-1]
		if k := slices.IndexFunc(r.Findings, func(x diag.Finding) bool { return x.Code == f.Code && x.Step == f.Step && len(x.Dmesg) == 0 }); k >= 0 {
			x := &r.Findings[k] // it tells more of the cause, the simulation what the kernel says
			x.Dmesg, x.Errno, x.Assumes = f.Dmesg, f.Errno, nil
		} else {
			r.Findings = append(r.Findings, f)
		}
		v.log(f.Dmesg)
		v.refuse(res.Errno, res.Stage, res.Step)
	}
	return nil
}

// afterwards is what is asked behind the relocations: exports that exist, BTF, names in sysfs.
func (s *Session) afterwards(d *Draft, r *report.Check, v *verdict) {
	r.Findings = append(r.Findings, d.after.Findings...)
	for i := range d.after.Findings {
		if f := &d.after.Findings[i]; f.Code == diag.DupExport && f.Errno != 0 {
			v.log(f.Dmesg)
			v.refuse(f.Errno, diag.Lookup(f.Code).Stage, "k5")
		}
	}
	v.part(&d.after)
}

// says fills in what was looked at and what was not, and why.
func (s *Session) says(d *Draft, r *report.Check, t *compat.Target) {
	not := func(what, why string) { r.NotChecked = append(r.NotChecked, report.NotChecked{What: what, Why: why}) }
	yes := func(format string, args ...any) { r.Checked = append(r.Checked, fmt.Sprintf(format, args...)) }
	if t.Vermagic != "" {
		yes("vermagic")
	} else {
		not("vermagic", "the kernel's is not known")
	}
	if t.Struct.Size != 0 {
		yes("struct module")
	} else {
		not("struct module", "the kernel's size of it is not known")
	}
	if t.NoExports && t.Learned == nil {
		not(count(d.im.Count(), "symbol"), "what the kernel exports is not known")
	} else {
		yes("%s", count(d.im.Count()-r.Unknown, "symbol"))
		if r.Unknown > 0 {
			why := "the evidence tells nothing of them"
			if s.T.ModulesUnknown {
				why = "what " + strings.Join(d.im.Depends, ", ") + " export is not known; --with tells it"
			}
			not(fmt.Sprintf("%s more", count(r.Unknown, "symbol")), why)
		}
	}
	switch {
	case t.NoExports && t.Learned == nil:
	case !t.ModVersions:
		not("CRCs", "the kernel has none")
	case d.im.Versions == "none":
		not("CRCs", "the module has none")
	default:
		yes("%s", count(r.CRCs, "CRC"))
	}
	yes("licence")
	yes("namespaces")
	yes("%s", count(len(d.exports), "export"))
	if d.modelled {
		yes("relocations")
		not("relocation range", "no layout; simulate-load makes one")
	} else {
		not("relocations", "this machine's loader is not modelled")
	}
	signature(t, d.signed, yes, not)
	if d.hasBTF && t.Base == nil {
		not("BTF base", "the kernel's types are not known")
	}
	if d.assumed {
		not("era", "by the rules of "+d.t.Version.String()+", for which the module was built")
	}
	r.Notes = append(r.Notes, d.notes...)
	if d.noVersions {
		r.Notes = append(r.Notes, noVersions)
	}
	slices.Sort(r.Needs)
	r.Order = s.order(r.Needs)
}

// order is the modules that have to be loaded before, the first first.
func (s *Session) order(needs []string) []string {
	if len(needs) == 0 || s.T.Deps == nil {
		return nil // what those need is not known
	}
	var list []string
	for _, n := range needs {
		deps := s.T.Deps()(n)
		for i := len(deps) - 1; i >= 0; i-- {
			if name := module.NameOfFile(deps[i]); !slices.Contains(list, name) {
				list = append(list, name)
			}
		}
		if !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	return list
}
