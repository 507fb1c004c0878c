package reloc

import (
	"math"
	"slices"

	kelf "kotool/internal/elf"
)

// sortKey is an element of a kernel's sort: what it is compared by, and where it stood.
type sortKey struct {
	key uint64
	i   int32
}

// kernelSort is the heap sort of lib/sort.c. It is not stable: where elements compare equal, their order is a property of this algorithm, and
// shows in sorted tables. pairs is the form of 6.10 and later, which takes the two largest elements off the heap at once.
//
// Source: lib/sort.c: sort_r (6.1), __sort_r (6.12).
func kernelSort(h []sortKey, pairs bool) {
	n := len(h)
	if n < 2 {
		return
	}
	for a := n/2 - 1; a >= 0; a-- {
		sift(h, a)
	}
	if !pairs {
		for n--; n > 0; n-- {
			h[0], h[n] = h[n], h[0]
			sift(h[:n], 0)
		}
		return
	}
	for n > 3 {
		n--
		h[0], h[n] = h[n], h[0]
		second := 1
		if h[1].key <= h[2].key {
			second = 2
		}
		n--
		h[second], h[n] = h[n], h[second]
		// The element that came up at second may be below its children, then that at the root.
		if second < n {
			sift(h[:n], second)
		}
		sift(h[:n], 0)
	}
	n--
	h[0], h[n] = h[n], h[0]
	if n == 2 && h[0].key > h[1].key {
		h[0], h[1] = h[1], h[0]
	}
}

// sift moves element a down to its place in the heap: first to a leaf, along the larger children, then back up.
func sift(h []sortKey, a int) {
	b, n := a, len(h)
	for 2*b+2 < n {
		if c := 2*b + 1; h[c].key >= h[c+1].key {
			b = c
		} else {
			b = c + 1
		}
	}
	if 2*b+2 == n { // a leaf without a sibling
		b = 2*b + 1
	}
	x := h[a]
	for b != a && x.key >= h[b].key {
		b = (b - 1) / 2
	}
	// Each element on the way from b to a moves one place up, a goes to b.
	for ; b != a; b = (b - 1) / 2 {
		x, h[b] = h[b], x
	}
	h[a] = x
}

// sortRels sorts relocations as the kernel's sort does. key gives a number that compares as the entries do; where it cannot, compare decides.
func sortRels(rels []kelf.Rel, pairs bool, key func(r *kelf.Rel) (uint64, bool), compare func(a, b *kelf.Rel) int) {
	if len(rels) > math.MaxInt32 {
		return // no section has so many: an entry takes 8 bytes of a file of 4 GiB at most
	}
	h := make([]sortKey, len(rels))
	for i := range rels {
		k, ok := key(&rels[i])
		if !ok {
			rank(rels, h, compare)
			break
		}
		h[i] = sortKey{k, int32(i)}
	}
	kernelSort(h, pairs)
	old := slices.Clone(rels)
	for i := range h {
		rels[i] = old[h[i].i]
	}
}

// rank makes keys of the order that compare gives.
func rank(rels []kelf.Rel, h []sortKey, compare func(a, b *kelf.Rel) int) {
	order := make([]int32, len(rels))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return compare(&rels[a], &rels[b]) })
	k := uint64(0)
	for n, i := range order {
		if n > 0 && compare(&rels[order[n-1]], &rels[i]) != 0 {
			k++
		}
		h[i] = sortKey{k, i}
	}
}

// packed is a key of three numbers, the first counting most; ok is false where they do not fit.
func packed(a, b uint32, aBits uint, addend int64) (key uint64, ok bool) {
	ok = uint64(a)>>aBits == 0 && uint64(b)>>(32-aBits) == 0 && addend == int64(int32(addend))
	return uint64(a)<<(64-aBits) | uint64(b)<<32 | uint64(uint32(addend)^1<<31), ok
}

// bySymbol orders by symbol, type and addend.
func bySymbol(r *kelf.Rel) (uint64, bool) { return packed(r.Sym, r.Type, 24, r.Addend) }

// bySymbolDown is bySymbol, the largest first.
func bySymbolDown(r *kelf.Rel) (uint64, bool) {
	k, ok := bySymbol(r)
	return ^k, ok
}

// byType orders by type, symbol and addend.
func byType(r *kelf.Rel) (uint64, bool) { return packed(r.Type, r.Sym, 8, r.Addend) }
