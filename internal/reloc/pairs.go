package reloc

import (
	"slices"

	kelf "kotool/internal/elf"
)

// hi20Pairs finds, for a place-relative low part, the entry of its high part: its symbol is the address of the instruction that has
// the high part. The kernel searches the table for each; here an index is made when it is first asked for.
type hi20Pairs struct {
	byP   map[uint64][]int32
	last  int  // the entry that was found last
	round bool // the search begins at the last match and goes round; else it begins at 0
}

// find returns the entry at the address. high says which types are high parts.
func (h *hi20Pairs) find(b *base, rels []kelf.Rel, target int, at uint64, high func(typ uint32) bool) (int, bool) {
	if h.byP == nil {
		h.byP = map[uint64][]int32{}
		start := b.Addr(target)
		for i := range rels {
			if high(rels[i].Type) {
				p := b.long(start + rels[i].Off)
				h.byP[p] = append(h.byP[p], int32(i))
			}
		}
	}
	list := h.byP[at]
	if len(list) == 0 {
		return 0, false
	}
	found := int(list[0])
	if h.round {
		if k, _ := slices.BinarySearch(list, int32(h.last)); k < len(list) {
			found = int(list[k])
		}
		h.last = found
	}
	return found, true
}
