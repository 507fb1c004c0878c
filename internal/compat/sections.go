package compat

import (
	stdelf "debug/elf"
	"fmt"
	"strings"

	"kotool/internal/diag"
	"kotool/internal/kver"
)

// Frob is what module_frob_arch_sections wants to find in the file. Its sizes are the Linkers'.
//
// Source: arch/*/kernel/module*.c: module_frob_arch_sections.
func (l *Load) Frob() (diag.Errno, error) {
	l.step = "h1"
	for i := range frobNeeds {
		n := &frobNeeds[i]
		if n.machine != l.F.Header.Machine || !l.T.has(n.in) || n.option != "" && !l.T.on(n.option, n.usual) {
			continue
		}
		for _, sec := range n.sections {
			if l.anySec(sec) != 0 {
				continue
			}
			line := n.line
			if strings.Contains(line, "%s") {
				line = fmt.Sprintf(line, l.Mod)
			}
			f := l.finding(diag.ArchSections, "section "+sec+", in which the kernel makes room for long branches or addresses, is missing", line)
			f.Want = sec
			return f.Errno, nil
		}
	}
	return 0, nil
}

// frobNeeds are the sections without which a machine refuses a module.
var frobNeeds = []struct {
	machine  stdelf.Machine
	in       kver.Range
	option   string // without which nothing is needed
	usual    bool
	sections []string
	line     string
}{
	{stdelf.EM_AARCH64, kver.Since(6, 2), "", true, []string{".plt", ".init.plt"}, "%s: module PLT section(s) missing"},
	{stdelf.EM_AARCH64, kver.Until(6, 2), "ARM64_MODULE_PLTS", true, []string{".plt", ".init.plt"}, "%s: module PLT section(s) missing"},
	{stdelf.EM_ARM, kver.All, "ARM_MODULE_PLTS", true, []string{".plt", ".init.plt"}, "%s: module PLT section(s) missing"},
	{stdelf.EM_RISCV, kver.Until(6, 7), "MODULE_SECTIONS", true, []string{".plt"}, "%s: module PLT section(s) missing"},
	{stdelf.EM_RISCV, kver.Since(6, 7), "MODULE_SECTIONS", false, []string{".plt"}, "%s: module PLT section(s) missing"},
	{stdelf.EM_RISCV, kver.Until(6, 7), "MODULE_SECTIONS", true, []string{".got"}, "%s: module GOT section(s) missing"},
	{stdelf.EM_RISCV, kver.Since(6, 7), "MODULE_SECTIONS", false, []string{".got"}, "%s: module GOT section(s) missing"},
	{stdelf.EM_RISCV, kver.Until(6, 7), "MODULE_SECTIONS", true, []string{".got.plt"}, "%s: module GOT.PLT section(s) missing"},
	{stdelf.EM_RISCV, kver.Since(6, 7), "MODULE_SECTIONS", false, []string{".got.plt"}, "%s: module GOT.PLT section(s) missing"},
	{stdelf.EM_LOONGARCH, kver.All, "", true, []string{".got"}, "%s: module GOT section(s) missing"},
	{stdelf.EM_LOONGARCH, kver.All, "", true, []string{".plt"}, "%s: module PLT section(s) missing"},
	{stdelf.EM_LOONGARCH, kver.All, "", true, []string{".plt.idx"}, "%s: module PLT.IDX section(s) missing"},
	{stdelf.EM_PPC64, kver.All, "", true, []string{".stubs"}, "module_64: %s: doesn't contain .stubs."},
	{stdelf.EM_PPC, kver.All, "", true, []string{".plt", ".init.plt"}, "module_32: Module doesn't contain .plt or .init.plt sections."},
}

// anySec is find_any_sec: the first section of that name, loaded or not, 0 for none.
func (l *Load) anySec(name string) int {
	for i := 1; i < len(l.Hdr); i++ {
		if n, _ := l.nameOf(i); n == name {
			return i
		}
	}
	return 0
}

// strictRWX are the machines whose kernels have CONFIG_STRICT_MODULE_RWX.
func (l *Load) strictRWX() bool {
	usual := false
	switch l.F.Header.Machine {
	case stdelf.EM_X86_64, stdelf.EM_386, stdelf.EM_AARCH64, stdelf.EM_ARM, stdelf.EM_RISCV, stdelf.EM_S390:
		usual = true
	case stdelf.EM_PPC64, stdelf.EM_LOONGARCH:
		usual = l.T.has(kver.Since(6, 0))
	}
	return l.T.on("STRICT_MODULE_RWX", usual)
}

// StrictRWX reports whether the kernel keeps code, constants and data on pages of their own.
func (l *Load) StrictRWX() bool { return l.strictRWX() }

// RWX is module_enforce_rwx_sections.
//
// Source: kernel/module/strict_rwx.c: module_enforce_rwx_sections.
func (l *Load) RWX() (diag.Errno, error) {
	l.step = "h2"
	if !l.strictRWX() || l.T.has(kver.Until(5, 8)) {
		return 0, nil
	}
	const wx = stdelf.SHF_WRITE | stdelf.SHF_EXECINSTR
	for i := range l.Hdr {
		if l.Hdr[i].Flags&wx == wx {
			name, _ := l.nameOf(i)
			f := l.finding(diag.WriteExec, l.Mod, name, i)
			f.Where = diag.In(name, i)
			return f.Errno, nil
		}
	}
	return 0, nil
}

// Unformed is add_unformed_module in kernels that look for the name only then.
func (l *Load) Unformed() (diag.Errno, error) {
	if l.T.has(before64) {
		return l.exists(), nil
	}
	return 0, nil
}

// KernelTaints is module_augment_kernel_taints, and E.
func (l *Load) KernelTaints() (diag.Errno, error) {
	l.step = "i2"
	if !l.T.has(before64) {
		l.originTaints()
		if l.tags.live {
			l.taint(diag.TaintLivepatch, TaintLivepatch, true, l.Mod)
		}
		l.licenseTaints()
	}
	l.step = "i2"
	if !l.SigOK && l.T.Is("MODULE_SIG") == Yes {
		l.taint(diag.TaintUnsigned, TaintUnsigned, true, l.Mod)
	}
	if !l.T.has(before64) {
		l.legacyNames()
	}
	return 0, nil
}

// legacyNames are names of wrappers of proprietary code.
//
// Source: kernel/module/main.c: module_augment_kernel_taints.
func (l *Load) legacyNames() {
	had := (l.T.Taints | l.Taints) & TaintProprietary
	switch l.Mod {
	case "ndiswrapper":
	case "driverloader", "lve":
		l.Taints |= TaintProprietary
	default:
		return
	}
	if had == 0 {
		l.taint(diag.TaintLegacy, TaintProprietary, true, l.Mod)
	}
}

// percpuRoom is what per-CPU data of modules may take: PERCPU_MODULE_RESERVE and the allocator's largest unit, bytes.
const (
	percpuRoom  = 8 << 10
	percpuLimit = 32 << 10
)

// PercpuAlloc is percpu_modalloc.
//
// Source: kernel/module/main.c: percpu_modalloc; mm/percpu.c: pcpu_alloc.
func (l *Load) PercpuAlloc() (diag.Errno, error) {
	l.step = "i3"
	if l.Index.Pcpu == 0 || !l.T.on("SMP", true) {
		return 0, nil
	}
	s := &l.Hdr[l.Index.Pcpu]
	if s.Size == 0 {
		return 0, nil
	}
	align := s.Align
	if page := l.pageSize(); align > page {
		l.finding(diag.PercpuAlign, l.Mod, align, page)
		align = page
	}
	switch {
	case s.Size > percpuLimit:
		return l.fail(diag.Percpu, l.Mod, s.Size, align, fmt.Sprintf("illegal size (%d) or align (%d) for percpu allocation", s.Size, align)), nil
	case s.Size > percpuRoom:
		return l.fail(diag.Percpu, l.Mod, s.Size, align,
			fmt.Sprintf("percpu: allocation failed, size=%d align=%d atomic=0, alloc from reserved chunk failed", s.Size, align)), nil
	}
	return 0, nil
}

// pageOptions are the options that say how large a page is, in KiB.
var pageOptions = []struct {
	option string
	kib    uint64
}{
	{"PPC_4K_PAGES", 4}, {"PPC_16K_PAGES", 16}, {"PPC_64K_PAGES", 64}, {"PPC_256K_PAGES", 256},
	{"ARM64_4K_PAGES", 4}, {"ARM64_16K_PAGES", 16}, {"ARM64_64K_PAGES", 64},
	{"PAGE_SIZE_4KB", 4}, {"PAGE_SIZE_8KB", 8}, {"PAGE_SIZE_16KB", 16}, {"PAGE_SIZE_32KB", 32}, {"PAGE_SIZE_64KB", 64}, {"PAGE_SIZE_256KB", 256},
}

// pageReleases are what a kernel's release says of its pages where its configuration is not known.
var pageReleases = []struct {
	machine stdelf.Machine // EM_NONE: any
	in      kver.Range
	part    string // of the release
	kib     uint64
}{
	{stdelf.EM_NONE, kver.All, "-64k", 64},
	{stdelf.EM_NONE, kver.All, "-16k", 16},
	{stdelf.EM_PPC64, kver.Since(6, 10), "+deb", 4}, // Debian's kernels have small pages since, and a flavour -64k (measured 6.12)
}

func (l *Load) pageSize() uint64 {
	for i := range pageOptions {
		if l.T.Is(pageOptions[i].option) == Yes {
			return pageOptions[i].kib << 10
		}
	}
	for i := range pageReleases {
		p := &pageReleases[i]
		if (p.machine == stdelf.EM_NONE || p.machine == l.F.Header.Machine) && l.T.has(p.in) && strings.Contains(l.T.Release, p.part) {
			return p.kib << 10
		}
	}
	if l.T.Arch != nil {
		return l.T.Arch.PageSize
	}
	if l.F.Arch != nil {
		return l.F.Arch.PageSize
	}
	return pageSize
}

// PageSize is the kernel's, bytes.
func (l *Load) PageSize() uint64 { return l.pageSize() }

// ksymSize is the size of an entry of __ksymtab, bytes.
func (l *Load) ksymSize() uint64 {
	a := l.F.Arch
	switch {
	case l.T.has(kver.Until(4, 19)):
		return 2 * l.Word()
	case a != nil && a.PREL32 && l.T.has(kver.Until(5, 4)):
		return 8
	case a != nil && a.PREL32:
		return 12
	case l.T.has(kver.Until(5, 4)):
		return 2 * l.Word()
	}
	return 3 * l.Word()
}

// oneTable is the form of exports since 7.1: one table, flags beside it. Source: kernel/module/main.c: find_module_sections.
var oneTable = kver.Since(7, 1)

// Kflags reports whether the module's exports are in the form of 7.1 and the kernel is older.
func (l *Load) Kflags() bool { return !l.T.has(oneTable) && l.findSec("__kflagstab") != 0 }

// FindSections is find_module_sections and what follows it, as far as it can fail: constructors, exports without flags or CRCs, namespaces.
//
// Source: kernel/module/main.c: find_module_sections, check_export_symbol_sections, check_export_symbol_versions, setup_modinfo.
func (l *Load) FindSections() (diag.Errno, error) {
	l.step = "i4"
	if l.T.has(kver.Since(3, 15)) && l.T.on("CONSTRUCTORS", false) && l.findSec(".ctors") != 0 && l.findSec(".init_array") != 0 {
		return l.fail(diag.Ctors, l.Mod), nil
	}
	if l.findSec("__obsparm") != 0 {
		l.finding(diag.ObsParm, l.Mod)
	}
	exports := l.objs("__ksymtab", l.ksymSize())
	if l.T.has(oneTable) {
		for _, name := range []string{"__ksymtab_gpl", "__kcrctab_gpl"} {
			if l.findSec(name) != 0 {
				l.finding(diag.ObsGPL, l.Mod, name)
			}
		}
		l.step = "i5"
		if exports > 0 && l.findSec("__kflagstab") == 0 {
			f := l.finding(diag.NoFlags, l.Mod, exports)
			if gpl := l.objs("__ksymtab_gpl", l.ksymSize()); gpl > 0 {
				f.Message += fmt.Sprintf("; it has %d more in __ksymtab_gpl, as kernels before 7.1 have them", gpl)
			}
			return f.Errno, nil
		}
	}
	l.step = "i6"
	if l.T.hasVersions() {
		bare := exports > 0 && l.findSec("__kcrctab") == 0
		if !l.T.has(oneTable) {
			bare = bare || l.objs("__ksymtab_gpl", l.ksymSize()) > 0 && l.findSec("__kcrctab_gpl") == 0
		}
		if bare {
			if errno := l.forced("no versions for exported symbols", func() *diag.Finding { return l.finding(diag.ExportNoCRC, l.Mod) }); errno != 0 {
				return errno, nil
			}
		}
	}
	if l.T.has(before64) {
		l.legacyNames()
	}
	l.step = "i7"
	if l.T.has(kver.Since(6, 16)) {
		for _, ns := range l.tags.importNS {
			if strings.HasPrefix(ns, "module:") {
				return l.fail(diag.NSModule, l.Mod, ns), nil
			}
		}
	}
	return 0, nil
}

// Sysfs is mod_sysfs_setup: the module's name, and the names of its loaded sections.
//
// Source: kernel/module/sysfs.c: mod_sysfs_init, add_sect_attrs; lib/kobject.c: kobject_add_internal.
func (l *Load) Sysfs() (diag.Errno, error) {
	l.step = "k9"
	if l.Mod == "" {
		return l.fail(diag.NameEmpty), nil
	}
	if l.T.InSysfs != nil && l.T.InSysfs(l.Mod) || l.Mod == "kernel" {
		return l.fail(diag.SysfsName, l.Mod), nil
	}
	if !l.T.on("KALLSYMS", true) {
		return 0, nil
	}
	seen := make(map[string]bool, len(l.Hdr))
	for i := range l.Hdr {
		s := &l.Hdr[i]
		if s.Flags&stdelf.SHF_ALLOC == 0 || s.Size == 0 {
			continue
		}
		name, _ := l.nameOf(i)
		if !seen[name] {
			seen[name] = true
			continue
		}
		f := l.finding(diag.SysfsSection, l.Mod, name)
		if l.T.has(kver.Until(6, 12)) {
			f.Severity, f.Errno = diag.Warning, 0
			return 0, nil
		}
		return f.Errno, nil
	}
	return 0, nil
}
