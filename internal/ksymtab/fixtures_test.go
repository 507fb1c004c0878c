package ksymtab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	kelf "kotool/internal/elf"
)

// fixtures are modules that kbuild made, by directory: a machine and a kernel.
func fixtures(t testing.TB) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join("..", "..", "testdata", "ko", "*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(dirs) == 0 {
		t.Fatal("no fixtures")
	}
	return dirs
}

// TestFixturesExportWhatModpostWrote compares each module with the Module.symvers that its own build left.
func TestFixturesExportWhatModpostWrote(t *testing.T) {
	for _, dir := range fixtures(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(dir, "modules.symvers"))
			if err != nil {
				t.Fatal(err)
			}
			rows := map[string][]string{} // by module
			for line := range strings.Lines(string(text)) {
				f := append(strings.Split(strings.TrimRight(line, "\n"), "\t"), "")
				module := filepath.Base(f[2])
				rows[module] = append(rows[module], fmt.Sprintf("%s %s %v %q", f[1], f[0], f[3] == "EXPORT_SYMBOL_GPL", f[4]))
			}
			seen := 0
			for module, want := range rows {
				data, err := os.ReadFile(filepath.Join(dir, module+".ko"))
				if errors.Is(err, fs.ErrNotExist) {
					continue // not every module is kept for every machine
				}
				if err != nil {
					t.Fatal(err)
				}
				f, err := kelf.Parse(kelf.Mem(data))
				if err != nil {
					t.Fatal(err)
				}
				tab, err := Read(f)
				if err != nil {
					t.Errorf("%s: %v", module, err)
				}
				var got []string
				for _, e := range tab.Exports {
					got = append(got, fmt.Sprintf("%s 0x%08x %v %q", e.Name, e.CRC, e.License.GPL(), e.Namespace))
					seen++
				}
				slices.Sort(got)
				slices.Sort(want)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: %s", module, diff)
				}
			}
			if seen == 0 {
				t.Error("no exports were compared")
			}
		})
	}
}
