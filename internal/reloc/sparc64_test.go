package reloc

import (
	"testing"

	"kotool/internal/diag"
	kelf "kotool/internal/elf"
)

func TestSPARC64(t *testing.T) {
	const P = 0x10010010
	testSPARC.runAll(t, []relocCase{
		{name: "64", typ: 32, S: 0x456789, A: -1, want: "0000000000456788"},
		{name: "UA64", typ: 54, S: 0xffffffffffffffff, want: "ffffffffffffffff"},
		{name: "32 is cut off", typ: 3, S: 0x100456789, want: "00456789 00"},
		{name: "UA32", typ: 23, S: 0x456789, want: "00456789"},
		{name: "DISP32", typ: 6, S: P - 1, want: "ffffffff"},
		{name: "WDISP30 backwards", typ: 7, S: P - 16, before: "40000000", want: "7ffffffc"},
		{name: "WDISP22", typ: 8, S: P + 0x100, before: "10800000", want: "10800040"},
		{name: "WDISP19", typ: 41, S: P + 0x100, before: "10680000", want: "10680040"},
		{name: "WDISP19 out of reach is cut off", typ: 41, S: P + 0x200100, before: "10680000", want: "10680040"},
		{name: "HI22", typ: 9, S: 0x12345678, before: "03000000", want: "03048d15"},
		{name: "LO10", typ: 12, S: 0x12345678, before: "82106000", want: "82106278"},
		{name: "OLO10 with its second addend", typ: 8<<8 | 33, S: 0x12345678, before: "82006000", want: "82006280"},
		{name: "NONE is refused", typ: 0, errno: diag.ENOEXEC, line: "module mod: Unknown relocation: 0x0"},
		{name: "HI10", typ: 0x123<<8&0xff00 | 30, errno: diag.ENOEXEC, line: "module mod: Unknown relocation: 0x1e"},
	})
	mc := testSPARC
	mc.text = 0x100000000
	_, l := mc.begin(t, kelf.Rel{Off: 0, Sym: 1, Type: 32})
	if _, err := l.Apply(2); err == nil || err.(*UndefinedError).Cause != KernelBug {
		t.Errorf("above 4 GiB: got %v", err)
	}
}

func TestSPARC64RegisterSymbolsAreAbsolute(t *testing.T) {
	img := testSPARC.image()
	img.syms[1].Info = 13
	l, _ := Begin(testSPARC.m, testSPARC.class, true, img, testSPARC.t)
	if errno, err := l.Frob(); errno != 0 || err != nil || img.syms[1].Shndx != 0xfff1 {
		t.Errorf("got %v %v %+v", errno, err, img.syms[1])
	}
}
