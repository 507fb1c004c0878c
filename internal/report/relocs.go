package report

import (
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
}

// NewRelocs reports relocation tables; t is the symbol table, which may be nil.
func NewRelocs(f *kelf.File, t *kelf.Symtab, tabs []*kelf.RelTable) *Relocs {
	return &Relocs{f, t, tabs}
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
	if t.Target < len(r.f.Sections) {
		return r.f.Sections[t.Target].Name
	}
	return ""
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
	if t.Rela || t.Target <= 0 || t.Target >= len(r.f.Sections) {
		return func(kelf.Rel) (int64, bool) { return 0, false }
	}
	data, _ := r.f.Data(t.Target)
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
		j.KInt("target_index", int64(t.Target))
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

// widths of the columns, found in one pass over the numbers.
func (r *Relocs) widths(t *kelf.RelTable) (off, typ int) {
	var maxOff uint64
	var last uint32 = 1<<32 - 1
	for i := range t.Len() {
		rel := t.At(i)
		maxOff = max(maxOff, rel.Off)
		if rel.Type != last || rel.Type2|rel.Type3 != 0 {
			last = rel.Type
			typ = max(typ, len(r.appendTypes(nil, rel)))
		}
	}
	return max(8, len(strconv.FormatUint(maxOff, 16))), typ
}

func (r *Relocs) appendTypes(b []byte, rel kelf.Rel) []byte {
	b = append(b, r.typeName(rel.Type)...)
	if rel.Type2 != 0 || rel.Type3 != 0 {
		b = append(append(b, '/'), r.typeName(uint32(rel.Type2))...)
		b = append(append(b, '/'), r.typeName(uint32(rel.Type3))...)
	}
	return b
}

// appendValue is "name + 1c", with REL the implicit addend in parentheses.
func (r *Relocs) appendValue(b []byte, t *kelf.RelTable, rel kelf.Rel, implicit func(kelf.Rel) (int64, bool)) []byte {
	name, ok := r.name(rel.Sym)
	switch {
	case !ok:
		b = append(b, "<symbol "...)
		b = strconv.AppendUint(b, uint64(rel.Sym), 10)
		b = append(b, " is past the table>"...)
	case len(name) == 0 && rel.Sym != 0:
		b = append(b, "<no name>"...)
	default:
		b = render.AppendText(b, name)
	}
	if t.Rela {
		return appendAddend(b, rel.Addend)
	}
	if a, ok := implicit(rel); ok && a != 0 {
		b = append(b, " ("...)
		b = appendAddend(b, a)
		b = append(b, ')')
	}
	return b
}

func appendAddend(b []byte, a int64) []byte {
	if len(b) > 0 && b[len(b)-1] != '(' && b[len(b)-1] != ' ' {
		b = append(b, ' ')
	}
	u := uint64(a)
	if a < 0 {
		b, u = append(b, "- "...), -u
	} else {
		b = append(b, "+ "...)
	}
	return strconv.AppendUint(b, u, 16)
}

// Tables implements Report.
func (r *Relocs) Tables() []*render.Table {
	var list []*render.Table
	for _, t := range r.tabs {
		off, typ := r.widths(t)
		implicit := r.implicit(t)
		title := "section " + strconv.Itoa(t.Section) + " " + render.Text(r.f.Sections[t.Section].Name) + ": " + strconv.Itoa(t.Len()) +
			" relocations of section " + strconv.Itoa(t.Target) + " " + render.Text(r.target(t))
		list = append(list, &render.Table{Title: title, N: t.Len(),
			Columns: []render.Column{{Name: "Offset", Width: off}, {Name: "Type", Width: typ}, {Name: "Symbol + Addend", Role: render.RoleName}},
			Rows: func(row *render.Row) {
				for i := range t.Len() {
					rel := t.At(i)
					row.Append(func(b []byte) []byte { return appendHex0(b, rel.Off, off) })
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
