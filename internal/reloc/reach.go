package reloc

import "debug/elf"

// Reach is what a relocated value may be, both ends included; ok is false where the machine's loader takes any, or has a PLT for what is too far.
//
// Source: the loaders' own checks, arch/*/kernel/module*.c.
func Reach(m elf.Machine, typ uint32) (lo, hi int64, ok bool) {
	for i := range reaches {
		if r := &reaches[i]; r.machine == m && r.typ == typ {
			return r.lo, r.hi, true
		}
	}
	return 0, 0, false
}

// signed is what n bits hold, and unsigned.
func signed(n uint) (lo, hi int64)   { return -1 << (n - 1), 1<<(n-1) - 1 }
func either(n uint) (lo, hi int64)   { return -1 << (n - 1), 1<<n - 1 }
func unsigned(n uint) (lo, hi int64) { return 0, 1<<n - 1 }

type reach struct {
	machine elf.Machine
	typ     uint32
	lo, hi  int64
}

func reachOf(m elf.Machine, typ uint32, bits uint, of func(uint) (int64, int64)) reach {
	lo, hi := of(bits)
	return reach{m, typ, lo, hi}
}

var reaches = []reach{
	reachOf(elf.EM_X86_64, uint32(elf.R_X86_64_32), 32, unsigned),
	reachOf(elf.EM_X86_64, uint32(elf.R_X86_64_32S), 32, signed),
	reachOf(elf.EM_AARCH64, uint32(elf.R_AARCH64_ABS32), 32, either),
	reachOf(elf.EM_AARCH64, uint32(elf.R_AARCH64_ABS16), 16, either),
	reachOf(elf.EM_AARCH64, uint32(elf.R_AARCH64_PREL32), 32, signed),
	reachOf(elf.EM_AARCH64, uint32(elf.R_AARCH64_PREL16), 16, either),
	reachOf(elf.EM_AARCH64, uint32(elf.R_AARCH64_LD_PREL_LO19), 21, signed),
	reachOf(elf.EM_AARCH64, uint32(elf.R_AARCH64_ADR_PREL_LO21), 21, signed),
	reachOf(elf.EM_AARCH64, uint32(elf.R_AARCH64_ADR_PREL_PG_HI21), 33, signed),
	reachOf(elf.EM_AARCH64, uint32(elf.R_AARCH64_TSTBR14), 16, signed),
	reachOf(elf.EM_AARCH64, uint32(elf.R_AARCH64_CONDBR19), 21, signed),
	reachOf(elf.EM_AARCH64, uint32(elf.R_AARCH64_JUMP26), 28, signed),
	reachOf(elf.EM_AARCH64, uint32(elf.R_AARCH64_CALL26), 28, signed),
	reachOf(elf.EM_ARM, uint32(elf.R_ARM_PC24), 26, signed),
	reachOf(elf.EM_ARM, uint32(elf.R_ARM_CALL), 26, signed),
	reachOf(elf.EM_ARM, uint32(elf.R_ARM_JUMP24), 26, signed),
	reachOf(elf.EM_ARM, uint32(elf.R_ARM_THM_PC22), 25, signed),
	reachOf(elf.EM_ARM, uint32(elf.R_ARM_THM_JUMP24), 25, signed),
	reachOf(elf.EM_RISCV, uint32(elf.R_RISCV_BRANCH), 13, signed),
	reachOf(elf.EM_RISCV, uint32(elf.R_RISCV_JAL), 21, signed),
	reachOf(elf.EM_S390, uint32(elf.R_390_PC16DBL), 17, signed),
	reachOf(elf.EM_S390, uint32(elf.R_390_PC32DBL), 33, signed),
	reachOf(elf.EM_S390, uint32(elf.R_390_PLT32DBL), 33, signed),
	reachOf(elf.EM_PPC64, uint32(elf.R_PPC64_REL24), 26, signed),
	reachOf(elf.EM_PPC64, uint32(elf.R_PPC64_REL32), 32, signed),
}
