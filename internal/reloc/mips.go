package reloc

import (
	"debug/elf"
	"errors"

	"kotool/internal/diag"
)

// mipsLinker relocates for mips, o32 (SHT_REL) and n64 (both forms): arch/mips/kernel/module.c.
// ABI: System V ABI, MIPS RISC Processor Supplement, chapter 4.
//
// Odd: an o32 HI16 waits for the next LO16, which has the carry, and all that wait must have its symbol; of the up to three
// operations of an n64 entry only the first is done; there is no PLT: a jump must stay in its 256 MiB; behind an entry that is left out for
// its weak symbol nothing is done: __apply_relocate does not step past it (measured on 6.1).
type mipsLinker struct {
	base
	hi16 []mipsHI16 // waiting, the last one first
}

type mipsHI16 struct {
	loc []byte
	v   uint64
}

// errStuck ends a relocation section.
var errStuck = errors.New("the same entry again")

func (l *mipsLinker) Apply(relsec int) (diag.Errno, error) {
	rela := l.Section(relsec).Type == elf.SHT_RELA
	l.hi16 = l.hi16[:0]
	errno, err := l.apply(relsec, func(p *place) (diag.Errno, error) { return l.one(p, rela) })
	if errors.Is(err, errStuck) {
		err = nil
	}
	if errno == 0 && err == nil && len(l.hi16) > 0 {
		return diag.ENOEXEC, nil // no LO16 came
	}
	return errno, err
}

func (l *mipsLinker) one(p *place, rela bool) (diag.Errno, error) {
	if l.errValue(p.S) {
		if p.sym.bind() == elf.STB_WEAK {
			return 0, errStuck
		}
		l.log(levelWarn, UnknownSymbol, "%s: Unknown symbol %s", l.Name(), l.SymbolName(p.Sym))
		return diag.ENOENT, nil
	}
	v := l.long(p.S)
	if rela {
		v = l.long(p.S + uint64(p.Addend))
	}
	switch p.Type {
	case 0: // NONE
		return 0, nil
	case 2, 4, 5, 6, 10, 60, 61:
	case 18, 28, 29: // 64, HIGHER, HIGHEST
		if !rela {
			return diag.EINVAL, nil // with a warning
		}
		if p.Type == 18 {
			return 0, l.store(p, l.wordSize(), v)
		}
	default:
		l.log(levelErr, UnknownType, "%s: Unknown relocation type %d", l.Name(), p.Type)
		return diag.EINVAL, nil
	}
	loc, err := l.at(p, 4)
	if err != nil {
		return 0, err
	}
	insn, errno := l.field(p, loc, rela, v)
	if errno == 0 {
		l.order.PutUint32(loc, insn)
	}
	return errno, nil
}

// field is the word that a relocation of one makes of that at loc.
func (l *mipsLinker) field(p *place, loc []byte, rela bool, v uint64) (uint32, diag.Errno) {
	insn := l.order.Uint32(loc)
	base := insn // what an entry without an addend adds
	if rela {
		base = 0
	}
	switch p.Type {
	case 2: // 32
		return base + uint32(v), 0
	case 4: // 26
		if v%4 != 0 {
			l.log(levelErr, BadCall, "module %s: dangerous R_MIPS_26 relocation", l.Name())
			return 0, diag.ENOEXEC
		}
		if v&0xf0000000 != (p.P+4)&0xf0000000 {
			return 0, l.overflow()
		}
		return insn&^0x03ffffff | (base+uint32(v>>2))&0x03ffffff, 0
	case 5: // HI16
		if !rela {
			l.hi16 = append(l.hi16, mipsHI16{loc, v})
			return insn, 0
		}
		return insn&0xffff0000 | uint32((v+0x8000)>>16)&0xffff, 0
	case 6: // LO16
		if !rela {
			return l.lo16(base, v)
		}
		return insn&0xffff0000 | uint32(v)&0xffff, 0
	case 10: // PC16
		return l.pc(p, insn, base, v, 16)
	case 60: // PC21_S2
		return l.pc(p, insn, base, v, 21)
	case 61: // PC26_S2
		return l.pc(p, insn, base, v, 26)
	case 28: // HIGHER
		return insn&0xffff0000 | uint32((uint64(l.signed(v))+0x80008000)>>32)&0xffff, 0
	}
	// HIGHEST
	return insn&0xffff0000 | uint32((uint64(l.signed(v))+0x800080008000)>>48)&0xffff, 0
}

func (l *mipsLinker) overflow() diag.Errno {
	l.log(levelErr, Overflow, "module %s: relocation overflow", l.Name())
	return diag.ENOEXEC
}

// lo16 does the HI16 that wait, and returns the LO16's instruction.
func (l *mipsLinker) lo16(insn uint32, v uint64) (uint32, diag.Errno) {
	low := uint32(int32(insn<<16) >> 16)
	for i := len(l.hi16) - 1; i >= 0; i-- {
		h := &l.hi16[i]
		if h.v != v {
			l.hi16 = l.hi16[:0]
			l.log(levelErr, Other, "module %s: dangerous R_MIPS_LO16 relocation", l.Name())
			return 0, diag.ENOEXEC
		}
		hi := l.order.Uint32(h.loc)
		val := hi<<16 + low + uint32(v)
		l.order.PutUint32(h.loc, hi&^0xffff|(val>>16+val>>15&1)&0xffff)
	}
	l.hi16 = l.hi16[:0]
	return insn&^0xffff | (uint32(v)+low)&0xffff, 0
}

// pc is a distance in words.
func (l *mipsLinker) pc(p *place, insn, base uint32, v uint64, bits uint) (uint32, diag.Errno) {
	if v%4 != 0 {
		l.log(levelErr, BadCall, "module %s: dangerous R_MIPS_PC%d relocation", l.Name(), bits)
		return 0, diag.ENOEXEC
	}
	off := sext(uint64(base), bits) + l.signed(v-p.P)>>2
	if !fits(off, bits) {
		return 0, l.overflow()
	}
	mask := uint32(1)<<bits - 1
	return insn&^mask | uint32(off)&mask, 0
}
