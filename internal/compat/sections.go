package compat

import (
	stdelf "debug/elf"
	"fmt"
	"slices"
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

// percpuLimit is the most that the per-CPU allocator gives at once, bytes. Source: include/linux/percpu.h: PCPU_MIN_UNIT_SIZE.
const percpuLimit = 32 << 10

// PercpuReserve is what all modules together have for their per-CPU data, bytes; 0: nothing is kept for them, they share with everybody.
//
// Source: include/linux/percpu.h: PERCPU_MODULE_RESERVE; arch/x86/kernel/setup_percpu.c: PERCPU_FIRST_CHUNK_RESERVE; arch/powerpc/kernel/setup_64.c:
// setup_per_cpu_areas.
func (l *Load) PercpuReserve() uint64 {
	switch m := l.F.Header.Machine; {
	case m == stdelf.EM_386, m == stdelf.EM_PPC64:
		return 0
	case l.T.has(kver.Since(6, 10)) && l.T.Is("MEM_ALLOC_PROFILING") == Yes: // (≈) the kernels that have it larger
		return 64 << 10
	}
	return 8 << 10
}

// Percpu is the size and the alignment of the per-CPU data, bytes; 0 where there are none to be allocated.
func (l *Load) Percpu() (size, align uint64) {
	if l.Index.Pcpu == 0 || !l.T.on("SMP", true) {
		return 0, 0
	}
	s := &l.Hdr[l.Index.Pcpu]
	return s.Size, min(s.Align, l.pageSize())
}

// PercpuAlloc is percpu_modalloc, as far as one module decides.
//
// Source: kernel/module/main.c: percpu_modalloc; mm/percpu.c: pcpu_alloc.
func (l *Load) PercpuAlloc() (diag.Errno, error) {
	l.step = "i3"
	size, align := l.Percpu()
	if size == 0 {
		return 0, nil
	}
	if want := l.Hdr[l.Index.Pcpu].Align; want > align {
		l.finding(diag.PercpuAlign, l.Mod, want, align)
	}
	switch room := l.PercpuReserve(); {
	case size > percpuLimit || align&(align-1) != 0:
		return l.failPercpu(size, align, "illegal size (%d) or align (%d) for percpu allocation"), nil
	case room != 0 && size > room:
		return l.FailPercpu(size, align), nil
	}
	return 0, nil
}

// FailPercpu says that the reserve has no room.
func (l *Load) FailPercpu(size, align uint64) diag.Errno {
	return l.failPercpu(size, align, "percpu: allocation failed, size=%d align=%d atomic=0, alloc from reserved chunk failed")
}

// failPercpu has the allocator's line: its sizes and alignments are whole units of four bytes.
func (l *Load) failPercpu(size, align uint64, format string) diag.Errno {
	f := l.finding(diag.Percpu, l.Mod, size, align, fmt.Sprintf(format, (size+3)&^3, max(align, 4)))
	switch room := l.PercpuReserve(); {
	case align&(align-1) != 0:
		f.Message = fmt.Sprintf("the module's per-CPU data want an alignment of %d, which is no power of two", align)
	case room == 0 || size > percpuLimit:
		f.Message = fmt.Sprintf("the module wants %d bytes of per-CPU memory, the allocator gives %d at once", size, percpuLimit)
	default:
		f.Message = fmt.Sprintf("the module wants %d bytes of per-CPU memory, the reserve for modules has %d", size, room)
	}
	return f.Errno
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
	{stdelf.EM_MIPS, kver.All, "loongson", 16},
	{stdelf.EM_PPC64, kver.Since(6, 10), "+deb", 4}, // Debian's kernels have small pages since, and a flavour -64k (measured 6.12)
}

func (l *Load) pageSize() uint64 {
	for i := range pageOptions {
		if l.T.Is(pageOptions[i].option) == Yes {
			return pageOptions[i].kib << 10
		}
	}
	release := l.T.Release
	if release == "" {
		release, _, _ = strings.Cut(l.Vermagic(), " ") // the module's own word, where nothing else is known
	}
	for i := range pageReleases {
		p := &pageReleases[i]
		if (p.machine == stdelf.EM_NONE || p.machine == l.F.Header.Machine) && l.T.has(p.in) && strings.Contains(release, p.part) {
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
	seen := names{few: l.borrowed().names[:0]}
	defer func() { l.borrowed().names = seen.few }()
	for i := range l.Hdr {
		s := &l.Hdr[i]
		if s.Flags&stdelf.SHF_ALLOC == 0 || s.Size == 0 {
			continue
		}
		name, _ := l.nameOf(i)
		if seen.add(name) {
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

// names is a set of names: a list as long as it is short, as a module's sections are.
type names struct {
	few  []string
	many map[string]bool
}

// fewNames is up to how many names a list is searched sooner than a map.
const fewNames = 64

// add adds a name, and reports whether it is new.
func (s *names) add(name string) bool {
	if s.many == nil {
		if slices.Contains(s.few, name) {
			return false
		}
		if s.few = append(s.few, name); len(s.few) > fewNames {
			s.many = make(map[string]bool, 2*len(s.few))
			for _, n := range s.few {
				s.many[n] = true
			}
		}
		return true
	}
	if s.many[name] {
		return false
	}
	s.many[name] = true
	return true
}
