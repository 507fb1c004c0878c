package module

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	kelf "kotool/internal/elf"
	"kotool/internal/elftest"
	"kotool/internal/thismod"
)

func decode(t testing.TB, b []byte) *Module {
	t.Helper()
	m, err := Decode(kelf.Mem(b), Meta{Path: "dir/test-module.ko.xz"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// messages are the findings' texts.
func messages(m *Module) string {
	var list []string
	for i := range m.Findings {
		list = append(list, m.Findings[i].Message)
	}
	return strings.Join(list, "\n")
}

// everything decodes all parts.
func everything(m *Module) {
	m.Info()
	m.Versions()
	m.Exports()
	m.Params()
	m.This()
	m.Signature()
	m.BuildID()
	m.Name()
	for _, t := range m.Relocs() {
		for i := range t.Len() {
			m.File.Resolve(t.At(i), t.Rela, 0)
		}
	}
	t := m.Symtab()
	for i := range t.Len() {
		m.File.DisplayName(t, t.At(i))
	}
}

var machines = []struct {
	name    string
	machine elf.Machine
	class   elf.Class
	big     bool
}{
	{"x86-64", elf.EM_X86_64, elf.ELFCLASS64, false},
	{"s390x", elf.EM_S390, elf.ELFCLASS64, true},
	{"arm", elf.EM_ARM, elf.ELFCLASS32, false},
	{"ppc", elf.EM_PPC, elf.ELFCLASS32, true},
	{"mips64el", elf.EM_MIPS, elf.ELFCLASS64, false},
}

// thisModule makes a struct module with init and exit relocated.
func thisModule(b *elftest.Builder, rela bool) {
	word := b.Word()
	data := make([]byte, 40*word)
	name := 24
	if word == 4 {
		name = 12
	}
	copy(data[name:], "test_module\x00")
	text := b.Progbits(".init.text", elf.SHF_ALLOC|elf.SHF_EXECINSTR, make([]byte, 64))
	sec := b.Progbits(thismod.Name, elf.SHF_ALLOC|elf.SHF_WRITE, data)
	start := b.Symbol(elftest.Symbol{Name: "init_module", Info: elftest.Global(elf.STT_FUNC), Shndx: uint16(text), Value: 16})
	b.Symbol(elftest.Symbol{Name: "my_init", Info: elftest.Local(elf.STT_FUNC), Shndx: uint16(text), Value: 16})
	// exit is given by a section symbol: only its place says that it is cleanup_module.
	section := b.Symbol(elftest.Symbol{Info: elftest.Local(elf.STT_SECTION), Shndx: uint16(text)})
	b.Symbol(elftest.Symbol{Name: "cleanup_module", Info: elftest.Global(elf.STT_FUNC), Shndx: uint16(text), Value: 32})
	if !rela {
		b.Order().PutUint32(data[30*word:], 32) // the addend stands at the place
	}
	b.Relocs(sec, rela,
		elftest.Rel{Off: uint64(20 * word), Sym: start, Type: 1},
		elftest.Rel{Off: uint64(30 * word), Sym: section, Type: 1, Addend: 32})
}

func TestEveryClassAndByteOrderIsRead(t *testing.T) {
	for _, mc := range machines {
		for _, extended := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s extended %v", mc.name, extended), func(t *testing.T) {
				b := elftest.New(mc.machine, mc.class, mc.big)
				b.Extended = extended
				b.Progbits(".modinfo", elf.SHF_ALLOC, elftest.Modinfo("license=GPL", "name=test_module", "", "alias=a", "alias=b"))
				thisModule(b, mc.class == elf.ELFCLASS64)
				crcs := b.AppendWord(nil, 0x12345678)
				crcs = append(crcs, "some_symbol"...)
				crcs = append(crcs, make([]byte, 64-len(crcs))...)
				b.Progbits("__versions", elf.SHF_ALLOC, crcs)
				m := decode(t, b.Bytes())
				everything(m)
				if len(m.Findings) != 0 {
					t.Errorf("findings: %s", messages(m))
				}
				if m.Name() != "test_module" || m.InfoValue("license") != "GPL" || m.InfoValue("alias") != "a" {
					t.Errorf("got %q, %q, %q", m.Name(), m.InfoValue("license"), m.InfoValue("alias"))
				}
				v := m.Versions().Basic
				if len(v) != 1 || string(v[0].Name) != "some_symbol" || v[0].CRC != 0x12345678 || v[0].High != 0 {
					t.Errorf("versions: got %+v", v)
				}
				this := m.This()
				if this.Init == nil || this.Exit == nil {
					t.Fatalf("init %v, exit %v", this.Init, this.Exit)
				}
				got := fmt.Sprintf("%s=%s@%d %s@%d", this.Init.Symbol, this.Init.Alias(), this.Init.Off/uint64(b.Word()), this.Exit.Symbol, this.Exit.Off/uint64(b.Word()))
				if want := "init_module=my_init@20 cleanup_module@30"; got != want {
					t.Errorf("got %s want %s", got, want)
				}
			})
		}
	}
}

func TestExtendedVersionsAreReadAndTheirDamageNamed(t *testing.T) {
	build := func(crcs int, names string) *Module {
		b := elftest.New(elf.EM_X86_64, elf.ELFCLASS64, false)
		b.Progbits("__version_ext_crcs", elf.SHF_ALLOC, bytes.Repeat([]byte{1, 2, 3, 4}, crcs))
		b.Progbits("__version_ext_names", elf.SHF_ALLOC, []byte(names))
		return decode(t, b.Bytes())
	}
	m := build(2, "one\x00a_very_long_name_of_more_than_the_fifty_six_bytes_that_a_basic_entry_has\x00\x00")
	got := m.Versions()
	if got.Format() != "extended" || len(got.Extended) != 2 || got.Extended[0].CRC != 0x04030201 || len(got.Extended[1].Name) < 60 || len(m.Findings) != 0 {
		t.Errorf("got %s %+v %s", got.Format(), got.Extended, messages(m))
	}
	m = build(3, "one\x00two\x00")
	if n := len(m.Versions().Extended); n != 2 || !strings.Contains(messages(m), "names") {
		t.Errorf("got %d entries, findings %q", n, messages(m))
	}
}

func TestWhatIsDamagedIsNamedAndTheRestIsThere(t *testing.T) {
	good := func() *elftest.Builder {
		b := elftest.New(elf.EM_X86_64, elf.ELFCLASS64, false)
		b.Progbits(".modinfo", elf.SHF_ALLOC, elftest.Modinfo("license=GPL"))
		b.Progbits(".text", elf.SHF_ALLOC|elf.SHF_EXECINSTR, make([]byte, 32))
		return b
	}
	size := len(good().Bytes())
	shdr := func(b []byte, sec, field int) []byte { return b[size-64*6+64*sec+field:] } // 6 headers stand at the end
	for _, c := range []struct {
		name string
		edit func(b []byte) []byte
		want string
	}{
		{"a section beyond the end", func(b []byte) []byte { copy(shdr(b, 2, 24), "\xff\xff\xff\xff\xff\xff\xff\xff"); return b }, "section 2: offset 0xffffffffffffffff: need 32 bytes, have 0"},
		{"a section of absurd size", func(b []byte) []byte { copy(shdr(b, 2, 32), "\xff\xff\xff\xff\xff\xff\xff\x7f"); return b }, "section 2: offset"},
		{"a name beyond the table", func(b []byte) []byte { copy(shdr(b, 2, 0), "\xff\xff\xff\x00"); return b }, "section 2: sh_name 0xffffff is past the name table"},
		{"no name table", func(b []byte) []byte { b[62], b[63] = 0, 0; return b }, "e_shstrndx 0 names no section"},
		{"more sections than fit", func(b []byte) []byte { b[60], b[61] = 0xff, 0xff; return b }, "want 65535, the file has room for 6"},
		{"a class that is none", func(b []byte) []byte { b[4] = 9; return b }, "EI_CLASS 9"},
		{"a byte order that is none", func(b []byte) []byte { b[5] = 0; return b }, "EI_DATA 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := good()
			b.Edit = c.edit
			m := decode(t, b.Bytes())
			if !strings.Contains(messages(m), c.want) {
				t.Errorf("got %q want %q", messages(m), c.want)
			}
			if len(m.File.Sections) != 6 {
				t.Errorf("%d sections are left of 6", len(m.File.Sections))
			}
		})
	}
}

func TestTablesThatOverlapDoNotMultiply(t *testing.T) {
	b := elftest.New(elf.EM_X86_64, elf.ELFCLASS64, false)
	text := b.Progbits(".text", elf.SHF_ALLOC, make([]byte, 64))
	first := b.Relocs(text, true, make([]elftest.Rel, 4000)...)
	for range 500 { // headers of nothing, which will point at the first table
		b.Add(elftest.Section{Name: ".rela.text", Type: elf.SHT_RELA, Info: uint32(text)})
	}
	b.Edit = func(out []byte) []byte {
		shoff := b.Order().Uint64(out[40:])
		for i := range uint64(500) {
			copy(out[shoff+64*(uint64(first)+1+i)+24:][:16], out[shoff+64*uint64(first)+24:])
		}
		return out
	}
	m := decode(t, b.Bytes())
	n := 0
	for _, tab := range m.Relocs() {
		n += tab.Len()
	}
	if n < 4000 || n > 3*4000 || !strings.Contains(messages(m), "overlap") {
		t.Errorf("%d entries, findings %q", n, messages(m))
	}
	if tg, err := m.File.Targets(text); tg.Len() > 3*4000 || err == nil {
		t.Errorf("targets: %d entries, error %v", tg.Len(), err)
	}
}

func TestANameWithoutANULDoesNotTakeTheWholeTable(t *testing.T) {
	b := elftest.New(elf.EM_X86_64, elf.ELFCLASS64, false)
	b.Symbol(elftest.Symbol{Name: strings.Repeat("a", 100_000), Shndx: uint16(elf.SHN_ABS)})
	m := decode(t, b.Bytes())
	if n := len(m.Symtab().Name(m.Symtab().At(1))); n != kelf.MaxName {
		t.Errorf("got %d bytes want %d", n, kelf.MaxName)
	}
}

func TestNameOfFile(t *testing.T) {
	for in, want := range map[string]string{"drivers/firmware/thead,th1520-aon.ko.xz": "thead_th1520_aon", "a/snd-hda-intel.ko.xz": "snd_hda_intel", "x.ko": "x", "y": "y", "drivers/ata/libata": "libata", "z.ko.zst": "z"} {
		if got := NameOfFile(in); got != want {
			t.Errorf("%s: got %s want %s", in, got, want)
		}
	}
}

// TestTruncatedAnywhere cuts a real module at every offset.
func TestTruncatedAnywhere(t *testing.T) {
	whole, err := os.ReadFile("../../testdata/ko/amd64-6.1/prop.ko")
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		m, err := Decode(kelf.Mem(whole[:n]), Meta{Path: "x.ko"})
		if n < 64 {
			if err == nil {
				t.Fatalf("%d bytes: no error", n)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		everything(m)
		if len(m.Findings) == 0 {
			t.Fatalf("%d bytes: no finding", n)
		}
	}
}

// TestDecodingTwiceIsTheSame guards against state that one decoding leaves in the bytes.
func TestDecodingTwiceIsTheSame(t *testing.T) {
	b, err := os.ReadFile("../../testdata/ko/arm64-6.1/hello.ko")
	if err != nil {
		t.Fatal(err)
	}
	before := bytes.Clone(b)
	one, two := decode(t, b), decode(t, b)
	everything(one)
	everything(two)
	if d := cmp.Diff(one.Exports().Exports, two.Exports().Exports, cmp.Comparer(func(a, b kelf.Place) bool { return a.Spot() == b.Spot() })); d != "" {
		t.Error(d)
	}
	if !bytes.Equal(before, b) {
		t.Error("the input was changed")
	}
}

// FuzzDecode: whatever the bytes, decoding does not panic, and allocates at most 16 times the input and 1 MiB.
func FuzzDecode(f *testing.F) {
	files, _ := filepath.Glob("../../testdata/ko/*/p*.ko")
	for _, p := range files {
		if b, err := os.ReadFile(p); err == nil {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m, err := Decode(kelf.Mem(data), Meta{Path: "fuzz.ko"})
		if err != nil {
			return
		}
		everything(m)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 16*uint64(len(data))+1<<20 {
			t.Errorf("%d bytes allocated for %d", got, len(data))
		}
	})
}
