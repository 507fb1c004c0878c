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
	res := r.Res
	c := res.Load
	s := &Session{T: t}
	not := func(what, why string) { r.NotChecked = append(r.NotChecked, report.NotChecked{What: what, Why: why}) }
	yes := func(format string, args ...any) { r.Checked = append(r.Checked, fmt.Sprintf(format, args...)) }
	note := func(text string) {
		if text != "" {
			r.Notes = append(r.Notes, text)
		}
	}
	passed := map[string]bool{}
	reached := map[string]bool{}
	for i := range res.Stages {
		st := &res.Stages[i]
		for k := range compat.Stages {
			if g := &compat.Stages[k]; g.ID == st.ID && compat.SameStage(g.Name, st.Name) {
				reached[g.Name] = true
				passed[g.Name] = st.Errno == 0 && (i+1 < len(res.Stages) || res.Undefined == nil)
			}
		}
	}
	if reached["elf_validity_cache_copy"] {
		yes("format")
	}
	if reached["module_sig_check"] {
		signature(&t.Target, c.Signed, yes, not)
	}
	if passed["early_mod_check"] {
		switch {
		case req.Flags&compat.IgnoreVermagic != 0:
			not("vermagic", "it is passed over, as asked")
		case t.Vermagic == "":
			not("vermagic", "the kernel's is not known")
		default:
			yes("vermagic")
		}
		if t.Struct.Size != 0 {
			yes("struct module")
		} else {
			not("struct module", "the kernel's size of it is not known")
		}
		yes("licence")
	}
	if passed["layout_and_allocate"] {
		yes("layout")
	}
	if reached["percpu_modalloc"] && !passed["percpu_modalloc"] {
		yes("per-CPU memory")
	}
	if p := res.Percpu; p != nil {
		switch {
		case p.Taken > 0:
			yes("per-CPU memory")
		case p.Reserve == 0:
			not("per-CPU memory", "nothing is kept for modules on this machine")
		default:
			not("per-CPU memory of all modules together", "each is taken to have the reserve for itself")
		}
	}
	unknown := t.NoExports && t.Learned == nil && t.Granted != nil
	if reached["simplify_symbols"] {
		switch {
		case unknown:
			not(count(res.Kernel, "symbol")+" of the kernel", "what it exports is not known")
			if n := res.Imports - res.Kernel - len(res.Weak); n > 0 && res.Errno == 0 {
				yes("%s of modules", count(n, "symbol"))
			}
		default:
			yes("%s", count(res.Imports-r.Unknown, "symbol"))
			if r.Unknown > 0 {
				not(count(r.Unknown, "symbol")+" more", "the evidence tells nothing of them")
			}
		}
		switch versions := c.VersionsFormat(); {
		case req.Flags&compat.IgnoreModVersions != 0:
			not("CRCs", "they are passed over, as asked")
		case versions == "none":
			not("CRCs", "the module has none")
		case res.CRCs > 0:
			yes("%s", count(res.CRCs, "CRC"))
		case unknown || !t.ModVersions:
			not("CRCs", "the kernel's are not known; --symvers tells them")
		default:
			yes("0 CRCs")
		}
		yes("namespaces")
	}
	if reached["apply_relocations"] {
		yes("%s", count(res.Applied, "relocation"))
		switch {
		case res.Made > 0 && res.Made == res.Kernel+res.Asked:
			not("distances to the kernel", "its symbols' addresses are made up")
		case res.Made > 0:
			not("distances to "+count(res.Made, "symbol"), "their addresses are made up")
		}
	}
	if passed["complete_formation"] {
		yes("%s", count(res.Exported, "export"))
	}
	if reached["prepare_coming_module"] && c.F != nil && c.F.Find(".BTF") > 0 {
		if t.BaseTypes == 0 {
			not("BTF base", "the kernel's types are not known")
		} else {
			yes("BTF")
		}
	}
	if reached["parse_args"] && res.Params != nil {
		yes("%s", count(len(res.Params.Args), "parameter"))
	}
	if reached["mod_sysfs_setup"] && t.Builtin == nil {
		not("names of built-in modules", "modules.builtin is not known")
	}
	if n := len(res.Stages); res.Errno != 0 || res.Undefined != nil {
		if n > 0 && !passed["do_init_module"] {
			not("what comes after "+res.Stage, "the kernel stops there")
		}
	} else if n > 0 {
		not("the patching of code", "alternatives, ftrace and static calls are not simulated")
		if req.HasInit {
			not("the module's own code", fmt.Sprintf("it is not run; its init function is taken to return %d", req.Init))
		}
	}
	if c.F == nil {
		return
	}
	// The same words as of check.
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
	note(differ.text(res.CRCs, res.Differ))
	note(trimmed(t, r.Findings, res.Imports))
	note(gplOnly(r.Findings, c.License()))
	switch n := len(res.Weak); {
	case n == 1 && unknown:
		note(res.Weak[0] + " is weak and stays 0: nothing says that the kernel has it, the module has no version of it")
	case n == 1:
		note(res.Weak[0] + " is weak and stays 0: nothing provides it")
	case n > 1 && unknown:
		note(fmt.Sprintf("%d weak symbols stay 0: nothing says that the kernel has them, the module has no versions of them: %s", n, report.Few(res.Weak, n)))
	case n > 1:
		note(fmt.Sprintf("%d weak symbols stay 0: nothing provides them: %s", n, report.Few(res.Weak, n)))
	}
	if lacksVersions(c.VersionsFormat(), c.Vermagic()) {
		note(noVersions)
	}
	if p := res.Percpu; p != nil && p.Taken > p.Reserve/4*3 && !p.Exact {
		note(fmt.Sprintf("modules have %d of the %d bytes that the kernel keeps for their per-CPU data; where these begin is not known (__per_cpu_end tells it), so alignment may cost a little more or less", p.Taken, p.Reserve))
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
