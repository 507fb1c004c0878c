package reloc

import (
	"debug/elf"
	"encoding/binary"

	"kotool/internal/diag"
)

// arm64Linker relocates for arm64: arch/arm64/kernel/module.c, module-plts.c (arm64_plt.go).
// ABI: ELF for the Arm 64-bit Architecture (AAELF64), section 5.7.
//
// Odd: the field is written before its range is judged; low bits that a shift drops are not looked at; branches out of
// reach go through .plt or .init.plt; relocations of code are sorted before layout, and applied in that order;
// on CPUs with erratum 843419 an ADRP at the end of a page is replaced. Instructions are little-endian always.
type arm64Linker struct {
	base
	core, init arm64PLT
}

// arm64Op is how a value is made of S + A.
type arm64Op uint8

const (
	opABS arm64Op = iota
	opPREL
	opPAGE
)

func (l *arm64Linker) Apply(relsec int) (diag.Errno, error) {
	return l.apply(relsec, l.one)
}

// value is do_reloc.
func (op arm64Op) value(val, P uint64) int64 {
	switch op {
	case opPREL:
		return int64(val - P)
	case opPAGE:
		return int64(val&^0xfff - P&^0xfff)
	}
	return int64(val)
}

// arm64Field is an immediate field of an instruction.
type arm64Field uint8

const (
	imm16  arm64Field = iota // bits 20:5
	imm12                    // bits 21:10
	imm14                    // bits 18:5
	imm19                    // bits 23:5
	imm26                    // bits 25:0
	immADR                   // bits 30:29 and 23:5
)

// put returns insn with the field set to the low bits of imm.
func (f arm64Field) put(insn uint32, imm uint64) uint32 {
	v := uint32(imm)
	switch f {
	case imm16:
		return insn&^(0xffff<<5) | v&0xffff<<5
	case imm12:
		return insn&^(0xfff<<10) | v&0xfff<<10
	case imm14:
		return insn&^(0x3fff<<5) | v&0x3fff<<5
	case imm19:
		return insn&^(0x7ffff<<5) | v&0x7ffff<<5
	case imm26:
		return insn&^0x3ffffff | v&0x3ffffff
	}
	return insn&^(3<<29|0x7ffff<<5) | v&3<<29 | v>>2&0x7ffff<<5
}

// arm64Insn are the relocations of one immediate that is not MOVW's.
// Source: arch/arm64/kernel/module.c: reloc_insn_imm.
type arm64Insn struct {
	op    arm64Op
	lsb   uint8
	width uint8
	field arm64Field
	check bool // overflow is an error
}

// arm64Insns are the types that are such an instruction; those of the others are zero.
var arm64Insns = [...]arm64Insn{
	elf.R_AARCH64_LD_PREL_LO19:        {opPREL, 2, 19, imm19, true},
	elf.R_AARCH64_ADR_PREL_LO21:       {opPREL, 0, 21, immADR, true},
	elf.R_AARCH64_ADR_PREL_PG_HI21:    {opPAGE, 12, 21, immADR, true},
	elf.R_AARCH64_ADR_PREL_PG_HI21_NC: {opPAGE, 12, 21, immADR, false},
	elf.R_AARCH64_ADD_ABS_LO12_NC:     {opABS, 0, 12, imm12, false},
	elf.R_AARCH64_LDST8_ABS_LO12_NC:   {opABS, 0, 12, imm12, false},
	elf.R_AARCH64_LDST16_ABS_LO12_NC:  {opABS, 1, 11, imm12, false},
	elf.R_AARCH64_LDST32_ABS_LO12_NC:  {opABS, 2, 10, imm12, false},
	elf.R_AARCH64_LDST64_ABS_LO12_NC:  {opABS, 3, 9, imm12, false},
	elf.R_AARCH64_LDST128_ABS_LO12_NC: {opABS, 4, 8, imm12, false},
	elf.R_AARCH64_TSTBR14:             {opPREL, 2, 14, imm14, true},
	elf.R_AARCH64_CONDBR19:            {opPREL, 2, 19, imm19, true},
	elf.R_AARCH64_JUMP26:              {opPREL, 2, 26, imm26, true},
	elf.R_AARCH64_CALL26:              {opPREL, 2, 26, imm26, true},
}

// write puts the value into the instruction at loc and reports whether it fitted.
func (in *arm64Insn) write(loc []byte, val, P uint64) bool {
	sval := in.op.value(val, P) >> in.lsb
	imm := uint64(sval) & (1<<in.width - 1)
	binary.LittleEndian.PutUint32(loc, in.field.put(binary.LittleEndian.Uint32(loc), imm))
	return fits(sval, uint(in.width))
}

func (l *arm64Linker) one(p *place) (diag.Errno, error) {
	val := p.S + uint64(p.Addend)
	if p.Type < uint32(len(arm64Insns)) && arm64Insns[p.Type].width != 0 {
		return l.insnImm(p, &arm64Insns[p.Type], val)
	}
	const nc = false // overflow is not looked at
	switch p.Type {
	case 0, 256: // R_AARCH64_NONE, and its old number
		return 0, nil
	case 257: // ABS64
		return l.data(p, opABS, val, 8)
	case 258: // ABS32
		return l.data(p, opABS, val, 4)
	case 259: // ABS16
		return l.data(p, opABS, val, 2)
	case 260: // PREL64
		return l.data(p, opPREL, val, 8)
	case 261: // PREL32
		return l.data(p, opPREL, val, 4)
	case 262: // PREL16
		return l.data(p, opPREL, val, 2)
	case 263, 265, 267: // MOVW_UABS_G0 to G2
		return l.movw(p, opABS, val, (p.Type-263)/2*16, false, true)
	case 264, 266, 268: // the same, _NC
		return l.movw(p, opABS, val, (p.Type-264)/2*16, false, nc)
	case 269: // MOVW_UABS_G3
		return l.movw(p, opABS, val, 48, false, nc)
	case 270, 271, 272: // MOVW_SABS_G0 to G2
		return l.movw(p, opABS, val, (p.Type-270)*16, true, true)
	case 287, 289, 291: // MOVW_PREL_G0 to G2
		return l.movw(p, opPREL, val, (p.Type-287)/2*16, true, true)
	case 288, 290, 292: // the same, _NC
		return l.movw(p, opPREL, val, (p.Type-288)/2*16, false, nc)
	case 293: // MOVW_PREL_G3
		return l.movw(p, opPREL, val, 48, true, nc)
	}
	l.log(levelErr, UnknownType, "%smodule %s: unsupported RELA relocation: %d", l.t.ARM64.Prefix, l.Name(), p.Type)
	return diag.ENOEXEC, nil
}

// data is reloc_data: a word of n bytes in the kernel's byte order.
func (l *arm64Linker) data(p *place, op arm64Op, val uint64, n uint64) (diag.Errno, error) {
	loc, err := l.at(p, n)
	if err != nil {
		return 0, err
	}
	sval := op.value(val, p.P)
	ok := true
	switch n {
	case 8:
		l.order.PutUint64(loc, uint64(sval))
	case 4:
		l.order.PutUint32(loc, uint32(sval))
		ok = op == opABS && sval == int64(uint32(sval)) || op == opPREL && fits(sval, 32)
	default:
		l.order.PutUint16(loc, uint16(sval))
		ok = op == opABS && sval == int64(uint16(sval)) || op == opPREL && fits(sval, 16)
	}
	if !ok {
		return l.overflow(p, val), nil
	}
	return 0, nil
}

// movw is reloc_insn_movw. signed makes the instruction MOVZ or MOVN by the sign of the value.
func (l *arm64Linker) movw(p *place, op arm64Op, val uint64, lsb uint32, signed, check bool) (diag.Errno, error) {
	loc, err := l.at(p, 4)
	if err != nil {
		return 0, err
	}
	insn := binary.LittleEndian.Uint32(loc)
	sval := op.value(val, p.P)
	imm := uint64(sval >> lsb)
	if signed {
		insn &^= 3 << 29 // MOVN
		if sval >= 0 {
			insn |= 2 << 29 // MOVZ
		} else {
			imm = ^imm
		}
	}
	binary.LittleEndian.PutUint32(loc, imm16.put(insn, imm))
	if check && imm > 0xffff {
		return l.overflow(p, val), nil
	}
	return 0, nil
}

// insnImm writes an immediate, with a PLT entry or a veneer where it needs one.
func (l *arm64Linker) insnImm(p *place, in *arm64Insn, val uint64) (diag.Errno, error) {
	loc, err := l.at(p, 4)
	if err != nil {
		return 0, err
	}
	if in.op == opPAGE && l.forbidden(p.P) {
		return l.adrp(p, in, loc, val)
	}
	ok := in.write(loc, val, p.P)
	if !ok && in.field == imm26 && l.t.ARM64.PLT {
		slot, full, err := l.bucket(p).branch(l, val)
		if err != nil || full {
			return diag.ENOEXEC, err
		}
		val = slot
		ok = in.write(loc, val, p.P)
	}
	if !ok && in.check {
		return l.overflow(p, val), nil
	}
	return 0, nil
}

func (l *arm64Linker) overflow(p *place, val uint64) diag.Errno {
	l.log(levelErr, Overflow, "%smodule %s: overflow in relocation type %d val %x", l.t.ARM64.Prefix, l.Name(), p.Type, val)
	return diag.ENOEXEC
}
