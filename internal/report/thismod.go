package report

import (
	"fmt"

	"kotool/internal/module"
	"kotool/internal/render"
	"kotool/internal/thismod"
)

// ThisModule is .gnu.linkonce.this_module.
type ThisModule struct {
	m *module.Module
	t *thismod.Module
}

// NewThisModule reports a module's struct module.
func NewThisModule(m *module.Module) *ThisModule { return &ThisModule{m, m.This()} }

// Schema implements Report.
func (*ThisModule) Schema() string { return "kotool.module/1" }

// Failed implements the interface of the commands: without the section no kernel takes the module.
func (r *ThisModule) Failed() error {
	if r.t == nil {
		return fmt.Errorf("no section %s", thismod.Name)
	}
	return nil
}

func (r *ThisModule) funcJSON(j *render.JSON, key string, f *thismod.Func) {
	j.Key(key)
	if f == nil {
		j.Null()
		return
	}
	j.Obj()
	j.KUint("offset", f.Off)
	j.KStr("symbol", f.Symbol)
	j.KStrOrNull("alias", f.Alias())
	j.KStr("section", r.section(f))
	j.KHex("value", f.Place.Off)
	j.End()
}

func (r *ThisModule) section(f *thismod.Func) string {
	if f.Place.Section > 0 {
		return r.m.File.Sections[f.Place.Section].Name
	}
	return "UND"
}

// JSON implements Report.
func (r *ThisModule) JSON(j *render.JSON) {
	if r.t == nil {
		j.Key("this_module")
		j.Null()
		return
	}
	j.KStr("name", r.t.Name)
	j.Key("this_module")
	j.Obj()
	j.KInt("section_index", int64(r.t.Section))
	j.KUint("size", r.t.Size)
	j.KUint("align", r.t.Align)
	j.KHex("flags", uint64(r.t.Flags))
	j.KUint("name_offset", r.t.NameOff)
	r.funcJSON(j, "init", r.t.Init)
	r.funcJSON(j, "exit", r.t.Exit)
	j.Key("other")
	j.Arr()
	for _, f := range r.t.Other {
		j.Obj()
		j.KUint("offset", f.Off)
		j.KStr("symbol", f.Symbol)
		j.End()
	}
	j.EndArr()
	j.End()
}

func (r *ThisModule) funcText(f *thismod.Func) string {
	if f == nil {
		return "none"
	}
	text := f.Symbol
	if a := f.Alias(); a != "" {
		text += " = " + a
	}
	return fmt.Sprintf("%s, %s+%#x (field at %#x)", text, r.section(f), f.Place.Off, f.Off)
}

// Tables implements Report.
func (r *ThisModule) Tables() []*render.Table {
	if r.t == nil {
		return []*render.Table{pairs("", []pair{{key: "struct module", value: "none", role: render.RoleBad}})}
	}
	where := fmt.Sprintf("at %#x", r.t.NameOff)
	if !r.t.Standard {
		where += ", not where it usually is: the structure is shuffled (RANDSTRUCT)"
	}
	list := []pair{
		{key: "name", value: fmt.Sprintf("%s (%s)", r.t.Name, where), role: render.RoleName},
		{key: "sizeof(struct module)", value: fmt.Sprintf("%#x (%d bytes)", r.t.Size, r.t.Size)},
		{key: "alignment", value: fmt.Sprint(r.t.Align)},
		{key: "flags", value: FlagLetters(r.m.File, r.t.Flags)},
		{key: "init", value: r.funcText(r.t.Init)},
		{key: "exit", value: r.funcText(r.t.Exit)},
	}
	for _, f := range r.t.Other {
		list = append(list, pair{key: "other", value: fmt.Sprintf("%s (field at %#x)", f.Symbol, f.Off)})
	}
	return []*render.Table{pairs("", list)}
}
