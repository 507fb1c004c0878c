package reloc

import (
	"cmp"
	"slices"
)

// hi20Pairs finds, for a place-relative low part, the entry of its high part: its symbol is the address of the instruction that has
// the high part. The kernel searches the table for each; here the high parts are listed by address when one is first asked for.
type hi20Pairs struct {
	list  []highPart // by address, those of one address in the order of the table
	made  bool
	at    int  // in list: where the last one was found; the next is mostly near
	last  int  // the entry that was found last
	round bool // the search begins at the last match and goes round; else it begins at 0
}

// highPart is an entry with a high part, and the address of its place.
type highPart struct {
	p     uint64
	entry int32
}

// find returns the entry at the address. high says which types are high parts.
func (h *hi20Pairs) find(b *base, rels *Entries, target int, at uint64, high func(typ uint32) bool) (int, bool) {
	if !h.made {
		h.made = true
		start := b.Addr(target)
		sorted := true
		for i := range rels.Len() {
			if r := rels.At(i); high(r.Type) {
				p := b.long(start + r.Off)
				sorted = sorted && (len(h.list) == 0 || h.list[len(h.list)-1].p <= p)
				h.list = append(h.list, highPart{p, int32(i)})
			}
		}
		if !sorted {
			slices.SortStableFunc(h.list, func(x, y highPart) int { return cmp.Compare(x.p, y.p) })
		}
	}
	i, ok := h.search(at)
	if !ok {
		return 0, false
	}
	h.at = i
	found := int(h.list[i].entry)
	if h.round {
		k, _ := slices.BinarySearchFunc(h.list[i:], highPart{at, int32(h.last)}, func(x, want highPart) int {
			return cmp.Or(cmp.Compare(x.p, want.p), cmp.Compare(x.entry, want.entry))
		})
		if k += i; k < len(h.list) && h.list[k].p == at {
			found = int(h.list[k].entry)
		}
		h.last = found
	}
	return found, true
}

// search is the first of the list with that address.
func (h *hi20Pairs) search(at uint64) (int, bool) {
	for i := max(h.at-1, 0); i < min(h.at+8, len(h.list)); i++ {
		if h.list[i].p == at && (i == 0 || h.list[i-1].p != at) {
			return i, true
		}
	}
	return slices.BinarySearchFunc(h.list, at, func(x highPart, at uint64) int { return cmp.Compare(x.p, at) })
}
