package reloc

import (
	"debug/elf"
	"slices"
)

// Reach is what a relocated value may be, both ends included; ok is false where the machine's loader takes any, or what it takes hangs on the
// place. A machine with a PLT takes more of branches.
//
// Source: the loaders' own checks, arch/*/kernel/module*.c.
func Reach(m elf.Machine, class elf.Class, typ uint32) (lo, hi int64, ok bool) {
	for i := range reaches {
		if r := &reaches[i]; r.machine == m && (r.class == 0 || r.class == class) && slices.Contains(r.types, typ) {
			lo, hi = r.of(r.bits)
			return lo, hi, true
		}
	}
	return 0, 0, false
}

// signed is what n bits hold, and unsigned. inner is signed without the smallest.
func signed(n uint) (lo, hi int64)   { return -1 << (n - 1), 1<<(n-1) - 1 }
func unsigned(n uint) (lo, hi int64) { return 0, 1<<n - 1 }
func inner(n uint) (lo, hi int64)    { return -1<<(n-1) + 1, 1<<(n-1) - 1 }

// auipc is what an upper part of 20 bits reaches with a signed lower part of 12.
func auipc(n uint) (lo, hi int64) { return -1<<(n-1) - 1<<11, 1<<(n-1) - 1<<11 - 1 }

type reach struct {
	machine elf.Machine
	class   elf.Class // 0: both
	of      func(bits uint) (lo, hi int64)
	bits    uint
	types   []uint32
}

var reaches = []reach{
	{elf.EM_X86_64, 0, unsigned, 32, []uint32{10}}, // 32
	{elf.EM_X86_64, 0, signed, 32, []uint32{11}},   // 32S

	{elf.EM_AARCH64, 0, unsigned, 16, []uint32{259, 263}},               // ABS16, MOVW_UABS_G0
	{elf.EM_AARCH64, 0, unsigned, 32, []uint32{258, 265}},               // ABS32, MOVW_UABS_G1
	{elf.EM_AARCH64, 0, unsigned, 48, []uint32{267}},                    // MOVW_UABS_G2
	{elf.EM_AARCH64, 0, signed, 16, []uint32{262, 279}},                 // PREL16, TSTBR14
	{elf.EM_AARCH64, 0, signed, 17, []uint32{270, 287}},                 // MOVW_SABS_G0, MOVW_PREL_G0
	{elf.EM_AARCH64, 0, signed, 21, []uint32{273, 274, 280}},            // LD_PREL_LO19, ADR_PREL_LO21, CONDBR19
	{elf.EM_AARCH64, 0, signed, 28, []uint32{282, 283}},                 // JUMP26, CALL26
	{elf.EM_AARCH64, 0, signed, 32, []uint32{261}},                      // PREL32
	{elf.EM_AARCH64, 0, signed, 33, []uint32{271, 275, 289}},            // MOVW_SABS_G1, ADR_PREL_PG_HI21, MOVW_PREL_G1
	{elf.EM_AARCH64, 0, signed, 49, []uint32{272, 291}},                 // MOVW_SABS_G2, MOVW_PREL_G2
	{elf.EM_ARM, 0, inner, 26, []uint32{1, 28, 29}},                     // PC24, CALL, JUMP24
	{elf.EM_ARM, 0, inner, 25, []uint32{10, 30}},                        // THM_CALL, THM_JUMP24
	{elf.EM_ARM, 0, signed, 31, []uint32{42}},                           // PREL31
	{elf.EM_RISCV, elf.ELFCLASS64, unsigned, 32, []uint32{1}},           // 32
	{elf.EM_RISCV, elf.ELFCLASS64, auipc, 32, []uint32{18, 19, 23, 59}}, // CALL, CALL_PLT, PCREL_HI20, PLT32

	{elf.EM_S390, 0, unsigned, 8, []uint32{1}},                    // 8
	{elf.EM_S390, 0, unsigned, 12, []uint32{2, 6, 29}},            // 12, GOT12, GOTPLT12
	{elf.EM_S390, 0, unsigned, 16, []uint32{3, 15, 27, 30, 34}},   // 16, GOT16, GOTOFF16, GOTPLT16, PLTOFF16
	{elf.EM_S390, 0, unsigned, 32, []uint32{4, 7, 8, 13, 31, 35}}, // 32, GOT32, PLT32, GOTOFF32, GOTPLT32, PLTOFF32
	{elf.EM_S390, 0, signed, 16, []uint32{16}},                    // PC16
	{elf.EM_S390, 0, signed, 17, []uint32{17, 18}},                // PC16DBL, PLT16DBL
	{elf.EM_S390, 0, signed, 20, []uint32{57, 58, 59}},            // 20, GOT20, GOTPLT20
	{elf.EM_S390, 0, signed, 32, []uint32{5, 14}},                 // PC32, GOTPC
	{elf.EM_S390, 0, signed, 33, []uint32{19, 20, 21, 26, 33}},    // PC32DBL, PLT32DBL, GOTPCDBL, GOTENT, GOTPLTENT
	{elf.EM_PPC64, 0, signed, 16, []uint32{47, 63}},               // TOC16, TOC16_DS
	{elf.EM_PPC64, 0, signed, 26, []uint32{10}},                   // REL24
	{elf.EM_PPC64, 0, signed, 32, []uint32{26}},                   // REL32
	{elf.EM_PPC, 0, signed, 26, []uint32{10}},                     // REL24
	{elf.EM_MIPS, 0, signed, 18, []uint32{10}},                    // PC16
	{elf.EM_MIPS, 0, signed, 23, []uint32{60}},                    // PC21_S2
	{elf.EM_MIPS, 0, signed, 28, []uint32{61}},                    // PC26_S2
	{elf.EM_LOONGARCH, 0, unsigned, 12, []uint32{39}},             // SOP_POP_32_U_10_12
	{elf.EM_LOONGARCH, 0, unsigned, 32, []uint32{46}},             // SOP_POP_32_U
	{elf.EM_LOONGARCH, 0, signed, 12, []uint32{40}},               // SOP_POP_32_S_10_12
	{elf.EM_LOONGARCH, 0, signed, 16, []uint32{41}},               // SOP_POP_32_S_10_16
	{elf.EM_LOONGARCH, 0, signed, 18, []uint32{42}},               // SOP_POP_32_S_10_16_S2
	{elf.EM_LOONGARCH, 0, signed, 20, []uint32{43}},               // SOP_POP_32_S_5_20
	{elf.EM_LOONGARCH, 0, signed, 23, []uint32{44}},               // SOP_POP_32_S_0_5_10_16_S2
	{elf.EM_LOONGARCH, 0, signed, 28, []uint32{29, 45, 66}},       // SOP_PUSH_PLT_PCREL, SOP_POP_32_S_0_10_10_16_S2, B26
	{elf.EM_PARISC, elf.ELFCLASS32, signed, 19, []uint32{12}},     // PCREL17F
	{elf.EM_PARISC, 0, signed, 24, []uint32{74}},                  // PCREL22F
}
