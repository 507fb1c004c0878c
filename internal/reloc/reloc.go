// Package reloc knows the relocation types of each machine that Linux modules are built for, and
// applies them as the kernel's module loader does: one file, one machine.
//
// Begin makes the Linker of one load. It works on an Image, the module in memory as the simulated
// kernel holds it, and mirrors the arch hooks of the loader: module_frob_arch_sections (Frob),
// apply_relocate and apply_relocate_add (Apply), and what module_finalize does to PLTs (Finalize).
package reloc

import "debug/elf"

// Name is the standard name of a relocation type, "R_X86_64_PLT32"; "" where the machine or the type is not known.
// The spelling is that of readelf -rW (binutils), and the psABI's for types that binutils does not name.
func Name(m elf.Machine, typ uint32) string {
	t := table(m)
	if uint64(typ) < uint64(len(t)) {
		return t[typ]
	}
	return ""
}

// table is the names of a machine's types, indexed by type.
func table(m elf.Machine) []string {
	switch m {
	case elf.EM_X86_64:
		return namesX86_64[:]
	case elf.EM_386:
		return names386[:]
	case elf.EM_AARCH64:
		return namesAArch64[:]
	case elf.EM_ARM:
		return namesARM[:]
	case elf.EM_RISCV:
		return namesRISCV[:]
	case elf.EM_PPC64:
		return namesPPC64[:]
	case elf.EM_PPC:
		return namesPPC[:]
	case elf.EM_S390, em390Old:
		return names390[:]
	case elf.EM_MIPS:
		return namesMIPS[:]
	case elf.EM_LOONGARCH:
		return namesLARCH[:]
	case elf.EM_SPARCV9, elf.EM_SPARC, elf.EM_SPARC32PLUS:
		return namesSPARC[:]
	case elf.EM_PARISC:
		return namesPARISC[:]
	case elf.EM_ALPHA, elf.EM_ALPHA_STD:
		return namesAlpha[:]
	case elf.EM_68K:
		return names68K[:]
	case elf.EM_SH:
		return namesSH[:]
	case elf.EM_MICROBLAZE:
		return namesMicroBlaze[:]
	case elf.EM_OPENRISC:
		return namesOpenRISC[:]
	case 252: // EM_CSKY
		return namesCSKY[:]
	}
	return nil
}

// em390Old is the machine number of s390 before the official one; the kernel still takes it.
const em390Old = elf.Machine(0xa390)
