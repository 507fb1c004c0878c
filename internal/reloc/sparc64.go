package reloc

import (
	"debug/elf"

	"kotool/internal/diag"
)

// sparcLinker relocates for sparc64: arch/sparc/kernel/module.c.
// ABI: The SPARC Architecture Manual, System V ABI SPARC Processor Supplement.
//
// Odd: nothing is checked; modules must lie below 4 GiB; OLO10 has a second addend in the upper bits of its type.
type sparcLinker struct{ base }

// SecondAddends is an Image that keeps what the upper 24 bits of the type of a sparc64 relocation say. internal/elf leaves them out.
type SecondAddends interface {
	// SecondAddend is the OLO10 addend of an entry.
	SecondAddend(relsec, entry int) uint64
}

// Frob makes undefined STT_REGISTER symbols absolute, so that they are not looked for.
func (l *sparcLinker) Frob() (diag.Errno, error) {
	l.relsec, l.entry = 0, 0
	symtab := false
	for i := range l.Sections() {
		symtab = symtab || l.Section(i).Type == elf.SHT_SYMTAB
	}
	if !symtab {
		l.log(levelWarn, MissingSection, "%s: no symtab found.", l.Name())
		return diag.ENOEXEC, nil
	}
	const sttRegister = 13
	for i := 1; i < l.Symbols(); i++ {
		if s, ok := l.Symbol(uint32(i)); ok && s.Shndx == 0 && s.typ() == sttRegister {
			s.Shndx = uint16(elf.SHN_ABS)
			l.SetSymbol(uint32(i), s)
		}
	}
	return 0, nil
}

func (l *sparcLinker) Apply(relsec int) (diag.Errno, error) {
	return l.apply(relsec, l.one)
}

// sparcField is the mask of an instruction field and what is put there.
func sparcField(insn, mask uint32, v uint64) uint32 { return insn&^mask | uint32(v)&mask }

func (l *sparcLinker) one(p *place) (diag.Errno, error) {
	if p.P>>32 != 0 {
		return 0, &UndefinedError{Cause: KernelBug, Relsec: l.relsec, Entry: l.entry, Off: p.P, What: "place above 4 GiB"}
	}
	v := p.S + uint64(p.Addend)
	typ := p.Type & 0xff
	switch typ {
	case 3, 23: // 32, UA32
		return 0, l.store(p, 4, v)
	case 32, 54: // 64, UA64
		return 0, l.store(p, 8, v)
	case 6: // DISP32
		return 0, l.store(p, 4, v-p.P)
	}
	mask := uint32(0)
	switch typ {
	case 7: // WDISP30
		mask, v = 0x3fffffff, (v-p.P)>>2
	case 8: // WDISP22
		mask, v = 0x3fffff, (v-p.P)>>2
	case 41: // WDISP19
		mask, v = 0x7ffff, (v-p.P)>>2
	case 9: // HI22
		mask, v = 0x3fffff, v>>10
	case 12: // LO10
		mask = 0x3ff
	case 33: // OLO10
		second := uint64(p.Type >> 8)
		if s, ok := l.Image.(SecondAddends); ok {
			second = s.SecondAddend(l.relsec, l.entry)
		}
		mask, v = 0x1fff, v&0x3ff+second
	default:
		l.log(levelErr, UnknownType, "module %s: Unknown relocation: 0x%x", l.Name(), typ)
		return diag.ENOEXEC, nil
	}
	loc, err := l.at(p, 4)
	if err == nil {
		l.order.PutUint32(loc, sparcField(l.order.Uint32(loc), mask, v))
	}
	return 0, err
}
