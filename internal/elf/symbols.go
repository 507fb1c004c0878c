package elf

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"iter"

	"kotool/internal/bin"
)

// Symbol is one entry of a symbol table. Its name is Symtab.Name(s).
type Symbol struct {
	Index   int
	NameOff uint32
	Info    uint8
	Other   uint8
	Shndx   uint32 // real index; the reserved ones (SHN_ABS, …) as they are; see Reserved
	Value   uint64
	Size    uint64
	// Reserved says that Shndx is one of the special values from SHN_LORESERVE on, not an
	// index that came from SHT_SYMTAB_SHNDX.
	Reserved bool
}

// Bind is the symbol's binding.
func (s Symbol) Bind() elf.SymBind { return elf.SymBind(s.Info >> 4) }

// Type is the symbol's type.
func (s Symbol) Type() elf.SymType { return elf.SymType(s.Info & 15) }

// Visibility is the symbol's visibility: the low two bits of st_other.
func (s Symbol) Visibility() elf.SymVis { return elf.SymVis(s.Other & 3) }

// Undefined reports whether the symbol is to be found elsewhere.
func (s Symbol) Undefined() bool { return s.Shndx == uint32(elf.SHN_UNDEF) }

// Symtab is a symbol table with its strings. Entries are decoded when they are asked for:
// a module may have millions.
type Symtab struct {
	Section int // index of the SHT_SYMTAB section
	Strtab  int // index of its string table, 0 when it has none
	n       int
	ents    []byte
	strs    bin.View
	xindex  bin.View
	big     bool
	c32     bool
}

// Len is the number of entries, entry 0 included.
func (t *Symtab) Len() int {
	if t == nil {
		return 0
	}
	return t.n
}

// Strings is the string table.
func (t *Symtab) Strings() bin.View { return t.strs }

// Symbols returns the module's symbol table: the first SHT_SYMTAB section, as the kernel takes it.
// It is nil where there is none. What is damaged is left out, and the error says what.
//
// Source: kernel/module/main.c: setup_load_info (6.1), elf_validity_cache_index_sym (7.2).
func (f *File) Symbols() (*Symtab, error) {
	if f.symtab == nil && f.symErr == nil {
		for i := range f.Sections {
			if f.Sections[i].Type == elf.SHT_SYMTAB {
				f.symtab, f.symErr = f.SymtabAt(i)
				break
			}
		}
	}
	return f.symtab, f.symErr
}

// SymtabAt reads the symbol table in section i (SHT_SYMTAB or SHT_DYNSYM).
func (f *File) SymtabAt(i int) (*Symtab, error) {
	data, err := f.Data(i)
	size := uint64(24)
	if f.Class == elf.ELFCLASS32 {
		size = 16
	}
	t := &Symtab{Section: i, n: int(data.Len() / size), ents: data.Bytes(), big: f.Big, c32: f.Class == elf.ELFCLASS32}
	link := f.Sections[i].Link
	if link == 0 || uint64(link) >= uint64(len(f.Sections)) {
		return t, errors.Join(err, f.sectionError(i, errors.New("sh_link names no string table")))
	}
	t.Strtab = int(link)
	strs, serr := f.Data(t.Strtab)
	t.strs = strs
	for j := range f.Sections {
		if s := &f.Sections[j]; s.Type == elf.SHT_SYMTAB_SHNDX && s.Link == uint32(i) {
			x, xerr := f.Data(j)
			t.xindex = x
			err = errors.Join(err, xerr)
			break
		}
	}
	return t, errors.Join(err, serr)
}

// SymtabOf reads a symbol table by the headers of it and of its strings, which need not be the file's own, whatever their types say.
func (f *File) SymtabOf(sym, str Section) *Symtab {
	size := uint64(24)
	if f.Class == elf.ELFCLASS32 {
		size = 16
	}
	data := f.clip(&sym)
	return &Symtab{Section: sym.Index, Strtab: str.Index, n: int(data.Len() / size), ents: data.Bytes(), strs: f.clip(&str), big: f.Big, c32: f.Class == elf.ELFCLASS32}
}

// At returns entry i, which must be below Len.
func (t *Symtab) At(i int) Symbol {
	s := Symbol{Index: i}
	var shndx uint16
	if !t.c32 && !t.big {
		b := t.ents[i*24 : i*24+24 : i*24+24]
		s.NameOff, s.Info, s.Other, shndx = binary.LittleEndian.Uint32(b), b[4], b[5], binary.LittleEndian.Uint16(b[6:])
		s.Value, s.Size = binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])
	} else if t.c32 {
		v := bin.New(t.ents[i*16:i*16+16:i*16+16], 0, t.big)
		s.NameOff, s.Value, s.Size = v.U32(0), uint64(v.U32(4)), uint64(v.U32(8))
		s.Info, s.Other, shndx = v.U8(12), v.U8(13), v.U16(14)
	} else {
		v := bin.New(t.ents[i*24:i*24+24:i*24+24], 0, t.big)
		s.NameOff, s.Info, s.Other, shndx = v.U32(0), v.U8(4), v.U8(5), v.U16(6)
		s.Value, s.Size = v.U64(8), v.U64(16)
	}
	s.Shndx = uint32(shndx)
	if shndx >= uint16(elf.SHN_LORESERVE) {
		s.Reserved = true
		if shndx == uint16(elf.SHN_XINDEX) && uint64(i)*4+4 <= t.xindex.Len() {
			s.Shndx, s.Reserved = t.xindex.U32(i*4), false
		}
	}
	return s
}

// Raw are the entries' bytes where each is a plain one: little-endian ELF64, 24 bytes. nil otherwise.
func (t *Symtab) Raw() []byte {
	if t.c32 || t.big {
		return nil
	}
	return t.ents
}

// PlainShndx is st_shndx of an entry of Raw.
func PlainShndx(b []byte) uint16 { return binary.LittleEndian.Uint16(b[6:]) }

// All yields every entry in table order, entry 0 included.
func (t *Symtab) All() iter.Seq[Symbol] {
	return func(yield func(Symbol) bool) {
		for i := range t.Len() {
			if !yield(t.At(i)) {
				return
			}
		}
	}
}

// MaxName is the longest name that is read, in bytes. The kernel's own limit is 512 (KSYM_NAME_LEN); a string table
// without NULs must not make every symbol's name as long as the table.
const MaxName = 4096

// Name is the symbol's own name; empty where st_name does not lie in the string table. A name
// that lacks its NUL ends where the table does, or after MaxName bytes.
func (t *Symtab) Name(s Symbol) []byte {
	b, _ := t.strs.Clip(uint64(s.NameOff), MaxName).CString(0)
	return b
}

// NameLen is the length of the name at st_name, as Name has it.
func (t *Symtab) NameLen(off uint32) int {
	b := t.strs.Bytes()
	if uint64(off) >= uint64(len(b)) {
		return 0
	}
	b = b[off:]
	if i := bytes.IndexByte(b[:min(len(b), MaxName)], 0); i >= 0 {
		return i
	}
	return len(t.Name(Symbol{NameOff: off}))
}

// NameOK reports whether st_name lies in the string table.
func (t *Symtab) NameOK(s Symbol) bool { return uint64(s.NameOff) < t.strs.Len() }

// DisplayName is the symbol's name, or, for a section symbol without one, its section's name.
func (f *File) DisplayName(t *Symtab, s Symbol) []byte {
	if s.Type() == elf.STT_SECTION && s.NameOff == 0 && !s.Reserved && uint64(s.Shndx) < uint64(len(f.Sections)) {
		return []byte(f.Sections[s.Shndx].Name)
	}
	return t.Name(s)
}
