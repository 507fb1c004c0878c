// Package arch has one row per machine that Linux modules are built for: the numbers
// that differ between them. What is behaviour (relocations) is in internal/reloc.
package arch

import "debug/elf"

// Arch is one machine as the kernel tells them apart.
type Arch struct {
	Name      string      // as `uname -m` or the kernel's arch directory says it: "x86_64", "arm64"
	Debian    string      // Debian's name for it: "amd64"
	Machine   elf.Machine // e_machine
	Class     elf.Class   // ELFCLASS32 or ELFCLASS64
	BigEndian bool
	PageSize  uint64 // bytes; the one distributions configure
	Rela      bool   // relocations carry their addend (SHT_RELA)

	// PREL32 says that __ksymtab entries are place-relative 32-bit offsets since 4.19.
	// Source: arch/*/Kconfig: HAVE_ARCH_PREL32_RELOCATIONS (x86 and arm64 only, 5.10 to 7.2).
	PREL32 bool
}

// WordSize is sizeof(unsigned long) in bytes.
func (a *Arch) WordSize() int {
	if a.Class == elf.ELFCLASS32 {
		return 4
	}
	return 8
}

// em390Old is the machine number of s390 before the official one was assigned; the kernel still takes it.
const em390Old = elf.Machine(0xa390)

const (
	c32 = elf.ELFCLASS32
	c64 = elf.ELFCLASS64
)

// Table lists the machines. Machine, Class and BigEndian together are the key.
var Table = []Arch{
	{Name: "x86_64", Debian: "amd64", Machine: elf.EM_X86_64, Class: c64, PageSize: 4096, Rela: true, PREL32: true},
	{Name: "x32", Debian: "x32", Machine: elf.EM_X86_64, Class: c32, PageSize: 4096, Rela: true, PREL32: true},
	{Name: "i386", Debian: "i386", Machine: elf.EM_386, Class: c32, PageSize: 4096, PREL32: true},
	{Name: "arm64", Debian: "arm64", Machine: elf.EM_AARCH64, Class: c64, PageSize: 4096, Rela: true, PREL32: true},
	{Name: "arm64be", Machine: elf.EM_AARCH64, Class: c64, BigEndian: true, PageSize: 4096, Rela: true, PREL32: true},
	{Name: "arm", Debian: "armhf", Machine: elf.EM_ARM, Class: c32, PageSize: 4096},
	{Name: "arm", Debian: "armel", Machine: elf.EM_ARM, Class: c32, PageSize: 4096},
	{Name: "armeb", Machine: elf.EM_ARM, Class: c32, BigEndian: true, PageSize: 4096},
	{Name: "riscv64", Debian: "riscv64", Machine: elf.EM_RISCV, Class: c64, PageSize: 4096, Rela: true},
	{Name: "riscv32", Machine: elf.EM_RISCV, Class: c32, PageSize: 4096, Rela: true},
	{Name: "ppc64le", Debian: "ppc64el", Machine: elf.EM_PPC64, Class: c64, PageSize: 65536, Rela: true},
	{Name: "ppc64", Debian: "ppc64", Machine: elf.EM_PPC64, Class: c64, BigEndian: true, PageSize: 65536, Rela: true},
	{Name: "ppc", Debian: "powerpc", Machine: elf.EM_PPC, Class: c32, BigEndian: true, PageSize: 4096, Rela: true},
	{Name: "s390x", Debian: "s390x", Machine: elf.EM_S390, Class: c64, BigEndian: true, PageSize: 4096, Rela: true},
	{Name: "s390x", Machine: em390Old, Class: c64, BigEndian: true, PageSize: 4096, Rela: true},
	{Name: "s390", Machine: elf.EM_S390, Class: c32, BigEndian: true, PageSize: 4096, Rela: true},
	{Name: "mipsel", Debian: "mipsel", Machine: elf.EM_MIPS, Class: c32, PageSize: 4096},
	{Name: "mips", Machine: elf.EM_MIPS, Class: c32, BigEndian: true, PageSize: 4096},
	{Name: "mips64el", Debian: "mips64el", Machine: elf.EM_MIPS, Class: c64, PageSize: 4096, Rela: true},
	{Name: "mips64", Machine: elf.EM_MIPS, Class: c64, BigEndian: true, PageSize: 4096, Rela: true},
	{Name: "loongarch64", Debian: "loong64", Machine: elf.EM_LOONGARCH, Class: c64, PageSize: 16384, Rela: true},
	{Name: "loongarch32", Machine: elf.EM_LOONGARCH, Class: c32, PageSize: 16384, Rela: true},
	{Name: "sparc64", Debian: "sparc64", Machine: elf.EM_SPARCV9, Class: c64, BigEndian: true, PageSize: 8192, Rela: true},
	{Name: "sparc", Machine: elf.EM_SPARC, Class: c32, BigEndian: true, PageSize: 4096, Rela: true},
	{Name: "sparc", Machine: elf.EM_SPARC32PLUS, Class: c32, BigEndian: true, PageSize: 4096, Rela: true},
	{Name: "parisc64", Machine: elf.EM_PARISC, Class: c64, BigEndian: true, PageSize: 4096, Rela: true},
	{Name: "parisc", Debian: "hppa", Machine: elf.EM_PARISC, Class: c32, BigEndian: true, PageSize: 4096, Rela: true},
	{Name: "ia64", Debian: "ia64", Machine: elf.EM_IA_64, Class: c64, PageSize: 16384, Rela: true},
	{Name: "alpha", Debian: "alpha", Machine: elf.EM_ALPHA, Class: c64, PageSize: 8192, Rela: true},
	{Name: "alpha", Machine: elf.EM_ALPHA_STD, Class: c64, PageSize: 8192, Rela: true},
	{Name: "m68k", Debian: "m68k", Machine: elf.EM_68K, Class: c32, BigEndian: true, PageSize: 4096, Rela: true},
	{Name: "sh", Debian: "sh4", Machine: elf.EM_SH, Class: c32, PageSize: 4096, Rela: true},
	{Name: "arc", Machine: elf.Machine(195), Class: c32, PageSize: 8192, Rela: true},
	{Name: "xtensa", Machine: elf.EM_XTENSA, Class: c32, PageSize: 4096, Rela: true},
	{Name: "hexagon", Machine: elf.EM_QDSP6, Class: c32, PageSize: 4096, Rela: true},
	{Name: "csky", Machine: elf.Machine(252), Class: c32, PageSize: 4096, Rela: true},
	{Name: "nios2", Machine: elf.EM_ALTERA_NIOS2, Class: c32, PageSize: 4096, Rela: true},
	{Name: "or1k", Machine: elf.EM_OPENRISC, Class: c32, BigEndian: true, PageSize: 8192, Rela: true},
	{Name: "microblaze", Machine: elf.EM_MICROBLAZE, Class: c32, PageSize: 4096, Rela: true},
}

// Find returns the row for an ELF header's machine, class and byte order, or nil.
func Find(machine elf.Machine, class elf.Class, bigEndian bool) *Arch {
	for i := range Table {
		a := &Table[i]
		if a.Machine == machine && a.Class == class && a.BigEndian == bigEndian {
			return a
		}
	}
	return nil
}

// Named returns the row with that name or Debian's name for it, or nil.
func Named(name string) *Arch {
	for i := range Table {
		if a := &Table[i]; name != "" && (a.Name == name || a.Debian == name) {
			return a
		}
	}
	return nil
}

// Guess returns the first row of a machine number: the usual class and byte order of files
// whose identification bytes are damaged. nil when the machine is unknown too.
func Guess(machine elf.Machine) *Arch {
	for i := range Table {
		if a := &Table[i]; a.Machine == machine {
			return a
		}
	}
	return nil
}
