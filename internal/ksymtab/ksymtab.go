// Package ksymtab reads what a module, or a linked kernel, exports: __ksymtab* with __kcrctab*, __kflagstab and
// __ksymtab_strings, in every form that they have had.
package ksymtab

import (
	"debug/elf"
	"errors"
	"fmt"
	"slices"

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

// Export is one exported symbol. Name and Namespace are parts of the file.
type Export struct {
	Name      []byte
	CRC       uint32
	HasCRC    bool
	License   License
	Flags     uint8  // of __kflagstab
	HasValue  bool   // Value is known
	Namespace []byte // empty: none
	Section   int    // index of the __ksymtab* section; 0 in a linked image
	Index     int    // of the entry in it
	// Value is where the symbol is: of a module a section and the offset in it, of a linked image an address (Abs).
	// On ia64, parisc64 and ppc64 with ELFv1 that is a function's descriptor.
	// Its Name is left out.
	Value kelf.Place
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
	left := budget(f.Size())
	for i := range tables {
		sec := find(f, tables[i].name)
		if sec < 0 {
			continue
		}
		m := &relocated{f: f, sec: sec}
		r := reader{table: &t, fields: m, sec: sec, license: tables[i].license}
		var err error
		r.data, err = f.Data(sec)
		r.check(err)
		m.data = r.data
		m.rels, err = left.targets(f, sec)
		r.check(err)
		r.form = m.form()
		r.crcs(f, tables[i].crcs, &left)
		r.flags(f)
		r.read()
		if r.bad != nil {
			err = r.bad
			if _, ok := errors.AsType[*kelf.SectionError](err); !ok {
				err = &kelf.SectionError{Index: sec, Name: tables[i].name, Err: err}
			}
			errs = append(errs, err)
		}
	}
	return t, errors.Join(errs...)
}

// find is the first section of that name that is loaded, as the kernel sees it, or else any of that name, or -1.
//
// Source: kernel/module/main.c: find_sec.
func find(f *kelf.File, name string) int {
	any := -1
	for i := range f.Sections {
		if s := &f.Sections[i]; s.Name == name {
			if s.Flags&elf.SHF_ALLOC != 0 {
				return i
			}
			if any < 0 {
				any = i
			}
		}
	}
	return any
}

// fields is how the pointers in a table's entries are read: through relocations, or, linked, as they stand.
type fields interface {
	// place is where the field at off points.
	place(off uint64, form Form) (kelf.Place, bool)
	// str is the string there.
	str(off uint64, form Form) ([]byte, bool)
	// alias is another source of the name of the entry at off, nil where there is none.
	alias(off uint64) []byte
}

// reader reads one table.
type reader struct {
	table   *Table
	fields  fields
	sec     int
	license License
	data    bin.View
	form    Form
	crc     func(i int) (uint32, bool) // nil: no table of CRCs
	flagTab bin.View
	bad     error // the first thing that is wrong
}

func (r *reader) check(err error) {
	if r.bad == nil {
		r.bad = err
	}
}

func (r *reader) note(format string, args ...any) {
	if r.bad == nil {
		r.bad = fmt.Errorf(format, args...)
	}
}

// count is the number of entries; a rest is not seen, as by the kernel.
func (r *reader) count() int { return int(r.data.Len() / r.form.Size) }

// flags finds the flags of the table of all exports.
func (r *reader) flags(f *kelf.File) {
	if r.license != Any {
		return
	}
	sec := find(f, "__kflagstab")
	if sec < 0 {
		return
	}
	v, err := f.Data(sec)
	r.check(err)
	r.useFlags(v)
}

func (r *reader) useFlags(v bin.View) {
	r.table.HasFlags, r.flagTab = true, v
	if n := r.count(); v.Len() < uint64(n) {
		r.note("__kflagstab has %d flags for %d symbols", v.Len(), n)
	}
}

// maxNameless bounds the entries of one table that are returned though nothing in them can be read: a table that lost its
// relocations tells no more with a million of them.
const maxNameless = 64

// atOnce is for how many entries there is room from the beginning: more grow as they come.
const atOnce = 256

// read decodes the entries into the table.
func (r *reader) read() {
	n := r.count()
	nameless, first := 0, 0
	r.table.Exports = slices.Grow(r.table.Exports, min(n, atOnce))
	for i := range n {
		off := uint64(i) * r.form.Size
		e := Export{License: r.license, Section: r.sec, Index: i}
		e.Value, e.HasValue = r.fields.place(off, r.form)
		name, ok := r.fields.str(off+r.form.Name, r.form)
		if !ok || len(name) == 0 {
			// The strings or their relocations are damaged: modpost's symbol for the entry has the name too.
			if name = r.fields.alias(off); name == nil {
				if nameless == 0 {
					first = i
				}
				if nameless++; nameless > maxNameless && !e.HasValue {
					continue
				}
			}
		}
		e.Name = name
		if r.form.NS {
			var read bool
			if e.Namespace, read = r.fields.str(off+r.form.NSOff, r.form); !read && len(name) > 0 {
				if _, there := r.fields.place(off+r.form.NSOff, r.form); there {
					r.note("entry %d: offset %#x: the namespace cannot be read", i, r.data.Off()+off+r.form.NSOff)
				}
			}
		}
		if uint64(i) < r.flagTab.Len() {
			e.Flags = r.flagTab.U8(i)
			if e.Flags&1 != 0 {
				e.License = GPLOnly
			}
		}
		if r.crc != nil {
			if e.CRC, e.HasCRC = r.crc(i); !e.HasCRC {
				r.note("entry %d: the CRC cannot be read", i)
			}
		}
		r.table.Exports = append(r.table.Exports, e)
	}
	if nameless > 0 {
		r.note("entry %d: offset %#x: the name cannot be read (%d such of %d)", first, r.data.Off()+uint64(first)*r.form.Size+r.form.Name, nameless, n)
	}
	if r.table.Form.Size == 0 {
		r.table.Form = r.form
	}
}
