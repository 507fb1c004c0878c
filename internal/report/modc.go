package report

import (
	"kotool/internal/module"
	"kotool/internal/render"
)

// ModC is the C file that modpost wrote for a module.
type ModC struct{ m *module.Module }

// NewModC reports a module's .mod.c.
func NewModC(m *module.Module) *ModC { return &ModC{m} }

// Schema implements Report.
func (*ModC) Schema() string { return "kotool.modc/1" }

// JSON implements Report.
func (r *ModC) JSON(j *render.JSON) { j.KStr("name", r.m.Name()); j.KStr("mod_c", string(r.source())) }

// Text implements Texter.
func (r *ModC) Text(out *render.Out, _ *render.Style) { out.B = append(out.B, r.source()...) }

// Tables implements Report.
func (r *ModC) Tables() []*render.Table {
	return []*render.Table{{Columns: []render.Column{{Name: "mod_c"}}, Rows: func(row *render.Row) {
		row.Text(r.source())
		row.Next()
	}}}
}

func (r *ModC) source() []byte { return nil }
