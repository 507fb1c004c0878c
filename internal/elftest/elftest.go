// Package elftest builds modules byte by byte, good ones and broken ones, so that what is odd about an input can be read in the test.
package elftest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// Builder collects sections and symbols. Bytes lays them out.
type Builder struct {
	Class    elf.Class
	Big      bool
	Machine  elf.Machine
	Sections []Section // index 1 is the first; section 0 is made
	Symbols  []Symbol  // index 1 is the first
	// Kind has the machine's relocation types; the zero Kind where the builder was made by New.
	Kind Machine
	// Extended moves the counts into section 0, as files with very many sections have them.
	Extended bool
	// Edit changes the finished bytes: to break things.
	Edit func(b []byte) []byte

	pointers []pointer
}

// Section is a section to be written. Relocations and symbol tables are made from values.
type Section struct {
	Name    string
	Type    elf.SectionType
	Flags   elf.SectionFlag
	Data    []byte
	Size    uint64 // of NOBITS
	Link    uint32
	Info    uint32
	Align   uint64
	Entsize uint64
}

// Symbol is an entry of the symbol table.
type Symbol struct {
	Name  string
	Info  uint8
	Other uint8
	Shndx uint16
	// XShndx is a section index that does not fit into Shndx: it goes into an SHT_SYMTAB_SHNDX section, and Shndx becomes SHN_XINDEX.
	XShndx uint32
	Value  uint64
	Size   uint64
}

// Rel is a relocation to be written.
type Rel struct {
	Off    uint64
	Sym    uint32
	Type   uint32
	Addend int64
}

// Global and Local make st_info.
func Global(t elf.SymType) uint8 { return elf.ST_INFO(elf.STB_GLOBAL, t) }

// Local makes st_info of a local symbol.
func Local(t elf.SymType) uint8 { return elf.ST_INFO(elf.STB_LOCAL, t) }

// New makes a builder for a machine.
func New(m elf.Machine, class elf.Class, big bool) *Builder {
	return &Builder{Class: class, Big: big, Machine: m}
}

// Order is the byte order of the file.
func (b *Builder) Order() binary.ByteOrder {
	if b.Big {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// Word is sizeof(unsigned long) in bytes.
func (b *Builder) Word() int {
	if b.Class == elf.ELFCLASS32 {
		return 4
	}
	return 8
}

// AppendWord appends an unsigned long.
func (b *Builder) AppendWord(dst []byte, v uint64) []byte {
	if b.Word() == 4 {
		return b.append32(dst, uint32(v))
	}
	return b.append64(dst, v)
}

func (b *Builder) append16(dst []byte, v uint16) []byte {
	var w [2]byte
	b.Order().PutUint16(w[:], v)
	return append(dst, w[:]...)
}

func (b *Builder) append32(dst []byte, v uint32) []byte {
	var w [4]byte
	b.Order().PutUint32(w[:], v)
	return append(dst, w[:]...)
}

func (b *Builder) append64(dst []byte, v uint64) []byte {
	var w [8]byte
	b.Order().PutUint64(w[:], v)
	return append(dst, w[:]...)
}

// Add appends a section and returns its index.
func (b *Builder) Add(s Section) int {
	if s.Align == 0 {
		s.Align = 1
	}
	b.Sections = append(b.Sections, s)
	return len(b.Sections)
}

// Progbits appends a loaded section of bytes.
func (b *Builder) Progbits(name string, flags elf.SectionFlag, data []byte) int {
	return b.Add(Section{Name: name, Type: elf.SHT_PROGBITS, Flags: flags, Data: data})
}

// Symbol appends a symbol and returns its index.
func (b *Builder) Symbol(s Symbol) uint32 {
	b.Symbols = append(b.Symbols, s)
	return uint32(len(b.Symbols))
}

// Relocs appends the relocations of section target, with addends if rela.
func (b *Builder) Relocs(target int, rela bool, list ...Rel) int {
	var data []byte
	for _, r := range list {
		data = b.AppendWord(data, r.Off)
		switch {
		case b.Word() == 4:
			data = b.append32(data, r.Sym<<8|r.Type&0xff)
		case b.Machine == elf.EM_MIPS: // symbol, special symbol, then the three types backwards
			data = append(b.append32(data, r.Sym), byte(r.Type>>24), byte(r.Type>>16), byte(r.Type>>8), byte(r.Type))
		default:
			data = b.append64(data, uint64(r.Sym)<<32|uint64(r.Type))
		}
		if rela {
			data = b.AppendWord(data, uint64(r.Addend))
		}
	}
	name, typ := ".rel", elf.SHT_REL
	if rela {
		name, typ = ".rela", elf.SHT_RELA
	}
	return b.Add(Section{Name: name + b.Sections[target-1].Name, Type: typ, Flags: elf.SHF_INFO_LINK, Data: data, Info: uint32(target)})
}

// Bytes lays the file out: header, sections, symbol table and strings, section headers. It can be called again.
func (b *Builder) Bytes() []byte {
	word := b.Word()
	before := len(b.Sections)
	b.flushPointers()
	secs := append([]Section{{}}, b.Sections...)
	b.Sections = b.Sections[:before]
	symtab := len(secs)
	strs := []byte{0}
	syms := make([]byte, 16+8*(word/8)) // entry 0
	var xindex []byte                   // one word a symbol, made when the first symbol needs it
	locals := 1
	for i, s := range b.Symbols {
		off := uint32(0)
		if s.Name != "" {
			off = uint32(len(strs))
			strs = append(append(strs, s.Name...), 0)
		}
		if s.XShndx != 0 {
			s.Shndx = uint16(elf.SHN_XINDEX)
			for len(xindex) < 4*(len(b.Symbols)+1) {
				xindex = append(xindex, 0)
			}
			b.Order().PutUint32(xindex[4*(i+1):], s.XShndx)
		}
		if word == 4 {
			syms = b.append32(b.append32(b.append32(syms, off), uint32(s.Value)), uint32(s.Size))
			syms = b.append16(append(syms, s.Info, s.Other), s.Shndx)
		} else {
			syms = b.append16(append(b.append32(syms, off), s.Info, s.Other), s.Shndx)
			syms = b.append64(b.append64(syms, s.Value), s.Size)
		}
		if s.Info>>4 == 0 {
			locals = i + 2
		}
	}
	secs = append(secs,
		Section{Name: ".symtab", Type: elf.SHT_SYMTAB, Data: syms, Link: uint32(symtab + 1), Info: uint32(locals), Align: uint64(word), Entsize: uint64(16 + 8*(word/8))},
		Section{Name: ".strtab", Type: elf.SHT_STRTAB, Data: strs, Align: 1})
	if xindex != nil {
		secs = append(secs, Section{Name: ".symtab_shndx", Type: elf.SHT_SYMTAB_SHNDX, Data: xindex, Link: uint32(symtab), Align: 4, Entsize: 4})
	}
	shstrtab := []byte{0}
	names := make([]uint32, len(secs)+1)
	for i := range secs {
		if secs[i].Name != "" {
			names[i] = uint32(len(shstrtab))
			shstrtab = append(append(shstrtab, secs[i].Name...), 0)
		}
		if secs[i].Type == elf.SHT_REL || secs[i].Type == elf.SHT_RELA {
			secs[i].Link = uint32(symtab)
		}
	}
	names[len(secs)] = uint32(len(shstrtab))
	shstrtab = append(shstrtab, ".shstrtab\x00"...)
	secs = append(secs, Section{Name: ".shstrtab", Type: elf.SHT_STRTAB, Data: shstrtab, Align: 1})

	ehsize, shsize := 64, 64
	if word == 4 {
		ehsize, shsize = 52, 40
	}
	out := make([]byte, ehsize)
	offs := make([]uint64, len(secs))
	for i := range secs {
		for i > 0 && secs[i].Align > 1 && uint64(len(out))%secs[i].Align != 0 {
			out = append(out, 0)
		}
		offs[i] = uint64(len(out))
		if secs[i].Type != elf.SHT_NOBITS {
			out = append(out, secs[i].Data...)
		}
	}
	for len(out)%8 != 0 {
		out = append(out, 0)
	}
	shoff := uint64(len(out))
	shnum, shstrndx := uint16(len(secs)), uint16(len(secs)-1)
	offs[0] = 0
	if b.Extended {
		secs[0].Size, secs[0].Link = uint64(len(secs)), uint32(len(secs)-1)
		shnum, shstrndx = 0, uint16(elf.SHN_XINDEX)
	}
	for i := range secs {
		s := &secs[i]
		size := s.Size
		if s.Type != elf.SHT_NOBITS && i > 0 {
			size = uint64(len(s.Data))
		}
		out = b.append32(b.append32(out, names[i]), uint32(s.Type))
		out = b.AppendWord(b.AppendWord(out, uint64(s.Flags)), 0)
		out = b.AppendWord(b.AppendWord(out, offs[i]), size)
		out = b.append32(b.append32(out, s.Link), s.Info)
		out = b.AppendWord(b.AppendWord(out, s.Align), s.Entsize)
	}
	data := byte(elf.ELFDATA2LSB)
	if b.Big {
		data = byte(elf.ELFDATA2MSB)
	}
	head := append([]byte(elf.ELFMAG), byte(b.Class), data, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	head = b.append32(b.append16(b.append16(head, uint16(elf.ET_REL)), uint16(b.Machine)), 1)
	head = b.AppendWord(b.AppendWord(b.AppendWord(head, 0), 0), shoff)
	head = b.append32(head, 0)
	for _, v := range []uint16{uint16(ehsize), 0, 0, uint16(shsize), shnum, shstrndx} {
		head = b.append16(head, v)
	}
	copy(out, head)
	if b.Edit != nil {
		out = b.Edit(out)
	}
	return out
}

// Modinfo joins strings as .modinfo has them.
func Modinfo(list ...string) []byte {
	var b bytes.Buffer
	for _, s := range list {
		b.WriteString(s)
		b.WriteByte(0)
	}
	return b.Bytes()
}
