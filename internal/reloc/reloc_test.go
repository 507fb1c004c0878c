package reloc

import (
	"debug/elf"
	"fmt"
	"slices"
	"strings"
	"testing"

	"kotool/internal/bin"
)

// goNames are the types that debug/elf knows, and where it spells them other than binutils.
var goNames = []struct {
	m      elf.Machine
	name   func(uint32) string
	prefix string
	other  map[uint32]string // debug/elf's spelling
}{
	{elf.EM_X86_64, func(t uint32) string { return elf.R_X86_64(t).String() }, "R_X86_64_", map[uint32]string{7: "R_X86_64_JMP_SLOT"}},
	{elf.EM_386, func(t uint32) string { return elf.R_386(t).String() }, "R_386_", map[uint32]string{7: "R_386_JMP_SLOT"}},
	{elf.EM_AARCH64, func(t uint32) string { return elf.R_AARCH64(t).String() }, "R_AARCH64_",
		map[uint32]string{563: "R_AARCH64_TLSDESC_LD64_LO12_NC", 564: "R_AARCH64_TLSDESC_ADD_LO12_NC"}},
	{elf.EM_ARM, func(t uint32) string { return elf.R_ARM(t).String() }, "R_ARM_", map[uint32]string{
		4: "R_ARM_PC13", 10: "R_ARM_THM_PC22", 12: "R_ARM_AMP_VCALL9", 13: "R_ARM_SWI24", 24: "R_ARM_GOTOFF",
		25: "R_ARM_GOTPC", 26: "R_ARM_GOT32", 32: "R_ARM_ALU_PCREL_7_0", 33: "R_ARM_ALU_PCREL_15_8",
		34: "R_ARM_ALU_PCREL_23_15", 35: "R_ARM_LDR_SBREL_11_10_NC", 36: "R_ARM_ALU_SBREL_19_12_NC",
		37: "R_ARM_ALU_SBREL_27_20_CK", 129: "R_ARM_THM_TLS_DESCSEQ16", 135: "R_ARM_THM_ALU_ABS_G3"}},
	{elf.EM_RISCV, func(t uint32) string { return elf.R_RISCV(t).String() }, "R_RISCV_",
		map[uint32]string{41: "R_RISCV_GNU_VTINHERIT", 42: "R_RISCV_GNU_VTENTRY"}}, // gone from the psABI
	{elf.EM_PPC64, func(t uint32) string { return elf.R_PPC64(t).String() }, "R_PPC64_", map[uint32]string{66: "R_PPC64_PLTGOT_LO_DS"}},
	{elf.EM_PPC, func(t uint32) string { return elf.R_PPC(t).String() }, "R_PPC_", nil},
	{elf.EM_S390, func(t uint32) string { return elf.R_390(t).String() }, "R_390_", map[uint32]string{
		13: "R_390_GOTOFF", 34: "R_390_GOTPLTOFF16", 35: "R_390_GOTPLTOFF32", 36: "R_390_GOTPLTOFF64"}},
	{elf.EM_MIPS, func(t uint32) string { return elf.R_MIPS(t).String() }, "R_MIPS_", nil},
	{elf.EM_LOONGARCH, func(t uint32) string { return elf.R_LARCH(t).String() }, "R_LARCH_", nil},
	{elf.EM_SPARCV9, func(t uint32) string { return elf.R_SPARC(t).String() }, "R_SPARC_", map[uint32]string{42: "R_SPARC_GLOB_JMP"}},
}

func TestNamesAgreeWithTheStandardLibrary(t *testing.T) {
	for _, g := range goNames {
		n := 0
		for typ := range uint32(1100) {
			want := g.name(typ)
			if !strings.HasPrefix(want, g.prefix) || strings.Contains(want, "+") {
				continue // a number
			}
			n++
			got := Name(g.m, typ)
			if other, ok := g.other[typ]; ok {
				if want != other || got == want {
					t.Errorf("%v %d: got %q, debug/elf %q: the exception %q does not hold", g.m, typ, got, want, other)
				}
				continue
			}
			if got != want {
				t.Errorf("%v %d: got %q want %q", g.m, typ, got, want)
			}
		}
		if n < 30 {
			t.Errorf("%v: debug/elf named %d types only", g.m, n)
		}
	}
}

func TestNamesOfNewAndUnknownTypes(t *testing.T) {
	for _, c := range []struct {
		m    elf.Machine
		typ  uint32
		want string
	}{
		{elf.EM_LOONGARCH, 128, "R_LARCH_PCADD_HI20"},
		{elf.EM_LOONGARCH, 109, "R_LARCH_64_PCREL"},
		{elf.EM_LOONGARCH, 71, "R_LARCH_PCALA_HI20"},
		{elf.EM_RISCV, 60, "R_RISCV_SET_ULEB128"},
		{elf.EM_PPC64, 252, "R_PPC64_REL16_HA"},
		{elf.EM_PARISC, 74, "R_PARISC_PCREL22F"},
		{elf.EM_MIPS, 60, "R_MIPS_PC21_S2"},
		{em390Old, 19, "R_390_PC32DBL"},
		{elf.EM_X86_64, 43, ""},
		{elf.EM_X86_64, 0xffffffff, ""},
		{elf.EM_RISCV, 42, ""},
		{elf.EM_IA_64, 1, ""},
		{elf.EM_NONE, 0, ""},
	} {
		if got := Name(c.m, c.typ); got != c.want {
			t.Errorf("Name(%v, %d): got %q want %q", c.m, c.typ, got, c.want)
		}
	}
}

func TestNameDoesNotAllocate(t *testing.T) {
	var s string
	if n := testing.AllocsPerRun(100, func() {
		for typ := range uint32(300) {
			s = Name(elf.EM_AARCH64, typ)
		}
	}); n != 0 {
		t.Errorf("got %v allocations (last name %q)", n, s)
	}
}

func BenchmarkName(b *testing.B) {
	typ := uint32(0)
	for b.Loop() {
		typ = (typ + 7) & 1023
		if Name(elf.EM_AARCH64, typ) == "x" {
			b.Fatal()
		}
	}
}

func TestHowtosAreSortedAndNamed(t *testing.T) {
	for _, m := range []elf.Machine{elf.EM_X86_64, elf.EM_386, elf.EM_AARCH64, elf.EM_ARM, elf.EM_RISCV, elf.EM_PPC64, elf.EM_PPC,
		elf.EM_S390, elf.EM_MIPS, elf.EM_LOONGARCH, elf.EM_SPARCV9, elf.EM_PARISC} {
		for _, class := range []elf.Class{elf.ELFCLASS32, elf.ELFCLASS64} {
			list := rows(m, class)
			if !slices.IsSortedFunc(list, func(a, b row) int { return int(a.typ) - int(b.typ) }) {
				t.Errorf("%v: rows are not sorted", m)
			}
			for i, r := range list {
				if i > 0 && list[i-1].typ == r.typ {
					t.Errorf("%v: type %d twice", m, r.typ)
				}
				h := Lookup(m, class, r.typ)
				if h.Name == "" || !h.Loader || h.Size != r.size || h.Formula != r.formula {
					t.Errorf("%v %d: got %+v", m, r.typ, h)
				}
			}
		}
	}
	got := fmt.Sprintf("%+v", Lookup(elf.EM_X86_64, elf.ELFCLASS64, 4))
	if want := "{Type:4 Name:R_X86_64_PLT32 Size:4 Formula:S + A - P Loader:true Since:0.0}"; got != want {
		t.Errorf("got %s want %s", got, want)
	}
	if h := Lookup(elf.EM_X86_64, elf.ELFCLASS64, 9); h.Loader || h.Name != "R_X86_64_GOTPCREL" {
		t.Errorf("GOTPCREL: got %+v", h)
	}
	if Lookup(elf.EM_386, elf.ELFCLASS32, 0).Loader {
		t.Error("R_386_NONE: the i386 loader refuses it")
	}
	if n := len(Howtos(elf.EM_X86_64, elf.ELFCLASS64)); n != 45 {
		t.Errorf("got %d howtos of x86-64, want 45", n)
	}
}

func TestImplicitAddends(t *testing.T) {
	for _, c := range []struct {
		name  string
		m     elf.Machine
		typ   uint32
		big   bool
		bytes string
		want  int64
		ok    bool
	}{
		{"a negative word", elf.EM_386, 2, false, "\xfc\xff\xff\xff", -4, true},
		{"a word cut off", elf.EM_386, 1, false, "\xfc\xff\xff", 0, false},
		{"a negative byte", elf.EM_386, 22, false, "\x80", -128, true},
		{"a negative half word", elf.EM_386, 20, false, "\xfe\xff", -2, true},
		{"an ARM branch to itself", elf.EM_ARM, 28, false, "\xfe\xff\xff\xeb", -8, true},
		{"the farthest ARM branch back", elf.EM_ARM, 29, false, "\x00\x00\x80\xea", -1 << 25, true},
		{"a MOVW half", elf.EM_ARM, 43, false, "\x34\x02\x0f\xe3", -0xdcc, true},
		{"a PREL31 with bit 31 set", elf.EM_ARM, 42, false, "\xf8\xff\xff\xff", -8, true},
		{"a Thumb call to itself", elf.EM_ARM, 10, false, "\xff\xf7\xfe\xff", -4, true},
		{"a Thumb MOVT half", elf.EM_ARM, 48, false, "\xc0\xf6\x01\x70", 0xf01, true},
		{"a big-endian MIPS word", elf.EM_MIPS, 2, true, "\xff\xff\xff\x00", -256, true},
		{"a MIPS jump", elf.EM_MIPS, 4, false, "\x01\x00\x00\x0c", 4, true},
		{"a MIPS HI16", elf.EM_MIPS, 5, false, "\x02\x80\x1c\x3c", -0x7ffe0000, true},
		{"a MIPS LO16", elf.EM_MIPS, 6, false, "\xf0\xff\x9c\x27", -16, true},
		{"a MIPS PC21", elf.EM_MIPS, 60, false, "\xff\xff\x1f\xd8", -4, true},
		{"a RELA machine", elf.EM_X86_64, 1, false, "\x01\x00\x00\x00", 0, false},
		{"an unknown type", elf.EM_ARM, 200, false, "\x01\x00\x00\x00", 0, false},
	} {
		got, ok := ImplicitAddend(c.m, c.typ, bin.New([]byte(c.bytes), 0, c.big))
		if got != c.want || ok != c.ok {
			t.Errorf("%s: got %#x %v, want %#x %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

func FuzzImplicitAddend(f *testing.F) {
	f.Add(uint16(elf.EM_ARM), uint32(28), []byte{0xfe, 0xff, 0xff, 0xeb}, false)
	f.Add(uint16(elf.EM_MIPS), uint32(5), []byte{1, 2}, true)
	f.Fuzz(func(t *testing.T, m uint16, typ uint32, b []byte, big bool) { // no panic, whatever the bytes
		if a, ok := ImplicitAddend(elf.Machine(m), typ, bin.New(b, 0, big)); ok && (a < -1<<31 || a >= 1<<31) {
			t.Errorf("addend %#x is wider than 32 bits", a)
		}
	})
}
