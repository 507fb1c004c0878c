package kimage

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// kernels are the images below the directories that KOTOOL_IMAGES names, and the Module.symvers of each, if it is there.
func kernels(t testing.TB) map[string]string {
	t.Helper()
	list := os.Getenv("KOTOOL_IMAGES")
	if list == "" {
		t.Skip("KOTOOL_IMAGES is not set: it names directories of unpacked kernel packages, separated by colons")
	}
	found := map[string]string{}
	for _, root := range filepath.SplitList(list) {
		for _, pattern := range []string{"boot/vmlinu[xz]*", "usr/lib/modules/*/vmlinu[xz]", "lib/modules/*/vmlinu[xz]"} {
			images, err := filepath.Glob(filepath.Join(root, pattern))
			if err != nil {
				t.Fatal(err)
			}
			for _, image := range images {
				headers, _ := filepath.Glob(filepath.Join(root, "usr/src/*/Module.symvers"))
				found[image] = strings.Join(headers, "")
			}
		}
	}
	if len(found) == 0 {
		t.Fatalf("no images below %s", list)
	}
	return found
}

// TestRealKernelsExportWhatModpostWrote compares each kernel with the Module.symvers of its build.
func TestRealKernelsExportWhatModpostWrote(t *testing.T) {
	for path, symvers := range kernels(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			im, err := Open(data, 0)
			if err != nil {
				t.Fatal(err)
			}
			took := time.Since(start)
			n := 0
			for range im.Symbols() {
				n++
			}
			t.Logf("%s, %s, %s, %q, %v: %d exports, %d bytes of config, %d of BTF, %d symbols, in %v; %q",
				im.Kind, im.Packing, im.Release, im.Vermagic, im.Arch.Name, len(im.Exports), len(im.Config), len(im.BTF), n, took, im.Notes)
			if im.Release == "" || im.Vermagic == "" || !strings.HasPrefix(im.Vermagic, im.Release+" ") {
				t.Errorf("got release %q, vermagic %q", im.Release, im.Vermagic)
			}
			if symvers == "" {
				return
			}
			text, err := os.ReadFile(symvers)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{}
			for line := range strings.Lines(string(text)) {
				f := append(strings.Split(strings.TrimRight(line, "\n"), "\t"), "")
				if f[2] == "vmlinux" {
					want[f[1]] = fmt.Sprintf("%s %v %q", f[0], f[3] == "EXPORT_SYMBOL_GPL", f[4])
				}
			}
			bad := 0
			for i := range im.Exports {
				e := &im.Exports[i]
				got := fmt.Sprintf("0x%08x %v %q", e.CRC, e.License.GPL(), e.Namespace)
				if want[string(e.Name)] != got {
					if bad++; bad < 6 {
						t.Errorf("%s: got %s want %s", e.Name, got, want[string(e.Name)])
					}
				}
			}
			if len(want) != len(im.Exports) || bad > 0 {
				t.Errorf("got %d exports, %d of them differ; want %d", len(im.Exports), bad, len(want))
			}
			// kallsyms and the exports must agree on where functions are.
			wrong, both := 0, 0
			im.indexSymbols()
			for i := range im.Exports {
				e := &im.Exports[i]
				if at, ok := im.index[string(e.Name)]; ok && at.global {
					both++
					if at.addr != e.Value.Off {
						if wrong++; wrong < 4 {
							t.Logf("%s: kallsyms %#x, export %#x", e.Name, at.addr, e.Value.Off)
						}
					}
				}
			}
			t.Logf("%d exports are in kallsyms, %d of them elsewhere", both, wrong)
			if n > 0 && (wrong > both/500 || both < len(im.Exports)/2) {
				t.Errorf("%d of %d exports are elsewhere by kallsyms (%d exports)", wrong, both, len(im.Exports))
			}
			if !bytes.Contains([]byte(im.Banner), []byte(im.Release)) {
				t.Errorf("got banner %q", im.Banner)
			}
		})
	}
}
