package reloc

import (
	"bytes"
	"debug/elf"
	"testing"

	"kotool/internal/diag"
	kelf "kotool/internal/elf"
)

// Bytes of the cases that fit are those that GNU ld 2.40 makes.
func TestMIPS(t *testing.T) {
	const P = 0xc0100010
	testMIPS.runAll(t, []relocCase{
		{name: "32 adds to what is there", typ: 2, S: 0x80123458, before: "04000000", want: "5c341280"},
		{name: "26", typ: 4, S: 0xc0123458, before: "0000000c", want: "168d040c"},
		{name: "26 adds the field", typ: 4, S: 0xc0123458, before: "0200000c", want: "188d040c"},
		{name: "26 of an odd address", typ: 4, S: 0xc0123459, before: "0000000c", want: "0000000c", errno: diag.ENOEXEC,
			line: "module mod: dangerous R_MIPS_26 relocation"},
		{name: "26 to another segment", typ: 4, S: 0x80123458, before: "0000000c", want: "0000000c", errno: diag.ENOEXEC,
			line: "module mod: relocation overflow"},
		{name: "PC16", typ: 10, S: P - 0x20000 + 4, before: "ffff0010", want: "00800010"},
		{name: "PC16 one below", typ: 10, S: P - 0x20000, before: "ffff0010", want: "ffff0010", errno: diag.ENOEXEC, line: "module mod: relocation overflow"},
		{name: "PC16 of an odd address", typ: 10, S: P + 2, errno: diag.ENOEXEC, line: "module mod: dangerous R_MIPS_PC16 relocation"},
		{name: "PC21_S2 at its largest", typ: 60, S: P + 0x3ffffc, before: "000040d8", want: "ffff4fd8"},
		{name: "PC26_S2 at its smallest", typ: 61, S: P - 0x8000000, before: "000000c8", want: "000000ca"},
		{name: "PC26_S2 of an odd address", typ: 61, S: P + 1, errno: diag.ENOEXEC, line: "module mod: dangerous R_MIPS_PC26 relocation"},
		{name: "NONE", typ: 0, before: "aa", want: "aa"},
		{name: "64 has no meaning without an addend", typ: 18, S: P, errno: diag.EINVAL},
		{name: "a HI16 without a LO16", typ: 5, S: P, before: "01000000", want: "01000000", errno: diag.ENOEXEC},
		{name: "a weak symbol that is an error", typ: 2, S: 0xfffff001, sym: Symbol{Info: 2 << 4}, before: "aa", want: "aa"},
		{name: "another symbol that is an error", typ: 2, S: 0xfffffffe, errno: diag.ENOENT, line: "mod: Unknown symbol sym"},
		{name: "GOT16", typ: 9, errno: diag.EINVAL, line: "mod: Unknown relocation type 9"},
	})
}

func TestMIPSHI16WaitsForItsLO16(t *testing.T) {
	img, l := testMIPS.begin(t, kelf.Rel{Off: 0, Sym: 1, Type: 5}, kelf.Rel{Off: 4, Sym: 1, Type: 5},
		kelf.Rel{Off: 8, Sym: 1, Type: 6}, kelf.Rel{Off: 12, Sym: 1, Type: 6})
	img.syms[1].Value = 0x80127ff8
	d := img.secs[1].data
	unhex(t, d, "0000023c 0100033c 10004224 f0ff6324") // lui 0, lui 1, addiu 16, addiu -16
	apply(t, img, l)
	want := make([]byte, 16)
	unhex(t, want, "1380023c 1480033c 08804224 e87f6324") // with 16 the low half is negative: the high half takes the carry
	if !bytes.Equal(d[:16], want) {
		t.Errorf("got % x\nwant % x", d[:16], want)
	}
}

func TestMIPSHI16OfAnotherSymbolIsDangerous(t *testing.T) {
	img, l := testMIPS.begin(t, kelf.Rel{Off: 0, Sym: 1, Type: 5}, kelf.Rel{Off: 4, Sym: 0, Type: 6})
	img.syms[1].Value = 0x1000
	errno, err := l.Apply(2)
	if want := "module mod: dangerous R_MIPS_LO16 relocation"; errno != diag.ENOEXEC || err != nil || len(img.lines) != 1 || img.lines[0] != want {
		t.Errorf("got %v %v %q, want %q", errno, err, img.lines, want)
	}
}

func TestMIPSStopsAtAWeakSymbolThatIsAnError(t *testing.T) {
	img, l := testMIPS.begin(t, kelf.Rel{Off: 0, Sym: 1, Type: 2}, kelf.Rel{Off: 4, Sym: 2, Type: 2}, kelf.Rel{Off: 8, Sym: 1, Type: 2})
	img.syms[1].Value = 0x80123458
	img.syms = append(img.syms, Symbol{Value: 0xfffffff0, Info: byte(elf.STB_WEAK) << 4})
	d := img.secs[1].data
	apply(t, img, l)
	want := make([]byte, 12)
	unhex(t, want, "58341280 00000000 00000000")
	if !bytes.Equal(d[:12], want) {
		t.Errorf("got % x\nwant % x", d[:12], want)
	}
}

func TestMIPSHI16BeforeAWeakSymbolThatIsAnErrorIsLeft(t *testing.T) {
	img, l := testMIPS.begin(t, kelf.Rel{Off: 0, Sym: 1, Type: 5}, kelf.Rel{Off: 4, Sym: 2, Type: 2}, kelf.Rel{Off: 8, Sym: 1, Type: 6})
	img.syms[1].Value = 0x80123458
	img.syms = append(img.syms, Symbol{Value: 0xfffffff0, Info: byte(elf.STB_WEAK) << 4})
	if errno, err := l.Apply(2); errno != diag.ENOEXEC || err != nil {
		t.Errorf("got %v %v, want ENOEXEC", errno, err)
	}
}

func TestMIPS64(t *testing.T) {
	const P = 0xffffffffc0100010
	testMIPS64.runAll(t, []relocCase{
		{name: "64", typ: 18, S: 0xffffffff80123458, A: 4, want: "5c341280ffffffff"},
		{name: "32 puts away what is there", typ: 2, S: 0xffffffff80123458, before: "01020304", want: "58341280"},
		{name: "HI16", typ: 5, S: 0xffffffff80128458, before: "ffff023c", want: "1380023c"},
		{name: "LO16", typ: 6, S: 0xffffffff80128458, before: "ffff4224", want: "58844224"},
		{name: "HIGHER", typ: 28, S: 0x9000000080128458, before: "0000023c", want: "0100023c"},
		{name: "HIGHEST takes the carry", typ: 29, S: 0x9000ffff80128458, before: "0000023c", want: "0190023c"},
		{name: "26", typ: 4, S: 0xffffffffc0123458, before: "ffffff0f", want: "168d040c"},
		{name: "26 to another segment", typ: 4, S: 0xffffffff80123458, before: "0000000c", want: "0000000c", errno: diag.ENOEXEC,
			line: "module mod: relocation overflow"},
		{name: "a weak symbol that is an error", typ: 18, S: 0xfffffffffffff001, sym: Symbol{Info: 2 << 4}, before: "aa", want: "aa"},
		{name: "SUB", typ: 24, S: P, errno: diag.EINVAL, line: "mod: Unknown relocation type 24"},
	})
}
