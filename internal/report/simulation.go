package report

import (
	"cmp"
	"crypto/sha256"
	stdelf "debug/elf"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"kotool/internal/diag"
	"kotool/internal/reloc"
	"kotool/internal/render"
	"kotool/internal/sim"
)

// Simulation is one simulated load.
type Simulation struct {
	Check
	Res     *sim.Result
	Assumes []string
	Hashes  map[int]string // of the sections when relocation was done, by index; nil: not made
	Machine stdelf.Machine
	Traced  bool // the stages have been shown as they went
	Brief   bool // one line
}

// NewSimulation makes the report of a load.
func NewSimulation(file string, res *sim.Result, t *CheckTarget, assumes []string) *Simulation {
	r := &Simulation{Res: res, Assumes: append(slices.Clone(assumes), res.Assumes...)}
	r.File, r.Name, r.Target, r.Findings = file, res.Name, t, res.Findings
	r.Verdict, r.Errno, r.Stage, r.Step = Loads, res.Errno, res.Stage, res.Step
	r.Needs, r.NeedCount = res.Uses, res.Provided
	r.CRCs, r.CRCsDiffer = res.CRCs, res.Differ
	r.Dmesg = []string{}
	for _, l := range res.Log {
		r.Dmesg = append(r.Dmesg, l.Text)
	}
	switch {
	case res.Undefined != nil:
		r.Verdict, r.Errno = Undecided, 0
		f := diag.New(diag.Undefined, r.Version(), res.Undefined.Error())
		f.Assumes = []string{"the kernel survives it; it may crash, or load the module"}
		r.Findings = append(r.Findings, f)
	case res.Errno != 0:
		r.Verdict = Refused
		if n := len(res.Findings); n > 0 && len(res.Findings[n-1].Assumes) > 0 && res.Findings[n-1].Errno == res.Errno {
			r.Verdict = Undecided
		}
	case len(res.Assumes) > 0:
		r.Verdict = Undecided
	}
	r.parameterHints()
	if f := res.Load.F; f != nil {
		r.Machine = f.Header.Machine
		if f.Arch != nil {
			r.Arch = f.Arch.Name
		}
	}
	return r
}

// parameterHints adds to findings about unknown parameters which ones there are.
func (r *Simulation) parameterHints() {
	k := 0
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Code != diag.ParamUnknown || k >= len(r.Res.Params.Unknown) {
			continue
		}
		switch near := Nearest(r.Res.Params.Unknown[k], r.Res.ParamNames); {
		case len(near) > 0:
			f.Hint = "did you mean " + strings.Join(near, " or ") + "?"
		case len(r.Res.ParamNames) == 0:
			f.Hint = "the module has no parameters"
		}
		k++
	}
}

// Hash notes the sections' digests.
func (r *Simulation) Hash(s *sim.Snapshot) {
	r.Hashes = map[int]string{}
	for i := range s.Sections {
		if x := &s.Sections[i]; x.Data != nil {
			sum := sha256.Sum256(x.Data)
			r.Hashes[x.Index] = hex.EncodeToString(sum[:])
		}
	}
}

// Schema implements Report.
func (*Simulation) Schema() string { return "kotool.simulation/1" }

// JSON implements Report.
func (r *Simulation) JSON(j *render.JSON) {
	r.Check.JSON(j)
	res := r.Res
	j.KStr("taint", res.Taints.Letters())
	j.Key("uses")
	strs(j, res.Uses)
	j.Key("assumes")
	strs(j, r.Assumes)
	if n := res.Kernel + res.Asked; n > 0 {
		j.Key("addresses")
		j.Obj()
		j.KInt("kernel", int64(n))
		j.KInt("synthetic", int64(res.Made))
		j.End()
	}
	if l := res.Layout; l != nil {
		j.Key("layout")
		j.Obj()
		for _, kv := range []struct {
			k string
			v uint64
		}{{"core_size", l.Core}, {"core_text_size", l.Text}, {"core_ro_size", l.Ro}, {"core_ro_after_init_size", l.RoAfterInit},
			{"init_size", l.Init}, {"init_text_size", l.InitText}, {"init_ro_size", l.InitRo}} {
			j.KInt(kv.k, int64(kv.v))
		}
		j.End()
	}
	j.Key("regions")
	j.Arr()
	for i := range res.Regions {
		g := &res.Regions[i]
		j.Obj()
		j.KStr("kind", g.Kind.String())
		j.KStr("base", render.Hex(g.Base))
		j.KInt("size", int64(g.Used))
		j.Key("parts")
		j.Arr()
		for _, p := range res.Parts(i) {
			j.Obj()
			j.KStr("kind", p.Kind.String())
			j.KStr("base", render.Hex(g.Base+p.Off))
			j.KInt("size", int64(p.Size))
			j.KStr("permissions", p.Perm)
			optional(j, "permissions_in_init", p.Before)
			j.End()
		}
		j.EndArr()
		j.End()
	}
	j.EndArr()
	if p := res.Percpu; p != nil {
		j.Key("percpu")
		j.Obj()
		j.KStr("base", render.Hex(p.Base))
		j.KInt("size", int64(p.Size))
		j.KInt("reserve", int64(p.Reserve))
		j.KInt("taken", int64(p.Taken))
		j.End()
	}
	j.Key("sections")
	j.Arr()
	for i := range res.Places {
		p := &res.Places[i]
		if p.Region < 0 || p.Region >= len(res.Regions) {
			continue
		}
		h := &res.Load.Hdr[i]
		j.Obj()
		j.KInt("index", int64(i))
		j.KStr("name", h.Name)
		j.KStr("region", res.Regions[p.Region].Kind.String())
		j.KStr("addr", render.Hex(p.Addr))
		j.KInt("offset", int64(p.Off))
		j.KInt("size", int64(h.Size))
		j.KStr("sh_entsize", render.Hex(p.Entry))
		optional(j, "sha256", r.Hashes[i])
		j.End()
	}
	j.EndArr()
	j.Key("stages")
	j.Arr()
	for i := range res.Stages {
		s := &res.Stages[i]
		j.Obj()
		j.KStrOrNull("id", s.ID)
		j.KStr("name", s.Name)
		j.KInt("errno", int64(s.Errno.Number(r.machine())))
		optional(j, "did", s.Did)
		j.End()
	}
	j.EndArr()
	j.Key("relocations")
	j.Obj()
	j.KInt("applied", int64(res.Applied))
	j.Key("by_type")
	j.Obj()
	for _, t := range r.types() {
		j.KInt(t.name, int64(t.n))
	}
	j.End()
	j.End()
	if res.Params != nil {
		j.Key("parameters")
		j.Arr()
		for _, v := range res.Values {
			j.Obj()
			j.KStr("name", v.Name)
			j.KStr("value", v.Text)
			j.KStrOrNull("type", v.Type)
			j.End()
		}
		j.EndArr()
	}
	if m := res.Module; m != nil {
		j.KInt("module_size", int64(m.Size))
	}
}

type typeCount struct {
	name string
	n    int
}

// types are the relocation types by name, the most frequent first.
func (r *Simulation) types() []typeCount {
	var list []typeCount
	for t, n := range r.Res.Relocs {
		list = append(list, typeCount{relocName(r.Machine, t), n})
	}
	slices.SortFunc(list, func(a, b typeCount) int {
		if a.n != b.n {
			return b.n - a.n
		}
		return strings.Compare(a.name, b.name)
	})
	return list
}

// relocName is a relocation type's name, or its number.
func relocName(m stdelf.Machine, typ uint32) string {
	if name := reloc.Name(m, typ); name != "" {
		return name
	}
	return fmt.Sprintf("type %d", typ)
}

// Text implements Texter.
func (r *Simulation) Text(out *render.Out, st *render.Style) {
	safe := render.Text[string]
	role := r.Verdict.role()
	out.B = render.AppendText(out.B, r.File)
	out.Str(": ")
	head := r.Headline()
	out.B = st.Palette.Paint(out.B, role, string(r.Verdict))
	out.Str(head[len(r.Verdict):])
	out.Str("\n")
	if r.Brief && r.Verdict == Loads {
		return
	}
	r.fill()
	if r.Brief {
		r.findingsText(out, st)
		return
	}
	if !r.Traced {
		r.stagesText(out, st)
	}
	r.findingsText(out, st)
	r.memoryText(out, st)
	if list := r.types(); len(list) > 0 {
		var parts []string
		for _, t := range list {
			parts = append(parts, fmt.Sprintf("%d %s", t.n, t.name))
		}
		out.Str("  relocations: " + strings.Join(parts, ", ") + "\n")
	}
	for _, v := range r.Res.Values {
		out.Str("  parameter " + safe(v.Name) + " = " + safe(v.Text))
		if v.Type != "" {
			out.Str(" (" + v.Type + ")")
		}
		out.Str("\n")
	}
	if len(r.Dmesg) > 0 {
		out.Str("  dmesg\n")
		for _, l := range r.Dmesg {
			out.Str("    ")
			out.B = st.Palette.Paint(out.B, render.RoleDim, safe(l))
			out.Str("\n")
		}
	}
	for _, a := range r.Assumes {
		out.Str("  assumes: " + safe(a) + "\n")
	}
	for _, n := range r.Notes {
		out.Str("  note: " + safe(n) + "\n")
	}
	r.checkedText(out)
	r.evidenceText(out)
}

// stagesText is the pipeline with what each stage did.
func (r *Simulation) stagesText(out *render.Out, st *render.Style) {
	for i := range r.Res.Stages {
		s := &r.Res.Stages[i]
		last := i == len(r.Res.Stages)-1
		mark, role := "ok", render.RoleGood
		switch {
		case s.Errno != 0:
			mark, role = "-"+s.Errno.Name(), render.RoleBad
		case last && r.Res.Undefined != nil:
			mark, role = "?", render.RoleWarn
		}
		out.Str(fmt.Sprintf("  %-4s %-28s ", s.ID, s.Name))
		out.B = st.Palette.Paint(out.B, role, mark)
		if s.Did != "" {
			out.Str("  " + render.Text(s.Did))
		}
		out.Str("\n")
	}
}

// barWidth is the width of the picture of a region.
const barWidth = 32

// memoryText draws the regions and what lies in them.
func (r *Simulation) memoryText(out *render.Out, st *render.Style) {
	res := r.Res
	if len(res.Regions) == 0 || len(res.Places) == 0 {
		return
	}
	digits := 16
	if res.Load.Word() == 4 {
		digits = 8
	}
	out.Str("  memory\n")
	for k := range res.Regions {
		g := &res.Regions[k]
		note := ""
		if g.Kind.IsInit() && res.Module != nil {
			note = ", freed after init"
		}
		type part struct {
			i         int
			off, size uint64
		}
		var parts []part
		bar := []byte(strings.Repeat(".", barWidth))
		for i := range res.Places {
			p := &res.Places[i]
			if p.Region != k {
				continue
			}
			h := &res.Load.Hdr[i]
			parts = append(parts, part{i, p.Off, h.Size})
			if h.Size > 0 && g.Size > 0 {
				for c := p.Off * barWidth / g.Size; c <= (p.Off+h.Size-1)*barWidth/g.Size && c < barWidth; c++ {
					bar[c] = '#'
				}
			}
		}
		slices.SortStableFunc(parts, func(a, b part) int { return cmp.Compare(a.off, b.off) })
		perms := res.Parts(k)
		line := func(at uint64, indent int, kind sim.Kind, perm string) {
			out.Str(fmt.Sprintf("    %0*x  %*s", digits, at, indent, ""))
			out.B = st.Palette.Paint(out.B, render.RoleTitle, fmt.Sprintf("%-*s", 15-indent, kind))
			out.Str(fmt.Sprintf(" %-3s ", perm))
		}
		one := len(perms) == 1 && perms[0].Kind == g.Kind
		perm, before := "", ""
		if one {
			perm, before = perms[0].Perm, untilInit(&perms[0])
		}
		line(g.Base, 0, g.Kind, perm)
		out.Str(fmt.Sprintf("%8d  |%s|%s%s\n", g.Used, bar, before, note))
		next := 0
		for i := range perms {
			p := &perms[i]
			if !one {
				line(g.Base+p.Off, 2, p.Kind, p.Perm)
				out.Str(fmt.Sprintf("%8d%s\n", p.Size, untilInit(p)))
			}
			for ; next < len(parts) && (parts[next].off < p.Off+p.Size || i == len(perms)-1); next++ {
				x := &parts[next]
				out.Str(fmt.Sprintf("      +%-8x %8d  ", x.off, x.size))
				out.B = render.AppendText(out.B, res.Load.Hdr[x.i].Name)
				out.Str("\n")
			}
		}
	}
	if p := res.Percpu; p != nil {
		out.Str(fmt.Sprintf("    %0*x  ", digits, p.Base))
		out.B = st.Palette.Paint(out.B, render.RoleTitle, fmt.Sprintf("%-15s", "per-CPU"))
		out.Str(fmt.Sprintf(" rw- %8d  .data..percpu", p.Size))
		if p.Taken > 0 {
			out.Str(fmt.Sprintf(": modules have %d of %d bytes", p.Taken, p.Reserve))
		}
		out.Str("\n")
	}
	if l := res.Layout; l != nil {
		out.Str(fmt.Sprintf("    core_size %d: text to %d, read-only to %d, ro-after-init to %d; init_size %d: text to %d, read-only to %d\n",
			l.Core, l.Text, l.Ro, l.RoAfterInit, l.Init, l.InitText, l.InitRo))
	}
}

// untilInit is what a part has before init has returned, where that is something else.
func untilInit(p *sim.Part) string {
	if p.Before == "" {
		return ""
	}
	return ", " + p.Before + " until init has returned"
}

// Tables implements Report: a row a stage.
func (r *Simulation) Tables() []*render.Table {
	return []*render.Table{{
		Columns: []render.Column{{Name: "verdict"}, {Name: "errno"}, {Name: "step"}, {Name: "stage"}, {Name: "outcome"}, {Name: "did"}},
		Rows: func(row *render.Row) {
			for i := range r.Res.Stages {
				s := &r.Res.Stages[i]
				row.Str(string(r.Verdict))
				row.Str(r.Errno.Name())
				row.Str(s.ID)
				row.Str(s.Name)
				row.Str(s.Errno.Name())
				row.TextStr(s.Did)
				if !row.Next() {
					return
				}
			}
		},
	}}
}

// LsmodText lists the loaded modules as lsmod does, with the letters of their taints.
func LsmodText(out *render.Out, k *sim.Kernel) {
	list := k.Modules()
	width := 19
	for _, m := range list {
		width = max(width, len(render.Text(m.Name)))
	}
	out.Str(fmt.Sprintf("%-*s %8s  Used by\n", width, "Module", "Size"))
	for _, m := range list {
		taint := ""
		if l := m.Taints.Letters(); l != "" {
			taint = " (" + l + ")"
		}
		line := fmt.Sprintf("%-*s %8d  %d %s", width, render.Text(m.Name), m.Size, m.Refs, render.Text(strings.Join(m.UsedBy, ",")))
		out.Str(strings.TrimRight(line, " ") + taint + "\n")
	}
}

// Few are the first names of a list, and how many of n in all come behind them. The list need not have all.
func Few(list []string, n int) string {
	const most = 5
	list = list[:min(len(list), most)]
	text := strings.Join(list, ", ")
	if more := n - len(list); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
