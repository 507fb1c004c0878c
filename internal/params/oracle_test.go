package params

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	kelf "kotool/internal/elf"
	"kotool/internal/kver"
	"kotool/internal/oracledir"
	"kotool/internal/source"
)

// Verdicts of real kernels: the errno and the log lines of modules loaded with parameters. They are not part of the repository;
// KOTOOL_ORACLE names the folder that holds them.

type verdict struct {
	ID    string
	Base  string
	Errno int
	Dmesg []string
}

// ours reports whether a log line is parse_args's or the loader's own; the others are of the module's code or of other modules.
func ours(line string) bool {
	for _, s := range []string{"unknown parameter '", "' invalid for parameter `", "' too large for parameter `", "' after `--' ignored", "string doesn't fit in ",
		": string parameter too long", ": can only take ", "<3>dyndbg: ", "Setting dangerous option "} {
		if strings.Contains(line, s) {
			return true
		}
	}
	return false
}

// cut is how much of a line the kernel's log keeps, in bytes. Source: kernel/printk/printk.c: LOG_LINE_MAX, PRINTKRB_RECORD_MAX.
func cut(line string, release string) string {
	limit := 989
	if strings.HasPrefix(release, "6.12") {
		limit = 1021
	}
	return line[:min(len(line), limit)]
}

// oracle is the folder of the recordings; the test is skipped without any.
func oracle(t *testing.T) string {
	t.Helper()
	dir := oracledir.Path()
	if list, _ := filepath.Glob(filepath.Join(dir, "verdicts-*.json.gz")); len(list) == 0 {
		t.Skipf("no recorded verdicts in %s: set KOTOOL_ORACLE to the folder that has them", dir)
	}
	return dir
}

func readJSONGzip(t *testing.T, path string, to any) {
	t.Helper()
	packed, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	plain, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(plain).Decode(to); err != nil {
		t.Fatal(err)
	}
}

func TestRealKernelsLogAndReturnTheSame(t *testing.T) {
	dir := oracle(t)
	for _, kernel := range []string{"amd64-6.1", "amd64-6.12"} {
		t.Run(kernel, func(t *testing.T) {
			var verdicts struct {
				Kernel  string
				Results []verdict
			}
			readJSONGzip(t, filepath.Join(dir, "verdicts-"+kernel+".json.gz"), &verdicts)
			version, err := kver.Parse(verdicts.Kernel)
			if err != nil {
				t.Fatal(err)
			}
			files, params := mutants(t, filepath.Join(dir, "mutants-"+kernel+".tar.xz"))
			// All lines in one row: the recorder sometimes took a line for the next load's.
			var got, want []string
			seen, undecided := 0, 0
			for _, v := range verdicts.Results {
				arg := params[v.ID]
				if arg == "" || v.Errno == -2 {
					continue
				}
				b, ok := files[v.ID]
				if !ok {
					t.Errorf("%s: no file", v.ID)
					continue
				}
				list, err := read(t, b)
				if err != nil {
					t.Errorf("%s: %v", v.ID, err)
				}
				r := ParseArgs([]byte(arg), list, Options{Module: v.Base, Version: version, Word: 8})
				seen++
				if len(r.Undecided) > 0 {
					undecided++
					t.Logf("%s %s %q: %v", v.ID, v.Base, arg, r.Undecided)
					continue
				}
				for _, l := range r.Log {
					got = append(got, fmt.Sprintf("<%d>%s", l.Level, cut(l.Text, verdicts.Kernel)))
				}
				refused := false
				for _, l := range v.Dmesg {
					if ours(l) {
						want = append(want, l)
						refused = refused || strings.HasPrefix(l, "<3>"+v.Base+": ")
					}
				}
				if r.Errno != 0 && int(r.Errno) != v.Errno {
					t.Errorf("%s %q: errno: got %d want %d", v.ID, arg, r.Errno, v.Errno)
				}
				// The module's init may fail by itself: then there is no line of the loader's.
				if r.Errno == 0 && v.Errno != 0 && refused {
					t.Errorf("%s %q: loads, the kernel says %d", v.ID, arg, v.Errno)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("log lines (-kernel +ours):\n%s", diff)
			}
			t.Logf("%d loads, %d of them decided by the module's own functions, %d lines", seen, undecided, len(got))
			if seen < 40 || undecided > seen/4 {
				t.Errorf("%d loads were compared, %d not", seen, undecided)
			}
		})
	}
}

func TestRealKernelsStoreTheSameBytes(t *testing.T) {
	metas, err := filepath.Glob(filepath.Join(oracle(t), "mini", "*", "modules.json"))
	if err != nil || len(metas) == 0 {
		t.Fatalf("no recordings: %v", err)
	}
	stores := 0
	for _, meta := range metas {
		dir := filepath.Dir(meta)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			b, err := os.ReadFile(meta)
			if err != nil {
				t.Fatal(err)
			}
			var modules []struct {
				Name, Params string
				Ready        []struct{ Idx, Off int64 }
			}
			if err := json.Unmarshal(b, &modules); err != nil {
				t.Fatal(err)
			}
			for _, m := range modules {
				if m.Params == "" {
					continue
				}
				in, err := source.Open(filepath.Join(dir, "ko", m.Name+".ko.xz"), source.Options{})
				if err != nil {
					t.Fatal(err)
				}
				f, err := kelf.Parse(in)
				if err != nil {
					t.Fatal(err)
				}
				list, err := Read(f, func(func(k, v []byte) bool) {})
				if err != nil {
					t.Error(err)
				}
				packed, err := os.Open(filepath.Join(dir, "modules", m.Name+".ready.bin.gz"))
				if err != nil {
					t.Fatal(err)
				}
				plain, err := gzip.NewReader(packed)
				if err != nil {
					t.Fatal(err)
				}
				memory, err := io.ReadAll(plain)
				if err != nil {
					t.Fatal(err)
				}
				r := ParseArgs([]byte(m.Params), list, Options{Module: m.Name, Version: kver.V(6, 12), Word: f.Word(), Big: f.Big})
				for _, u := range r.Undecided {
					t.Logf("%s %q: %v", m.Name, m.Params, u)
				}
				for _, s := range r.Stores {
					for _, sec := range m.Ready {
						if sec.Idx != int64(s.Var.Section) || sec.Off < 0 {
							continue
						}
						at := sec.Off + int64(s.Var.Off)
						if got := memory[at : at+int64(len(s.Data))]; !bytes.Equal(got, s.Data) {
							t.Errorf("%s %q: section %d+%#x: the kernel has %x, we store %x", m.Name, m.Params, s.Var.Section, s.Var.Off, got, s.Data)
						}
						stores++
					}
				}
				packed.Close()
				in.Close()
			}
		})
	}
	if t.Logf("%d stores", stores); stores < 8 {
		t.Errorf("only %d stores were compared", stores)
	}
}

// mutants reads the files that were loaded with parameters, and those parameters, by identifier.
func mutants(t *testing.T, path string) (files map[string][]byte, params map[string]string) {
	t.Helper()
	all, err := exec.CommandContext(t.Context(), "xz", "-dc", path).Output() // its dictionary is larger than source takes
	if err != nil {
		t.Fatal(err)
	}
	files, params = map[string][]byte{}, map[string]string{}
	for tr := tar.NewReader(bytes.NewReader(all)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files, params
		} else if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(h.Name)
		if !strings.HasPrefix(name, "param-") && name != "manifest.json" {
			continue
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if name != "manifest.json" {
			files[strings.TrimSuffix(name, ".ko")] = b
			continue
		}
		var manifest struct{ Mutations []struct{ ID, Params string } }
		if err := json.Unmarshal(b, &manifest); err != nil {
			t.Fatal(err)
		}
		for _, m := range manifest.Mutations {
			params[m.ID] = m.Params
		}
	}
}
