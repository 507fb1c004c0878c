package report

import (
	"cmp"
	"debug/elf"
	"fmt"
	"slices"
	"strings"

	"kotool/internal/arch"
	"kotool/internal/diag"
	"kotool/internal/kver"
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

// role is the verdict's colour.
func (v Verdict) role() render.Role {
	switch v {
	case Refused:
		return render.RoleBad
	case Undecided:
		return render.RoleWarn
	}
	return render.RoleGood
}

// NotChecked is a question that was left out, and why.
type NotChecked struct{ What, Why string }

// Evidence is a file that says something of the target.
type Evidence struct{ Kind, Path, Text string }

// Fact is something known of the target, and where from.
type Fact struct{ What, Value, From string }

// CheckTarget is the kernel that modules are checked against.
type CheckTarget struct {
	Name      string // as it was given
	Release   string
	Arch      string
	Kernel    kver.Version
	Evidence  []Evidence
	Facts     []Fact
	Conflicts []string
}

// Check is the answer about one module and one target.
type Check struct {
	Name       string
	Arch       string // of the module
	Target     *CheckTarget
	Verdict    Verdict
	Errno      diag.Errno
	Stage      string
	Step       string
	Dmesg      []string // all that the kernel logs, up to where it refuses
	Findings   []diag.Finding
	Checked    []string
	NotChecked []NotChecked
	CRCs       int // compared
	CRCsDiffer int
	Unknown    int      // symbols that the evidence tells nothing of
	Needs      []string // other modules, by symbols
	NeedCount  map[string]int
	Order      []string // what has to be loaded before, the first first
	Notes      []string
	Ignored    []string // reasons of an ignore file for findings that were taken out
	File       string
	Verbose    bool
	// Details fills in Checked, NotChecked, Order and what is left of Notes; nil: they are there. Of most modules of a tree nobody asks for them.
	Details func()
}

// machine is the kernel's, which gives the error numbers; where that is not known, the module's.
func (r *Check) machine() elf.Machine {
	name := r.Arch
	if r.Target != nil && r.Target.Arch != "" {
		name = r.Target.Arch
	}
	if a := arch.Named(name); a != nil {
		return a.Machine
	}
	return elf.EM_NONE
}

func (r *Check) fill() {
	if f := r.Details; f != nil {
		r.Details = nil
		f()
	}
}

// Excused reports whether nothing is left that counts against the module once the known findings are taken out.
func (r *Check) Excused() bool {
	if len(r.Ignored) == 0 {
		return false
	}
	return diag.Worst(r.Findings) < diag.Error
}

// Version is the version of the target, zero where none is known.
func (r *Check) Version() kver.Version {
	if r.Target == nil {
		return kver.Version{}
	}
	return r.Target.Kernel
}

// Need counts a symbol that another module provides.
func (r *Check) Need(module string) {
	if r.NeedCount == nil {
		r.NeedCount = map[string]int{}
	}
	if r.NeedCount[module]++; r.NeedCount[module] == 1 {
		r.Needs = append(r.Needs, module)
	}
}

// Schema implements Report.
func (*Check) Schema() string { return "kotool.check/1" }

// JSON implements Report.
func (r *Check) JSON(j *render.JSON) {
	r.fill()
	j.KStr("name", r.Name)
	j.Key("target")
	r.Target.json(j, r.Arch)
	j.KStr("verdict", string(r.Verdict))
	j.Key("errno")
	if r.Errno == 0 {
		j.Null()
	} else {
		j.Int(int64(r.Errno.Number(r.machine())))
	}
	j.KStrOrNull("errno_name", r.Errno.Name())
	j.KStrOrNull("stage", r.Stage)
	j.KStrOrNull("step", r.Step)
	j.Key("dmesg")
	strs(j, r.Dmesg)
	FindingsJSON(j, r.Findings, r.machine())
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
	j.Key("providers")
	j.Arr()
	for _, n := range r.Needs {
		j.Obj()
		j.KStr("module", n)
		j.KInt("symbols", int64(r.NeedCount[n]))
		j.End()
	}
	j.EndArr()
	j.Key("load_before")
	strs(j, r.Order)
	j.Key("notes")
	strs(j, r.Notes)
	if len(r.Ignored) > 0 {
		j.Key("ignored")
		strs(j, r.Ignored)
	}
}

func (t *CheckTarget) json(j *render.JSON, arch string) {
	if t == nil {
		t = &CheckTarget{}
	}
	if t.Arch != "" {
		arch = t.Arch
	}
	j.Obj()
	optional(j, "name", t.Name)
	j.KStrOrNull("release", t.Release)
	j.KStrOrNull("arch", arch)
	j.Key("evidence")
	j.Arr()
	for _, e := range t.Evidence {
		j.Obj()
		j.KStr("kind", e.Kind)
		j.KStr("path", e.Path)
		j.KStr("says", e.Text)
		j.End()
	}
	j.EndArr()
	j.Key("facts")
	j.Arr()
	for _, f := range t.Facts {
		j.Obj()
		j.KStr("what", f.What)
		j.KStr("value", f.Value)
		j.KStr("from", f.From)
		j.End()
	}
	j.EndArr()
	if len(t.Conflicts) > 0 {
		j.Key("conflicts")
		strs(j, t.Conflicts)
	}
	j.End()
}

// Says is what insmod and modprobe print for an errno.
func Says(e diag.Errno) (insmod, modprobe string) {
	if t := diag.TextOf(e); t != nil {
		return t.Insmod, t.Modprobe
	}
	return e.Name(), e.Name()
}

// shown is how many findings of one code are listed without -v.
const shown = 5

// shownLines is how many lines of the log are.
const shownLines = 6

func symbols(n int) string {
	if n == 1 {
		return "1 symbol"
	}
	return fmt.Sprintf("%d symbols", n)
}

// failing reports whether a line belongs to an error, and not to a taint that the kernel notes on its way.
func (r *Check) failing(line string) bool {
	for i := range r.Findings {
		if f := &r.Findings[i]; f.Severity == diag.Error && slices.Contains(f.Dmesg, line) {
			return true
		}
	}
	return false
}

// Headline is the verdict in one line, without the file.
func (r *Check) Headline() string {
	s := string(r.Verdict)
	if r.Verdict == Refused && r.Errno != 0 {
		insmod, modprobe := Says(r.Errno)
		s += fmt.Sprintf(": %s (%d), insmod says %q", r.Errno.Name(), r.Errno.Number(r.machine()), insmod)
		if modprobe != insmod {
			s += fmt.Sprintf(", modprobe %q", modprobe)
		}
		s += ", in " + r.Stage
	}
	return s
}

// Warned reports whether there is a warning: something that does not keep the module from loading, and that somebody should know.
func (r *Check) Warned() bool {
	return slices.ContainsFunc(r.Findings, func(f diag.Finding) bool { return f.Severity == diag.Warning })
}

// TextFor is Text with the kernel's name in front.
func (r *Check) TextFor(out *render.Out, st *render.Style) {
	out.Str("on ")
	out.B = render.AppendText(out.B, targetName(r))
	out.Str(": ")
	r.Text(out, st)
}

// Text implements Texter.
func (r *Check) Text(out *render.Out, st *render.Style) {
	r.fill()
	role := r.Verdict.role()
	safe := render.Text[string]
	out.B = render.AppendText(out.B, r.File)
	out.Str(": ")
	head := r.Headline()
	out.B = st.Palette.Paint(out.B, role, string(r.Verdict))
	out.Str(head[len(r.Verdict):])
	out.Str("\n")
	lines := 0
	for _, l := range r.Dmesg {
		if !r.Verbose {
			if !r.failing(l) {
				continue
			}
			if lines++; lines > shownLines {
				continue
			}
		}
		out.Str("  dmesg: ")
		out.B = st.Palette.Paint(out.B, render.RoleDim, safe(l))
		out.Str("\n")
	}
	if lines > shownLines {
		out.Str(fmt.Sprintf("  … and %d more lines (-v lists them)\n", lines-shownLines))
	}
	r.findingsText(out, st)
	for _, n := range r.Notes {
		out.Str("  " + safe(n) + "\n")
	}
	for _, n := range r.Ignored {
		out.Str("  ignored: " + safe(n) + "\n")
	}
	if len(r.Needs) > 0 {
		list := make([]string, len(r.Needs))
		for i, n := range r.Needs {
			list[i] = safe(n)
			if k := r.NeedCount[n]; k > 0 {
				list[i] += " (" + symbols(k) + ")"
			}
		}
		out.Str("  needs: " + strings.Join(list, ", ") + "\n")
		if r.Verdict != Refused && len(r.Order) > 0 {
			out.Str("  order: insmod " + safe(strings.Join(append(slices.Clone(r.Order), r.Name), ".ko; insmod ")) + ".ko; or modprobe " + safe(r.Name) + "\n")
		}
	}
	r.checkedText(out)
	r.evidenceText(out)
}

// evidenceText says what the kernel is known by, with -v.
func (r *Check) evidenceText(out *render.Out) {
	safe := render.Text[string]
	if t := r.Target; t != nil && r.Verbose {
		for _, e := range t.Evidence {
			out.Str("  evidence: " + e.Kind + " " + safe(e.Path) + ": " + safe(e.Text) + "\n")
		}
		for _, f := range t.Facts {
			out.Str("  fact: " + f.What + " = " + safe(f.Value) + ", from " + safe(f.From) + "\n")
		}
		for _, c := range t.Conflicts {
			out.Str("  conflict: " + safe(c) + "\n")
		}
	}
}

// checkedText says what was looked at, and what was not and why.
func (r *Check) checkedText(out *render.Out) {
	out.Str("  checked: " + cmp.Or(strings.Join(r.Checked, ", "), "nothing") + "\n")
	if len(r.NotChecked) > 0 {
		list := make([]string, len(r.NotChecked))
		for i, n := range r.NotChecked {
			list[i] = n.What + " (" + n.Why + ")"
		}
		out.Str("  not checked: " + strings.Join(list, ", ") + "\n")
	}
}

// edges quotes what has blanks at its ends, where they are not seen.
func edges(s string) string {
	if strings.TrimSpace(s) != s {
		return "'" + s + "'"
	}
	return s
}

// findingsText lists the findings, a few of each code.
func (r *Check) findingsText(out *render.Out, st *render.Style) {
	safe := render.Text[string]
	count := map[diag.Code]int{}
	for i := range r.Findings {
		count[r.Findings[i].Code]++
	}
	listed := map[diag.Code]int{}
	hinted := map[string]bool{}
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
		switch want, got := edges(safe(f.Want)), edges(safe(f.Got)); {
		case f.Want != "" && f.Got != "":
			out.Str(" (want " + want + ", got " + got + ")")
		case f.Want != "":
			out.Str(" (want " + want + ")")
		}
		out.Str("\n")
		for _, a := range f.Assumes {
			out.Str("    assumes: " + safe(a) + "\n")
		}
		// A hint that says the same of another symbol is said once.
		key := string(f.Code)
		if f.Certain != nil {
			key += f.Hint
		}
		if f.Hint != "" && (!hinted[key] || r.Verbose) {
			hinted[key] = true
			mark := ""
			if f.Certain != nil && *f.Certain {
				mark = " (certain)"
			} else if f.Certain != nil {
				mark = " (likely)"
			}
			out.Str("    hint: " + safe(f.Hint) + mark + "\n")
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
