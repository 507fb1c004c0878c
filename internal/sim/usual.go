package sim

import (
	stdelf "debug/elf"
	"slices"

	"kotool/internal/arch"
	"kotool/internal/kver"
)

// usual are a machine's addresses: where modules go, where the kernel's own symbols are, where it keeps temporary copies, and per-CPU data.
type usual struct {
	start, end, kernel, temp, percpu uint64
}

// usualOf are addresses that a kernel of the machine could have. Those that decide anything lie within reach of each other, as in the real one.
//
// Source: arch/*/include/asm/pgtable*.h, arch/*/mm: MODULES_VADDR, MODULES_END (layout of 6.12).
func usualOf(a *arch.Arch) usual {
	switch a.Machine {
	case stdelf.EM_X86_64:
		return usual{0xffffffffc0000000, 0xffffffffff000000, 0xffffffff81000000, 0xffffc90000400000, 0x36018}
	case stdelf.EM_AARCH64:
		return usual{0xffff80007a000000, 0xffff800080000000, 0xffff800080010000, 0xffff800085000000, 0xffff800081e42000}
	case stdelf.EM_RISCV:
		if a.Class == stdelf.ELFCLASS32 {
			return usual{0xd0000000, 0xe0000000, 0xc0000000, 0xe1000000, 0xc0d00000}
		}
		return usual{0xffffffff04000000, 0xffffffff80000000, 0xffffffff80000000, 0xff20000000400000, 0xffffffff80d00000}
	case stdelf.EM_ARM:
		return usual{0xbf000000, 0xbfe00000, 0xc0108000, 0xe0a00000, 0xc0d00000}
	case stdelf.EM_386:
		return usual{0xf8000000, 0xff000000, 0xc1000000, 0xf7000000, 0xc1d00000}
	case stdelf.EM_S390:
		return usual{0x3ff80000000, 0x3ffffffe000, 0x3ffe0000000, 0x37ff0000000, 0x3ffe0d00000}
	case stdelf.EM_PPC64:
		return usual{0xc008000000000000, 0xc008000080000000, 0xc000000000010000, 0xc008000100000000, 0xc000000000d00000}
	case stdelf.EM_PPC:
		return usual{0xbe000000, 0xc0000000, 0xc0008000, 0xe1000000, 0xc0d00000}
	case stdelf.EM_MIPS:
		if a.Class == stdelf.ELFCLASS32 {
			return usual{0xc0000000, 0xc8000000, 0x80100000, 0xd0000000, 0x80d00000}
		}
		return usual{0xffffffffc0000000, 0xffffffffe0000000, 0xffffffff80100000, 0xc000000000400000, 0xffffffff80d00000}
	case stdelf.EM_LOONGARCH:
		return usual{0xffff800002008000, 0xffff800012008000, 0x9000000000200000, 0xffff8000c0000000, 0x9000000000d00000}
	case stdelf.EM_SPARCV9:
		return usual{0x10000000, 0xf0000000, 0x400000, 0x100000000, 0xd00000}
	case stdelf.EM_PARISC:
		return usual{0x10000000, 0x20000000, 0x10100000, 0x30000000, 0x10d00000}
	}
	return usual{0x40000000, 0x60000000, 0x10000000, 0x70000000, 0x20000000}
}

// more are the places where modules go when the first one is full, or where some kinds of their memory go.
//
// Source: arch/arm64/kernel/module.c, mm/init.c: module_init_limits; arch/arm/kernel/module.c, mm/init.c: module_alloc, execmem_arch_setup;
// arch/loongarch/mm/init.c: execmem_arch_setup (7.2); arch/x86/include/asm/pgtable_32_areas.h: VMALLOC_START.
var more = []struct {
	machine    stdelf.Machine
	in         kver.Range
	kinds      []Kind // nil: all
	instead    bool   // of the first place, not after it
	start, end uint64
}{
	{stdelf.EM_AARCH64, kver.All, nil, false, 0xffff800000000000, 0xffff80007a000000},
	{stdelf.EM_ARM, kver.All, nil, false, 0xe8000000, 0xff000000},
	{stdelf.EM_386, kver.All, nil, false, 0xd0800000, 0xf6000000}, // of a machine with less RAM: the area begins behind it
	{stdelf.EM_LOONGARCH, kver.Since(6, 10), []Kind{Data, Rodata, RoAfterInit, InitData, InitRodata}, true, 0xffff800012008000, 0xffff800082008000},
}

// windowsOf are where a kind of memory goes, in the order in which they are tried.
func (k *Kernel) windowsOf(kind Kind, page uint64) []*window {
	a := k.T.Arch
	if k.windows == nil {
		u := usualOf(a)
		w := &window{start: u.start, end: u.end, guard: page}
		if k.Seed != 0 { // as the kernel's own random offset: 1 to 1024 pages
			w.start += (k.Seed*0x9e3779b97f4a7c15>>54 + 1) * page
		}
		k.windows = []*window{w}
		for i := range more {
			k.windows = append(k.windows, &window{start: more[i].start, end: more[i].end, guard: page})
		}
	}
	list := []*window{k.windows[0]}
	for i := range more {
		m := &more[i]
		switch {
		case m.machine != a.Machine || a.Class == stdelf.ELFCLASS32 != (a.Machine == stdelf.EM_ARM || a.Machine == stdelf.EM_386) || !k.has(m.in), m.kinds != nil && !slices.Contains(m.kinds, kind):
		case m.instead:
			list[0] = k.windows[i+1]
		default:
			list = append(list, k.windows[i+1])
		}
	}
	return list
}

// allocate finds a place for memory of a kind.
func (k *Kernel) allocate(kind Kind, size, page uint64) (uint64, bool) {
	for _, w := range k.windowsOf(kind, page) {
		if at, ok := w.alloc(size); ok {
			return at, true
		}
	}
	return 0, false
}

// occupy takes a piece out of the place where it lies. false: something is there already, or it lies nowhere.
func (k *Kernel) occupy(base, size, page uint64) bool {
	k.windowsOf(Text, page)
	for _, w := range k.windows {
		if w.occupy(base, size) {
			return true
		}
	}
	return false
}

// room is the largest piece that memory of a kind could ever get, bytes.
func (k *Kernel) room(kind Kind, page uint64) uint64 {
	n := uint64(0)
	for _, w := range k.windowsOf(kind, page) {
		n = max(n, w.end-w.start)
	}
	return n
}

// free gives a piece back.
func (k *Kernel) free(base uint64) {
	for _, w := range k.windows {
		w.free(base)
	}
}
