package sim

import (
	stdelf "debug/elf"
	"encoding/binary"

	"kotool/internal/compat"
	"kotool/internal/elf"
	"kotool/internal/kver"
	"kotool/internal/reloc"
)

// Region is a piece of a module's memory.
type Region struct {
	Kind Kind
	Base uint64
	Size uint64 // whole pages, bytes
	Used uint64 // as the kernel counts it: whole pages since 6.4, before only with CONFIG_STRICT_MODULE_RWX
	// apart says that it was not taken from the place for modules: it is not given back there.
	apart bool
	mem   []byte
}

// Place is where layout put a section.
type Place struct {
	Region int // index in the layout's regions; -1: not loaded
	Off    uint64
	Addr   uint64
	Entry  uint64 // sh_entsize as the kernel keeps it
}

// layout is the memory of a module: regions, and a place for each section.
type layout struct {
	model    model
	word     uint64
	page     uint64
	counters [kinds]uint64
	places   []Place
	textSize uint64 // to 6.3: the rounded running totals
	roSize   uint64
	roAfter  uint64
	initText uint64
	initRo   uint64
	symOff   uint64 // of the core symbol table in its region
	strOff   uint64
	typeOff  uint64
	initType uint64
	kallsyms uint64
	core     uint64 // symbols that stay
}

// model is one of the ways to lay a module out.
type model uint8

// The models: one core and one init region to 6.3, a region a kind since 6.4.
const (
	coreInit model = iota
	memTypes
)

// modelOf is the model of a kernel. Source: kernel/module/main.c: layout_sections (6.3), __layout_sections (6.4).
func modelOf(v kver.Version) model {
	if v.IsZero() || v.Compare(kver.V(6, 4)) >= 0 {
		return memTypes
	}
	return coreInit
}

// pass is one mask of layout_sections.
type pass struct {
	need, not     stdelf.SectionFlag
	core, initial Kind
}

const roAfterInit = stdelf.SectionFlag(0x00200000) // SHF_RO_AFTER_INIT

// passes are the masks in their order. The fourth of the kernel, ARCH_SHF_SMALL, is empty but on ia64 and alpha.
var passes = [...]pass{
	{stdelf.SHF_EXECINSTR | stdelf.SHF_ALLOC, 0, Text, InitText},
	{stdelf.SHF_ALLOC, stdelf.SHF_WRITE, Rodata, InitRodata},
	{roAfterInit | stdelf.SHF_ALLOC, 0, RoAfterInit, kinds},
	{stdelf.SHF_WRITE | stdelf.SHF_ALLOC, 0, Data, InitData},
}

// isInit reports whether a section goes to init memory. Source: kernel/module/main.c: module_init_section, module_init_layout_section;
// arch/arm/kernel/module.c; arch/powerpc/kernel/module.c.
func isInit(m stdelf.Machine, name string, unload bool) bool {
	has := func(prefix string) bool { return len(name) >= len(prefix) && name[:len(prefix)] == prefix }
	switch m {
	case stdelf.EM_PPC64:
		return false
	case stdelf.EM_ARM:
		if has(".ARM.extab.init") || has(".ARM.exidx.init") || !unload && (has(".ARM.extab.exit") || has(".ARM.exidx.exit")) {
			return true
		}
	}
	return has(".init") || !unload && has(".exit")
}

func alignUp32(v, align uint64) uint64 {
	a := uint32(align)
	if align == 0 {
		a = 1
	}
	mask := a - 1
	return uint64((uint32(v) + mask) &^ mask)
}

// place is get_offset: all in 32 bits.
func (l *layout) place(region Kind, s *elf.Section, prepend uint64) uint64 {
	c := uint64(uint32(l.counters[region] + prepend))
	off := alignUp32(c, s.Align)
	l.counters[region] = uint64(uint32(off + s.Size))
	return off
}

func (l *layout) region(k Kind) Kind {
	if l.model == memTypes {
		return k
	}
	if k.IsInit() {
		return Init
	}
	return Core
}

// lay is layout_sections: every loaded section gets its region and offset.
//
// Source: kernel/module/main.c: layout_sections, __layout_sections.
func (s *state) lay(textHead uint64, prepend func(int) uint64) {
	c := s.Load
	l := &layout{model: modelOf(c.T.Version), word: c.Word(), page: c.PageSize(), places: make([]Place, len(c.Hdr))}
	s.layout = l
	m := c.F.Header.Machine
	unload := c.T.Is("MODULE_UNLOAD") != compat.No
	l.counters[l.region(Text)] = textHead
	for i := range l.places {
		l.places[i].Region = -1
		l.places[i].Entry = ^uint64(0)
	}
	// The per-CPU section has a place of its own.
	if i := c.Index.Pcpu; i != 0 && s.smp() {
		c.Hdr[i].Flags &^= stdelf.SHF_ALLOC
	}
	s.markRoAfterInit()
	strict := l.model == coreInit && c.StrictRWX()
	round := func(k Kind) {
		if strict {
			l.counters[k] = alignUp32(l.counters[k], l.page)
		}
	}
	for _, initial := range []bool{false, true} {
		for p := range passes {
			ps := &passes[p]
			kind := ps.core
			if initial {
				kind = ps.initial
			}
			for i := range c.Hdr {
				h := &c.Hdr[i]
				if h.Flags&ps.need != ps.need || h.Flags&ps.not != 0 || l.places[i].Region >= 0 || isInit(m, h.Name, unload) != initial || kind == kinds && l.model == memTypes {
					continue
				}
				k := kind
				if k == kinds {
					k = InitData
				}
				r := l.region(k)
				off := l.place(r, h, prepend(i))
				l.places[i] = Place{Region: int(r), Off: off, Entry: l.entsize(r, off)}
			}
			r := l.region(Text)
			if initial {
				r = l.region(InitText)
			}
			if l.model == memTypes {
				continue
			}
			round(r)
			total := l.counters[r]
			switch {
			case p == 0 && !initial:
				l.textSize = total
			case p == 1 && !initial:
				l.roSize = total
			case p == 2 && !initial:
				l.roAfter = total
			case p == 0:
				l.initText = total
			case p == 1:
				l.initRo = total
			}
		}
	}
	if s.kallsyms() {
		s.laySymtab(strict)
	}
}

// entsize is how the kernel remembers a place. Source: kernel/module/internal.h: SH_ENTSIZE_*, INIT_OFFSET_MASK.
func (l *layout) entsize(r Kind, off uint64) uint64 {
	bits := l.word * 8
	if l.model == memTypes {
		return uint64(r)<<(bits-4) | off
	}
	if r == Init {
		return off | 1<<(bits-1)
	}
	return off
}

// markRoAfterInit is module_mark_ro_after_init.
func (s *state) markRoAfterInit() {
	c := s.Load
	names := []string{".data..ro_after_init", "__jump_table"}
	if !c.T.Version.IsZero() && c.T.Version.Compare(kver.V(7, 0)) < 0 {
		for _, n := range names {
			if i := c.FindSec(n); i != 0 {
				c.Hdr[i].Flags |= roAfterInit
			}
		}
		return
	}
	if c.F.Header.Machine == stdelf.EM_X86_64 || c.F.Header.Machine == stdelf.EM_386 {
		names = append(names, ".static_call_sites")
	}
	for i := 1; i < len(c.Hdr); i++ {
		for _, n := range names {
			if c.Hdr[i].Name == n {
				c.Hdr[i].Flags |= roAfterInit
			}
		}
	}
}

func symSize(word uint64) uint64 {
	if word == 4 {
		return 16
	}
	return 24
}

// laySymtab is layout_symtab: the symbol table goes to init memory, and room is made for what stays of it.
//
// Source: kernel/module/kallsyms.c: layout_symtab.
func (s *state) laySymtab(strict bool) {
	c, l := s.Load, s.layout
	D, I := l.region(Data), l.region(InitData)
	sym := &c.Hdr[c.Index.Sym]
	round := func(k Kind) {
		if strict {
			l.counters[k] = alignUp32(l.counters[k], l.page)
		}
	}
	put := func(i int) {
		h := &c.Hdr[i]
		h.Flags |= stdelf.SHF_ALLOC
		off := l.place(I, h, 0)
		l.places[i] = Place{Region: int(I), Off: off, Entry: l.entsize(I, off)}
	}
	put(c.Index.Sym)
	t := c.Symbols()
	all := c.T.Is("KALLSYMS_ALL")
	keepAll := all == compat.Yes || all == compat.Unknown && s.usualKallsymsAll()
	size := uint64(0)
	raw, stays := t.Raw(), s.coreSections(keepAll)
	for i := range t.Len() {
		var sec, name uint32 // 0 is no section whose symbols stay
		if raw != nil && elf.PlainShndx(raw[i*24:]) < uint16(stdelf.SHN_LORESERVE) {
			sec, name = uint32(elf.PlainShndx(raw[i*24:])), binary.LittleEndian.Uint32(raw[i*24:])
		} else {
			y := t.At(i)
			if name = y.NameOff; !y.Reserved {
				sec = y.Shndx
			}
		}
		if i != 0 && (name == 0 || int(sec) >= len(stays) || !stays[sec]) {
			continue
		}
		l.core++
		size += uint64(t.NameLen(name)) + 1
	}
	l.symOff = alignUp32(l.counters[D], sym.Align)
	l.strOff = l.symOff + l.core*symSize(l.word)
	l.counters[D] = l.strOff + size
	l.typeOff = l.counters[D]
	l.counters[D] += l.core
	round(D)
	put(c.Index.Str)
	l.counters[I] = alignUp32(l.counters[I], l.word)
	l.kallsyms = l.counters[I]
	if l.word == 4 {
		l.counters[I] += 16
	} else {
		l.counters[I] += 32
	}
	l.initType = l.counters[I]
	l.counters[I] += uint64(t.Len())
	round(I)
}

// coreSections are the sections whose named symbols stay. Source: kernel/module/kallsyms.c: is_core_symbol.
func (s *state) coreSections(all bool) []bool {
	c := s.Load
	stays := make([]bool, len(c.Hdr))
	for i := 1; i < len(stays); i++ {
		f := c.Hdr[i].Flags
		p := &s.layout.places[i]
		stays[i] = all && i == c.Index.Pcpu ||
			f&stdelf.SHF_ALLOC != 0 && (all || f&stdelf.SHF_EXECINSTR != 0) && (p.Region < 0 || !Kind(p.Region).IsInit())
	}
	return stays
}

// kallsymsAll are the kernels that distributions build with CONFIG_KALLSYMS_ALL: read in Debian's configurations of 5.10, 6.1, 6.12 and 7.2.
var kallsymsAll = map[stdelf.Machine]kver.Range{
	stdelf.EM_X86_64: kver.All, stdelf.EM_AARCH64: kver.Since(6, 12), stdelf.EM_RISCV: kver.Since(6, 12), stdelf.EM_PPC64: kver.Since(6, 12),
	stdelf.EM_S390: kver.Since(6, 12),
}

// usualKallsymsAll is what distributions configure.
func (s *state) usualKallsymsAll() bool {
	in, ok := kallsymsAll[s.Load.F.Header.Machine]
	return ok && s.k.has(in)
}

func (s *state) smp() bool { return s.Load.T.Is("SMP") != compat.No }

func (s *state) kallsyms() bool { return s.Load.T.Is("KALLSYMS") != compat.No }

// linkSection is a header as Linkers see it.
func linkSection(h *elf.Section) reloc.Section {
	return reloc.Section{Name: h.Name, Type: h.Type, Flags: h.Flags, Size: h.Size, Align: h.Align, Info: h.Info}
}
