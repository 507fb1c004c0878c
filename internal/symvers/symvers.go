// Package symvers reads Module.symvers and System.map: what a kernel and its modules export.
package symvers

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
)

// Symbol is one row of a Module.symvers. The byte slices are parts of the table.
type Symbol struct {
	Name      []byte
	CRC       uint32
	Module    []byte // "vmlinux", or a module's path without .ko; empty in the two-column form
	Export    []byte // "EXPORT_SYMBOL_GPL"; empty in the forms without it
	Namespace []byte
}

// GPL reports whether only GPL-compatible modules see the symbol.
func (s *Symbol) GPL() bool { return gplOnly(s.Export) }

func gplOnly(export []byte) bool {
	return string(export) == "EXPORT_SYMBOL_GPL" || string(export) == "EXPORT_UNUSED_SYMBOL_GPL"
}

// InKernel reports whether the kernel image itself exports the symbol.
func (s *Symbol) InKernel() bool { return inKernel(s.Module) }

func inKernel(module []byte) bool { return len(module) == 0 || string(module) == "vmlinux" }

// LineError says in which line a file is not what it should be.
type LineError struct {
	Line int // 1 is the first
	Text string
	Hint string // what to give instead; empty where nothing is known
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Text) }

// hintSymvers goes with every kind of file that is given in place of a Module.symvers.
const hintSymvers = "give the kernel build's Module.symvers; an image or a module goes to --against"

// parser is the state between rows.
type parser struct {
	t       *Table
	columns int // of the first row; 4 and 5 are one form, since the last column may be empty
	line    int
	last    bool   // the row has no newline: the file may have been cut there
	rest    []byte // of a line that goes on in the next piece
	texts   [256]uint32
	tails   [512]tail
}

// tail is what stood behind the name in a row that was taken: most rows repeat that of an earlier one.
type tail struct {
	text []byte
	kind uint32 // number in Table.kinds
}

// maxTail is the longest one that is kept, in bytes.
const maxTail = 512

// Parse reads a Module.symvers in any of its historic forms, with tabs or spaces:
//
//	CRC symbol
//	CRC symbol module                     to 2.6.16
//	CRC symbol module export              to 5.3
//	CRC symbol namespace module export    5.4
//	CRC symbol module export namespace    from 5.6 on
//
// The rows of a file are all of one form; only an empty namespace at the end may be left out with its tab, as editors
// do. Which of the two forms with five columns it is, each row tells: the kind of export is one of a few words.
// A row that is none of these is a *LineError.
//
// Source: scripts/mod/modpost.c: write_dump, read_dump.
func Parse(data []byte) (*Table, error) {
	return Read(uint64(len(data)), func(yield func([]byte, error) bool) { yield(data, nil) })
}

// Read is Parse for a file of that size, in bytes, that comes in pieces, which need not outlive their turn. An error among them is returned.
func Read(size uint64, pieces iter.Seq2[[]byte, error]) (*Table, error) {
	if size > math.MaxUint32 {
		return nil, fmt.Errorf("%d bytes are more than a Module.symvers can have", size)
	}
	p := &parser{t: newTable(size)}
	for piece, err := range pieces {
		if err == nil {
			err = p.piece(piece)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(p.rest) > 0 {
		p.last = true
		if err := p.one(p.rest); err != nil {
			return nil, err
		}
	}
	p.t.index()
	return p.t, nil
}

func (p *parser) piece(data []byte) error {
	if p.line == 0 && len(p.rest) == 0 && bytes.HasPrefix(data, []byte("\x7fELF")) {
		return &LineError{1, "this is an ELF file", hintSymvers}
	}
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return &LineError{p.line + 1 + bytes.Count(data[:i], []byte{'\n'}), "a NUL byte: this is not text", hintSymvers}
	}
	for {
		end := bytes.IndexByte(data, '\n')
		if end < 0 {
			p.rest = append(p.rest, data...)
			return nil
		}
		s := data[:end]
		if len(p.rest) > 0 {
			p.rest = append(p.rest, s...)
			s = p.rest
		}
		if err := p.one(s); err != nil {
			return err
		}
		p.rest, data = p.rest[:0], data[end+1:]
	}
}

// one takes a line without its newline.
func (p *parser) one(s []byte) error {
	p.line++
	for len(s) > 0 && s[len(s)-1] == '\r' {
		s = s[:len(s)-1]
	}
	if blank(s) {
		return nil
	}
	if p.short(s) {
		return nil
	}
	return p.row(s)
}

// blank reports whether a line has nothing in it.
func blank(s []byte) bool {
	for _, c := range s {
		if c != ' ' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}

// field is a part of a line, by offsets in it.
type field struct{ from, to int }

// maxFields is one more than a row can have: enough to see that there are too many.
const maxFields = 6

// split cuts a line at tabs, or where it has none at runs of blanks. More than maxFields are not told apart.
func split(s []byte, f *[maxFields]field) int {
	n := 0
	tab := bytes.IndexByte(s, '\t')
	if tab < 0 {
		return splitBlanks(s, f)
	}
	for from := 0; ; {
		f[n] = field{from, from + tab}
		n++
		from += tab + 1
		if n == len(f) {
			return n
		}
		if tab = bytes.IndexByte(s[from:], '\t'); tab < 0 {
			f[n] = field{from, len(s)}
			return n + 1
		}
	}
}

func splitBlanks(s []byte, f *[maxFields]field) int {
	n := 0
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

// isExport reports whether a column is the kind of export.
func isExport(b []byte) bool {
	return len(b) > 7 && string(b[:7]) == "EXPORT_" || string(b) == "(unknown)"
}

// known reports whether a kind of export is one that modpost writes, and not the beginning of one.
//
// Source: scripts/mod/modpost.c: export_list (5.10).
func known(export []byte) bool {
	switch string(export) {
	case "EXPORT_SYMBOL", "EXPORT_SYMBOL_GPL", "EXPORT_SYMBOL_GPL_FUTURE", "EXPORT_UNUSED_SYMBOL", "EXPORT_UNUSED_SYMBOL_GPL", "(unknown)":
		return true
	}
	return false
}

// short adds a row whose columns behind the name are those of an earlier one, and reports whether it was one. What row asks of such columns
// they have answered: the form that they had then goes with the file's now.
func (p *parser) short(s []byte) bool {
	first := bytes.IndexByte(s, '\t') + 1
	n := bytes.IndexByte(s[first:], '\t')
	if first == 0 || n < 1 || n > math.MaxUint16 || p.last {
		return false
	}
	crc, ok := parseCRC(s[:first-1])
	after := s[first+n:]
	known := p.tail(after)
	if !ok || known.text == nil || string(known.text) != string(after) {
		return false
	}
	return p.add(crc, s[first:first+n], known.kind)
}

// tail is where the columns behind a name are kept.
func (p *parser) tail(after []byte) *tail {
	h := uint32(len(after))
	if n := len(after); n >= 12 {
		h += binary.LittleEndian.Uint32(after[n-4:]) + binary.LittleEndian.Uint32(after[n-12:])
	}
	return &p.tails[h*0x9e3779b1>>23]
}

// row adds the row s.
func (p *parser) row(s []byte) error {
	bad := func(format string, args ...any) error {
		e := &LineError{Line: p.line, Text: fmt.Sprintf(format, args...)}
		switch {
		case looksLikeMap(s):
			e.Hint = "this looks like a System.map; give the Module.symvers of the same build"
		case p.last && p.t.Len() > 0:
			e.Hint = "the line has no newline: the file may have been cut short"
		}
		return e
	}
	var f [maxFields]field
	n := split(s, &f)
	if n < 2 || n > 5 {
		return bad("want 2 to 5 columns, got %s", columns(n))
	}
	at := func(i int) []byte { return s[f[i].from:f[i].to] }
	crc, ok := parseCRC(at(0))
	if !ok {
		return bad("%s is no CRC, want 0x and up to eight hexadecimal digits", quote(at(0)))
	}
	if n != p.columns && !p.sameForm(n) {
		return bad("want %d columns, got %d", p.columns, n)
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
			return bad("%s is no kind of export", quote(at(3)))
		}
	case 5:
		switch {
		case isExport(at(4)) && !(known(at(3)) && !known(at(4))):
			ns, module, export = 2, 3, 4
		case isExport(at(3)):
			module, export, ns = 2, 3, 4
		default:
			return bad("neither %s nor %s is a kind of export", quote(at(3)), quote(at(4)))
		}
	}
	if p.last && export >= 0 && !known(at(export)) {
		return bad("%s is no kind of export", quote(at(export)))
	}
	for i := range n {
		if f[i].to-f[i].from > math.MaxUint16 {
			return bad("column %d has %d bytes", i+1, f[i].to-f[i].from)
		}
	}
	var is kind
	if module >= 0 {
		is.module = p.text(at(module))
	}
	if export >= 0 {
		is.export = p.text(at(export))
		p.t.HasExport = true
	}
	if ns >= 0 {
		is.ns = p.text(at(ns))
		p.t.HasNamespace = true
	}
	if !p.add(crc, at(1), p.kind(is, s[f[1].to:])) {
		return bad("the names are too many")
	}
	return nil
}

// kind is the number in the table's list of what the columns behind a name say.
func (p *parser) kind(is kind, after []byte) uint32 {
	kept := p.tail(after)
	if kept.text != nil && string(kept.text) == string(after) {
		return kept.kind
	}
	number := uint32(len(p.t.kinds))
	p.t.kinds = append(p.t.kinds, is)
	if len(after) <= maxTail {
		kept.text, kept.kind = append(kept.text[:0], after...), number
	}
	return number
}

// add adds a row, and reports whether there is room for it.
func (p *parser) add(crc uint32, name []byte, kind uint32) bool {
	t := p.t
	if uint64(len(t.text)+len(name)) > math.MaxUint32-4*math.MaxUint16 {
		return false
	}
	if crc != 0 {
		t.HasCRC = true
	}
	t.rows = append(t.rows, row{crc: crc, name: uint32(len(t.text)), nameLen: uint16(len(name)), kind: kind})
	t.text = append(t.text, name...)
	return true
}

// text is the number of a text in the table's list. Most rows repeat what one of the last ones has.
func (p *parser) text(b []byte) uint32 {
	if len(b) == 0 {
		return 0
	}
	t := p.t
	h := uint32(len(b))
	if n := len(b); n >= 4 {
		h += binary.LittleEndian.Uint32(b[n-4:])
	} else {
		h += uint32(b[0])
	}
	last := &p.texts[h*0x9e3779b1>>24]
	if *last != 0 && string(t.cut(&t.texts[*last])) == string(b) {
		return *last
	}
	t.texts = append(t.texts, text{off: uint32(len(t.text)), n: uint16(len(b)), kernel: inKernel(b), gpl: gplOnly(b)})
	t.text = append(t.text, b...)
	*last = uint32(len(t.texts) - 1)
	return *last
}

// sameForm reports whether a row of n columns goes with the rows before it, and notes the form of the first. A file
// that was cut, or joined with another, would else lose the kind of export without a word.
func (p *parser) sameForm(n int) bool {
	switch {
	case p.columns == 0 || p.columns == 4 && n == 5:
		p.columns = n
		return true
	case p.columns == 5 && n == 4:
		return true
	}
	return false
}

func columns(n int) string {
	if n >= maxFields {
		return "more"
	}
	return fmt.Sprint(n)
}

// quote quotes a column for a message, the beginning of it where it is long.
func quote(b []byte) string {
	const most = 80
	if len(b) > most {
		return fmt.Sprintf("%q…", b[:most])
	}
	return fmt.Sprintf("%q", b)
}

// parseCRC reads 0x and one to eight digits; old files have up to sixteen.
func parseCRC(b []byte) (uint32, bool) {
	if len(b) < 3 || len(b) > 18 || b[0] != '0' || b[1]|0x20 != 'x' {
		return 0, false
	}
	if len(b) == 10 {
		// As modpost writes it.
		v, bad := uint32(0), uint8(0)
		for _, c := range b[2:10] {
			d := digits[c]
			v, bad = v<<4|uint32(d&15), bad|d
		}
		return v, bad < 16
	}
	v, ok := parseHex(b[2:])
	return uint32(v), ok && v <= math.MaxUint32
}

// digits are the values of hexadecimal digits; 0xff: it is none.
var digits = func() (t [256]uint8) {
	for i := range t {
		if v, ok := parseHex([]byte{byte(i)}); ok {
			t[i] = uint8(v)
		} else {
			t[i] = 0xff
		}
	}
	return t
}()

// parseHex reads one to sixteen hexadecimal digits.
func parseHex(b []byte) (v uint64, ok bool) {
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			v = v<<4 | uint64(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			v = v<<4 | uint64(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return v, len(b) > 0 && len(b) <= 16
}

// looksLikeMap recognises a line of System.map: address, type letter, name.
func looksLikeMap(s []byte) bool {
	f := bytes.Fields(s[:min(len(s), 1024)])
	return len(f) >= 3 && len(f[1]) == 1 && (len(f[0]) == 16 || len(f[0]) == 8)
}
