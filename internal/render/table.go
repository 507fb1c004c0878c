package render

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"github.com/olekukonko/tablewriter/pkg/twwidth"
)

// Column describes one column of a Table.
type Column struct {
	Name  string // heading
	Right bool   // numbers: aligned to the right
	// Width is the widest cell in cells of a terminal, where it is known beforehand; 0 has it measured, which
	// generates the rows twice. The last column needs none.
	Width int
	Role  Role
	// Cut allows the last column to be cut with an ellipsis on a terminal. Never set it for names.
	Cut bool
}

// Table is rows under headings. Rows are generated, not held: a module may have a million.
type Table struct {
	Title   string // a line above the table; none when empty
	Columns []Column
	// Rows fills the row cell by cell and calls Next after each; it returns when Next is false. It may be called twice
	// and must generate the same rows.
	Rows func(r *Row)
	// NoHeader leaves the headings out: key and value lists.
	NoHeader bool
	// N is the number of rows where it is known, else 0: small tables are set by tablewriter.
	N int
}

// Row is one row under construction. Its cells are terminal-safe text.
type Row struct {
	b     []byte
	ends  []int
	roles []Role
	role  Role
	emit  func(*Row) bool
}

func (r *Row) reset() { r.b, r.ends, r.roles = r.b[:0], r.ends[:0], r.roles[:0] }

// cell ends the current cell.
func (r *Row) cell() {
	r.ends = append(r.ends, len(r.b))
	r.roles = append(r.roles, r.role)
	r.role = RoleNone
}

// Next hands the row over and starts another; false: no more are wanted.
func (r *Row) Next() bool {
	ok := r.emit(r)
	r.reset()
	return ok
}

// Mark sets the role of the next cell.
func (r *Row) Mark(role Role) *Row { r.role = role; return r }

// Str adds a cell of our own text.
func (r *Row) Str(s string) { r.b = append(r.b, s...); r.cell() }

// Text adds a cell of foreign text, made safe.
func (r *Row) Text(s []byte) { r.b = AppendText(r.b, s); r.cell() }

// TextStr adds a cell of foreign text, made safe.
func (r *Row) TextStr(s string) { r.b = AppendText(r.b, s); r.cell() }

// Uint adds a decimal number.
func (r *Row) Uint(v uint64) { r.b = strconv.AppendUint(r.b, v, 10); r.cell() }

// Int adds a decimal number.
func (r *Row) Int(v int64) { r.b = strconv.AppendInt(r.b, v, 10); r.cell() }

// Hex adds 0x and at least digits digits.
func (r *Row) Hex(v uint64, digits int) { r.b = AppendHex(r.b, v, digits); r.cell() }

// Append lets f append a cell's text, which must be terminal-safe.
func (r *Row) Append(f func(dst []byte) []byte) { r.b = f(r.b); r.cell() }

// Cell returns the text of cell i.
func (r *Row) Cell(i int) []byte {
	start := 0
	if i > 0 {
		start = r.ends[i-1]
	}
	return r.b[start:r.ends[i]]
}

// Cells is the number of cells so far.
func (r *Row) Cells() int { return len(r.ends) }

// Width is the number of terminal cells that s takes.
func Width(s []byte) int {
	for _, c := range s {
		if c >= utf8.RuneSelf {
			return twwidth.WidthNoCache(string(s))
		}
	}
	return len(s)
}

// WidthOf is Width for strings.
func WidthOf(s string) int { return Width([]byte(s)) }

// Style is how text is set for a person.
type Style struct {
	Palette  *Palette // nil: no colour
	Width    int      // of the terminal; 0: unlimited
	NoHeader bool
	// Small is the number of rows that tablewriter may still set; the fast writer, whose output is the same, does the rest.
	Small *int
}

const gap = "  "

// smallTable is the largest table that tablewriter sets: at 25 µs and 140 allocations a row more would be felt.
const smallTable = 200

// Text writes the table aligned.
func (t *Table) Text(out *Out, st *Style) {
	if t.Title != "" {
		out.B = st.Palette.append(out.B, RoleTitle, []byte(t.Title))
		out.B = append(out.B, '\n')
	}
	if last := t.Columns[len(t.Columns)-1]; st.Small != nil && !(last.Cut && st.Width > 0) && t.N > 0 && t.N <= smallTable && *st.Small >= t.N {
		*st.Small -= t.N
		t.tablewriter(out, st)
		return
	}
	widths := t.Widths(st)
	row := &Row{}
	row.emit = func(r *Row) bool {
		out.B = appendLine(out.B, r, t.Columns, widths, st)
		return out.check()
	}
	if !t.NoHeader && !st.NoHeader {
		t.Heading(out, st)
	}
	t.Rows(row)
	out.check()
}

// Heading writes the line of headings.
func (t *Table) Heading(out *Out, st *Style) {
	head := &Row{}
	for i := range t.Columns {
		head.Mark(RoleHeader).Str(t.Columns[i].Name)
	}
	out.B = appendLine(out.B, head, t.Columns, t.Widths(st), st)
}

// Widths finds the width of each column but the last, in cells of a terminal.
func (t *Table) Widths(st *Style) []int {
	widths := make([]int, len(t.Columns))
	measure := false
	for i := range t.Columns {
		c := &t.Columns[i]
		widths[i] = c.Width
		if c.Width == 0 && (i < len(t.Columns)-1 || c.Right) {
			measure = true
		}
		if !t.NoHeader && !st.NoHeader {
			widths[i] = max(widths[i], Width([]byte(c.Name)))
		}
	}
	if !measure {
		return widths
	}
	row := &Row{}
	row.emit = func(r *Row) bool {
		for i := range t.Columns {
			if t.Columns[i].Width == 0 && i < r.Cells() {
				widths[i] = max(widths[i], Width(r.Cell(i)))
			}
		}
		return true
	}
	t.Rows(row)
	return widths
}

func appendLine(dst []byte, r *Row, cols []Column, widths []int, st *Style) []byte {
	start := len(dst)
	room := st.Width
	for i := range cols {
		if i > 0 {
			dst = append(dst, gap...)
			room -= len(gap)
		}
		var text []byte
		role := cols[i].Role
		if i < r.Cells() {
			text = r.Cell(i)
			if r.roles[i] != RoleNone {
				role = r.roles[i]
			}
		}
		last := i == len(cols)-1
		w := len(text)
		if !last || cols[i].Right || cols[i].Cut {
			w = Width(text)
		}
		if last && cols[i].Cut && st.Width > 0 && w > room && room > 8 {
			text = cut(text, room)
			w = room
		}
		pad := max(0, widths[i]-w)
		if cols[i].Right {
			dst = appendBlanks(dst, pad)
		}
		dst = st.Palette.append(dst, role, text)
		if !last && !cols[i].Right {
			dst = appendBlanks(dst, pad)
		}
		room -= max(w, widths[i])
	}
	return append(TrimRight(dst, start), '\n')
}

// TrimRight takes the blanks off the end of dst, down to start.
func TrimRight(dst []byte, start int) []byte {
	end := len(dst)
	for end > start && dst[end-1] == ' ' {
		end--
	}
	return dst[:end]
}

const blanks = "                                                                "

func appendBlanks(dst []byte, n int) []byte {
	for ; n > len(blanks); n -= len(blanks) {
		dst = append(dst, blanks...)
	}
	if n > 0 {
		dst = append(dst, blanks[:n]...)
	}
	return dst
}

// cut shortens text to width terminal cells, the last of which is an ellipsis.
func cut(text []byte, width int) []byte {
	var b []byte
	w := 0
	for _, r := range string(text) {
		rw := Width(utf8.AppendRune(nil, r))
		if w+rw > width-1 {
			break
		}
		b = utf8.AppendRune(b, r)
		w += rw
	}
	return append(b, "…"...)
}

// TSV writes the rows separated by tabs, first the prefix cells. Cells never hold a tab or newline: they are terminal-safe.
func (t *Table) TSV(out *Out, prefix []byte) {
	row := &Row{}
	row.emit = func(r *Row) bool {
		out.B = append(out.B, prefix...)
		for i := range r.Cells() {
			if i > 0 || len(prefix) > 0 {
				out.B = append(out.B, '\t')
			}
			out.B = append(out.B, r.Cell(i)...)
		}
		out.B = append(out.B, '\n')
		return out.check()
	}
	t.Rows(row)
}

// TSVHeader is the heading line for TSV: lower case, words joined by an underscore.
func (t *Table) TSVHeader(out *Out, prefix string) {
	out.B = append(out.B, prefix...)
	for i := range t.Columns {
		if i > 0 || prefix != "" {
			out.B = append(out.B, '\t')
		}
		out.B = append(out.B, bytes.ReplaceAll(bytes.ToLower([]byte(t.Columns[i].Name)), []byte(" "), []byte("_"))...)
	}
	out.B = append(out.B, '\n')
}
