package compat

import (
	stdelf "debug/elf"
	"strings"
	"testing"

	"kotool/internal/diag"
	"kotool/internal/elf"
	"kotool/internal/elftest"
	"kotool/internal/kver"
)

// suspicious is what is said of a module's relocations.
func suspicious(t *testing.T, v kver.Version, b []byte) (list []string, findings []diag.Finding, modelled bool) {
	t.Helper()
	l := NewLoad(kernel(v), elf.Mem(b), 0)
	if p, err := l.Before(); err != nil || p.Errno != 0 {
		t.Fatal(p.Errno, err)
	}
	n := len(l.Findings)
	modelled = l.Relocs()
	return l.Suspicious, l.Findings[n:], modelled
}

func TestRelocationsThatMemoryDecides(t *testing.T) {
	const pc32, abs32, abs32s, plt32 = 2, 10, 11, 4
	for _, c := range []struct {
		name  string
		edit  func(b *elftest.Builder, text int)
		words string // "" for nothing
	}{
		{"usual", func(b *elftest.Builder, text int) {
			f := b.Undefined("f")
			b.Relocs(text, true, elftest.Rel{Off: 0, Sym: f, Type: plt32, Addend: -4}, elftest.Rel{Off: 4, Sym: f, Type: pc32, Addend: -4}, elftest.Rel{Off: 8, Sym: f, Type: 1})
		}, ""},
		{"nothing to do", func(b *elftest.Builder, text int) { b.Relocs(text, true, elftest.Rel{Off: 1 << 40, Type: 0}) }, ""},
		{"outside", func(b *elftest.Builder, text int) { b.Relocs(text, true, elftest.Rel{Off: 61, Sym: 1, Type: pc32}) }, "lies at 0x3d of a section of 0x40 bytes"},
		{"far outside", func(b *elftest.Builder, text int) {
			b.Relocs(text, true, elftest.Rel{Off: ^uint64(0) - 1, Sym: 1, Type: pc32})
		}, "of a section of 0x40 bytes"},
		{"behind usual ones", func(b *elftest.Builder, text int) {
			b.Relocs(text, true, elftest.Rel{Off: 0, Sym: 1, Type: pc32}, elftest.Rel{Off: 4, Sym: 1, Type: pc32}, elftest.Rel{Off: 62, Sym: 1, Type: pc32})
		}, "relocation 2 of section"},
		{"a symbol that is not there", func(b *elftest.Builder, text int) { b.Relocs(text, true, elftest.Rel{Sym: 999, Type: pc32}) }, "names symbol 999 of"},
		{"32 bits of an address", func(b *elftest.Builder, text int) { b.Relocs(text, true, elftest.Rel{Sym: 1, Type: abs32}) }, "holds 32 bits of an address"},
		{"a small absolute value", func(b *elftest.Builder, text int) {
			s := b.Symbol(elftest.Symbol{Name: "small", Info: 1 << 4, Shndx: 0xfff1, Value: 5})
			b.Relocs(text, true, elftest.Rel{Sym: s, Type: abs32}, elftest.Rel{Off: 4, Sym: s, Type: abs32s})
		}, ""},
		{"a large absolute value", func(b *elftest.Builder, text int) {
			s := b.Symbol(elftest.Symbol{Name: "large", Info: 1 << 4, Shndx: 0xfff1, Value: 1 << 33})
			b.Relocs(text, true, elftest.Rel{Sym: s, Type: abs32s})
		}, "refers to a symbol outside"},
		{"a symbol in a section that is not loaded", func(b *elftest.Builder, text int) {
			sec := b.Progbits(".unseen", 0, make([]byte, 8))
			s := b.Symbol(elftest.Symbol{Name: "unseen", Info: 1 << 4, Shndx: uint16(sec)})
			b.Relocs(text, true, elftest.Rel{Sym: s, Type: pc32})
		}, "refers to a symbol outside"},
		{"a huge addend", func(b *elftest.Builder, text int) {
			b.Relocs(text, true, elftest.Rel{Sym: 1, Type: pc32, Addend: 1 << 40})
		}, "has the addend"},
		{"two at one place", func(b *elftest.Builder, text int) {
			b.Relocs(text, true, elftest.Rel{Off: 8, Sym: 1, Type: pc32}, elftest.Rel{Off: 10, Sym: 1, Type: pc32})
		}, "before the end of one before it"},
		{"a place that is not zero", func(b *elftest.Builder, text int) {
			b.Sections[text-1].Data[19] = 1
			b.Relocs(text, true, elftest.Rel{Off: 16, Sym: 1, Type: pc32})
		}, "0x10, is not zero"},
		{"eight bytes that are not zero at the end", func(b *elftest.Builder, text int) {
			b.Sections[text-1].Data[63] = 1
			b.Relocs(text, true, elftest.Rel{Off: 56, Sym: 1, Type: 1})
		}, "0x38, is not zero"},
		{"relocations without addends", func(b *elftest.Builder, text int) { b.Relocs(text, false, elftest.Rel{Sym: 1, Type: pc32}) }, "of the other form"},
		{"of a section that is not loaded", func(b *elftest.Builder, _ int) {
			sec := b.Progbits(".debug_info", 0, make([]byte, 8))
			b.Relocs(sec, true, elftest.Rel{Off: 1 << 30, Sym: 999, Type: 77})
		}, ""},
		{"an alignment that is no power of two", func(b *elftest.Builder, text int) { b.Sections[text-1].Align = 3 }, "an alignment of 0x3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := sample()
			c.edit(b, b.Find(".text"))
			for _, v := range eras {
				list, _, modelled := suspicious(t, v, b.Bytes())
				got := strings.Join(list, "; ")
				if !modelled || c.words == "" && got != "" || !strings.Contains(got, c.words) {
					t.Errorf("%v: got %q want %q", v, got, c.words)
				}
			}
		})
	}
}

func TestRelocationTypesThatALoaderDoesNotTake(t *testing.T) {
	for _, c := range []struct {
		name    string
		machine elftest.Machine
		types   []uint32
		v       kver.Version
		message string
		hint    string
	}{
		{"GOT of arm64", elftest.ARM64, []uint32{311, 312, 261}, kver.V(6, 1), "relocation of type 311 R_AARCH64_ADR_GOT_PAGE at .text+0x0 (sample_init): the arm64 loader takes no such GOT relocation; 1 more are of types", "-fno-pic"},
		{"GOT of x86", elftest.AMD64, []uint32{9}, kver.V(6, 1), "R_X86_64_GOTPCREL", "-fno-pic"},
		{"not of this machine at all", elftest.AMD64, []uint32{200}, kver.V(6, 1), "relocation of type 200 - at .text+0x0 (sample_init): the x86_64 loader does not take it", ""},
		{"of a later kernel", elftest.RISCV64, []uint32{57}, kver.V(6, 1), "the riscv64 loader takes it from 6.7 on", "toolchain"},
		{"in time", elftest.RISCV64, []uint32{57}, kver.V(7, 2), "", ""},
		{"a number of more than 16 bits", elftest.ARM64, []uint32{1 << 30}, kver.V(6, 1), "relocation of type 1073741824", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := elftest.Module(c.machine, "sample")
			for _, sec := range []string{".plt", ".init.plt", ".got", ".got.plt"} {
				b.Progbits(sec, stdelf.SHF_ALLOC, []byte{0})
			}
			var list []elftest.Rel
			for i, typ := range c.types {
				list = append(list, elftest.Rel{Off: uint64(8 * i), Sym: 1, Type: typ})
			}
			b.Relocs(b.Find(".text"), true, list...)
			_, findings, _ := suspicious(t, c.v, b.Bytes())
			if c.message == "" {
				if len(findings) != 0 {
					t.Errorf("got %+v", findings)
				}
				return
			}
			if len(findings) != 1 || findings[0].Code != diag.RelocType || !strings.Contains(findings[0].Message, c.message) || !strings.Contains(findings[0].Hint, c.hint) {
				t.Errorf("got %+v", findings)
			}
		})
	}
}

func TestRelocationsOfThePerCPUSection(t *testing.T) {
	b := sample()
	sec := b.Progbits(".data..percpu", stdelf.SHF_ALLOC|stdelf.SHF_WRITE, make([]byte, 8))
	b.Relocs(sec, true, elftest.Rel{Off: 4, Sym: 1, Type: 1}) // outside
	for i, v := range eras {
		list, _, _ := suspicious(t, v, b.Bytes())
		if got := len(list) > 0; got != (i == 3) { // before 7.0 nobody applies them
			t.Errorf("%v: got %q", v, list)
		}
	}
}

func TestStructOffsets(t *testing.T) {
	l := NewLoad(kernel(kver.V(6, 1)), elf.Mem(sample().Bytes()), 0)
	if _, err := l.Before(); err != nil {
		t.Fatal(err)
	}
	l.T.Struct = StructModule{Size: 320, Init: 160, Exit: 248}
	n := len(l.Findings)
	l.StructOffsets(160, 240)
	if f := l.Findings[n:]; len(f) != 1 || f[0].Code != diag.StructOffset || f[0].Want != "0xf8" || f[0].Got != "0xf0" || len(l.Suspicious) != 1 {
		t.Errorf("got %+v, %q", f, l.Suspicious)
	}
	n = len(l.Findings)
	l.StructOffsets(0, 248) // a module without init says nothing
	if f := l.Findings[n:]; len(f) != 0 {
		t.Errorf("got %+v", f)
	}
}
