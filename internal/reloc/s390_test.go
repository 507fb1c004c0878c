package reloc

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"testing"

	"kotool/internal/diag"
	kelf "kotool/internal/elf"
)

// Bytes of the cases that fit are those that GNU ld 2.40 makes.
func TestS390(t *testing.T) {
	const P = 0x3ff80010010
	bad := "module mod: relocation error for symbol sym "
	testS390.runAll(t, []relocCase{
		{name: "64", typ: 22, S: P, A: -1, want: "000003ff8001000f"},
		{name: "8 at its largest", typ: 1, S: 0xff, before: "00aa", want: "ffaa"},
		{name: "8 one above", typ: 1, S: 0x100, errno: diag.ENOEXEC, line: bad + "(r_type 1, value 0x100)"},
		{name: "12 keeps the register", typ: 2, S: 0xabc, before: "f000", want: "fabc"},
		{name: "12 one above", typ: 2, S: 0x1000, errno: diag.ENOEXEC, line: bad + "(r_type 2, value 0x1000)"},
		{name: "16 at its largest", typ: 3, S: 0xffff, want: "ffff"},
		{name: "20 at its largest", typ: 57, S: 0x7ffff, before: "f0000aff", want: "ffff7fff"},
		{name: "20 at its smallest", typ: 57, S: 0xfffffffffff80000, before: "f00000ff", want: "f00080ff"},
		{name: "20 one above", typ: 57, S: 0x80000, errno: diag.ENOEXEC, line: bad + "(r_type 57, value 0x80000)"},
		{name: "32 of a negative value", typ: 4, S: 0xffffffffffffffff, errno: diag.ENOEXEC, line: bad + "(r_type 4, value 0xffffffffffffffff)"},
		{name: "PC16DBL at its smallest", typ: 17, S: P - 0x10000, want: "8000"},
		{name: "PC16DBL one above", typ: 17, S: P + 0x10000, errno: diag.ENOEXEC, line: bad + "(r_type 17, value 0x10000)"},
		{name: "PC32DBL at its largest", typ: 19, S: P + 0xfffffffe, want: "7fffffff"},
		{name: "PC32DBL with its usual addend", typ: 19, S: P - 2, A: 2, want: "00000000"},
		{name: "PC32DBL of an odd distance", typ: 19, S: P + 1, errno: diag.ENOEXEC, line: bad + "(r_type 19, value 0x1)"},
		{name: "PC32 at its smallest", typ: 5, S: P - 0x80000000, want: "80000000"},
		{name: "PC64", typ: 23, S: P - 1, want: "ffffffffffffffff"},
		{name: "PLT32DBL goes straight to what is near", typ: 20, S: P + 0x1000, A: 2, want: "00000801"},
		{name: "NONE", typ: 0, before: "aa", want: "aa"},
		{name: "COPY is refused without a word", typ: 9, errno: diag.ENOEXEC},
		{name: "TLS", typ: 38, errno: diag.ENOEXEC, line: "module mod: unknown relocation: 38"},
	})
}

func TestS390SlotsAreAtTheStartOfTheText(t *testing.T) {
	rels := []kelf.Rel{
		{Off: 0, Sym: 2, Type: 20, Addend: 2},  // PLT32DBL: slot 0
		{Off: 4, Sym: 1, Type: 20, Addend: 2},  // slot 1
		{Off: 8, Sym: 1, Type: 26, Addend: 2},  // GOTENT: slot 0
		{Off: 16, Sym: 2, Type: 36},            // PLTOFF64: slot 0 again
		{Off: 24, Sym: 1, Type: 24, Addend: 1}, // GOT64
		{Off: 32, Sym: 0, Type: 21},            // GOTPCDBL
		{Off: 40, Sym: 1, Type: 28},            // GOTOFF64
	}
	img := testS390.image(rels...)
	img.syms = append(img.syms, Symbol{})
	img.names = append(img.names, []byte("_GLOBAL_OFFSET_TABLE_"))
	l, _ := Begin(testS390.m, testS390.class, true, img, testS390.t)
	if errno, err := l.Frob(); errno != 0 || err != nil {
		t.Fatal(errno, err)
	}
	if got, want := l.TextHead(), uint64(8+2*22); got != want {
		t.Fatalf("head: got %d bytes, want %d", got, want)
	}
	if got := img.syms[2].Shndx; got != uint16(elf.SHN_ABS) {
		t.Errorf("_GLOBAL_OFFSET_TABLE_: got section %#x, want absolute", got)
	}
	testS390.layout(img, l)
	start := img.start
	far1, far2 := uint64(0x100000), uint64(0x200000)
	img.syms[1].Value, img.syms[2].Value = far1, far2
	apply(t, img, l)
	d := img.secs[1].data
	be := binary.BigEndian
	P := testS390.text
	if got, want := be.Uint32(d), uint32(int64(start+8+2-P)>>1); got != want {
		t.Errorf("PLT32DBL: got %#x, want %#x", got, want)
	}
	if got, want := be.Uint32(d[4:]), uint32(int64(start+8+22+2-(P+4))>>1); got != want {
		t.Errorf("second PLT32DBL: got %#x, want %#x", got, want)
	}
	if got, want := be.Uint32(d[8:]), uint32(int64(start+2-(P+8))>>1); got != want {
		t.Errorf("GOTENT: got %#x, want %#x", got, want)
	}
	if got := be.Uint64(d[16:]); got != 8 {
		t.Errorf("PLTOFF64: got %#x, want 8", got)
	}
	if got := be.Uint64(d[24:]); got != 1 {
		t.Errorf("GOT64: got %#x, want 1", got)
	}
	if got, want := be.Uint32(d[32:]), uint32(int64(start-(P+32))>>1); got != want {
		t.Errorf("GOTPCDBL: got %#x, want %#x", got, want)
	}
	if got, want := be.Uint64(d[40:]), far1-start; got != want {
		t.Errorf("GOTOFF64: got %#x, want %#x", got, want)
	}
	want := make([]byte, 52)
	unhex(t, want, "0000000000100000"+
		"0d10e310100c000407f1000000000000000000200000"+
		"0d10e310100c000407f1000000000000000000100000")
	if !bytes.Equal(img.head, want) {
		t.Errorf("head\n got % x\nwant % x", img.head, want)
	}
}

func TestS390ExpolineThunk(t *testing.T) {
	mc := testS390
	mc.t.S390.Expoline = true
	img, l := mc.begin(t, kelf.Rel{Off: 0, Sym: 1, Type: 20, Addend: 2})
	img.syms[1].Value = 0x100000
	apply(t, img, l)
	if errno, err := l.Finalize(); errno != 0 || err != nil {
		t.Fatal(errno, err)
	}
	want := make([]byte, 44) // the branch at +8 goes to +22: 7 halfwords
	unhex(t, want, "0d10e310100c0004c0f4000000070000000000100000"+"c60000000005a7f4000007f1")
	if !bytes.Equal(img.head, want) {
		t.Errorf("got % x\nwant % x", img.head, want)
	}
}

func TestS390NeedsASymbolTable(t *testing.T) {
	img := testS390.image()
	img.secs[3].Type = 1
	l, _ := Begin(testS390.m, testS390.class, true, img, testS390.t)
	if errno, err := l.Frob(); errno != diag.ENOEXEC || err != nil || img.lines[0] != "module mod: no symbol table" {
		t.Errorf("got %v %v %q", errno, err, img.lines)
	}
}
