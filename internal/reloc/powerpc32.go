package reloc

import (
	"cmp"
	"debug/elf"
	"strings"

	"kotool/internal/diag"
	kelf "kotool/internal/elf"
)

// ppc32Linker relocates for ppc (32 bits): arch/powerpc/kernel/module_32.c.
// ABI: System V ABI, PowerPC Processor Supplement, section 4.13.
//
// Odd: a far call goes through .plt or .init.plt, but which of them a call is counted for depends on the
// name of its relocation section; REL24 is not checked after that; 16-bit halves are written through the aligned word.
type ppc32Linker struct {
	base
	core, init ppc32PLT
}

type ppc32PLT struct {
	section int
	n       int
	byAddr  map[uint32]int
}

const ppc32Entry = 16 // bytes

// Frob is module_frob_arch_sections.
func (l *ppc32Linker) Frob() (diag.Errno, error) {
	l.relsec, l.entry = 0, 0
	for i := range l.Sections() {
		switch l.Section(i).Name {
		case ".init.plt":
			l.init.section = i
		case ".plt":
			l.core.section = i
		}
	}
	if l.core.section == 0 || l.init.section == 0 {
		l.log(levelErr, MissingSection, "module_32: Module doesn't contain .plt or .init.plt sections.")
		return diag.ENOEXEC, nil
	}
	core, init := 0, 0
	for i := 1; i < l.Sections(); i++ {
		s := l.Section(i)
		if s.Type != elf.SHT_RELA || strings.Contains(s.Name, ".debug") {
			continue
		}
		if n := l.count(l.Relocs(i)); strings.Contains(s.Name, ".init") {
			init += n
		} else {
			core += n
		}
	}
	for _, t := range []struct{ section, n int }{{l.core.section, core}, {l.init.section, init}} {
		s := l.Section(t.section)
		s.Size = uint64(t.n) * ppc32Entry
		l.SetSection(t.section, s)
	}
	return 0, nil
}

// count sorts a relocation section backwards by symbol, type and addend, and counts the calls that differ from the one before.
func (l *ppc32Linker) count(rels []kelf.Rel) (n int) {
	sortRels(rels, l.t.SortPairs, bySymbolDown, func(b, a *kelf.Rel) int {
		return cmp.Or(cmp.Compare(a.Sym, b.Sym), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Addend, b.Addend))
	})
	var sym, addend uint32
	for i := range rels {
		r := &rels[i]
		if r.Type == ppcREL24 && (r.Sym != sym || addend != uint32(r.Addend)) {
			n++
			sym, addend = r.Sym, uint32(r.Addend)
		}
	}
	if l.t.PPC32.Ftrace {
		n++
	}
	return n
}

func (l *ppc32Linker) Apply(relsec int) (diag.Errno, error) {
	return l.apply(relsec, l.one)
}

func (l *ppc32Linker) one(p *place) (diag.Errno, error) {
	v := uint32(p.S) + uint32(p.Addend)
	switch p.Type {
	case 1: // ADDR32
		return 0, l.store(p, 4, uint64(v))
	case 4: // ADDR16_LO
		return 0, l.half(p, v)
	case 5: // ADDR16_HI
		return 0, l.half(p, v>>16)
	case 6: // ADDR16_HA
		return 0, l.half(p, ha(uint64(v)))
	case ppcREL24:
		loc, err := l.at(p, 4)
		if err != nil {
			return 0, err
		}
		P := uint32(p.P)
		if !fits(int64(int32(v-P)), 26) {
			t := &l.core
			if l.Init(p.target) {
				t = &l.init
			}
			if v, err = t.entry(l, v); err != nil {
				return 0, err
			}
		}
		l.order.PutUint32(loc, l.order.Uint32(loc)&^0x03fffffc|(v-P)&0x03fffffc)
		return 0, nil
	case 26: // REL32
		return 0, l.store(p, 4, uint64(v-uint32(p.P)))
	}
	l.log(levelErr, UnknownType, "module_32: %s: unknown ADD relocation: %d", l.Name(), p.Type)
	return diag.ENOEXEC, nil
}

// half writes the low half of the aligned word around the place: in big-endian, the instruction's immediate.
func (l *ppc32Linker) half(p *place, v uint32) error {
	off := p.Off &^ 3
	loc := l.Bytes(p.target, off, 4)
	if len(loc) != 4 {
		return l.undefined(PlaceOutside, p.Off)
	}
	l.order.PutUint32(loc, l.order.Uint32(loc)&0xffff0000|v&0xffff)
	return nil
}

// entry is do_plt_call: the address of an entry for v.
//
//	lis r12,ha; addi r12,r12,lo; mtctr r12; bctr
func (t *ppc32PLT) entry(l *ppc32Linker, v uint32) (uint32, error) {
	if i, ok := t.byAddr[v]; ok {
		return uint32(l.Addr(t.section)) + uint32(i)*ppc32Entry, nil
	}
	b, at, err := l.tableSlot(t.section, t.n, ppc32Entry)
	if err != nil {
		return 0, err
	}
	for i, w := range [4]uint32{0x3d800000 | ha(uint64(v)), 0x398c0000 | v&0xffff, 0x7d8903a6, 0x4e800420} {
		l.order.PutUint32(b[4*i:], w)
	}
	if t.byAddr == nil {
		t.byAddr = map[uint32]int{}
	}
	t.byAddr[v] = t.n
	t.n++
	l.emitted("plt", at, ppc32Entry, uint64(v))
	return uint32(at), nil
}

// Finalize is module_finalize_ftrace: an entry for ftrace_caller.
func (l *ppc32Linker) Finalize() (diag.Errno, error) {
	if !l.t.PPC32.Ftrace {
		return 0, nil
	}
	l.relsec, l.entry = 0, 0
	addr, ok := l.Kernel("ftrace_caller")
	if !ok {
		return 0, &UndefinedError{Cause: KernelUnknown, What: "ftrace_caller"}
	}
	_, err := l.core.entry(l, uint32(addr))
	return 0, err
}
