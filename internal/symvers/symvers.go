// Package symvers reads Module.symvers and System.map: what a kernel and its modules export.
package symvers

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"iter"
	"math"
)

// Symbol is one row of a Module.symvers. The byte slices are parts of the file.
type Symbol struct {
	Name      []byte
	CRC       uint32
	Module    []byte // "vmlinux", or a module's path without .ko; empty in the two-column form
	Export    []byte // "EXPORT_SYMBOL_GPL"; empty in the forms without it
	Namespace []byte
	Line      int // 1 is the first
}

// GPL reports whether only GPL-compatible modules see the symbol.
func (s *Symbol) GPL() bool {
	return string(s.Export) == "EXPORT_SYMBOL_GPL" || string(s.Export) == "EXPORT_UNUSED_SYMBOL_GPL"
}

// InKernel reports whether the kernel image itself exports the symbol.
func (s *Symbol) InKernel() bool { return len(s.Module) == 0 || string(s.Module) == "vmlinux" }

// Table is a Module.symvers, indexed by name.
type Table struct {
	data  []byte
	rows  []row
	slots []uint32 // open addressing: row number plus one
	seed  maphash.Seed
	// HasExport says that the rows tell the kind of export, so that GPL-only is known.
	HasExport bool
	// HasNamespace says that the rows have a column for the namespace.
	HasNamespace bool
	// HasCRC says that at least one CRC is not 0: the kernel has CONFIG_MODVERSIONS.
	HasCRC bool
}

// row holds offsets in the file rather than slices: a table may have millions.
type row struct {
	crc       uint32
	line      uint32
	name      uint32
	nameLen   uint16
	exportLen uint16
	export    uint32
	module    uint32
	moduleLen uint16
	nsLen     uint16
	ns        uint32
	nextSame  uint32 // row number plus one of the next row of the same name
	tail      uint32 // in the first row of a name: row number plus one of the last
}

// LineError says in which line a file is not what it should be.
type LineError struct {
	Line int
	Text string
	Hint string
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Text) }

// Parse reads a Module.symvers in any of its historic forms, with tabs or spaces:
//
//	CRC symbol
//	CRC symbol module                     to 2.6.16
//	CRC symbol module export              to 5.3
//	CRC symbol namespace module export    5.4
//	CRC symbol module export namespace    from 5.6 on
//
// The table keeps data. A row that is none of these is a *LineError.
//
// Source: scripts/mod/modpost.c: write_dump, read_dump.
func Parse(data []byte) (*Table, error) {
	if uint64(len(data)) > math.MaxUint32 {
		return nil, fmt.Errorf("%d bytes are more than a Module.symvers can have", len(data))
	}
	if bytes.HasPrefix(data, []byte("\x7fELF")) {
		return nil, &LineError{1, "this is an ELF file", "give the kernel build's Module.symvers; an image or a module goes to --against"}
	}
	t := &Table{data: data, seed: maphash.MakeSeed()}
	t.rows = make([]row, 0, min(len(data)/48+1, 1<<20))
	for pos, line := 0, 1; pos < len(data); line++ {
		end := bytes.IndexByte(data[pos:], '\n')
		if end < 0 {
			end = len(data) - pos
		}
		s := bytes.TrimRight(data[pos:pos+end], "\r")
		if len(bytes.TrimSpace(s)) > 0 {
			if err := t.parseRow(s, pos, line); err != nil {
				return nil, err
			}
		}
		pos += end + 1
	}
	t.index()
	return t, nil
}

// field is a part of a line, by offsets in it.
type field struct{ from, to int }

// split cuts a line at tabs, or where it has none at runs of blanks. More than six fields are not told apart.
func split(s []byte, f *[6]field) int {
	n := 0
	if bytes.IndexByte(s, '\t') >= 0 {
		from := 0
		for i := 0; i <= len(s) && n < len(f); i++ {
			if i == len(s) || s[i] == '\t' {
				f[n] = field{from, i}
				n++
				from = i + 1
			}
		}
		return n
	}
	for i := 0; i < len(s) && n < len(f); {
		for i < len(s) && s[i] == ' ' {
			i++
		}
		from := i
		for i < len(s) && s[i] != ' ' {
			i++
		}
		if i > from {
			f[n] = field{from, i}
			n++
		}
	}
	return n
}

func isExport(b []byte) bool {
	return bytes.HasPrefix(b, []byte("EXPORT_")) || string(b) == "(unknown)"
}

func (t *Table) parseRow(s []byte, pos, line int) error {
	bad := func(format string, args ...any) error {
		e := &LineError{Line: line, Text: fmt.Sprintf(format, args...)}
		if looksLikeMap(s) {
			e.Hint = "this looks like a System.map; give it as --system-map, and the build tree's Module.symvers here"
		}
		return e
	}
	if bytes.IndexByte(s, 0) >= 0 {
		return bad("a NUL byte: this is not text")
	}
	var f [6]field
	n := split(s, &f)
	if n < 2 || n > 5 {
		return bad("want 2 to 5 columns, got %s", columns(n))
	}
	at := func(i int) []byte { return s[f[i].from:f[i].to] }
	crc, ok := parseCRC(at(0))
	if !ok {
		return bad("%q is no CRC, want 0x and up to eight hexadecimal digits", at(0))
	}
	if f[1].to == f[1].from {
		return bad("the symbol's name is empty")
	}
	module, export, ns := -1, -1, -1
	switch n {
	case 3:
		module = 2
	case 4:
		if module, export = 2, 3; !isExport(at(3)) {
			return bad("%q is no kind of export", at(3))
		}
	case 5:
		switch {
		case isExport(at(4)):
			ns, module, export = 2, 3, 4
		case isExport(at(3)):
			module, export, ns = 2, 3, 4
		default:
			return bad("neither %q nor %q is a kind of export", at(3), at(4))
		}
	}
	for i := range n {
		if f[i].to-f[i].from > math.MaxUint16 {
			return bad("column %d has %d bytes", i+1, f[i].to-f[i].from)
		}
	}
	r := row{crc: crc, line: uint32(line), name: uint32(pos + f[1].from), nameLen: uint16(f[1].to - f[1].from)}
	if module >= 0 {
		r.module, r.moduleLen = uint32(pos+f[module].from), uint16(f[module].to-f[module].from)
	}
	if export >= 0 {
		r.export, r.exportLen = uint32(pos+f[export].from), uint16(f[export].to-f[export].from)
		t.HasExport = true
	}
	if ns >= 0 {
		r.ns, r.nsLen = uint32(pos+f[ns].from), uint16(f[ns].to-f[ns].from)
		t.HasNamespace = true
	}
	if crc != 0 {
		t.HasCRC = true
	}
	t.rows = append(t.rows, r)
	return nil
}

func columns(n int) string {
	if n > 5 {
		return "more"
	}
	return fmt.Sprint(n)
}

// parseCRC reads 0x and one to eight digits; old files have up to sixteen.
func parseCRC(b []byte) (uint32, bool) {
	if len(b) < 3 || len(b) > 18 || b[0] != '0' || b[1]|0x20 != 'x' {
		return 0, false
	}
	var v uint64
	for _, c := range b[2:] {
		switch {
		case c >= '0' && c <= '9':
			v = v<<4 | uint64(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			v = v<<4 | uint64(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return uint32(v), v <= math.MaxUint32
}

// looksLikeMap recognises a line of System.map: address, type letter, name.
func looksLikeMap(s []byte) bool {
	f := bytes.Fields(s)
	return len(f) >= 3 && len(f[1]) == 1 && (len(f[0]) == 16 || len(f[0]) == 8)
}

func (t *Table) index() {
	size := 16
	for size < 2*len(t.rows) {
		size *= 2
	}
	t.slots = make([]uint32, size)
	for i := range t.rows {
		r := &t.rows[i]
		slot := t.slot(t.data[r.name : r.name+uint32(r.nameLen)])
		if at := t.slots[slot]; at != 0 {
			// The name is there already: the rows of one name are a chain, the first one is found.
			head := &t.rows[at-1]
			last := head
			if head.tail != 0 {
				last = &t.rows[head.tail-1]
			}
			last.nextSame, head.tail = uint32(i+1), uint32(i+1)
			continue
		}
		t.slots[slot] = uint32(i + 1)
	}
}

// slot is where name is, or would go.
func (t *Table) slot(name []byte) int {
	mask := len(t.slots) - 1
	for i := int(maphash.Bytes(t.seed, name)) & mask; ; i = (i + 1) & mask {
		at := t.slots[i]
		if at == 0 {
			return i
		}
		r := &t.rows[at-1]
		if string(t.data[r.name:r.name+uint32(r.nameLen)]) == string(name) {
			return i
		}
	}
}

// Len is the number of rows.
func (t *Table) Len() int { return len(t.rows) }

// At returns row i, in file order.
func (t *Table) At(i int) Symbol {
	r := &t.rows[i]
	cut := func(off uint32, n uint16) []byte {
		end := off + uint32(n)
		return t.data[off:end:end]
	}
	return Symbol{Name: cut(r.name, r.nameLen), CRC: r.crc, Module: cut(r.module, r.moduleLen),
		Export: cut(r.export, r.exportLen), Namespace: cut(r.ns, r.nsLen), Line: int(r.line)}
}

// Lookup returns the first row of a name.
func (t *Table) Lookup(name []byte) (Symbol, bool) {
	if t == nil || len(t.rows) == 0 {
		return Symbol{}, false
	}
	at := t.slots[t.slot(name)]
	if at == 0 {
		return Symbol{}, false
	}
	return t.At(int(at - 1)), true
}

// Same yields every row of a name, in file order.
func (t *Table) Same(name []byte) iter.Seq[Symbol] {
	return func(yield func(Symbol) bool) {
		if t == nil || len(t.rows) == 0 {
			return
		}
		for at := t.slots[t.slot(name)]; at != 0; at = t.rows[at-1].nextSame {
			if !yield(t.At(int(at - 1))) {
				return
			}
		}
	}
}

// All yields the rows in file order.
func (t *Table) All() iter.Seq[Symbol] {
	return func(yield func(Symbol) bool) {
		for i := range t.rows {
			if !yield(t.At(i)) {
				return
			}
		}
	}
}
