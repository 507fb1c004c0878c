package ksymtab

import (
	"debug/elf"
	"encoding/binary"
	"testing"

	kelf "kotool/internal/elf"
)

// builder makes a relocatable ELF file of the few kinds of section that these tests need. Section 0 is the null section.
type builder struct {
	machine  elf.Machine
	class    elf.Class
	big      bool
	sections []section
	symbols  []symbol
}

type section struct {
	name             string
	typ              elf.SectionType
	flags            elf.SectionFlag
	data             []byte
	link, info, size uint32 // size: sh_entsize
}

type symbol struct {
	name  string
	bind  elf.SymBind
	shndx uint16
	value uint64
}

type reloc struct {
	off    uint64
	typ    uint32
	sym    uint32
	addend int64
}

func newBuilder(machine elf.Machine, class elf.Class, big bool) *builder {
	return &builder{machine: machine, class: class, big: big, sections: make([]section, 1), symbols: make([]symbol, 1)}
}

// byteOrder both appends and overwrites.
type byteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

func (b *builder) order() byteOrder {
	if b.big {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

func (b *builder) word(out []byte, v uint64) []byte {
	if b.class == elf.ELFCLASS32 {
		return b.order().AppendUint32(out, uint32(v))
	}
	return b.order().AppendUint64(out, v)
}

// add appends a loaded section and returns its index.
func (b *builder) add(name string, flags elf.SectionFlag, data []byte) int {
	b.sections = append(b.sections, section{name: name, typ: elf.SHT_PROGBITS, flags: flags | elf.SHF_ALLOC, data: data})
	return len(b.sections) - 1
}

// symbol appends a symbol and returns its index.
func (b *builder) symbol(name string, shndx int, value uint64) uint32 {
	b.symbols = append(b.symbols, symbol{name, elf.STB_GLOBAL, uint16(shndx), value})
	return uint32(len(b.symbols) - 1)
}

// relocate appends the relocations of a section, with addends if rela.
func (b *builder) relocate(target int, rela bool, list []reloc) {
	var out []byte
	for _, r := range list {
		out = b.word(out, r.off)
		switch {
		case b.class == elf.ELFCLASS32:
			out = b.word(out, uint64(r.sym<<8|r.typ))
		default:
			out = b.word(out, uint64(r.sym)<<32|uint64(r.typ))
		}
		if rela {
			out = b.word(out, uint64(r.addend))
		}
	}
	s := section{name: ".rel" + b.sections[target].name, typ: elf.SHT_REL, data: out, info: uint32(target)}
	if rela {
		s.name, s.typ = ".rela"+b.sections[target].name, elf.SHT_RELA
	}
	b.sections = append(b.sections, s)
}

func (b *builder) bytes() []byte {
	strs, syms := []byte{0}, []byte(nil)
	for _, s := range b.symbols {
		name := uint32(0)
		if s.name != "" {
			name = uint32(len(strs))
			strs = append(append(strs, s.name...), 0)
		}
		info := byte(s.bind) << 4
		syms = b.order().AppendUint32(syms, name)
		if b.class == elf.ELFCLASS32 {
			syms = b.order().AppendUint32(b.order().AppendUint32(syms, uint32(s.value)), 0)
			syms = b.order().AppendUint16(append(syms, info, 0), s.shndx)
		} else {
			syms = b.order().AppendUint16(append(syms, info, 0), s.shndx)
			syms = b.order().AppendUint64(b.order().AppendUint64(syms, s.value), 0)
		}
	}
	n := uint32(len(b.sections))
	list := append(append([]section(nil), b.sections...),
		section{name: ".symtab", typ: elf.SHT_SYMTAB, data: syms, link: n + 1},
		section{name: ".strtab", typ: elf.SHT_STRTAB, data: strs},
		section{name: ".shstrtab", typ: elf.SHT_STRTAB})
	names := []byte{0}
	offs := make([]uint32, len(list))
	for i, s := range list {
		if s.name != "" {
			offs[i] = uint32(len(names))
			names = append(append(names, s.name...), 0)
		}
	}
	list[len(list)-1].data = names

	ehdr, shdr, w, class, data := 64, 64, 8, byte(2), byte(1)
	if b.class == elf.ELFCLASS32 {
		ehdr, shdr, w, class = 52, 40, 4, 1
	}
	if b.big {
		data = 2
	}
	body, heads := []byte(nil), []byte(nil)
	for i, s := range list {
		for len(body)%8 != 0 {
			body = append(body, 0)
		}
		heads = b.order().AppendUint32(b.order().AppendUint32(heads, offs[i]), uint32(s.typ))
		heads = b.word(b.word(heads, uint64(s.flags)), 0)
		heads = b.word(b.word(heads, uint64(ehdr+len(body))), uint64(len(s.data)))
		heads = b.order().AppendUint32(b.order().AppendUint32(heads, s.link), s.info)
		heads = b.word(b.word(heads, 1), uint64(s.size))
		body = append(body, s.data...)
	}
	out := append([]byte("\x7fELF"), class, data, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	out = b.order().AppendUint16(b.order().AppendUint16(out, uint16(elf.ET_REL)), uint16(b.machine))
	out = b.order().AppendUint32(out, 1)
	out = b.word(b.word(b.word(out, 0), 0), uint64(ehdr+len(body)))
	out = b.order().AppendUint32(out, 0)
	for _, v := range []int{ehdr, 0, 0, shdr, len(list), len(list) - 1} {
		out = b.order().AppendUint16(out, uint16(v))
	}
	if len(out) != ehdr || w != 4 && w != 8 {
		panic("unreachable: ELF header of another size")
	}
	return append(append(out, body...), heads...)
}

func (b *builder) file(t testing.TB) *kelf.File {
	t.Helper()
	f, err := kelf.Parse(kelf.Mem(b.bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Problems) > 0 {
		t.Fatalf("the file built is damaged: %v", f.Problems)
	}
	return f
}
