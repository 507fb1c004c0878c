package reloc

import (
	"bytes"
	"encoding/binary"
	"testing"

	"kotool/internal/diag"
	kelf "kotool/internal/elf"
)

func TestPARISC(t *testing.T) {
	const P = 0x00810010
	cases := []relocCase{
		{name: "DIR32", typ: 1, S: 0x10123456, A: -2, want: "10123454"},
		{name: "PLABEL32", typ: 65, S: 0x10123456, want: "10123456"},
		{name: "SEGREL32 is absolute", typ: 49, S: 0x10123456, want: "10123456"},
		{name: "SECREL32", typ: 41, S: 0x10123456, want: "10123456"},
		{name: "DIR21L", typ: 2, S: 0x12345678, before: "20200000", want: "20226246"}, // ldil L%12345000,r1
		{name: "DIR14R", typ: 6, S: 0x12345678, before: "34210000", want: "34210cf0"}, // ldo 678(r1),r1
		{name: "PCREL32", typ: 9, S: P + 0x108, want: "00000100"},
		{name: "PCREL17F", typ: 12, S: P + 8 + 0x100, before: "e8000000", want: "e8000200"},
		{name: "PCREL17F backwards", typ: 12, S: P + 8 - 8, before: "e8000000", want: "e81f1ff5"},
		{name: "PCREL22F", typ: 74, S: P + 8 + 0x400, before: "e800a000", want: "e800a800"},
		{name: "a symbol that is 0", typ: 1, S: 0, errno: diag.ENOENT, line: "mod: Unknown symbol sym"},
		{name: "DLTREL", typ: 27, S: 1, errno: diag.ENOEXEC, line: "module mod: Unknown relocation: 27"},
	}
	testPARISC.runAll(t, cases)

}

func TestPARISCStubsStandBeforeTheirSection(t *testing.T) {
	img, l := testPARISC.begin(t, kelf.Rel{Off: 0, Sym: 1, Type: 12}, kelf.Rel{Off: 4, Sym: 1, Type: 12})
	if got := l.Prepend(1); got != 3*8 {
		t.Errorf("before .text: got %d bytes, want 24", got)
	}
	if got := l.Prepend(3); got != 8 {
		t.Errorf("before another section: got %d bytes, want 8", got)
	}
	img.start, img.head = testPARISC.text-24, make([]byte, 24)
	img.syms[1].Value = 0x12345678
	apply(t, img, l)
	want := make([]byte, 24) // ldil L%12345000,r1; be,n 678(sr4,r1); one for each call
	unhex(t, want, "20226246 e0202cf2 20226246 e0202cf2")
	if !bytes.Equal(img.head, want) {
		t.Errorf("got % x\nwant % x", img.head, want)
	}
	be := binary.BigEndian
	if got := be.Uint32(img.secs[1].data); got != reassemble17(0x1fff8) {
		t.Errorf("first call: got %#x", got)
	}
	if got := be.Uint32(img.secs[1].data[4:]); got != reassemble17(0x1fff9) {
		t.Errorf("second call: got %#x", got)
	}
}

func TestPARISC64(t *testing.T) {
	const P = 0x00810010
	testPARISC64.runAll(t, []relocCase{
		{name: "DIR64", typ: 80, S: 0x4010123456, A: -2, want: "0000004010123454"},
		{name: "PCREL64", typ: 72, S: P, want: "fffffffffffffff8"},
		{name: "PCREL32", typ: 9, S: P + 0x108, want: "00000100"},
		{name: "SEGREL32", typ: 49, S: 0x4010123456, want: "10123456"},
		{name: "FPTR64 of a function elsewhere", typ: 64, S: 0x4010123456, want: "0000004010123456"},
		{name: "PCREL22F in the module", typ: 74, S: P + 8 + 0x20, before: "e800a000", want: "e800a040"},
		{name: "a symbol that is 0", typ: 80, S: 0, errno: diag.ENOENT, line: "mod: Unknown symbol sym"},
		{name: "DIR32", typ: 1, S: 1, errno: diag.ENOEXEC, line: "module mod: Unknown relocation: 1"},
	})
}

func TestPARISC64GOTDescriptorsAndStubs(t *testing.T) {
	mc := testPARISC64
	img, l := mc.begin(t,
		kelf.Rel{Off: 0, Sym: 1, Type: 26}, kelf.Rel{Off: 4, Sym: 1, Type: 30}, kelf.Rel{Off: 8, Sym: 2, Type: 26},
		kelf.Rel{Off: 16, Sym: 3, Type: 64}, kelf.Rel{Off: 24, Sym: 1, Type: 74}, kelf.Rel{Off: 28, Sym: 4, Type: 74})
	if got, want := l.TextHead(), uint64((5*8+15)&^15+32); got != want {
		t.Fatalf("head: got %d, want %d", got, want)
	}
	pre := l.Prepend(1)
	if pre != 3*16 {
		t.Fatalf("before .text: got %d, want 48", pre)
	}
	head := l.TextHead()
	img.start, img.head = mc.text-pre-head, make([]byte, head+pre)
	img.syms = append(img.syms, Symbol{Value: 0x2222}, Symbol{Value: mc.text + 0x20}, Symbol{Value: 0x12345678})
	img.names = append(img.names, nil, nil, []byte("$$divI"))
	img.syms[1].Value = 0x4010123456
	apply(t, img, l)
	be := binary.BigEndian
	if be.Uint64(img.head) != 0x4010123456 || be.Uint64(img.head[8:]) != 0x2222 || be.Uint64(img.head[16:]) != 0 {
		t.Errorf("GOT: got % x", img.head[:40])
	}
	fd := img.head[48:80]
	if be.Uint64(fd[16:]) != mc.text+0x20 || be.Uint64(fd[24:]) != img.start {
		t.Errorf("descriptor: got % x", fd)
	}
	if got := be.Uint64(img.secs[1].data[16:]); got != img.start+48 {
		t.Errorf("FPTR64: got %#x, want %#x", got, img.start+48)
	}
	want := make([]byte, 32) // ldd 0(dp),dp; ldd 10(dp),r1; bve (r1); ldd 18(dp),dp; then millicode's
	unhex(t, want, "0f6010db 53610020 e820d000 537b0030"+"20226246 34210cf0 50210020 e820d002")
	if got := img.head[head : head+32]; !bytes.Equal(got, want) {
		t.Errorf("stubs: got % x\nwant % x", got, want)
	}
}
