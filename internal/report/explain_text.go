package report

import (
	"fmt"
	"strconv"
	"strings"

	"kotool/internal/diag"
	"kotool/internal/render"
)

// printer writes the text for people.
type printer struct {
	out *render.Out
	st  *render.Style
	all bool
}

func (p *printer) paint(role render.Role, s string) string {
	return string(p.st.Palette.Paint(nil, role, s))
}

// field writes one named paragraph.
func (p *printer) field(name, text string) {
	if text != "" {
		prose(p.out, p.st, "    "+p.paint(render.RoleKey, name), 14, text)
	}
}

// raw writes one named line that is not wrapped: the kernel's words.
func (p *printer) raw(name, text string) {
	first := "    " + p.paint(render.RoleKey, name)
	p.out.Str(first)
	for n := visible(first); n < 14; n++ {
		p.out.Str(" ")
	}
	p.out.B = append(render.AppendText(p.out.B, text), '\n')
}

// Text writes the answer for people.
func (r *Explain) Text(out *render.Out, st *render.Style) {
	p := &printer{out, st, r.All}
	class, first := "", true
	for _, x := range r.pieces() {
		if !first && (r.Whole && x.class != class || !r.Whole) {
			out.Str("\n")
		}
		if r.Whole && x.class != class {
			class = x.class
			p.heading(class)
		}
		first = false
		switch {
		case x.unknown != "":
			out.B = append(render.AppendText(out.B, x.unknown), '\n')
			out.Str("    not a line of the module loader, of any kernel that kotool knows\n")
		case x.tool != nil:
			p.tool(r, &x)
		case x.group != nil:
			p.group(r, &x)
		default:
			p.entry(x.entry)
		}
		out.Check()
	}
	if r.Whole {
		r.summary(p, first)
	}
	out.Check()
}

func (p *printer) heading(class string) {
	text, role := class+":", render.RoleTitle
	switch class {
	case ClassHarmless:
		text, role = "harmless:", render.RoleGood
	case ClassWarning:
		text, role = "warnings, the kernel went on:", render.RoleWarn
	case ClassSaid:
		text = "what the program said:"
	case ClassFailed:
		text, role = "this is why it failed:", render.RoleBad
	}
	p.out.Str(p.paint(role, text) + "\n")
}

func (r *Explain) summary(p *printer, nothing bool) {
	failed := false
	for _, g := range r.Log.Groups {
		failed = failed || classOf(g) == ClassFailed
	}
	if !nothing {
		p.out.Str("\n")
	}
	if !failed && !nothing {
		prose(p.out, p.st, "", 0, "No line says why a module failed. What it was is not in this log, or the module's own init function failed, of which the loader says nothing.")
	}
	text := count(r.Log.Lines, "line")
	if r.Log.Left == r.Log.Lines {
		text += ", none of them from the module loader"
	} else if n := r.Log.Left; n > 0 {
		text += ", " + strconv.Itoa(n) + " of them not from the module loader and left out"
	}
	if n := r.Log.Dropped; n > 0 {
		text += ", " + strconv.Itoa(n) + " of kinds and modules beyond the first that are kept"
	}
	p.out.Str(text + "\n")
}

// group writes what one kind of line means.
func (p *printer) group(r *Explain, x *explained) {
	g, e := x.group, x.entry
	p.line(r, g)
	if x.class == ClassHarmless || x.class == ClassWarning && !g.Passed() && r.Whole {
		text := string(e.Code) + ": " + e.Title
		if g.Count > 1 {
			text += ", " + strconv.Itoa(g.Count) + " times"
		}
		prose(p.out, p.st, "    ", 4, text)
		if !r.Whole {
			p.field("why", e.Why)
			p.field("do", g.Hint())
		} else if x.class == ClassWarning {
			p.field("do", g.Hint())
		}
		p.evidence(x)
		return
	}
	p.out.Str("    " + p.paint(render.RoleName, string(e.Code)) + ": ")
	prose(p.out, p.st, "", 0, e.Title)
	if m := g.Message(); m != e.Title && len(g.Symbols) < 2 {
		p.field("means", m)
	}
	if n := len(g.Symbols) + g.More; n > 1 {
		names := g.Symbols
		text := count(n, "symbol") + ": "
		if !p.all {
			text += some(names, 2*few)
			if n > 2*few {
				text += " (-v: all)"
			}
		} else {
			text += strings.Join(names, ", ")
			if g.More > 0 {
				text += " and " + strconv.Itoa(g.More) + " more"
			}
		}
		p.field("names", text)
	}
	if len(g.Symbols) < 2 && g.Count > 1 {
		p.field("seen", strconv.Itoa(g.Count)+" times")
	}
	switch {
	case g.WentOn && g.Entry.Code == diag.BTF:
		p.field("note", "The line after it says that the kernel goes on without the BTF.")
	case g.WentOn:
		p.field("note", "Other lines of the module follow: the kernel let it pass, or the module was loaded again.")
	case g.Passed():
		p.field("note", "No line follows that says that the symbol is unknown: the kernel let it pass, or the log is cut.")
	}
	if !g.Passed() {
		p.errno(g.Errno)
	}
	p.check(e)
	for _, n := range x.relocs {
		p.field("type", relocText(n))
	}
	if len(g.Also) > 0 {
		var others []string
		for _, o := range g.Also {
			others = append(others, string(o.Code)+" ("+o.Title+")")
		}
		text := "the kernel writes the same for " + strings.Join(others, ", ")
		if g.Follows {
			text += "; the line before it tells which"
		}
		p.field("or", text)
	}
	p.field("why", e.Why)
	p.field("do", g.Hint())
	p.evidence(x)
}

// line writes the kernel's line, in a whole log with its number.
func (p *printer) line(r *Explain, g *diag.Group) {
	if r.Whole {
		n := "line " + strconv.Itoa(g.First)
		if g.Last > g.First {
			n = fmt.Sprintf("lines %d to %d", g.First, g.Last)
		}
		p.out.Str("  " + p.paint(render.RoleDim, n+":") + " ")
	}
	p.out.B = append(render.AppendText(p.out.B, g.Line), '\n')
}

func (p *printer) evidence(x *explained) {
	for i, s := range x.evidence {
		name := ""
		if i == 0 {
			name = "evidence"
		}
		prose(p.out, p.st, "    "+p.paint(render.RoleKey, name), 14, s)
	}
}

// errno says how the programs word an error number.
func (p *printer) errno(e diag.Errno) {
	if e == 0 {
		return
	}
	text := fmt.Sprintf("%s (%d)", e.Name(), int(e))
	if t := diag.TextOf(e); t != nil {
		text += ": insmod says \"" + t.Insmod + "\", modprobe "
		if t.Insmod == t.Modprobe {
			text += "the same"
		} else {
			text += "\"" + t.Modprobe + "\""
		}
	}
	p.field("errno", text)
}

// check says where the kernel asks.
func (p *printer) check(e *diag.Entry) {
	text := e.Source
	if e.Stage != "" && !strings.HasSuffix(e.Source, e.Stage) {
		text = e.Stage + ", " + text
	}
	if e.Step != "" {
		text += ", step " + e.Step
	}
	p.field("check", text)
}

func relocText(n RelocGuess) string {
	text := fmt.Sprintf("%d is %s on %s", n.Type, n.Name, n.Arch)
	switch {
	case !n.Howto.Loader:
		text += ", which no kernel's loader takes"
	case n.Howto.Since.IsZero():
		text += ", which loaders of 5.10 and later take"
	default:
		text += ", which loaders of " + n.Howto.Since.String() + " and later take"
	}
	return text
}

// entry writes one row of the catalogue.
func (p *printer) entry(e *diag.Entry) {
	p.out.Str(p.paint(render.RoleName, string(e.Code)) + ": ")
	prose(p.out, p.st, "", 0, e.Title)
	switch e.Severity {
	case diag.Error:
		p.field("severity", "error: the kernel refuses the module")
	case diag.Warning:
		p.field("severity", "warning: the kernel goes on")
	default:
		p.field("severity", "note")
	}
	p.errno(e.Errno)
	p.check(e)
	for i, s := range e.Sayings() {
		name := ""
		if i == 0 {
			name = "log"
		}
		where := s.In.String()
		if where == "all" {
			where = "all kernels"
		}
		if len(s.Arch) > 0 {
			where += ", " + strings.Join(s.Arch, ", ")
		}
		for k, line := range strings.Split(s.Format, "\n") {
			if k == 0 {
				p.raw(name, where+": "+line)
			} else {
				p.raw("", "then: "+line)
			}
		}
	}
	if e.Severity == diag.Error && len(e.Sayings()) == 0 {
		p.field("log", "none: the kernel says nothing")
	}
	p.field("why", e.Why)
	p.field("do", e.Plain(e.Hint))
}

// tool writes what an error number, or a program's line, means.
func (p *printer) tool(r *Explain, x *explained) {
	t := x.tool
	if x.group != nil {
		p.line(r, x.group)
	}
	if t.Text == nil {
		p.field("why", t.Why)
		return
	}
	e := t.Text.Errno
	if x.group == nil {
		p.out.Str(p.paint(render.RoleName, e.Name()) + "\n")
	}
	p.errno(e)
	if reasons := r.reasons(t); len(reasons) > 0 {
		p.field("see", "the reason is in this log: "+strings.Join(reasons, ", "))
		return
	}
	p.field("why", t.Text.Why)
	shown := 0
	for _, c := range t.Text.Usual {
		if o := diag.Lookup(c); o != nil {
			name := ""
			if shown == 0 {
				name = "checks"
			}
			p.raw(name, fmt.Sprintf("%-20s %s", o.Code, o.Title))
			shown++
		}
	}
	if n := len(diag.Returning(e)) - shown; n > 0 {
		p.field("", strconv.Itoa(n)+" more with this number: see kotool rules")
	}
	p.field("do", "look into the kernel's log: dmesg | kotool explain -")
}

// reasons are the groups of the log that a program's error number comes from.
func (r *Explain) reasons(t *diag.Tool) []string {
	if r.Log == nil {
		return nil
	}
	var list []string
	for _, g := range r.Log.Groups {
		if classOf(g) == ClassFailed && g.Errno == t.Text.Errno && (g.Module == "" || t.Module == "" || g.Module == t.Module) {
			list = append(list, string(g.Entry.Code))
		}
	}
	return list
}
