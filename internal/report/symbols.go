package report

import (
	"debug/elf"
	"strconv"

	kelf "kotool/internal/elf"
	"kotool/internal/render"
)

// SymbolFilter chooses symbols; the zero filter takes all of them.
type SymbolFilter struct{ Undefined, Defined, Exported bool }

// ExportOf says what a symbol's export entry has: CRC, licence, namespace.
type ExportOf struct {
	CRC       uint32
	HasCRC    bool
	GPL       bool
	Namespace string
}

// Symbols is the symbol table.
type Symbols struct {
	f       *kelf.File
	t       *kelf.Symtab
	filter  SymbolFilter
	exports map[string]ExportOf // by name
}

// NewSymbols reports a symbol table, which may be nil; exports are joined by name.
func NewSymbols(f *kelf.File, t *kelf.Symtab, filter SymbolFilter, exports map[string]ExportOf) *Symbols {
	return &Symbols{f, t, filter, exports}
}

// Schema implements Report.
func (*Symbols) Schema() string { return "kotool.symbols/1" }

// each yields the symbols that the filter takes.
func (r *Symbols) each(yield func(s kelf.Symbol, ex *ExportOf) bool) {
	for i := range r.t.Len() {
		s := r.t.At(i)
		if r.filter != (SymbolFilter{}) {
			if i == 0 || r.filter.Undefined && !s.Undefined() || r.filter.Defined && s.Undefined() {
				continue
			}
		}
		var ex *ExportOf
		if len(r.exports) > 0 && !s.Undefined() && s.Bind() != elf.STB_LOCAL {
			if e, ok := r.exports[string(r.t.Name(s))]; ok {
				ex = &e
			}
		}
		if r.filter.Exported && ex == nil {
			continue
		}
		if !yield(s, ex) {
			return
		}
	}
}

// JSON implements Report.
func (r *Symbols) JSON(j *render.JSON) {
	j.Key("symbols")
	j.Arr()
	ok := true
	r.each(func(s kelf.Symbol, ex *ExportOf) bool {
		j.Obj()
		j.KInt("index", int64(s.Index))
		j.KBytes("name", r.t.Name(s))
		j.KHex("value", s.Value)
		j.KUint("size", s.Size)
		j.KStr("type", symType(r.f, s.Type()))
		j.KStr("bind", symBind(s.Bind()))
		j.KStr("visibility", symVis[s.Visibility()])
		j.KUint("other", uint64(s.Other))
		j.KUint("section_index", uint64(s.Shndx))
		j.KStr("section", r.section(s))
		if ex != nil {
			j.Key("export")
			j.Obj()
			j.Key("crc")
			if ex.HasCRC {
				j.Hex(uint64(ex.CRC), 8)
			} else {
				j.Null()
			}
			j.KBool("gpl", ex.GPL)
			j.KStr("namespace", ex.Namespace)
			j.End()
		}
		j.End()
		ok = j.Spill()
		return ok
	})
	j.EndArr()
}

// section is the name of a symbol's section: "UND", "ABS", "COM", a name, or a number.
func (r *Symbols) section(s kelf.Symbol) string {
	if !s.Reserved && s.Shndx != 0 && uint64(s.Shndx) >= uint64(len(r.f.Sections)) {
		return "[" + strconv.FormatUint(uint64(s.Shndx), 10) + "]"
	}
	return r.f.SectionName(s.Shndx)
}

// Tables implements Report.
func (r *Symbols) Tables() []*render.Table {
	// Widths are found in one cheap pass over the numbers, so that the rows are made only once.
	var size uint64
	secw, exw, n := len("Section"), 0, 0
	used := make([]bool, len(r.f.Sections))
	var infos [256]bool
	var vis [4]bool
	for i := range r.t.Len() {
		s := r.t.At(i)
		size = max(size, s.Size)
		infos[s.Info], vis[s.Visibility()] = true, true
		if !s.Reserved && uint64(s.Shndx) < uint64(len(used)) {
			used[s.Shndx] = true
		} else {
			secw = max(secw, len(r.section(s)))
		}
		n++
	}
	for i, u := range used {
		if u {
			secw = max(secw, render.Width(render.AppendText(nil, r.f.Sections[i].Name)))
		}
	}
	typw, bindw, visw := 0, 0, 0
	for i := range infos {
		if infos[i] {
			s := kelf.Symbol{Info: uint8(i)}
			typw, bindw = max(typw, len(symType(r.f, s.Type()))), max(bindw, len(symBind(s.Bind())))
		}
	}
	for i := range vis {
		if vis[i] {
			visw = max(visw, len(symVis[i]))
		}
	}
	digits := 8
	if r.f.Class == elf.ELFCLASS64 {
		digits = 16
	}
	for _, e := range r.exports {
		exw = max(exw, len(appendExport(nil, &e)))
	}
	cols := []render.Column{
		{Name: "Num", Right: true, Width: max(len(strconv.Itoa(max(0, n-1))), 3)},
		{Name: "Value", Width: digits}, {Name: "Size", Right: true, Width: len(strconv.FormatUint(size, 10))},
		{Name: "Type", Width: typw}, {Name: "Bind", Width: bindw}, {Name: "Vis", Width: visw},
		{Name: "Section", Width: secw}}
	if exw > 0 {
		cols = append(cols, render.Column{Name: "Export", Width: exw})
	}
	cols = append(cols, render.Column{Name: "Name", Role: render.RoleName})
	return []*render.Table{{Columns: cols, N: n, Rows: func(row *render.Row) {
		r.each(func(s kelf.Symbol, ex *ExportOf) bool {
			row.Int(int64(s.Index))
			row.Append(func(b []byte) []byte { return render.AppendHexFixed(b, s.Value, digits) })
			row.Uint(s.Size)
			row.Str(symType(r.f, s.Type()))
			row.Str(symBind(s.Bind()))
			row.Str(symVis[s.Visibility()])
			row.TextStr(r.section(s))
			if exw > 0 {
				row.Append(func(b []byte) []byte {
					if ex == nil {
						return b
					}
					return appendExport(b, ex)
				})
			}
			row.Text(r.f.DisplayName(r.t, s))
			return row.Next()
		})
	}}}
}

// Text implements Texter: the table of Tables, set without going through rows of cells, of which there are too many. A test
// holds the two together.
func (r *Symbols) Text(out *render.Out, st *render.Style) {
	t := r.Tables()[0]
	if st.Palette != nil {
		t.N = 0
		t.Text(out, st)
		return
	}
	if !st.NoHeader {
		t.Heading(out, st)
	}
	w := t.Widths(st)
	hasExport := len(t.Columns) == 9
	digits := t.Columns[1].Width
	sections := make([]string, len(r.f.Sections)) // made safe
	for i := range sections {
		sections[i] = render.Text(r.f.SectionName(uint32(i)))
	}
	r.each(func(s kelf.Symbol, ex *ExportOf) bool {
		b := render.AppendUintRight(out.B, uint64(s.Index), w[0])
		b = append(b, "  "...)
		b = render.AppendHexFixed(b, s.Value, digits)
		b = append(b, "  "...)
		b = render.AppendUintRight(b, s.Size, w[2])
		b = append(b, "  "...)
		b = render.AppendPadded(b, symType(r.f, s.Type()), w[3]+2)
		b = render.AppendPadded(b, symBind(s.Bind()), w[4]+2)
		b = render.AppendPadded(b, symVis[s.Visibility()], w[5]+2)
		if !s.Reserved && int64(s.Shndx) < int64(len(sections)) {
			name := sections[s.Shndx]
			b = render.AppendPadded(b, name, w[6]+len(name)-render.WidthOf(name)+2)
		} else {
			b = render.AppendPadded(b, r.section(s), w[6]+2)
		}
		if hasExport {
			at := len(b)
			if ex != nil {
				b = appendExport(b, ex)
			}
			b = render.AppendPadded(b, "", w[7]+2-render.Width(b[at:]))
		}
		b = render.AppendText(b, r.f.DisplayName(r.t, s))
		out.B = append(render.TrimRight(b, len(out.B)), '\n')
		return out.Check()
	})
}

// appendExport is "0x12345678 GPL CXL": CRC, licence, namespace, as far as there is one.
func appendExport(b []byte, ex *ExportOf) []byte {
	if ex.HasCRC {
		b = render.AppendHex(b, uint64(ex.CRC), 8)
	} else {
		b = append(b, '-')
	}
	if ex.GPL {
		b = append(b, " GPL"...)
	}
	if ex.Namespace != "" {
		b = append(b, ' ')
		b = render.AppendText(b, ex.Namespace)
	}
	return b
}

var symVis = [4]string{"DEFAULT", "INTERNAL", "HIDDEN", "PROTECTED"}

func symBind(b elf.SymBind) string {
	switch b {
	case elf.STB_LOCAL:
		return "LOCAL"
	case elf.STB_GLOBAL:
		return "GLOBAL"
	case elf.STB_WEAK:
		return "WEAK"
	case 10:
		return "UNIQUE" // STB_GNU_UNIQUE
	}
	return strconv.Itoa(int(b))
}

func symType(f *kelf.File, t elf.SymType) string {
	switch t {
	case elf.STT_NOTYPE:
		return "NOTYPE"
	case elf.STT_OBJECT:
		return "OBJECT"
	case elf.STT_FUNC:
		return "FUNC"
	case elf.STT_SECTION:
		return "SECTION"
	case elf.STT_FILE:
		return "FILE"
	case elf.STT_COMMON:
		return "COMMON"
	case elf.STT_TLS:
		return "TLS"
	case elf.STT_GNU_IFUNC:
		return "IFUNC"
	case 13:
		if f.Header.Machine == elf.EM_ARM {
			return "THUMB_FUNC"
		}
		if f.Header.Machine == elf.EM_SPARCV9 || f.Header.Machine == elf.EM_SPARC {
			return "REGISTER"
		}
	}
	return strconv.Itoa(int(t))
}

// Words are a symbol's enumerations by their standard names.
type Words struct{ Type, Bind, Visibility string }

// SymbolWords names a symbol's type, binding and visibility.
func SymbolWords(f *kelf.File, s kelf.Symbol) Words {
	return Words{symType(f, s.Type()), symBind(s.Bind()), symVis[s.Visibility()]}
}
