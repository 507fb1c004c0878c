package report

import (
	stdelf "debug/elf"
	"encoding/hex"
	"fmt"

	"kotool/internal/compat"
	"kotool/internal/diag"
	"kotool/internal/reloc"
	"kotool/internal/render"
	"kotool/internal/sim"
)

// TextTrace writes what a load does, as it happens, for people.
type TextTrace struct {
	Out     *render.Out
	Machine func() stdelf.Machine
}

var _ sim.Tracer = (*TextTrace)(nil)

func (t *TextTrace) line(format string, args ...any) {
	t.Out.Str(fmt.Sprintf(format, args...))
	t.Out.Check()
}

// Enter implements sim.Tracer.
func (t *TextTrace) Enter(s *compat.Stage) { t.line("%-4s %s (%s)\n", s.ID, s.Name, s.Source) }

// Leave implements sim.Tracer.
func (t *TextTrace) Leave(s *compat.Stage, errno diag.Errno) {
	if errno != 0 {
		t.line("     %s returns -%s\n", s.Name, errno.Name())
	}
}

// Placed implements sim.Tracer.
func (t *TextTrace) Placed(i int, name, region string, addr, size uint64) {
	t.line("     section %d %s: %s at %#x, %d bytes\n", i, render.Text(name), region, addr, size)
}

// Resolved implements sim.Tracer.
func (t *TextTrace) Resolved(symbol, owner string, addr uint64, how string) {
	if how != "" {
		how = " (" + how + ")"
	}
	t.line("     symbol %s: %#x, of %s%s\n", render.Text(symbol), addr, render.Text(owner), render.Text(how))
}

// Relocated implements reloc.Tracer.
func (t *TextTrace) Relocated(a reloc.Applied) {
	t.line("     section %d entry %d: section %d+%#x %s P=%#x S=%#x A=%#x: %s -> %s\n", a.Relsec, a.Entry, a.Target, a.Off, relocName(t.Machine(), a.Type),
		a.P, a.S, a.A, hex.EncodeToString(a.Before), hex.EncodeToString(a.After))
}

// Emitted implements reloc.Tracer.
func (t *TextTrace) Emitted(s reloc.Slot) {
	t.line("     %s entry at %#x, %d bytes, for %#x\n", s.Table, s.Addr, s.Size, s.Target)
}

// JSONTrace writes the same as JSON lines.
type JSONTrace struct {
	Out     *render.Out
	Machine func() stdelf.Machine
	File    func() string // that is loaded
}

var _ sim.Tracer = (*JSONTrace)(nil)

func (t *JSONTrace) event(kind string, write func(j *render.JSON)) {
	j := render.NewJSON(t.Out)
	j.Obj()
	j.KStr("event", kind)
	j.KStr("file", t.File())
	write(j)
	j.End()
	j.Done()
	t.Out.Str("\n")
	t.Out.Check()
}

// Enter implements sim.Tracer.
func (t *JSONTrace) Enter(s *compat.Stage) {
	t.event("enter", func(j *render.JSON) {
		j.KStr("id", s.ID)
		j.KStr("name", s.Name)
	})
}

// Leave implements sim.Tracer.
func (t *JSONTrace) Leave(s *compat.Stage, errno diag.Errno) {
	t.event("leave", func(j *render.JSON) {
		j.KStr("id", s.ID)
		j.KStr("name", s.Name)
		j.KInt("errno", int64(errno.Number(t.Machine())))
	})
}

// Placed implements sim.Tracer.
func (t *JSONTrace) Placed(i int, name, region string, addr, size uint64) {
	t.event("placed", func(j *render.JSON) {
		j.KInt("section", int64(i))
		j.KStr("name", name)
		j.KStr("region", region)
		j.KStr("addr", render.Hex(addr))
		j.KInt("size", int64(size))
	})
}

// Resolved implements sim.Tracer.
func (t *JSONTrace) Resolved(symbol, owner string, addr uint64, how string) {
	t.event("resolved", func(j *render.JSON) {
		j.KStr("symbol", symbol)
		j.KStr("owner", owner)
		j.KStr("addr", render.Hex(addr))
		j.KStr("how", how)
	})
}

// Relocated implements reloc.Tracer.
func (t *JSONTrace) Relocated(a reloc.Applied) {
	t.event("relocated", func(j *render.JSON) {
		j.KInt("section", int64(a.Relsec))
		j.KInt("entry", int64(a.Entry))
		j.KInt("target", int64(a.Target))
		j.KStr("offset", render.Hex(a.Off))
		j.KStr("type", relocName(t.Machine(), a.Type))
		j.KStr("place", render.Hex(a.P))
		j.KStr("symbol_value", render.Hex(a.S))
		j.KInt("addend", a.A)
		j.KStr("before", hex.EncodeToString(a.Before))
		j.KStr("after", hex.EncodeToString(a.After))
	})
}

// Emitted implements reloc.Tracer.
func (t *JSONTrace) Emitted(s reloc.Slot) {
	t.event("emitted", func(j *render.JSON) {
		j.KStr("table", s.Table)
		j.KStr("addr", render.Hex(s.Addr))
		j.KInt("size", int64(s.Size))
		j.KStr("target", render.Hex(s.Target))
	})
}
