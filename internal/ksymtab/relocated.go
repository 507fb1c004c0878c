package ksymtab

import (
	"bytes"
	"debug/elf"
	"errors"

	"kotool/internal/bin"
	kelf "kotool/internal/elf"
)

// relocated reads the entries of a module, where the pointers are relocations.
type relocated struct {
	f     *kelf.File
	sec   int
	data  bin.View
	rels  kelf.Targets
	names map[uint64][]byte // see entryNames
}

func (m *relocated) place(off uint64, form Form) (kelf.Place, bool) {
	rel, ok := m.rels.At(off)
	if !ok {
		return kelf.Place{}, false
	}
	width := uint64(4)
	if !form.Prel {
		width = uint64(m.f.Word())
	}
	return resolve(m.f, rel, m.rels.Rela, implicit(m.data, off, width))
}

// resolve says where r points, as kelf.File.Resolve does, but without the symbol's name: nobody asks for it here, and a
// string table without a NUL would be searched to its end for each of very many fields.
func resolve(f *kelf.File, r kelf.Rel, rela bool, implicit int64) (p kelf.Place, ok bool) {
	t, _ := f.Symbols()
	if uint64(r.Sym) >= uint64(t.Len()) {
		return kelf.Place{}, false
	}
	p.Sym = t.At(int(r.Sym))
	if rela {
		implicit = r.Addend
	}
	p.Off = p.Sym.Value + uint64(implicit)
	switch {
	case p.Sym.Reserved:
		p.Abs = p.Sym.Shndx == uint32(elf.SHN_ABS)
	case uint64(p.Sym.Shndx) < uint64(len(f.Sections)):
		p.Section = int(p.Sym.Shndx)
	}
	return p, true
}

// budget is how many bytes of relocations may still be decoded. Sections of a sound file do not overlap, so that all of
// them together have no more than the file; a thousand headers over the same bytes do.
type budget uint64

// targets collects the relocations of a section within the budget.
func (b *budget) targets(f *kelf.File, sec int) (kelf.Targets, error) {
	for i := range f.Sections {
		s := &f.Sections[i]
		if s.Type != elf.SHT_REL && s.Type != elf.SHT_RELA || s.Info != uint32(sec) {
			continue
		}
		size := min(s.Size, f.Size()-min(s.Off, f.Size()))
		if size > uint64(*b) {
			return kelf.Targets{}, &kelf.SectionError{Index: sec, Name: f.Sections[sec].Name, Err: errors.New("its relocation sections overlap")}
		}
		*b -= budget(size)
	}
	return f.Targets(sec)
}

// implicit is the addend that stands in a field of a REL machine. width is 4 or 8 bytes.
func implicit(v bin.View, off, width uint64) int64 {
	field, err := v.Slice(off, width)
	switch {
	case err != nil:
		return 0
	case width == 8:
		return int64(field.U64(0))
	}
	return int64(int32(field.U32(0)))
}

func (m *relocated) str(off uint64, form Form) ([]byte, bool) {
	p, ok := m.place(off, form)
	if !ok || p.Section == 0 {
		return nil, false
	}
	v, _ := m.f.Data(p.Section)
	s, err := v.Clip(p.Off, maxString).CString(0)
	return s, err == nil
}

// maxString bounds a name or namespace, in bytes. A name has less than KSYM_NAME_LEN (512), a namespace hardly
// more; without a bound a damaged table could have the whole file searched for a NUL, once an entry.
const maxString = 4096

func (m *relocated) alias(off uint64) []byte { return m.entryNames()[off] }

// entryNames maps offsets in the table to the names in its symbols __ksymtab_NAME.
func (m *relocated) entryNames() map[uint64][]byte {
	if m.names != nil {
		return m.names
	}
	m.names = map[uint64][]byte{}
	t, _ := m.f.Symbols()
	for i := range t.Len() {
		s := t.At(i)
		if s.Reserved || s.Shndx != uint32(m.sec) {
			continue
		}
		full, err := t.Strings().Clip(uint64(s.NameOff), maxString).CString(0)
		if name, ok := bytes.CutPrefix(full, []byte("__ksymtab_")); ok && err == nil && len(name) > 0 {
			m.names[s.Value] = name
		}
	}
	return m.names
}

// crcs finds the table of CRCs. Each entry is one of three:
//   - the CRC itself (5.19 on);
//   - relocated against the absolute symbol __crc_NAME (before that), of 4 bytes or, up to 4.9, of a word;
//   - relocated against the place in .rodata where the CRC stands (MODULE_REL_CRCS, 4.10 to 5.18: ppc64, s390).
//
// Source: include/linux/export.h: __CRC_SYMBOL (4.9, 5.10); include/linux/export-internal.h: SYMBOL_CRC (6.1);
// scripts/genksyms/genksyms.c: export_symbol (5.10).
func (r *reader) crcs(f *kelf.File, name string, left *budget) {
	sec := find(f, name)
	if sec < 0 {
		return
	}
	r.table.HasCRCs = true
	data, err := f.Data(sec)
	r.check(err)
	rels, err := left.targets(f, sec)
	r.check(err)
	size, n := uint64(4), r.count()
	if f.Word() == 8 && n > 0 && data.Len() == uint64(n)*8 {
		// Words always had relocations, and none in the middle.
		_, start := rels.At(0)
		if _, middle := rels.At(4); start && !middle {
			size = 8
		}
	}
	if data.Len() < uint64(n)*size {
		r.note("%s has %d CRCs for %d symbols", name, data.Len()/size, n)
	}
	r.crc = func(i int) (uint32, bool) {
		off := uint64(i) * size
		field, err := data.Slice(off, size)
		if err != nil {
			return 0, false
		}
		rel, ok := rels.At(off)
		if !ok {
			return uint32(field.Word(0, int(size))), true
		}
		p, ok := resolve(f, rel, rels.Rela, implicit(data, off, size))
		switch {
		case !ok:
			return 0, false
		case p.Section != 0:
			at, _ := f.Data(p.Section)
			v, err := at.Slice(p.Off, 4)
			if err != nil {
				return 0, false
			}
			return v.U32(0), true
		}
		// Without a CRC, __crc_NAME is an undefined weak symbol, and the field becomes 0.
		return uint32(p.Off), p.Abs || p.Sym.Undefined() && p.Sym.Bind() == elf.STB_WEAK
	}
}
