package reloc

import (
	"debug/elf"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"kotool/internal/diag"
	kelf "kotool/internal/elf"
)

// What no single row of psabi_tables_test.go can say: relocations that make a value together, and those whose field is none.

// abiNumbers are numbers of all sizes, the same in each run.
func abiNumbers(n int) []int64 {
	r := rand.New(rand.NewPCG(7, 8))
	list := []int64{0, 1, -1}
	for len(list) < n {
		list = append(list, int64(r.Uint64())>>r.IntN(64))
	}
	return list
}

// The group relocations of one address put together make the distance: AAELF32, section 5.6.1.4. G0 and G1 take eight bits each that
// begin at an even one, from the highest on, and LDR the twelve that are left.
func TestPSABIGroupRelocationsAddUp(t *testing.T) {
	mc := &testARM
	// sub ip, pc, #8; sub ip, ip, #4; ldr r0, [ip]: each addend makes up for the instruction's own place. PC reads as the place plus 8.
	alu := func(insn uint32) int32 {
		imm, rot := insn&0xff, insn>>8&15*2
		imm = imm>>rot | imm<<(32-rot)
		if insn&(1<<22) != 0 {
			return -int32(imm)
		}
		return int32(imm)
	}
	ldr := func(insn uint32) int32 {
		if insn&(1<<23) == 0 {
			return -int32(insn & 0xfff)
		}
		return int32(insn & 0xfff)
	}
	// Addends of ADD, SUB and LDR with either sign, beside what makes up for the place.
	insns := [][3]uint32{
		{0xe24fc008, 0xe24cc004, 0xe59c0000}, {0xe24fc004, 0xe28cc000, 0xe59c0004},
		{0xe24fc014, 0xe24cc010, 0xe51c000c}, {0xe28fcffe, 0xe28ccfff, 0xe59c0400},
	}
	addends := []int32{0, 4, -12, 0x400}
	refused := 0
	for i, n := range abiNumbers(2000) {
		d, k := int32(n), i%len(insns)
		img, l := mc.begin(t)
		img.rels[2] = []kelf.Rel{{Off: 0, Sym: 1, Type: 57}, {Off: 4, Sym: 1, Type: 59}, {Off: 8, Sym: 1, Type: 63}}
		img.syms[1].Value = uint64(uint32(mc.text) + 8 + uint32(d-addends[k]))
		b := img.secs[1].data
		putWords(b, insns[k][:]...)
		errno, err := l.Apply(2)
		word := func(off int) uint32 { return binary.LittleEndian.Uint32(b[off:]) }
		// What the two bytes leave has to fit twelve bits.
		rest := uint32(d)
		if d < 0 {
			rest = -rest
		}
		for range 2 {
			top := 32
			for top > 0 && rest>>(top-1)&1 == 0 {
				top--
			}
			top += top & 1
			if top > 8 {
				rest &= 1<<(top-8) - 1
			} else {
				rest = 0
			}
		}
		if rest > 0xfff {
			refused++
			if errno != diag.ENOEXEC || err != nil || len(img.lines) != 1 {
				t.Errorf("%#x leaves %#x: got %v %v %q, want ENOEXEC", d, rest, errno, err, img.lines)
			}
			continue
		}
		if got := alu(word(0)) + alu(word(4)) + ldr(word(8)); errno != 0 || err != nil || got != d {
			t.Errorf("%#x: got %#x of %#x %#x %#x, %v %v", d, got, word(0), word(4), word(8), errno, err)
		}
		if word(0)&^0x00c00fff != 0xe20fc000 || word(4)&^0x00c00fff != 0xe20cc000 || word(8)&^0x00800fff != 0xe51c0000 {
			t.Errorf("%#x: bits outside of the fields have changed: %#x %#x %#x", d, word(0), word(4), word(8))
		}
	}
	if refused == 0 {
		t.Error("no distance was too much for three instructions")
	}
}

// A ULEB128 has seven bits a byte, the lowest first: the value is set and then subtracted from.
func TestPSABIULEB128(t *testing.T) {
	for _, mc := range []*machine{&testRISCV, &testRISCV32} {
		for _, n := range abiNumbers(400) {
			n &= 1<<62 - 1
			if mc.class == elf.ELFCLASS32 {
				n &= 1<<30 - 1
			}
			img, l := mc.begin(t, kelf.Rel{Off: testOff, Sym: 1, Type: 60, Addend: 0x100}, kelf.Rel{Off: testOff, Sym: 2, Type: 61, Addend: 8})
			img.syms = append(img.syms, Symbol{Value: 0xf8})
			img.syms[1].Value = uint64(n)
			b := img.secs[1].data
			for i := range b {
				b[i] = 0x55 // ends a number
			}
			if errno, err := l.Apply(2); errno != 0 || err != nil {
				t.Fatalf("%#x: %v %v %q", n, errno, err, img.lines)
			}
			size := 0
			for v := n; v != 0; v >>= 7 {
				size++
			}
			got, used := binary.Uvarint(b[testOff:])
			if size == 0 {
				got, used = 0, 0 // nothing is written
			}
			if got != uint64(n) || used != size || b[testOff-1] != 0x55 || b[testOff+size] != 0x55 {
				t.Errorf("%#x: got %#x in %d bytes, want %d: % x", n, got, used, size, b[testOff:testOff+12])
			}
		}
	}
}

// ENTRY: the prologue that loads the distance to the TOC becomes one that has it in two halves, where 32 bits are enough.
func TestPSABIEntryPoints(t *testing.T) {
	mc := &testPPC64
	const lo, hi = -0x80008000, 0x7fff7fff
	list := abiNumbers(400)
	for d := int64(-0x400); d <= 0x400; d += 0x100 {
		list = append(list, lo+d, hi+d)
	}
	fitting, others := 0, 0
	for _, d := range list {
		img, l := mc.begin(t, kelf.Rel{Off: testOff, Sym: 1, Type: 118})
		P := mc.text + testOff
		toc := (P + uint64(d) - 0x8000) &^ 0xff
		img.secs[10].addr = toc
		d = int64(toc + 0x8000 - P)
		b := img.secs[1].data[testOff:]
		putWords(b, 0xe84c0008, 0x7c426214) // ld r2,8(r12); add r2,r2,r12
		if errno, err := l.Apply(2); errno != 0 || err != nil {
			t.Fatal(errno, err)
		}
		one, two := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
		if d < lo || d > hi {
			others++
			if one != 0xe84c0008 || two != 0x7c426214 {
				t.Errorf("%#x is too far: got %#x %#x", d, one, two)
			}
			continue
		}
		fitting++
		if got := int64(int16(one))<<16 + int64(int16(two)); got != d || one>>16 != 0x3c4c || two>>16 != 0x3842 { // addis r2,r12; addi r2,r2
			t.Errorf("%#x: got %#x, %#x %#x", d, got, one, two)
		}
	}
	if fitting < 50 || others < 50 {
		t.Errorf("%d distances fit, %d do not", fitting, others)
	}
}

// o32: AHL is the upper instruction's 16 bits and the lower one's, signed; both together make S + AHL.
func TestPSABIHI16AndLO16MakeTheAddress(t *testing.T) {
	mc := &testMIPS
	list := abiNumbers(600)
	for i, n := range list {
		S, AHL := uint32(n), uint32(list[(7*i+3)%len(list)])
		if S >= 0xfffff001 {
			continue // no address
		}
		img, l := mc.begin(t, kelf.Rel{Off: 8, Sym: 1, Type: 5}, kelf.Rel{Off: 4, Sym: 1, Type: 5}, kelf.Rel{Off: 12, Sym: 1, Type: 6})
		img.syms[1].Value = uint64(S)
		b := img.secs[1].data
		lower := AHL & 0xffff
		upper := (AHL - uint32(int32(int16(lower)))) >> 16
		putWords(b, 0, 0x3c030000|upper, 0x3c020000|upper, 0x24420000|lower)
		if errno, err := l.Apply(2); errno != 0 || err != nil {
			t.Fatal(errno, err)
		}
		low := binary.LittleEndian.Uint32(b[12:])
		for _, c := range []struct {
			off  int
			insn uint32
		}{{4, 0x3c03}, {8, 0x3c02}} {
			high := binary.LittleEndian.Uint32(b[c.off:])
			if got := high<<16 + uint32(int32(int16(low))); got != S+AHL || high>>16 != c.insn || low>>16 != 0x2442 {
				t.Errorf("S %#x AHL %#x: got %#x of %#x %#x", S, AHL, got, high, low)
			}
		}
	}
}

// The left and the right part of an address make S + A, and code that has the left part once may use it for addends that round to the same.
func TestPSABILeftAndRightMakeTheAddress(t *testing.T) {
	mc := &testPARISC
	left := pieces(t, "0=31 11:1=30:20 15:14=19:18 20:16=17:13 13:12=12:11")
	right := pieces(t, "0=13 13:1=12:0")
	for _, dp := range []bool{false, true} {
		for i, n := range abiNumbers(600) {
			S, A := uint32(n)|1, int64(i*37%0x3000-0x1800)
			types := []uint32{2, 6}
			if dp {
				types = []uint32{18, 22}
			}
			img, l := mc.begin(t, kelf.Rel{Off: 0, Sym: 1, Type: types[0], Addend: A}, kelf.Rel{Off: 4, Sym: 1, Type: types[1], Addend: A})
			img.syms[1].Value = uint64(S)
			base := uint32(0)
			if dp {
				base = 0x10203040
				img.kernel["$global$"] = uint64(base)
			}
			if errno, err := l.Apply(2); errno != 0 || err != nil {
				t.Fatal(errno, err)
			}
			b := img.secs[1].data
			L := abiRead(left, uint64(binary.BigEndian.Uint32(b)))
			R := sext(abiRead(right, uint64(binary.BigEndian.Uint32(b[4:]))), 14)
			if got, want := uint32(L)+uint32(R), S+uint32(A)-base; got != want {
				t.Errorf("S %#x A %#x: left %#x and right %#x make %#x, want %#x", S, A, L, R, got, want)
			}
		}
	}
}

// The linkage table: each address has a word, and the two parts make its offset from the start.
func TestPSABILinkageTableOffsets(t *testing.T) {
	mc := &testPARISC64
	const n = 600 // more than the right part alone reaches
	var rels []kelf.Rel
	for i := range uint64(n) {
		rels = append(rels, kelf.Rel{Off: 8 * i, Sym: 1, Type: 26, Addend: int64(16 * i)}, kelf.Rel{Off: 8*i + 4, Sym: 1, Type: 30, Addend: int64(16 * i)})
	}
	img, l := mc.begin(t, rels...)
	img.secs[1].Size, img.secs[1].data = 8*n, make([]byte, 8*n)
	img.place(mc.text-l.TextHead(), l.TextHead())
	const S = 0x4010000000
	img.syms[1].Value = S
	apply(t, img, l)
	left := pieces(t, "0=31 11:1=30:20 15:14=19:18 20:16=17:13 13:12=12:11")
	right := pieces(t, "0=13 13:1=12:0")
	for i := range n {
		b := img.secs[1].data[8*i:]
		L := abiRead(left, uint64(binary.BigEndian.Uint32(b)))
		R := sext(abiRead(right, uint64(binary.BigEndian.Uint32(b[4:]))), 14)
		off := int64(L) + R
		if off < 0 || off > int64(len(img.head))-8 {
			t.Fatalf("entry %d: offset %#x", i, off)
		}
		if got := binary.BigEndian.Uint64(img.head[off:]); got != S+uint64(16*i) {
			t.Errorf("entry %d: at %#x is %#x, want %#x", i, off, got, S+uint64(16*i))
		}
	}
}

// The operations of the stack machine, in 64 bits: the low and the high half of the result are popped.
func TestPSABIStackOperations(t *testing.T) {
	push := func(v int64) kelf.Rel { return kelf.Rel{Type: 23, Addend: v} }
	op := func(typ uint32) kelf.Rel { return kelf.Rel{Type: typ} }
	list := abiNumbers(200)
	for _, c := range []struct {
		name string
		typ  uint32
		want func(a, b, c int64) int64
	}{
		{"dup", 24, func(_, b, _ int64) int64 { return b }},
		{"sub", 32, func(_, b, c int64) int64 { return b - c }},
		{"sl", 33, func(_, b, c int64) int64 { return b << (c & 63) }},
		{"sr", 34, func(_, b, c int64) int64 { return b >> (c & 63) }},
		{"add", 35, func(_, b, c int64) int64 { return b + c }},
		{"and", 36, func(_, b, c int64) int64 { return b & c }},
		{"if_else", 37, func(a, b, c int64) int64 {
			if a != 0 {
				return b
			}
			return c
		}},
	} {
		for i, a := range list {
			b, d := list[(3*i+1)%len(list)], list[(11*i+2)%len(list)]
			a &= -int64(i & 1) // the condition, often 0
			ops := []kelf.Rel{push(a), push(b), push(d), op(c.typ)}
			switch c.typ {
			case 24: // the second one is used up in b + b - b
				ops = []kelf.Rel{push(b), op(24), push(-b), op(35), op(35)}
			case 33, 34:
				d &= 63
				ops[2] = push(d)
			}
			img, l := testLoong.begin(t)
			var got uint64
			for _, half := range []int64{32, 0} {
				img.rels[2] = append(slices.Clone(ops), push(half), op(34), push(0xffffffff), op(36), op(46))
				if errno, err := l.Apply(2); errno != 0 || err != nil {
					t.Fatal(c.name, errno, err, img.lines)
				}
				got = got<<32 | uint64(binary.LittleEndian.Uint32(img.secs[1].data))
			}
			if want := uint64(c.want(a, b, d)); got != want {
				t.Errorf("%s of %#x %#x %#x: got %#x, want %#x", c.name, a, b, d, got, want)
			}
		}
	}
}

// Four instructions make any address out of the place: PCALA_HI20, LO12, 64_LO20 and 64_HI12. The first has the page of the place in it, the
// second is signed, and the last two are the upper bits of the second.
func TestPSABIPCALAMakesTheAddress(t *testing.T) {
	mc := &testLoong
	for _, n := range abiNumbers(600) {
		S := mc.text + uint64(n)
		if S >= 1<<64-0xfff {
			continue // no address
		}
		img, l := mc.begin(t)
		for i := range uint32(4) {
			img.rels[2] = append(img.rels[2], kelf.Rel{Off: uint64(4 * i), Sym: 1, Type: 71 + i})
		}
		img.syms[1].Value = S
		apply(t, img, l)
		word := func(i int) uint64 { return uint64(binary.LittleEndian.Uint32(img.secs[1].data[4*i:])) }
		page := mc.text&^0xfff + uint64(sext(word(0)>>5&0xfffff, 20)<<12)
		low := uint64(sext(word(1)>>10&0xfff, 12))
		low = low&0xffffffff | word(2)>>5&0xfffff<<32 | word(3)>>10&0xfff<<52
		if got := page + low; got != S {
			t.Errorf("got %#x, want %#x", got, S)
		}
	}
}
