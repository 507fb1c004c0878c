package report

import (
	"math/bits"
	"strconv"

	kelf "kotool/internal/elf"
	"kotool/internal/reloc"
	"kotool/internal/render"
)

// Relocs are all relocations of a module, section by section.
type Relocs struct {
	f    *kelf.File
	t    *kelf.Symtab
	tabs []*kelf.RelTable
	// names keeps texts of symbols that were shown: a few of them are used over and over.
	names [256]struct {
		sym  uint32
		ok   bool
		text []byte
	}
}

// NewRelocs reports relocation tables; t is the symbol table, which may be nil.
func NewRelocs(f *kelf.File, t *kelf.Symtab, tabs []*kelf.RelTable) *Relocs {
	return &Relocs{f: f, t: t, tabs: tabs}
}

// Schema implements Report.
func (*Relocs) Schema() string { return "kotool.relocs/1" }

// name is a relocation's symbol: a section symbol's is its section's. ok is false for an index past the table.
func (r *Relocs) name(sym uint32) ([]byte, bool) {
	if uint64(sym) >= uint64(r.t.Len()) {
		return nil, sym == 0
	}
	return r.f.DisplayName(r.t, r.t.At(int(sym))), true
}

func (r *Relocs) target(t *kelf.RelTable) string {
	if s := r.targetSection(t); s != nil {
		return s.Name
	}
	return ""
}

// targetSection is the section that a table relocates; nil where sh_info names none.
func (r *Relocs) targetSection(t *kelf.RelTable) *kelf.Section {
	if uint64(t.Target) < uint64(len(r.f.Sections)) {
		return &r.f.Sections[t.Target]
	}
	return nil
}

// typeName is a type's standard name, or its number where it has none.
func (r *Relocs) typeName(typ uint32) string {
	if n := reloc.Name(r.f.Header.Machine, typ); n != "" {
		return n
	}
	return "unknown type " + strconv.FormatUint(uint64(typ), 10)
}

// implicit reads the addend that stands at the place of a REL entry.
func (r *Relocs) implicit(t *kelf.RelTable) func(rel kelf.Rel) (int64, bool) {
	if t.Rela || t.Target == 0 || r.targetSection(t) == nil {
		return func(kelf.Rel) (int64, bool) { return 0, false }
	}
	data, _ := r.f.Data(int(t.Target))
	return func(rel kelf.Rel) (int64, bool) {
		if rel.Off >= data.Len() {
			return 0, false
		}
		return reloc.ImplicitAddend(r.f.Header.Machine, rel.Type, data.Clip(rel.Off, 8))
	}
}

// JSON implements Report.
func (r *Relocs) JSON(j *render.JSON) {
	j.Key("sections")
	j.Arr()
	for _, t := range r.tabs {
		j.Obj()
		j.KStr("name", r.f.Sections[t.Section].Name)
		j.KInt("index", int64(t.Section))
		j.KStr("target", r.target(t))
		j.KUint("target_index", uint64(t.Target))
		j.KBool("rela", t.Rela)
		j.Key("entries")
		j.Arr()
		implicit := r.implicit(t)
		for i := range t.Len() {
			rel := t.At(i)
			j.Obj()
			j.KUint("offset", rel.Off)
			j.KUint("type", uint64(rel.Type))
			j.KStr("type_name", r.typeName(rel.Type))
			if rel.Type2 != 0 {
				j.KUint("type2", uint64(rel.Type2))
				j.KStr("type2_name", r.typeName(uint32(rel.Type2)))
			}
			if rel.Type3 != 0 {
				j.KUint("type3", uint64(rel.Type3))
				j.KStr("type3_name", r.typeName(uint32(rel.Type3)))
			}
			j.KUint("symbol_index", uint64(rel.Sym))
			name, _ := r.name(rel.Sym)
			j.KBytes("symbol", name)
			if t.Rela {
				j.KInt("addend", rel.Addend)
			} else {
				j.Key("addend")
				j.Null()
				if a, ok := implicit(rel); ok {
					j.KInt("implicit_addend", a)
				}
			}
			j.End()
			if !j.Spill() {
				return
			}
		}
		j.EndArr()
		j.End()
	}
	j.EndArr()
}

// widths of the columns: offsets have as many digits as the target's size, types are looked through.
func (r *Relocs) widths(t *kelf.RelTable) (off, typ int) {
	if s := r.targetSection(t); s != nil {
		off = (bits.Len64(s.Size) + 3) / 4
	}
	var last uint32 = 1<<32 - 1
	for i := range t.Len() {
		rel := t.At(i)
		if rel.Type != last || rel.Type2|rel.Type3 != 0 {
			last = rel.Type
			typ = max(typ, len(r.appendTypes(nil, rel)))
		}
	}
	return min(max(8, off), 16), typ
}

// appendOff appends an offset in at least that many digits; one that lies outside of the target may have more.
func appendOff(b []byte, off uint64, digits int) []byte {
	return render.AppendHexFixed(b, off, max(digits, (bits.Len64(off)+3)/4))
}

func (r *Relocs) appendTypes(b []byte, rel kelf.Rel) []byte {
	b = append(b, r.typeName(rel.Type)...)
	if rel.Type2 != 0 || rel.Type3 != 0 {
		b = append(append(b, '/'), r.typeName(uint32(rel.Type2))...)
		b = append(append(b, '/'), r.typeName(uint32(rel.Type3))...)
	}
	return b
}

// appendName is a relocation's symbol for people.
func (r *Relocs) appendName(b []byte, sym uint32) []byte {
	name, ok := r.name(sym)
	switch {
	case !ok:
		b = append(b, "<symbol "...)
		b = strconv.AppendUint(b, uint64(sym), 10)
		return append(b, " is past the table>"...)
	case len(name) == 0 && sym != 0:
		return append(b, "<no name>"...)
	}
	return render.AppendText(b, name)
}

// appendValue is "name + 1c", with REL the implicit addend in parentheses.
func (r *Relocs) appendValue(b []byte, t *kelf.RelTable, rel kelf.Rel, implicit func(kelf.Rel) (int64, bool)) []byte {
	e := &r.names[rel.Sym%uint32(len(r.names))]
	if e.sym != rel.Sym || !e.ok {
		e.sym, e.ok = rel.Sym, true
		e.text = r.appendName(e.text[:0], rel.Sym)
	}
	b = append(b, e.text...)
	if t.Rela {
		return appendAddend(b, rel.Addend)
	}
	if a, ok := implicit(rel); ok && a != 0 {
		b = append(b, " ("...)
		if a < 0 {
			b, a = append(b, '-'), -a
		}
		b = strconv.AppendUint(b, uint64(a), 16)
		b = append(b, ')')
	}
	return b
}

func appendAddend(b []byte, a int64) []byte {
	u := uint64(a)
	if a < 0 {
		b, u = append(b, " - "...), -u
	} else {
		b = append(b, " + "...)
	}
	return render.AppendHexFixed(b, u, max(1, (bits.Len64(u)+3)/4))
}

// Tables implements Report.
func (r *Relocs) Tables() []*render.Table {
	var list []*render.Table
	for _, t := range r.tabs {
		off, typ := r.widths(t)
		implicit := r.implicit(t)
		title := "section " + strconv.Itoa(t.Section) + " " + render.Text(r.f.Sections[t.Section].Name) + ": " + strconv.Itoa(t.Len()) +
			" relocations of section " + strconv.FormatUint(uint64(t.Target), 10) + " " + render.Text(r.target(t))
		list = append(list, &render.Table{Title: title, N: t.Len(),
			Columns: []render.Column{{Name: "Offset", Width: off}, {Name: "Type", Width: typ}, {Name: "Symbol + Addend", Role: render.RoleName}},
			Rows: func(row *render.Row) {
				for i := range t.Len() {
					rel := t.At(i)
					row.Append(func(b []byte) []byte { return appendOff(b, rel.Off, off) })
					row.Append(func(b []byte) []byte { return r.appendTypes(b, rel) })
					row.Append(func(b []byte) []byte { return r.appendValue(b, t, rel, implicit) })
					if !row.Next() {
						return
					}
				}
			}})
	}
	return list
}

// Text implements Texter: the tables of Tables, set without going through rows of cells, of which there are too many. A
// test holds the two together.
func (r *Relocs) Text(out *render.Out, st *render.Style) {
	tables := r.Tables()
	for k, t := range r.tabs {
		table := tables[k]
		if k > 0 {
			out.Str("\n")
		}
		if st.Palette != nil {
			table.N = 0
			table.Text(out, st)
			continue
		}
		out.Str(table.Title)
		out.Str("\n")
		if !st.NoHeader {
			table.Heading(out, st)
		}
		w := table.Widths(st)
		off := table.Columns[0].Width
		implicit := r.implicit(t)
		var typ uint32
		var name string
		for i := range t.Len() {
			rel := t.At(i)
			b := appendOff(out.B, rel.Off, off)
			b = append(b, "  "...)
			if rel.Type2|rel.Type3 != 0 {
				at := len(b)
				b = r.appendTypes(b, rel)
				b = render.AppendPadded(b, "", w[1]+2-(len(b)-at))
			} else {
				if rel.Type != typ || name == "" {
					typ, name = rel.Type, r.typeName(rel.Type)
				}
				b = render.AppendPadded(b, name, w[1]+2)
			}
			b = r.appendValue(b, t, rel, implicit)
			out.B = append(render.TrimRight(b, len(out.B)), '\n')
			if !out.Check() {
				return
			}
		}
	}
}

// TSV implements TSVer: one table, each field a column of its own.
func (r *Relocs) TSV() []*render.Table {
	return []*render.Table{{
		Columns: []render.Column{{Name: "section"}, {Name: "target"}, {Name: "offset"}, {Name: "type"}, {Name: "type_name"}, {Name: "symbol"}, {Name: "addend"}},
		Rows: func(row *render.Row) {
			for _, t := range r.tabs {
				implicit := r.implicit(t)
				for i := range t.Len() {
					rel := t.At(i)
					row.TextStr(r.f.Sections[t.Section].Name)
					row.TextStr(r.target(t))
					row.Hex(rel.Off, 1)
					row.Uint(uint64(rel.Type))
					row.Append(func(b []byte) []byte { return r.appendTypes(b, rel) })
					name, _ := r.name(rel.Sym)
					row.Text(name)
					a, ok := rel.Addend, t.Rela
					if !ok {
						a, ok = implicit(rel)
					}
					if ok {
						row.Int(a)
					} else {
						row.Str("")
					}
					if !row.Next() {
						return
					}
				}
			}
		},
	}}
}
