package check

import (
	"fmt"
	"strings"

	"kotool/internal/compat"
	"kotool/internal/diag"
	"kotool/internal/kver"
	"kotool/internal/report"
	"kotool/internal/target"
)

// pattern is how the CRCs of a module differ.
type pattern struct {
	layout bool           // that of module_layout does
	owners map[string]int // differing ones by who exports the symbol
}

// text says what the pattern means, "" where there is none.
func (p *pattern) text(compared, differ int) string {
	if compared == 0 || differ == 0 && !p.layout {
		return ""
	}
	from := ""
	switch kernel := p.owners["kernel"]; {
	case differ == 0:
	case kernel == differ:
		from = ", all from the kernel itself"
	case kernel == 0:
		from = ", none from the kernel itself: modules that it uses are of another build"
	}
	s := fmt.Sprintf("%d of %d CRCs agree, %d differ%s: ", compared-differ, compared, differ, from)
	switch {
	case differ == 0:
		return s + "struct module alone differs: the same source with another .config (likely)"
	case differ*10 >= compared*9:
		return s + "another kernel version, compiler or configuration altogether (likely)"
	case differ*4 <= compared:
		return s + "the same source; some structures or functions changed by a patch or the .config (likely)"
	}
	return s + "a widely used structure differs: another .config, or another patch level (likely)"
}

// trimmed says that a kernel exports only what its own modules use: CONFIG_TRIM_UNUSED_KSYMS.
func trimmed(t *target.Target, list []diag.Finding) string {
	missing := 0
	for i := range list {
		if list[i].Code == diag.SymMissing {
			missing++
		}
	}
	if missing == 0 || t.NoExports {
		return ""
	}
	const way = "out-of-tree modules need a kernel built without it, or with their symbols in CONFIG_UNUSED_KSYMS_WHITELIST"
	switch {
	case t.Is("TRIM_UNUSED_KSYMS") == compat.Yes:
		return fmt.Sprintf("the kernel was built with CONFIG_TRIM_UNUSED_KSYMS: %s", way)
	case t.Trimmed > 0:
		return fmt.Sprintf("the kernel exports only %d symbols, and its own modules use every one of them: it was built with CONFIG_TRIM_UNUSED_KSYMS (likely); %s", t.Trimmed, way)
	}
	return ""
}

// famous are symbols whose absence has a known cause. From memory of the kernel's history, and marked as likely.
var famous = []struct {
	name   string
	gone   kver.Version // no export since; zero: hangs on the option
	option string
	text   string
}{
	{"kallsyms_lookup_name", kver.V(5, 7), "", "exported GPL-only from 2.6.33 to 5.6, not exported since 5.7"},
	{"kallsyms_on_each_symbol", kver.V(5, 7), "", "not exported since 5.7"},
	{"printk", kver.V(5, 15), "", "called _printk since 5.15: the module was built for an older kernel"},
	{"_printk", kver.Version{}, "", "called printk before 5.15: the module was built for a newer kernel"},
	{"PDE_DATA", kver.V(5, 17), "", "called pde_data since 5.17"},
	{"complete_and_exit", kver.V(5, 17), "", "called kthread_complete_and_exit since 5.17"},
	{"strlcpy", kver.V(6, 8), "", "removed in 6.8; strscpy takes its place"},
	{"ioremap_nocache", kver.V(5, 6), "", "removed in 5.6; ioremap does the same"},
	{"do_gettimeofday", kver.V(5, 0), "", "removed in 5.0"},
	{"numa_node", kver.Version{}, "NUMA", "a per-CPU variable that exists with CONFIG_NUMA only"},
	{"lockdep_init_map_type", kver.Version{}, "LOCKDEP", "exists with CONFIG_LOCKDEP only: the module was built for a debug kernel"},
	{"lock_acquire", kver.Version{}, "LOCKDEP", "exists with CONFIG_LOCKDEP only: the module was built for a debug kernel"},
	{"lock_release", kver.Version{}, "LOCKDEP", "exists with CONFIG_LOCKDEP only: the module was built for a debug kernel"},
	{"__init_work", kver.Version{}, "DEBUG_OBJECTS_WORK", "exists with CONFIG_DEBUG_OBJECTS_WORK only: the module was built for a debug kernel"},
	{"mcount", kver.Version{}, "FUNCTION_TRACER", "the call of function tracing in kernels and compilers without -mfentry"},
	{"__fentry__", kver.Version{}, "FUNCTION_TRACER", "exists with CONFIG_FUNCTION_TRACER only"},
	{"__stack_chk_guard", kver.Version{}, "STACKPROTECTOR", "exists with CONFIG_STACKPROTECTOR and without per-task canaries only"},
	{"__stack_chk_fail", kver.Version{}, "STACKPROTECTOR", "exists with CONFIG_STACKPROTECTOR only"},
}

// explain adds to a finding about a symbol what is known of that symbol.
func (s *Session) explain(f *diag.Finding, imp *compat.Import, d *Draft, t *compat.Target) {
	likely := false
	switch f.Code {
	case diag.SymMissing, diag.SymGPL:
		for i := range famous {
			c := &famous[i]
			if c.name != imp.Name {
				continue
			}
			text := c.text
			switch {
			case c.option == "":
			case f.Code == diag.SymGPL:
				text = strings.Replace(text, "the module was built for", "one of", 1)
				if t.Is(c.option) == compat.Yes {
					text += "; this kernel has CONFIG_" + c.option
				}
			case t.Is(c.option) == compat.No:
				text += "; this kernel's .config says that it is not set"
			case t.Is(c.option) == compat.Yes:
				continue
			}
			f.Hint, f.Certain = imp.Name+": "+text, &likely
		}
		if f.Code == diag.SymMissing && s.T.Tree != nil && f.Hint == diag.Lookup(f.Code).Hint {
			f.Hint = ""
		}
	}
}

// structSize says more of a struct module of another size: where its fields are, and whether the module is for another kernel altogether.
func (s *Session) structSize(d *Draft, r *report.Check) {
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Code != diag.StructSize {
			continue
		}
		want := s.T.Struct
		f.Message += fmt.Sprintf("; init is at %s, exit at %s in the module, %s and %s in the kernel", at(d.init), at(d.exit), at(want.Init), at(want.Exit))
		mine, _, _ := strings.Cut(d.vermagic, " ")
		if mine != "" && s.T.Release != "" && mine != s.T.Release {
			f.Hint = fmt.Sprintf("the module was built for %s; rebuild it against the headers of %s", mine, s.T.Release)
		} else if diff := int64(d.size) - int64(want.Size); diff != 0 {
			likely := false
			f.Hint, f.Certain = fmt.Sprintf("same release, another configuration (%+d bytes): compare the .config of the headers with the kernel's own; mostly it is "+
				"CONFIG_DEBUG_INFO_BTF_MODULES, which goes off without pahole", diff), &likely
		}
	}
}

func at(off uint64) string {
	if off == 0 {
		return "(none)"
	}
	return fmt.Sprintf("%#x", off)
}
