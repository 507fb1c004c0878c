package report

import (
	"debug/elf"
	"fmt"
	"slices"

	"kotool/internal/kver"
	"kotool/internal/module"
	"kotool/internal/render"
	"kotool/internal/versions"
)

// ModC is the C file that modpost must have written for a module: what it adds to the author's objects,
// read back from the module.
type ModC struct{ m *module.Module }

// NewModC reports a module's .mod.c.
func NewModC(m *module.Module) *ModC { return &ModC{m} }

// Schema implements Report.
func (*ModC) Schema() string { return "kotool.modc/1" }

// JSON implements Report.
func (r *ModC) JSON(j *render.JSON) {
	j.KStr("name", r.m.Name())
	j.KBytes("mod_c", r.source())
}

// Text implements Texter.
func (r *ModC) Text(out *render.Out, _ *render.Style) {
	out.B = render.AppendLines(out.B, r.source())
}

// Tables implements Report.
func (r *ModC) Tables() []*render.Table {
	return []*render.Table{{Columns: []render.Column{{Name: "mod_c"}}, Rows: func(row *render.Row) {
		row.Text(r.source())
		row.Next()
	}}}
}

// The eras of the file's form. Versions between those whose headers were built against (5.10, 6.1, 6.12, 7.2) are from the
// kernel's history. Source: scripts/mod/modpost.c: add_header, add_exported_symbols, add_versions.
var (
	modcVermagic = kver.Until(6, 12) // after that in a common object, .module-common.o
	modcCRC      = kver.Since(5, 19) // SYMBOL_CRC; before, genksyms gave absolute symbols to the linker
	modcKsymtab  = kver.Since(6, 5)  // KSYMTAB_FUNC and KSYMTAB_DATA
)

// sourceKeys are .modinfo keys that only a module's own source sets, never modpost.
var sourceKeys = []string{"author", "description", "license", "firmware", "version", "softdep", "weakdep", "import_ns", "parm", "parmtype", "file"}

func (r *ModC) source() []byte {
	var b []byte
	p := func(format string, args ...any) { b = fmt.Appendf(b, format, args...) }
	m := r.m
	v, err := kver.Parse(m.InfoValue("vermagic"))
	if err != nil {
		v = kver.Version{} // no vermagic: the form of the newest kernels
	}
	in := func(rng kver.Range) bool { return rng.Holds(v) }

	p("/* %s.mod.c, read back from the module */\n#include <linux/module.h>\n", m.Name())
	if in(modcVermagic) {
		p("#define INCLUDE_VERMAGIC\n#include <linux/vermagic.h>\n")
	}
	if in(modcCRC) {
		p("#include <linux/export-internal.h>\n")
	}
	p("#include <linux/compiler.h>\n\n")
	if in(modcVermagic) {
		p("MODULE_INFO(vermagic, VERMAGIC_STRING); /* %s */\n", comment(m.InfoValue("vermagic")))
	} else if magic := m.InfoValue("vermagic"); magic != "" {
		p("/* vermagic, from .module-common.o: %s */\n", comment(magic))
	}
	if name := m.InfoValue("name"); name != "" {
		p("MODULE_INFO(name, KBUILD_MODNAME); /* %s */\n", comment(name))
	}
	r.thisModule(p)
	for _, key := range []string{"intree", "retpoline", "staging", "test", "scmversion"} {
		if _, ok := m.Info().Get(key); ok {
			p("MODULE_INFO(%s, %s);\n", key, quote([]byte(m.InfoValue(key))))
		}
	}
	r.exports(p, in)
	r.versions(p)
	p("\nMODULE_INFO(depends, %s);\n", quote([]byte(m.InfoValue("depends"))))
	for _, a := range r.aliases() {
		p("MODULE_ALIAS(%s);\n", quote(a))
	}
	if src, ok := m.Info().Get("srcversion"); ok {
		p("\nMODULE_INFO(srcversion, %s);\n", quote(src))
	}
	return b
}

func (r *ModC) thisModule(p func(string, ...any)) {
	t := r.m.This()
	if t == nil {
		p("\n/* there is no struct module: section .gnu.linkonce.this_module is missing */\n")
		return
	}
	p("\n__visible struct module __this_module /* %d bytes */\n__section(\".gnu.linkonce.this_module\") = {\n\t.name = KBUILD_MODNAME,\n", t.Size)
	if t.Init != nil {
		p("\t.init = init_module,%s\n", called(t.Init.Alias()))
	}
	if t.Exit != nil {
		p("#ifdef CONFIG_MODULE_UNLOAD\n\t.exit = cleanup_module,%s\n#endif\n", called(t.Exit.Alias()))
	}
	p("\t.arch = MODULE_ARCH_INIT,\n};\n\n")
}

func called(alias string) string {
	if alias == "" {
		return ""
	}
	return " /* " + comment(alias) + " */"
}

func (r *ModC) exports(p func(string, ...any), in func(kver.Range) bool) {
	t := r.m.Exports()
	if len(t.Exports) == 0 {
		return
	}
	gpl := func(on bool) string {
		if on {
			return "_gpl"
		}
		return ""
	}
	if in(modcKsymtab) || t.HasFlags {
		p("\n")
		for i := range t.Exports {
			e := &t.Exports[i]
			kind := "DATA"
			if e.Value.Sym.Type() == elf.STT_FUNC {
				kind = "FUNC"
			}
			if t.HasFlags {
				p("KSYMTAB_%s(%s, %s);\nSYMBOL_FLAGS(%s, 0x%02x);\n", kind, e.Name, quote(e.Namespace), e.Name, e.Flags)
			} else {
				p("KSYMTAB_%s(%s, \"%s\", %s);\n", kind, e.Name, gpl(e.License.GPL()), quote(e.Namespace))
			}
		}
	}
	if t.HasCRCs && in(modcCRC) {
		p("\n")
		for i := range t.Exports {
			e := &t.Exports[i]
			if t.HasFlags {
				p("SYMBOL_CRC(%s, 0x%08x);\n", e.Name, e.CRC)
			} else {
				p("SYMBOL_CRC(%s, 0x%08x, \"%s\");\n", e.Name, e.CRC, gpl(e.License.GPL()))
			}
		}
	}
}

func (r *ModC) versions(p func(string, ...any)) {
	t := r.m.Versions()
	if t.HasBasic {
		p("\nstatic const struct modversion_info ____versions[]\n__used __section(\"__versions\") = {\n")
		for i := range t.Basic {
			e := &t.Basic[i]
			p("\t{ %#08x, %s },\n", uint64(e.High)<<32|uint64(e.CRC), quote(e.Name))
		}
		p("};\n")
	}
	if t.HasExtended {
		p("\nstatic const u32 ____version_ext_crcs[]\n__used __section(\"__version_ext_crcs\") = {\n")
		each := func(format string, arg func(e *versions.Entry) any) {
			for i := range t.Extended {
				p(format, arg(&t.Extended[i]))
			}
		}
		each("\t0x%08x,\n", func(e *versions.Entry) any { return e.CRC })
		p("};\nstatic const char ____version_ext_names[]\n__used __section(\"__version_ext_names\") =\n")
		each("\t%s\n", func(e *versions.Entry) any { return quote(append(slices.Clone(e.Name), 0)) })
		p(";\n")
	}
}

// aliases are those that modpost made of device tables. The compiler lays the strings of an object down in
// reverse, and modpost's object is linked last: they stand behind everything that only the source sets.
func (r *ModC) aliases() [][]byte {
	var list [][]byte
	info := r.m.Info()
	for i := range info.Entries {
		e := &info.Entries[i]
		switch {
		case slices.Contains(sourceKeys, string(e.Key)):
			list = nil
		case string(e.Key) == "alias":
			list = append(list, e.Value)
		}
	}
	slices.Reverse(list)
	return list
}

// quote is a C string literal.
func quote(s []byte) string {
	b := []byte{'"'}
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20 || c >= 0x7f:
			b = fmt.Appendf(b, "\\%03o", c)
		default:
			b = append(b, c)
		}
	}
	if n := len(b); n >= 4 && string(b[n-4:]) == `\000` {
		b = append(b[:n-4], `\0`...)
	}
	return string(append(b, '"'))
}

// comment is foreign text that cannot end a comment.
func comment(s string) string {
	b := render.AppendText(nil, s)
	for i := 0; i+1 < len(b); i++ {
		if b[i] == '*' && b[i+1] == '/' {
			b[i+1] = '|'
		}
	}
	return string(b)
}
