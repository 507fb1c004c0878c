package reloc

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"testing"

	"kotool/internal/diag"
	kelf "kotool/internal/elf"
	"kotool/internal/kver"
)

// Bytes of the cases that do not depend on the TOC are those that GNU ld 2.40 makes. .toc is at 0xc008000000107000.
func TestPPC64(t *testing.T) {
	const P = 0xc008000000100010
	const r2 = 0xc008000000107000 + 0x8000
	here := Symbol{Shndx: 1}
	pre := "module_64: mod: "
	testPPC64.runAll(t, []relocCase{
		{name: "ADDR64", typ: 38, S: P, A: 4, want: "14001000000008c0"},
		{name: "ADDR32", typ: 1, S: P, want: "1000100000"},
		{name: "REL32 at its smallest", typ: 26, S: P - 0x80000000, want: "00000080"},
		{name: "REL32 one above", typ: 26, S: P + 0x80000000, errno: diag.ENOEXEC, line: pre + "REL32 2147483648 out of range!"},
		{name: "REL64", typ: 44, S: P - 1, want: "ffffffffffffffff"},
		{name: "REL16_HA rounds up", typ: 252, S: P + 0x12348765, want: "3512"},
		{name: "REL16_LO", typ: 250, S: P + 0x12348765, want: "6587"},
		{name: "TOC", typ: 51, want: "00f01000000008c0"},
		{name: "TOC16 at its smallest", typ: 47, S: r2 - 0x8000, before: "ffffaa", want: "0080aa"},
		{name: "TOC16 one above", typ: 47, S: r2 + 0x8000, errno: diag.ENOEXEC, line: pre + "bad TOC16 relocation (0x8000)"},
		{name: "TOC16 one below", typ: 47, S: r2 - 0x8001, errno: diag.ENOEXEC, line: pre + "bad TOC16 relocation (0xffffffffffff7fff)"},
		{name: "TOC16_LO", typ: 48, S: r2 - 0x12345678, want: "88a9"},
		{name: "TOC16_HA", typ: 50, S: r2 + 0x12348765, want: "3512"},
		{name: "TOC16_DS keeps the opcode's bits", typ: 63, S: r2 - 4, before: "0200", want: "feff"},
		{name: "TOC16_DS of an odd word", typ: 63, S: r2 + 2, errno: diag.ENOEXEC, line: pre + "bad TOC16_DS relocation (0x2)"},
		{name: "TOC16_LO_DS", typ: 64, S: r2 + 0x123458, before: "0100", want: "5934"},
		{name: "TOC16_LO_DS of an odd word", typ: 64, S: r2 + 1, errno: diag.ENOEXEC, line: pre + "bad TOC16_LO_DS relocation (0x1)"},
		{name: "REL24 at its smallest", typ: 10, S: P - 0x2000000, sym: here, before: "01000048", want: "0100004a"},
		{name: "REL24 goes to the local entry", typ: 10, S: P + 0x100, sym: Symbol{Shndx: 1, Other: 3 << 5}, before: "01000048", want: "09010048"},
		{name: "REL24 one above", typ: 10, S: P + 0x2000000, sym: here, before: "01000048", want: "01000048", errno: diag.ENOEXEC,
			line: pre + "REL24 33554432 out of range!"},
		{name: "REL24 of an odd word", typ: 10, S: P + 2, sym: here, before: "01000048", want: "01000048", errno: diag.ENOEXEC,
			line: pre + "REL24 2 out of range!"},
		{name: "a call without a nop behind it", typ: 10, S: 0xc000000001234560, before: "01000048 a6028c7d", want: "01000048 a6028c7d", errno: diag.ENOEXEC,
			line: pre + "Expected nop after call, got 7d8c02a6 at 0xc008000000100014"},
		// .stubs is 0x5ff0 behind the place
		{name: "a far call", typ: 10, S: 0xc000000001234560, before: "01000048 00000060", want: "f15f0048 180041e8"},
		{name: "a far call that has its load of r2", typ: 10, S: 0xc000000001234560, before: "01000048 180041e8", want: "f15f0048 180041e8"},
		{name: "a far jump does not come back", typ: 10, S: 0xc000000001234560, before: "00000048 a6028c7d", want: "f05f0048 a6028c7d"},
		{name: "ENTRY makes the prologue short", typ: 118, before: "08004ce8 1462427c", want: "01004c3c f0ef4238"},
		{name: "ENTRY leaves others alone", typ: 118, before: "08004be8 1462427c", want: "08004be8 1462427c"},
		{name: "TOCSAVE", typ: 109, before: "aa", want: "aa"},
		{name: "a type that the loader does not know", typ: 20, errno: diag.ENOEXEC, line: pre + "Unknown ADD relocation: 20"},
	})
}

func TestPPC64Stubs(t *testing.T) {
	for _, c := range []struct {
		name       string
		terminator bool
		zero       int // stub of the second call of the address 0 and of the call behind it
	}{{"with a terminator, the stub for 0 is overwritten", true, 1}, {"with a count, it is kept", false, 2}} {
		t.Run(c.name, func(t *testing.T) {
			mc := testPPC64
			mc.t.PPC64.Terminator = c.terminator
			img, l := mc.begin(t,
				kelf.Rel{Off: 0, Sym: 1, Type: 10}, kelf.Rel{Off: 8, Sym: 2, Type: 10},
				kelf.Rel{Off: 16, Sym: 1, Type: 10, Addend: 4}, kelf.Rel{Off: 24, Sym: 1, Type: 10})
			img.rels[2] = []kelf.Rel{
				{Off: 0, Sym: 1, Type: 10}, {Off: 8, Sym: 2, Type: 10},
				{Off: 16, Sym: 1, Type: 10, Addend: 4}, {Off: 24, Sym: 1, Type: 10},
			}
			img.syms = append(img.syms, Symbol{})
			img.syms[1].Value = 0xc000000001234560 // 2 stays weak and unknown: 0
			le := binary.LittleEndian
			for off := 0; off < 32; off += 8 {
				unhex(t, img.secs[1].data[off:], "01000048 00000060")
			}
			apply(t, img, l)
			for i, stub := range []int{0, 1, c.zero, 0} {
				want := 0x48000001 | uint32(0x6000+40*stub-8*i)
				if got := le.Uint32(img.secs[1].data[8*i:]); got != want {
					t.Errorf("call %d: got %#x, want %#x", i, got, want)
				}
			}
			stubs := img.secs[9].data
			want := make([]byte, 40) // addis r11,r2,-1; addi r11,r11,0x7000; std; ld r12,32(r11); mtctr; bctr; 0; "stub"; address
			unhex(t, want, "ffff623d 00706b39 180041f8 20008be9 a603897d 2004804e 00000000 62757473 60452301000000c0")
			if !bytes.Equal(stubs[:40], want) {
				t.Errorf("stub 0\n got % x\nwant % x", stubs[:40], want)
			}
			if got := le.Uint64(stubs[40*c.zero+32:]); got != 0xc000000001234564 {
				t.Errorf("stub %d: got target %#x", c.zero, got)
			}
		})
	}
}

func TestPPC64FtraceStubsUseTheKernelsTOC(t *testing.T) {
	img, l := testPPC64.begin(t)
	img.kernel[".TOC."] = 0xc000000002000000
	img.kernel["ftrace_caller"], img.kernel["ftrace_regs_caller"] = 0xc000000000089000, 0xc000000002009000
	if errno, err := l.Finalize(); errno != 0 || err != nil {
		t.Fatal(errno, err)
	}
	want := make([]byte, 80) // ld r12,16(r13); addis; addi; mtctr; bctr
	unhex(t, want, "10008de9 09fe8c3d 00908c39 a603897d 2004804e 00000000 00000000 62757473 00900800000000c0"+
		"10008de9 01008c3d 00908c39 a603897d 2004804e 00000000 00000000 62757473 00900002000000c0")
	if got := img.secs[9].data[:80]; !bytes.Equal(got, want) {
		t.Errorf("got % x\nwant % x", got, want)
	}
}

func TestPPC64SetsTOCInTheSymbolTable(t *testing.T) {
	img := testPPC64.image()
	img.names[1] = []byte(".TOC.")
	l, _ := Begin(testPPC64.m, testPPC64.class, false, img, testPPC64.t)
	if errno, err := l.Frob(); errno != 0 || err != nil {
		t.Fatal(errno, err)
	}
	testPPC64.layout(img, l)
	apply(t, img, l)
	if got := img.syms[1]; got.Shndx != 0xfff1 || got.Value != 0xc00800000010f000 {
		t.Errorf("got %+v", got)
	}
}

func TestPPC64CountsStubs(t *testing.T) {
	rels := func() []kelf.Rel {
		return []kelf.Rel{
			{Sym: 1, Type: 10}, {Sym: 2, Type: 10}, {Sym: 1, Type: 10}, {Sym: 1, Type: 10, Addend: 8},
			{Sym: 1, Type: 10, Addend: -8}, {Sym: 1, Type: 10, Addend: -8}, // negative addends are never equal
			{Sym: 3, Type: 38},
		}
	}
	for _, c := range []struct {
		v    kver.Version
		want uint64
	}{{kver.V(6, 12), (5 + 3) * 40}, {kver.V(7, 2), (5 + 2) * 40}} {
		mc := testPPC64
		mc.t = DefaultTraits(mc.m, c.v)
		img, _ := mc.begin(t, rels()...)
		if got := img.secs[9].Size; got != c.want {
			t.Errorf("%v: .stubs has %d bytes, want %d", c.v, got, c.want)
		}
		if r := img.rels[2]; r[0].Sym != 3 || r[1].Sym != 2 || r[2].Addend != 8 || r[6].Addend != -8 {
			t.Errorf("not sorted backwards: %+v", r)
		}
	}
	img := testPPC64.image()
	img.secs[9].Name = ".none"
	l, _ := Begin(testPPC64.m, testPPC64.class, false, img, testPPC64.t)
	if errno, _ := l.Frob(); errno != diag.ENOEXEC || img.lines[0] != "module_64: mod: doesn't contain .stubs." {
		t.Errorf("got %v %q", errno, img.lines)
	}
}

// What __patchable_function_entries adds is as recorded of a 7.2: brd, loop, dm_mod.
func TestPPC64MakesRoomForStubsOutOfLine(t *testing.T) {
	for _, c := range []struct{ entries, perStub, want uint64 }{
		{5, 24, 3}, {42, 24, 26}, {362, 24, 218}, {42, 16, 17}, {0, 24, 0},
	} {
		mc := testPPC64
		mc.t.PPC64.OutOfLineSize = c.perStub
		img := mc.image()
		img.secs = append(img.secs, memSection{Section: Section{Name: "__patchable_function_entries", Type: elf.SHT_PROGBITS, Size: 8 * c.entries}})
		l, _ := Begin(mc.m, mc.class, false, img, mc.t)
		if errno, err := l.Frob(); errno != 0 || err != nil {
			t.Fatal(errno, err)
		}
		if got := img.secs[9].Size; got != (c.want+2)*40 {
			t.Errorf("%d entries, stubs of %d bytes: .stubs has %d bytes, want %d", c.entries, c.perStub, got, (c.want+2)*40)
		}
	}
	if DefaultTraits(testPPC64.m, kver.V(6, 12)).PPC64.OutOfLine {
		t.Error("6.12 has stubs out of line")
	}
}

type descriptors struct{ *memImage }

func (d descriptors) FuncDescriptor(addr uint64) ([3]uint64, bool) {
	return [3]uint64{addr + 0x1000, 0x2222, 0x3333}, addr != 0
}

func TestPPC64OfTheFirstABICopiesDescriptors(t *testing.T) {
	mc := testPPC64
	mc.big, mc.t.PPC64.ELFv1 = true, true
	img := mc.image(kelf.Rel{Off: 0, Sym: 1, Type: 10})
	l, _ := Begin(mc.m, mc.class, true, descriptors{img}, mc.t)
	if errno, err := l.Frob(); errno != 0 || err != nil {
		t.Fatal(errno, err)
	}
	if got := img.secs[9].Size; got != (1+2)*56 {
		t.Errorf(".stubs: got %d bytes, want %d", got, 3*56)
	}
	mc.layout(img, l)
	img.syms[1].Value = 0xc000000001000000
	unhex(t, img.secs[1].data, "48000001 60000000")
	apply(t, img, l)
	want := make([]byte, 56)
	unhex(t, want, "3d62ffff 396b7000 f8410028 e98b0020 e84b0028 7d8903a6 4e800420 73747562 c000000001001000 0000000000002222 0000000000003333")
	if got := img.secs[9].data[:56]; !bytes.Equal(got, want) {
		t.Errorf("got % x\nwant % x", got, want)
	}
	if got := binary.BigEndian.Uint32(img.secs[1].data[4:]); got != 0xe8410028 {
		t.Errorf("behind the call: got %#x", got)
	}
}

func TestPPC32(t *testing.T) {
	const P = 0xbe000010
	testPPC32.runAll(t, []relocCase{
		{name: "ADDR32", typ: 1, S: 0xc0123456, A: -2, want: "c0123454"},
		{name: "ADDR16_LO", typ: 4, S: 0xc0128456, before: "38630000", want: "38638456"},
		{name: "ADDR16_HI", typ: 5, S: 0xc0128456, before: "3c60ffff", want: "3c60c012"},
		{name: "ADDR16_HA", typ: 6, S: 0xc0128456, before: "3c600000", want: "3c60c013"},
		{name: "REL24 at its smallest", typ: 10, S: P - 0x2000000, before: "48000001", want: "4a000001"},
		{name: "REL24 at its largest", typ: 10, S: P + 0x1fffffc, before: "48000001", want: "49fffffd"},
		{name: "REL24 one above goes to .plt", typ: 10, S: P + 0x2000000, before: "48000001", want: "48000ff1"},
		{name: "REL32", typ: 26, S: P - 1, want: "ffffffff"},
		{name: "NONE is refused", typ: 0, errno: diag.ENOEXEC, line: "module_32: mod: unknown ADD relocation: 0"},
	})
	img, l := testPPC32.begin(t, kelf.Rel{Off: 0, Sym: 1, Type: 10}, kelf.Rel{Off: 4, Sym: 1, Type: 10})
	if got := img.secs[4].Size; got != 2*16 { // one and ftrace's
		t.Errorf(".plt: got %d bytes, want 32", got)
	}
	img.syms[1].Value = 0xc0128456
	img.kernel["ftrace_caller"] = 0xc0001234
	apply(t, img, l)
	if errno, err := l.Finalize(); errno != 0 || err != nil {
		t.Fatal(errno, err)
	}
	want := make([]byte, 32) // lis r12,ha; addi r12,r12,lo; mtctr r12; bctr
	unhex(t, want, "3d80c013 398c8456 7d8903a6 4e800420 3d80c000 398c1234 7d8903a6 4e800420")
	if got := img.secs[4].data; !bytes.Equal(got, want) {
		t.Errorf("got % x\nwant % x", got, want)
	}
	t.Run("sections of .init and .debug", func(t *testing.T) {
		img := testPPC32.image()
		img.secs[2].Name = ".rela.init.text"
		img.rels[2] = []kelf.Rel{{Sym: 1, Type: 10}}
		img.secs = append(img.secs, memSection{Section: Section{Name: ".rela.debug_info", Type: img.secs[2].Type}})
		l, _ := Begin(testPPC32.m, testPPC32.class, true, img, testPPC32.t)
		if errno, err := l.Frob(); errno != 0 || err != nil || img.secs[4].Size != 0 || img.secs[5].Size != 32 {
			t.Errorf("got %v %v, .plt %d, .init.plt %d", errno, err, img.secs[4].Size, img.secs[5].Size)
		}
	})
}
