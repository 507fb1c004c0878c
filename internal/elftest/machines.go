package elftest

import "debug/elf"

// Machine is a machine that modules are built for, with the relocation types that tests need.
type Machine struct {
	Name    string
	Machine elf.Machine
	Class   elf.Class
	Big     bool
	Rela    bool
	Abs     uint32 // type of a relocation that stores an address of a word
	Abs32   uint32 // the same of 32 bits
	Rel32   uint32 // the same, relative to the place; 0: tables of exports are not place-relative there
}

// The machines. Source of the numbers: the psABI of each; debug/elf has most of them by name.
var (
	AMD64    = Machine{"amd64", elf.EM_X86_64, elf.ELFCLASS64, false, true, 1, 10, 2}
	I386     = Machine{"i386", elf.EM_386, elf.ELFCLASS32, false, false, 1, 1, 2}
	ARM64    = Machine{"arm64", elf.EM_AARCH64, elf.ELFCLASS64, false, true, 257, 258, 261}
	ARM      = Machine{"arm", elf.EM_ARM, elf.ELFCLASS32, false, false, 2, 2, 0}
	RISCV64  = Machine{"riscv64", elf.EM_RISCV, elf.ELFCLASS64, false, true, 2, 1, 0}
	LOONG64  = Machine{"loong64", elf.EM_LOONGARCH, elf.ELFCLASS64, false, true, 2, 1, 0}
	S390X    = Machine{"s390x", elf.EM_S390, elf.ELFCLASS64, true, true, 22, 4, 0}
	PPC64LE  = Machine{"ppc64le", elf.EM_PPC64, elf.ELFCLASS64, false, true, 38, 1, 0}
	PPC64    = Machine{"ppc64", elf.EM_PPC64, elf.ELFCLASS64, true, true, 38, 1, 0}
	PPC      = Machine{"ppc", elf.EM_PPC, elf.ELFCLASS32, true, true, 1, 1, 0}
	MIPSLE   = Machine{"mipsle", elf.EM_MIPS, elf.ELFCLASS32, false, false, 2, 2, 0}
	MIPS64LE = Machine{"mips64le", elf.EM_MIPS, elf.ELFCLASS64, false, true, 18, 2, 0}
	MIPS64   = Machine{"mips64", elf.EM_MIPS, elf.ELFCLASS64, true, true, 18, 2, 0}
	SPARC64  = Machine{"sparc64", elf.EM_SPARCV9, elf.ELFCLASS64, true, true, 32, 3, 0}
	PARISC   = Machine{"parisc", elf.EM_PARISC, elf.ELFCLASS32, true, true, 1, 1, 0}
)

// Machines are all of them: both classes, both byte orders, with addends in the relocation or at the place.
var Machines = []Machine{AMD64, I386, ARM64, ARM, RISCV64, LOONG64, S390X, PPC64LE, PPC64, PPC, MIPSLE, MIPS64LE, MIPS64, SPARC64, PARISC}

// For makes a builder for one of the machines.
func For(m Machine) *Builder {
	b := New(m.Machine, m.Class, m.Big)
	b.Kind = m
	return b
}

// pointer is a relocation that Bytes writes with those of its section.
type pointer struct {
	section int
	rel     Rel
}

// Point lets the word at off of a section point at a symbol, by a relocation of the machine's kind: machines without addends in their
// relocations get the addend at the place, which must be inside the section's data.
func (b *Builder) Point(section int, off uint64, sym uint32, addend int64) {
	b.point(section, off, b.Word(), Rel{Off: off, Sym: sym, Type: b.Kind.Abs, Addend: addend})
}

func (b *Builder) point(section int, off uint64, size int, r Rel) {
	if !b.Kind.Rela {
		data := b.Sections[section-1].Data
		if size == 4 {
			b.Order().PutUint32(data[off:], uint32(r.Addend))
		} else {
			b.Order().PutUint64(data[off:], uint64(r.Addend))
		}
	}
	b.pointers = append(b.pointers, pointer{section, r})
}

// flushPointers appends the relocation sections of what was pointed.
func (b *Builder) flushPointers() {
	for target := range b.Sections {
		var list []Rel
		for _, p := range b.pointers {
			if p.section == target+1 {
				list = append(list, p.rel)
			}
		}
		if list != nil {
			b.Relocs(target+1, b.Kind.Rela, list...)
		}
	}
}

// Extend appends bytes to a section's data and returns where they begin.
func (b *Builder) Extend(section int, data []byte) uint64 {
	s := &b.Sections[section-1]
	off := uint64(len(s.Data))
	s.Data = append(s.Data, data...)
	return off
}

// Find is the index of the first section of that name, 0 for none.
func (b *Builder) Find(name string) int {
	for i := range b.Sections {
		if b.Sections[i].Name == name {
			return i + 1
		}
	}
	return 0
}

// section is Find, or a new loaded section.
func (b *Builder) section(name string, flags elf.SectionFlag, align uint64) int {
	if i := b.Find(name); i != 0 {
		return i
	}
	return b.Add(Section{Name: name, Type: elf.SHT_PROGBITS, Flags: flags, Align: align})
}

// Header is the header of section i in finished bytes, to be changed by an Edit.
func (b *Builder) Header(file []byte, i int) []byte {
	at, size := uint64(0), 64
	if b.Word() == 4 {
		at, size = uint64(b.Order().Uint32(file[32:])), 40
	} else {
		at = b.Order().Uint64(file[40:])
	}
	return file[at+uint64(i*size):][:size]
}

// Cut is an Edit that keeps the first n bytes.
func Cut(n int) func([]byte) []byte {
	return func(b []byte) []byte { return b[:min(n, len(b))] }
}
