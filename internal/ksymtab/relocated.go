package ksymtab

import (
	"bytes"
	"debug/elf"

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
	return m.f.Resolve(rel, m.rels.Rela, implicit(m.data, off, width))
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
	if !ok {
		return nil, false
	}
	return m.f.CStringAt(p)
}

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
		if name, ok := bytes.CutPrefix(t.Name(s), []byte("__ksymtab_")); ok && len(name) > 0 {
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
func (r *reader) crcs(f *kelf.File, name string) {
	sec := find(f, name)
	if sec < 0 {
		return
	}
	r.table.HasCRCs = true
	data, err := f.Data(sec)
	r.check(err)
	rels, err := f.Targets(sec)
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
		p, ok := f.Resolve(rel, rels.Rela, implicit(data, off, size))
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
