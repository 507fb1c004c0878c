// Package compat has the questions that the kernel asks of a module before it runs it, each once, as
// pure functions named after the kernel's.
package compat

import (
	"slices"
	"strings"

	"kotool/internal/diag"
	"kotool/internal/kver"
	"kotool/internal/module"
	"kotool/internal/render"
	"kotool/internal/symvers"
	"kotool/internal/versions"
)

// Export is a symbol that the target provides.
type Export struct {
	CRC       uint32
	HasCRC    bool
	GPL       bool
	Namespace string
	Owner     string // module name; "" for the kernel itself
}

// OwnerName is the owner as the kernel prints it. Source: kernel/module/main.c: module_name.
func (e *Export) OwnerName() string {
	if e.Owner == "" {
		return "kernel"
	}
	return e.Owner
}

// Target is what a module is checked against.
type Target struct {
	Version kver.Version // whose log texts and rules hold; zero: the newest
	Symvers []*symvers.Table
	// ModVersions says that the kernel compares CRCs: CONFIG_MODVERSIONS.
	ModVersions bool
	Live        map[string]Export // exports of modules that are given beside the module
}

// Find looks a symbol up as the kernel does: its own exports first, then those of modules. not is the module that
// asks: it does not see its own exports.
//
// Source: kernel/module/main.c: find_symbol.
func (t *Target) Find(name []byte, not string) (Export, bool) {
	var found Export
	ok := false
	for _, tab := range t.Symvers {
		for s := range tab.Same(name) {
			e := exportOf(&s)
			if e.Owner == "" {
				return e, true
			}
			if e.Owner != not && !ok {
				found, ok = e, true
			}
		}
	}
	if live, is := t.Live[string(name)]; is && live.Owner != not {
		// A module that is there in the flesh tells more than a row about it.
		if !ok || found.Owner == live.Owner {
			return live, true
		}
	}
	return found, ok
}

func exportOf(s *symvers.Symbol) Export {
	e := Export{CRC: s.CRC, HasCRC: true, GPL: s.GPL(), Namespace: string(s.Namespace)}
	if !s.InKernel() {
		e.Owner = module.NameOfFile(string(s.Module))
	}
	return e
}

// Import is an undefined symbol of a module.
type Import struct {
	Name string
	Weak bool
	Ver  Version
}

// Version is what a module's version table says of a symbol.
type Version struct {
	CRC   uint32
	High  uint32 // of a 64-bit entry; not 0: matches nothing
	Found bool
}

// Importer is what the kernel's gates ask of a module that uses symbols.
type Importer struct {
	Name       string   // in struct module: most messages
	InfoName   string   // in .modinfo: messages about versions
	License    string   // the first license= tag; "unspecified" without one
	Namespaces []string // import_ns=
	Versions   string   // "none", "basic", "extended", "both"
	Imports    []Import // symbol table order
	Layout     Version  // of module_layout
}

// NewImporter collects from a module. Nothing of it refers to the module's bytes afterwards.
func NewImporter(m *module.Module) *Importer {
	im := &Importer{Name: m.Name(), InfoName: m.InfoName(), License: m.InfoValue("license")}
	if im.License == "" {
		im.License = "unspecified"
	}
	for ns := range m.Info().All("import_ns") {
		im.Namespaces = append(im.Namespaces, string(ns))
	}
	tab := m.Versions()
	im.Versions = tab.Format()
	index := versions.NewIndex(tab.Effective())
	version := func(name []byte) Version {
		e := index.Find(name)
		if e == nil {
			return Version{}
		}
		return Version{e.CRC, e.High, true}
	}
	im.Layout = version([]byte("module_layout"))
	t := m.Symtab()
	for i := 1; i < t.Len(); i++ {
		s := t.At(i)
		if !s.Undefined() {
			continue
		}
		name := t.Name(s)
		if ignored(m, string(name)) {
			continue
		}
		im.Imports = append(im.Imports, Import{string(name), s.Bind() == weak, version(name)})
	}
	return im
}

const weak = 2 // STB_WEAK

// ignored are undefined symbols that the machine's own code provides.
//
// Source: arch/x86/include/asm/module.h and kernel/module/main.c: ignore_undef_symbol (_GLOBAL_OFFSET_TABLE_);
// arch/powerpc/kernel/module_64.c: dedotify (.TOC.).
func ignored(m *module.Module, name string) bool {
	if m.File.Arch == nil {
		return false
	}
	switch m.File.Arch.Name {
	case "x86_64", "x32", "i386":
		return name == "_GLOBAL_OFFSET_TABLE_"
	case "ppc64", "ppc64le":
		return name == ".TOC."
	}
	return false
}

// GPLCompatible reports whether the kernel counts a licence as GPL-compatible: an exact match.
//
// Source: include/linux/license.h: license_is_gpl_compatible.
func GPLCompatible(license string) bool {
	switch license {
	case "GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL":
		return true
	}
	return false
}

// Layout is check_modstruct_version: the CRC of module_layout, before anything else of versions.
//
// Source: kernel/module/version.c: check_modstruct_version.
func Layout(im *Importer, t *Target) []diag.Finding {
	if !t.ModVersions {
		return nil
	}
	e, ok := t.Find([]byte("module_layout"), im.Name)
	if !ok || !e.HasCRC {
		return nil
	}
	switch v := im.Layout; {
	case im.Versions == "none":
		f := diag.New(diag.NoVersions, t.Version, im.InfoName)
		f.Assumes = []string{"CONFIG_MODULE_FORCE_LOAD is not set; with it the module loads and taints the kernel (F)"}
		return []diag.Finding{f}
	case !v.Found && im.Versions == "basic":
		f := diag.New(diag.LayoutNoCRC, t.Version, im.InfoName)
		f.Assumes = []string{missingRule}
		return []diag.Finding{f}
	case v.Found && (v.High != 0 || v.CRC != e.CRC):
		f := diag.New(diag.LayoutCRC, t.Version, im.InfoName)
		f.Want, f.Got = render.CRC(e.CRC), v.text()
		f.Where = diag.Sym("module_layout")
		return []diag.Finding{f}
	}
	return nil
}

// missingRule is what differs between mainline and Debian's kernels.
const missingRule = "the kernel refuses a symbol without a version entry, as Debian's do; mainline since 4.9 only warns"

func (v Version) text() string {
	if v.High != 0 {
		return render.Hex(uint64(v.High)<<32 | uint64(v.CRC))
	}
	return render.CRC(v.CRC)
}

// Outcome is what became of one symbol.
type Outcome struct {
	Missing bool // nothing provides it
	Owner   string
	Checked bool // its CRC was compared
	Finding *diag.Finding
}

// Resolve is resolve_symbol: find, licence gate, version, namespace.
//
// Source: kernel/module/main.c: resolve_symbol; kernel/module/version.c: check_version.
func Resolve(im *Importer, sym *Import, t *Target) Outcome {
	e, ok := t.Find([]byte(sym.Name), im.Name)
	found := func(f diag.Finding) Outcome {
		f.Where = diag.Sym(sym.Name)
		return Outcome{Owner: e.Owner, Finding: &f}
	}
	if !ok {
		code := diag.SymMissing
		if sym.Weak {
			code = diag.SymWeak
		}
		o := found(diag.New(code, t.Version, im.Name, sym.Name, -int(diag.ENOENT)))
		o.Missing = true
		return o
	}
	if e.GPL && !GPLCompatible(im.License) {
		if sym.Weak {
			return found(diag.New(diag.SymWeak, t.Version, im.Name, sym.Name, 0))
		}
		f := diag.New(diag.SymGPL, t.Version, im.Name, sym.Name, im.License)
		f.Want, f.Got = "a GPL-compatible license", im.License
		return found(f)
	}
	o := Outcome{Owner: e.Owner}
	if t.ModVersions && e.HasCRC {
		switch v := sym.Ver; {
		case im.Versions == "none": // Layout has said it
		case !v.Found && im.Versions == "basic":
			f := diag.New(diag.SymNoCRC, t.Version, im.InfoName, sym.Name, im.Name)
			f.Want = render.CRC(e.CRC)
			f.Assumes = []string{missingRule}
			return found(f)
		case v.Found && (v.High != 0 || v.CRC != e.CRC):
			f := diag.New(diag.SymCRC, t.Version, im.InfoName, sym.Name, im.Name)
			f.Want, f.Got = render.CRC(e.CRC), v.text()
			o := found(f)
			o.Checked = true
			return o
		case v.Found:
			o.Checked = true
		}
	}
	if e.Namespace != "" && !imports(im, e.Namespace) {
		f := diag.New(diag.Namespace, t.Version, im.Name, sym.Name, e.Namespace)
		f.Want, f.Got = "import_ns="+e.Namespace, strings.Join(im.Namespaces, ", ")
		return found(f)
	}
	return o
}

// imports is verify_namespace_is_imported: an exact import_ns, or a "module:" list that names the module.
//
// Source: kernel/module/main.c: verify_namespace_is_imported, verify_module_namespace (6.16 on).
func imports(im *Importer, ns string) bool {
	if list, ok := strings.CutPrefix(ns, "module:"); ok {
		name := strings.ReplaceAll(im.Name, "-", "_")
		for p := range strings.SplitSeq(list, ",") {
			p = strings.ReplaceAll(p, "-", "_")
			if prefix, glob := strings.CutSuffix(p, "*"); glob && strings.HasPrefix(name, prefix) || p == name {
				return true
			}
		}
	}
	return slices.Contains(im.Namespaces, ns)
}

// Duplicate is verify_exported_symbols for one exported name.
//
// Source: kernel/module/main.c: verify_exported_symbols.
func Duplicate(name, symbol string, t *Target) *diag.Finding {
	e, ok := t.Find([]byte(symbol), name)
	if !ok {
		return nil
	}
	f := diag.New(diag.DupExport, t.Version, name, symbol, e.OwnerName())
	f.Where = diag.Sym(symbol)
	f.Got = e.OwnerName()
	if _, live := t.Live[symbol]; e.Owner != "" && !live {
		// Only a row about a module that may not be loaded at all.
		f.Severity, f.Errno, f.Dmesg = diag.Warning, 0, nil
		f.Message += ", and the two cannot be loaded together"
		f.Hint = ""
	}
	return &f
}
