//go:build difftest

package difftest

import (
	"bufio"
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kotool/internal/cli"
	kelf "kotool/internal/elf"
	"kotool/internal/module"
	"kotool/internal/reloc"
	"kotool/internal/report"
	"kotool/internal/source"
	"kotool/internal/symvers"
)

// kernel is one unpacked kernel.
type kernel struct {
	name    string
	modules []string // a sample
	all     int
	symvers string
}

func kernels(t *testing.T) []kernel {
	every := 1
	if s := os.Getenv("KOTOOL_EVERY"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("KOTOOL_EVERY=%q", s)
		}
		every = n
	}
	var list []kernel
	for _, dir := range strings.Fields(os.Getenv("KERNELS")) {
		k := kernel{name: filepath.Base(dir)}
		_ = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			switch {
			case err != nil || d.IsDir():
			case source.IsModuleName(d.Name()):
				if k.all%every == 0 {
					k.modules = append(k.modules, p)
				}
				k.all++
			case d.Name() == "Module.symvers":
				k.symvers = p
			}
			return nil
		})
		if k.all == 0 {
			t.Fatalf("%s: no modules", dir)
		}
		list = append(list, k)
	}
	if len(list) == 0 {
		t.Fatal("KERNELS names no kernel: see bench/fetch-kernel")
	}
	return list
}

// differences counts, and shows the first few.
type differences struct {
	t *testing.T
	n int
}

func (d *differences) add(format string, args ...any) {
	if d.n++; d.n <= 10 {
		d.t.Errorf(format, args...)
	}
}

func (d *differences) done(what string, n int) {
	d.t.Logf("%d %s compared, %d differences", n, what, d.n)
	if n == 0 {
		d.t.Error("nothing was compared")
	}
}

// peer runs a command in the C locale; its exit status is the caller's business only when it printed nothing.
func peer(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.Output()
	if err != nil && len(out) == 0 {
		t.Fatalf("%s: %v", name, err)
	}
	return out
}

func kotool(t *testing.T, args ...string) []byte {
	t.Helper()
	var out, errs bytes.Buffer
	app := &cli.App{Out: &out, Err: &errs, Getenv: func(string) string { return "" }, Release: func() string { return "" }}
	if status := cli.Run(t.Context(), app, args); status != 0 {
		t.Errorf("kotool %s: status %d: %s", args[0], status, errs.String())
	}
	return out.Bytes()
}

// TestInfoIsModinfos compares every field of every module, byte by byte.
func TestInfoIsModinfos(t *testing.T) {
	for _, k := range kernels(t) {
		t.Run(k.name, func(t *testing.T) {
			d := differences{t: t}
			for batch := range slices.Chunk(k.modules, 100) {
				want := peer(t, "modinfo", append([]string{"-0"}, batch...)...)
				got := kotool(t, append([]string{"info", "-0"}, batch...)...)
				if bytes.Equal(got, want) {
					continue
				}
				for _, m := range batch {
					want, got := peer(t, "modinfo", "-0", m), kotool(t, "info", "-0", m)
					if !bytes.Equal(got, want) {
						d.add("%s:\ngot  %q\nwant %q", m, got, want)
					}
				}
			}
			d.done("modules", len(k.modules))
		})
	}
}

// TestFieldsAreModinfos compares -F, as text, of the fields that scripts ask for.
func TestFieldsAreModinfos(t *testing.T) {
	for _, k := range kernels(t) {
		t.Run(k.name, func(t *testing.T) {
			d := differences{t: t}
			for _, f := range []string{"vermagic", "license", "depends", "signer", "sig_key", "signature", "filename", "name"} {
				for batch := range slices.Chunk(k.modules, 100) {
					want := peer(t, "modinfo", append([]string{"-F", f}, batch...)...)
					got := kotool(t, append([]string{"info", "-F", f}, batch...)...)
					if !bytes.Equal(got, want) {
						d.add("-F %s of %s and others differ", f, batch[0])
					}
				}
			}
			d.done("modules", len(k.modules))
		})
	}
}

// plain opens a module, and gives a path at which readelf finds its plain bytes.
func plain(t *testing.T, path string, use func(m *module.Module, plain string)) {
	t.Helper()
	src, err := source.Open(path, source.Options{})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	defer src.Close()
	file := path
	if src.Compression != "none" {
		b, err := src.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		file = filepath.Join(t.TempDir(), "module.ko")
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(file)
	}
	m, err := module.Decode(src, module.Meta{Path: path})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	use(m, file)
}

// caret writes control characters as readelf does: ^A.
func caret(name []byte) string {
	var b []byte
	for _, c := range name {
		switch {
		case c < 0x20:
			b = append(b, '^', c+0x40)
		case c == 0x7f:
			b = append(b, '^', '?')
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

var sectionLine = regexp.MustCompile(`^  \[ *(\d+)\] (.*?) +(\S+(?: SECTION INDICES)?) +([0-9a-f]{8,16}) ([0-9a-f]{6,}) ([0-9a-f]{6,}) ([0-9a-f]{2,}) +([A-Za-z]*) +(\d+) +(\d+) +(\d+)$`)

// TestTablesAreReadelfs compares the header, and every field of every section, symbol and relocation.
func TestTablesAreReadelfs(t *testing.T) {
	for _, k := range kernels(t) {
		t.Run(k.name, func(t *testing.T) {
			header, sections, symbols, relocs := differences{t: t}, differences{t: t}, differences{t: t}, differences{t: t}
			nsec, nsym, nrel := 0, 0, 0
			for _, path := range k.modules {
				plain(t, path, func(m *module.Module, file string) {
					compareHeader(&header, path, m.File, peer(t, "readelf", "-hW", file))
					nsec += compareSections(&sections, path, m.File, peer(t, "readelf", "-SW", file))
					nsym += compareSymbols(&symbols, path, m.File, m.Symtab(), peer(t, "readelf", "-sW", file))
					nrel += compareRelocs(&relocs, path, m, peer(t, "readelf", "-rW", file))
				})
			}
			header.done("headers", len(k.modules))
			sections.done("sections", nsec)
			symbols.done("symbols", nsym)
			relocs.done("relocations", nrel)
		})
	}
}

func compareHeader(d *differences, path string, f *kelf.File, out []byte) {
	h := &f.Header
	field := func(key string) string {
		for line := range bytes.Lines(out) {
			if k, v, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(k) == key {
				return strings.TrimSpace(v)
			}
		}
		return ""
	}
	number := func(key string) uint64 {
		v, _, _ := strings.Cut(field(key), " ")
		n, err := strconv.ParseUint(strings.TrimSuffix(v, ","), 0, 64)
		if err != nil {
			d.add("%s: %s: %q is no number", path, key, v)
		}
		return n
	}
	check := func(key string, got uint64) {
		if want := number(key); got != want {
			d.add("%s: %s: got %#x want %#x", path, key, got, want)
		}
	}
	check("Entry point address", h.Entry)
	check("Start of program headers", h.Phoff)
	check("Start of section headers", h.Shoff)
	check("Flags", uint64(h.Flags))
	check("Size of this header", uint64(h.Ehsize))
	check("Size of program headers", uint64(h.Phentsize))
	check("Number of program headers", uint64(h.Phnum))
	check("Size of section headers", uint64(h.Shentsize))
	check("Number of section headers", uint64(h.Shnum))
	check("Section header string table index", uint64(h.Shstrndx))
	if want := field("Magic"); want != strings.TrimSpace(fmt.Sprintf("% x", h.Ident[:])) {
		d.add("%s: e_ident: got % x want %s", path, h.Ident[:], want)
	}
	if want := field("Class"); want != h.Class().String()[len("ELFCLASS"):] && want != "ELF"+h.Class().String()[len("ELFCLASS"):] {
		d.add("%s: class: got %v want %s", path, h.Class(), want)
	}
	if !strings.HasPrefix(field("Type"), "REL ") || h.Type != elf.ET_REL {
		d.add("%s: type: got %v want %s", path, h.Type, field("Type"))
	}
}

func compareSections(d *differences, path string, f *kelf.File, out []byte) int {
	n := 0
	for line := range bytes.Lines(out) {
		m := sectionLine.FindStringSubmatch(strings.TrimRight(string(line), "\n"))
		if m == nil {
			continue
		}
		i, _ := strconv.Atoi(m[1])
		if i >= len(f.Sections) {
			d.add("%s: section %d is missing", path, i)
			continue
		}
		s := &f.Sections[i]
		got := []string{s.Name, report.SectionType(f, s.Type), fmt.Sprintf("%0*x", len(m[4]), s.Addr), fmt.Sprintf("%06x", s.Off), fmt.Sprintf("%06x", s.Size),
			fmt.Sprintf("%02x", s.Entsize), report.FlagLetters(f, s.Flags), fmt.Sprint(s.Link), fmt.Sprint(s.Info), fmt.Sprint(s.Align)}
		if want := m[2:]; !slices.Equal(got, want) {
			d.add("%s: section %d:\ngot  %q\nwant %q", path, i, got, want)
		}
		n++
	}
	if n != len(f.Sections) {
		d.add("%s: %d sections, readelf lists %d", path, len(f.Sections), n)
	}
	return n
}

// compareSymbols reads lines "Num: Value Size Type Bind Vis [other] Ndx Name".
func compareSymbols(d *differences, path string, f *kelf.File, t *kelf.Symtab, out []byte) int {
	n := 0
	sc := bufio.NewScanner(bytes.NewReader(out))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		num, rest, ok := strings.Cut(strings.TrimLeft(sc.Text(), " "), ":")
		i, err := strconv.Atoi(num)
		if !ok || err != nil {
			continue
		}
		if i >= t.Len() {
			d.add("%s: symbol %d is missing", path, i)
			continue
		}
		s := t.At(i)
		ndx := strconv.FormatUint(uint64(s.Shndx), 10)
		switch {
		case s.Shndx == 0:
			ndx = "UND"
		case s.Reserved && s.Shndx == uint32(elf.SHN_ABS):
			ndx = "ABS"
		case s.Reserved && s.Shndx == uint32(elf.SHN_COMMON):
			ndx = "COM"
		}
		other := ""
		if s.Other&^3 != 0 && f.Header.Machine == elf.EM_PPC64 {
			other = fmt.Sprintf("[<localentry>: %d]", uint64(1)<<(s.Other>>5)&^1&^2)
		}
		name := caret(f.DisplayName(t, s))
		if i == 0 {
			name = ""
		}
		row := report.SymbolWords(f, s)
		size := strconv.FormatUint(s.Size, 10)
		if s.Size > 99999 { // readelf goes over to hexadecimal
			size = fmt.Sprintf("%#x", s.Size)
		}
		got := strings.Join(strings.Fields(fmt.Sprintf("%0*x %s %s %s %s %s %s", 2*f.Word(), s.Value, size, row.Type, row.Bind, row.Visibility, other, ndx)), " ")
		fields := strings.Fields(rest)
		want := strings.Join(fields[:min(len(fields), len(strings.Fields(got)))], " ")
		tail := rest
		for range strings.Fields(got) {
			tail = strings.TrimLeft(tail, " ")
			if j := strings.IndexByte(tail, ' '); j >= 0 {
				tail = tail[j:]
			} else {
				tail = ""
			}
		}
		tail = strings.TrimPrefix(tail, " ")
		if got != want || name != tail {
			d.add("%s: symbol %d:\ngot  %q %q\nwant %q %q", path, i, got, name, want, tail)
		}
		n++
	}
	if n != t.Len() {
		d.add("%s: %d symbols, readelf lists %d", path, t.Len(), n)
	}
	return n
}

// compareRelocs reads lines "Offset Info Type [Sym.Value Sym.Name] [+ Addend]".
func compareRelocs(d *differences, path string, m *module.Module, out []byte) int {
	f, t, n := m.File, m.Symtab(), 0
	tabs := m.Relocs()
	k, i := -1, 0
	sc := bufio.NewScanner(bytes.NewReader(out))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		line := sc.Text()
		switch {
		case strings.HasPrefix(line, "Relocation section "):
			k, i = k+1, 0
			if k >= len(tabs) || !strings.Contains(line, "'"+f.Sections[tabs[k].Section].Name+"'") || !strings.Contains(line, fmt.Sprintf(" %d entr", tabs[k].Len())) {
				d.add("%s: table %d: %s", path, k, line)
				return n
			}
			continue
		case k < 0 || line == "" || strings.HasPrefix(strings.TrimSpace(line), "Offset "):
			continue
		}
		fields := strings.Fields(line)
		if len(fields) > 0 && strings.HasPrefix(fields[0], "Type") { // mips64: second and third type, on lines of their own
			continue
		}
		if i >= tabs[k].Len() {
			d.add("%s: %s has no entry %d", path, f.Sections[tabs[k].Section].Name, i)
			return n
		}
		r := tabs[k].At(i)
		i++
		n++
		typ := reloc.Name(f.Header.Machine, r.Type)
		if fields[2] == "unrecognized:" {
			// binutils 2.40 lacks names of newer types (loong64 since 2.41): then its number must be right.
			if num, err := strconv.ParseUint(fields[3], 16, 32); err == nil && uint32(num) == r.Type {
				typ = fields[2]
			}
			fields = slices.Delete(fields, 3, 4)
		}
		off, _ := strconv.ParseUint(fields[0], 16, 64)
		got := fmt.Sprintf("%x %s", r.Off, typ)
		want := fmt.Sprintf("%x %s", off, fields[2])
		tail := strings.Join(fields[3:], " ")
		name := ""
		if int(r.Sym) < t.Len() && r.Sym != 0 {
			s := t.At(int(r.Sym))
			name = fmt.Sprintf("%0*x %s", 2*f.Word(), s.Value, strings.Join(strings.Fields(caret(f.DisplayName(t, s))), " "))
		}
		if tabs[k].Rela {
			u, sign := uint64(r.Addend), "+"
			if r.Addend < 0 {
				u, sign = -u, "-"
			}
			if name == "" {
				name = fmt.Sprintf("%x", uint64(r.Addend))
			} else {
				name += fmt.Sprintf(" %s %x", sign, u)
			}
		}
		if got != want || strings.TrimSpace(name) != tail {
			d.add("%s: %s entry %d:\ngot  %s %q\nwant %s %q", path, f.Sections[tabs[k].Section].Name, i-1, got, name, want, tail)
		}
	}
	if k+1 != len(tabs) {
		d.add("%s: %d tables, readelf lists %d", path, len(tabs), k+1)
	}
	return n
}

// TestExportsAndImportsAreModuleSymvers compares each module with the rows of its kernel's Module.symvers.
func TestExportsAndImportsAreModuleSymvers(t *testing.T) {
	for _, k := range kernels(t) {
		t.Run(k.name, func(t *testing.T) {
			text, err := os.ReadFile(k.symvers)
			if err != nil {
				t.Fatal(err)
			}
			tab, err := symvers.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			rows := map[string]map[string]symvers.Symbol{}
			for s := range tab.All() {
				mod := module.NameOfFile(string(s.Module))
				if rows[mod] == nil {
					rows[mod] = map[string]symvers.Symbol{}
				}
				rows[mod][string(s.Name)] = s
			}
			d := differences{t: t}
			exports, imports := 0, 0
			for _, path := range k.modules {
				plain(t, path, func(m *module.Module, _ string) {
					want := rows[module.NameOfFile(path)]
					list := m.Exports().Exports
					if len(list) != len(want) {
						d.add("%s: %d exports, Module.symvers has %d", path, len(list), len(want))
					}
					for i := range list {
						e := &list[i]
						w, ok := want[string(e.Name)]
						if !ok || e.License.GPL() != w.GPL() || string(e.Namespace) != string(w.Namespace) || e.CRC != w.CRC || e.HasCRC != tab.HasCRC {
							d.add("%s: %s: got %08x gpl %v ns %q, Module.symvers %v %08x gpl %v ns %q", path, e.Name, e.CRC, e.License.GPL(), e.Namespace, ok, w.CRC, w.GPL(), w.Namespace)
						}
						exports++
					}
					for _, v := range m.Versions().Basic {
						if w, ok := tab.Lookup(v.Name); !ok || !v.Matches(w.CRC) {
							d.add("%s: %s: got %08x, Module.symvers %v %08x", path, v.Name, v.CRC, ok, w.CRC)
						}
						imports++
					}
				})
			}
			d.done("exports and "+strconv.Itoa(imports)+" imports", exports)
		})
	}
}

// TestVersionsAreModprobes compares __versions with modprobe --dump-modversions, which reads one file at a time.
func TestVersionsAreModprobes(t *testing.T) {
	for _, k := range kernels(t) {
		t.Run(k.name, func(t *testing.T) {
			d := differences{t: t}
			n := 0
			for i, path := range k.modules {
				if i%10 != 0 {
					continue
				}
				plain(t, path, func(m *module.Module, file string) {
					if len(m.Versions().Basic) == 0 {
						return
					}
					var got []byte
					for _, v := range m.Versions().Basic {
						got = fmt.Appendf(got, "0x%08x\t%s\n", v.CRC, v.Name)
						n++
					}
					if want := peer(t, "modprobe", "--dump-modversions", file); !bytes.Equal(got, want) {
						d.add("%s:\ngot  %s\nwant %s", path, got, want)
					}
				})
			}
			t.Logf("%d versions compared, %d differences", n, d.n)
		})
	}
}
