// Package compat has the questions that the kernel asks of a module before it runs it, each once, named after
// the kernel's functions. A Load goes through them stage by stage; Stages has their order.
package compat

import (
	"bytes"
	stdelf "debug/elf"
	"slices"
	"strings"

	"kotool/internal/diag"
	"kotool/internal/elf"
	"kotool/internal/kver"
	"kotool/internal/render"
)

// Import is a symbol that simplify_symbols has something to do with: one that is undefined, or one that it refuses.
type Import struct {
	Name  string
	Weak  bool
	Ver   Version
	Index int
	Bad   diag.Code // SymCommon, SymIndex: refused whatever the target has
	Shndx uint32

	length int // of Name, while the names are collected
	row    int // of the kernel's export in Symvers[0], plus one; 0: not looked for, or none
}

// Row is the row of Symvers[0] that is the kernel's export of it, once it was resolved; -1 where there is none.
func (i *Import) Row() int { return i.row - 1 }

// Version is what a module's version table says of a symbol.
type Version struct {
	CRC   uint32
	High  uint32 // of a 64-bit entry; not 0: matches nothing
	Found bool
}

// Importer is what the kernel's gates ask of a module that uses symbols. Nothing of it refers to the module's bytes.
type Importer struct {
	Name       string   // in struct module: most messages
	InfoName   string   // in .modinfo: messages about versions
	License    string   // the first license= tag; "unspecified" without one
	Namespaces []string // import_ns=
	Depends    []string // depends=: the modules that modpost found exporting what it uses
	Versions   string   // the tables that the kernel looks at: "none", "basic", "extended"
	Imports    []Import // symbol table order
	// Plain is how many more there are that the kernel itself provides with nothing against it, where Load.Settle was called; PlainCRCs, how
	// many CRCs of those were compared.
	Plain, PlainCRCs int
	Sections         int   // e_shnum
	Taints           Taint // when its symbols are resolved
}

// Count is the number of symbols that are to be resolved.
func (im *Importer) Count() int { return len(im.Imports) + im.Plain }

// Settle lets Importer resolve what the kernel itself provides and nothing speaks against: most of what modules need. It is for targets in which no
// module is loaded, for a proprietary one changes what those after it may use.
func (l *Load) Settle() { l.settle = len(l.T.LiveModules) == 0 }

// plain reports whether the kernel itself provides a symbol and Resolve has no word to say about it, and whether its CRC was compared.
func (r *Resolver) plain(name []byte, sym *Import) (is, compared bool) {
	if len(r.t.Symvers) == 0 {
		return false, false
	}
	tab := r.t.Symvers[0]
	i := tab.Row(name)
	if i < 0 || !tab.InKernel(i) {
		return false, false
	}
	o := Outcome{Export: exportOf(tab, i, "")}
	r.judge(sym, &o)
	return o.Finding == nil && o.Warning == nil, o.Checked
}

// Importer collects the symbols that are to be resolved, in the table's order.
//
// Source: kernel/module/main.c: simplify_symbols.
func (l *Load) Importer() (*Importer, error) {
	im := &Importer{Name: l.Mod, InfoName: l.infoName(), License: l.License(), Namespaces: l.tags.importNS,
		Versions: l.VersionsFormat(), Sections: len(l.Hdr), Taints: l.Taints}
	im.Depends = strings.FieldsFunc(l.tags.depends, func(r rune) bool { return r == ',' })
	t := l.Symbols()
	mem := l.borrowed()
	imports, text := mem.imports[:0], mem.text[:0] // text: all names, one string in the end
	res := NewResolver(im, l.T)
	str := &l.Hdr[l.Index.Str]
	x86 := l.x86()
	ppc64 := l.F.Header.Machine == stdelf.EM_PPC64
	raw := t.Raw()
	plain := uint16(min(len(l.Hdr), int(stdelf.SHN_LORESERVE)))
	for i := 1; i < t.Len(); i++ {
		if raw != nil {
			if x := elf.PlainShndx(raw[i*24:]); x != 0 && x < plain {
				continue // defined here
			}
		}
		s := t.At(i)
		if s.Shndx != 0 && s.Shndx != uint32(stdelf.SHN_COMMON) && !s.Reserved && int(s.Shndx) < len(l.Hdr) {
			continue
		}
		if s.Shndx == uint32(stdelf.SHN_ABS) || s.Shndx == shnLivepatch {
			continue
		}
		name, err := l.symbolName(t, str, s)
		if err != nil {
			return nil, err
		}
		imp := Import{Weak: s.Bind() == weak, Index: i, Shndx: s.Shndx}
		switch {
		case s.Undefined():
			if x86 && string(name) == "_GLOBAL_OFFSET_TABLE_" {
				continue
			}
			if ppc64 {
				if string(name) == ".TOC." {
					continue
				}
				name = bytes.TrimPrefix(name, []byte(".")) // dedotify
			}
			imp.Ver = l.versionOf(name)
			if l.settle {
				if is, compared := res.plain(name, &imp); is {
					im.Plain++
					if compared {
						im.PlainCRCs++
					}
					continue
				}
			}
		case s.Shndx == uint32(stdelf.SHN_COMMON):
			if bytes.HasPrefix(name, []byte("__gnu_lto")) {
				continue
			}
			imp.Bad = diag.SymCommon
		default:
			imp.Bad = diag.SymIndex
		}
		imp.length = len(name)
		text = append(text, name...)
		imports = append(imports, imp)
	}
	im.Imports = slices.Clone(imports)
	if len(imports) <= most && len(text) <= 64*most {
		mem.imports, mem.text = imports, text
	}
	all, from := string(text), 0
	for i := range im.Imports {
		imp := &im.Imports[i]
		imp.Name = all[from : from+imp.length]
		from += imp.length
	}
	return im, nil
}

// shnLivepatch is SHN_LIVEPATCH. Source: include/linux/livepatch.h.
const shnLivepatch = 0xff20

// symbolName is a symbol's name as the kernel reads it: it may run past the string table.
func (l *Load) symbolName(t *elf.Symtab, str *elf.Section, s elf.Symbol) ([]byte, error) {
	b := t.Name(s)
	if uint64(s.NameOff)+uint64(len(b)) < str.Size && len(b) < elf.MaxName {
		return b, nil
	}
	name, ok := l.cstring(str.Off + uint64(s.NameOff))
	if !ok {
		return nil, undefined("the kernel reads the name of symbol %d at offset %#x of the file, which has %#x bytes", s.Index, str.Off+uint64(s.NameOff), l.src.Size())
	}
	return []byte(name), nil
}

const weak = 2 // STB_WEAK

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

// missingRule is what differs between mainline and Debian's kernels.
const missingRule = "the kernel refuses a symbol without a version entry, as Debian's do; mainline since 4.9 only warns"

func crc(v uint32) string { return render.CRC(v) }

func (v Version) text() string {
	if v.High != 0 {
		return render.Hex(uint64(v.High)<<32 | uint64(v.CRC))
	}
	return render.CRC(v.CRC)
}

// Outcome is what became of one symbol.
type Outcome struct {
	Missing bool // nothing provides it
	Export  Export
	Owner   string
	Checked bool // its CRC was compared
	// Errno is what simplify_symbols returns for it, 0 for success. The last symbol's counts.
	Errno   diag.Errno
	Finding *diag.Finding
	Warning *diag.Finding // an inherited taint
}

// Resolver is simplify_symbols for one module: what one symbol brings changes what the next may use.
type Resolver struct {
	im      *Importer
	t       *Target
	taints  Taint
	gpl     bool // the licence is a GPL-compatible one
	usesGPL bool // using_gplonly_symbols
	warned  map[diag.Code]bool
}

// NewResolver begins with a module's first symbol.
func NewResolver(im *Importer, t *Target) *Resolver {
	return &Resolver{im: im, t: t, taints: im.Taints, gpl: GPLCompatible(im.License)}
}

// Taints are the module's, with what its symbols brought.
func (r *Resolver) Taints() Taint { return r.taints }

// Resolve is resolve_symbol: find, licence gate, inherited taints, version, namespace.
//
// Source: kernel/module/main.c: simplify_symbols, resolve_symbol, inherit_taint; kernel/module/version.c: check_version.
func (r *Resolver) Resolve(sym *Import) Outcome {
	im, t := r.im, r.t
	var o Outcome
	found := func(f diag.Finding) Outcome {
		o.found(sym, f)
		return o
	}
	switch sym.Bad {
	case diag.SymCommon:
		return found(diag.New(sym.Bad, t.Version, im.Name, sym.Name))
	case diag.SymIndex:
		f := diag.New(sym.Bad, t.Version, im.Name, sym.Name, int(sym.Shndx), im.Sections-1)
		if len(f.Dmesg) == 0 {
			f.Assumes = []string{"the kernel checks the index; before the fix of 2025 it reads past its section headers"}
		}
		return found(f)
	}
	var ok bool
	o.Export, ok = t.provider(sym, im.Name)
	if !ok {
		o.Missing = true
		if sym.Weak {
			return found(diag.New(diag.SymWeak, t.Version, im.Name, sym.Name))
		}
		f := diag.New(diag.SymMissing, t.Version, im.Name, sym.Name, -int(diag.ENOENT))
		if t.NoExports {
			f.Assumes = []string{"the kernel does not export it; what it exports is not known"}
		}
		return found(f)
	}
	r.judge(sym, &o)
	return o
}

// found notes a finding about the symbol.
func (o *Outcome) found(sym *Import, f diag.Finding) {
	f.Where, f.Step = diag.Sym(sym.Name), "2.7"
	o.Finding, o.Errno = &f, f.Errno
}

// judge is what is asked of an export that was found: o.Export.
func (r *Resolver) judge(sym *Import, o *Outcome) {
	im, t, e := r.im, r.t, &o.Export
	o.Owner = e.Owner
	if e.GPL && !(r.gpl && r.taints&TaintProprietary == 0) {
		if sym.Weak {
			o.found(sym, diag.New(diag.SymWeak, t.Version, im.Name, sym.Name))
			return
		}
		f := diag.New(diag.SymGPL, t.Version, im.Name, sym.Name, im.License)
		f.Want, f.Got = "a GPL-compatible license", im.License
		o.found(sym, f)
		return
	}
	if e.GPL {
		r.usesGPL = true
	}
	if e.Owner != "" && t.proprietary(e.Owner) && t.has(kver.Since(5, 9)) {
		if r.usesGPL {
			f := diag.New(diag.SymTaint, t.Version, im.Name, sym.Name, e.Owner)
			if sym.Weak {
				f.Severity, f.Errno, f.Dmesg = diag.Warning, 0, f.Dmesg[:1]
			}
			o.found(sym, f)
			return
		}
		if r.taints&TaintProprietary == 0 {
			f := diag.New(diag.SymInherit, t.Version, im.Name, sym.Name, e.Owner)
			f.Where, f.Step = diag.Sym(sym.Name), "2.7"
			o.Warning = &f
			r.taints |= TaintProprietary
		}
	}
	if t.ModVersions && e.HasCRC {
		switch v := sym.Ver; {
		case im.Versions == "none": // module_layout has said it
		case !v.Found && im.Versions == "basic" && t.MissingCRC != No:
			f := diag.New(diag.SymNoCRC, t.Version, im.InfoName, sym.Name, im.Name)
			f.Want = crc(e.CRC)
			f.Assumes = t.missingAssumes()
			o.found(sym, f)
			return
		case !v.Found:
			f := diag.New(diag.SymNoCRC, t.Version, im.InfoName, sym.Name, im.Name)
			f.Severity, f.Errno, f.Want, f.Hint = diag.Warning, 0, crc(e.CRC), ""
			f.Dmesg = f.Dmesg[:1]
			if im.Versions == "extended" {
				f.Dmesg = []string{im.InfoName + ": no extended symbol version for " + sym.Name}
			}
			if r.warned[f.Code] { // once a boot
				f.Dmesg = nil
			}
			r.warned = map[diag.Code]bool{f.Code: true}
			o.found(sym, f)
		case v.Found && (v.High != 0 || v.CRC != e.CRC):
			f := diag.New(diag.SymCRC, t.Version, im.InfoName, sym.Name, im.Name)
			f.Want, f.Got = crc(e.CRC), v.text()
			o.Checked = true
			o.found(sym, f)
			return
		case v.Found:
			o.Checked = true
		}
	}
	if e.Namespace != "" && !imports(im, e.Namespace) {
		f := diag.New(diag.Namespace, t.Version, im.Name, sym.Name, e.Namespace)
		f.Want, f.Got = "import_ns="+e.Namespace, strings.Join(im.Namespaces, ", ")
		if list, is := strings.CutPrefix(e.Namespace, "module:"); is {
			f.Message = sym.Name + " is reserved for " + list + ": only modules of those names may use it"
			f.Hint = "a module named " + im.Name + " can never use it"
			f.Certain = &yes
		}
		if !strings.HasPrefix(e.Namespace, "module:") {
			ns := e.Namespace
			if t.has(kver.Since(6, 13)) {
				ns = `"` + ns + `"`
			}
			f.Hint = "add MODULE_IMPORT_NS(" + ns + ") to the module's source"
			f.Certain = &yes
		}
		if t.Is("MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS") == Yes {
			f.Severity, f.Errno, f.Dmesg = diag.Warning, 0, f.Dmesg[:1]
		}
		o.found(sym, f)
		return
	}
}

var yes = true

// proprietary reports whether a module is loaded that is tainted so.
func (t *Target) proprietary(name string) bool {
	m := t.LiveModules[name]
	return m != nil && m.Taints&TaintProprietary != 0
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

// provider is Find for an import, which remembers where the kernel's own exports are: they do not change.
func (t *Target) provider(sym *Import, not string) (Export, bool) {
	if sym.row != 0 {
		return exportOf(t.Symvers[0], sym.row-1, ""), true
	}
	name := []byte(sym.Name)
	e, row, ok := t.find(name, not)
	if sym.row = row + 1; !ok {
		return t.beyond(name, sym.Weak && !sym.Ver.Found)
	}
	return e, ok
}

// Provides reports whether anybody exports what an import wants. The same target is to be asked for it each time.
func (t *Target) Provides(sym *Import, not string) bool {
	if sym.row == 0 && len(t.Symvers) > 0 {
		tab := t.Symvers[0]
		if i := tab.Row([]byte(sym.Name)); i >= 0 && tab.InKernel(i) {
			sym.row = i + 1
		}
	}
	if sym.row != 0 {
		return true
	}
	_, ok := t.provider(sym, not)
	return ok
}

// Duplicate is verify_exported_symbols for one exported name.
//
// Source: kernel/module/main.c: verify_exported_symbols.
func Duplicate(name, symbol string, t *Target) *diag.Finding {
	e, _, ok := t.find([]byte(symbol), name)
	if !ok {
		return nil
	}
	f := diag.New(diag.DupExport, t.Version, name, symbol, e.OwnerName())
	f.Where = diag.Sym(symbol)
	f.Got = e.OwnerName()
	if e.Owner == "" {
		f.Hint = "the driver is built into this kernel: the file is not needed"
	} else {
		f.Hint = e.Owner + " and this module cannot be loaded together: unload it first"
	}
	if _, live := t.Live[symbol]; e.Owner != "" && !live {
		// Only a row about a module that may not be loaded at all.
		f.Severity, f.Errno, f.Dmesg = diag.Warning, 0, nil
		f.Message += ", and the two cannot be loaded together"
		f.Hint = ""
	}
	return &f
}
