package report

import (
	"strings"

	"kotool/internal/diag"
	"kotool/internal/render"
)

// Rules is the catalogue of findings.
type Rules struct {
	// Formats adds the messages and the kernel's texts to the table; the objects have them always.
	Formats bool
}

const rulesSchema = "kotool.rules/1"

// Objects hands over what writes each row's object.
func (r *Rules) Objects(each func(write func(j *render.JSON))) {
	for i := range diag.Catalogue {
		e := &diag.Catalogue[i]
		each(func(j *render.JSON) {
			j.Obj()
			j.KStr("schema", rulesSchema)
			j.KStr("code", string(e.Code))
			j.KStr("severity", e.Severity.String())
			if e.Errno != 0 {
				j.KInt("errno", int64(e.Errno))
				j.KStr("errno_name", e.Errno.Name())
			}
			optional(j, "stage", e.Stage)
			optional(j, "step", e.Step)
			optional(j, "source", e.Source)
			optional(j, "kernels", e.Kernels())
			j.KStr("title", e.Title)
			j.KStr("message", e.Plain(e.Message))
			optional(j, "hint", e.Plain(e.Hint))
			sayingsJSON(j, e)
			j.End()
		})
	}
}

// Table is a row a code; with the formats, a row a text of the kernel.
func (r *Rules) Table() *render.Table {
	t := &render.Table{
		Columns: []render.Column{{Name: "Code", Role: render.RoleName}, {Name: "Severity"}, {Name: "Errno"}, {Name: "Stage"}, {Name: "Step"}, {Name: "Kernels"}},
		Rows: func(row *render.Row) {
			for i := range diag.Catalogue {
				if !r.rows(row, &diag.Catalogue[i]) {
					return
				}
			}
		},
	}
	if r.Formats {
		t.Columns = append(t.Columns, render.Column{Name: "Message"}, render.Column{Name: "Log"})
	} else {
		t.Columns = append(t.Columns, render.Column{Name: "Title"})
	}
	return t
}

func (r *Rules) rows(row *render.Row, e *diag.Entry) bool {
	cells := func(kernels string) {
		row.Str(string(e.Code))
		switch e.Severity {
		case diag.Error:
			row.Mark(render.RoleBad)
		case diag.Warning:
			row.Mark(render.RoleWarn)
		}
		row.Str(e.Severity.String())
		row.Str(dash(e.Errno.Name()))
		row.Str(dash(e.Stage))
		row.Str(dash(e.Step))
		row.Str(dash(kernels))
	}
	if !r.Formats {
		cells(e.Kernels())
		row.Str(e.Title)
		return row.Next()
	}
	message := e.Plain(e.Message)
	list := e.Sayings()
	if len(list) == 0 {
		cells("")
		row.TextStr(message)
		row.Str("-")
		return row.Next()
	}
	for _, s := range list {
		for line := range strings.SplitSeq(s.Format, "\n") {
			cells(s.In.String())
			row.TextStr(message)
			row.TextStr(line)
			if !row.Next() {
				return false
			}
		}
	}
	return true
}
