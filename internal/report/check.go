package report

import (
	"fmt"
	"strings"

	"kotool/internal/diag"
	"kotool/internal/render"
)

// Verdict is what the kernel would answer, as far as it can be told.
type Verdict string

// The verdicts.
const (
	Loads     Verdict = "loads"
	Refused   Verdict = "refused"
	Undecided Verdict = "undecided"
)

// NotChecked is a question that was left out, and why.
type NotChecked struct{ What, Why string }

// Evidence is a file that says something of the target.
type Evidence struct{ Kind, Path, Text string }

// Check is the answer about one module and one target.
type Check struct {
	Name       string
	Arch       string
	Release    string
	Evidence   []Evidence
	Verdict    Verdict
	Errno      diag.Errno
	Stage      string
	Step       string
	Dmesg      []string
	Findings   []diag.Finding
	Checked    []string
	NotChecked []NotChecked
	CRCs       int // compared
	CRCsDiffer int
	Needs      []string // other modules, by symbols
	File       string
	Verbose    bool
}

// Schema implements Report.
func (*Check) Schema() string { return "kotool.check/1" }

// JSON implements Report.
func (r *Check) JSON(j *render.JSON) {
	j.KStr("name", r.Name)
	j.Key("target")
	j.Obj()
	j.KStrOrNull("release", r.Release)
	j.KStrOrNull("arch", r.Arch)
	j.Key("evidence")
	j.Arr()
	for _, e := range r.Evidence {
		j.Obj()
		j.KStr("kind", e.Kind)
		j.KStr("path", e.Path)
		j.KStr("says", e.Text)
		j.End()
	}
	j.EndArr()
	j.End()
	j.KStr("verdict", string(r.Verdict))
	j.Key("errno")
	if r.Errno == 0 {
		j.Null()
	} else {
		j.Int(int64(r.Errno))
	}
	j.KStrOrNull("errno_name", r.Errno.Name())
	j.KStrOrNull("stage", r.Stage)
	j.KStrOrNull("step", r.Step)
	j.Key("dmesg")
	strs(j, r.Dmesg)
	FindingsJSON(j, r.Findings)
	j.Key("checked")
	strs(j, r.Checked)
	j.Key("not_checked")
	j.Arr()
	for _, n := range r.NotChecked {
		j.Obj()
		j.KStr("what", n.What)
		j.KStr("why", n.Why)
		j.End()
	}
	j.EndArr()
	j.KInt("crcs_compared", int64(r.CRCs))
	j.KInt("crcs_differ", int64(r.CRCsDiffer))
	j.Key("needs")
	strs(j, r.Needs)
}

// Conclude draws the verdict from the findings, which stand in the kernel's order: the first stage that fails ends
// the load. simplify_symbols alone goes on after a bad symbol, logs each, and returns the last one's errno.
//
// Source: kernel/module/main.c: load_module, simplify_symbols.
func (r *Check) Conclude() {
	r.Verdict, r.Dmesg = Loads, []string{}
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Severity < diag.Error {
			continue
		}
		if len(f.Assumes) > 0 {
			if r.Verdict == Loads {
				r.Verdict = Undecided
			}
			continue
		}
		e := diag.Lookup(f.Code)
		if r.Verdict == Refused {
			if e.Stage != r.Stage || e.Stage != "simplify_symbols" {
				continue
			}
		}
		stage := e.Stage
		if stage == "" {
			stage = "elf_validity_check"
		}
		r.Verdict, r.Errno, r.Stage, r.Step = Refused, f.Errno, stage, e.Step
		r.Dmesg = append(r.Dmesg, f.Dmesg...)
	}
}

// kmodWords is what insmod and modprobe print for an errno.
func kmodWords(e diag.Errno) string {
	switch e {
	case diag.ENOEXEC:
		return "Invalid module format"
	case diag.ENOENT:
		return "Unknown symbol in module"
	case diag.EINVAL:
		return "Invalid parameters"
	case diag.EEXIST:
		return "File exists"
	case diag.EKEYREJECTED:
		return "Key was rejected by service"
	case diag.EPERM:
		return "Operation not permitted"
	case diag.EBUSY:
		return "Device or resource busy"
	}
	return e.Name()
}

// shown is how many findings of one code are listed without -v.
const shown = 5

// Text implements Texter.
func (r *Check) Text(out *render.Out, st *render.Style) {
	role := render.RoleGood
	switch r.Verdict {
	case Refused:
		role = render.RoleBad
	case Undecided:
		role = render.RoleWarn
	}
	safe := func(s string) string { return render.Text(s) }
	out.B = render.AppendText(out.B, r.File)
	out.Str(": ")
	out.B = st.Palette.Paint(out.B, role, string(r.Verdict))
	if r.Verdict == Refused && r.Errno != 0 {
		out.Str(fmt.Sprintf(": %s (%d), insmod says %q, in %s", r.Errno.Name(), int(r.Errno), kmodWords(r.Errno), r.Stage))
	}
	out.Str("\n")
	for _, l := range r.Dmesg {
		out.Str("  dmesg: ")
		out.B = st.Palette.Paint(out.B, render.RoleDim, safe(l))
		out.Str("\n")
	}
	count := map[diag.Code]int{}
	for i := range r.Findings {
		count[r.Findings[i].Code]++
	}
	listed := map[diag.Code]int{}
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Severity == diag.Note && !r.Verbose {
			continue
		}
		if listed[f.Code]++; listed[f.Code] > shown && !r.Verbose {
			if listed[f.Code] == shown+1 {
				out.Str(fmt.Sprintf("  … and %d more of %s (-v lists them)\n", count[f.Code]-shown, f.Code))
			}
			continue
		}
		role := render.RoleDim
		switch f.Severity {
		case diag.Error:
			role = render.RoleBad
		case diag.Warning:
			role = render.RoleWarn
		}
		out.Str("  ")
		out.B = st.Palette.Paint(out.B, role, f.Severity.String())
		out.Str(" " + string(f.Code) + ": " + safe(f.Message))
		if f.Want != "" || f.Got != "" {
			out.Str(" (want " + safe(dash(f.Want)) + ", got " + safe(dash(f.Got)) + ")")
		}
		out.Str("\n")
		for _, a := range f.Assumes {
			out.Str("    assumes: " + safe(a) + "\n")
		}
		if f.Hint != "" && (listed[f.Code] == 1 || r.Verbose) {
			out.Str("    hint: " + safe(f.Hint) + "\n")
		}
	}
	if r.CRCsDiffer > 0 {
		out.Str(fmt.Sprintf("  %d of %d CRCs differ\n", r.CRCsDiffer, r.CRCs))
	}
	if len(r.Needs) > 0 {
		out.Str("  needs: " + safe(strings.Join(r.Needs, ", ")) + "\n")
	}
	out.Str("  checked: " + strings.Join(r.Checked, ", ") + "\n")
	if len(r.NotChecked) > 0 {
		list := make([]string, len(r.NotChecked))
		for i, n := range r.NotChecked {
			list[i] = n.What + " (" + n.Why + ")"
		}
		out.Str("  not checked: " + strings.Join(list, ", ") + "\n")
	}
	if r.Verbose {
		for _, e := range r.Evidence {
			out.Str("  evidence: " + e.Kind + " " + safe(e.Path) + ": " + e.Text + "\n")
		}
	}
}

// Tables implements Report: a row a finding, one alone where there is none.
func (r *Check) Tables() []*render.Table {
	return []*render.Table{{
		Columns: []render.Column{{Name: "verdict"}, {Name: "errno"}, {Name: "severity"}, {Name: "code"}, {Name: "symbol"}, {Name: "want"}, {Name: "got"}, {Name: "message"}},
		Rows: func(row *render.Row) {
			put := func(f *diag.Finding) bool {
				row.Str(string(r.Verdict))
				row.Str(r.Errno.Name())
				row.Str(f.Severity.String())
				row.Str(string(f.Code))
				row.TextStr(f.Where.Symbol)
				row.TextStr(f.Want)
				row.TextStr(f.Got)
				row.TextStr(f.Message)
				return row.Next()
			}
			if len(r.Findings) == 0 {
				put(&diag.Finding{})
			}
			for i := range r.Findings {
				if !put(&r.Findings[i]) {
					return
				}
			}
		},
	}}
}
