package check

import (
	"fmt"
	"strings"

	"kotool/internal/compat"
	"kotool/internal/diag"
	"kotool/internal/report"
	"kotool/internal/sim"
	"kotool/internal/target"
)

// Simulated fills in what a simulated load has asked, what it could not and why, and what a pattern of findings means.
func Simulated(r *report.Simulation, t *target.Target, req *sim.Request) {
	a := asked{r: r, t: t, req: req, unknown: t.NoExports && t.Learned == nil && t.Granted != nil, passed: map[string]bool{}, reached: map[string]bool{}}
	res := r.Res
	for i := range res.Stages {
		st := &res.Stages[i]
		for k := range compat.Stages {
			if g := &compat.Stages[k]; g.ID == st.ID && compat.SameStage(g.Name, st.Name) {
				a.reached[g.Name] = true
				a.passed[g.Name] = st.Errno == 0 && (i+1 < len(res.Stages) || res.Undefined == nil)
			}
		}
	}
	a.early()
	a.symbols()
	a.late()
	if res.Load.F != nil {
		a.notes(a.explain())
	}
}

// asked is a simulated load that is looked back on.
type asked struct {
	r               *report.Simulation
	t               *target.Target
	req             *sim.Request
	unknown         bool            // what the kernel exports is not known
	passed, reached map[string]bool // by stage
}

func (a *asked) not(what, why string) {
	a.r.NotChecked = append(a.r.NotChecked, report.NotChecked{What: what, Why: why})
}

func (a *asked) yes(format string, args ...any) {
	a.r.Checked = append(a.r.Checked, fmt.Sprintf(format, args...))
}

func (a *asked) note(text string) {
	if text != "" {
		a.r.Notes = append(a.r.Notes, text)
	}
}

// early is what stands before the symbols.
func (a *asked) early() {
	t, res := a.t, a.r.Res
	if a.reached["elf_validity_cache_copy"] {
		a.yes("format")
	}
	if a.reached["module_sig_check"] {
		signature(&t.Target, res.Load.Signed, a.yes, a.not)
	}
	if a.passed["early_mod_check"] {
		switch {
		case a.req.Flags&compat.IgnoreVermagic != 0:
			a.not("vermagic", "it is passed over, as asked")
		case t.Vermagic == "":
			a.not("vermagic", "the kernel's is not known")
		default:
			a.yes("vermagic")
		}
		if t.Struct.Size != 0 {
			a.yes("struct module")
		} else {
			a.not("struct module", "the kernel's size of it is not known")
		}
		a.yes("licence")
	}
	if a.passed["layout_and_allocate"] {
		a.yes("layout")
	}
	if a.reached["percpu_modalloc"] && !a.passed["percpu_modalloc"] {
		a.yes("per-CPU memory")
	}
	if p := res.Percpu; p != nil {
		switch {
		case p.Taken > 0:
			a.yes("per-CPU memory")
		case p.Reserve == 0:
			a.not("per-CPU memory", "nothing is kept for modules on this machine")
		default:
			a.not("per-CPU memory of all modules together", "each is taken to have the reserve for itself")
		}
	}
}

// symbols is what was asked of symbols, their CRCs and namespaces.
func (a *asked) symbols() {
	if !a.reached["simplify_symbols"] {
		return
	}
	r, t, res := a.r, a.t, a.r.Res
	switch {
	case a.unknown:
		a.not(count(res.Kernel, "symbol")+" of the kernel", "what it exports is not known")
		if n := res.Imports - res.Kernel - len(res.Weak); n > 0 && res.Errno == 0 {
			a.yes("%s of modules", count(n, "symbol"))
		}
	default:
		a.yes("%s", count(res.Imports-r.Unknown, "symbol"))
		if r.Unknown > 0 {
			a.not(count(r.Unknown, "symbol")+" more", "the evidence tells nothing of them")
		}
	}
	switch versions := res.Load.VersionsFormat(); {
	case a.req.Flags&compat.IgnoreModVersions != 0:
		a.not("CRCs", "they are passed over, as asked")
	case versions == "none":
		a.not("CRCs", "the module has none")
	case res.CRCs > 0:
		a.yes("%s", count(res.CRCs, "CRC"))
	case a.unknown || !t.ModVersions:
		a.not("CRCs", "the kernel's are not known; --symvers tells them")
	default:
		a.yes("0 CRCs")
	}
	a.yes("namespaces")
}

// late is what stands behind the symbols.
func (a *asked) late() {
	t, req, res, c := a.t, a.req, a.r.Res, a.r.Res.Load
	if a.reached["apply_relocations"] {
		a.yes("%s", count(res.Applied, "relocation"))
		switch {
		case res.Made > 0 && res.Made == res.Kernel+res.Asked:
			a.not("distances to the kernel", "its symbols' addresses are made up")
		case res.Made > 0:
			a.not("distances to "+count(res.Made, "symbol"), "their addresses are made up")
		}
	}
	if a.passed["complete_formation"] {
		a.yes("%s", count(res.Exported, "export"))
	}
	if a.reached["prepare_coming_module"] && c.F != nil && c.F.Find(".BTF") > 0 {
		if t.Base == nil {
			a.not("BTF base", "the kernel's types are not known")
		} else {
			a.yes("BTF")
		}
	}
	if a.reached["parse_args"] && res.Params != nil {
		a.yes("%s", count(len(res.Params.Args), "parameter"))
	}
	if a.reached["mod_sysfs_setup"] && t.Builtin == nil {
		a.not("names of built-in modules", "modules.builtin is not known")
	}
	if n := len(res.Stages); res.Errno != 0 || res.Undefined != nil {
		if n > 0 && !a.passed["do_init_module"] {
			a.not("what comes after "+res.Stage, "the kernel stops there")
		}
	} else if n > 0 {
		a.not("the patching of code", "alternatives, ftrace and static calls are not simulated")
		if req.HasInit {
			a.not("the module's own code", fmt.Sprintf("it is not run; its init function is taken to return %d", req.Init))
		}
	}
}

// explain gives findings the same words as those of check have, and returns how the CRCs differ.
func (a *asked) explain() pattern {
	r, t, res := a.r, a.t, a.r.Res
	s := &Session{T: t}
	differ := pattern{owners: map[string]int{}}
	for i := range r.Findings {
		f := &r.Findings[i]
		switch f.Code {
		case diag.LayoutCRC:
			differ.layout = true
		case diag.SymCRC:
			e, _ := t.Find([]byte(f.Where.Symbol), res.Name)
			differ.owners[e.OwnerName()]++
		case diag.SymMissing, diag.SymGPL:
			if owner := unloaded(t, f.Where.Symbol, res.Name); owner != "" && f.Code == diag.SymMissing {
				f.Message = f.Where.Symbol + " is exported by " + owner + ", which is not loaded"
				f.Hint, f.Certain = "load "+owner+" first", &certain
				if t.Tree != nil {
					f.Hint += ": --with-deps does"
				}
				continue
			}
			s.explain(f, &compat.Import{Name: f.Where.Symbol}, &t.Target)
		}
	}
	return differ
}

// notes are about the load as a whole.
func (a *asked) notes(differ pattern) {
	r, t, res, c := a.r, a.t, a.r.Res, a.r.Res.Load
	a.note(differ.text(res.CRCs, res.Differ))
	a.note(trimmed(t, r.Findings, res.Imports))
	a.note(gplOnly(r.Findings, c.License()))
	switch n := len(res.Weak); {
	case n == 1 && a.unknown:
		a.note(res.Weak[0] + " is weak and stays 0: nothing says that the kernel has it, the module has no version of it")
	case n == 1:
		a.note(res.Weak[0] + " is weak and stays 0: nothing provides it")
	case n > 1 && a.unknown:
		a.note(fmt.Sprintf("%d weak symbols stay 0: nothing says that the kernel has them, the module has no versions of them: %s", n, report.Few(res.Weak, n)))
	case n > 1:
		a.note(fmt.Sprintf("%d weak symbols stay 0: nothing provides them: %s", n, report.Few(res.Weak, n)))
	}
	if lacksVersions(c.VersionsFormat(), c.Vermagic()) {
		a.note(noVersions)
	}
	if p := res.Percpu; p != nil && p.Taken > p.Reserve/4*3 && !p.Exact {
		a.note(fmt.Sprintf("modules have %d of the %d bytes that the kernel keeps for their per-CPU data; where these begin is not known (__per_cpu_end tells it), so alignment may cost a little more or less", p.Taken, p.Reserve))
	}
}

var certain = true

// unloaded is the module that exports a symbol, by what is known of modules that are not loaded; "" where none does.
func unloaded(t *target.Target, symbol, not string) string {
	u := t.Target
	u.OnlyLoaded, u.Granted, u.Learned = false, nil, nil
	e, _ := u.Find([]byte(symbol), not)
	return e.Owner
}

// signature says whether a signature was checked, and why not. A kernel that has no signatures gets no word.
func signature(t *compat.Target, signed bool, yes func(format string, args ...any), not func(what, why string)) {
	switch {
	case t.Keys != nil, t.Enforce == compat.Yes && !signed:
		yes("signature")
	case t.Enforce == compat.No && t.Is("MODULE_SIG") == compat.No:
	case signed:
		not("signature", "no keys given")
	case t.Enforce == compat.Unknown:
		not("signature", "there is none; whether the kernel asks for one is not known")
	}
}

// lacksVersions reports whether a module has no CRCs in spite of its vermagic.
func lacksVersions(format, vermagic string) bool {
	return format == "none" && strings.Contains(vermagic+" ", " modversions ")
}

// noVersions is said of such a module.
const noVersions = "the module carries no symbol versions although its vermagic says modversions: it was built without Module.symvers"
