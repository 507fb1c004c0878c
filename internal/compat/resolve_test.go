package compat

import (
	"strings"
	"testing"

	"kotool/internal/diag"
	"kotool/internal/elf"
	"kotool/internal/elftest"
	"kotool/internal/kver"
	"kotool/internal/symvers"
)

const rows = `0x00000001	module_layout	vmlinux	EXPORT_SYMBOL	
0x00000002	plain	vmlinux	EXPORT_SYMBOL	
0x00000003	gpl	vmlinux	EXPORT_SYMBOL_GPL	
0x00000004	spaced	vmlinux	EXPORT_SYMBOL_GPL	NS
0x00000005	friends	vmlinux	EXPORT_SYMBOL_GPL	module:kvm-*,exact
0x00000006	other	drivers/x/other-mod	EXPORT_SYMBOL	
0x00000007	twice	drivers/x/first	EXPORT_SYMBOL	
0x00000008	twice	vmlinux	EXPORT_SYMBOL	
`

func target(t *testing.T) *Target {
	t.Helper()
	tab, err := symvers.Parse([]byte(rows))
	if err != nil {
		t.Fatal(err)
	}
	return &Target{Symvers: []*symvers.Table{tab}, ModVersions: true, MissingCRC: Yes, Live: map[string]Export{}, LiveModules: map[string]*LiveModule{}}
}

func at(crc uint32) Version { return Version{CRC: crc, Found: true} }

func TestResolveAsksInTheKernelsOrder(t *testing.T) {
	for _, c := range []struct {
		name  string
		im    Importer
		sym   Import
		want  diag.Code // "" for resolved
		errno diag.Errno
	}{
		{"provided", Importer{License: "GPL", Versions: "basic"}, Import{Name: "plain", Ver: at(2)}, "", 0},
		{"the kernel's own comes first", Importer{License: "GPL", Versions: "basic"}, Import{Name: "twice", Ver: at(8)}, "", 0},
		{"another CRC", Importer{License: "GPL", Versions: "basic"}, Import{Name: "plain", Ver: at(9)}, diag.SymCRC, diag.EINVAL},
		{"upper half of the CRC set", Importer{License: "GPL", Versions: "basic"}, Import{Name: "plain", Ver: Version{2, 1, true}}, diag.SymCRC, diag.EINVAL},
		{"a weak symbol with another CRC fails as well", Importer{License: "GPL", Versions: "basic"}, Import{Name: "plain", Weak: true, Ver: at(9)}, diag.SymCRC, diag.EINVAL},
		{"no CRC in the basic table", Importer{License: "GPL", Versions: "basic"}, Import{Name: "plain"}, diag.SymNoCRC, diag.EINVAL},
		{"no CRC in the extended table is fine", Importer{License: "GPL", Versions: "extended"}, Import{Name: "plain"}, diag.SymNoCRC, 0},
		{"no table: module_layout has said it", Importer{License: "GPL", Versions: "none"}, Import{Name: "plain"}, "", 0},
		{"missing", Importer{License: "GPL", Versions: "basic"}, Import{Name: "nobody"}, diag.SymMissing, diag.ENOENT},
		{"missing but weak", Importer{License: "GPL", Versions: "basic"}, Import{Name: "nobody", Weak: true}, diag.SymWeak, 0},
		{"GPL-only for a GPL module", Importer{License: "Dual MIT/GPL", Versions: "basic"}, Import{Name: "gpl", Ver: at(3)}, "", 0},
		{"GPL-only for another", Importer{License: "Proprietary", Versions: "basic"}, Import{Name: "gpl", Ver: at(3)}, diag.SymGPL, diag.ENOENT},
		{"GPL-only, weak, for another", Importer{License: "Proprietary", Versions: "basic"}, Import{Name: "gpl", Weak: true, Ver: at(3)}, diag.SymWeak, 0},
		{"GPL-only for one that is tainted already", Importer{License: "GPL", Taints: TaintProprietary, Versions: "basic"}, Import{Name: "gpl", Ver: at(3)}, diag.SymGPL, diag.ENOENT},
		{"the licence comes before the CRC", Importer{License: "Proprietary", Versions: "basic"}, Import{Name: "gpl", Ver: at(9)}, diag.SymGPL, diag.ENOENT},
		{"namespace imported", Importer{License: "GPL", Versions: "basic", Namespaces: []string{"X", "NS"}}, Import{Name: "spaced", Ver: at(4)}, "", 0},
		{"namespace not imported", Importer{License: "GPL", Versions: "basic", Namespaces: []string{"\"NS\""}}, Import{Name: "spaced", Ver: at(4)}, diag.Namespace, diag.EINVAL},
		{"the CRC comes before the namespace", Importer{License: "GPL", Versions: "basic"}, Import{Name: "spaced", Ver: at(9)}, diag.SymCRC, diag.EINVAL},
		{"exported for modules by prefix", Importer{Name: "kvm_intel", License: "GPL", Versions: "basic"}, Import{Name: "friends", Ver: at(5)}, "", 0},
		{"the prefix alone", Importer{Name: "kvm_", License: "GPL", Versions: "basic"}, Import{Name: "friends", Ver: at(5)}, "", 0},
		{"less than the prefix", Importer{Name: "kvm", License: "GPL", Versions: "basic"}, Import{Name: "friends", Ver: at(5)}, diag.Namespace, diag.EINVAL},
		{"exported for a module by name", Importer{Name: "exact", License: "GPL", Versions: "basic"}, Import{Name: "friends", Ver: at(5)}, "", 0},
		{"exported for other modules", Importer{Name: "exactly", License: "GPL", Versions: "basic"}, Import{Name: "friends", Ver: at(5)}, diag.Namespace, diag.EINVAL},
		{"of another module", Importer{License: "GPL", Versions: "basic"}, Import{Name: "other", Ver: at(6)}, "", 0},
		{"its own export is not seen", Importer{Name: "other_mod", License: "GPL", Versions: "basic"}, Import{Name: "other", Ver: at(6)}, diag.SymMissing, diag.ENOENT},
		{"a common symbol", Importer{}, Import{Name: "x", Bad: diag.SymCommon}, diag.SymCommon, diag.ENOEXEC},
		{"in a section that is not there", Importer{Sections: 4}, Import{Name: "x", Bad: diag.SymIndex, Shndx: 9}, diag.SymIndex, diag.ENOEXEC},
	} {
		t.Run(c.name, func(t *testing.T) {
			tg := target(t)
			for range 2 { // the second time by what was remembered
				o := NewResolver(&c.im, tg).Resolve(&c.sym)
				got := diag.Code("")
				if o.Finding != nil {
					got = o.Finding.Code
				}
				if got != c.want || o.Errno != c.errno {
					t.Errorf("got %q %v want %q %v", got, o.Errno, c.want, c.errno)
				}
			}
			if c.want == "" && !tg.Provides(&c.sym, c.im.Name) || c.want == diag.SymMissing && tg.Provides(&c.sym, c.im.Name) {
				t.Errorf("Provides says otherwise")
			}
		})
	}
}

func TestModulesThatAreLoadedBesideIt(t *testing.T) {
	tg := target(t)
	tg.Live["fresh"] = Export{CRC: 1, HasCRC: true, Owner: "neighbour"}
	tg.Live["other"] = Export{CRC: 0x60, HasCRC: true, Owner: "other_mod"} // the row about it is of another build
	for name, want := range map[string]uint32{"fresh": 1, "other": 0x60, "plain": 2} {
		if e, ok := tg.Find([]byte(name), "me"); !ok || e.CRC != want {
			t.Errorf("%s: got %#x (%v) want %#x", name, e.CRC, ok, want)
		}
	}
	if _, ok := tg.Find([]byte("fresh"), "neighbour"); ok {
		t.Error("a module sees its own export")
	}
	tg.OnlyLoaded = true
	delete(tg.Live, "other")
	if _, ok := tg.Find([]byte("other"), "me"); ok {
		t.Error("a row about a module that is not loaded counts")
	}
	tg.Granted = func(n []byte) bool { return strings.HasPrefix(string(n), "any") }
	if e, ok := tg.Find([]byte("anything"), "me"); !ok || e.HasCRC {
		t.Errorf("a granted name: got %+v, %v", e, ok)
	}
	learned, err := symvers.Parse([]byte("0x0000000a\tused\tvmlinux\tEXPORT_SYMBOL\t\n0x00000000\tbare\tvmlinux\tEXPORT_SYMBOL\t\n"))
	if err != nil {
		t.Fatal(err)
	}
	tg.Learned = learned
	for name, has := range map[string]bool{"used": true, "bare": false} {
		if e, ok := tg.Find([]byte(name), "me"); !ok || e.HasCRC != has {
			t.Errorf("%s, learned: got %+v, %v", name, e, ok)
		}
	}
}

func TestMissingCRCsByDistribution(t *testing.T) {
	im := &Importer{License: "GPL", Versions: "basic", Name: "me", InfoName: "me"}
	for _, c := range []struct {
		name    string
		refuses Answer
		errno   diag.Errno
		assumes int
		lines   int
	}{{"Debian", Yes, diag.EINVAL, 0, 2}, {"kernel.org", No, 0, 0, 1}, {"not known", Unknown, diag.EINVAL, 1, 2}} {
		tg := target(t)
		tg.MissingCRC = c.refuses
		o := NewResolver(im, tg).Resolve(&Import{Name: "plain"})
		if o.Finding == nil || o.Errno != c.errno || len(o.Finding.Assumes) != c.assumes || len(o.Finding.Dmesg) != c.lines {
			t.Errorf("%s: got %v %+v", c.name, o.Errno, o.Finding)
		}
	}
	// The line comes once a boot.
	tg := target(t)
	tg.MissingCRC = No
	r := NewResolver(im, tg)
	r.Resolve(&Import{Name: "plain"})
	if o := r.Resolve(&Import{Name: "gpl"}); len(o.Finding.Dmesg) != 0 {
		t.Errorf("the second one is logged too: %q", o.Finding.Dmesg)
	}
}

func TestProprietaryTaintsAreInherited(t *testing.T) {
	order := func(v kver.Version, names ...string) (codes []diag.Code, taints string) {
		tg := target(t)
		tg.Version = v
		tg.LiveModules["other_mod"] = &LiveModule{Taints: TaintProprietary}
		r := NewResolver(&Importer{Name: "me", License: "GPL", Versions: "basic"}, tg)
		for _, n := range names {
			ver := map[string]Version{"gpl": at(3), "other": at(6), "plain": at(2)}[n]
			o := r.Resolve(&Import{Name: n, Ver: ver})
			switch {
			case o.Finding != nil:
				codes = append(codes, o.Finding.Code)
			case o.Warning != nil:
				codes = append(codes, o.Warning.Code)
			default:
				codes = append(codes, "")
			}
		}
		return codes, r.Taints().Letters()
	}
	for _, c := range []struct {
		name   string
		v      kver.Version
		uses   []string
		want   []diag.Code
		taints string
	}{
		{"GPL-only first, then a proprietary module's", kver.V(6, 1), []string{"gpl", "other"}, []diag.Code{"", diag.SymTaint}, ""},
		{"a proprietary module's first, then GPL-only", kver.V(6, 1), []string{"other", "gpl"}, []diag.Code{diag.SymInherit, diag.SymGPL}, "P"},
		{"no GPL-only", kver.V(6, 1), []string{"plain", "other", "other"}, []diag.Code{"", diag.SymInherit, ""}, "P"},
		{"before 5.9", kver.V(5, 4), []string{"gpl", "other"}, []diag.Code{"", ""}, ""},
	} {
		got, taints := order(c.v, c.uses...)
		for i := range c.want {
			if got[i] != c.want[i] {
				t.Errorf("%s: got %q want %q", c.name, got, c.want)
				break
			}
		}
		if taints != c.taints {
			t.Errorf("%s: taints %q want %q", c.name, taints, c.taints)
		}
	}
}

func TestNamespaceHintsAndTheOptionThatForgives(t *testing.T) {
	im := &Importer{Name: "lisa", License: "GPL", Versions: "basic"}
	for v, want := range map[kver.Version]string{kver.V(6, 12): "MODULE_IMPORT_NS(NS)", kver.V(6, 13): `MODULE_IMPORT_NS("NS")`, {}: `MODULE_IMPORT_NS("NS")`} {
		tg := target(t)
		tg.Version = v
		o := NewResolver(im, tg).Resolve(&Import{Name: "spaced", Ver: at(4)})
		if o.Finding == nil || !strings.Contains(o.Finding.Hint, want) {
			t.Errorf("%v: got %+v", v, o.Finding)
		}
	}
	tg := config(target(t), "MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS=y")
	o := NewResolver(im, tg).Resolve(&Import{Name: "spaced", Ver: at(4)})
	if o.Errno != 0 || o.Finding == nil || o.Finding.Severity != diag.Warning || len(o.Finding.Dmesg) != 1 {
		t.Errorf("got %v %+v", o.Errno, o.Finding)
	}
}

func TestGPLCompatibleIsTheKernelsListToTheLetter(t *testing.T) {
	for license, want := range map[string]bool{
		"GPL": true, "GPL v2": true, "GPL and additional rights": true, "Dual BSD/GPL": true, "Dual MIT/GPL": true, "Dual MPL/GPL": true,
		"": false, "unspecified": false, "GPLv2": false, "GPL ": false, "gpl": false, "Proprietary": false, "GPL v3": false, "Dual MIT/GPL v2": false,
	} {
		if got := GPLCompatible(license); got != want {
			t.Errorf("%q: got %v", license, got)
		}
	}
}

func TestLayoutIsAskedFirst(t *testing.T) {
	none := on(func(o *elftest.Object) { o.Drop("__versions") })
	crc := func(v uint32) func(*elftest.Builder) {
		return on(func(o *elftest.Object) { o.CRC("module_layout", v) })
	}
	empty := on(func(o *elftest.Object) { o.SetSize("__versions", 63) })
	for _, c := range []struct {
		name    string
		edit    func(*elftest.Builder)
		options string
		missing Answer
		want    diag.Code
	}{
		{"equal", crc(1), "", Yes, ""},
		{"another", crc(7), "", Yes, diag.LayoutCRC},
		{"a table that lacks it, Debian", empty, "", Yes, diag.LayoutNoCRC},
		{"a table that lacks it, kernel.org", empty, "", No, ""},
		{"no table", none, "MODULE_FORCE_LOAD=n", Yes, diag.NoVersions},
		{"no table, forced", none, "MODULE_FORCE_LOAD=y", Yes, ""},
		{"no table, and whether it is forced is not known", none, "", Yes, diag.NoVersions},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := sample()
			c.edit(b)
			for _, v := range eras {
				tg := config(target(t), c.options)
				tg.Version, tg.MissingCRC, tg.Vermagic = v, c.missing, "9.9.9 another altogether "
				got, p := verdict(t, tg, b.Bytes()) // an assumption lets the next question be asked
				if c.want == "" {
					c.want = diag.Vermagic // which is asked behind it
				}
				if got != c.want && !(len(p.Findings[0].Assumes) > 0 && p.Findings[0].Code == c.want) {
					t.Errorf("%v: got %q want %q (%+v)", v, got, c.want, p.Findings)
				}
			}
		})
	}
	tg := target(t)
	tg.ModVersions = false
	b := sample()
	none(b)
	if got, _ := verdict(t, tg, b.Bytes()); got != "" {
		t.Errorf("a kernel without versions asks for them: %v", got)
	}
}

func TestDuplicateNamesTheOwner(t *testing.T) {
	tg := target(t)
	tg.Live["live"] = Export{Owner: "a_module"}
	for _, c := range []struct {
		symbol, owner string
		severity      diag.Severity
	}{{"plain", "kernel", diag.Error}, {"live", "a_module", diag.Error}, {"other", "other_mod", diag.Warning}} {
		f := Duplicate("me", c.symbol, tg)
		if f == nil || f.Got != c.owner || f.Severity != c.severity {
			t.Errorf("%s: got %+v", c.symbol, f)
		}
	}
	if f := Duplicate("other_mod", "other", tg); f != nil {
		t.Errorf("a module's own row: %+v", f)
	}
	if f := Duplicate("me", "fresh", tg); f != nil {
		t.Errorf("a new name: %+v", f)
	}
}

func TestImporterTakesWhatTheKernelResolves(t *testing.T) {
	b := sample()
	b.Undefined("plain")
	b.Symbol(elftest.Symbol{Name: "weakly", Info: 2 << 4})
	b.Symbol(elftest.Symbol{Name: "_GLOBAL_OFFSET_TABLE_", Info: 1 << 4})
	b.Symbol(elftest.Symbol{Name: "absolute", Info: 1 << 4, Shndx: 0xfff1, Value: 7})
	b.Symbol(elftest.Symbol{Name: "lively", Info: 1 << 4, Shndx: 0xff20})
	b.Symbol(elftest.Symbol{Name: "shared", Info: 1 << 4, Shndx: 0xfff2})
	b.Symbol(elftest.Symbol{Name: "__gnu_lto_slim", Info: 1 << 4, Shndx: 0xfff2})
	b.Symbol(elftest.Symbol{Name: "lost", Info: 1 << 4, Shndx: 500})
	b.Version("plain", 2)
	l := NewLoad(kernel(kver.V(6, 1)), elf.Mem(b.Bytes()), 0)
	if p, err := l.Before(); err != nil || p.Errno != 0 {
		t.Fatal(p, err)
	}
	im, err := l.Importer()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, i := range im.Imports {
		s := i.Name + " " + string(i.Bad)
		if i.Weak {
			s += "weak"
		}
		if i.Ver.Found {
			s += crc(i.Ver.CRC)
		}
		got = append(got, s)
	}
	want := []string{"plain 0x00000002", "weakly weak", "shared KT-SYM-COMMON", "lost KT-SYM-INDEX"}
	if strings.Join(got, "; ") != strings.Join(want, "; ") {
		t.Errorf("got %q want %q", got, want)
	}
	if im.Name != "sample" || im.License != "GPL" || im.Versions != "basic" {
		t.Errorf("got %+v", im)
	}
}

func TestDebianReleases(t *testing.T) {
	for release, want := range map[string]bool{
		"6.1.0-50-amd64": true, "6.12.107+deb13-amd64": true, "5.10.0-32-686-pae": true, "6.1.0-0.deb11.7-amd64": false, "6.1.0-50-cloud-amd64": true, "6.1.0-50-rt-amd64": true,
		"6.5.0-14-generic": false, "6.1.0": false, "6.1.0-50": false, "5.3.18-150300.59.60-default": false,
	} {
		if got := DebianRelease(release); got != want {
			t.Errorf("%s: got %v", release, got)
		}
	}
}
