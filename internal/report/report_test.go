package report

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kotool/internal/module"
	"kotool/internal/render"
	"kotool/internal/source"
)

// fixtures calls f for every module of testdata.
func fixtures(t *testing.T, f func(t *testing.T, m *module.Module)) {
	t.Helper()
	files, err := filepath.Glob("../../testdata/ko/*/*.ko")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d fixtures (%v)", len(files), err)
	}
	for _, path := range files {
		name, _ := filepath.Rel("../../testdata/ko", path)
		t.Run(name, func(t *testing.T) {
			src, err := source.Open(path, source.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			m, err := module.Decode(src, module.Meta{Path: path})
			if err != nil {
				t.Fatal(err)
			}
			f(t, m)
		})
	}
}

// TestTheFastTextIsTheTables: symbols and relocations are set by writers of their own, and must come out as their tables would.
func TestTheFastTextIsTheTables(t *testing.T) {
	fixtures(t, func(t *testing.T, m *module.Module) {
		for _, r := range []Report{
			NewSymbols(m.File, m.Symtab(), SymbolFilter{}, ExportIndex(m.Exports())),
			NewRelocs(m.File, m.Symtab(), m.Relocs()),
		} {
			want := render.NewOut(nil)
			for i, table := range r.Tables() {
				if i > 0 {
					want.Str("\n")
				}
				table.Text(want, &render.Style{})
			}
			got := render.NewOut(nil)
			r.(Texter).Text(got, &render.Style{})
			if d := cmp.Diff(string(want.B), string(got.B)); d != "" {
				t.Errorf("%s (-table +fast):\n%s", r.Schema(), d)
			}
		}
	})
}
