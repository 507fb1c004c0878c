package report

import (
	"debug/elf"
	"slices"
	"strconv"
	"strings"

	kelf "kotool/internal/elf"
	"kotool/internal/ksymtab"
	"kotool/internal/module"
	"kotool/internal/render"
	"kotool/internal/versions"
)

// Exports are the symbols that a module exports.
type Exports struct {
	m *module.Module
	t *ksymtab.Table
}

// NewExports reports a module's exports, in the order of its tables.
func NewExports(m *module.Module) *Exports { return &Exports{m, m.Exports()} }

// ExportIndex joins exports to symbols by name.
func ExportIndex(t *ksymtab.Table) map[string]ExportOf {
	if len(t.Exports) == 0 {
		return nil
	}
	index := make(map[string]ExportOf, len(t.Exports))
	for i := range t.Exports {
		e := &t.Exports[i]
		index[string(e.Name)] = ExportOf{e.CRC, e.HasCRC, e.License.GPL(), string(e.Namespace)}
	}
	return index
}

// Schema implements Report.
func (*Exports) Schema() string { return "kotool.exports/1" }

// where is the symbol's own section and value.
func (r *Exports) where(e *ksymtab.Export) (section string, value uint64, ok bool) {
	if !e.HasValue || e.Value.Section == 0 && !e.Value.Abs {
		return "", 0, false
	}
	if e.Value.Abs {
		return "ABS", e.Value.Off, true
	}
	return r.m.File.Sections[e.Value.Section].Name, e.Value.Off, true
}

// JSON implements Report.
func (r *Exports) JSON(j *render.JSON) {
	j.KStr("format", formText(r.t))
	j.Key("exports")
	j.Arr()
	for i := range r.t.Exports {
		e := &r.t.Exports[i]
		j.Obj()
		j.KBytes("name", e.Name)
		j.Key("crc")
		if e.HasCRC {
			j.Hex(uint64(e.CRC), 8)
		} else {
			j.Null()
		}
		j.KBool("gpl", e.License.GPL())
		j.KBytes("namespace", e.Namespace)
		j.KStr("table", r.m.File.Sections[e.Section].Name)
		j.KInt("entry", int64(e.Index))
		if r.t.HasFlags {
			j.KHex("flags", uint64(e.Flags))
		}
		if sec, v, ok := r.where(e); ok {
			j.KStr("section", sec)
			j.KHex("value", v)
		}
		j.End()
		if !j.Spill() {
			return
		}
	}
	j.EndArr()
}

func formText(t *ksymtab.Table) string {
	if t.Form.Size == 0 {
		return "none"
	}
	return t.Form.String()
}

// Tables implements Report.
func (r *Exports) Tables() []*render.Table {
	return []*render.Table{{
		N: len(r.t.Exports),
		Columns: []render.Column{{Name: "CRC"}, {Name: "Licence"}, {Name: "Namespace"}, {Name: "Table"}, {Name: "Section"},
			{Name: "Value", Right: true}, {Name: "Name", Role: render.RoleName}},
		Rows: func(row *render.Row) {
			for i := range r.t.Exports {
				e := &r.t.Exports[i]
				if e.HasCRC {
					row.Hex(uint64(e.CRC), 8)
				} else {
					row.Str("-")
				}
				if e.License == ksymtab.Any {
					row.Str("any")
				} else {
					row.Mark(render.RoleWarn).Str(e.License.String())
				}
				row.Text(e.Namespace)
				row.TextStr(r.m.File.Sections[e.Section].Name)
				if sec, v, ok := r.where(e); ok {
					row.TextStr(sec)
					row.Hex(v, 1)
				} else {
					row.Str("-")
					row.Str("-")
				}
				row.Text(e.Name)
				if !row.Next() {
					return
				}
			}
		},
	}}
}

// Provider says which module of a tree exports a symbol.
type Provider func(symbol []byte) (module string, ok bool)

// Imports are the undefined symbols of a module.
type Imports struct {
	m        *module.Module
	list     []imported
	depends  []string
	provider Provider
	provided []string // modules that the symbols say, with a provider
}

type imported struct {
	sym  kelf.Symbol
	name []byte
	ver  *versions.Entry
	from string
}

// NewImports reports what a module needs from the kernel and from other modules. provider may be nil.
func NewImports(m *module.Module, provider Provider) *Imports {
	r := &Imports{m: m, provider: provider}
	for d := range strings.SplitSeq(m.InfoValue("depends"), ",") {
		if d != "" {
			r.depends = append(r.depends, d)
		}
	}
	index := versions.NewIndex(m.Versions().Effective())
	t := m.Symtab()
	for i := 1; i < t.Len(); i++ {
		s := t.At(i)
		if !s.Undefined() {
			continue
		}
		name := t.Name(s)
		if len(name) == 0 && s.Type() == elf.STT_NOTYPE && s.Bind() == elf.STB_LOCAL {
			continue
		}
		im := imported{sym: s, name: name, ver: index.Find(name)}
		if provider != nil {
			if from, ok := provider(name); ok {
				im.from = from
				if from != "vmlinux" && !slices.Contains(r.provided, from) {
					r.provided = append(r.provided, from)
				}
			}
		}
		r.list = append(r.list, im)
	}
	return r
}

// Schema implements Report.
func (*Imports) Schema() string { return "kotool.imports/1" }

// JSON implements Report.
func (r *Imports) JSON(j *render.JSON) {
	j.Key("depends")
	strs(j, r.depends)
	if r.provider != nil {
		j.Key("depends_by_symbols")
		strs(j, r.provided)
	}
	j.Key("imports")
	j.Arr()
	for i := range r.list {
		im := &r.list[i]
		j.Obj()
		j.KBytes("name", im.name)
		j.Key("crc")
		if im.ver != nil {
			j.Hex(uint64(im.ver.CRC), 8)
		} else {
			j.Null()
		}
		j.KBool("weak", im.sym.Bind() == elf.STB_WEAK)
		j.KInt("symbol_index", int64(im.sym.Index))
		if r.provider != nil {
			j.KStrOrNull("provider", im.from)
		}
		j.End()
		if !j.Spill() {
			return
		}
	}
	j.EndArr()
}

func (r *Imports) rows() *render.Table {
	cols := []render.Column{{Name: "CRC"}, {Name: "Bind"}}
	if r.provider != nil {
		cols = append(cols, render.Column{Name: "From"})
	}
	cols = append(cols, render.Column{Name: "Name", Role: render.RoleName})
	return &render.Table{N: len(r.list), Columns: cols, Rows: func(row *render.Row) {
		for i := range r.list {
			im := &r.list[i]
			if im.ver != nil {
				row.Hex(uint64(im.ver.CRC), 8)
			} else {
				row.Str("-")
			}
			if im.sym.Bind() == elf.STB_WEAK {
				row.Mark(render.RoleWarn).Str("weak")
			} else {
				row.Str(strings.ToLower(symBind(im.sym.Bind())))
			}
			if r.provider != nil {
				if im.from == "" {
					row.Mark(render.RoleWarn).Str("?")
				} else {
					row.TextStr(im.from)
				}
			}
			row.Text(im.name)
			if !row.Next() {
				return
			}
		}
	}}
}

// TSV implements TSVer.
func (r *Imports) TSV() []*render.Table { return []*render.Table{r.rows()} }

// Tables implements Report.
func (r *Imports) Tables() []*render.Table {
	list := []pair{{key: "depends", value: dash(strings.Join(r.depends, ","))}}
	if r.provider != nil {
		list = append(list, pair{key: "by symbols", value: dash(strings.Join(r.provided, ","))})
	}
	return []*render.Table{pairs("", list), r.rows()}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// Versions are the CRCs that a module was built against.
type Versions struct{ t *versions.Table }

// NewVersions reports __versions and the extended tables.
func NewVersions(m *module.Module) *Versions { return &Versions{m.Versions()} }

// Schema implements Report.
func (*Versions) Schema() string { return "kotool.versions/1" }

func versionsJSON(j *render.JSON, list []versions.Entry) {
	j.Arr()
	for i := range list {
		e := &list[i]
		j.Obj()
		j.KBytes("name", e.Name)
		j.Key("crc")
		j.Hex(uint64(e.High)<<32|uint64(e.CRC), 8)
		j.End()
		if !j.Spill() {
			return
		}
	}
	j.EndArr()
}

// JSON implements Report.
func (r *Versions) JSON(j *render.JSON) {
	j.KStr("format", r.t.Format())
	j.Key("versions")
	if r.t.HasBasic {
		versionsJSON(j, r.t.Basic)
	} else {
		versionsJSON(j, r.t.Extended)
	}
	if r.t.HasBasic && r.t.HasExtended {
		j.Key("extended")
		versionsJSON(j, r.t.Extended)
	}
}

// Tables implements Report.
func (r *Versions) Tables() []*render.Table {
	var list []*render.Table
	add := func(title string, entries []versions.Entry) {
		list = append(list, &render.Table{Title: title, N: len(entries),
			Columns: []render.Column{{Name: "CRC"}, {Name: "Name", Role: render.RoleName}},
			Rows: func(row *render.Row) {
				for i := range entries {
					e := &entries[i]
					row.Hex(uint64(e.High)<<32|uint64(e.CRC), 8)
					row.Text(e.Name)
					if !row.Next() {
						return
					}
				}
			}})
	}
	if r.t.HasBasic {
		add("__versions: "+strconv.Itoa(len(r.t.Basic))+" symbols", r.t.Basic)
	}
	if r.t.HasExtended {
		add("__version_ext_crcs: "+strconv.Itoa(len(r.t.Extended))+" symbols", r.t.Extended)
	}
	if len(list) == 0 {
		list = append(list, &render.Table{Title: "no symbol versions", NoHeader: true, Columns: []render.Column{{Name: "CRC"}, {Name: "Name"}}, Rows: func(*render.Row) {}})
	}
	return list
}

// TSV implements TSVer.
func (r *Versions) TSV() []*render.Table {
	return []*render.Table{{Columns: []render.Column{{Name: "format"}, {Name: "crc"}, {Name: "name"}}, Rows: func(row *render.Row) {
		put := func(format string, list []versions.Entry) {
			for i := range list {
				row.Str(format)
				row.Hex(uint64(list[i].High)<<32|uint64(list[i].CRC), 8)
				row.Text(list[i].Name)
				if !row.Next() {
					return
				}
			}
		}
		put("basic", r.t.Basic)
		put("extended", r.t.Extended)
	}}}
}
