// Package elf reads ELF relocatable files leniently: whatever can be read is, and what
// is damaged becomes a Problem beside it.
//
// debug/elf copies section data, hides its error offsets, has no relocation entries and
// refuses files that the kernel takes; only its names and constants are used here.
package elf

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"

	"kotool/internal/arch"
	"kotool/internal/bin"
)

// Source is the plain (uncompressed) content of a file.
type Source interface {
	// Size is the number of bytes there are.
	Size() uint64
	// Range returns n bytes from off. The bytes stay valid until the source is closed.
	// The caller has made sure that the range lies inside Size.
	Range(off, n uint64) ([]byte, error)
}

// Mem is a Source of bytes in memory.
type Mem []byte

// Size implements Source.
func (m Mem) Size() uint64 { return uint64(len(m)) }

// Range implements Source.
func (m Mem) Range(off, n uint64) ([]byte, error) { return m[off : off+n : off+n], nil }

// ErrNotELF says that a file does not begin with the ELF magic.
var ErrNotELF = errors.New("not an ELF file")

// Header is the ELF header, every field as it stands in the file.
type Header struct {
	Ident     [16]byte
	Type      elf.Type
	Machine   elf.Machine
	Version   uint32
	Entry     uint64
	Phoff     uint64
	Shoff     uint64
	Flags     uint32
	Ehsize    uint16
	Phentsize uint16
	Phnum     uint16
	Shentsize uint16
	Shnum     uint16
	Shstrndx  uint16
}

// Class is EI_CLASS as it stands in the file.
func (h *Header) Class() elf.Class { return elf.Class(h.Ident[elf.EI_CLASS]) }

// Section is a section header and its name.
type Section struct {
	Index   int
	Name    string // empty where sh_name does not lie in the name table
	NameOff uint32 // sh_name
	Type    elf.SectionType
	Flags   elf.SectionFlag
	Addr    uint64
	Off     uint64 // sh_offset, in the file
	Size    uint64
	Link    uint32
	Info    uint32
	Align   uint64
	Entsize uint64
}

// Problem is damage that was met while reading. Section is -1 where none is concerned.
type Problem struct {
	Section int
	Off     uint64 // file offset
	Text    string
}

func (p Problem) String() string { return p.Text }

// File is an ELF file. Read it with Parse.
type File struct {
	Header   Header
	Class    elf.Class  // of the header, or guessed by the machine where that is invalid
	Big      bool       // big-endian
	Arch     *arch.Arch // nil: a machine that the table does not have
	Sections []Section
	Shstrndx uint32 // index of the section name table, extended numbering resolved
	Shnum    uint64 // number of sections that the header promises, extended numbering resolved
	Problems []Problem

	src    Source
	read   [8]content // the sections that were read last: tables refer to each other back and forth
	oldest int        // of read
	symtab *Symtab
	symErr error
}

// content is what a section holds.
type content struct {
	index int
	data  bin.View
}

// Size is the length of the plain file in bytes.
func (f *File) Size() uint64 { return f.src.Size() }

// Word is the size of an unsigned long in bytes, by the file's class.
func (f *File) Word() int {
	if f.Class == elf.ELFCLASS32 {
		return 4
	}
	return 8
}

func (f *File) problem(sec int, off uint64, format string, args ...any) {
	f.Problems = append(f.Problems, Problem{sec, off, fmt.Sprintf(format, args...)})
}

// View returns n bytes from file offset off, or a *bin.RangeError, or the error of reading.
func (f *File) View(off, n uint64) (bin.View, error) {
	size := f.src.Size()
	if off > size || n > size-off {
		have := uint64(0)
		if off < size {
			have = size - off
		}
		return bin.View{}, &bin.RangeError{Off: off, Want: n, Have: have}
	}
	if n == 0 {
		return bin.New(nil, off, f.Big), nil
	}
	b, err := f.src.Range(off, n)
	if err != nil {
		return bin.View{}, err
	}
	return bin.New(b, off, f.Big), nil
}

// Ident sizes and header sizes of the two classes, in bytes.
const (
	ehdr32, ehdr64 = 52, 64
	shdr32, shdr64 = 40, 64
)

// Memory is what the Files of one worker use one after the other. The zero Memory is ready.
type Memory struct{ sections []Section }

// manySections is the longest table of sections that a Memory keeps for the next file.
const manySections = 1 << 12

// table returns n sections to fill in; a nil Memory makes them.
func (m *Memory) table(n uint64) []Section {
	if m == nil || n > manySections {
		return make([]Section, n)
	}
	if uint64(cap(m.sections)) < n {
		m.sections = make([]Section, n, n+n/2)
	}
	m.sections = m.sections[:n]
	clear(m.sections)
	return m.sections
}

// Parse reads the ELF header and the section headers with their names. An error means that
// there is nothing to show: not ELF, or shorter than its header. File.Problems has the rest.
func Parse(src Source) (*File, error) { return ParseIn(src, nil) }

// ParseIn is Parse with the section table in mem, where it stays until the next file uses that. nil: in memory of its own.
func ParseIn(src Source, mem *Memory) (*File, error) {
	f := &File{src: src}
	size := src.Size()
	if size == 0 {
		return nil, errors.New("empty file")
	}
	head, err := src.Range(0, min(size, ehdr64))
	if err != nil {
		return nil, err
	}
	if len(head) < 4 || string(head[:4]) != elf.ELFMAG {
		return nil, ErrNotELF
	}
	if len(head) < 20 {
		return nil, fmt.Errorf("ELF header: %w", &bin.RangeError{Off: 0, Want: ehdr32, Have: size})
	}
	f.ident(head)
	want := uint64(ehdr64)
	if f.Class == elf.ELFCLASS32 {
		want = ehdr32
	}
	if size < want {
		return nil, fmt.Errorf("ELF header: %w", &bin.RangeError{Off: 0, Want: want, Have: size})
	}
	f.header(bin.New(head[:want], 0, f.Big))
	f.Arch = arch.Find(f.Header.Machine, f.Class, f.Big)
	if err := f.sections(mem); err != nil {
		return nil, err
	}
	return f, nil
}

// ParseAs reads a file as one of a given class and byte order, whatever its identification says: as the kernel of a machine does, which
// knows no other. The file must begin with an ELF header of that class.
func ParseAs(src Source, class elf.Class, big bool) (*File, error) {
	f := &File{src: src, Class: class, Big: big}
	want := uint64(ehdr64)
	if class == elf.ELFCLASS32 {
		want = ehdr32
	}
	if size := src.Size(); size < want {
		return nil, fmt.Errorf("ELF header: %w", &bin.RangeError{Off: 0, Want: want, Have: size})
	}
	head, err := src.Range(0, want)
	if err != nil {
		return nil, err
	}
	copy(f.Header.Ident[:], head)
	f.header(bin.New(head, 0, big))
	f.Arch = arch.Find(f.Header.Machine, f.Class, f.Big)
	if err := f.sections(nil); err != nil {
		return nil, err
	}
	return f, nil
}

// ident finds class and byte order; where the identification is damaged, by the machine number.
func (f *File) ident(head []byte) {
	copy(f.Header.Ident[:], head)
	f.Class = elf.Class(head[elf.EI_CLASS])
	data := elf.Data(head[elf.EI_DATA])
	f.Big = data == elf.ELFDATA2MSB
	okClass := f.Class == elf.ELFCLASS32 || f.Class == elf.ELFCLASS64
	okData := f.Big || data == elf.ELFDATA2LSB
	if okClass && okData {
		return
	}
	le := arch.Guess(elf.Machine(uint16(head[18]) | uint16(head[19])<<8))
	be := arch.Guess(elf.Machine(uint16(head[19]) | uint16(head[18])<<8))
	guess := le
	if guess == nil || okData && f.Big {
		guess = be
	}
	if !okData {
		f.Big = guess != nil && guess.BigEndian
		f.problem(-1, elf.EI_DATA, "ELF header: EI_DATA %d is neither little- nor big-endian", head[elf.EI_DATA])
	}
	if !okClass {
		f.problem(-1, elf.EI_CLASS, "ELF header: EI_CLASS %d is neither 32 nor 64 bit", head[elf.EI_CLASS])
		f.Class = elf.ELFCLASS64
		if guess != nil {
			f.Class = guess.Class
		}
	}
}

func (f *File) header(v bin.View) {
	h := &f.Header
	h.Type, h.Machine, h.Version = elf.Type(v.U16(16)), elf.Machine(v.U16(18)), v.U32(20)
	w := f.Word()
	h.Entry, h.Phoff, h.Shoff = v.Word(24, w), v.Word(24+w, w), v.Word(24+2*w, w)
	o := 24 + 3*w
	h.Flags = v.U32(o)
	h.Ehsize, h.Phentsize, h.Phnum = v.U16(o+4), v.U16(o+6), v.U16(o+8)
	h.Shentsize, h.Shnum, h.Shstrndx = v.U16(o+10), v.U16(o+12), v.U16(o+14)
}

// ShentsizeWant is the size of a section header of the file's class, in bytes.
func (f *File) ShentsizeWant() uint64 {
	if f.Class == elf.ELFCLASS32 {
		return shdr32
	}
	return shdr64
}

func (f *File) sections(mem *Memory) error {
	h := &f.Header
	f.Shnum, f.Shstrndx = uint64(h.Shnum), uint32(h.Shstrndx)
	size := f.src.Size()
	want, stride := f.ShentsizeWant(), uint64(h.Shentsize)
	switch {
	case h.Shoff == 0:
		if h.Shnum != 0 {
			f.problem(-1, 0, "ELF header: e_shoff is 0 but e_shnum is %d", h.Shnum)
		}
		return nil
	case stride < want:
		f.problem(-1, 0, "ELF header: e_shentsize %d is less than a section header, %d bytes", stride, want)
		return nil
	case stride != want:
		f.problem(-1, 0, "ELF header: e_shentsize is %d, a section header has %d bytes", stride, want)
	}
	if h.Shoff > size || want > size-h.Shoff {
		f.problem(-1, h.Shoff, "section headers: %v", &bin.RangeError{Off: h.Shoff, Want: max(1, f.Shnum) * stride, Have: size - min(size, h.Shoff)})
		return nil
	}
	if h.Shnum == 0 { // extended numbering: the count is in section 0
		first, err := f.View(h.Shoff, want)
		if err != nil {
			return err
		}
		f.Shnum = f.shdr(0, first).Size
	}
	n := f.Shnum
	if fits := (size-h.Shoff-want)/stride + 1; n > fits {
		f.problem(-1, h.Shoff, "section headers: want %d, the file has room for %d", n, fits)
		n = fits
	}
	if n == 0 {
		return nil
	}
	table, err := f.View(h.Shoff, (n-1)*stride+want)
	if err != nil {
		return err
	}
	f.Sections = mem.table(n)
	b := table.Bytes()
	for i := range f.Sections {
		rec := b[uint64(i)*stride:]
		f.Sections[i] = f.shdr(i, bin.New(rec[:want:want], h.Shoff+uint64(i)*stride, f.Big))
	}
	if h.Shstrndx == uint16(elf.SHN_XINDEX) {
		f.Shstrndx = f.Sections[0].Link
	}
	f.bounds()
	return f.names()
}

// bounds notes the sections that do not lie inside the file, as one problem.
func (f *File) bounds() {
	size, bad, first := f.src.Size(), 0, 0
	for i := range f.Sections {
		s := &f.Sections[i]
		if s.Type == elf.SHT_NULL || s.Type == elf.SHT_NOBITS || s.Off <= size && s.Size <= size-s.Off {
			continue
		}
		if bad == 0 {
			first = i
		}
		bad++
	}
	if bad == 0 {
		return
	}
	s := &f.Sections[first]
	f.problem(first, s.Off, "section %d: offset %#x: need %d bytes, have %d (%d such)", first, s.Off, s.Size, size-min(size, s.Off), bad)
}

// plainShdr is shdr for little-endian ELF64: nearly all.
func plainShdr(i int, b []byte) Section {
	_ = b[shdr64-1]
	return Section{Index: i, NameOff: binary.LittleEndian.Uint32(b), Type: elf.SectionType(binary.LittleEndian.Uint32(b[4:])),
		Flags: elf.SectionFlag(binary.LittleEndian.Uint64(b[8:])), Addr: binary.LittleEndian.Uint64(b[16:]),
		Off: binary.LittleEndian.Uint64(b[24:]), Size: binary.LittleEndian.Uint64(b[32:]),
		Link: binary.LittleEndian.Uint32(b[40:]), Info: binary.LittleEndian.Uint32(b[44:]),
		Align: binary.LittleEndian.Uint64(b[48:]), Entsize: binary.LittleEndian.Uint64(b[56:])}
}

func (f *File) shdr(i int, v bin.View) Section {
	if f.Class != elf.ELFCLASS32 && !f.Big && v.Len() >= shdr64 {
		return plainShdr(i, v.Bytes())
	}
	s := Section{Index: i, NameOff: v.U32(0), Type: elf.SectionType(v.U32(4))}
	if f.Class == elf.ELFCLASS32 {
		s.Flags, s.Addr = elf.SectionFlag(v.U32(8)), uint64(v.U32(12))
		s.Off, s.Size = uint64(v.U32(16)), uint64(v.U32(20))
		s.Link, s.Info = v.U32(24), v.U32(28)
		s.Align, s.Entsize = uint64(v.U32(32)), uint64(v.U32(36))
		return s
	}
	s.Flags, s.Addr = elf.SectionFlag(v.U64(8)), v.U64(16)
	s.Off, s.Size = v.U64(24), v.U64(32)
	s.Link, s.Info = v.U32(40), v.U32(44)
	s.Align, s.Entsize = v.U64(48), v.U64(56)
	return s
}

// HeaderTable decodes n section headers at a file offset, without their names.
func (f *File) HeaderTable(off, n uint64) ([]Section, error) {
	want := f.ShentsizeWant()
	v, err := f.View(off, n*want)
	if err != nil {
		return nil, err
	}
	list := make([]Section, 0, n)
	for rec := range v.All(want) {
		list = append(list, f.shdr(len(list), rec))
	}
	return list, nil
}

// Bytes are a section header's bytes whatever its type says, as far as the file has them. The header need not be one of the file's own.
func (f *File) Bytes(s Section) bin.View { return f.clip(&s) }

// names fills in the section names. All of them are substrings of one copy of the table.
func (f *File) names() error {
	i := f.Shstrndx
	if i == 0 || uint64(i) >= uint64(len(f.Sections)) {
		f.problem(-1, 0, "ELF header: e_shstrndx %d names no section", i)
		return nil
	}
	s := &f.Sections[i]
	v, err := f.raw(s)
	if err != nil {
		if _, ok := errors.AsType[*bin.RangeError](err); !ok {
			return err
		}
		v = f.clip(s) // bounds has noted it
	}
	table := string(v.Bytes())
	if len(table) > 0 && table[len(table)-1] != 0 {
		f.problem(int(i), s.Off, "section %d (section names): no NUL at the end", i)
	}
	bad, firstBad := 0, 0
	for j := range f.Sections {
		s := &f.Sections[j]
		if uint64(s.NameOff) >= uint64(len(table)) {
			if s.Type != elf.SHT_NULL {
				if bad == 0 {
					firstBad = j
				}
				bad++
			}
			continue
		}
		rest := table[s.NameOff:min(uint64(len(table)), uint64(s.NameOff)+MaxName)]
		s.Name = rest
		for k := 0; k < len(rest); k++ {
			if rest[k] == 0 {
				s.Name = rest[:k]
				break
			}
		}
	}
	if bad > 0 {
		f.problem(firstBad, f.Sections[firstBad].Off, "section %d: sh_name %#x is past the name table of %#x bytes (%d such)",
			firstBad, f.Sections[firstBad].NameOff, len(table), bad)
	}
	return nil
}

// raw is a section's bytes in the file, whatever its type but NOBITS and NULL.
func (f *File) raw(s *Section) (bin.View, error) {
	if s.Type == elf.SHT_NOBITS || s.Type == elf.SHT_NULL {
		return bin.New(nil, s.Off, f.Big), nil
	}
	return f.View(s.Off, s.Size)
}

// clip is as much of a section as the file has.
func (f *File) clip(s *Section) bin.View {
	size := f.src.Size()
	if s.Off >= size {
		return bin.New(nil, s.Off, f.Big)
	}
	v, err := f.View(s.Off, min(s.Size, size-s.Off))
	if err != nil {
		return bin.New(nil, s.Off, f.Big)
	}
	return v
}

// SectionError says in which section reading went wrong.
type SectionError struct {
	Index int
	Name  string
	Err   error
}

func (e *SectionError) Error() string {
	return fmt.Sprintf("section %d %q: %v", e.Index, e.Name, e.Err)
}

func (e *SectionError) Unwrap() error { return e.Err }

func (f *File) sectionError(i int, err error) error {
	return &SectionError{i, f.Sections[i].Name, err}
}

// Data returns the content of section i: empty for NOBITS. Where the section does not lie
// inside the file it returns what the file has of it, and a *SectionError.
func (f *File) Data(i int) (bin.View, error) {
	if i < 0 || i >= len(f.Sections) {
		return bin.View{}, fmt.Errorf("no section %d, the file has %d", i, len(f.Sections))
	}
	for k := range f.read {
		if f.read[k].index == i && f.read[k].data.Len() > 0 {
			return f.read[k].data, nil
		}
	}
	s := &f.Sections[i]
	v, err := f.raw(s)
	if err == nil {
		f.read[f.oldest] = content{i, v}
		f.oldest = (f.oldest + 1) % len(f.read)
		return v, nil
	}
	if _, ok := errors.AsType[*bin.RangeError](err); ok {
		return f.clip(s), f.sectionError(i, err)
	}
	return bin.View{}, f.sectionError(i, err)
}

// Find returns the index of the first section with that name, or -1. Section 0 has no name.
func (f *File) Find(name string) int {
	for i := range f.Sections {
		if f.Sections[i].Name == name {
			return i
		}
	}
	return -1
}

// ByName returns index and content of the first section with that name; index -1 and
// an empty view where there is none.
func (f *File) ByName(name string) (int, bin.View, error) {
	i := f.Find(name)
	if i < 0 {
		return -1, bin.New(nil, 0, f.Big), nil
	}
	v, err := f.Data(i)
	return i, v, err
}

// SectionName is the name of a section index as symbols carry it: "UND", "ABS", "COM" for the
// special ones, a section's name, or the number where it names none.
func (f *File) SectionName(shndx uint32) string {
	switch shndx {
	case uint32(elf.SHN_UNDEF):
		return "UND"
	case uint32(elf.SHN_ABS):
		return "ABS"
	case uint32(elf.SHN_COMMON):
		return "COM"
	}
	if uint64(shndx) < uint64(len(f.Sections)) {
		return f.Sections[shndx].Name
	}
	return fmt.Sprintf("[%#x]", shndx)
}

// Source is what the file was read from.
func (f *File) Source() Source { return f.src }
