package reloc

import (
	"kotool/internal/diag"
)

// The rows of TestPSABI. Expressions and fields are the psABI's; ranges are those of the kernel's loader, arch/*/kernel/module*.c, which may be
// wider or narrower than the psABI's.

// The usual expressions.
func abiAbs(v *abiVars) uint64 { return v.S + v.A }
func abiRel(v *abiVars) uint64 { return v.S + v.A - v.P }
func abiNeg(v *abiVars) uint64 { return -(v.S + v.A) }

func abiPage(v *abiVars) uint64 { return (v.S+v.A)&^0xfff - v.P&^0xfff } // Page(S+A) - Page(P)

// abiSlot is the way to a slot of a table: off is where the slot is, pc what the program counter is ahead.
func abiSlot(section string, off, pc uint64) abiValue {
	return func(v *abiVars) uint64 { return v.at(section) + off - pc - v.P }
}

var abiTables = []abiTable{
	{mc: &testX86, errno: diag.ENOEXEC, clean: true, rows: abiX86},
	{mc: &test386, rows: abi386},
	{mc: &testARM64, errno: diag.ENOEXEC, rows: abiARM64},
	{mc: &testARM, errno: diag.ENOEXEC, rows: abiARM},
	{mc: &testRISCV, errno: diag.EINVAL, refused: abiErrValue, rows: abiRISCV(64)},
	{mc: &testRISCV32, errno: diag.EINVAL, refused: abiErrValue, rows: abiRISCV(32)},
	{mc: &testS390, errno: diag.ENOEXEC, rows: abiS390},
	{mc: &testPPC64, errno: diag.ENOEXEC, rows: abiPPC64()},
	{mc: &testPPC32, rows: abiPPC32},
	{mc: &testMIPS, errno: diag.ENOEXEC, refused: abiErrValue, rows: abiMIPS},
	{mc: &testMIPS64, errno: diag.ENOEXEC, refused: abiErrValue, rows: abiMIPS64},
	{mc: &testLoong, errno: diag.ENOEXEC, refused: abiErrValue, rows: abiLoong},
	{mc: &testSPARC, rows: abiSPARC},
	{mc: &testPARISC, errno: diag.ENOEXEC, refused: abiZero, rows: abiPARISC},
	{mc: &testPARISC64, errno: diag.ENOEXEC, refused: abiZero, rows: abiPARISC64},
}

// abiErrValue: the last 4095 addresses are error numbers.
func abiErrValue(mc *machine, S uint64) bool { return abiUnsigned(mc, S+4095) < 4095 }

// abiZero: a symbol at 0 is none.
func abiZero(mc *machine, S uint64) bool { return S == 0 }

// System V ABI, AMD64 Supplement, table 4.10. PC32 and PLT32 are cut without a check.
var abiX86 = []abiRow{
	{typ: 0},
	{typ: 1, value: abiAbs, size: 8, bits: "63:0=63:0"},
	{typ: 2, value: abiRel, size: 4, bits: "31:0=31:0"},
	{typ: 4, value: abiRel, size: 4, bits: "31:0=31:0"},
	{typ: 10, value: abiAbs, size: 4, bits: "31:0=31:0", in: ux(32), word: "overflow in relocation type 10"},
	{typ: 11, value: abiAbs, size: 4, bits: "31:0=31:0", in: sx(32), word: "overflow in relocation type 11"},
	{typ: 24, value: abiRel, size: 8, bits: "63:0=63:0"},
}

// System V ABI, Intel386 Supplement, table 4.9.
var abi386 = []abiRow{
	{typ: 1, value: abiAbs, size: 4, bits: "31:0=31:0"},
	{typ: 2, value: abiRel, size: 4, bits: "31:0=31:0"},
	{typ: 4, value: abiRel, size: 4, bits: "31:0=31:0"},
}

// abiMOVNZ reads a MOVZ or MOVN: bit 30 is set in MOVZ, which has the bits of a positive value; MOVN has the inverse of those of a negative one.
func abiMOVNZ(raw uint64) uint64 {
	if raw>>63 != 0 {
		return raw &^ (1 << 63)
	}
	return ^raw
}

const (
	arm64ADR  = "30:29=1:0 23:5=20:2"
	arm64ADRP = "30:29=13:12 23:5=32:14"
	bit29     = 1 << 29
)

func arm64NoPLT(tr *Traits) { tr.ARM64.PLT = false }

// ELF for the Arm 64-bit Architecture, section 5.7. Fields are written before they are checked; ABS16 and ABS32 are taken without a sign only, where
// AAELF64 allows both; odd distances lose their low bits.
var abiARM64 = []abiRow{
	{typ: 0},
	{typ: 256},
	{typ: 257, value: abiAbs, size: 8, bits: "63:0=63:0"},
	{typ: 258, value: abiAbs, size: 4, bits: "31:0=31:0", in: ux(32), written: true, word: "overflow in relocation type 258"},
	{typ: 259, value: abiAbs, size: 2, bits: "15:0=15:0", in: ux(16), written: true, word: "overflow in relocation type 259"},
	{typ: 260, value: abiRel, size: 8, bits: "63:0=63:0"},
	{typ: 261, value: abiRel, size: 4, bits: "31:0=31:0", in: sx(32), written: true, word: "overflow"},
	{typ: 262, value: abiRel, size: 2, bits: "15:0=15:0", in: sx(16), written: true, word: "overflow"},
	{typ: 263, value: abiAbs, size: 4, bits: "20:5=15:0", in: ux(16), written: true, word: "overflow"},
	{typ: 264, value: abiAbs, size: 4, bits: "20:5=15:0"},
	{typ: 265, value: abiAbs, size: 4, bits: "20:5=31:16", in: ux(32), written: true, word: "overflow"},
	{typ: 266, value: abiAbs, size: 4, bits: "20:5=31:16"},
	{typ: 267, value: abiAbs, size: 4, bits: "20:5=47:32", in: ux(48), written: true, word: "overflow"},
	{typ: 268, value: abiAbs, size: 4, bits: "20:5=47:32"},
	{typ: 269, value: abiAbs, size: 4, bits: "20:5=63:48"},
	{typ: 270, value: abiAbs, size: 4, bits: "20:5=15:0 30=63", zero: bit29, read: abiMOVNZ, in: sx(17), written: true, word: "overflow"},
	{typ: 271, value: abiAbs, size: 4, bits: "20:5=31:16 30=63", zero: bit29, read: abiMOVNZ, in: sx(33), written: true, word: "overflow"},
	{typ: 272, value: abiAbs, size: 4, bits: "20:5=47:32 30=63", zero: bit29, read: abiMOVNZ, in: sx(49), written: true, word: "overflow"},
	{typ: 273, value: abiRel, size: 4, bits: "23:5=20:2", in: sx(21), written: true, word: "overflow"},
	{typ: 274, value: abiRel, size: 4, bits: arm64ADR, in: sx(21), written: true, word: "overflow"},
	{typ: 275, value: abiPage, size: 4, bits: arm64ADRP, grain: 4096, in: sx(33), written: true, word: "overflow"},
	{typ: 276, value: abiPage, size: 4, bits: arm64ADRP, grain: 4096},
	{typ: 277, value: abiAbs, size: 4, bits: "21:10=11:0"},
	{typ: 278, value: abiAbs, size: 4, bits: "21:10=11:0"},
	{typ: 279, value: abiRel, size: 4, bits: "18:5=15:2", in: sx(16), written: true, word: "overflow"},
	{typ: 280, value: abiRel, size: 4, bits: "23:5=20:2", in: sx(21), written: true, word: "overflow"},
	{typ: 282, value: abiRel, size: 4, bits: "25:0=27:2", in: sx(28), far: abiSlot(".plt", 0, 0)},
	{typ: 282, note: "without a PLT", traits: arm64NoPLT, value: abiRel, size: 4, bits: "25:0=27:2", in: sx(28), written: true, word: "overflow"},
	{typ: 283, value: abiRel, size: 4, bits: "25:0=27:2", in: sx(28), far: abiSlot(".plt", 0, 0)},
	{typ: 283, note: "without a PLT", traits: arm64NoPLT, value: abiRel, size: 4, bits: "25:0=27:2", in: sx(28), written: true, word: "overflow"},
	{typ: 284, value: abiAbs, size: 4, bits: "20:10=11:1", zero: 1 << 21},
	{typ: 285, value: abiAbs, size: 4, bits: "19:10=11:2", zero: 3 << 20},
	{typ: 286, value: abiAbs, size: 4, bits: "18:10=11:3", zero: 7 << 19},
	{typ: 287, value: abiRel, size: 4, bits: "20:5=15:0 30=63", zero: bit29, read: abiMOVNZ, in: sx(17), written: true, word: "overflow"},
	{typ: 288, value: abiRel, size: 4, bits: "20:5=15:0"},
	{typ: 289, value: abiRel, size: 4, bits: "20:5=31:16 30=63", zero: bit29, read: abiMOVNZ, in: sx(33), written: true, word: "overflow"},
	{typ: 290, value: abiRel, size: 4, bits: "20:5=31:16"},
	{typ: 291, value: abiRel, size: 4, bits: "20:5=47:32 30=63", zero: bit29, read: abiMOVNZ, in: sx(49), written: true, word: "overflow"},
	{typ: 292, value: abiRel, size: 4, bits: "20:5=47:32"},
	{typ: 293, value: abiRel, size: 4, bits: "19:5=62:48 30=63", zero: bit29 | 1<<20, read: abiMOVNZ},
	{typ: 299, value: abiAbs, size: 4, bits: "17:10=11:4", zero: 15 << 18},
}

// abiThumbBranch turns J1 and J2 of a Thumb-2 branch into I1 and I2, and back: J = NOT(I EOR S).
func abiThumbBranch(raw uint64) uint64 {
	s := raw >> 24 & 1
	return raw&^(3<<22) | (raw>>23&1^s^1)<<23 | (raw>>22&1^s^1)<<22
}

const (
	armMOVW   = "19:16=15:12 11:0=11:0"
	armMOVT   = "19:16=31:28 11:0=27:16"
	thumbMOVW = "19:16=15:12 26=11 14:12=10:8 7:0=7:0"
	thumbMOVT = "19:16=31:28 26=27 14:12=26:24 7:0=23:16"
	thumbBL   = "26=24 25:16=21:12 13=23 11=22 10:0=11:1"
)

func armNoPLT(tr *Traits) { tr.ARM.PLT = false }

// The branches' ranges are open at both ends. The first two slots of the PLT are ftrace's. PC is 8 ahead, in Thumb 4.
var (
	armBranch26   = span(-1<<25+1, 1<<25-1)
	thumbBranch25 = span(-1<<24+1, 1<<24-1)
	armSlot       = abiSlot(".plt", 8, 8)
	thumbSlot     = abiSlot(".plt", 8, 4)
)

// ELF for the Arm Architecture, section 5.6. Symbols have no type here, so that T is 0.
var abiARM = []abiRow{
	{typ: 0},
	{typ: 1, value: abiRel, size: 4, bits: "23:0=25:2", in: armBranch26, align: 4, alignFirst: true, far: armSlot, word: "ARM -> Thumb"},
	{typ: 1, note: "without a PLT", traits: armNoPLT, value: abiRel, size: 4, bits: "23:0=25:2", in: armBranch26, align: 4},
	{typ: 2, value: abiAbs, size: 4, bits: "31:0=31:0"},
	{typ: 3, value: abiRel, size: 4, bits: "31:0=31:0"},
	{typ: 10, value: abiRel, size: 4, halve: true, bits: thumbBL, read: abiThumbBranch, in: thumbBranch25, far: thumbSlot},
	{typ: 10, note: "without a PLT", traits: armNoPLT, value: abiRel, size: 4, halve: true, bits: thumbBL, read: abiThumbBranch, in: thumbBranch25,
		word: "relocation 10 out of range"},
	{typ: 28, value: abiRel, size: 4, bits: "23:0=25:2", in: armBranch26, align: 4, alignFirst: true, far: armSlot, word: "ARM -> Thumb"},
	{typ: 28, note: "without a PLT", traits: armNoPLT, value: abiRel, size: 4, bits: "23:0=25:2", in: armBranch26, align: 4},
	{typ: 29, value: abiRel, size: 4, bits: "23:0=25:2", in: armBranch26, align: 4, alignFirst: true, far: armSlot, word: "ARM -> Thumb"},
	{typ: 29, note: "without a PLT", traits: armNoPLT, value: abiRel, size: 4, bits: "23:0=25:2", in: armBranch26, align: 4},
	{typ: 30, value: abiRel, size: 4, halve: true, bits: thumbBL, read: abiThumbBranch, in: thumbBranch25, far: thumbSlot},
	{typ: 30, note: "without a PLT", traits: armNoPLT, value: abiRel, size: 4, halve: true, bits: thumbBL, read: abiThumbBranch, in: thumbBranch25,
		word: "relocation 30 out of range"},
	{typ: 38, value: abiAbs, size: 4, bits: "31:0=31:0"},
	{typ: 40, by: "TestARM"},
	{typ: 42, value: abiRel, size: 4, bits: "30:0=30:0", in: sx(31), word: "relocation 42 out of range"},
	{typ: 43, value: abiAbs, size: 4, bits: armMOVW},
	{typ: 44, value: abiAbs, size: 4, bits: armMOVT, addend: armMOVW},
	{typ: 45, value: abiRel, size: 4, bits: armMOVW},
	{typ: 46, value: abiRel, size: 4, bits: armMOVT, addend: armMOVW},
	{typ: 47, value: abiAbs, size: 4, halve: true, bits: thumbMOVW},
	{typ: 48, value: abiAbs, size: 4, halve: true, bits: thumbMOVT, addend: thumbMOVW},
	{typ: 49, value: abiRel, size: 4, halve: true, bits: thumbMOVW},
	{typ: 50, value: abiRel, size: 4, halve: true, bits: thumbMOVT, addend: thumbMOVW},
	{typ: 57, by: "TestPSABIGroupRelocationsAddUp"},
	{typ: 59, by: "TestPSABIGroupRelocationsAddUp"},
	{typ: 63, by: "TestPSABIGroupRelocationsAddUp"},
}

// The immediates of the RISC-V instruction formats.
const (
	riscvI    = "31:20=11:0"
	riscvS    = "31:25=11:5 11:7=4:0"
	riscvB    = "31=12 30:25=10:5 11:8=4:1 7=11"
	riscvU    = "31:12=31:12"
	riscvJ    = "31=20 30:21=10:1 20=11 19:12=19:12"
	riscvCB   = "12=8 11:10=4:3 6:5=7:6 4:3=2:1 2=5"
	riscvCJ   = "12=11 11=4 10:9=9:8 8=10 7=6 6=7 5:3=3:1 2=5"
	riscvCall = "31:12=31:12 63:52=11:0" // AUIPC and JALR
)

// abiPair adds an upper part and a signed lower one of 12 bits.
func abiPair(raw uint64) uint64 {
	hi, lo := raw&^0xfff, raw&0xfff
	if lo >= 0x800 {
		hi -= 0x1000
	}
	return (hi + lo) & 0xffffffff
}

func riscvNoSections(tr *Traits) { tr.RISCV.Sections = false }

// abiRISCV are the rows of RISC-V ELF psABI, chapter "Relocations", for a width of addresses. Branches are cut without a check.
func abiRISCV(xlen int) []abiRow {
	reach := span(-1<<31-1<<11, 1<<31-1<<11-1) // of AUIPC and a signed lower part
	plt := abiSlot(".plt", 0, 0)
	const far = "can not be addressed by the 32-bit offset"
	label := func(v *abiVars) uint64 { return v.S + v.A - (v.img.secs[1].addr + abiExtra) }
	slot := func(v *abiVars) uint64 { return v.at(".got") - v.P }
	slotLabel := func(v *abiVars) uint64 { return v.at(".got") - (v.img.secs[1].addr + abiExtra) }
	long := func(f abiValue) abiValue { // of the sum, a long
		return func(v *abiVars) uint64 {
			if xlen == 32 {
				return uint64(int64(int32(f(v))))
			}
			return f(v)
		}
	}
	list := []abiRow{
		{typ: 1, value: abiAbs, size: 4, bits: "31:0=31:0", in: ux(32), word: "out of range for 32-bit field"},
		{typ: 2, value: abiAbs, size: 8, bits: "63:0=63:0"},
		{typ: 16, value: abiRel, size: 4, bits: riscvB},
		{typ: 17, value: abiRel, size: 4, bits: riscvJ},
		{typ: 18, value: abiRel, size: 8, bits: riscvCall, read: abiPair, in: reach, word: far},
		{typ: 19, value: abiRel, size: 8, bits: riscvCall, read: abiPair, in: reach, far: plt},
		{typ: 19, note: "without a PLT", traits: riscvNoSections, value: abiRel, size: 8, bits: riscvCall, read: abiPair, in: reach, word: far},
		{typ: 20, value: slot, moves: ".got", grain: 8, size: 4, bits: riscvU, round: 0x800},
		{typ: 23, value: abiRel, size: 4, bits: riscvU, round: 0x800, in: reach, word: far},
		{typ: 24, note: "of a PCREL_HI20", extra: 23, label: true, value: label, size: 4, bits: riscvI, in: reach, word: far},
		{typ: 25, note: "of a PCREL_HI20", extra: 23, label: true, value: label, size: 4, bits: riscvS, in: reach, word: far},
		{typ: 24, note: "of a GOT_HI20", extra: 20, label: true, value: slotLabel, moves: ".got", grain: 8, size: 4, bits: riscvI},
		{typ: 25, note: "of a GOT_HI20", extra: 20, label: true, value: slotLabel, moves: ".got", grain: 8, size: 4, bits: riscvS},
		{typ: 26, value: abiAbs, size: 4, bits: riscvU, round: 0x800},
		{typ: 27, value: abiAbs, size: 4, bits: riscvI},
		{typ: 28, value: abiAbs, size: 4, bits: riscvS},
		{typ: 33, value: abiAbs, size: 1, bits: "7:0=7:0"}, // ADD, SUB and SET are summed from zero
		{typ: 34, value: abiAbs, size: 2, bits: "15:0=15:0"},
		{typ: 35, value: abiAbs, size: 4, bits: "31:0=31:0"},
		{typ: 36, value: long(abiAbs), size: 8, bits: "63:0=63:0"},
		{typ: 37, value: abiNeg, size: 1, bits: "7:0=7:0"},
		{typ: 38, value: abiNeg, size: 2, bits: "15:0=15:0"},
		{typ: 39, value: abiNeg, size: 4, bits: "31:0=31:0"},
		{typ: 40, value: long(abiNeg), size: 8, bits: "63:0=63:0"},
		{typ: 44, value: abiRel, size: 2, bits: riscvCB},
		{typ: 45, value: abiRel, size: 2, bits: riscvCJ},
		{typ: 51},
		{typ: 52, value: abiNeg, size: 1, bits: "5:0=5:0"},
		{typ: 53, value: abiAbs, size: 1, bits: "5:0=5:0"},
		{typ: 54, value: abiAbs, size: 1, bits: "7:0=7:0"},
		{typ: 55, value: abiAbs, size: 2, bits: "15:0=15:0"},
		{typ: 56, value: abiAbs, size: 4, bits: "31:0=31:0"},
		{typ: 57, value: abiRel, size: 4, bits: "31:0=31:0"},
		{typ: 59, value: abiRel, size: 4, bits: "31:0=31:0", in: reach, far: plt},
		{typ: 59, note: "without a PLT", traits: riscvNoSections, value: abiRel, size: 4, bits: "31:0=31:0", in: reach, word: far},
		{typ: 60, by: "TestPSABIULEB128"},
		{typ: 61, by: "TestPSABIULEB128"},
	}
	if xlen == 64 {
		return list
	}
	for i := range list { // 32 bits reach everything
		r := &list[i]
		r.in, r.far, r.word = nil, nil, ""
		if r.typ == 2 {
			r.bits, r.zero = "31:0=31:0", 0xffffffff<<32
		}
	}
	return list
}

// The parts of the image that s390 has no sections for: the GOT is at the start of the text region, and the PLT behind it. With one symbol each
// has one slot at most, and where there is a PLT there is no GOT.
func s390Base(v *abiVars) uint64    { return v.img.start }
func s390ViaSlot(v *abiVars) uint64 { return v.img.start + v.A - v.P } // L + A - P

// s390Near is L + A - P where the loader may put S for L: not the addend decides, and for 16 bits it goes to S as if there were 21.
func s390Near(least, most int64) abiValue {
	return func(v *abiVars) uint64 {
		if d := int64(v.S - v.P); d >= least && d <= most {
			return abiRel(v)
		}
		return s390ViaSlot(v)
	}
}

const s390Far = 0x123456789abc // a symbol that no branch reaches

// ELF Application Binary Interface s390x Supplement, section "Relocation". G is 0, so G + A is A.
var abiS390 = []abiRow{
	{typ: 0},
	{typ: 1, value: abiAbs, size: 1, bits: "7:0=7:0", in: ux(8)},
	{typ: 2, value: abiAbs, size: 2, bits: "11:0=11:0", in: ux(12)},
	{typ: 3, value: abiAbs, size: 2, bits: "15:0=15:0", in: ux(16)},
	{typ: 4, value: abiAbs, size: 4, bits: "31:0=31:0", in: ux(32), word: "relocation error for symbol sym"},
	{typ: 5, value: abiRel, size: 4, bits: "31:0=31:0", in: sx(32)},
	{typ: 6, value: s390OffSlot, size: 2, bits: "11:0=11:0", in: ux(12)},
	{typ: 7, value: s390OffSlot, size: 4, bits: "31:0=31:0", in: ux(32)},
	{typ: 8, value: s390ViaSlot, S: s390Far, size: 4, bits: "31:0=31:0", in: ux(32)},
	{typ: 13, value: s390OffGOT, size: 4, bits: "31:0=31:0", in: ux(32)},
	{typ: 14, value: s390RelGOT, size: 4, bits: "31:0=31:0", in: sx(32)},
	{typ: 15, value: s390OffSlot, size: 2, bits: "15:0=15:0", in: ux(16)},
	{typ: 16, value: abiRel, size: 2, bits: "15:0=15:0", in: sx(16)},
	{typ: 17, value: abiRel, size: 2, bits: "15:0=16:1", in: sx(17), align: 2},
	{typ: 18, value: s390Near(-0xffff, 0x1efffe), solve: abiRel, size: 2, bits: "15:0=16:1", in: sx(17), align: 2},
	{typ: 18, note: "through its slot", value: s390ViaSlot, S: s390Far, size: 2, bits: "15:0=16:1", in: sx(17), align: 2},
	{typ: 19, value: abiRel, size: 4, bits: "31:0=32:1", in: sx(33), align: 2},
	{typ: 20, value: s390Near(-0xffffffff, 0xfffffffe), solve: abiRel, size: 4, bits: "31:0=32:1", in: sx(33), align: 2},
	{typ: 20, note: "through its slot", value: s390ViaSlot, S: s390Far, size: 4, bits: "31:0=32:1", in: sx(33), align: 2},
	{typ: 21, value: s390RelGOT, size: 4, bits: "31:0=32:1", in: sx(33), align: 2},
	{typ: 22, value: abiAbs, size: 8, bits: "63:0=63:0"},
	{typ: 23, value: abiRel, size: 8, bits: "63:0=63:0"},
	{typ: 24, value: s390OffSlot, size: 8, bits: "63:0=63:0"},
	{typ: 25, value: s390ViaSlot, S: s390Far, size: 8, bits: "63:0=63:0"},
	{typ: 26, value: s390RelGOT, size: 4, bits: "31:0=32:1", in: sx(33), align: 2},
	{typ: 27, value: s390OffGOT, size: 2, bits: "15:0=15:0", in: ux(16)},
	{typ: 28, value: s390OffGOT, size: 8, bits: "63:0=63:0"},
	{typ: 29, value: s390OffSlot, size: 2, bits: "11:0=11:0", in: ux(12)},
	{typ: 30, value: s390OffSlot, size: 2, bits: "15:0=15:0", in: ux(16)},
	{typ: 31, value: s390OffSlot, size: 4, bits: "31:0=31:0", in: ux(32)},
	{typ: 32, value: s390OffSlot, size: 8, bits: "63:0=63:0"},
	{typ: 33, value: s390RelGOT, size: 4, bits: "31:0=32:1", in: sx(33), align: 2},
	{typ: 34, value: s390OffSlot, size: 2, bits: "15:0=15:0", in: ux(16)}, // L - GOT + A, and L is where the GOT would be
	{typ: 35, value: s390OffSlot, size: 4, bits: "31:0=31:0", in: ux(32)},
	{typ: 36, value: s390OffSlot, size: 8, bits: "63:0=63:0"},
	{typ: 57, value: abiAbs, size: 4, bits: "27:16=11:0 15:8=19:12", in: sx(20)},
	{typ: 58, value: s390OffSlot, size: 4, bits: "27:16=11:0 15:8=19:12", in: sx(20)},
	{typ: 59, value: s390OffSlot, size: 4, bits: "27:16=11:0 15:8=19:12", in: sx(20)},
}

func s390OffSlot(v *abiVars) uint64 { return v.A }                         // G + A
func s390OffGOT(v *abiVars) uint64  { return v.S + v.A - s390Base(v) }     // S + A - GOT
func s390RelGOT(v *abiVars) uint64  { return s390Base(v) + v.A - v.P }     // GOT + A - P
func ppcTOC(v *abiVars) uint64      { return v.at(".toc")&^0xff + 0x8000 } // .TOC., which is aligned
func ppcTOCRel(v *abiVars) uint64   { return v.S + v.A - ppcTOC(v) }       // S + A - .TOC.
func mips26(v *abiVars) uint64      { return uint64(int32(v.S + v.A)) }    // the low 32 bits
func mipsS(v *abiVars) uint64       { return uint64(int32(v.S)) }          // what o32 checks
func sparcLO(O uint64) abiValue     { return func(v *abiVars) uint64 { return (v.S+v.A)&0x3ff + O } }

// 64-Bit ELF V2 ABI Specification, Power Architecture, section 3.5.
func abiPPC64() []abiRow {
	list := []abiRow{
		{typ: 1, value: abiAbs, size: 4, bits: "31:0=31:0"},
		{typ: 26, value: abiRel, size: 4, bits: "31:0=31:0", in: sx(32), word: "REL32"},
		{typ: 38, value: abiAbs, size: 8, bits: "63:0=63:0"},
		{typ: 44, value: abiRel, size: 8, bits: "63:0=63:0"},
		{typ: 47, value: ppcTOCRel, size: 2, bits: "15:0=15:0", in: sx(16), word: "bad TOC16 relocation"},
		{typ: 48, value: ppcTOCRel, size: 2, bits: "15:0=15:0"},
		{typ: 50, value: ppcTOCRel, size: 2, bits: "15:0=31:16", round: 0x8000},
		{typ: 51, value: ppcTOC, moves: ".toc", grain: 256, size: 8, bits: "63:0=63:0"},
		{typ: 63, value: ppcTOCRel, size: 2, bits: "15:2=15:2", in: sx(16), align: 4, word: "bad TOC16_DS relocation"},
		{typ: 64, value: ppcTOCRel, size: 2, bits: "15:2=15:2", align: 4, word: "bad TOC16_LO_DS relocation"},
		{typ: 109},
		{typ: 118, by: "TestPSABIEntryPoints"},
		{typ: 250, value: abiRel, size: 2, bits: "15:0=15:0"},
		{typ: 252, value: abiRel, size: 2, bits: "15:0=31:16", round: 0x8000},
	}
	// The upper three bits of st_other say how far the local entry point is behind the global one. A call of what is not in the module has a stub.
	for i, local := range []uint64{0, 0, 4, 8, 16, 32, 64} {
		list = append(list, abiRow{typ: 10, note: "to the local entry point", sym: Symbol{Shndx: 1, Other: uint8(i) << 5}, size: 4, bits: "25:2=25:2",
			value: func(v *abiVars) uint64 { return v.S + v.A + local - v.P }, in: sx(26), align: 4, word: "out of range"})
	}
	return append(list, abiRow{typ: 10, note: "through a stub", by: "TestPPC64Stubs"})
}

// System V ABI, PowerPC Processor Supplement, table 4.6. The place of a half is the half itself, the lower one of an instruction's word. A branch
// is not checked when it has a slot.
var abiPPC32 = []abiRow{
	{typ: 1, value: abiAbs, size: 4, bits: "31:0=31:0"},
	{typ: 4, value: abiAbs, off: 2, size: 2, bits: "15:0=15:0"},
	{typ: 5, value: abiAbs, off: 2, size: 2, bits: "15:0=31:16"},
	{typ: 6, value: abiAbs, off: 2, size: 2, bits: "15:0=31:16", round: 0x8000},
	{typ: 10, value: abiRel, size: 4, bits: "25:2=25:2", in: sx(26), far: abiSlot(".plt", 0, 0)},
	{typ: 26, value: abiRel, size: 4, bits: "31:0=31:0"},
}

// mipsSegment is the 256 MiB of the instruction behind the jump. n64 looks at the same four bits.
func mipsSegment(v *abiVars) (lo, hi int64) {
	lo = int64(int32((v.P + 4) & 0xf0000000))
	return lo, lo + 0x0fffffff
}

// System V ABI, MIPS RISC Processor Supplement, chapter 4; MIPS64 ELF Object File Specification. o32: what is checked of a jump is the
// symbol, without the addend.
var abiMIPS = []abiRow{
	{typ: 0},
	{typ: 2, value: abiAbs, size: 4, bits: "31:0=31:0"},
	{typ: 4, value: mips26, ranged: mipsS, size: 4, bits: "25:0=27:2", in: mipsSegment, align: 4},
	{typ: 5, by: "TestPSABIHI16AndLO16MakeTheAddress"},
	{typ: 6, value: abiAbs, size: 4, bits: "15:0=15:0"},
	{typ: 10, value: abiRel, size: 4, bits: "15:0=17:2", in: sx(18), align: 4},
	{typ: 60, value: abiRel, size: 4, bits: "20:0=22:2", in: sx(23), align: 4},
	{typ: 61, value: abiRel, size: 4, bits: "25:0=27:2", in: sx(28), align: 4},
}

var abiMIPS64 = []abiRow{
	{typ: 0},
	{typ: 2, value: abiAbs, size: 4, bits: "31:0=31:0"},
	{typ: 4, value: mips26, size: 4, bits: "25:0=27:2", in: mipsSegment, align: 4},
	{typ: 5, value: abiAbs, size: 4, bits: "15:0=31:16", round: 0x8000},
	{typ: 6, value: abiAbs, size: 4, bits: "15:0=15:0"},
	{typ: 10, value: abiRel, size: 4, bits: "15:0=17:2", in: sx(18), align: 4},
	{typ: 18, value: abiAbs, size: 8, bits: "63:0=63:0"},
	{typ: 28, value: abiAbs, size: 4, bits: "15:0=47:32", round: 0x80008000},
	{typ: 29, value: abiAbs, size: 4, bits: "15:0=63:48", round: 0x800080008000},
	{typ: 60, value: abiRel, size: 4, bits: "20:0=22:2", in: sx(23), align: 4},
	{typ: 61, value: abiRel, size: 4, bits: "25:0=27:2", in: sx(28), align: 4},
}

const (
	loongSI20   = "24:5=19:0"
	loongHI20   = "24:5=31:12"
	loongSI12   = "21:10=11:0"
	loongOffs21 = "25:10=17:2 4:0=22:18"
	loongOffs26 = "25:10=17:2 9:0=27:18"
)

// loongPCALA is Page(x + 0x800) - Page(P), in 32 bits with a sign.
func loongPCALA(x, P uint64) uint64 { return uint64(int64(int32((x+0x800)&^0xfff - P&^0xfff))) }

// loongRest is what PCALA_HI20 and a signed PCALA_LO12 leave of S + A; its upper half is PCALA64's.
func loongRest(v *abiVars) uint64 { return v.S + v.A - (v.P&^0xfff + loongPCALA(v.S+v.A, v.P)) }

func loongGOTLabel(v *abiVars) uint64 { return v.at(".got") - (v.img.secs[1].addr + abiExtra) }

// loongInPlace adds to what is there.
func loongInPlace(f abiValue) abiValue { return func(v *abiVars) uint64 { return v.V + f(v) } }

// ELF for the LoongArch Architecture, chapter "Relocation". What PUSH puts on the stack is seen by a POP, and a POP gets its value from a PUSH.
var abiLoong = []abiRow{
	{typ: 0},
	{typ: 1, value: abiAbs, size: 4, bits: "31:0=31:0"},
	{typ: 2, value: abiAbs, size: 8, bits: "63:0=63:0"},
	{typ: 20},
	{typ: 21},
	{typ: 22, seq: []uint32{22, 46}, value: abiRel, size: 4, bits: "31:0=31:0", in: ux(32), word: "overflow"},
	{typ: 22, note: "of both signs", seq: []uint32{22, 45}, value: abiRel, size: 4, bits: loongOffs26, in: sx(28), align: 4},
	{typ: 23, seq: []uint32{23, 46}, value: abiAbs, size: 4, bits: "31:0=31:0", in: ux(32), word: "overflow"},
	{typ: 24, by: "TestPSABIStackOperations"},
	{typ: 29, seq: []uint32{29, 45}, value: abiRel, size: 4, bits: loongOffs26, in: sx(28), align: 4, far: abiSlot(".plt", 0, 0), word: "unaligned"},
	{typ: 32, by: "TestPSABIStackOperations"},
	{typ: 33, by: "TestPSABIStackOperations"},
	{typ: 34, by: "TestPSABIStackOperations"},
	{typ: 35, by: "TestPSABIStackOperations"},
	{typ: 36, by: "TestPSABIStackOperations"},
	{typ: 37, by: "TestPSABIStackOperations"},
	{typ: 39, seq: []uint32{23, 39}, value: abiAbs, size: 4, bits: loongSI12, in: ux(12), word: "overflow"},
	{typ: 40, seq: []uint32{23, 40}, value: abiAbs, size: 4, bits: loongSI12, in: sx(12), word: "overflow"},
	{typ: 41, seq: []uint32{23, 41}, value: abiAbs, size: 4, bits: "25:10=15:0", in: sx(16), word: "overflow"},
	{typ: 42, seq: []uint32{23, 42}, value: abiAbs, size: 4, bits: "25:10=17:2", in: sx(18), align: 4},
	{typ: 43, seq: []uint32{23, 43}, value: abiAbs, size: 4, bits: loongSI20, in: sx(20), word: "overflow"},
	{typ: 44, seq: []uint32{23, 44}, value: abiAbs, size: 4, bits: loongOffs21, in: sx(23), align: 4},
	{typ: 45, seq: []uint32{23, 45}, value: abiAbs, size: 4, bits: loongOffs26, in: sx(28), align: 4},
	{typ: 46, seq: []uint32{23, 46}, value: abiAbs, size: 4, bits: "31:0=31:0", in: ux(32), word: "overflow"},
	{typ: 50, value: loongInPlace(abiAbs), size: 4, bits: "31:0=31:0"},
	{typ: 51, value: loongInPlace(abiAbs), size: 8, bits: "63:0=63:0"},
	{typ: 55, value: loongInPlace(abiNeg), size: 4, bits: "31:0=31:0"},
	{typ: 56, value: loongInPlace(abiNeg), size: 8, bits: "63:0=63:0"},
	{typ: 66, value: abiRel, size: 4, bits: loongOffs26, in: sx(28), align: 4, far: abiSlot(".plt", 0, 0), word: "unaligned"},
	{typ: 71, value: func(v *abiVars) uint64 { return loongPCALA(v.S+v.A, v.P) }, size: 4, bits: loongHI20},
	{typ: 72, value: abiAbs, size: 4, bits: loongSI12},
	{typ: 73, value: loongRest, size: 4, bits: "24:5=51:32"},
	{typ: 74, value: loongRest, size: 4, bits: "21:10=63:52"},
	{typ: 75, value: func(v *abiVars) uint64 { return loongPCALA(v.at(".got"), v.P) }, moves: ".got", grain: 8, size: 4, bits: loongHI20},
	{typ: 76, extra: 75, value: func(v *abiVars) uint64 { return v.at(".got") }, moves: ".got", grain: 8, size: 4, bits: loongSI12},
	{typ: 99, value: abiRel, size: 4, bits: "31:0=31:0"},
	{typ: 109, value: abiRel, size: 8, bits: "63:0=63:0"},
	{typ: 128, value: abiRel, size: 4, bits: loongHI20, round: 0x800},
	{typ: 129, extra: 128, label: true, value: func(v *abiVars) uint64 { return v.S + v.A - (v.img.secs[1].addr + abiExtra) }, size: 4, bits: loongSI12},
	{typ: 130, value: func(v *abiVars) uint64 { return v.at(".got") - v.P }, moves: ".got", grain: 8, size: 4, bits: loongHI20, round: 0x800},
	{typ: 131, extra: 130, label: true, value: loongGOTLabel, moves: ".got", grain: 8, size: 4, bits: loongSI12},
}

// System V ABI, SPARC Processor Supplement; SPARC Compliance Definition 2.4. The upper 24 bits of an OLO10's type are its second addend.
var abiSPARC = []abiRow{
	{typ: 3, value: abiAbs, size: 4, bits: "31:0=31:0"},
	{typ: 6, value: abiRel, size: 4, bits: "31:0=31:0"},
	{typ: 7, value: abiRel, size: 4, bits: "29:0=31:2"},
	{typ: 8, value: abiRel, size: 4, bits: "21:0=23:2"},
	{typ: 9, value: abiAbs, size: 4, bits: "21:0=31:10"},
	{typ: 12, value: abiAbs, size: 4, bits: "9:0=9:0"},
	{typ: 23, value: abiAbs, size: 4, bits: "31:0=31:0"},
	{typ: 32, value: abiAbs, size: 8, bits: "63:0=63:0"},
	{typ: 33, value: sparcLO(0), size: 4, bits: "12:0=12:0"},
	{typ: 0xbff<<8 | 33, note: "with an addend of 0xbff", value: sparcLO(0xbff), size: 4, bits: "12:0=12:0"},
	{typ: 0xfffff8<<8 | 33, note: "with an addend of -8", value: sparcLO(1<<64 - 8), size: 4, bits: "12:0=12:0"},
	{typ: 41, value: abiRel, size: 4, bits: "18:0=20:2"},
	{typ: 54, value: abiAbs, size: 8, bits: "63:0=63:0"},
}

// The immediates of PA-RISC instructions have their sign in bit 0: PA-RISC 1.1 Architecture, "Instruction Set", assemble_17, assemble_21,
// assemble_22 and low_sign_ext.
const (
	pariscIm14 = "0=13 13:1=12:0"
	pariscIm21 = "0=31 11:1=30:20 15:14=19:18 20:16=17:13 13:12=12:11" // of bits 31:11
	pariscW17  = "0=18 20:16=17:13 2=12 12:3=11:2"                     // of a distance in words
	pariscW22  = "0=23 25:21=22:18 20:16=17:13 2=12 12:3=11:2"         // the same
)

// The addend of LR and RR is rounded to 8 KiB, so that one left part serves for a structure's members.
func pariscLR(x, A uint64) uint64 { return x + (A+0x1000)&^0x1fff }
func pariscRR(x, A uint64) uint64 { return pariscLR(x, A)&0x7ff + A - (A+0x1000)&^0x1fff }

func pariscPC(v *abiVars) uint64 { return v.S + v.A - v.P - 8 }
func pariscDP(v *abiVars) uint64 { return v.S - v.img.kernel["$global$"] }

// Processor-Specific ELF for PA-RISC, section 4. A symbol's segment and section are taken to begin at 0, and a PLABEL to be the address.
var abiPARISC = []abiRow{
	{typ: 0, S: 1},
	{typ: 1, value: abiAbs, size: 4, bits: "31:0=31:0"},
	{typ: 2, value: func(v *abiVars) uint64 { return pariscLR(v.S, v.A) }, size: 4, bits: pariscIm21},
	{typ: 6, value: func(v *abiVars) uint64 { return pariscRR(v.S, v.A) }, size: 4, bits: pariscIm14},
	{typ: 9, value: pariscPC, size: 4, bits: "31:0=31:0"},
	{typ: 12, value: pariscPC, size: 4, bits: pariscW17, in: sx(19), far: pariscStub(16)},
	{typ: 18, value: func(v *abiVars) uint64 { return pariscLR(pariscDP(v), v.A) }, size: 4, bits: pariscIm21},
	{typ: 22, value: func(v *abiVars) uint64 { return pariscRR(pariscDP(v), v.A) }, size: 4, bits: pariscIm14},
	{typ: 41, value: abiAbs, size: 4, bits: "31:0=31:0"},
	{typ: 49, value: abiAbs, size: 4, bits: "31:0=31:0"},
	{typ: 65, value: abiAbs, size: 4, bits: "31:0=31:0"},
	{typ: 74, value: pariscPC, size: 4, bits: pariscW22, in: sx(24), far: pariscStub(16)},
}

// pariscStub is the way to the first of two stubs' room before the section; bytes are both.
func pariscStub(bytes uint64) abiValue {
	return func(v *abiVars) uint64 { return v.img.secs[1].addr - bytes - v.P - 8 }
}

var abiPARISC64 = []abiRow{
	{typ: 0, S: 1},
	{typ: 9, value: pariscPC, size: 4, bits: "31:0=31:0"},
	{typ: 26, by: "TestPSABILinkageTableOffsets"},
	{typ: 30, by: "TestPSABILinkageTableOffsets"},
	{typ: 41, value: abiAbs, size: 4, bits: "31:0=31:0"},
	{typ: 49, value: abiAbs, size: 4, bits: "31:0=31:0"},
	{typ: 64, note: "of a function elsewhere", value: abiAbs, size: 8, bits: "63:0=63:0"},
	{typ: 64, note: "of a function of the module", by: "TestPARISC64GOTDescriptorsAndStubs"},
	{typ: 72, value: pariscPC, size: 8, bits: "63:0=63:0"},
	{typ: 74, note: "in the module", local: true, value: pariscPC, size: 4, bits: pariscW22, in: sx(24), far: pariscStub(32)},
	{typ: 74, note: "to elsewhere", by: "TestPARISC64GOTDescriptorsAndStubs"},
	{typ: 80, value: abiAbs, size: 8, bits: "63:0=63:0"},
}
