package reloc

import (
	"cmp"
	"encoding/binary"
	"slices"
	"testing"

	"kotool/internal/diag"
	kelf "kotool/internal/elf"
	"kotool/internal/kver"
)

// Bytes of the cases that fit are those that GNU ld 2.40 makes.
func TestARM(t *testing.T) {
	const P = 0xbf000010
	said := "mod: section 2 reloc 0 sym 'sym': "
	thumbFunc := Symbol{Info: 0x12}
	cases := []relocCase{
		{name: "ABS32", typ: 2, S: 0xc0001000, before: "04000000", want: "041000c0"},
		{name: "TARGET1 is ABS32", typ: 38, S: 0xc0001000, before: "04000000", want: "041000c0"},
		{name: "NONE", typ: 0, S: 1, before: "aa", want: "aa"},
		{name: "REL32", typ: 3, S: 0xc0001000, before: "fcffffff", want: "ec0f0001"},
		{name: "CALL", typ: 28, S: 0xc0001000, before: "feffffeb", want: "fa0340eb"},
		{name: "JUMP24 keeps its condition", typ: 29, S: 0xbd100000, before: "feffff0a", want: "faff830a"},
		{name: "PC24", typ: 1, S: 0xbd100000, before: "feffffea", want: "faff83ea"},
		{name: "a call of Thumb code", typ: 28, S: 0xbf000103, before: "feffffeb", want: "feffffeb", errno: diag.ENOEXEC,
			line: said + "unsupported interworking call (ARM -> Thumb)"},
		{name: "V4BX", typ: 40, before: "1eff2f11", want: "0ef0a011"},
		{name: "PREL31 keeps bit 31", typ: 42, S: P - 0x1000, before: "04000080", want: "04f0ffff"},
		{name: "PREL31 at its smallest", typ: 42, S: P - 0x40000000, want: "00000040"},
		{name: "PREL31 one above", typ: 42, S: 0xff000010, errno: diag.ENOEXEC, line: said + "relocation 42 out of range (0xbf000010 -> 0xff000010)"},
		{name: "MOVW_ABS_NC", typ: 43, S: 0xc0009fff, before: "010000e3", want: "00000ae3"},
		{name: "MOVT_ABS", typ: 44, S: 0xc0009fff, before: "000040e3", want: "00004ce3"},
		{name: "MOVW_PREL_NC", typ: 45, S: 0xc0009fff, before: "f80f0fe3", want: "e70f09e3"},
		{name: "MOVT_PREL", typ: 46, S: 0xc0009fff, before: "f80f4fe3", want: "000140e3"},
		{name: "ALU_PC_G0_NC", typ: 57, S: P + 0x12344, before: "08008fe2", want: "480b8fe2"},
		{name: "ALU_PC_G1_NC backwards", typ: 59, S: P - 0x12344, before: "08008fe2", want: "cf0f4fe2"},
		{name: "LDR_PC_G2", typ: 63, S: P + 0x12344, before: "08001fe5", want: "00009fe5"},
		{name: "THM_CALL", typ: 10, S: 0xbf100001, sym: thumbFunc, before: "fff7feff", want: "fff0f6ff"},
		{name: "THM_JUMP24 backwards", typ: 30, S: 0xbe800011, sym: thumbFunc, before: "fff7febf", want: "fff7fe9f"},
		{name: "a Thumb call of ARM code", typ: 10, S: 0xbf100000, sym: thumbFunc, before: "fff7feff", want: "fff7feff", errno: diag.ENOEXEC,
			line: said + "unsupported interworking call (Thumb -> ARM)"},
		{name: "THM_MOVW_ABS_NC", typ: 47, S: 0xc0009fff, before: "40f20100", want: "4af20000"},
		{name: "THM_MOVT_ABS", typ: 48, S: 0xc0009fff, before: "c0f20000", want: "ccf20000"},
		{name: "THM_MOVW_PREL_NC", typ: 49, S: 0xc0009fff, before: "4ff6f870", want: "49f6e770"},
		{name: "a type that the loader does not know", typ: 26, errno: diag.ENOEXEC, line: "mod: unknown relocation: 26"},
	}
	testARM.runAll(t, cases)
	t.Run("before 6.1 there is no REL32", func(t *testing.T) {
		mc := testARM
		mc.t = DefaultTraits(mc.m, kver.V(5, 10))
		mc.run(t, relocCase{name: "REL32", typ: 3, errno: diag.ENOEXEC, line: "mod: unknown relocation: 3"})
		mc.run(t, relocCase{name: "THM_CALL without a Thumb kernel", typ: 10, errno: diag.ENOEXEC, line: "mod: unknown relocation: 10"})
	})
	t.Run("without a PLT", func(t *testing.T) {
		mc := testARM
		mc.t.ARM.PLT = false
		// The range is open at both ends.
		mc.run(t, relocCase{name: "just in", typ: 28, S: P + 8 + 0x1fffffc, before: "feffffeb", want: "ffff7feb"})
		mc.run(t, relocCase{name: "one above", typ: 28, S: P + 8 + 0x2000000, before: "feffffeb", want: "feffffeb", errno: diag.ENOEXEC,
			line: said + "relocation 28 out of range (0xbf000010 -> 0xc1000018)"})
		mc.run(t, relocCase{name: "the smallest that the field holds", typ: 28, S: P + 8 - 0x2000000, before: "feffffeb", want: "feffffeb", errno: diag.ENOEXEC,
			line: said + "relocation 28 out of range (0xbf000010 -> 0xbd000018)"})
	})
}

func TestARMLooksAtTheOffsetAndTheSymbol(t *testing.T) {
	img, l := testARM.begin(t, kelf.Rel{Off: 61, Sym: 1, Type: 2})
	errno, err := l.Apply(2)
	if want := "mod: section 2 reloc 0 sym 'sym': out of bounds relocation, offset 61 size 64"; errno != diag.ENOEXEC || err != nil || img.lines[0] != want {
		t.Errorf("got %v %v %q, want %q", errno, err, img.lines, want)
	}
	img, l = testARM.begin(t)
	img.rels[2] = []kelf.Rel{{Off: 8, Sym: 1, Type: 2}, {Off: 8, Sym: 3, Type: 2}}
	img.syms[1].Value = 5
	errno, err = l.Apply(2)
	if want := "mod: section 2 reloc 1: bad relocation sym offset"; errno != diag.ENOEXEC || err != nil || len(img.lines) != 1 || img.lines[0] != want {
		t.Errorf("got %v %v %q, want %q", errno, err, img.lines, want)
	}
	if img.secs[1].data[8] != 5 {
		t.Error("the entry before the bad one was not applied")
	}
}

func TestARMBranchesOutOfReachGoThroughThePLT(t *testing.T) {
	mc := testARM
	mc.t.ARM.Thumb2 = false
	rels := make([]kelf.Rel, 16)
	for i := range rels {
		rels[i] = kelf.Rel{Off: uint64(4 * i), Sym: 1, Type: 28}
	}
	img := mc.image(rels...)
	for i := range rels {
		binary.LittleEndian.PutUint32(img.secs[1].data[4*i:], 0xeb000000|uint32(i)) // other addends, so that all are counted
	}
	l, err := Begin(mc.m, mc.class, false, img, mc.t)
	if err != nil {
		t.Fatal(err)
	}
	if errno, err := l.Frob(); errno != 0 || err != nil {
		t.Fatal(errno, err)
	}
	if got := img.secs[4].Size; got != 256 { // 2 fixed and 16, in blocks of 16
		t.Fatalf(".plt: got %d bytes, want 256", got)
	}
	if got := img.secs[5].Size; got != 128 {
		t.Fatalf(".init.plt: got %d bytes, want 128 for the fixed entries", got)
	}
	mc.layout(img, l)
	slices.SortFunc(img.rels[2], func(a, b kelf.Rel) int { return cmp.Compare(a.Off, b.Off) }) // all are equal to the kernel's sort
	img.syms[1].Value = 0xc8000000
	img.kernel["ftrace_caller"], img.kernel["__gnu_mcount_nc"] = 0xc0312534, 0xc8312528
	if errno, err := l.Apply(2); errno != 0 || err != nil {
		t.Fatal(errno, err, img.lines)
	}
	plt := img.secs[4].data
	word := func(off int) uint32 { return binary.LittleEndian.Uint32(plt[off:]) }
	for i := range 16 {
		for _, block := range []int{0, 128} {
			if got := word(block + 4*i); got != 0xe59ff038 { // ldr pc, [pc, #56]
				t.Errorf("entry %d of block %d: got %#x", i, block, got)
			}
		}
	}
	if word(64) != 0xc0312534 || word(68) != 0xc8312528 {
		t.Errorf("fixed literals: got %#x %#x", word(64), word(68))
	}
	for i := range 14 {
		if got, want := word(64+4*(i+2)), 0xc8000000+uint32(4*i)+8; got != want {
			t.Errorf("literal %d: got %#x, want %#x", i+2, got, want)
		}
	}
	if got, want := word(128+64), uint32(0xc8000000+14*4+8); got != want {
		t.Errorf("first literal of the second block: got %#x, want %#x", got, want)
	}
	if word(128+64+8) != 0 {
		t.Error("an unused literal is not zero")
	}
	// Entry 0 goes to slot 2: at 0x1000 + 8 from .text.
	if got := binary.LittleEndian.Uint32(img.secs[1].data); got != 0xeb000000|(0x1000+8-8)/4 {
		t.Errorf("branch 0: got %#x", got)
	}
	// The target of a fixed entry is found there, and one used last is used again.
	img.syms[1].Value = 0xc8312528
	img.rels[2] = []kelf.Rel{{Off: 0, Sym: 1, Type: 28}}
	binary.LittleEndian.PutUint32(img.secs[1].data, 0xebfffffe)
	if errno, err := l.Apply(2); errno != 0 || err != nil {
		t.Fatal(errno, err, img.lines)
	}
	if got := binary.LittleEndian.Uint32(img.secs[1].data); got != 0xeb000000|(0x1000+4-8)/4 {
		t.Errorf("a branch to mcount: got %#x", got)
	}
}

func TestARMNeedsAnAddressForItsFixedEntries(t *testing.T) {
	img, l := testARM.begin(t, kelf.Rel{Off: 0, Sym: 1, Type: 28})
	img.syms[1].Value = 0xc8000000
	_, err := l.Apply(2)
	if u, ok := err.(*UndefinedError); !ok || u.Cause != KernelUnknown || u.What != "ftrace_caller" {
		t.Errorf("got %v", err)
	}
}

func TestGroupRelocationsAreRotatedBytes(t *testing.T) {
	for _, c := range []struct {
		insn, dist uint32
		group      int
		want       uint32
	}{
		{0xe28f0000, 0, 0, 0xe28f0000},
		{0xe28f0000, 0xff, 0, 0xe28f00ff},
		{0xe28f0000, 0x12345678, 0, 0xe28f0548},
		{0xe24f0008, 8, 0, 0xe28f0000},
	} {
		if got := aluGroup(c.insn, c.dist, c.group); got != c.want {
			t.Errorf("aluGroup(%#x, %#x, %d): got %#x, want %#x", c.insn, c.dist, c.group, got, c.want)
		}
	}
}
