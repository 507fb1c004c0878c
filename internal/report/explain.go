package report

import (
	"strings"

	"kotool/internal/diag"
	"kotool/internal/render"
)

// The classes of what a log says, in the order in which they are shown.
const (
	ClassHarmless = "harmless"
	ClassWarning  = "warning"
	ClassSaid     = "program" // what insmod or modprobe said
	ClassFailed   = "failed"
)

// Explain is what codes, error numbers and lines of a log mean.
type Explain struct {
	Codes  []*diag.Entry
	Errnos []*diag.Tool // asked by name or by a program's words
	Log    *diag.Log    // nil without lines
	Whole  bool         // the log is a whole one: what nobody knows is counted; else each line was asked for
	All    bool         // all names of a group
	Beside *Beside      // a module and a target; may be nil
}

// explained is one piece of the answer.
type explained struct {
	class    string // "" for a code
	entry    *diag.Entry
	group    *diag.Group
	tool     *diag.Tool
	unknown  string
	evidence []string
	relocs   []RelocGuess
}

// classOf says how much a group matters.
func classOf(g *diag.Group) string {
	switch {
	case g.Tool != nil:
		return ClassSaid
	case g.Severity == diag.Note:
		return ClassHarmless
	case g.Severity == diag.Warning, g.Passed():
		return ClassWarning
	}
	return ClassFailed
}

// pieces are the answer in the order in which it is shown.
func (r *Explain) pieces() []explained {
	var list []explained
	for _, e := range r.Codes {
		list = append(list, explained{entry: e})
	}
	for _, t := range r.Errnos {
		list = append(list, explained{tool: t})
	}
	if r.Log == nil {
		return list
	}
	for _, class := range []string{ClassHarmless, ClassWarning, ClassSaid, ClassFailed} {
		for _, g := range r.Log.Groups {
			if classOf(g) == class {
				list = append(list, explained{class: class, entry: g.Entry, group: g, tool: g.Tool, evidence: r.Beside.of(g), relocs: r.Beside.relocNames(g)})
			}
		}
	}
	if !r.Whole {
		for _, s := range r.Log.Unknown {
			list = append(list, explained{unknown: s})
		}
	}
	return list
}

// Known reports whether anything was explained, and whether all of what was asked was.
func (r *Explain) Known() (some, all bool) {
	some = len(r.Codes)+len(r.Errnos) > 0 || r.Log != nil && len(r.Log.Groups) > 0
	return some, some && (r.Whole || r.Log == nil || r.Log.Left == 0)
}

const explainSchema = "kotool.explain/1"

// Objects hands over what writes each object: one for each piece, and for a whole log one with its counts.
func (r *Explain) Objects(each func(write func(j *render.JSON))) {
	for _, p := range r.pieces() {
		each(func(j *render.JSON) {
			j.Obj()
			j.KStr("schema", explainSchema)
			p.json(j)
			j.End()
		})
	}
	if !r.Whole {
		return
	}
	each(func(j *render.JSON) {
		j.Obj()
		j.KStr("schema", explainSchema)
		j.Key("log")
		j.Obj()
		j.KInt("lines", int64(r.Log.Lines))
		j.KInt("left_out", int64(r.Log.Left))
		j.KInt("dropped", int64(r.Log.Dropped))
		j.End()
		j.End()
	})
}

func (p *explained) json(j *render.JSON) {
	if p.unknown != "" {
		j.KStr("line", p.unknown)
		j.KStr("error", "not a line of the module loader")
		return
	}
	optional(j, "class", p.class)
	if g := p.group; g != nil {
		j.KStr("line", g.Line)
		j.KInt("first", int64(g.First))
		j.KInt("last", int64(g.Last))
		j.KInt("count", int64(g.Count))
	}
	if p.tool != nil {
		p.toolJSON(j)
		return
	}
	e, hint, message := p.entry, "", ""
	severity, errno := e.Severity, e.Errno
	if g := p.group; g != nil {
		severity, errno, hint, message = g.Severity, g.Errno, g.Hint(), g.Message()
		if g.Passed() {
			severity, errno = diag.Warning, 0
		}
		optional(j, "module", g.Module)
		optional(j, "symbol", g.Symbol)
		if len(g.Symbols) > 1 || g.More > 0 {
			j.Key("symbols")
			strs(j, g.Symbols)
			j.KInt("symbols_more", int64(g.More))
		}
		if len(g.Args) > 0 {
			j.Key("values")
			j.Arr()
			for _, a := range g.Args {
				j.Obj()
				j.KStr("name", a.Name)
				j.KStr("value", a.Value)
				j.End()
			}
			j.EndArr()
		}
		j.KStr("kernels", g.In.String())
		if len(g.Arch) > 0 {
			j.Key("arch")
			strs(j, g.Arch)
		}
	} else {
		hint, message = e.Plain(e.Hint), e.Plain(e.Message)
	}
	j.KStr("code", string(e.Code))
	j.KStr("severity", severity.String())
	errnoJSON(j, errno)
	optional(j, "stage", e.Stage)
	optional(j, "step", e.Step)
	optional(j, "source", e.Source)
	j.KStr("title", e.Title)
	j.KStr("message", message)
	optional(j, "why", e.Why)
	optional(j, "hint", hint)
	sayingsJSON(j, e)
	if g := p.group; g != nil && len(g.Also) > 0 {
		j.Key("also")
		j.Arr()
		for _, o := range g.Also {
			j.Str(string(o.Code))
		}
		j.EndArr()
	}
	if len(p.relocs) > 0 {
		j.Key("relocations")
		j.Arr()
		for _, n := range p.relocs {
			j.Obj()
			j.KUint("type", uint64(n.Type))
			j.KStr("type_name", n.Name)
			j.KStr("arch", n.Arch)
			j.KBool("loader", n.Howto.Loader)
			if !n.Howto.Since.IsZero() {
				j.KStr("since", n.Howto.Since.String())
			}
			j.End()
		}
		j.EndArr()
	}
	p.evidenceJSON(j)
}

func errnoJSON(j *render.JSON, e diag.Errno) {
	if e == 0 {
		return
	}
	j.KInt("errno", int64(e))
	j.KStr("errno_name", e.Name())
	if t := diag.TextOf(e); t != nil {
		j.KStr("insmod", t.Insmod)
		j.KStr("modprobe", t.Modprobe)
	}
}

// sayingsJSON writes the member "dmesg": the texts of all eras.
func sayingsJSON(j *render.JSON, e *diag.Entry) {
	j.Key("dmesg")
	j.Arr()
	for _, s := range e.Sayings() {
		j.Obj()
		j.KStr("kernels", s.In.String())
		j.KStr("text", s.Format)
		if len(s.Arch) > 0 {
			j.Key("arch")
			strs(j, s.Arch)
		}
		j.End()
	}
	j.EndArr()
}

func (p *explained) toolJSON(j *render.JSON) {
	optional(j, "module", p.tool.Module)
	if p.tool.Text == nil {
		j.KStr("why", p.tool.Why)
		return
	}
	t := p.tool.Text
	errnoJSON(j, t.Errno)
	j.KStr("why", t.Why)
	j.Key("usual")
	j.Arr()
	for _, c := range t.Usual {
		j.Str(string(c))
	}
	j.EndArr()
	j.Key("codes")
	j.Arr()
	for _, e := range diag.Returning(t.Errno) {
		j.Str(string(e.Code))
	}
	j.EndArr()
}

func (p *explained) evidenceJSON(j *render.JSON) {
	if len(p.evidence) > 0 {
		j.Key("evidence")
		strs(j, p.evidence)
	}
}

// Table is the answer in columns, for -o tsv.
func (r *Explain) Table() *render.Table {
	list := r.pieces()
	return &render.Table{
		N: len(list),
		Columns: []render.Column{{Name: "Class"}, {Name: "Code"}, {Name: "Severity"}, {Name: "Errno"}, {Name: "Stage"}, {Name: "Step"}, {Name: "Module"}, {Name: "Symbols"},
			{Name: "Count"}, {Name: "Title"}, {Name: "Line"}},
		Rows: func(row *render.Row) {
			for i := range list {
				if !list[i].row(row) {
					return
				}
			}
		},
	}
}

func (p *explained) row(row *render.Row) bool {
	var code, severity, errno, stage, step, mod, title, line string
	var symbols []string
	n := 0
	class := p.class
	if e := p.entry; e != nil {
		code, severity, errno, stage, step, title = string(e.Code), e.Severity.String(), e.Errno.Name(), e.Stage, e.Step, e.Title
	}
	if g := p.group; g != nil {
		mod, symbols, n, line = g.Module, g.Symbols, g.Count, g.Line
		if g.Passed() {
			severity, errno = diag.Warning.String(), ""
		} else if g.Tool == nil {
			severity, errno = g.Severity.String(), g.Errno.Name()
		}
	}
	switch {
	case p.unknown != "":
		class, line = "unknown", p.unknown
	case p.tool != nil && p.tool.Text != nil:
		errno, mod, title = p.tool.Text.Errno.Name(), p.tool.Module, p.tool.Text.Insmod
	case p.tool != nil:
		mod = p.tool.Module
	}
	for _, s := range []string{class, code, severity, errno, stage, step, mod, strings.Join(symbols, ",")} {
		row.TextStr(dash(s))
	}
	row.Int(int64(n))
	row.TextStr(dash(title))
	row.TextStr(dash(line))
	return row.Next()
}
