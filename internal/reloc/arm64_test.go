package reloc

import (
	"encoding/binary"
	"testing"

	"kotool/internal/diag"
	kelf "kotool/internal/elf"
	"kotool/internal/kver"
)

// Bytes of the cases that fit are those that GNU ld 2.40 makes.
func TestARM64(t *testing.T) {
	const P = 0xffff800078000010
	over := func(line string) (diag.Errno, string) {
		return diag.ENOEXEC, "Modules: module mod: overflow in relocation type " + line
	}
	cases := []relocCase{
		{name: "ABS64", typ: 257, S: 0xffff800080001234, A: 8, want: "3c1200800080ffff"},
		{name: "PREL64", typ: 260, S: P - 16, A: -4, want: "ecffffffffffffff"},
		{name: "PREL32", typ: 261, S: P - 16, A: -4, want: "ecffffff"},
		{name: "PREL32 at its largest", typ: 261, S: P + 0x7fffffff, want: "ffffff7f"},
		{name: "PREL16 at its smallest", typ: 262, S: P - 0x8000, want: "0080"},
		{name: "ABS32 at its largest", typ: 258, S: 0xffffffff, want: "ffffffff"},
		{name: "ABS16 at its largest", typ: 259, S: 0xffff, want: "ffff0000"},
		{name: "NONE", typ: 0, S: P, before: "aa", want: "aa"},
		{name: "the old NONE", typ: 256, S: P, before: "aa", want: "aa"},
		{name: "MOVW_UABS_G0", typ: 263, S: 0xabcd, before: "030080d2", want: "a37995d2"},
		{name: "MOVW_UABS_G1_NC", typ: 266, S: 0xffff800080001234, before: "0300a0f2", want: "0300b0f2"},
		{name: "MOVW_UABS_G2", typ: 267, S: 0x800080001234, before: "0300c0d2", want: "0300d0d2"},
		{name: "MOVW_UABS_G3", typ: 269, S: 0xffff800080001234, before: "0300e0f2", want: "e3fffff2"},
		{name: "MOVW_SABS_G0 of a negative value is MOVN", typ: 270, S: 0xffffffffffff8001, before: "030080d2", want: "c3ff8f92"},
		{name: "MOVW_SABS_G1", typ: 271, S: 0x7fff1234, before: "0300a0d2", want: "e3ffafd2"},
		{name: "MOVW_PREL_G0", typ: 287, S: P + 0x1234, before: "030080d2", want: "834682d2"},
		{name: "MOVW_PREL_G1 backwards", typ: 289, S: P - 0x12345678, before: "0300a0d2", want: "8346a292"},
		{name: "MOVW_PREL_G3 backwards", typ: 293, S: 0xedcb298865cba998, before: "0300e0d2", want: "8346e292"},
		{name: "LD_PREL_LO19 at its smallest", typ: 273, S: P - 0x100000, before: "03000058", want: "03008058"},
		{name: "ADR_PREL_LO21", typ: 274, S: P - 1, before: "03000010", want: "e3ffff70"},
		{name: "ADR_PREL_PG_HI21", typ: 275, S: 0xffff800080001234, before: "03000090", want: "030004b0"},
		{name: "ADD_ABS_LO12_NC", typ: 277, S: 0xffff800080001fff, before: "63000091", want: "63fc3f91"},
		{name: "LDST8_ABS_LO12_NC", typ: 278, S: 0xffff800080001fff, before: "63004039", want: "63fc7f39"},
		{name: "LDST16_ABS_LO12_NC", typ: 284, S: 0xffff800080001ffe, before: "63004079", want: "63fc5f79"},
		{name: "LDST32_ABS_LO12_NC", typ: 285, S: 0xffff800080001ffc, before: "630040b9", want: "63fc4fb9"},
		{name: "LDST64_ABS_LO12_NC", typ: 286, S: 0xffff800080001ff8, before: "630040f9", want: "63fc47f9"},
		{name: "LDST64 drops low bits", typ: 286, S: 0xffff800080001fff, before: "630040f9", want: "63fc47f9"},
		{name: "LDST128_ABS_LO12_NC", typ: 299, S: 0xffff800080001ff0, before: "6300c03d", want: "63fcc33d"},
		{name: "TSTBR14 at its smallest", typ: 279, S: P - 0x8000, before: "03000036", want: "03000436"},
		{name: "CONDBR19 at its largest", typ: 280, S: P + 0xffffc, before: "00000054", want: "e0ff7f54"},
		{name: "CALL26 at its smallest", typ: 283, S: P - 0x8000000, before: "00000094", want: "00000096"},
		{name: "JUMP26 at its largest", typ: 282, S: P + 0x7fffffc, before: "00000014", want: "ffffff15"},
		{name: "a type that the loader does not know", typ: 311, S: P, errno: diag.ENOEXEC, line: "Modules: module mod: unsupported RELA relocation: 311"},
	}
	for _, c := range []struct {
		name   string
		typ    uint32
		S      uint64
		before string
		want   string // the field is written before its range is judged
		line   string
	}{
		{"ABS32 one above", 258, 0x100000001, "", "01000000", "258 val 100000001"},
		{"ABS32 of a negative value", 258, 0xffffffffffffffff, "", "ffffffff", "258 val ffffffffffffffff"},
		{"ABS16 one above", 259, 0x10001, "", "0100", "259 val 10001"},
		{"PREL32 one above", 261, P + 0x80000000, "", "00000080", "261 val ffff8000f8000010"},
		{"PREL16 one below", 262, P - 0x8001, "", "ff7f", "262 val ffff800077ff800f"},
		{"MOVW_UABS_G0 one above", 263, 0x10000, "030080d2", "030080d2", "263 val 10000"},
		{"MOVW_SABS_G0 too small", 270, 0xfffffffffffeffff, "030080d2", "03008092", "270 val fffffffffffeffff"},
		{"ADR one above", 274, P + 0x100000, "03000010", "03008010", "274 val ffff800078100010"},
		{"ADRP out of reach", 275, P + 0x100001000, "03000090", "030080b0", "275 val ffff800178001010"},
		{"CONDBR19 one above", 280, P + 0x100000, "00000054", "00008054", "280 val ffff800078100010"},
		{"TSTBR14 one above", 279, P + 0x8000, "03000036", "03000436", "279 val ffff800078008010"},
	} {
		errno, line := over(c.line)
		cases = append(cases, relocCase{name: c.name, typ: c.typ, S: c.S, before: c.before, want: c.want, errno: errno, line: line})
	}
	testARM64.runAll(t, cases)
}

func TestARM64MessagesHaveAPrefixSince612(t *testing.T) {
	mc := testARM64
	mc.t = DefaultTraits(mc.m, kver.V(6, 1))
	mc.run(t, relocCase{name: "6.1", typ: 311, errno: diag.ENOEXEC, line: "module mod: unsupported RELA relocation: 311"})
}

// far is out of the range of a branch.
const arm64Far = 0xffff900000001000

func TestARM64BranchesOutOfReachGoThroughThePLT(t *testing.T) {
	rels := []kelf.Rel{
		{Off: 0, Sym: 1, Type: 283},
		{Off: 4, Sym: 1, Type: 283},            // the same: slot 0
		{Off: 8, Sym: 1, Type: 283, Addend: 4}, // slot 1
		{Off: 12, Sym: 1, Type: 283},           // slot 2: only the last one is looked at
	}
	img, l := testARM64.begin(t, rels...)
	if got, want := img.secs[4].Size, uint64(4*arm64Entry); got != want { // a far branch at the end stays unsorted, so three are counted, and one more
		t.Errorf(".plt has %d bytes, want %d", got, want)
	}
	img.syms[1].Value = testARM64.text + 0x10000000
	r := &recorder{}
	img.trace = r
	img.rels[2] = rels // in the order above
	copy(rels, []kelf.Rel{{Off: 0, Sym: 1, Type: 283}, {Off: 4, Sym: 1, Type: 283}, {Off: 8, Sym: 1, Type: 283, Addend: 4}, {Off: 12, Sym: 1, Type: 283}})
	for off := 0; off < 16; off += 4 {
		binary.LittleEndian.PutUint32(img.secs[1].data[off:], 0x94000000)
	}
	if errno, err := l.Apply(2); errno != 0 || err != nil {
		t.Fatal(errno, err, img.lines)
	}
	for i, slot := range []uint32{0, 0, 1, 2} {
		insn := binary.LittleEndian.Uint32(img.secs[1].data[4*i:])
		if want := 0x94000000 | (0x1000+slot*12-uint32(4*i))/4; insn != want {
			t.Errorf("branch %d: got %#x, want %#x", i, insn, want)
		}
	}
	plt := img.secs[4].data
	for i, S := range []uint64{0x10000000, 0x10000004, 0x10000000} {
		at := img.secs[4].addr + uint64(12*i)
		want := arm64Slot(at, testARM64.text+S, 16)
		for k, w := range want {
			if got := binary.LittleEndian.Uint32(plt[12*i+4*k:]); got != w {
				t.Errorf("slot %d word %d: got %#x, want %#x", i, k, got, w)
			}
		}
	}
	if len(r.slots) != 3 || r.slots[0].Table != "plt" || r.slots[0].Target != testARM64.text+0x10000000 {
		t.Errorf("got slots %+v", r.slots)
	}
}

func TestARM64SlotAddressesItsTarget(t *testing.T) {
	// adrp x16, page; add x16, x16, #0x234; br x16, as GNU as encodes them
	got := arm64Slot(0xffff800078000ffc, 0xffff800080001234, 16)
	if want := [3]uint32{0xb0040010, 0x9108d210, 0xd61f0200}; got != want {
		t.Errorf("got %#x, want %#x", got, want)
	}
}

func TestARM64OutOfSlotsTheLoadFails(t *testing.T) {
	img, l := testARM64.begin(t, kelf.Rel{Off: 0, Sym: 1, Type: 283})
	img.syms[1].Value = arm64Far
	img.rels[2] = []kelf.Rel{{Off: 0, Sym: 1, Type: 283}, {Off: 4, Sym: 1, Type: 283, Addend: 8}, {Off: 8, Sym: 1, Type: 283, Addend: 16}}
	errno, err := l.Apply(2)
	if errno != diag.ENOEXEC || err != nil || len(img.lines) != 0 {
		t.Errorf("got %v %v %q, want a silent ENOEXEC", errno, err, img.lines)
	}
}

func TestARM64WithoutPLTFarBranchesOverflow(t *testing.T) {
	mc := testARM64
	mc.t.ARM64.PLT = false
	mc.run(t, relocCase{name: "CALL26", typ: 283, S: 0xffff800080000010, before: "00000094", want: "00000096", errno: diag.ENOEXEC,
		line: "Modules: module mod: overflow in relocation type 283 val ffff800080000010"})
}

func TestARM64ErratumReplacesADRPAtTheEndOfAPage(t *testing.T) {
	mc := testARM64
	mc.t.ARM64.Erratum843419 = true
	mc.text = 0xffff800078000fe8 // so that the place is at 0xff8
	mc.run(t, relocCase{name: "ADR where it reaches", typ: 275, S: 0xffff800078080123, before: "03000090", want: "43803f10"})
	img, l := mc.begin(t, kelf.Rel{Off: testOff, Sym: 1, Type: 275})
	img.syms[1].Value = 0xffff8000f8001234
	binary.LittleEndian.PutUint32(img.secs[1].data[testOff:], 0x90000003)
	img.rels[2][0].Off = testOff
	l.(*arm64Linker).core.max = 1
	img.secs[4].data = make([]byte, 36)
	if errno, err := l.Apply(2); errno != 0 || err != nil {
		t.Fatal(errno, err, img.lines)
	}
	// .plt begins at 0x...1fe8: its first entry is not at a bad place.
	at := img.secs[4].addr
	if got, want := binary.LittleEndian.Uint32(img.secs[1].data[testOff:]), 0x14000000|uint32(at-(mc.text+testOff))/4; got != want {
		t.Errorf("got %#x, want a branch %#x", got, want)
	}
	veneer := img.secs[4].data
	back := binary.LittleEndian.Uint32(veneer[8:])
	if got, want := binary.LittleEndian.Uint32(veneer), arm64Slot(at, 0xffff8000f8001000, 3)[0]; got != want {
		t.Errorf("adrp: got %#x, want %#x", got, want)
	}
	if got := binary.LittleEndian.Uint32(veneer[4:]); got != 0x91000063 {
		t.Errorf("got %#x, want add x3, x3, #0", got)
	}
	if dst := at + 8 + uint64(sext(uint64(back&0x3ffffff), 26)*4); dst != mc.text+testOff+4 {
		t.Errorf("the veneer goes back to %#x, want %#x", dst, mc.text+testOff+4)
	}
}

func TestARM64CountsPerOffsetAndAlignsCode(t *testing.T) {
	mc := testARM64
	mc.t.ARM64.Erratum843419 = true
	img, _ := mc.begin(t, kelf.Rel{Off: 0x38, Sym: 1, Type: 275})
	if got := img.secs[1].Align; got != 128 { // offset 0x3f: its lowest zero bit is 6
		t.Errorf("alignment of .text: got %d, want 128", got)
	}
	img = mc.image(kelf.Rel{Off: 0xff8, Sym: 1, Type: 275})
	l, _ := Begin(mc.m, mc.class, mc.big, img, mc.t)
	if errno, err := l.Frob(); errno != 0 || err != nil {
		t.Fatal(errno, err)
	}
	if got := img.secs[4].Size; got != 3*arm64Entry { // one, its slack, and one
		t.Errorf(".plt: got %d bytes, want %d", got, 3*arm64Entry)
	}
}

func TestARM64NeedsItsPLTSections(t *testing.T) {
	img := testARM64.image()
	img.secs[5].Name = ".other"
	l, _ := Begin(testARM64.m, testARM64.class, false, img, testARM64.t)
	if errno, err := l.Frob(); errno != diag.ENOEXEC || err != nil || img.lines[0] != "Modules: mod: module PLT section(s) missing" {
		t.Errorf("got %v %v %q", errno, err, img.lines)
	}
	img = testARM64.image()
	img.secs[3].Type = 1
	l, _ = Begin(testARM64.m, testARM64.class, false, img, testARM64.t)
	if errno, err := l.Frob(); errno != diag.ENOEXEC || err != nil || img.lines[0] != "Modules: mod: module symtab section missing" {
		t.Errorf("got %v %v %q", errno, err, img.lines)
	}
}
