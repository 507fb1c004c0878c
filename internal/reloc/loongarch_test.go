package reloc

import (
	"bytes"
	"encoding/binary"
	"testing"

	"kotool/internal/diag"
	kelf "kotool/internal/elf"
	"kotool/internal/kver"
)

func TestLoongArch(t *testing.T) {
	const P = 0xffff800002010010
	pre := "kmod: mod: "
	testLoong.runAll(t, []relocCase{
		{name: "64", typ: 2, S: P, A: -1, want: "0f000102 0080ffff"},
		{name: "32", typ: 1, S: P, want: "10000102"},
		{name: "NONE", typ: 0, before: "aa", want: "aa"},
		{name: "MARK_PCREL", typ: 21, before: "aa", want: "aa"},
		{name: "ADD32", typ: 50, S: 0x10, before: "f8ffffff", want: "08000000 00"},
		{name: "SUB64", typ: 56, S: 0x10, before: "08", want: "f8ffffff ffffffff"},
		{name: "SUB32", typ: 55, S: 1, want: "ffffffff 00"},
		{name: "ADD64", typ: 51, S: 1, before: "ffffffff", want: "00000000 01000000"},
		{name: "SUB16 is in the range of a handler that does not know it", typ: 53, errno: diag.EINVAL, line: pre + "Unsupport relocation type 53"},
		{name: "B26 at its smallest", typ: 66, S: P - 0x8000000, before: "00000054", want: "00020054"},
		{name: "B26 at its largest", typ: 66, S: P + 0x7fffffc, before: "00000054", want: "fffdff57"},
		{name: "B26 of an odd distance", typ: 66, S: P + 2, before: "00000054", want: "00000054", errno: diag.ENOEXEC,
			line: "kmod: module mod: jump offset = 0x2 unaligned! dangerous R_LARCH_B26 (66) relocation"},
		{name: "B26 out of reach goes to .plt", typ: 66, S: P + 0x8000000, before: "00000054", want: "00f00f54"},
		{name: "PCALA_HI20 rounds up", typ: 71, S: 0xffff800012345800, before: "0400001a", want: "c466201a"},
		{name: "PCALA_HI20 backwards", typ: 71, S: P - 0x1000, before: "0400001a", want: "e4ffff1b"},
		{name: "PCALA_LO12", typ: 72, S: 0xffff800012345800, before: "8400c002", want: "8400e002"},
		{name: "PCALA64_LO20", typ: 73, S: 0x1234567892010010, before: "04000016", want: "24cf9a16"},
		{name: "PCALA64_HI12", typ: 74, S: 0x1234567892010010, before: "84000003", want: "848c0403"},
		{name: "32_PCREL", typ: 99, S: P - 1, want: "ffffffff"},
		{name: "64_PCREL", typ: 109, S: P - 1, want: "ffffffffffffffff"},
		{name: "PCADD_HI20", typ: 128, S: P + 0x12345800, before: "0400001c", want: "c468241c"},
		{name: "a PCADD_LO12 without its HI20", typ: 129, S: P, errno: diag.EINVAL, line: pre + "Can not find HI20 relocation information"},
		{name: "CALL36", typ: 110, errno: diag.EINVAL, line: pre + "Unsupport relocation type 110, please add its support."},
		{name: "a type past the table", typ: 132, errno: diag.EINVAL, line: pre + "Unknown relocation type 132"},
		{name: "POP of an empty stack is refused without a word", typ: 40, errno: diag.ENOEXEC},
		{name: "a weak symbol that is an error", typ: 2, S: 0xfffffffffffff001, sym: Symbol{Info: 2 << 4}, before: "aa", want: "aa"},
		{name: "another symbol that is an error", typ: 2, S: 0xfffffffffffffffe, errno: diag.ENOENT, line: pre + "Unknown symbol sym"},
	})
	t.Run("eras", func(t *testing.T) {
		mc := testLoong
		mc.t = DefaultTraits(mc.m, kver.V(6, 1))
		mc.run(t, relocCase{name: "32_PCREL", typ: 99, errno: diag.EINVAL, line: pre + "Unsupport relocation type 99, please add its support."})
		mc.run(t, relocCase{name: "64_PCREL", typ: 109, errno: diag.EINVAL, line: pre + "Unknown relocation type 109"})
	})
}

func TestLoongArchStack(t *testing.T) {
	const P = 0xffff800002010000
	over := "kmod: module mod: opr1 = 0x"
	for _, c := range []struct {
		name  string
		ops   []kelf.Rel // of symbol 0, so that the addend is the value
		want  string
		errno diag.Errno
		line  string
	}{
		{"a branch", []kelf.Rel{{Type: 22, Sym: 1}, {Type: 45}}, "00f00300", 0, ""}, // symbol 1 is P + 0x3f0
		{"add and shift", []kelf.Rel{{Type: 23, Addend: 3}, {Type: 23, Addend: 4}, {Type: 35}, {Type: 23, Addend: 2}, {Type: 33}, {Type: 40}}, "00700000", 0, ""},
		{"sub and sr", []kelf.Rel{{Type: 23, Addend: 3}, {Type: 23, Addend: 7}, {Type: 32}, {Type: 23, Addend: 1}, {Type: 34}, {Type: 43}}, "c0ffff01", 0, ""},
		{"dup and and", []kelf.Rel{{Type: 23, Addend: 0xff}, {Type: 24}, {Type: 36}, {Type: 46}}, "ff000000", 0, ""},
		{"if", []kelf.Rel{{Type: 23, Addend: 1}, {Type: 23, Addend: 5}, {Type: 23, Addend: 6}, {Type: 37}, {Type: 46}}, "05000000", 0, ""},
		{"else", []kelf.Rel{{Type: 23, Addend: 0}, {Type: 23, Addend: 5}, {Type: 23, Addend: 6}, {Type: 37}, {Type: 46}}, "06000000", 0, ""},
		{"16 bits at their smallest", []kelf.Rel{{Type: 23, Addend: -0x8000}, {Type: 41}}, "00000002", 0, ""},
		{"18 bits", []kelf.Rel{{Type: 23, Addend: -4}, {Type: 42}}, "00fcff03", 0, ""},
		{"21 bits", []kelf.Rel{{Type: 23, Addend: -4}, {Type: 44}}, "1ffcff03", 0, ""},
		{"unsigned overflow", []kelf.Rel{{Type: 23, Addend: 0x1000}, {Type: 39}}, "", diag.ENOEXEC, over + "1000 overflow! dangerous apply_r_larch_sop_imm_field (39) relocation"},
		{"signed overflow", []kelf.Rel{{Type: 23, Addend: 0x800}, {Type: 40}}, "", diag.ENOEXEC, over + "800 overflow! dangerous apply_r_larch_sop_imm_field (40) relocation"},
		{"unaligned", []kelf.Rel{{Type: 23, Addend: 2}, {Type: 45}}, "", diag.ENOEXEC, over + "2 unaligned! dangerous apply_r_larch_sop_imm_field (45) relocation"},
		{"32 bits overflow", []kelf.Rel{{Type: 23, Addend: -1}, {Type: 46}}, "", diag.ENOEXEC, over + "ffffffffffffffff overflow! dangerous apply_r_larch_sop_imm_field (46) relocation"},
		{"S_10_5", []kelf.Rel{{Type: 23, Addend: 1}, {Type: 38}}, "", diag.EINVAL, "kmod: mod: Unsupport relocation type 38"},
		{"one operand is missing", []kelf.Rel{{Type: 23, Addend: 1}, {Type: 35}}, "", diag.ENOEXEC, ""},
		{"ASSERT", []kelf.Rel{{Type: 30}}, "", diag.EINVAL, "kmod: mod: Unsupport relocation type 30, please add its support."},
	} {
		t.Run(c.name, func(t *testing.T) {
			img, l := testLoong.begin(t)
			img.rels[2] = c.ops // as a table of data would be: not sorted
			img.syms[1].Value = P + 0x3f0
			errno, err := l.Apply(2)
			line := ""
			if len(img.lines) > 0 {
				line = img.lines[0]
			}
			if errno != c.errno || err != nil || line != c.line {
				t.Errorf("got %v %v %q, want %v %q", errno, err, line, c.errno, c.line)
			}
			want := make([]byte, 4)
			unhex(t, want, c.want)
			if got := img.secs[1].data[:4]; !bytes.Equal(got, want) {
				t.Errorf("got % x, want % x", got, want)
			}
		})
	}
	t.Run("16 deep", func(t *testing.T) {
		img, l := testLoong.begin(t)
		for range 17 {
			img.rels[2] = append(img.rels[2], kelf.Rel{Type: 23})
		}
		if errno, err := l.Apply(2); errno != diag.ENOEXEC || err != nil {
			t.Errorf("got %v %v", errno, err)
		}
		img.rels[2] = img.rels[2][:16]
		if errno, err := l.Apply(2); errno != 0 || err != nil { // the stack is empty for each section
			t.Errorf("got %v %v", errno, err)
		}
	})
}

func TestLoongArchGOTAndPLT(t *testing.T) {
	img, l := testLoong.begin(t,
		kelf.Rel{Off: 0, Sym: 1, Type: 75}, kelf.Rel{Off: 4, Sym: 1, Type: 76},
		kelf.Rel{Off: 8, Sym: 1, Type: 66}, kelf.Rel{Off: 12, Sym: 1, Type: 66})
	if got := []uint64{img.secs[4].Size, img.secs[6].Size, img.secs[8].Size}; got[0] != 32 || got[1] != 16 || got[2] != 16 {
		t.Errorf("sizes of .plt, .got, .plt.idx: got %d", got)
	}
	const S = 0x1234800081234568
	img.syms[1].Value = S
	unhex(t, img.secs[1].data, "0400001a 8400c028 00000054 00000054")
	apply(t, img, l)
	want := make([]byte, 16)
	unhex(t, want, "6400001a 8400c028 00f80f54 00f40f54") // .got is 3 pages on, .plt one
	if got := img.secs[1].data[:16]; !bytes.Equal(got, want) {
		t.Errorf("got % x, want % x", got, want)
	}
	if got := binary.LittleEndian.Uint64(img.secs[6].data); got != S {
		t.Errorf(".got: got %#x", got)
	}
	if got := binary.LittleEndian.Uint64(img.secs[8].data); got != S {
		t.Errorf(".plt.idx: got %#x", got)
	}
	// lu12i.w t1, 0x81234; lu32i.d t1, 0x48000; lu52i.d t1, t1, 0x123; jirl zero, t1, 0x568
	if got, want := loongSlot(S), [4]uint32{0x1502468d, 0x1690000d, 0x03048dad, 0x4c0569a0}; got != want {
		t.Errorf("got %#x, want %#x", got, want)
	}
}

func TestLoongArchGOTWithoutACountIsBad(t *testing.T) {
	img, l := testLoong.begin(t, kelf.Rel{Off: 0, Sym: 1, Type: 76}) // a LO12 is not counted
	errno, err := l.Apply(2)
	if errno != diag.EINVAL || err != nil || len(img.lines) != 1 || img.lines[0] != "mod: module contains bad GOT relocation" {
		t.Errorf("got %v %v %q", errno, err, img.lines)
	}
}

func TestLoongArchPCADDPairs(t *testing.T) {
	img, l := testLoong.begin(t, kelf.Rel{Off: 0, Sym: 1, Type: 128, Addend: 0x800}, kelf.Rel{Off: 4, Sym: 2, Type: 129})
	img.syms = append(img.syms, Symbol{Value: testLoong.text})
	img.syms[1].Value = testLoong.text + 0x5000
	apply(t, img, l)
	want := make([]byte, 8)
	unhex(t, want, "c0000000 00002000") // 6 pages and -0x800
	if got := img.secs[1].data[:8]; !bytes.Equal(got, want) {
		t.Errorf("got % x, want % x", got, want)
	}
}

func TestLoongArchSortsSince612(t *testing.T) {
	for _, c := range []struct {
		v     kver.Version
		first uint32
	}{{kver.V(6, 1), 72}, {kver.V(6, 12), 71}} {
		mc := testLoong
		mc.t = DefaultTraits(mc.m, c.v)
		img, _ := mc.begin(t, kelf.Rel{Sym: 1, Type: 72}, kelf.Rel{Sym: 1, Type: 71})
		if got := img.rels[2][0].Type; got != c.first {
			t.Errorf("%v: got type %d first, want %d", c.v, got, c.first)
		}
	}
}
