package reloc

import (
	"cmp"
	"debug/elf"
	"slices"

	"kotool/internal/kver"
)

// Howto describes one relocation type: enough to print it, and to bound the write.
type Howto struct {
	Type    uint32
	Name    string       // "R_X86_64_PLT32"; "" for a type without a name
	Size    uint8        // bytes touched at P; 0 for markers, and where Loader is false
	Formula string       // psABI notation: "S + A - P"; "" where Loader is false
	Loader  bool         // some kernel's module loader takes it
	Since   kver.Version // the first kernel known to take it; zero: all of 5.10 and later
}

// row is a Howto of a type that the loader takes, without what Name knows.
type row struct {
	typ     uint32
	size    uint8
	formula string
	since   kver.Version
}

// rows are the types that a machine's loader takes, by type.
func rows(m elf.Machine, class elf.Class) []row {
	switch m {
	case elf.EM_X86_64:
		return rowsX86_64[:]
	case elf.EM_386:
		return rows386[:]
	case elf.EM_AARCH64:
		return rowsARM64[:]
	case elf.EM_ARM:
		return rowsARM[:]
	case elf.EM_RISCV:
		return rowsRISCV[:]
	case elf.EM_PPC64:
		return rowsPPC64[:]
	case elf.EM_PPC:
		return rowsPPC32[:]
	case elf.EM_S390, em390Old:
		if class == elf.ELFCLASS64 {
			return rowsS390[:]
		}
	case elf.EM_MIPS:
		if class == elf.ELFCLASS64 {
			return rowsMIPS64[:]
		}
		return rowsMIPS32[:]
	case elf.EM_LOONGARCH:
		if class == elf.ELFCLASS64 {
			return rowsLoongArch[:]
		}
	case elf.EM_SPARCV9:
		return rowsSPARC64[:]
	case elf.EM_PARISC:
		if class == elf.ELFCLASS64 {
			return rowsPARISC64[:]
		}
		return rowsPARISC32[:]
	}
	return nil
}

// Modelled reports whether the machine's module loader is known here, so that Howto.Loader means something and Begin has a Linker.
func Modelled(m elf.Machine, class elf.Class) bool { return rows(m, class) != nil }

// Lookup describes a relocation type. What is not known of it is zero; Loader is false for a type which
// the machine's loader refuses, and for all types of a machine that is not Modelled.
func Lookup(m elf.Machine, class elf.Class, typ uint32) Howto {
	h := Howto{Type: typ, Name: Name(m, typ)}
	list := rows(m, class)
	if i, ok := slices.BinarySearchFunc(list, typ, func(r row, t uint32) int { return cmp.Compare(r.typ, t) }); ok {
		r := &list[i]
		h.Size, h.Formula, h.Since, h.Loader = r.size, r.formula, r.since, true
	}
	return h
}

// Howtos lists the named types of a machine and those its loader takes, by type.
func Howtos(m elf.Machine, class elf.Class) []Howto {
	names := table(m)
	list := make([]Howto, 0, len(names))
	for t := range names {
		if h := Lookup(m, class, uint32(t)); h.Name != "" || h.Loader {
			list = append(list, h)
		}
	}
	return list
}
