package elf

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"kotool/internal/bin"
)

// Rel is one relocation. Addend is 0 for SHT_REL: there it stands at the place.
type Rel struct {
	Off    uint64 // r_offset: in the target section
	Sym    uint32 // symbol index
	Type   uint32
	Type2  uint8 // mips64: second and third operation of the same place
	Type3  uint8
	SSym   uint8 // mips64: special symbol of the second operation
	Addend int64
}

// RelTable is a relocation section. Entries are decoded when they are asked for.
type RelTable struct {
	Section int
	Target  uint32 // sh_info: the section that is relocated; may be past the table
	Rela    bool
	n       int
	size    int
	form    relForm
	ents    []byte
	f       *File
}

// relForm is how an entry is laid out.
type relForm uint8

const (
	relOther    relForm = iota
	relPlain            // little-endian ELF64 with addends and the usual r_info: by far the most
	relLittle32         // little-endian ELF32 without addends
	relWideBig          // big-endian ELF64 with addends and the usual r_info
	relMIPS64           // little-endian mips64 with addends
)

// relTable makes the table of a section's entries.
func (f *File) relTable(section int, s *Section, data bin.View) RelTable {
	rela, m := s.Type == elf.SHT_RELA, f.Header.Machine
	t := RelTable{Section: section, Target: s.Info, Rela: rela, size: relSize(f.Class, rela), ents: data.Bytes(), f: f}
	t.n = int(data.Len()) / t.size
	wide := f.Class == elf.ELFCLASS64 && rela
	usual := m != elf.EM_MIPS && m != elf.EM_SPARCV9
	switch {
	case wide && usual && !f.Big:
		t.form = relPlain
	case wide && usual:
		t.form = relWideBig
	case wide && m == elf.EM_MIPS && !f.Big:
		t.form = relMIPS64
	case f.Class == elf.ELFCLASS32 && !rela && !f.Big:
		t.form = relLittle32
	}
	return t
}

// Len is the number of whole entries.
func (t *RelTable) Len() int { return t.n }

// EntrySize is the size of one entry in bytes.
func (t *RelTable) EntrySize() int { return t.size }

// relSize is the size of an entry in bytes, by class and form.
func relSize(class elf.Class, rela bool) int {
	switch {
	case class == elf.ELFCLASS32 && rela:
		return 12
	case class == elf.ELFCLASS32:
		return 8
	case rela:
		return 24
	}
	return 16
}

// Relocs reads the relocation section i (SHT_REL or SHT_RELA). With an error the table has
// the entries that are there.
func (f *File) Relocs(i int) (*RelTable, error) {
	s := &f.Sections[i]
	if s.Type != elf.SHT_REL && s.Type != elf.SHT_RELA {
		return &RelTable{Section: i, f: f, size: 1}, f.sectionError(i, fmt.Errorf("type %v holds no relocations", s.Type))
	}
	data, err := f.Data(i)
	t := f.relTable(i, s, data)
	return &t, err
}

// Raw are the entries' bytes where each is a plain one: little-endian ELF64 with addend and the usual r_info, 24 bytes. nil otherwise.
func (t *RelTable) Raw() []byte {
	if t.form != relPlain {
		return nil
	}
	return t.ents
}

// PlainRel decodes an entry of Raw.
func PlainRel(b []byte) Rel {
	_ = b[23]
	return Rel{Off: binary.LittleEndian.Uint64(b), Type: binary.LittleEndian.Uint32(b[8:]),
		Sym: binary.LittleEndian.Uint32(b[12:]), Addend: int64(binary.LittleEndian.Uint64(b[16:]))}
}

// FileOff is the file offset of entry i.
func (t *RelTable) FileOff(i int) uint64 {
	return t.f.Sections[t.Section].Off + uint64(i)*uint64(t.size)
}

// At returns entry i, which must be below Len.
//
// mips64 packs r_info as a 32-bit symbol, a special symbol and three types, in that byte order
// whatever the endianness; sparc64 keeps a second addend in bits 8 to 31 of the type, which
// is left out here, as the kernel does.
func (t *RelTable) At(i int) Rel {
	b := t.ents[i*t.size : i*t.size+t.size : i*t.size+t.size]
	switch t.form {
	case relPlain:
		return PlainRel(b)
	case relLittle32:
		return little32Rel(b)
	case relWideBig:
		return wideBigRel(b)
	case relMIPS64:
		return mips64Rel(b)
	}
	v := bin.New(b, 0, t.f.Big)
	if t.f.Class == elf.ELFCLASS32 {
		info := v.U32(4)
		r := Rel{Off: uint64(v.U32(0)), Sym: info >> 8, Type: info & 0xff}
		if t.Rela {
			r.Addend = int64(int32(v.U32(8)))
		}
		return r
	}
	r := Rel{Off: v.U64(0)}
	switch t.f.Header.Machine {
	case elf.EM_MIPS:
		r.Sym, r.SSym, r.Type3, r.Type2, r.Type = v.U32(8), v.U8(12), v.U8(13), v.U8(14), uint32(v.U8(15))
	case elf.EM_SPARCV9:
		info := v.U64(8)
		r.Sym, r.Type = uint32(info>>32), uint32(info&0xff)
	default:
		info := v.U64(8)
		r.Sym, r.Type = uint32(info>>32), uint32(info)
	}
	if t.Rela {
		r.Addend = int64(v.U64(16))
	}
	return r
}

// Read decodes the entries from number i on into list, as many as it has room for, and returns it. All must be below Len.
func (t *RelTable) Read(list []Rel, i int) []Rel {
	b := t.ents[i*t.size : (i+len(list))*t.size]
	switch t.form {
	case relPlain:
		for k := range list {
			list[k] = PlainRel(b[k*24:])
		}
	case relLittle32:
		for k := range list {
			list[k] = little32Rel(b[k*8 : k*8+8 : k*8+8])
		}
	case relWideBig:
		for k := range list {
			list[k] = wideBigRel(b[k*24:])
		}
	case relMIPS64:
		for k := range list {
			list[k] = mips64Rel(b[k*24:])
		}
	default:
		for k := range list {
			list[k] = t.At(i + k)
		}
	}
	return list
}

func little32Rel(b []byte) Rel {
	_ = b[7]
	info := binary.LittleEndian.Uint32(b[4:])
	return Rel{Off: uint64(binary.LittleEndian.Uint32(b)), Sym: info >> 8, Type: info & 0xff}
}

func wideBigRel(b []byte) Rel {
	_ = b[23]
	return Rel{Off: binary.BigEndian.Uint64(b), Sym: binary.BigEndian.Uint32(b[8:]), Type: binary.BigEndian.Uint32(b[12:]),
		Addend: int64(binary.BigEndian.Uint64(b[16:]))}
}

func mips64Rel(b []byte) Rel {
	_ = b[23]
	return Rel{Off: binary.LittleEndian.Uint64(b), Sym: binary.LittleEndian.Uint32(b[8:]), SSym: b[12], Type3: b[13], Type2: b[14], Type: uint32(b[15]),
		Addend: int64(binary.LittleEndian.Uint64(b[16:]))}
}

// RelocSections returns the indices of the sections that hold relocations, in file order.
func (f *File) RelocSections() []int {
	var list []int
	for i := range f.Sections {
		if ty := f.Sections[i].Type; ty == elf.SHT_REL || ty == elf.SHT_RELA {
			list = append(list, i)
		}
	}
	return list
}

// Targets says, by offset, what the relocations of one section point at: what an unlinked
// table will hold. It needs no knowledge of relocation types.
type Targets struct {
	Rela bool
	rels []Rel // by Off; entries of one place in file order
	next int   // where At found the last one, plus one
}

// Targets collects the relocations of section i. The zero Targets (no relocations) is valid.
// The error is what was damaged; the rest is there.
func (f *File) Targets(i int) (Targets, error) {
	var t Targets
	var err error
	// Sections that overlap could make a small file hold any number of entries.
	room := f.src.Size()
	for j := range f.Sections {
		s := &f.Sections[j]
		if s.Type != elf.SHT_REL && s.Type != elf.SHT_RELA || s.Info != uint32(i) {
			continue
		}
		tab, terr := f.Relocs(j)
		if terr != nil && err == nil {
			err = terr
		}
		t.Rela = tab.Rela
		need := uint64(tab.Len()) * uint64(tab.size)
		if need > room {
			return t, f.sectionError(j, errors.New("the relocation tables overlap: they have more entries than the file has room for"))
		}
		room -= need
		t.rels = slices.Grow(t.rels, tab.Len())
		for k := range tab.Len() {
			t.rels = append(t.rels, tab.At(k))
		}
	}
	byOff := func(a, b Rel) int { return cmp.Compare(a.Off, b.Off) }
	if !slices.IsSortedFunc(t.rels, byOff) {
		slices.SortStableFunc(t.rels, byOff)
	}
	return t, err
}

// Len is the number of relocations.
func (t *Targets) Len() int { return len(t.rels) }

// At returns the first relocation at exactly that offset.
func (t *Targets) At(off uint64) (Rel, bool) {
	// Tables are read from their beginning on: it is mostly the one behind the last.
	if i := t.next; i < len(t.rels) && t.rels[i].Off == off && (i == 0 || t.rels[i-1].Off != off) {
		t.next = i + 1
		return t.rels[i], true
	}
	i, ok := slices.BinarySearchFunc(t.rels, off, func(r Rel, off uint64) int { return cmp.Compare(r.Off, off) })
	if !ok {
		return Rel{}, false
	}
	t.next = i + 1
	return t.rels[i], true
}

// In returns the relocations at offsets from <= off < to, by offset.
func (t *Targets) In(from, to uint64) []Rel {
	find := func(off uint64) int {
		i, _ := slices.BinarySearchFunc(t.rels, off, func(r Rel, off uint64) int { return cmp.Compare(r.Off, off) })
		return i
	}
	i, j := find(from), find(to)
	return t.rels[i:max(i, j)]
}

// Place is where a relocated field of an unlinked file will point: a section and an offset in it, or
// a symbol that has no place in this file (undefined, absolute).
type Place struct {
	Section int    // index; 0: not in this file
	Off     uint64 // in the section; the value for an absolute symbol
	Sym     Symbol
	Name    []byte // of the symbol, as DisplayName has it
	Abs     bool
}

// Resolve says where r points. implicit is the word that stands at the place, which SHT_REL adds.
// ok is false where the symbol index is past the table.
func (f *File) Resolve(r Rel, rela bool, implicit int64) (p Place, ok bool) {
	t, _ := f.Symbols()
	if t == nil || uint64(r.Sym) >= uint64(t.Len()) {
		return Place{}, false
	}
	s := t.At(int(r.Sym))
	p = Place{Sym: s, Name: f.DisplayName(t, s)}
	addend := r.Addend
	if !rela {
		addend = implicit
	}
	p.Off = s.Value + uint64(addend)
	switch {
	case s.Reserved:
		p.Abs = s.Shndx == uint32(elf.SHN_ABS)
	case uint64(s.Shndx) < uint64(len(f.Sections)):
		p.Section = int(s.Shndx)
	}
	return p, true
}

// Spot is a place by section and offset.
type Spot struct {
	Section int
	Off     uint64
}

// Spot is the place without what it was given by.
func (p Place) Spot() Spot { return Spot{p.Section, p.Off} }

// SymbolsAt calls f for each named symbol, in table order, that stands at one of the spots; section symbols are left out.
// One pass over the table serves all spots.
func (f *File) SymbolsAt(spots map[Spot]bool, yield func(Spot, Symbol, []byte)) {
	t, _ := f.Symbols()
	if len(spots) == 0 {
		return
	}
	for i := 1; i < t.Len(); i++ {
		s := t.At(i)
		if s.Reserved || s.Shndx == 0 || s.NameOff == 0 || s.Type() == elf.STT_SECTION {
			continue
		}
		if at := (Spot{int(s.Shndx), s.Value}); spots[at] {
			if name := t.Name(s); len(name) > 0 {
				yield(at, s, name)
			}
		}
	}
}

// CStringAt returns the string that a place points at; ok is false where it lies in no section with content.
func (f *File) CStringAt(p Place) (s []byte, ok bool) {
	if p.Section == 0 {
		return nil, false
	}
	v, _ := f.Data(p.Section)
	b, err := v.CString(p.Off)
	return b, err == nil
}

// RelocsOf reads the relocations of a section header that need not be one of the file's own: a loader's copy.
func (f *File) RelocsOf(s *Section) RelTable { return f.relTable(s.Index, s, f.clip(s)) }
