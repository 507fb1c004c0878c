package report

import (
	"cmp"
	stdelf "debug/elf"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"kotool/internal/arch"
	"kotool/internal/btf"
	"kotool/internal/compat"
	"kotool/internal/diag"
	"kotool/internal/module"
	"kotool/internal/params"
	"kotool/internal/reloc"
	"kotool/internal/render"
	"kotool/internal/sig"
	"kotool/internal/target"
	"kotool/internal/versions"
)

// Beside is what lies beside a log: modules that it may speak of, and what is known of the kernel that wrote it.
type Beside struct {
	Modules []BesideModule
	Target  *target.Target // nil: nothing is known
}

// BesideModule is a module beside a log.
type BesideModule struct {
	Module *module.Module
	File   string // its name, for people
}

// few is how many names a line of evidence has.
const few = 3

// module is the module that a group of lines speaks of: the one of that name, or the only one where the lines name none. A sole module of
// another name is given too.
func (e *Beside) module(g *diag.Group) (m BesideModule, other bool) {
	for _, m := range e.Modules {
		if g.Module != "" && (g.Module == m.Module.Name() || g.Module == m.Module.InfoName()) {
			return m, false
		}
	}
	if len(e.Modules) == 1 {
		return e.Modules[0], g.Module != ""
	}
	return BesideModule{}, false
}

// of is what the evidence says about a group of lines.
func (e *Beside) of(g *diag.Group) []string {
	if e == nil || g.Tool != nil {
		return nil
	}
	w := &witness{Target: e.Target, g: g}
	m, other := e.module(g)
	w.Module, w.File = m.Module, m.File
	if other {
		w.say("%s is module %s: the line speaks of another", w.File, w.Module.Name())
		w.Module = nil
	}
	if t := e.Target; t != nil {
		w.Table = filepath.Base(t.Name)
		if t.Name == "" {
			w.Table = "the kernel"
		}
		w.exporting = !t.NoExports || t.Learned != nil || len(t.Symvers) > 0
	}
	switch g.Entry.Code {
	case diag.SymMissing, diag.SymGPL, diag.SymTaint, diag.SymBusy, diag.SymWeak:
		w.imports()
		w.exports()
	case diag.SymCRC, diag.SymNoCRC:
		w.crcs(g.Symbols)
	case diag.LayoutCRC, diag.LayoutNoCRC:
		w.crcs([]string{"module_layout"})
		w.otherCRCs()
	case diag.Namespace:
		w.namespaces()
		w.exports()
	case diag.DupExport:
		w.duplicate()
	case diag.Vermagic:
		w.vermagic()
	case diag.StructSize, diag.StructOffset:
		w.structModule()
	case diag.BTF, diag.BTFBase:
		w.btf()
	case diag.ELFArch, diag.ELFModArch:
		w.machine()
	case diag.TaintLicense, diag.TaintOOT, diag.TaintStaging, diag.TaintTest, diag.Retpoline:
		w.tag(map[diag.Code]string{diag.TaintLicense: "license", diag.TaintOOT: "intree", diag.TaintStaging: "staging", diag.TaintTest: "test",
			diag.Retpoline: "retpoline"}[g.Entry.Code])
	case diag.TaintUnsigned, diag.SigUnsigned, diag.SigKey, diag.SigBad, diag.SigCrypto, diag.SigMalformed, diag.Lockdown:
		w.signature()
	case diag.Param, diag.ParamUnknown:
		w.parameter()
	case diag.RelocType, diag.RelocRange, diag.RelocNonZero:
		w.relocations()
	}
	return w.lines
}

// witness collects what the evidence says of one group.
type witness struct {
	Module *module.Module // nil: none
	File   string
	Target *target.Target // nil: nothing is known
	Table  string         // its name, for people
	// exporting says that something is known of what the kernel or its modules export.
	exporting bool
	g         *diag.Group
	lines     []string
}

// lookup finds who exports a symbol.
func (w *witness) lookup(name string) (compat.Export, bool) { return w.Target.Find([]byte(name), "") }

// nobody says how far it goes that nothing exports a symbol.
func (w *witness) nobody() string {
	if w.Target.NoExports || w.Target.ModulesUnknown {
		return ", as far as that tells"
	}
	return ": not in this kernel, or not in this configuration"
}

func (w *witness) say(format string, args ...any) {
	w.lines = append(w.lines, fmt.Sprintf(format, args...))
}

// some are the first of some names, and how many there are beyond.
func some(names []string, n int) string {
	if len(names) <= n {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:n], ", ") + " and " + count(len(names)-n, "other")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// undefined are the module's undefined symbols.
func (w *witness) undefined() map[string]stdelf.SymBind {
	syms := map[string]stdelf.SymBind{}
	t := w.Module.Symtab()
	for i := 1; i < t.Len(); i++ {
		if s := t.At(i); s.Undefined() {
			syms[string(t.Name(s))] = s.Bind()
		}
	}
	return syms
}

// imports says which of the group's symbols the module needs.
func (w *witness) imports() {
	if w.Module == nil || len(w.g.Symbols) == 0 {
		return
	}
	syms := w.undefined()
	var have, lack []string
	for _, name := range w.g.Symbols {
		if _, ok := syms[name]; ok {
			have = append(have, name)
		} else {
			lack = append(lack, name)
		}
	}
	switch {
	case len(w.g.Symbols) == 1 && len(have) == 1:
		w.say("%s imports it%s", w.File, w.wanted(have[0]))
	case len(lack) == 0:
		w.say("%s imports all of them", w.File)
	case len(w.g.Symbols) == 1:
		w.say("%s does not import it: the log is of another build", w.File)
	case len(have) == 0:
		w.say("%s imports none of them: the log is of another build", w.File)
	default:
		w.say("%s imports %d of the %d, not %s: the log is of another build", w.File, len(have), len(w.g.Symbols), some(lack, few))
	}
}

// wanted is ", and wants CRC 0x…" where the module says so.
func (w *witness) wanted(name string) string {
	if v := versions.NewIndex(w.Module.Versions().Effective()).Find([]byte(name)); v != nil {
		return ", and was built with its CRC " + render.CRC(v.CRC)
	}
	return ""
}

// exports says who exports the group's symbols.
func (w *witness) exports() {
	if !w.exporting || len(w.g.Symbols) == 0 {
		return
	}
	by := map[string][]string{}
	var owners, none, gpl []string
	spaces := map[string]int{}
	for _, name := range w.g.Symbols {
		s, ok := w.lookup(name)
		if !ok {
			none = append(none, name)
			continue
		}
		owner := cmp.Or(s.Owner, "vmlinux")
		if by[owner] == nil {
			owners = append(owners, owner)
		}
		by[owner] = append(by[owner], name)
		if s.GPL {
			gpl = append(gpl, name)
		}
		if s.Namespace != "" {
			spaces[s.Namespace]++
		}
	}
	total := len(w.g.Symbols)
	if len(none) == total {
		what := "it"
		if total > 1 {
			what = "any of them"
		}
		w.say("%s: nothing exports %s%s", w.Table, what, w.nobody())
		return
	}
	slices.SortStableFunc(owners, func(a, b string) int { return cmp.Compare(len(by[b]), len(by[a])) })
	for _, o := range owners[:min(len(owners), 2*few)] {
		switch {
		case total == 1:
			w.say("%s: exported by %s%s", w.Table, o, provider(o))
		case len(by[o]) == total:
			w.say("%s: %s exports all of them%s", w.Table, o, provider(o))
		default:
			w.say("%s: %s exports %d of the %d%s", w.Table, o, len(by[o]), total, provider(o))
		}
	}
	if n := len(owners) - 2*few; n > 0 {
		w.say("%s: %s export the rest", w.Table, count(n, "other module"))
	}
	if len(none) > 0 {
		w.say("%s: nothing exports %s", w.Table, some(none, few))
	}
	if len(gpl) > 0 {
		text := "for GPL modules only: " + some(gpl, few)
		if len(gpl) == total {
			text = "for GPL modules only"
		}
		if w.Module != nil {
			l := w.Module.InfoValue("license")
			if compat.GPLCompatible(l) {
				text += fmt.Sprintf("; %s is one (license %q)", w.File, l)
			} else {
				text += fmt.Sprintf("; %s is none (license %q): the kernel does not show them to it", w.File, l)
			}
		}
		w.say("%s: %s", w.Table, text)
	}
	for _, ns := range sortedKeys(spaces) {
		text := ""
		if w.Module != nil {
			text = ", which " + w.File + " does not import"
			for v := range w.Module.Info().All("import_ns") {
				if string(v) == ns {
					text = ", which " + w.File + " imports"
				}
			}
		}
		w.say("%s: in namespace %s%s", w.Table, ns, text)
	}
}

func sortedKeys(m map[string]int) []string {
	var list []string
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// provider is what to do about an exporter.
func provider(owner string) string {
	if owner == "vmlinux" {
		return ", the kernel itself: the module was loaded on another kernel, or the symbol is hidden from it"
	}
	return ": modprobe " + module.NameOfFile(owner) + " first"
}

// crcs compares the CRCs of some symbols.
func (w *witness) crcs(names []string) {
	var index *versions.Index
	if w.Module != nil {
		index = versions.NewIndex(w.Module.Versions().Effective())
	}
	said, equal := 0, 0
	for _, name := range names {
		var got, want string
		if index != nil {
			got = w.File + " has no CRC for it"
			if v := index.Find([]byte(name)); v != nil {
				got = w.File + " was built with " + render.CRC(v.CRC)
			}
		}
		if w.exporting {
			want = w.Table + " does not have it"
			if w.Target.NoExports {
				want = w.Table + " tells nothing of it"
			}
			if s, ok := w.lookup(name); ok && !s.HasCRC {
				want = w.Table + " has no CRC for it"
			} else if ok {
				want = w.Table + " has " + render.CRC(s.CRC)
				if index != nil {
					if v := index.Find([]byte(name)); v != nil && v.Matches(s.CRC) {
						want += ", the same: this is not the table of the kernel that refused"
						equal++
					}
				}
			}
		}
		if both := strings.Join(slices.DeleteFunc([]string{got, want}, func(s string) bool { return s == "" }), "; "); both != "" && said < 2*few {
			w.say("%s: %s", name, both)
			said++
		}
	}
	if len(names) > 2*few && index != nil && w.exporting {
		w.say("the CRCs of %d of these %d symbols differ between %s and %s", len(names)-equal, len(names), w.File, w.Table)
	}
}

// otherCRCs counts how the CRCs of all imports compare: a few that differ mean another configuration, nearly all another kernel.
func (w *witness) otherCRCs() {
	if w.Module == nil {
		return
	}
	if v := w.Module.InfoValue("vermagic"); v != "" {
		w.say("%s was built for %q", w.File, v)
	}
	if !w.exporting {
		return
	}
	same, differ, layout := 0, 0, false
	list := w.Module.Versions().Effective()
	for i := range list {
		v := &list[i]
		s, ok := w.lookup(string(v.Name))
		switch {
		case !ok, !s.HasCRC:
		case string(v.Name) == "module_layout":
			layout = !v.Matches(s.CRC)
		case v.Matches(s.CRC):
			same++
		default:
			differ++
		}
	}
	if same+differ == 0 {
		return
	}
	text := fmt.Sprintf("of %s in both, %d are equal and %d differ", count(same+differ, "other CRC"), same, differ)
	switch {
	case !layout:
	case differ == 0:
		text += ": the same source; struct module has another configuration"
	case same > differ:
		text += ": mostly the same source, another configuration or compiler (likely)"
	default:
		text += ": another kernel (likely)"
	}
	w.say("%s", text)
}

func (w *witness) namespaces() {
	if w.Module == nil {
		return
	}
	var names []string
	for v := range w.Module.Info().All("import_ns") {
		names = append(names, string(v))
	}
	if len(names) == 0 {
		w.say("%s imports no namespace", w.File)
		return
	}
	w.say("%s imports the namespaces %s", w.File, some(names, 2*few))
}

func (w *witness) duplicate() {
	name := w.g.Symbol
	if !w.exporting {
		return
	}
	s, ok := w.lookup(name)
	switch {
	case !ok:
		w.say("%s does not export %s", w.Table, name)
		return
	case s.Owner == "":
		w.say("%s: the kernel itself exports %s", w.Table, name)
	default:
		w.say("%s: %s exports %s", w.Table, s.Owner, name)
	}
	if w.Target.Builtin != nil {
		if p := w.Target.Builtin(w.g.Module); p != "" {
			w.say("%s: %s is built into the kernel: modules.builtin has %s", w.Table, w.g.Module, p)
		}
	}
	if w.Module == nil {
		return
	}
	n, all := 0, w.Module.Exports().Exports
	for i := range all {
		if _, ok := w.lookup(string(all[i].Name)); ok {
			n++
		}
	}
	w.say("%d of the %d names that %s exports are in %s", n, len(all), w.File, w.Table)
}

// fact is what is known of the kernel under a name, "" for nothing, and by what where that is not the evidence that the line names anyway.
func (w *witness) fact(what string) (value, by string) {
	if w.Target == nil {
		return "", ""
	}
	f := w.Target.Fact(what)
	if f == nil {
		return "", ""
	}
	if filepath.Base(f.From) == w.Table {
		return f.Value, ""
	}
	return f.Value, ", by " + f.From
}

func (w *witness) structModule() {
	if w.Module != nil && w.Module.This() != nil {
		w.say("struct module in %s has %#x bytes", w.File, w.Module.This().Size)
	}
	if size, by := w.fact("struct module size"); size != "" {
		w.say("%s: the kernel's has %s bytes%s", w.Table, size, by)
	}
}

func (w *witness) machine() {
	if w.Module != nil && w.Module.File.Arch != nil {
		w.say("%s is for %s", w.File, w.Module.File.Arch.Name)
	}
	if name, by := w.fact("machine"); name != "" {
		w.say("%s: the kernel is for %s%s", w.Table, name, by)
	}
}

// btf holds the types that the module refers to against those that the kernel has.
func (w *witness) btf() {
	if w.Module == nil {
		return
	}
	f := w.Module.File
	i := f.Find(".BTF")
	if i <= 0 {
		w.say("%s has no .BTF: the log is of another build", w.File)
		return
	}
	own, highest, ok := btf.Refs(f.Bytes(f.Sections[i]).Bytes(), f.Big)
	if !ok {
		w.say("the .BTF of %s cannot be followed to its end", w.File)
		return
	}
	w.say("the .BTF of %s has %d types of its own and refers to types up to %d", w.File, own, highest)
	if w.Target == nil || w.Target.Base == nil {
		return
	}
	base := w.Target.Base.Types
	if highest >= base+own {
		w.say("%s: the kernel has %d types: the module was built against another vmlinux", w.Table, base)
	} else {
		w.say("%s: the kernel has %d types: that fits", w.Table, base)
	}
}

func (w *witness) vermagic() {
	logged, _ := argOf(w.g, "module's")
	kernel, _ := argOf(w.g, "kernel's")
	if known, by := w.fact("vermagic"); known != "" {
		text := fmt.Sprintf("%s: the kernel's is %q%s", w.Table, known, by)
		if kernel != "" && strings.TrimRight(known, " ") != strings.TrimRight(kernel, " ") {
			text += ": this is not the kernel that wrote the line"
		}
		w.say("%s", text)
	}
	if w.Module == nil {
		return
	}
	own := w.Module.InfoValue("vermagic")
	w.say("the vermagic of %s is %q", w.File, own)
	switch {
	case own == "":
	case own == kernel:
		w.say("that is what the kernel wants: the log is of another build")
	case own != logged && strings.TrimRight(own, " ") != strings.TrimRight(logged, " "):
		w.say("that is not what the line says of it: the log is of another build")
	}
	if n := len(w.Module.Versions().Effective()); n > 0 {
		w.say("it has %s: a kernel with CONFIG_MODVERSIONS does not compare the release", count(n, "CRC"))
	} else {
		w.say("it has no CRCs: the release is compared too")
	}
}

func argOf(g *diag.Group, name string) (string, bool) {
	for i := range g.Args {
		if g.Args[i].Name == name {
			return g.Args[i].Value, true
		}
	}
	return "", false
}

func (w *witness) tag(key string) {
	if w.Module == nil {
		return
	}
	if v, ok := w.Module.Info().Get(key); ok {
		w.say("%s has %s=%q", w.File, key, v)
	} else {
		w.say("%s has no %s=", w.File, key)
	}
}

func (w *witness) signature() {
	if w.Module == nil {
		return
	}
	s := w.Module.Signature()
	switch {
	case s != nil:
		w.say("%s is signed by %q with key %s, digest %s", w.File, s.Signer(), s.KeyID(), s.HashAlgo())
		if w.Target != nil {
			w.trusted(s)
		}
	case sig.Hidden(w.Module.File.Source()) > 0:
		w.say("%s has a signature, but not at its end", w.File)
	default:
		w.say("%s is not signed", w.File)
	}
}

// trusted says whether the kernel knows the signer, as far as that is told.
func (w *witness) trusted(s *sig.Signature) {
	if w.Target.Keys != nil {
		if c := s.By(w.Target.Keys); c != nil {
			w.say("the kernel trusts that key: certificate of %q", c.Subject.CommonName)
		} else {
			w.say("that key is none of the %s that the kernel trusts", count(len(w.Target.Keys), "certificate"))
		}
	}
	if len(w.Target.Signers) > 0 {
		var names []string
		for _, n := range sortedKeys(w.Target.Signers) {
			names = append(names, strconv.Quote(n))
		}
		w.say("%s: the kernel's own modules are signed by %s", w.Table, some(names, few))
	}
}

func (w *witness) parameter() {
	name, ok := argOf(w.g, "parameter")
	if w.Module == nil || !ok {
		return
	}
	same := func(a, b string) bool { return strings.ReplaceAll(a, "-", "_") == strings.ReplaceAll(b, "-", "_") }
	list := w.Module.Params()
	if i := slices.IndexFunc(list, func(p params.Param) bool { return same(p.Name, name) }); i >= 0 {
		w.say("%s has the parameter %s, of type %s", w.File, list[i].Name, cmp.Or(list[i].Type, "unknown"))
		return
	}
	var names []string
	for i := range list {
		names = append(names, list[i].Name)
	}
	switch near := Nearest(name, names); {
	case len(names) == 0:
		w.say("%s has no parameters", w.File)
	case len(near) > 0:
		w.say("%s has no parameter %s; did you mean %s?", w.File, name, near[0])
	default:
		w.say("%s has no parameter %s, but %s", w.File, name, some(names, 2*few))
	}
}

// relocations finds the relocations of the line's type.
func (w *witness) relocations() {
	typ, ok := relocType(w.g)
	if w.Module == nil || !ok {
		return
	}
	f := w.Module.File
	n, where := 0, ""
	for _, t := range w.Module.Relocs() {
		for i := range t.Len() {
			r := t.At(i)
			if r.Type != typ {
				continue
			}
			if n++; n > 1 {
				continue
			}
			target := "section " + strconv.FormatUint(uint64(t.Target), 10)
			if int64(t.Target) < int64(len(f.Sections)) {
				target = f.Sections[t.Target].Name
			}
			where = fmt.Sprintf("%s+%#x", target, r.Off)
			if syms := w.Module.Symtab(); int64(r.Sym) < int64(syms.Len()) {
				if name := f.DisplayName(syms, syms.At(int(r.Sym))); len(name) > 0 {
					where += fmt.Sprintf(" (%s)", name)
				}
			}
		}
	}
	switch n {
	case 0:
		w.say("%s has no relocation of type %d: the log is of another build", w.File, typ)
	case 1:
		w.say("%s has one relocation of that type, at %s", w.File, where)
	default:
		w.say("%s has %d relocations of that type, the first at %s", w.File, n, where)
	}
}

// relocType is the relocation type that a line names.
func relocType(g *diag.Group) (uint32, bool) {
	if g.Tool != nil {
		return 0, false
	}
	switch g.Entry.Code {
	case diag.RelocType, diag.RelocRange, diag.RelocNonZero:
	default:
		return 0, false
	}
	v, ok := argOf(g, "type")
	base := 10
	if slices.Equal(g.Arch, []string{"sparc64"}) {
		base = 16
	}
	n, err := strconv.ParseUint(v, base, 32)
	return uint32(n), ok && err == nil
}

// RelocGuess is a name that the relocation type of a line may have.
type RelocGuess struct {
	Type       uint32
	Name, Arch string
	Howto      reloc.Howto
}

// relocNames are the names of the type in the line, by the machine of the module or by whose loader words it so.
func (e *Beside) relocNames(g *diag.Group) []RelocGuess {
	typ, ok := relocType(g)
	if !ok {
		return nil
	}
	var machines []*arch.Arch
	var m BesideModule
	other := false
	if e != nil {
		m, other = e.module(g)
	}
	if m.Module != nil && m.Module.File.Arch != nil && !other {
		machines = append(machines, m.Module.File.Arch)
	} else {
		for _, name := range g.Arch {
			if a := arch.Named(name); a != nil {
				machines = append(machines, a)
			}
		}
	}
	var list []RelocGuess
	for _, a := range machines {
		if name := reloc.Name(a.Machine, typ); name != "" {
			list = append(list, RelocGuess{typ, name, a.Name, reloc.Lookup(a.Machine, a.Class, typ)})
		}
	}
	return list
}
