// Package report has one report a command: what JSON says and what the tables show, made of the same
// fields. Names of JSON members are relied on by scripts; adding is compatible, all else raises
// the number in the schema.
package report

import (
	"debug/elf"

	"kotool/internal/diag"
	"kotool/internal/render"
)

// Report is what a command has to say about one module.
type Report interface {
	// Schema names the shape: "kotool.sections/1".
	Schema() string
	// JSON writes the members of the object but "schema", "file" and "findings".
	JSON(j *render.JSON)
	// Tables are for people; -o tsv writes them too, one after the other, unless the report is a TSVer.
	Tables() []*render.Table
}

// Texter is a report with a text form of its own in place of tables.
type Texter interface {
	Text(out *render.Out, st *render.Style)
}

// TSVer is a report whose tsv differs from its tables.
type TSVer interface{ TSV() []*render.Table }

// TSV returns the tables to be written as tab-separated values.
func TSV(r Report) []*render.Table {
	if x, ok := r.(TSVer); ok {
		return x.TSV()
	}
	return r.Tables()
}

// FindingsJSON writes the member "findings", with the machine's error numbers.
func FindingsJSON(j *render.JSON, list []diag.Finding, m elf.Machine) {
	j.Key("findings")
	j.Arr()
	for i := range list {
		findingJSON(j, &list[i], m)
	}
	j.EndArr()
}

func findingJSON(j *render.JSON, f *diag.Finding, m elf.Machine) {
	j.Obj()
	j.KStr("code", string(f.Code))
	j.KStr("severity", f.Severity.String())
	if f.Errno != 0 {
		j.KInt("errno", int64(f.Errno.Number(m)))
		j.KStr("errno_name", f.Errno.Name())
	}
	j.KStr("message", f.Message)
	if len(f.Dmesg) > 0 {
		j.Key("dmesg")
		strs(j, f.Dmesg)
	}
	optional(j, "want", f.Want)
	optional(j, "got", f.Got)
	j.Key("where")
	j.Obj()
	w := &f.Where
	optional(j, "file", w.File)
	optional(j, "section", w.Section)
	if w.Index != nil {
		j.KInt("section_index", int64(*w.Index))
	}
	if w.Offset != nil {
		j.KInt("offset", *w.Offset)
	}
	if w.Entry != nil {
		j.KInt("entry", int64(*w.Entry))
	}
	optional(j, "symbol", w.Symbol)
	j.End()
	optional(j, "hint", f.Hint)
	if f.Hint != "" && f.Certain != nil {
		if *f.Certain {
			j.KStr("hint_is", "certain")
		} else {
			j.KStr("hint_is", "likely")
		}
	}
	optional(j, "source", f.Source)
	optional(j, "step", f.Step)
	if len(f.Assumes) > 0 {
		j.Key("assumes")
		strs(j, f.Assumes)
	}
	j.End()
}

func optional(j *render.JSON, k, v string) {
	if v != "" {
		j.KStr(k, v)
	}
}

func strs(j *render.JSON, list []string) {
	j.Arr()
	for _, s := range list {
		j.Str(s)
	}
	j.EndArr()
}

// pair is one line of a key and value list.
type pair struct {
	key, value string
	role       render.Role
}

// pairs makes a key and value list of two columns.
func pairs(title string, list []pair) *render.Table {
	return &render.Table{
		Title: title, NoHeader: true, N: len(list),
		Columns: []render.Column{{Name: "field", Role: render.RoleKey}, {Name: "value"}},
		Rows: func(r *render.Row) {
			for _, p := range list {
				r.Str(p.key)
				r.Mark(p.role).TextStr(p.value)
				if !r.Next() {
					return
				}
			}
		},
	}
}
