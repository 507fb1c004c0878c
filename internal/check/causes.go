package check

import (
	"fmt"
	"maps"
	"slices"
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
	if differ == 0 {
		return fmt.Sprintf("%s agree%s, and module_layout alone differs: the same source with another .config (likely)", count(compared, "other CRC"), one(compared))
	}
	from, kernel := "", p.owners["kernel"]
	switch {
	case kernel == differ:
		from = ", all from the kernel itself"
	case kernel == 0:
		var who []string
		for _, o := range slices.Sorted(maps.Keys(p.owners)) {
			who = append(who, fmt.Sprintf("%d from %s", p.owners[o], o))
		}
		from = ", none from the kernel itself (" + strings.Join(who, ", ") + ")"
	default:
		from = fmt.Sprintf(", %d from the kernel itself", kernel)
	}
	s := fmt.Sprintf("%d of %s agree, %d differ%s%s: ", compared-differ, count(compared, "CRC"), differ, one(differ), from)
	switch {
	case kernel == 0:
		return s + "the kernel is the right one, modules that it uses are of another build (likely)"
	case differ*10 >= compared*9:
		return s + "another kernel version, compiler or configuration altogether (likely)"
	case differ*4 <= compared:
		return s + "the same source; some structures or functions changed by a patch or the .config (likely)"
	}
	return s + "a widely used structure differs: another .config, or another patch level (likely)"
}

// one is the ending of a verb in the third person: "1 differs", "2 differ".
func one(n int) string {
	if n == 1 {
		return "s"
	}
	return ""
}

// count is a number of things: "1 symbol", "2 symbols".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// trimmed says that a kernel exports only what its own modules use: CONFIG_TRIM_UNUSED_KSYMS.
func trimmed(t *target.Target, list []diag.Finding, imported int) string {
	missing := number(list, diag.SymMissing)
	if missing == 0 || t.NoExports {
		return ""
	}
	const way = "out-of-tree modules need a kernel built without it, or with their symbols in CONFIG_UNUSED_KSYMS_WHITELIST"
	switch {
	case t.Is("TRIM_UNUSED_KSYMS") == compat.Yes:
		return fmt.Sprintf("%d of %s not exported; the kernel was built with CONFIG_TRIM_UNUSED_KSYMS: %s", missing, imports(imported), way)
	case t.Trimmed > 0:
		return fmt.Sprintf("%d of %s not exported; the kernel exports only %d symbols, and its own modules use every one of them: it was built with CONFIG_TRIM_UNUSED_KSYMS (likely); %s", missing, imports(imported), t.Trimmed, way)
	}
	return ""
}

func number(list []diag.Finding, code diag.Code) int {
	n := 0
	for i := range list {
		if list[i].Code == code {
			n++
		}
	}
	return n
}

func imports(n int) string {
	if n == 1 {
		return "1 import is"
	}
	return fmt.Sprintf("%d imports are", n)
}

// famousSymbol is a symbol whose absence has a known cause. From memory of the kernel's history, and marked as likely.
type famousSymbol struct {
	name   string
	in     kver.Range // of kernels that do not export it
	option string     // "": always; else it hangs on the option
	debug  bool       // an option of debug kernels
	text   string
}

var famous = []famousSymbol{
	{"kallsyms_lookup_name", kver.Since(5, 7), "", false, "exported GPL-only from 2.6.33 to 5.6, not exported since 5.7 (commit 0bd476e6c671)"},
	{"kallsyms_on_each_symbol", kver.Since(5, 7), "", false, "exported GPL-only to 5.6, not exported since 5.7 (commit 0bd476e6c671)"},
	{"printk", kver.Since(5, 15), "", false, "called _printk since 5.15: the module was built for an older kernel"},
	{"_printk", kver.Until(5, 15), "", false, "called printk before 5.15: the module was built for a newer kernel"},
	{"PDE_DATA", kver.Since(5, 17), "", false, "called pde_data since 5.17"},
	{"complete_and_exit", kver.Since(5, 17), "", false, "called kthread_complete_and_exit since 5.17"},
	{"strlcpy", kver.Since(6, 8), "", false, "removed in 6.8; strscpy takes its place"},
	{"ioremap_nocache", kver.Since(5, 6), "", false, "removed in 5.6; ioremap does the same"},
	{"do_gettimeofday", kver.Since(5, 0), "", false, "removed in 5.0"},
	{"numa_node", kver.All, "NUMA", false, "a per-CPU variable that exists with CONFIG_NUMA only"},
	{"lockdep_init_map_type", kver.All, "LOCKDEP", true, "exists with CONFIG_LOCKDEP only: the module was built for a debug kernel"},
	{"lock_acquire", kver.All, "LOCKDEP", true, "exists with CONFIG_LOCKDEP only: the module was built for a debug kernel"},
	{"lock_release", kver.All, "LOCKDEP", true, "exists with CONFIG_LOCKDEP only: the module was built for a debug kernel"},
	{"__init_work", kver.All, "DEBUG_OBJECTS_WORK", true, "exists with CONFIG_DEBUG_OBJECTS_WORK only: the module was built for a debug kernel"},
	{"mcount", kver.All, "FUNCTION_TRACER", false, "the call of function tracing in kernels and compilers without -mfentry"},
	{"__fentry__", kver.All, "FUNCTION_TRACER", false, "exists with CONFIG_FUNCTION_TRACER only"},
	{"__stack_chk_guard", kver.All, "STACKPROTECTOR", false, "exists with CONFIG_STACKPROTECTOR and without per-task canaries only"},
	{"__stack_chk_fail", kver.All, "STACKPROTECTOR", false, "exists with CONFIG_STACKPROTECTOR only"},
}

// isFamous reports whether a kernel is known not to export a name.
func isFamous(name string, t *compat.Target) bool {
	return slices.ContainsFunc(famous, func(c famousSymbol) bool { return c.name == name && c.option == "" && c.in.Has(t.Version) })
}

// explain adds to a finding about a symbol what is known of that symbol.
func (s *Session) explain(f *diag.Finding, imp *compat.Import, t *compat.Target) {
	likely := false
	switch f.Code {
	case diag.SymMissing, diag.SymGPL:
		for i := range famous {
			c := &famous[i]
			if c.name != imp.Name || !t.Version.IsZero() && !c.in.Has(t.Version) {
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
		if f.Code == diag.SymMissing && s.T.Tree != nil {
			if f.Hint == diag.New(f.Code, t.Version, "", imp.Name, 0).Hint {
				f.Hint = "" // whoever exports it is not in the tree
			}
			f.Message = fmt.Sprintf("nothing exports %s, neither the kernel nor any of its %s", imp.Name, count(s.T.Tree.Modules, "module"))
		}
	}
}

// gplOnly says why a kernel may have symbols that are for GPL modules only.
func gplOnly(list []diag.Finding, license string) string {
	n := number(list, diag.SymGPL)
	if n == 0 {
		return ""
	}
	text := fmt.Sprintf("the licence %q is not GPL-compatible (the kernel's list: GPL, GPL v2, GPL and additional rights, Dual BSD/GPL, Dual MIT/GPL, Dual MPL/GPL), and %s GPL-only",
		license, imports(n))
	var options []string
	for i := range list {
		if f := &list[i]; f.Code == diag.SymGPL {
			k := slices.IndexFunc(famous, func(c famousSymbol) bool { return c.name == f.Where.Symbol && c.debug })
			if k < 0 {
				return text
			}
			if o := famous[k].option; !slices.Contains(options, o) {
				options = append(options, o)
			}
		}
	}
	return text + "; all come in by debug options only (" + strings.Join(options, ", ") + "): this is a debug kernel (likely)"
}

// sameRelease says that a module is of the kernel's release and not of its build, or of another release altogether.
func (s *Session) sameRelease(d *Draft, r *report.Check) {
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Code != diag.LayoutCRC || d.vermagic == "" {
			continue
		}
		mine, _, _ := strings.Cut(d.vermagic, " ")
		certain := true
		switch {
		case s.T.Vermagic == d.vermagic, s.T.Vermagic == "" && s.T.Release == mine:
			r.Notes = append(r.Notes, fmt.Sprintf("the release is the same (%s), the build is not", mine))
			f.Hint, f.Certain = "rebuild it with the Module.symvers of exactly that build: the same uname -r is not enough", &certain
		case s.T.Release != "" && s.T.Release != mine:
			r.Notes = append(r.Notes, fmt.Sprintf("the module was built for %s, the kernel is %s", mine, s.T.Release))
		}
	}
}

// forced says what a vermagic that is passed over (modprobe --force-vermagic) leads to.
func forced(r *report.Check) {
	if r.Verdict != report.Refused || number(r.Findings, diag.Vermagic) == 0 || r.Step != "g5" {
		return
	}
	next := "nothing else that was checked refuses it"
	for i := range r.Findings {
		if f := &r.Findings[i]; f.Code != diag.Vermagic && f.Severity == diag.Error && f.Errno != 0 {
			next = "the next refusal is " + string(f.Code) + ": " + f.Message
			break
		}
	}
	r.Notes = append(r.Notes, "modprobe --force-vermagic passes over the version magic, where the kernel has CONFIG_MODULE_FORCE_LOAD (taint F); "+next)
}

// duplicates says how many of a module's exports exist already.
func duplicates(d *Draft, list []diag.Finding) string {
	n := 0
	for i := range list {
		if list[i].Code == diag.DupExport && list[i].Got == "kernel" {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d of its %s are exported by the kernel already", n, count(len(d.exports), "export"))
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
		if fact := s.T.Fact("struct module size"); fact != nil {
			f.Message += ", by " + fact.From
		}
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
