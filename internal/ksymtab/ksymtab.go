// Package ksymtab reads what a module exports: __ksymtab* with __kcrctab*, __kflagstab and
// __ksymtab_strings, in every form that they have had.
package ksymtab

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"

	"kotool/internal/bin"
	kelf "kotool/internal/elf"
)

// License says for whom a symbol is exported.
type License uint8

// The kinds of export, by section or, from 7.1 on, by flag.
const (
	Any       License = iota
	GPLOnly           // __ksymtab_gpl, or bit 0 in __kflagstab
	GPLFuture         // __ksymtab_gpl_future, to 5.11
	Unused            // __ksymtab_unused, to 5.11
	UnusedGPL         // __ksymtab_unused_gpl, to 5.11
)

func (l License) String() string {
	return [...]string{"", "GPL", "GPL in future", "unused", "unused GPL"}[l]
}

// GPL reports whether only GPL-compatible modules see the symbol.
func (l License) GPL() bool { return l == GPLOnly || l == UnusedGPL }

// Export is one exported symbol.
type Export struct {
	Name      []byte
	CRC       uint32
	HasCRC    bool
	License   License
	Namespace []byte // empty: none
	Section   int    // index of the __ksymtab* section
	Index     int    // of the entry in it
	Flags     uint8  // of __kflagstab
	Value     kelf.Place
	HasValue  bool
}

// Form is the layout of a table's entries.
type Form struct {
	Size   uint64 // bytes
	Prel   bool   // fields are 32-bit offsets from themselves, else words
	NS     bool   // with a namespace field
	Name   uint64 // offset of the name field in the entry
	NSOff  uint64 // offset of the namespace field
	Source string // how it was found: "relocations", "machine"
}

func (f Form) String() string {
	kind, ns := "absolute", ""
	if f.Prel {
		kind = "place-relative"
	}
	if f.NS {
		ns = ", with namespaces"
	}
	return fmt.Sprintf("%d bytes, %s%s", f.Size, kind, ns)
}

// forms lists the layouts that an entry of that machine can have, the newest first.
//
// Source: include/linux/export-internal.h and export.h: struct kernel_symbol; HAVE_ARCH_PREL32_RELOCATIONS.
func forms(word uint64, prel32 bool) []Form {
	abs := []Form{
		{Size: 3 * word, NS: true, Name: word, NSOff: 2 * word},
		{Size: 2 * word, Name: word},
	}
	prel := []Form{
		{Size: 12, Prel: true, NS: true, Name: 4, NSOff: 8},
		{Size: 8, Prel: true, Name: 4},
	}
	if prel32 {
		return append(prel, abs...)
	}
	return append(abs, prel...)
}

// tables are the sections of exports, in the order in which the kernel searches them.
//
// Source: kernel/module/main.c: find_symbol (5.10, 6.1, 7.2).
var tables = [...]struct {
	name, crcs string
	license    License
}{
	{"__ksymtab", "__kcrctab", Any},
	{"__ksymtab_gpl", "__kcrctab_gpl", GPLOnly},
	{"__ksymtab_gpl_future", "__kcrctab_gpl_future", GPLFuture},
	{"__ksymtab_unused", "__kcrctab_unused", Unused},
	{"__ksymtab_unused_gpl", "__kcrctab_unused_gpl", UnusedGPL},
}

// Table is a module's exports, table after table, each in its own order.
type Table struct {
	Exports  []Export
	Form     Form // of the first table; the zero Form without exports
	HasFlags bool // __kflagstab is there
	HasCRCs  bool // at least one __kcrctab* is there
}

// Read decodes a module's exports. The error joins what is damaged; the exports that can be read are returned all the same.
func Read(f *kelf.File) (Table, error) {
	var t Table
	var errs []error
	for i := range tables {
		sec := f.Find(tables[i].name)
		if sec < 0 {
			continue
		}
		r := reader{f: f, sec: sec, table: &t}
		errs = append(errs, r.read(tables[i].crcs, tables[i].license))
	}
	return t, errors.Join(errs...)
}

// reader reads one table.
type reader struct {
	f     *kelf.File
	sec   int
	data  bin.View
	rels  kelf.Targets
	table *Table
	bad   error
}

func (r *reader) note(format string, args ...any) {
	if r.bad == nil {
		r.bad = &kelf.SectionError{Index: r.sec, Name: r.f.Sections[r.sec].Name, Err: fmt.Errorf(format, args...)}
	}
}

func (r *reader) read(crcName string, license License) error {
	var err error
	if r.data, err = r.f.Data(r.sec); err != nil {
		r.bad = err
	}
	if r.rels, err = r.f.Targets(r.sec); err != nil && r.bad == nil {
		r.bad = err
	}
	form := r.form()
	if r.table.Form.Size == 0 {
		r.table.Form = form
	}
	n := int(r.data.Len() / form.Size)
	crcs := r.crcs(crcName, n)
	var flags bin.View
	if license == Any {
		if sec, v, err := r.f.ByName("__kflagstab"); sec >= 0 {
			r.table.HasFlags, flags = true, v
			if err != nil {
				r.note("%v", err)
			}
			if flags.Len() < uint64(n) {
				r.note("__kflagstab has %d flags for %d symbols", flags.Len(), n)
			}
		}
	}
	var names map[uint64][]byte
	for i := range n {
		off := uint64(i) * form.Size
		e := Export{License: license, Section: r.sec, Index: i}
		e.Value, e.HasValue = r.place(off, form)
		name, ok := r.str(off+form.Name, form)
		if !ok || len(name) == 0 {
			// The strings or their relocations are damaged: modpost's symbol for the entry has the name too.
			if names == nil {
				names = r.entryNames()
			}
			if alias, found := names[off]; found {
				name = alias
			} else {
				r.note("entry %d: offset %#x: the name cannot be read", i, r.data.Off()+off+form.Name)
			}
		}
		e.Name = name
		if form.NS {
			e.Namespace, _ = r.str(off+form.NSOff, form)
		}
		if uint64(i) < flags.Len() {
			e.Flags = flags.U8(i)
			if e.Flags&1 != 0 {
				e.License = GPLOnly
			}
		}
		if crcs != nil {
			e.CRC, e.HasCRC = crcs(i)
		}
		r.table.Exports = append(r.table.Exports, e)
	}
	return r.bad
}

// form finds the layout: that in which every name field points into a string section and no value field does; if none fits, the
// newest of the machine whose size divides the section's.
func (r *reader) form() Form {
	prel := r.f.Arch != nil && r.f.Arch.PREL32
	list := forms(uint64(r.f.Word()), prel)
	if r.rels.Len() > 0 {
		for _, f := range list {
			if r.fits(f) {
				f.Source = "relocations"
				return f
			}
		}
	}
	for _, f := range list {
		if r.data.Len()%f.Size == 0 {
			f.Source = "machine"
			return f
		}
	}
	list[0].Source = "machine"
	return list[0]
}

func (r *reader) fits(f Form) bool {
	n := r.data.Len() / f.Size
	if n == 0 {
		return false
	}
	// A handful of entries tell; all of a large table would cost more than it says.
	for i := range min(n, 16) {
		if !r.inStrings(i*f.Size+f.Name) || r.inStrings(i*f.Size) {
			return false
		}
		if f.NS {
			if _, ok := r.rels.At(i*f.Size + f.NSOff); ok && !r.inStrings(i*f.Size+f.NSOff) {
				return false
			}
		}
	}
	return true
}

func (r *reader) inStrings(off uint64) bool {
	rel, ok := r.rels.At(off)
	if !ok {
		return false
	}
	p, ok := r.f.Resolve(rel, r.rels.Rela, 0)
	if !ok || p.Section == 0 {
		return false
	}
	s := &r.f.Sections[p.Section]
	return s.Name == "__ksymtab_strings" || s.Flags&elf.SHF_STRINGS != 0
}

// place resolves the field at off through its relocation.
func (r *reader) place(off uint64, form Form) (kelf.Place, bool) {
	rel, ok := r.rels.At(off)
	if !ok {
		return kelf.Place{}, false
	}
	width := uint64(4)
	if !form.Prel {
		width = uint64(r.f.Word())
	}
	return r.f.Resolve(rel, r.rels.Rela, implicit(r.data, off, width))
}

// implicit is the addend that stands in a field of a REL machine.
func implicit(v bin.View, off, width uint64) int64 {
	if off > v.Len() || width > v.Len()-off {
		return 0
	}
	if width == 8 {
		return int64(v.U64(int(off)))
	}
	return int64(int32(v.U32(int(off))))
}

func (r *reader) str(off uint64, form Form) ([]byte, bool) {
	p, ok := r.place(off, form)
	if !ok {
		return nil, false
	}
	return r.f.CStringAt(p)
}

// entryNames maps offsets in the table to the names in its symbols __ksymtab_NAME.
func (r *reader) entryNames() map[uint64][]byte {
	names := map[uint64][]byte{}
	t, _ := r.f.Symbols()
	for i := range t.Len() {
		s := t.At(i)
		if s.Reserved || s.Shndx != uint32(r.sec) {
			continue
		}
		if name, ok := bytes.CutPrefix(t.Name(s), []byte("__ksymtab_")); ok {
			names[s.Value] = name
		}
	}
	return names
}

// crcs returns a function that gives the CRC of entry i, or nil where there is no table.
//
// Three forms: the CRC itself (5.19 on); a field relocated against the absolute symbol __crc_NAME (before), of 4
// bytes or, up to 4.9, of a word; an offset to the CRC in .rodata (MODULE_REL_CRCS, 4.10 to 5.18).
func (r *reader) crcs(name string, n int) func(i int) (uint32, bool) {
	sec, data, err := r.f.ByName(name)
	if sec < 0 {
		return nil
	}
	r.table.HasCRCs = true
	if err != nil {
		r.note("%v", err)
	}
	rels, err := r.f.Targets(sec)
	if err != nil {
		r.note("%v", err)
	}
	size := uint64(4)
	if n > 0 && r.f.Word() == 8 && data.Len() == uint64(n)*8 {
		size = 8
	}
	if data.Len() < uint64(n)*size {
		r.note("%s has %d CRCs for %d symbols", name, data.Len()/size, n)
	}
	return func(i int) (uint32, bool) {
		off := uint64(i) * size
		if off >= data.Len() || size > data.Len()-off {
			return 0, false
		}
		rel, ok := rels.At(off)
		if !ok {
			return uint32(data.Word(int(off), int(size))), true
		}
		p, ok := r.f.Resolve(rel, rels.Rela, implicit(data, off, size))
		if !ok {
			return 0, false
		}
		if p.Section != 0 {
			at, err := r.f.Data(p.Section)
			if err != nil && at.Len() == 0 {
				return 0, false
			}
			v, err := at.Slice(p.Off, 4)
			if err != nil {
				return 0, false
			}
			return v.U32(0), true
		}
		return uint32(p.Off), true
	}
}
