package reloc

import (
	"debug/elf"
	"math/rand/v2"
	"testing"

	kelf "kotool/internal/elf"
)

// The list finds what a search of the table from the last match on, and round, finds.
func TestHighPartsAreThoseThatASearchFinds(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	high := [2]uint32{23, 20}
	for n := range 60 {
		rels := make([]kelf.Rel, n)
		for i := range rels {
			rels[i] = kelf.Rel{Off: uint64(r.IntN(1 + n/4)), Type: []uint32{19, 20, 22, 23}[r.IntN(4)]}
		}
		b := &base{Image: &memImage{secs: make([]memSection, 2)}, class: elf.ELFCLASS64}
		for _, round := range []bool{false, true} {
			h, last := hi20Pairs{round: round}, 0
			for range 100 {
				at := uint64(r.IntN(1 + n/4))
				want, ok := 0, false
				for k := range rels {
					i := k
					if round {
						i = (last + k) % n
					}
					if (rels[i].Type == 20 || rels[i].Type == 23) && rels[i].Off == at {
						want, ok = i, true
						break
					}
				}
				got, found := h.find(b, &Entries{own: rels}, 1, at, high)
				if found != ok || got != want {
					t.Fatalf("round %v, %#x: got %d %v, want %d %v", round, at, got, found, want, ok)
				}
				if ok {
					last = want
				}
			}
		}
	}
}
