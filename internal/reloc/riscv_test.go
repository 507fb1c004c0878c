package reloc

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kotool/internal/diag"
	kelf "kotool/internal/elf"
	"kotool/internal/kver"
)

// Bytes of the instructions are those that GNU ld 2.40 makes.
func TestRISCV(t *testing.T) {
	const P = 0xffffffff01000010
	weak := Symbol{Info: 2 << 4}
	ptr := "(____ptrval____)"
	testRISCV.runAll(t, []relocCase{
		{name: "64", typ: 2, S: 0xffffffff81000000, A: -1, want: "ffffff80ffffffff"},
		{name: "32 at its largest", typ: 1, S: 0xffffffff, want: "ffffffff00"},
		{name: "32 one above", typ: 1, S: 0x100000000, errno: diag.EINVAL, line: "mod: value 0000000100000000 out of range for 32-bit field"},
		{name: "32 of a negative value", typ: 1, S: 0xffffffff80000000, errno: diag.EINVAL, line: "mod: value ffffffff80000000 out of range for 32-bit field"},
		{name: "BRANCH at its smallest", typ: 16, S: P - 4096, before: "6300b500", want: "6300b580"},
		{name: "BRANCH at its largest", typ: 16, S: P + 0xffe, before: "6300b500", want: "e30fb57e"},
		{name: "BRANCH out of reach is cut off", typ: 16, S: P + 0x10000, before: "6300b500", want: "6300b500"},
		{name: "JAL at its smallest", typ: 17, S: P - 0x100000, before: "6f000000", want: "6f000080"},
		{name: "JAL at its largest", typ: 17, S: P + 0xffffe, before: "6f000000", want: "6ff0ff7f"},
		{name: "RVC_BRANCH at its smallest", typ: 44, S: P - 256, before: "01c1ffff", want: "01d1ffff"},
		{name: "RVC_BRANCH", typ: 44, S: P + 0xaa, before: "01c1", want: "4dc5"},
		{name: "RVC_JUMP at its smallest", typ: 45, S: P - 2048, before: "01a0", want: "01b0"},
		{name: "RVC_JUMP", typ: 45, S: P + 0x5b6, before: "01a0", want: "5dab"},
		{name: "CALL_PLT backwards", typ: 19, S: P - 0x12345678, before: "97000000e7800000", want: "97b0cbede7808098"},
		{name: "CALL at its largest", typ: 18, S: P + 0x7ffff7fe, before: "97000000e7800000", want: "97f0ff7fe780e07f"},
		{name: "CALL out of reach", typ: 18, S: P + 0x7ffff800, before: "97000000", want: "97000000", errno: diag.EINVAL,
			line: "mod: target ffffffff80fff810 can not be addressed by the 32-bit offset from PC = " + ptr},
		{name: "PCREL_HI20 at its smallest", typ: 23, S: P - 0x80000800, before: "17050000", want: "17050080"},
		{name: "PCREL_HI20 one below", typ: 23, S: P - 0x80000801, before: "17050000", want: "17050000", errno: diag.EINVAL,
			line: "mod: target fffffffe80fff80f can not be addressed by the 32-bit offset from PC = " + ptr},
		{name: "HI20 rounds up", typ: 26, S: 0xffffffff81000800, before: "37050000", want: "37150081"},
		{name: "LO12_I", typ: 27, S: 0xffffffff81000800, before: "13050500", want: "13050580"},
		{name: "LO12_S", typ: 28, S: 0xffffffff81000fff, before: "2320a500", want: "a32fa5fe"},
		{name: "32_PCREL", typ: 57, S: P - 16, want: "f0ffffff"},
		{name: "PLT32", typ: 59, S: P - 16, want: "f0ffffff"},
		{name: "RELAX", typ: 51, before: "aa", want: "aa"},
		{name: "ALIGN", typ: 43, errno: diag.EINVAL, line: "mod: The unexpected relocation type 'R_RISCV_ALIGN' from PC = " + ptr},
		{name: "COPY", typ: 4, errno: diag.EINVAL, line: "mod: Dynamic linking not supported in kernel modules PC = " + ptr},
		{name: "TPREL_HI20", typ: 29, errno: diag.EINVAL, line: "mod: Thread local storage not supported in kernel modules PC = " + ptr},
		{name: "NONE is refused", typ: 0, errno: diag.EINVAL, line: "mod: Unknown relocation type 0"},
		{name: "a weak symbol that is an error is passed over", typ: 2, S: 0xfffffffffffffffe, sym: weak, before: "aa", want: "aa00"},
		{name: "another symbol that is an error", typ: 2, S: 0xfffffffffffff001, errno: diag.ENOENT, line: "mod: Unknown symbol sym"},
		{name: "a LO12 without its HI20", typ: 24, S: P, errno: diag.EINVAL, line: "mod: Can not find HI20 relocation information"},
		{name: "SET6 keeps the upper bits", typ: 53, S: 0x7f, before: "c5", want: "ff"},
		{name: "SUB6", typ: 52, S: 1, before: "c0", want: "ff"},
		{name: "SET8", typ: 54, S: 0x1ff, before: "00aa", want: "ffaa"},
		{name: "SET16", typ: 55, S: 0x12345, want: "4523"},
		{name: "SET32", typ: 56, S: 0x123456789, want: "89674523"},
		{name: "SUB16 from zero wraps in 16 bits", typ: 38, S: 1, before: "aaaaaa", want: "ffffaa"},
		{name: "SET_ULEB128", typ: 60, S: 624485, want: "e58e26"},
		{name: "a ULEB128 of 0 writes nothing", typ: 60, S: 0, before: "8080", want: "8080"},
	})
}

func TestRISCVRegistersOfOldKernels(t *testing.T) {
	mc := testRISCV
	mc.t = DefaultTraits(mc.m, kver.V(6, 1))
	mc.run(t, relocCase{name: "ADD32 adds to what is there", typ: 35, S: 0x10, before: "f8ffffff", want: "08000000"})
	mc.run(t, relocCase{name: "SUB64 in place", typ: 40, S: 1, want: "ffffffffffffffff"})
	mc.run(t, relocCase{name: "ADD16 is not known", typ: 34, errno: diag.EINVAL, line: "mod: Unknown relocation type 34"})
	mc.run(t, relocCase{name: "COPY is not known", typ: 4, errno: diag.EINVAL, line: "mod: Unknown relocation type 4"})
}

func apply(t *testing.T, img *memImage, l Linker) {
	t.Helper()
	if errno, err := l.Apply(2); errno != 0 || err != nil {
		t.Fatalf("%v %v %q", errno, err, img.lines)
	}
}

func TestRISCVSumsArePairedByPlace(t *testing.T) {
	rels := []kelf.Rel{
		{Off: 0, Sym: 1, Type: 34, Addend: 0x30}, {Off: 0, Sym: 2, Type: 38}, // ADD16, SUB16
		{Off: 8, Sym: 1, Type: 36, Addend: 4}, {Off: 8, Sym: 2, Type: 40}, // ADD64, SUB64
		{Off: 4, Sym: 2, Type: 35}, {Off: 4, Sym: 1, Type: 39}, // ADD32, SUB32: negative
		{Off: 24, Sym: 1, Type: 60}, {Off: 24, Sym: 2, Type: 61}, // SET_ULEB128, SUB_ULEB128
		{Off: 32, Sym: 1, Type: 35}, {Off: 32, Sym: 1, Type: 33}, // the last type, ADD8, decides, and the sum does not fit
	}
	img, l := testRISCV.begin(t, rels...)
	img.syms = append(img.syms, Symbol{})
	img.syms[1].Value, img.syms[2].Value = testRISCV.text+0x200, testRISCV.text+0x100
	d := img.secs[1].data
	d[0], d[8], d[33] = 0xaa, 0xbb, 0xcc // what is there does not count
	apply(t, img, l)
	want := make([]byte, 40)
	unhex(t, want, "30010000 00ffffff 04010000 00000000")
	unhex(t, want[24:], "8002")
	want[33] = 0xcc
	if !bytes.Equal(d[:40], want) {
		t.Errorf("got % x\nwant % x", d[:40], want)
	}
	if len(img.lines) != 1 || !strings.HasSuffix(img.lines[0], "out of range for 8-bit relocation.") {
		t.Errorf("got %q, want one line on 8 bits", img.lines)
	}
}

// Sums of places that lie apart are stored without the kernel's order, which a ULEB128 brings back: all others are the same.
func TestRISCVSumsAreTheSameInEitherOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 9))
	types := [][3]uint32{{34, 38, 2}, {35, 39, 4}, {36, 40, 8}, {33, 37, 1}, {53, 52, 1}} // ADD, SUB; SET6, SUB6
	for range 200 {
		var rels []kelf.Rel
		off := uint64(0)
		for off < 48 {
			ty := types[r.IntN(len(types))]
			off += uint64(r.IntN(3))
			for _, k := range []int{0, 1} {
				rels = append(rels, kelf.Rel{Off: off, Sym: 1, Type: ty[k], Addend: int64(r.IntN(60)) - int64(k)*r.Int64N(60)})
			}
			off += uint64(ty[2])
		}
		run := func(rels []kelf.Rel) []byte {
			img, l := testRISCV.begin(t, rels...)
			for i := range img.secs[1].data {
				img.secs[1].data[i] = byte(i * 37)
			}
			img.syms[1].Value = testRISCV.text + 0x200
			apply(t, img, l)
			return img.secs[1].data[:60]
		}
		got := run(rels)
		want := run(append(slices.Clone(rels), kelf.Rel{Off: 62, Sym: 1, Type: 60}, kelf.Rel{Off: 62, Sym: 1, Type: 61})) // a ULEB128 of 0, which takes no byte
		if !bytes.Equal(got, want) {
			t.Fatalf("%v:\n got % x\nwant % x", rels, got, want)
		}
	}
}

func TestRISCVNegativeULEB128IsUndefined(t *testing.T) {
	img, l := testRISCV.begin(t, kelf.Rel{Off: 0, Sym: 1, Type: 61})
	img.syms[1].Value = 1
	_, err := l.Apply(2)
	if u, ok := err.(*UndefinedError); !ok || u.Cause != KernelBug {
		t.Errorf("got %v", err)
	}
}

func TestRISCVLO12TakesTheValueOfItsHI20(t *testing.T) {
	const text = 0xffffffff01000000
	img, l := testRISCV.begin(t,
		kelf.Rel{Off: 0, Sym: 1, Type: 23, Addend: 0x800},
		kelf.Rel{Off: 4, Sym: 2, Type: 24, Addend: 99}, // its own addend does not count
		kelf.Rel{Off: 8, Sym: 2, Type: 25})
	img.syms = append(img.syms, Symbol{Value: text})
	img.syms[1].Value = text + 0x12345000
	d := img.secs[1].data
	unhex(t, d, "17050000 13050500 2320a500")
	apply(t, img, l)
	// 0x12345800 is 0x12346 pages and -0x800.
	want := make([]byte, 12)
	unhex(t, want, "17653412 13050580 2320a580")
	if !bytes.Equal(d[:12], want) {
		t.Errorf("got % x, want % x", d[:12], want)
	}
}

func TestRISCVGOTAndPLT(t *testing.T) {
	for _, mc := range []machine{testRISCV, testRISCV32} {
		word := uint64(8)
		if mc.class == 1 {
			word = 4
		}
		img, l := mc.begin(t,
			kelf.Rel{Off: 0, Sym: 1, Type: 20}, kelf.Rel{Off: 4, Sym: 2, Type: 24},
			kelf.Rel{Off: 8, Sym: 1, Type: 20, Addend: 4},
			kelf.Rel{Off: 16, Sym: 1, Type: 19}, kelf.Rel{Off: 24, Sym: 1, Type: 19})
		if got := []uint64{img.secs[4].Size, img.secs[6].Size, img.secs[7].Size}; got[0] != 24 || got[1] != 3*word || got[2] != 2*word {
			t.Errorf("sizes of .plt, .got, .got.plt: got %d", got)
		}
		img.syms = append(img.syms, Symbol{Value: mc.text})
		img.syms[1].Value = 0x1000 // far away on 64 bits
		for off := 16; off < 32; off += 8 {
			unhex(t, img.secs[1].data[off:], "97000000e7800000")
		}
		apply(t, img, l)
		if got := img.secs[6].data; binary.LittleEndian.Uint32(got) != 0x1000 || binary.LittleEndian.Uint32(got[word:]) != 0x1004 {
			t.Errorf(".got: got % x", got)
		}
		insn := func(off int) uint32 { return binary.LittleEndian.Uint32(img.secs[1].data[off:]) }
		if insn(0) != 0x3000 || insn(4) != 0 { // .got is 0x3000 behind .text
			t.Errorf("GOT_HI20, PCREL_LO12: got %#x %#x", insn(0), insn(4))
		}
		if insn(8)>>12 != 3 {
			t.Errorf("second GOT_HI20: got %#x", insn(8))
		}
		plt := img.secs[4].data
		if mc.class == 1 { // 32 bits reach everything
			if !bytes.Equal(plt, make([]byte, len(plt))) {
				t.Errorf(".plt was written: % x", plt)
			}
			continue
		}
		want := make([]byte, 24) // auipc t0,0x3; ld t1,0(t0); jr t1
		unhex(t, want, "97320000 03b30200 67000300")
		if !bytes.Equal(plt, want) {
			t.Errorf(".plt: got % x, want % x", plt, want)
		}
		if binary.LittleEndian.Uint64(img.secs[7].data) != 0x1000 {
			t.Errorf(".got.plt: got % x", img.secs[7].data)
		}
		if insn(16) != 0x1097 || insn(20)>>20 != 0xff0 || insn(24) != 0x1097 || insn(28)>>20 != 0xfe8 {
			t.Errorf("calls: got %#x %#x %#x %#x", insn(16), insn(20), insn(24), insn(28))
		}
	}
}

func TestRISCVCountsSlotsBySectionOrByModule(t *testing.T) {
	for _, c := range []struct {
		v    kver.Version
		want uint64
	}{{kver.V(6, 1), 3 * 12}, {kver.V(6, 12), 3 * 12}, {kver.V(7, 2), 2 * 12}} {
		mc := testRISCV
		mc.t = sections(DefaultTraits(mc.m, c.v))
		img := mc.image(kelf.Rel{Sym: 1, Type: 19}, kelf.Rel{Off: 8, Sym: 1, Type: 19})
		img.secs = append(img.secs, memSection{Section: img.secs[2].Section})
		img.rels[len(img.secs)-1] = []kelf.Rel{{Sym: 1, Type: 19}}
		l, _ := Begin(mc.m, mc.class, false, img, mc.t)
		if errno, err := l.Frob(); errno != 0 || err != nil {
			t.Fatal(errno, err)
		}
		if got := img.secs[4].Size; got != c.want {
			t.Errorf("%v: .plt has %d bytes, want %d", c.v, got, c.want)
		}
	}
}

func TestRISCVWithoutSections(t *testing.T) {
	mc := testRISCV
	mc.t.RISCV.Sections = false
	mc.run(t, relocCase{name: "GOT_HI20", typ: 20, S: 0x10, errno: diag.EINVAL,
		line: "mod: can not generate the GOT entry for symbol = 0000000000000010 from PC = (____ptrval____)"})
	mc.run(t, relocCase{name: "CALL_PLT", typ: 19, S: 0x10, errno: diag.EINVAL,
		line: "mod: target 0000000000000010 can not be addressed by the 32-bit offset from PC = (____ptrval____)"})
}

func TestEntriesAreCountedOnceByWhicheverWay(t *testing.T) {
	rels := []kelf.Rel{{Sym: 1, Type: 19}, {Sym: 2, Type: 19, Addend: -8}, {Sym: 1, Type: 19, Off: 8}, {Sym: 1, Type: 20}, {Sym: 2, Type: 19, Addend: 8}, {Sym: 2, Type: 19, Addend: -8}}
	if n := distinct(rels); n != 4 {
		t.Errorf("got %d, want 4", n)
	}
	if n := distinctLarge(rels); n != 4 {
		t.Errorf("compared: got %d, want 4", n)
	}
	rels = append(rels, kelf.Rel{Sym: 1 << 24, Type: 19}, kelf.Rel{Sym: 1, Type: 19, Addend: 1 << 40}, kelf.Rel{Sym: 1, Type: 19, Addend: 1 << 40})
	if n := distinct(rels); n != 6 {
		t.Errorf("with large numbers: got %d, want 6", n)
	}
	if n := distinct(nil); n != 0 {
		t.Errorf("of none: got %d", n)
	}
}
