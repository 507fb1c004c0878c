package reloc

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	kelf "kotool/internal/elf"
	"kotool/internal/kver"
)

func TestKernelSortSorts(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, pairs := range []bool{false, true} {
		for n := range 200 {
			s := make([]int, n)
			for i := range s {
				s[i] = r.IntN(1 + n/2)
			}
			want := slices.Clone(s)
			slices.Sort(want)
			h := make([]sortKey, n)
			for i := range h {
				h[i] = sortKey{uint64(s[i]), int32(i)}
			}
			kernelSort(h, pairs)
			for i := range h {
				if int(h[i].key) != want[i] || s[h[i].i] != want[i] {
					t.Fatalf("pairs %v: element %d: got %v, want %v", pairs, i, h[i], want[i])
				}
			}
		}
	}
}

// The order of equal elements is the kernel's: worked out by hand from lib/sort.c.
func TestKernelSortOrdersEqualElementsAsTheKernel(t *testing.T) {
	for _, c := range []struct {
		pairs bool
		in    string
		want  string
	}{
		{false, "ab", "ba"},
		{true, "ab", "ba"},
		{false, "abc", "bca"},
		{true, "abc", "cba"},
	} {
		h := make([]sortKey, len(c.in))
		for i := range h {
			h[i].i = int32(i)
		}
		kernelSort(h, c.pairs)
		got := ""
		for i := range h {
			got += c.in[h[i].i : h[i].i+1]
		}
		if got != c.want {
			t.Errorf("pairs %v: %s: got %s, want %s", c.pairs, c.in, got, c.want)
		}
	}
}

// Whether the numbers fit a key or not, the order is the same.
func TestSortRelsByKeysAndByComparing(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	compare := func(a, b *kelf.Rel) int {
		return cmp.Or(cmp.Compare(a.Sym, b.Sym), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Addend, b.Addend))
	}
	for n := range 100 {
		list := make([]kelf.Rel, n)
		for i := range list {
			list[i] = kelf.Rel{Off: uint64(i), Sym: uint32(r.IntN(4)), Type: uint32(r.IntN(3)), Addend: int64(r.IntN(5) - 2)}
		}
		for _, pairs := range []bool{false, true} {
			keys, ranks := slices.Clone(list), slices.Clone(list)
			sortRels(keys, pairs, bySymbol, compare)
			sortRels(ranks, pairs, func(*kelf.Rel) (uint64, bool) { return 0, false }, compare)
			if !slices.Equal(keys, ranks) || !slices.IsSortedFunc(keys, func(a, b kelf.Rel) int { return compare(&a, &b) }) {
				t.Fatalf("pairs %v: got %v by keys, %v by comparing", pairs, keys, ranks)
			}
		}
	}
	if _, ok := bySymbol(&kelf.Rel{Sym: 1 << 24}); ok {
		t.Error("a symbol of 25 bits fits")
	}
	if _, ok := byType(&kelf.Rel{Addend: 1 << 31}); ok {
		t.Error("an addend of 33 bits fits")
	}
}

func TestSortExtable(t *testing.T) {
	le := binary.LittleEndian
	words := func(w ...uint32) []byte {
		var b []byte
		for _, v := range w {
			b = le.AppendUint32(b, v)
		}
		return b
	}
	neg := func(v int32) uint32 { return uint32(v) }
	const addr = 0x1000
	for _, c := range []struct {
		name     string
		m        elf.Machine
		class    elf.Class
		v        kver.Version
		in, want []byte
	}{
		{"relative fields move with their entry, the type does not", elf.EM_X86_64, elf.ELFCLASS64, kver.V(6, 1),
			words(0x200, 0x300, 7, 0x100, 0x310, 8), words(0x10c, 0x31c, 8, 0x1f4, 0x2f4, 7)},
		{"5.10 has a relative handler", elf.EM_X86_64, elf.ELFCLASS64, kver.V(5, 10),
			words(0x200, 0x300, 0x400, 0x100, 0x310, 0x410), words(0x10c, 0x31c, 0x41c, 0x1f4, 0x2f4, 0x3f4)},
		{"entries before the table", elf.EM_PPC64, elf.ELFCLASS64, kver.V(6, 12),
			words(neg(-0x100), neg(-0x80), neg(-0x200), neg(-0x90)), words(neg(-0x1f8), neg(-0x88), neg(-0x108), neg(-0x88))},
		{"two words", elf.EM_ARM, elf.ELFCLASS32, kver.V(6, 12), words(5, 50, 3, 30, 4, 40), words(3, 30, 4, 40, 5, 50)},
		{"a rest stays", elf.EM_MIPS, elf.ELFCLASS32, kver.V(6, 1), words(5, 50, 3, 30, 9), words(3, 30, 5, 50, 9)},
		{"one entry", elf.EM_MIPS, elf.ELFCLASS32, kver.V(6, 1), words(5, 50), words(5, 50)},
		{"nothing", elf.EM_MIPS, elf.ELFCLASS32, kver.V(6, 1), nil, nil},
	} {
		for _, pairs := range []bool{false, true} {
			got := slices.Clone(c.in)
			SortExtable(got, addr, ExtableOf(c.m, c.class, c.v), false, pairs)
			if !slices.Equal(got, c.want) {
				t.Errorf("%s: got % x\nwant % x", c.name, got, c.want)
			}
		}
	}
	for _, c := range []struct {
		m    elf.Machine
		v    kver.Version
		want Extable
	}{
		{elf.EM_S390, kver.V(5, 10), Extable{Size: 16, Relative: true}},
		{elf.EM_RISCV, kver.V(5, 10), Extable{Size: 16, Word: 8}},
		{elf.EM_RISCV, kver.Version{}, Extable{Size: 12, Relative: true}},
		{elf.EM_AARCH64, kver.V(5, 10), Extable{Size: 8, Relative: true}},
	} {
		if got := ExtableOf(c.m, elf.ELFCLASS64, c.v); got != c.want {
			t.Errorf("%v %v: got %+v want %+v", c.m, c.v, got, c.want)
		}
	}
}

func TestDefaultTraitsFollowTheVersion(t *testing.T) {
	if a, b := DefaultTraits(elf.EM_AARCH64, kver.V(6, 1)), DefaultTraits(elf.EM_AARCH64, kver.V(6, 12)); a.ARM64.FtracePLTs != 2 || b.ARM64.FtracePLTs != 1 ||
		a.ARM64.Prefix != "" || b.ARM64.Prefix != "Modules: " || a.SortPairs || !b.SortPairs {
		t.Errorf("arm64: 6.1 %+v, 6.12 %+v", a, b)
	}
	if DefaultTraits(elf.EM_X86_64, kver.Version{}) != DefaultTraits(elf.EM_X86_64, kver.V(7, 2)) {
		t.Error("the zero version is not the newest")
	}
	if !DefaultTraits(em390Old, kver.V(6, 1)).S390.EXRL {
		t.Error("the old number of s390 has no traits")
	}
}
