package reloc

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	kelf "kotool/internal/elf"
	"kotool/internal/kver"
	"kotool/internal/oracledir"
	"kotool/internal/source"
)

// Recordings of real kernels: the addresses of a module's sections and their bytes after relocation. They are not part of the
// repository; KOTOOL_ORACLE names the folder that holds them.

type recSection struct {
	Name  string
	Idx   int
	Type  uint32
	Flags uint64
	Addr  uint64
	Size  uint64
	Off   int64
}

type recModule struct {
	Name    string
	Errno   int
	PreAddr uint64 `json:"pre_addr"`
	Reloc   []recSection
}

type recording struct {
	dir     string
	name    string
	release string
	version kver.Version
	cpu     string
	cmdline string
	modules []recModule
	kernel  map[string]uint64
}

// recordings reads all that are there.
func recordings(t *testing.T) []recording {
	t.Helper()
	var list []recording
	for _, pat := range []string{"*/modules.json", "mini/*/modules.json"} {
		found, _ := filepath.Glob(filepath.Join(oracledir.Path(), pat))
		for _, f := range found {
			r := recording{dir: filepath.Dir(f), kernel: map[string]uint64{}}
			r.name = filepath.Base(r.dir)
			readJSON(t, f, &r.modules)
			var meta struct{ Release, CPU, Cmdline string }
			readJSON(t, filepath.Join(r.dir, "meta.json"), &meta)
			r.release, r.cpu, r.cmdline = meta.Release, meta.CPU, meta.Cmdline
			v, err := kver.Parse(meta.Release)
			if err != nil {
				t.Fatal(err)
			}
			r.version = v
			for line := range strings.Lines(string(gunzip(t, filepath.Join(r.dir, "kallsyms.gz")))) {
				w := strings.Fields(line)
				if len(w) == 3 {
					a, _ := strconv.ParseUint(w[0], 16, 64)
					r.kernel[w[2]] = a
				}
			}
			list = append(list, r)
		}
	}
	if len(list) == 0 {
		t.Skipf("no recordings of real kernels in %s: set KOTOOL_ORACLE to the folder that has them", oracledir.Path())
	}
	return list
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func gunzip(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return b
}

// traitsOf are the traits of a recording's kernel: Debian's configuration.
func (r *recording) traits(f *kelf.File) Traits {
	t := DefaultTraits(f.Header.Machine, r.version)
	if r.cpu == "cortex-a53" {
		t.ARM64.Erratum843419 = true
	}
	return t
}

// load reads a module file and puts its sections where the recording has them. The symbol table is the file's until relocate.
func (r *recording) load(t *testing.T, m *recModule) (*memImage, *kelf.File) {
	t.Helper()
	in, err := source.Open(filepath.Join(r.dir, "ko", m.Name+".ko.xz"), source.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := in.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.Clone(b)
	in.Close()
	f, err := kelf.Parse(kelf.Mem(b))
	if err != nil {
		t.Fatal(err)
	}
	return imageOf(f, r.kernel), f
}

// imageOf makes an image of a file, before layout.
func imageOf(f *kelf.File, kernel map[string]uint64) *memImage {
	img := &memImage{name: "m", machine: f.Header.Machine, kernel: kernel, rels: map[int][]kelf.Rel{}}
	for i := range f.Sections {
		s := &f.Sections[i]
		img.secs = append(img.secs, memSection{Section: Section{Name: s.Name, Type: s.Type, Flags: s.Flags, Size: s.Size, Align: s.Align, Info: s.Info}})
		if s.Type == elf.SHT_REL || s.Type == elf.SHT_RELA {
			tab, _ := f.Relocs(i)
			rels := make([]kelf.Rel, tab.Len())
			for k := range rels {
				rels[k] = tab.At(k)
			}
			img.rels[i] = rels
		}
		if s.Flags&elf.SHF_ALLOC != 0 && s.Type != elf.SHT_NOBITS {
			v, _ := f.Data(i)
			img.secs[i].data = bytes.Clone(v.Bytes())
		}
	}
	st, _ := f.Symbols()
	for s := range st.All() {
		img.syms = append(img.syms, Symbol{Value: s.Value, Shndx: uint16(s.Shndx), Info: s.Info, Other: s.Other})
		img.names = append(img.names, st.Name(s))
	}
	return img
}

func TestLinkersMakeTheBytesOfRealKernels(t *testing.T) {
	for _, r := range recordings(t) {
		t.Run(r.name, func(t *testing.T) {
			var modules, nbytes, rels, diff, sections int
			for i := range r.modules {
				m := &r.modules[i]
				path := filepath.Join(r.dir, "modules", m.Name+".reloc.bin.gz")
				if m.Errno != 0 || len(m.Reloc) == 0 {
					continue
				}
				modules++
				b, n, d, s := r.compare(t, m, gunzip(t, path))
				nbytes, rels, diff, sections = nbytes+b, rels+n, diff+d, sections+s
			}
			t.Logf("%s: %d modules, %d sections, %d bytes, %d relocations: %d bytes differ", r.name, modules, sections, nbytes, rels, diff)
			if modules == 0 || nbytes == 0 {
				t.Error("nothing was compared")
			}
		})
	}
}

// compare relocates one module and compares it with the recording.
func (r *recording) compare(t *testing.T, m *recModule, want []byte) (nbytes, rels, diff, sections int) {
	img, f := r.load(t, m)
	tr := r.traits(f)
	l, err := Begin(f.Header.Machine, f.Class, f.Big, img, tr)
	if err != nil {
		t.Fatalf("%v: %v", f.Header.Machine, err)
	}
	bad := func(format string, args ...any) { t.Errorf("%s: %s", m.Name, fmt.Sprintf(format, args...)) }
	if errno, err := l.Frob(); errno != 0 || err != nil {
		bad("Frob: %v %v %v", errno, err, img.lines)
		return
	}
	// Layout: the kernel's addresses; sizes must be its own.
	for _, s := range m.Reloc {
		is := &img.secs[s.Idx]
		if elf.SectionFlag(s.Flags)&elf.SHF_ALLOC != 0 && is.Flags&elf.SHF_ALLOC != 0 && is.Size != s.Size {
			bad("section %s: size %#x, the kernel's is %#x", s.Name, is.Size, s.Size)
		}
		is.addr, is.Flags, is.Size = s.Addr, elf.SectionFlag(s.Flags), s.Size
		if is.Flags&elf.SHF_ALLOC != 0 {
			is.data = append(is.data, make([]byte, int(s.Size)-len(is.data))...)
		}
	}
	start := m.PreAddr
	if head := l.TextHead(); start == 0 && head > 0 { // regions begin at a page, and the head is followed by the first section of code
		first := ^uint64(0)
		for i := range img.secs {
			if s := &img.secs[i]; s.Flags&(elf.SHF_ALLOC|elf.SHF_EXECINSTR) == elf.SHF_ALLOC|elf.SHF_EXECINSTR && !img.Init(i) && s.addr < first {
				first = s.addr
			}
		}
		start = (first - head) &^ 0xfff
	}
	img.place(start, l.TextHead())
	// simplify_symbols: the kernel's values.
	for _, s := range m.Reloc {
		if s.Type == uint32(elf.SHT_SYMTAB) && s.Off >= 0 {
			img.resolve(f, want[s.Off:uint64(s.Off)+s.Size])
		}
	}
	for i := range f.Sections {
		s := &img.secs[i]
		if s.Type != elf.SHT_REL && s.Type != elf.SHT_RELA || int(s.Info) >= len(img.secs) || img.secs[s.Info].Flags&elf.SHF_ALLOC == 0 {
			continue
		}
		errno, err := l.Apply(i)
		if errno != 0 || err != nil {
			bad("section %d %s: %v %v %q", i, s.Name, errno, err, img.lines)
			return
		}
		rels += len(img.rels[i])
	}
	x := ExtableOf(f.Header.Machine, f.Class, r.version)
	for i := range img.secs {
		if s := &img.secs[i]; s.Name == "__ex_table" {
			SortExtable(s.data, s.addr, x, f.Big, kver.Since(6, 11).Has(r.version))
		}
	}
	for _, s := range m.Reloc {
		if s.Off < 0 || s.Name == ".gnu.linkonce.this_module" || s.Name == ".symtab" || s.Name == ".strtab" {
			continue
		}
		w := want[s.Off : uint64(s.Off)+s.Size]
		d, first := differ(img.secs[s.Idx].data, w)
		if d != 0 {
			bad("%s: %d bytes differ, first at %#x: got % x want % x", s.Name, d, first, clip(img.secs[s.Idx].data, first), clip(w, first))
		}
		diff += d
		nbytes += int(s.Size)
		sections++
	}
	if m.PreAddr != 0 {
		w := gunzip(t, filepath.Join(r.dir, "modules", m.Name+".pre.bin.gz"))
		if len(img.head) > len(w) {
			bad("text head: got %d bytes, the kernel has %d before .text", len(img.head), len(w))
		}
		got := append(img.head, make([]byte, max(0, len(w)-len(img.head)))...)
		d, first := differ(got, w)
		if d != 0 {
			bad("text head: %d bytes differ, first at %#x: got % x want % x", d, first, clip(got, first), clip(w, first))
		}
		diff += d
		nbytes += len(w)
	}
	return nbytes, rels, diff, sections
}

func differ(a, b []byte) (n, first int) {
	first = -1
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			if first < 0 {
				first = i
			}
			n++
		}
	}
	return n, first
}

func clip(b []byte, at int) []byte { return b[min(at, len(b)):min(at+16, len(b))] }

// resolve takes the values of a resolved symbol table.
func (img *memImage) resolve(f *kelf.File, tab []byte) {
	o := byteOrder{f.Big}
	for i := range img.syms {
		if f.Class == elf.ELFCLASS32 {
			img.syms[i].Value = uint64(o.Uint32(tab[i*16+4:]))
		} else {
			img.syms[i].Value = o.Uint64(tab[i*24+8:])
		}
	}
}
