package kimage

import (
	"debug/elf"
	"fmt"
	"sort"

	"kotool/internal/bin"
	kelf "kotool/internal/elf"
	"kotool/internal/ksymtab"
)

// elfImage is a linked kernel in ELF.
type elfImage struct {
	file *kelf.File
	data []byte
}

func openELF(data []byte) (*elfImage, error) {
	f, err := kelf.Parse(kelf.Mem(data))
	if err != nil {
		return nil, fmt.Errorf("vmlinux: %w", err)
	}
	if f.Header.Type != elf.ET_EXEC && f.Header.Type != elf.ET_DYN {
		return nil, fmt.Errorf("vmlinux: ELF of type %v is not a linked kernel", f.Header.Type)
	}
	if len(f.Problems) > 0 {
		return nil, fmt.Errorf("vmlinux: %s: cut short or damaged", f.Problems[0].Text)
	}
	e := &elfImage{file: f, data: data}
	return e, nil
}

// places are the sections where texts may stand, the likely ones first.
func (e *elfImage) places() []bin.View {
	var first, rest []bin.View
	for i := range e.file.Sections {
		s := &e.file.Sections[i]
		if s.Flags&elf.SHF_ALLOC == 0 || s.Type != elf.SHT_PROGBITS {
			continue
		}
		v, _ := e.file.Data(i)
		switch s.Name {
		case ".rodata", ".init.rodata":
			first = append(first, v)
		case ".BTF":
		default:
			if s.Flags&elf.SHF_EXECINSTR == 0 {
				rest = append(rest, v)
			}
		}
	}
	if len(first)+len(rest) == 0 {
		return []bin.View{bin.New(e.data, 0, e.file.Big)}
	}
	return append(first, rest...)
}

// section is the content of the section with that name; nil: none.
func (e *elfImage) section(name string) []byte {
	_, v, err := e.file.ByName(name)
	if err != nil || v.Len() == 0 {
		return nil
	}
	return v.Bytes()
}

// memory collects what is loaded, by the program headers, or, where there are none, by the sections.
func (e *elfImage) memory() *memory {
	f := e.file
	m := &memory{word: f.Word(), big: f.Big, noSections: len(f.Sections) == 0}
	add := func(addr, off, size uint64) {
		if v := e.view(off, size); v.Len() > 0 && addr+v.Len() > addr {
			m.segs = append(m.segs, segment{addr, off, v.Bytes()})
		}
	}
	size := uint64(56)
	if f.Class == elf.ELFCLASS32 {
		size = 32
	}
	if stride := uint64(f.Header.Phentsize); stride >= size {
		for p := range e.view(f.Header.Phoff, uint64(f.Header.Phnum)*stride).All(stride) {
			if elf.ProgType(p.U32(0)) != elf.PT_LOAD {
				continue
			}
			if f.Class == elf.ELFCLASS32 {
				add(uint64(p.U32(8)), uint64(p.U32(4)), uint64(p.U32(16)))
			} else {
				add(p.U64(16), p.U64(8), p.U64(32))
			}
		}
	}
	if len(m.segs) == 0 {
		for i := range f.Sections {
			if s := &f.Sections[i]; s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS && s.Type != elf.SHT_NULL {
				add(s.Addr, s.Off, s.Size)
			}
		}
	}
	sort.SliceStable(m.segs, func(i, j int) bool { return m.segs[i].addr < m.segs[j].addr })
	return m
}

// view is at most n bytes of the file from off.
func (e *elfImage) view(off, n uint64) bin.View { return bin.New(e.data, 0, e.file.Big).Clip(off, n) }

// exportSections are the tables of exports with those of their CRCs.
//
// Source: include/asm-generic/vmlinux.lds.h: RO_DATA (5.10, 6.12, 7.2).
var exportSections = [...][2]string{
	{"__ksymtab", "__kcrctab"},
	{"__ksymtab_gpl", "__kcrctab_gpl"},
	{"__ksymtab_gpl_future", "__kcrctab_gpl_future"},
	{"__ksymtab_unused", "__kcrctab_unused"},
	{"__ksymtab_unused_gpl", "__kcrctab_unused_gpl"},
}

// tables are the tables of exports by their sections.
func (e *elfImage) tables(m *memory) []ksymtab.LinkedTable {
	var list []ksymtab.LinkedTable
	for _, names := range exportSections {
		i, data, err := e.file.ByName(names[0])
		if i < 0 || err != nil || data.Len() == 0 {
			continue
		}
		lt := ksymtab.LinkedTable{Name: names[0], Data: data, Addr: e.file.Sections[i].Addr}
		if c, crcs, err := e.file.ByName(names[1]); c >= 0 && err == nil {
			lt.CRCs, lt.CRCAddr = crcs, e.file.Sections[c].Addr
		}
		if f, flags, err := e.file.ByName("__kflagstab"); f >= 0 && err == nil && names[0] == "__ksymtab" {
			lt.Flags = flags
		}
		list = append(list, lt)
	}
	if len(list) > 0 && e.relocate(m, list[0].Addr) {
		for i := range list {
			lt := &list[i]
			lt.Data = m.at(lt.Addr).Clip(0, lt.Data.Len())
			if lt.CRCs.Len() > 0 {
				lt.CRCs = m.at(lt.CRCAddr).Clip(0, lt.CRCs.Len())
			}
		}
	}
	return list
}

// relocate fills in the pointers of a kernel that is linked as a position-independent executable and whose pointers stand only in .rela.dyn:
// those of s390, and of riscv with CONFIG_RELOCATABLE. It reports whether it did.
func (e *elfImage) relocate(m *memory, table uint64) bool {
	i, rela, err := e.file.ByName(".rela.dyn")
	if i < 0 || err != nil || e.file.Arch == nil {
		return false
	}
	types, ok := relocTypesOf(e.file.Arch)
	if !ok {
		return false
	}
	first := m.at(table)
	for k := range 16 { // the value and the name of the first export, where the machine's are absolute
		if first.Len() < 16 || first.U8(k) != 0 {
			return false
		}
	}
	_, syms, _ := e.file.ByName(".dynsym")
	return m.relocate(&relocs{rela: rela, syms: syms, types: types})
}

// symbols are the symbols of an ELF file.
type symbols struct {
	file *kelf.File
	tab  *kelf.Symtab
}

func (e *elfImage) symbols() symbols {
	t, err := e.file.Symbols()
	if err != nil || t.Len() < 2 {
		return symbols{}
	}
	return symbols{e.file, t}
}

// letter is what nm says of a symbol; 0: it is none that has an address.
func (s symbols) letter(sym kelf.Symbol) byte {
	switch sym.Type() {
	case elf.STT_FILE, elf.STT_SECTION:
		return 0
	}
	c := byte('A')
	switch {
	case sym.Undefined() || sym.Reserved && sym.Shndx != uint32(elf.SHN_ABS):
		return 0
	case sym.Bind() == elf.STB_WEAK:
		return 'W'
	case sym.Reserved:
	case uint64(sym.Shndx) >= uint64(len(s.file.Sections)):
		return 0
	default:
		sec := &s.file.Sections[sym.Shndx]
		switch {
		case sec.Flags&elf.SHF_ALLOC == 0:
			return 0
		case sec.Flags&elf.SHF_EXECINSTR != 0:
			c = 'T'
		case sec.Type == elf.SHT_NOBITS:
			c = 'B'
		case sec.Flags&elf.SHF_WRITE != 0:
			c = 'D'
		default:
			c = 'R'
		}
	}
	if sym.Bind() == elf.STB_LOCAL {
		c += 'a' - 'A'
	}
	return c
}
