package report

import (
	"fmt"
	"strings"

	"kotool/internal/module"
	"kotool/internal/params"
	"kotool/internal/render"
)

// Params are a module's parameters.
type Params struct {
	m    *module.Module
	list []params.Param
}

// NewParams reports what .modinfo claims of the parameters and what __param holds.
func NewParams(m *module.Module) *Params { return &Params{m, m.Params()} }

// Schema implements Report.
func (*Params) Schema() string { return "kotool.params/1" }

// JSON implements Report.
func (r *Params) JSON(j *render.JSON) {
	j.Key("params")
	j.Arr()
	for i := range r.list {
		p := &r.list[i]
		j.Obj()
		j.KStr("name", p.Name)
		j.KStrOrNull("type", p.Type)
		j.Key("description")
		if p.HasDescription {
			j.Str(p.Description)
		} else {
			j.Null()
		}
		if rec := p.Record; rec != nil {
			j.KStr("perm", fmt.Sprintf("%04o", rec.Perm))
			j.KInt("level", int64(rec.Level))
			j.KHex("flags", uint64(rec.Flags))
			j.Key("flag_names")
			strs(j, rec.FlagNames())
			j.KStrOrNull("ops", rec.Ops)
			j.KStrOrNull("kind", rec.Kind)
			if rec.HasVar {
				sec, name := r.variable(rec)
				j.KStrOrNull("section", sec)
				j.KUint("offset", rec.Var.Off)
				j.KStrOrNull("variable", name)
			}
			if rec.Max != 0 {
				j.KUint("max", uint64(rec.Max))
			}
			if rec.Elem != 0 {
				j.KUint("element_size", uint64(rec.Elem))
			}
			if rec.HasLen {
				j.KUint("length", uint64(rec.Len))
			}
			j.Key("default")
			if rec.Default != nil {
				j.Str(*rec.Default)
			} else {
				j.Null()
			}
		}
		j.End()
		if !j.Spill() {
			return
		}
	}
	j.EndArr()
}

// variable is the section of a parameter's variable, and the name of a symbol there.
func (r *Params) variable(rec *params.Record) (section, name string) {
	if s := rec.Var.Section; s > 0 {
		section = r.m.File.Sections[s].Name
	}
	return section, rec.VarName
}

// Tables implements Report.
func (r *Params) Tables() []*render.Table {
	return []*render.Table{{
		N: len(r.list),
		Columns: []render.Column{{Name: "Name", Role: render.RoleName}, {Name: "Type"}, {Name: "Perm"}, {Name: "Flags"}, {Name: "Default"},
			{Name: "Variable"}, {Name: "Description", Cut: true}},
		Rows: func(row *render.Row) {
			for i := range r.list {
				p := &r.list[i]
				row.TextStr(p.Name)
				typ := p.Type
				rec := p.Record
				if rec != nil && rec.Max != 0 {
					typ += fmt.Sprintf("[%d]", rec.Max)
				}
				row.TextStr(dash(typ))
				if rec == nil {
					row.Mark(render.RoleWarn).Str("no record")
					row.Str("-")
					row.Str("-")
					row.Str("-")
				} else {
					row.Append(func(b []byte) []byte { return fmt.Appendf(b, "%04o", rec.Perm) })
					flags := strings.Join(rec.FlagNames(), ",")
					if rec.Level != -1 && rec.Level != 0 {
						flags += fmt.Sprintf(" level %d", rec.Level)
					}
					row.Str(dash(flags))
					switch {
					case rec.Default != nil && strings.HasSuffix(rec.Kind, "charp") || rec.Kind == "string" && rec.Default != nil:
						row.TextStr(fmt.Sprintf("%q", *rec.Default))
					case rec.Default != nil:
						row.TextStr(*rec.Default)
					default:
						row.Str("-")
					}
					row.TextStr(r.variableText(rec))
				}
				row.TextStr(p.Description)
				if !row.Next() {
					return
				}
			}
		},
	}}
}

func (r *Params) variableText(rec *params.Record) string {
	if rec.Kind == "" && rec.Ops != "" {
		return "set by " + rec.Ops
	}
	if !rec.HasVar {
		return "-"
	}
	sec, name := r.variable(rec)
	if sec == "" {
		return dash(name)
	}
	text := fmt.Sprintf("%s+%#x", sec, rec.Var.Off)
	if name != "" {
		text = name + " " + text
	}
	return text
}
