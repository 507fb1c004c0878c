package reloc

import (
	"debug/elf"

	"kotool/internal/bin"
)

// ImplicitAddend reads the addend that SHT_REL keeps at the place itself, from v, the bytes at the place. It is in bytes, sign
// extended; of a MOVW or MOVT half it is the 16 bits as they stand, of a MIPS HI16 the half in place times 65536 (its
// LO16 holds the rest). ok is false for a type whose addend is not known, or when the place is cut off.
//
// Source: ELF for the Arm Architecture, section "Addends and PC-bias"; System V ABI i386 and MIPS supplements.
func ImplicitAddend(m elf.Machine, typ uint32, v bin.View) (addend int64, ok bool) {
	word := func() (uint32, bool) {
		if v.Len() < 4 {
			return 0, false
		}
		return v.U32(0), true
	}
	signed := func(x uint32, bits uint) int64 { return int64(int32(x<<(32-bits)) >> (32 - bits)) }
	switch m {
	case elf.EM_386:
		switch elf.R_386(typ) {
		case elf.R_386_8, elf.R_386_PC8:
			if v.Len() < 1 {
				return 0, false
			}
			return int64(int8(v.U8(0))), true
		case elf.R_386_16, elf.R_386_PC16:
			if v.Len() < 2 {
				return 0, false
			}
			return int64(int16(v.U16(0))), true
		case elf.R_386_NONE:
			return 0, true
		}
		w, ok := word()
		return int64(int32(w)), ok
	case elf.EM_MIPS:
		w, ok := word()
		if !ok {
			return 0, false
		}
		switch elf.R_MIPS(typ) {
		case elf.R_MIPS_NONE:
			return 0, true
		case elf.R_MIPS_32, elf.R_MIPS_REL32, elf.R_MIPS_GPREL32, 248: // 248: R_MIPS_PC32
			return int64(int32(w)), true
		case elf.R_MIPS_26:
			return int64(w&0x03ffffff) << 2, true
		case elf.R_MIPS_HI16:
			return int64(int32(w << 16)), true
		case elf.R_MIPS_LO16, elf.R_MIPS_GPREL16, elf.R_MIPS_16:
			return signed(w, 16), true
		case elf.R_MIPS_PC16:
			return signed(w, 16) << 2, true
		case 60: // R_MIPS_PC21_S2
			return signed(w, 21) << 2, true
		case 61: // R_MIPS_PC26_S2
			return signed(w, 26) << 2, true
		}
	case elf.EM_ARM:
		w, ok := word()
		if !ok {
			return 0, false
		}
		half := func() (uint32, uint32) { // a Thumb-2 instruction: two halfwords, the upper one first
			return uint32(v.U16(0)), uint32(v.U16(2))
		}
		switch elf.R_ARM(typ) {
		case elf.R_ARM_NONE, elf.R_ARM_V4BX:
			return 0, true
		case elf.R_ARM_ABS32, elf.R_ARM_REL32, elf.R_ARM_TARGET1:
			return int64(int32(w)), true
		case elf.R_ARM_PREL31:
			return signed(w, 31), true
		case elf.R_ARM_PC24, elf.R_ARM_CALL, elf.R_ARM_JUMP24:
			return signed(w, 24) << 2, true
		case elf.R_ARM_MOVW_ABS_NC, elf.R_ARM_MOVT_ABS, elf.R_ARM_MOVW_PREL_NC, elf.R_ARM_MOVT_PREL:
			return signed(w>>4&0xf000|w&0xfff, 16), true
		case elf.R_ARM_THM_PC22, elf.R_ARM_THM_JUMP24:
			hi, lo := half()
			s := hi >> 10 & 1
			j1, j2 := lo>>13&1, lo>>11&1
			off := s<<24 | (^(j1^s)&1)<<23 | (^(j2^s)&1)<<22 | hi&0x3ff<<12 | lo&0x7ff<<1
			return signed(off, 25), true
		case elf.R_ARM_THM_MOVW_ABS_NC, elf.R_ARM_THM_MOVT_ABS, elf.R_ARM_THM_MOVW_PREL_NC, elf.R_ARM_THM_MOVT_PREL:
			hi, lo := half()
			return signed(hi&0xf<<12|hi>>10&1<<11|lo>>12&7<<8|lo&0xff, 16), true
		}
	}
	return 0, false
}
