package ksymtab

import (
	"debug/elf"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	kelf "kotool/internal/elf"
)

// abi is one machine's form of a table.
type abi struct {
	name          string
	machine       elf.Machine
	class         elf.Class
	big, rela     bool
	prel, ns      bool
	value, crcRel uint32 // relocation types: of the fields, of a CRC
}

var abis = []abi{
	{"x86_64, place-relative with namespaces", elf.EM_X86_64, elf.ELFCLASS64, false, true, true, true, uint32(elf.R_X86_64_PC32), uint32(elf.R_X86_64_32)},
	{"x86_64, place-relative", elf.EM_X86_64, elf.ELFCLASS64, false, true, true, false, uint32(elf.R_X86_64_PC32), uint32(elf.R_X86_64_32)},
	{"x86_64 to 4.18", elf.EM_X86_64, elf.ELFCLASS64, false, true, false, false, uint32(elf.R_X86_64_64), uint32(elf.R_X86_64_32)},
	{"i386, place-relative with namespaces", elf.EM_386, elf.ELFCLASS32, false, false, true, true, uint32(elf.R_386_PC32), uint32(elf.R_386_32)},
	{"i386 4.19", elf.EM_386, elf.ELFCLASS32, false, false, true, false, uint32(elf.R_386_PC32), uint32(elf.R_386_32)},
	{"i386 to 4.18", elf.EM_386, elf.ELFCLASS32, false, false, false, false, uint32(elf.R_386_32), uint32(elf.R_386_32)},
	{"arm64", elf.EM_AARCH64, elf.ELFCLASS64, false, true, true, true, uint32(elf.R_AARCH64_PREL32), uint32(elf.R_AARCH64_ABS32)},
	{"arm", elf.EM_ARM, elf.ELFCLASS32, false, false, false, true, uint32(elf.R_ARM_ABS32), uint32(elf.R_ARM_ABS32)},
	{"arm to 5.3", elf.EM_ARM, elf.ELFCLASS32, false, false, false, false, uint32(elf.R_ARM_ABS32), uint32(elf.R_ARM_ABS32)},
	{"s390x", elf.EM_S390, elf.ELFCLASS64, true, true, false, true, uint32(elf.R_390_64), uint32(elf.R_390_PC32)},
	{"ppc64le to 5.3", elf.EM_PPC64, elf.ELFCLASS64, false, true, false, false, uint32(elf.R_PPC64_ADDR64), uint32(elf.R_PPC64_REL32)},
	{"mips, big-endian", elf.EM_MIPS, elf.ELFCLASS32, true, false, false, true, uint32(elf.R_MIPS_32), uint32(elf.R_MIPS_32)},
}

func (a *abi) size() uint64 {
	n, w := uint64(2), uint64(8)
	if a.ns {
		n = 3
	}
	if a.prel || a.class == elf.ELFCLASS32 {
		w = 4
	}
	return n * w
}

// export is what a test puts into a table.
type export struct{ name, ns string }

// crcForm says where a test puts the CRCs.
type crcForm int

const (
	noCRC      crcForm = iota
	inPlace            // 5.19 on
	absolute           // to 5.18: relocations against absolute symbols
	words              // to 4.9: the same, of a word each
	placeInRO          // MODULE_REL_CRCS
	placeShort         // in place, one too few
)

const crcBase uint32 = 0x89abcd00 // high bit set: must not be extended

// table adds a __ksymtab section with strings, symbols, relocations and CRCs. Export i has the value 0x100*i in .text.
func (a *abi) table(b *builder, name string, list []export, crcs crcForm) (sec int) {
	var strs []byte
	intern := func(s string) uint64 {
		off := uint64(len(strs))
		strs = append(append(strs, s...), 0)
		return off
	}
	var names, nss []uint64
	for _, e := range list {
		names, nss = append(names, intern(e.name)), append(nss, intern(e.ns))
	}
	text := b.add(".text", elf.SHF_EXECINSTR, make([]byte, 0x100*len(list)+16))
	str := b.add("__ksymtab_strings", elf.SHF_MERGE|elf.SHF_STRINGS, strs)
	size := a.size()
	data := make([]byte, size*uint64(len(list)))
	sec = b.add(name, 0, data)
	field := size / 3
	if !a.ns {
		field = size / 2
	}
	// Strings are reached through one symbol at the section's beginning, so that the addends matter.
	base := b.symbol("", str, 0)
	var rels []reloc
	put := func(off uint64, sym uint32, addend uint64) {
		rels = append(rels, reloc{off, a.value, sym, int64(addend)})
		if !a.rela {
			b.order().PutUint32(data[off:], uint32(addend))
		}
	}
	for i := range list {
		off := uint64(i) * size
		put(off, b.symbol(list[i].name, text, uint64(i)*0x100), 0)
		put(off+field, base, names[i])
		if a.ns {
			put(off+2*field, base, nss[i])
		}
		b.symbol("__ksymtab_"+list[i].name, sec, off)
	}
	b.relocate(sec, a.rela, rels)
	a.crcs(b, strings.Replace(name, "__ksymtab", "__kcrctab", 1), list, crcs)
	return sec
}

func (a *abi) crcs(b *builder, name string, list []export, form crcForm) {
	if form == noCRC {
		return
	}
	n, step := len(list), 4
	switch form {
	case placeShort:
		n--
	case words:
		step = 8
	}
	data := make([]byte, n*step)
	var ro []byte
	roSec := b.add(".rodata", 0, make([]byte, 4*n+4))
	crcSec := b.add(name, 0, data)
	var rels []reloc
	for i := range n {
		crc := crcBase + uint32(i)
		switch form {
		case inPlace, placeShort:
			b.order().PutUint32(data[i*step:], crc)
		case absolute, words:
			sym := b.symbol("__crc_"+list[i].name, 0, uint64(crc))
			b.symbols[sym].shndx = uint16(elf.SHN_ABS)
			rels = append(rels, reloc{off: uint64(i * step), typ: a.crcRel, sym: sym})
		case placeInRO:
			ro = b.order().AppendUint32(ro, crc)
			rels = append(rels, reloc{off: uint64(i * step), typ: a.crcRel, sym: b.symbol("__crc_"+list[i].name, roSec, uint64(4*i))})
		}
	}
	copy(b.sections[roSec].data, ro)
	if rels != nil {
		b.relocate(crcSec, a.rela, rels)
	}
}

var three = []export{{"alpha", ""}, {"beta", "USB_NET"}, {"gamma", ""}}

// text is an export as a line.
func text(f *kelf.File, e *Export) string {
	crc := "-"
	if e.HasCRC {
		crc = fmt.Sprintf("%08x", e.CRC)
	}
	place := "-"
	if e.HasValue {
		place = fmt.Sprintf("%s+%#x", f.Sections[e.Value.Section].Name, e.Value.Off)
	}
	return strings.TrimSpace(fmt.Sprintf("%s[%d] %s %s %s %s %s", f.Sections[e.Section].Name, e.Index, e.Name, crc, place, e.License, e.Namespace))
}

func lines(f *kelf.File, t Table) []string {
	var out []string
	for i := range t.Exports {
		out = append(out, strings.Join(strings.Fields(text(f, &t.Exports[i])), " "))
	}
	return out
}

func TestEveryFormOfEntryIsToldByItsRelocations(t *testing.T) {
	for _, a := range abis {
		for n := 1; n <= len(three); n++ {
			t.Run(fmt.Sprintf("%s, %d", a.name, n), func(t *testing.T) {
				b := newBuilder(a.machine, a.class, a.big)
				a.table(b, "__ksymtab", three[:n], inPlace)
				f := b.file(t)
				got, err := Read(f)
				if err != nil {
					t.Fatal(err)
				}
				want := []string{"__ksymtab[0] alpha 89abcd00 .text+0x0", "__ksymtab[1] beta 89abcd01 .text+0x100", "__ksymtab[2] gamma 89abcd02 .text+0x200"}[:n]
				if n > 1 && a.ns {
					want = append([]string(nil), want...)
					want[1] += " USB_NET"
				}
				if diff := cmp.Diff(want, lines(f, got)); diff != "" {
					t.Error(diff)
				}
				if got.Form.Size != a.size() || got.Form.Prel != a.prel || got.Form.NS != a.ns || got.Form.Source != "relocations" {
					t.Errorf("form: got %+v want %d bytes, relative %v, namespaces %v", got.Form, a.size(), a.prel, a.ns)
				}
			})
		}
	}
}

func TestEveryFormOfCRCIsRead(t *testing.T) {
	for _, a := range abis {
		for form, name := range map[crcForm]string{noCRC: "none", inPlace: "in place", absolute: "absolute symbols", words: "words", placeInRO: "offsets"} {
			if form == words && a.class == elf.ELFCLASS32 {
				continue // a word has four bytes there
			}
			t.Run(a.name+", "+name, func(t *testing.T) {
				b := newBuilder(a.machine, a.class, a.big)
				a.table(b, "__ksymtab_gpl", three, form)
				got, err := Read(b.file(t))
				if err != nil {
					t.Fatal(err)
				}
				for i, e := range got.Exports {
					if e.HasCRC != (form != noCRC) || e.HasCRC && e.CRC != crcBase+uint32(i) {
						t.Errorf("%s: got %v %08x want %08x", e.Name, e.HasCRC, e.CRC, crcBase+uint32(i))
					}
				}
				if len(got.Exports) != 3 || got.HasCRCs != (form != noCRC) {
					t.Errorf("got %d exports, CRCs %v", len(got.Exports), got.HasCRCs)
				}
			})
		}
	}
}

func TestTheSectionSaysForWhomASymbolIs(t *testing.T) {
	a := &abis[0]
	b := newBuilder(a.machine, a.class, a.big)
	// In another order than that of the search.
	for _, name := range []string{"__ksymtab_unused_gpl", "__ksymtab_unused", "__ksymtab_gpl_future", "__ksymtab_gpl", "__ksymtab"} {
		a.table(b, name, []export{{"of" + name, ""}}, noCRC)
	}
	got, err := Read(b.file(t))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range got.Exports {
		list = append(list, fmt.Sprintf("%s %q %v", e.Name, e.License, e.License.GPL()))
	}
	want := []string{`of__ksymtab "" false`, `of__ksymtab_gpl "GPL" true`, `of__ksymtab_gpl_future "GPL in future" false`,
		`of__ksymtab_unused "unused" false`, `of__ksymtab_unused_gpl "unused GPL" true`}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Error(diff)
	}
}

func TestTheFlagsSayForWhomASymbolIs(t *testing.T) {
	a := &abis[0]
	for _, c := range []struct {
		name  string
		flags []byte
		want  string
		err   string
	}{
		{"one a symbol", []byte{0, 1, 0xfe}, "false/0 true/1 false/fe", ""},
		{"one too few", []byte{1, 0}, "true/1 false/0 false/0", "2 flags for 3 symbols"},
		{"too many", []byte{0, 0, 1, 1}, "false/0 false/0 true/1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder(a.machine, a.class, a.big)
			a.table(b, "__ksymtab", three, noCRC)
			b.add("__kflagstab", 0, c.flags)
			got, err := Read(b.file(t))
			var list []string
			for _, e := range got.Exports {
				list = append(list, fmt.Sprintf("%v/%x", e.License.GPL(), e.Flags))
			}
			if s := strings.Join(list, " "); s != c.want || !got.HasFlags {
				t.Errorf("got %q, flags %v want %q", s, got.HasFlags, c.want)
			}
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v want %q", err, c.err)
			}
		})
	}
}

func TestDamageIsSaidAndTheRestIsRead(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(b *builder)
		want   []string
		err    string
	}{
		{"one CRC too few", func(b *builder) {
			d := b.sections[sectionOf(b, "__kcrctab")].data
			b.sections[sectionOf(b, "__kcrctab")].data = d[:8]
		}, []string{"__ksymtab[0] alpha 89abcd00 .text+0x0", "__ksymtab[1] beta 89abcd01 .text+0x100 USB_NET", "__ksymtab[2] gamma - .text+0x200"}, "has 2 CRCs for 3 symbols"},
		{"the strings are gone: the symbols of the entries have the names", func(b *builder) {
			b.sections[sectionOf(b, "__ksymtab_strings")].data = nil
		}, []string{"__ksymtab[0] alpha 89abcd00 .text+0x0", "__ksymtab[1] beta 89abcd01 .text+0x100", "__ksymtab[2] gamma 89abcd02 .text+0x200"}, "namespace cannot be read"},
		{"the relocations are gone: so do they", func(b *builder) {
			b.sections[sectionOf(b, ".rela__ksymtab")].data = nil
		}, []string{"__ksymtab[0] alpha 89abcd00 -", "__ksymtab[1] beta 89abcd01 -", "__ksymtab[2] gamma 89abcd02 -"}, ""},
		{"relocations and symbols are gone", func(b *builder) {
			b.sections[sectionOf(b, ".rela__ksymtab")].data = nil
			b.symbols = b.symbols[:1]
		}, []string{"__ksymtab[0] 89abcd00 -", "__ksymtab[1] 89abcd01 -", "__ksymtab[2] 89abcd02 -"}, "entry 0: offset 0x"},
		{"the last entry is cut", func(b *builder) {
			d := b.sections[sectionOf(b, "__ksymtab")].data
			b.sections[sectionOf(b, "__ksymtab")].data = d[:35]
		}, []string{"__ksymtab[0] alpha 89abcd00 .text+0x0", "__ksymtab[1] beta 89abcd01 .text+0x100 USB_NET"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuilder(elf.EM_X86_64, elf.ELFCLASS64, false)
			abis[0].table(b, "__ksymtab", three, inPlace)
			c.damage(b)
			f := b.file(t)
			got, err := Read(f)
			if diff := cmp.Diff(c.want, lines(f, got)); diff != "" {
				t.Error(diff)
			}
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v want %q", err, c.err)
			}
		})
	}
}

func TestTwiceAsManyCRCsAreNotTakenForWords(t *testing.T) {
	for _, form := range []crcForm{inPlace, absolute} {
		b := newBuilder(elf.EM_X86_64, elf.ELFCLASS64, false)
		abis[0].table(b, "__ksymtab", append(three[:3:3], export{"delta", ""}), form)
		sec := &b.sections[sectionOf(b, "__ksymtab")]
		sec.data = sec.data[:24]
		got, err := Read(b.file(t))
		if err != nil || len(got.Exports) != 2 || got.Exports[1].CRC != crcBase+1 {
			t.Errorf("form %d: got %+v, %v", form, got.Exports, err)
		}
	}
}

func TestACRCThatGenksymsDidNotMakeIsZero(t *testing.T) {
	for _, c := range []struct {
		bind elf.SymBind
		has  bool
		err  string
	}{{elf.STB_WEAK, true, ""}, {elf.STB_GLOBAL, false, "entry 1: the CRC cannot be read"}} {
		b := newBuilder(elf.EM_X86_64, elf.ELFCLASS64, false)
		abis[0].table(b, "__ksymtab", three, absolute)
		for i := range b.symbols {
			if s := &b.symbols[i]; s.name == "__crc_beta" {
				*s = symbol{name: s.name, bind: c.bind}
			}
		}
		got, err := Read(b.file(t))
		if e := got.Exports[1]; e.HasCRC != c.has || e.CRC != 0 {
			t.Errorf("%v: got %v %08x want %v 0", c.bind, e.HasCRC, e.CRC, c.has)
		}
		if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%v: got %v want %q", c.bind, err, c.err)
		}
	}
}

func sectionOf(b *builder, name string) int {
	for i := range b.sections {
		if b.sections[i].name == name {
			return i
		}
	}
	panic("unreachable: no section " + name)
}

func TestWithoutRelocationsTheSymbolsTellTheForm(t *testing.T) {
	a := abi{"", elf.EM_X86_64, elf.ELFCLASS64, false, true, false, false, uint32(elf.R_X86_64_64), 0}
	b := newBuilder(a.machine, a.class, a.big)
	a.table(b, "__ksymtab", three, noCRC) // three entries of 16 bytes: as long as four of 12
	b.sections[sectionOf(b, ".rela__ksymtab")].data = nil
	got, err := Read(b.file(t))
	if err != nil || got.Form.Size != 16 || got.Form.Source != "symbols" || len(got.Exports) != 3 {
		t.Errorf("got %+v, %d exports, %v want 16 bytes by the symbols", got.Form, len(got.Exports), err)
	}
}

func TestATableWithoutAnythingInItDoesNotGrow(t *testing.T) {
	b := newBuilder(elf.EM_X86_64, elf.ELFCLASS64, false)
	b.add("__ksymtab", 0, make([]byte, 12*100000))
	got, err := Read(b.file(t))
	if len(got.Exports) != maxNameless || err == nil || !strings.Contains(err.Error(), "100000 such of 100000") {
		t.Errorf("got %d exports, %v", len(got.Exports), err)
	}
}

func TestRelocationSectionsOverTheSameBytesAreRefused(t *testing.T) {
	b := newBuilder(elf.EM_X86_64, elf.ELFCLASS64, false)
	sec := abis[0].table(b, "__ksymtab", three, inPlace)
	first := sectionOf(b, ".rela__ksymtab")
	for range 100 {
		b.sections = append(b.sections, section{name: "again", typ: elf.SHT_RELA, info: uint32(sec)})
	}
	f := b.file(t)
	for i := range f.Sections {
		if s := &f.Sections[i]; s.Name == "again" {
			// As large as the file, all of them.
			s.Off, s.Size = f.Sections[first].Off, f.Size()-f.Sections[first].Off
		}
	}
	got, err := Read(f)
	want := []string{"__ksymtab[0] alpha 89abcd00 -", "__ksymtab[1] beta 89abcd01 -", "__ksymtab[2] gamma 89abcd02 -"}
	if diff := cmp.Diff(want, lines(f, got)); diff != "" {
		t.Error(diff)
	}
	if err == nil || !strings.Contains(err.Error(), `"__ksymtab": its relocation sections overlap`) {
		t.Errorf("got %v", err)
	}
}

func TestANameWithoutAnEndIsNotSearchedThroughTheFile(t *testing.T) {
	b := newBuilder(elf.EM_X86_64, elf.ELFCLASS64, false)
	abis[0].table(b, "__ksymtab", []export{{strings.Repeat("n", maxString), ""}}, noCRC)
	b.symbols = b.symbols[:3] // without __ksymtab_nnn…
	got, err := Read(b.file(t))
	if err == nil || len(got.Exports) != 1 || got.Exports[0].Name != nil {
		t.Errorf("got %d exports, %v", len(got.Exports), err)
	}
}

func TestASectionThatIsNotLoadedIsNotTaken(t *testing.T) {
	a := &abis[0]
	b := newBuilder(a.machine, a.class, a.big)
	decoy := b.add("__ksymtab", 0, make([]byte, 12))
	b.sections[decoy].flags = 0
	sec := a.table(b, "__ksymtab", three, noCRC)
	got, err := Read(b.file(t))
	if err != nil || len(got.Exports) != 3 || got.Exports[0].Section != sec {
		t.Errorf("got %d exports, %v", len(got.Exports), err)
	}
}

func TestAModuleWithoutExportsHasNone(t *testing.T) {
	got, err := Read(newBuilder(elf.EM_X86_64, elf.ELFCLASS64, false).file(t))
	if err != nil || len(got.Exports) != 0 || got.Form.Size != 0 || got.HasCRCs || got.HasFlags {
		t.Errorf("got %+v, %v", got, err)
	}
}

func FuzzRead(f *testing.F) {
	for i := range abis {
		a := &abis[i]
		b := newBuilder(a.machine, a.class, a.big)
		a.table(b, "__ksymtab", three, []crcForm{inPlace, absolute, placeInRO}[i%3])
		a.table(b, "__ksymtab_gpl", three[:1], noCRC)
		b.add("__kflagstab", 0, []byte{0, 1, 0})
		f.Add(b.bytes())
	}
	// Contract: no panic; an export has a name, or something is said to be damaged; its place in the table is inside its section.
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := kelf.Parse(kelf.Mem(data))
		if err != nil {
			return
		}
		got, err := Read(file)
		for i := range got.Exports {
			e := &got.Exports[i]
			if len(e.Name) == 0 && err == nil {
				t.Fatalf("export %d has no name, and nothing is damaged", i)
			}
			if end := uint64(e.Index+1) * 8; end > file.Size() || e.Section <= 0 || e.Section >= len(file.Sections) {
				t.Fatalf("export %d: entry %d of section %d", i, e.Index, e.Section)
			}
		}
	})
}
