package compat

import (
	"testing"

	"kotool/internal/diag"
	"kotool/internal/symvers"
)

const rows = `0x00000001	module_layout	vmlinux	EXPORT_SYMBOL	
0x00000002	plain	vmlinux	EXPORT_SYMBOL	
0x00000003	gpl	vmlinux	EXPORT_SYMBOL_GPL	
0x00000004	spaced	vmlinux	EXPORT_SYMBOL_GPL	NS
0x00000005	friends	vmlinux	EXPORT_SYMBOL_GPL	module:kvm-*,exact
0x00000006	other	drivers/x/other-mod	EXPORT_SYMBOL	
`

func target(t *testing.T) *Target {
	t.Helper()
	tab, err := symvers.Parse([]byte(rows))
	if err != nil {
		t.Fatal(err)
	}
	return &Target{Symvers: []*symvers.Table{tab}, ModVersions: true, Live: map[string]Export{}}
}

func at(crc uint32) Version { return Version{CRC: crc, Found: true} }

func TestResolveAsksInTheKernelsOrder(t *testing.T) {
	for _, c := range []struct {
		name string
		im   Importer
		sym  Import
		want diag.Code // "" for resolved
	}{
		{"provided", Importer{License: "GPL", Versions: "basic"}, Import{Name: "plain", Ver: at(2)}, ""},
		{"another CRC", Importer{License: "GPL", Versions: "basic"}, Import{Name: "plain", Ver: at(9)}, diag.SymCRC},
		{"upper half of the CRC set", Importer{License: "GPL", Versions: "basic"}, Import{Name: "plain", Ver: Version{2, 1, true}}, diag.SymCRC},
		{"a weak symbol with another CRC fails as well", Importer{License: "GPL", Versions: "basic"}, Import{Name: "plain", Weak: true, Ver: at(9)}, diag.SymCRC},
		{"no CRC in the basic table", Importer{License: "GPL", Versions: "basic"}, Import{Name: "plain"}, diag.SymNoCRC},
		{"no CRC in the extended table is fine", Importer{License: "GPL", Versions: "extended"}, Import{Name: "plain"}, ""},
		{"missing", Importer{License: "GPL", Versions: "basic"}, Import{Name: "nobody"}, diag.SymMissing},
		{"missing but weak", Importer{License: "GPL", Versions: "basic"}, Import{Name: "nobody", Weak: true}, diag.SymWeak},
		{"GPL-only for a GPL module", Importer{License: "Dual MIT/GPL", Versions: "basic"}, Import{Name: "gpl", Ver: at(3)}, ""},
		{"GPL-only for another", Importer{License: "Proprietary", Versions: "basic"}, Import{Name: "gpl", Ver: at(3)}, diag.SymGPL},
		{"the licence is compared to the letter", Importer{License: "gpl", Versions: "basic"}, Import{Name: "gpl", Ver: at(3)}, diag.SymGPL},
		{"namespace imported", Importer{License: "GPL", Versions: "basic", Namespaces: []string{"X", "NS"}}, Import{Name: "spaced", Ver: at(4)}, ""},
		{"namespace not imported", Importer{License: "GPL", Versions: "basic", Namespaces: []string{"\"NS\""}}, Import{Name: "spaced", Ver: at(4)}, diag.Namespace},
		{"the CRC comes before the namespace", Importer{License: "GPL", Versions: "basic"}, Import{Name: "spaced", Ver: at(9)}, diag.SymCRC},
		{"exported for modules by prefix", Importer{Name: "kvm_intel", License: "GPL", Versions: "basic"}, Import{Name: "friends", Ver: at(5)}, ""},
		{"exported for a module by name", Importer{Name: "exact", License: "GPL", Versions: "basic"}, Import{Name: "friends", Ver: at(5)}, ""},
		{"exported for other modules", Importer{Name: "exactly", License: "GPL", Versions: "basic"}, Import{Name: "friends", Ver: at(5)}, diag.Namespace},
		{"of another module", Importer{License: "GPL", Versions: "basic"}, Import{Name: "other", Ver: at(6)}, ""},
		{"its own export is not seen", Importer{Name: "other_mod", License: "GPL", Versions: "basic"}, Import{Name: "other", Ver: at(6)}, diag.SymMissing},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := Resolve(&c.im, &c.sym, target(t))
			got := diag.Code("")
			if o.Finding != nil {
				got = o.Finding.Code
			}
			if got != c.want {
				t.Errorf("got %q want %q", got, c.want)
			}
		})
	}
}

func TestLayoutIsAskedFirst(t *testing.T) {
	tg := target(t)
	for _, c := range []struct {
		im   Importer
		want diag.Code
	}{
		{Importer{Versions: "basic", Layout: at(1)}, ""},
		{Importer{Versions: "basic", Layout: at(7)}, diag.LayoutCRC},
		{Importer{Versions: "basic"}, diag.LayoutNoCRC},
		{Importer{Versions: "extended"}, ""},
		{Importer{Versions: "none"}, diag.NoVersions},
	} {
		got := diag.Code("")
		if f := Layout(&c.im, tg); len(f) > 0 {
			got = f[0].Code
		}
		if got != c.want {
			t.Errorf("%+v: got %q want %q", c.im, got, c.want)
		}
	}
	tg.ModVersions = false
	if f := Layout(&Importer{Versions: "none"}, tg); len(f) != 0 {
		t.Errorf("a kernel without versions asks for them: %v", f)
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
