package reloc

import (
	"debug/elf"

	"kotool/internal/diag"
)

// riscvLinker relocates for riscv: arch/riscv/kernel/module.c, module-sections.c (riscv_sections.go).
// ABI: RISC-V ELF psABI, chapter "Relocations".
//
// Odd: a PCREL_LO12 points at the AUIPC, whose own relocation has the value; ADD, SUB and SET of one place are summed from zero and
// stored after everything else (6.7), and a sum that does not fit is only logged; branches are cut to their
// field without a check; weak symbols with an error number for a value are passed over; unknown types give EINVAL.
type riscvLinker struct {
	base
	plt, got, gotPLT riscvTable

	rels  Entries // of the section that is being applied
	pairs hi20Pairs
	sums  riscvSums
}

func (l *riscvLinker) Apply(relsec int) (diag.Errno, error) {
	l.rels = EntriesOf(l, relsec)
	l.pairs.begin(l.t.RISCV.Accumulate)
	l.sums = riscvSums{list: l.sums.list[:0]}
	errno, err := l.apply(relsec, l.one)
	if errno == 0 && err == nil && l.t.RISCV.Accumulate {
		err = l.storeSums()
	}
	return errno, err
}

func (l *riscvLinker) one(p *place) (diag.Errno, error) {
	if l.errValue(p.S) {
		if p.sym.bind() == elf.STB_WEAK {
			return 0, nil
		}
		l.log(levelWarn, UnknownSymbol, "%s: Unknown symbol %s", l.Name(), l.SymbolName(p.Sym))
		return diag.ENOENT, nil
	}
	v := l.long(p.S + uint64(p.Addend))
	if l.t.RISCV.Accumulate && summed(p.Type) {
		return 0, l.sums.add(l, p, v)
	}
	off := l.signed(v - p.P)
	switch p.Type {
	case 1: // 32
		if v != uint64(uint32(v)) {
			l.log(levelErr, Overflow, "%s: value %016x out of range for 32-bit field", l.Name(), v)
			return diag.EINVAL, nil
		}
		return 0, l.store(p, 4, v)
	case 2: // 64
		return 0, l.store(p, 8, v)
	case 16: // BRANCH
		return 0, l.insn(p, 0x1fff07f, bType(off))
	case 17: // JAL
		return 0, l.insn(p, 0xfff, jType(off))
	case 44: // RVC_BRANCH
		return 0, l.half(p, 0xe383, cbType(off))
	case 45: // RVC_JUMP
		return 0, l.half(p, 0xe003, cjType(off))
	case 23: // PCREL_HI20
		if !l.reaches(off) {
			return l.unreachable(v), nil
		}
		return 0, l.insn(p, 0xfff, hi20(off))
	case 24, 25: // PCREL_LO12_I, PCREL_LO12_S
		lo, ok, err := l.pair(p)
		if err != nil {
			return 0, err
		}
		if !ok {
			l.log(levelErr, Other, "%s: Can not find HI20 relocation information", l.Name())
			return diag.EINVAL, nil
		}
		if p.Type == 24 {
			return 0, l.insn(p, 0xfffff, lo<<20)
		}
		return 0, l.insn(p, 0x1fff07f, sType(lo))
	case 26: // HI20
		if l.t.RISCV.MedLow {
			return l.unreachable(v), nil
		}
		return 0, l.insn(p, 0xfff, hi20(int64(v)))
	case 27: // LO12_I
		return 0, l.insn(p, 0xfffff, uint32(v)<<20)
	case 28: // LO12_S
		return 0, l.insn(p, 0x1fff07f, sType(uint32(v)))
	case 20: // GOT_HI20
		if !l.t.RISCV.Sections {
			l.log(levelErr, MissingSection, "%s: can not generate the GOT entry for symbol = %016x from PC = %s", l.Name(), v, l.ptrval())
			return diag.EINVAL, nil
		}
		g, err := l.gotEntry(v)
		if err != nil {
			return 0, err
		}
		return 0, l.insn(p, 0xfff, hi20(l.signed(g-p.P)))
	case 18, 19, 59: // CALL, CALL_PLT, PLT32
		if p.Type == 59 && !l.t.RISCV.Accumulate {
			break
		}
		if !l.reaches(off) {
			if !l.t.RISCV.Sections || p.Type == 18 {
				return l.unreachable(v), nil
			}
			at, err := l.pltEntry(v)
			if err != nil {
				return 0, err
			}
			off = l.signed(at - p.P)
		}
		if p.Type == 59 {
			return 0, l.store(p, 4, uint64(off))
		}
		loc, err := l.at(p, 8)
		if err != nil {
			return 0, err
		}
		l.order.PutUint32(loc, l.order.Uint32(loc)&0xfff|hi20(off)&^0xfff)
		l.order.PutUint32(loc[4:], l.order.Uint32(loc[4:])&0xfffff|uint32(off)<<20)
		return 0, nil
	case 51: // RELAX
		return 0, nil
	case 43: // ALIGN
		l.log(levelErr, UnknownType, "%s: The unexpected relocation type 'R_RISCV_ALIGN' from PC = %s", l.Name(), l.ptrval())
		return diag.EINVAL, nil
	case 35, 36, 39, 40: // ADD32, ADD64, SUB32, SUB64: up to 6.6 in place
		return 0, l.inPlace(p, v)
	case 57: // 32_PCREL
		if l.t.RISCV.Accumulate {
			return 0, l.store(p, 4, uint64(off))
		}
	case 3, 4, 5, 6, 7, 8, 9, 10, 11, 58: // RELATIVE, COPY, JUMP_SLOT, TLS_DTP*, TLS_TPREL*, IRELATIVE
		if l.t.RISCV.Accumulate {
			l.log(levelErr, UnknownType, "%s: Dynamic linking not supported in kernel modules PC = %s", l.Name(), l.ptrval())
			return diag.EINVAL, nil
		}
	case 21, 22, 29, 30, 31, 32: // TLS_GOT_HI20, TLS_GD_HI20, TPREL_*
		if l.t.RISCV.Accumulate {
			l.log(levelErr, UnknownType, "%s: Thread local storage not supported in kernel modules PC = %s", l.Name(), l.ptrval())
			return diag.EINVAL, nil
		}
	}
	l.log(levelErr, UnknownType, "%s: Unknown relocation type %d", l.Name(), p.Type)
	return diag.EINVAL, nil
}

// reaches is riscv_insn_valid_32bit_offset: AUIPC and a 12-bit offset get there.
func (l *riscvLinker) reaches(off int64) bool {
	const from, to = -1<<31 - 1<<11, 1<<31 - 1<<11
	return l.class == elf.ELFCLASS32 || off >= from && off < to
}

func (l *riscvLinker) unreachable(v uint64) diag.Errno {
	l.log(levelErr, Overflow, "%s: target %016x can not be addressed by the 32-bit offset from PC = %s", l.Name(), v, l.ptrval())
	return diag.EINVAL
}

// insn replaces the bits outside of keep of the instruction at P.
func (l *riscvLinker) insn(p *place, keep, set uint32) error {
	loc, err := l.at(p, 4)
	if err != nil {
		return err
	}
	l.order.PutUint32(loc, l.order.Uint32(loc)&keep|set&^keep)
	return nil
}

// half does the same for a compressed instruction.
func (l *riscvLinker) half(p *place, keep, set uint16) error {
	loc, err := l.at(p, 2)
	if err != nil {
		return err
	}
	l.order.PutUint16(loc, l.order.Uint16(loc)&keep|set&^keep)
	return nil
}

func (l *riscvLinker) inPlace(p *place, v uint64) error {
	n := uint64(4)
	if p.Type == 36 || p.Type == 40 {
		n = 8
	}
	loc, err := l.at(p, n)
	if err != nil {
		return err
	}
	if p.Type >= 39 {
		v = -v
	}
	if n == 8 {
		l.order.PutUint64(loc, l.order.Uint64(loc)+v)
	} else {
		l.order.PutUint32(loc, l.order.Uint32(loc)+uint32(v))
	}
	return nil
}

// hi20 is the upper part of off, for AUIPC and LUI: what 12 signed bits leave.
func hi20(off int64) uint32 { return uint32(off+0x800) & 0xfffff000 }

// bType are the immediate bits of a conditional branch: imm[12|10:5] in 31:25, imm[4:1|11] in 11:7.
func bType(off int64) uint32 {
	o := uint32(off)
	return o>>12&1<<31 | o>>5&0x3f<<25 | o>>1&0xf<<8 | o>>11&1<<7
}

// jType are those of JAL: imm[20|10:1|11|19:12] in 31:12.
func jType(off int64) uint32 {
	o := uint32(off)
	return o>>20&1<<31 | o>>1&0x3ff<<21 | o>>11&1<<20 | o>>12&0xff<<12
}

// sType are those of a store: imm[11:5] in 31:25, imm[4:0] in 11:7.
func sType(imm uint32) uint32 { return imm>>5&0x7f<<25 | imm&0x1f<<7 }

// cbType are those of C.BEQZ: imm[8|4:3] in 12:10, imm[7:6|2:1|5] in 6:2.
func cbType(off int64) uint16 {
	o := uint16(off)
	return o>>8&1<<12 | o>>3&3<<10 | o>>6&3<<5 | o>>1&3<<3 | o>>5&1<<2
}

// cjType are those of C.J: imm[11|4|9:8|10|6|7|3:1|5] in 12:2.
func cjType(off int64) uint16 {
	o := uint16(off)
	return o>>11&1<<12 | o>>4&1<<11 | o>>8&3<<9 | o>>10&1<<8 | o>>6&1<<7 | o>>7&1<<6 | o>>1&7<<3 | o>>5&1<<2
}

// pair finds the entry of the AUIPC that a PCREL_LO12 points at, and returns the low part of its value. The
// addend of the PCREL_LO12 itself does not count.
func (l *riscvLinker) pair(p *place) (lo uint32, ok bool, err error) {
	found, ok := l.pairs.find(&l.base, &l.rels, p.target, p.S, [2]uint32{20, 23}) // GOT_HI20, PCREL_HI20
	if !ok {
		return 0, false, nil
	}
	r := l.rels.At(found)
	sym, inside := l.symbol(r.Sym)
	if !inside {
		return 0, false, l.undefined(SymbolOutside, uint64(r.Sym))
	}
	v := l.long(sym.Value + uint64(r.Addend))
	if r.Type == 20 && l.t.RISCV.Sections {
		if v, err = l.gotEntry(v); err != nil {
			return 0, false, err
		}
	}
	off := int64(v - p.S)
	return uint32(off) - hi20(off), true, nil
}
