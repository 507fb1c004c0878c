package reloc

import (
	"debug/elf"
	"math/bits"

	"kotool/internal/diag"
)

// armLinker relocates for arm (32 bits): arch/arm/kernel/module.c, module-plts.c (arm_plt.go).
// ABI: ELF for the Arm Architecture (AAELF32), section 5.6.
//
// Odd: the only machine whose loader tests r_offset and the symbol index; addends stand at the place; branches out
// of reach go through .plt or .init.plt; the relocations of code are sorted before layout and applied in that order.
type armLinker struct {
	base
	core, init armPLT
}

// insnOrder is the byte order of instructions.
func (l *armLinker) insnOrder() byteOrder {
	if l.t.ARM.BE8 {
		return byteOrder{}
	}
	return l.order
}

// Apply tests the symbol index before anything reads it.
func (l *armLinker) Apply(relsec int) (diag.Errno, error) {
	list, symbols := EntriesOf(l, relsec), uint64(l.Symbols())
	n := list.Len()
	for i := 0; i < n; i += batch {
		for k, r := range list.from(i, n, &l.some) {
			if uint64(r.Sym) <= symbols {
				continue
			}
			// Those before it are applied, and it is refused.
			errno, err := l.applySome(relsec, 0, i+k, l.one)
			if errno == 0 && err == nil {
				l.entry = i + k
				l.log(levelErr, Other, "%s: section %d reloc %d: bad relocation sym offset", l.Name(), relsec, i+k)
				return diag.ENOEXEC, nil
			}
			return errno, err
		}
	}
	return l.applySome(relsec, 0, n, l.one)
}

// say logs a line in the form that all of arm's have.
func (l *armLinker) say(k Kind, p *place, text string) diag.Errno {
	l.log(levelErr, k, "%s: section %d reloc %d sym '%s': %s", l.Name(), l.relsec, l.entry, l.SymbolName(p.Sym), text)
	return diag.ENOEXEC
}

func (l *armLinker) outOfRange(p *place) diag.Errno {
	l.log(levelErr, Overflow, "%s: section %d reloc %d sym '%s': relocation %d out of range (%#x -> %#x)",
		l.Name(), l.relsec, l.entry, l.SymbolName(p.Sym), p.Type, p.P, uint32(p.S))
	return diag.ENOEXEC
}

func (l *armLinker) one(p *place) (diag.Errno, error) {
	size := uint32(l.size)
	if uint32(p.Off) > size-4 {
		l.log(levelErr, Other, "%s: section %d reloc %d sym '%s': out of bounds relocation, offset %d size %d",
			l.Name(), l.relsec, l.entry, l.SymbolName(p.Sym), int32(p.Off), size)
		return diag.ENOEXEC, nil
	}
	if p.Type == 0 {
		return 0, nil
	}
	if h, ok := l.howto(p.Type); !ok {
		l.log(levelErr, UnknownType, "%s: unknown relocation: %d", l.Name(), p.Type)
		return diag.ENOEXEC, nil
	} else if h {
		return l.thumb(p)
	}
	loc, err := l.at(p, 4)
	if err != nil {
		return 0, err
	}
	S, P := uint32(p.S), uint32(p.P)
	o := l.insnOrder()
	switch p.Type {
	case 2, 38: // ABS32, TARGET1
		l.order.PutUint32(loc, l.order.Uint32(loc)+S)
	case 3: // REL32
		l.order.PutUint32(loc, l.order.Uint32(loc)+S-P)
	case 1, 28, 29: // PC24, CALL, JUMP24
		if S&3 != 0 {
			return l.say(BadCall, p, "unsupported interworking call (ARM -> Thumb)"), nil
		}
		insn := o.Uint32(loc)
		off, errno, err := l.branch(p, int32(insn<<8)>>6+int32(S-P), 8, 1<<25)
		if errno != 0 || err != nil {
			return errno, err
		}
		o.PutUint32(loc, insn&0xff000000|uint32(off>>2)&0x00ffffff)
	case 40: // V4BX: bx Rm becomes mov pc, Rm
		o.PutUint32(loc, o.Uint32(loc)&0xf000000f|0x01a0f000)
	case 42: // PREL31
		w := l.order.Uint32(loc)
		off := int32(w<<1)>>1 + int32(S-P)
		if off >= 1<<30 || off < -1<<30 {
			return l.outOfRange(p), nil
		}
		l.order.PutUint32(loc, w&0x80000000|uint32(off)&0x7fffffff)
	case 43, 44, 45, 46: // MOVW_ABS_NC, MOVT_ABS, MOVW_PREL_NC, MOVT_PREL
		insn := o.Uint32(loc)
		off := l.movwt(p, int32(insn>>4&0xf000|insn&0xfff)<<16>>16, 43)
		o.PutUint32(loc, insn&0xfff0f000|off&0xf000<<4|off&0xfff)
	case 57, 59: // ALU_PC_G0_NC, ALU_PC_G1_NC
		o.PutUint32(loc, aluGroup(o.Uint32(loc), S-P, int(p.Type-57)/2))
	case 63: // LDR_PC_G2
		insn := o.Uint32(loc)
		off := insn & 0xfff
		if insn&(1<<23) == 0 {
			off = -off
		}
		if off += S - P; int32(off) < 0 {
			off = -off
			insn &^= 1 << 23
		} else {
			insn |= 1 << 23
		}
		if off, _ = groupRem(off, 2); off > 0xfff {
			return l.outOfRange(p), nil
		}
		o.PutUint32(loc, insn&^0xfff|off)
	}
	return 0, nil
}

// What a type needs of the kernel.
const (
	armTaken = 1 << iota
	armThumb // a Thumb instruction: CONFIG_THUMB2_KERNEL
	armPREL  // Traits.ARM.PREL: the place-relative ones, which are newer
)

var armTypes = [...]uint8{
	1: armTaken, 2: armTaken, 28: armTaken, 29: armTaken, 38: armTaken, 40: armTaken, 42: armTaken, 43: armTaken, 44: armTaken,
	3: armTaken | armPREL, 45: armTaken | armPREL, 46: armTaken | armPREL, // REL32, MOVW_PREL_NC, MOVT_PREL
	57: armTaken | armPREL, 59: armTaken | armPREL, 63: armTaken | armPREL, // group relocations
	10: armTaken | armThumb, 30: armTaken | armThumb, 47: armTaken | armThumb, 48: armTaken | armThumb, // THM_CALL, THM_JUMP24, THM_MOVW_ABS_NC, THM_MOVT_ABS
	49: armTaken | armThumb | armPREL, 50: armTaken | armThumb | armPREL, // THM_MOVW_PREL_NC, THM_MOVT_PREL
}

// howto reports whether the loader takes a type, and whether that is a Thumb instruction.
func (l *armLinker) howto(typ uint32) (thumb, ok bool) {
	if typ >= uint32(len(armTypes)) {
		return false, false
	}
	k := armTypes[typ]
	thumb = k&armThumb != 0
	return thumb, k != 0 && (!thumb || l.t.ARM.Thumb2) && (k&armPREL == 0 || l.t.ARM.PREL)
}

// branch brings the distance of a branch into range, with a PLT entry where it must. bias is what the PC is ahead.
func (l *armLinker) branch(p *place, off int32, bias uint32, reach int32) (int32, diag.Errno, error) {
	far := func() bool { return off <= -reach || off >= reach }
	if l.t.ARM.PLT && far() {
		slot, err := l.bucket(p).entry(l, uint32(off)+uint32(p.P)+bias)
		if err != nil {
			return 0, 0, err
		}
		off = int32(slot - uint32(p.P) - bias)
	}
	if far() {
		return 0, l.outOfRange(p), nil
	}
	return off, 0, nil
}

// movwt is the half that a MOVW or MOVT gets. first is the type of the MOVW_ABS among the four.
func (l *armLinker) movwt(p *place, addend int32, first uint32) uint32 {
	off := addend + int32(p.S)
	kind := p.Type - first
	if kind >= 2 { // place-relative
		off -= int32(p.P)
	}
	if kind&1 != 0 { // MOVT
		off >>= 16
	}
	return uint32(off)
}

// thumb relocates a Thumb-2 instruction: two halfwords.
func (l *armLinker) thumb(p *place) (diag.Errno, error) {
	loc, err := l.at(p, 4)
	if err != nil {
		return 0, err
	}
	o := l.insnOrder()
	upper, lower := uint32(o.Uint16(loc)), uint32(o.Uint16(loc[2:]))
	if p.Type == 10 || p.Type == 30 {
		if p.sym.typ() == elf.STT_FUNC && p.S&1 == 0 {
			return l.say(BadCall, p, "unsupported interworking call (Thumb -> ARM)"), nil
		}
		off, errno, err := l.branch(p, thumbOffset(upper, lower)+int32(uint32(p.S)-uint32(p.P)), 4, 1<<24)
		if errno != 0 || err != nil {
			return errno, err
		}
		u := uint32(off)
		sign := u >> 24 & 1
		j1, j2 := sign^(^u>>23&1), sign^(^u>>22&1)
		upper = upper&0xf800 | sign<<10 | u>>12&0x3ff
		lower = lower&0xd000 | j1<<13 | j2<<11 | u>>1&0x7ff
	} else {
		imm := upper&0xf<<12 | upper&0x400<<1 | lower&0x7000>>4 | lower&0xff
		off := l.movwt(p, int32(imm<<16)>>16, 47)
		upper = upper&0xfbf0 | off&0xf000>>12 | off&0x800>>1
		lower = lower&0x8f00 | off&0x700<<4 | off&0xff
	}
	o.PutUint16(loc, uint16(upper))
	o.PutUint16(loc[2:], uint16(lower))
	return 0, nil
}

// thumbOffset is the distance that a BL or B.W holds: S:I1:I2:imm10:imm11:0.
func thumbOffset(upper, lower uint32) int32 {
	s := upper >> 10 & 1
	i1, i2 := ^(lower>>13^s)&1, ^(lower>>11^s)&1
	return int32((s<<24|i1<<23|i2<<22|upper&0x3ff<<12|lower&0x7ff<<1)<<7) >> 7
}

// groupRem is get_group_rem: what is left of off for a group, and the number of zero bits above it, even.
func groupRem(off uint32, group int) (rest uint32, shift uint32) {
	for {
		if off == 0 {
			return 0, 32
		}
		shift = uint32(bits.LeadingZeros32(off)) &^ 1
		if group == 0 {
			return off, shift
		}
		off &= 0xffffff >> shift
		group--
	}
}

// aluGroup puts part of a distance into an ADD or SUB: eight bits and a rotation.
func aluGroup(insn, dist uint32, group int) uint32 {
	off := bits.RotateLeft32(insn&0xff, -int(insn&0xf00>>7))
	if insn&(1<<22) != 0 {
		off = -off
	}
	if off += dist; int32(off) < 0 {
		off = -off
		insn = insn&^(1<<23) | 1<<22 // SUB
	} else {
		insn = insn&^(1<<22) | 1<<23 // ADD
	}
	off, shift := groupRem(off, group)
	if shift < 24 {
		off = off>>(24-shift) | (shift+8)<<7
	}
	return insn&^0xfff | off&0xfff
}
