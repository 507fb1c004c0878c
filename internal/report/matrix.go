package report

import (
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"kotool/internal/compat"
	"kotool/internal/diag"
	"kotool/internal/render"
)

// Matrix is modules against kernels.
type Matrix struct {
	targets []string
	rows    []matrixRow
}

type matrixRow struct {
	file  string
	cells []string
	roles []render.Role
}

// NewMatrix begins with the targets of one module's answers.
func NewMatrix(list []*Check) *Matrix {
	m := &Matrix{}
	// The release, or the last part of the path; all of what was given where that says the same of two.
	count := map[string]int{}
	for _, r := range list {
		count[shortName(r.Target)]++
	}
	for _, r := range list {
		name := shortName(r.Target)
		if count[name] > 1 {
			name = r.Target.Name
		}
		m.targets = append(m.targets, name)
	}
	return m
}

func shortName(t *CheckTarget) string {
	if t.Release != "" {
		return t.Release
	}
	return path.Base(filepath.ToSlash(t.Name))
}

// Add adds a module's row.
func (m *Matrix) Add(list []*Check) {
	row := matrixRow{file: list[0].File}
	for _, r := range list {
		row.cells = append(row.cells, r.Cell())
		row.roles = append(row.roles, r.Verdict.role())
	}
	m.rows = append(m.rows, row)
}

// Cell is the answer in a word or two: "loads", "CRC 4", "vermagic".
func (r *Check) Cell() string {
	if r.Verdict != Refused {
		return string(r.Verdict)
	}
	count := map[diag.Code]int{}
	var first diag.Code
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Severity != diag.Error || len(f.Assumes) > 0 {
			continue
		}
		count[f.Code]++
		if e := diag.Lookup(f.Code); first == "" && f.Errno == r.Errno && (e.Stage == "" || compat.SameStage(e.Stage, r.Stage)) {
			first = f.Code
		}
	}
	word := strings.ToLower(strings.TrimPrefix(string(first), "KT-"))
	switch first {
	case diag.SymCRC:
		word = "CRC"
	case diag.SymMissing:
		word = "missing"
	case "":
		word = r.Errno.Name()
	}
	if n := count[first]; n > 1 || first == diag.SymCRC || first == diag.SymMissing {
		word += fmt.Sprintf(" %d", n)
	}
	return word
}

// Tables are the matrix for people.
func (m *Matrix) Tables() []*render.Table {
	cols := []render.Column{{Name: "Module"}}
	for _, t := range m.targets {
		cols = append(cols, render.Column{Name: render.Text(t)})
	}
	return []*render.Table{{
		N: len(m.rows), Columns: cols,
		Rows: func(row *render.Row) {
			for i := range m.rows {
				row.TextStr(m.rows[i].file)
				for k, c := range m.rows[i].cells {
					row.Mark(m.rows[i].roles[k]).Str(c)
				}
				if !row.Next() {
					return
				}
			}
		},
	}}
}
