package reloc

import (
	"cmp"
	"encoding/binary"
	"slices"
	"sort"
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

// begin is for another relocation section.
func (h *hi20Pairs) begin(round bool) { *h = hi20Pairs{list: h.list[:0], round: round} }

// fill lists the entries whose type is one of high.
func (h *hi20Pairs) fill(b *base, rels *Entries, target int, high [2]uint32) {
	h.made = true
	start := b.Addr(target)
	sorted, last := true, uint64(0)
	h.list = slices.Grow(h.list, rels.Len()/4)
	add := func(i int, off uint64) {
		p := b.long(start + off)
		sorted, last = sorted && last <= p, p
		h.list = append(h.list, highPart{p, int32(i)})
	}
	if raw := rels.raw(); raw != nil {
		// Only the types have to be looked at.
		for i := range rels.Len() {
			e := raw[24*i : 24*i+24 : 24*i+24]
			if typ := binary.LittleEndian.Uint32(e[8:]); typ == high[0] || typ == high[1] {
				add(i, binary.LittleEndian.Uint64(e))
			}
		}
	} else {
		for i := range rels.Len() {
			if r := rels.At(i); r.Type == high[0] || r.Type == high[1] {
				add(i, r.Off)
			}
		}
	}
	if !sorted {
		slices.SortStableFunc(h.list, func(x, y highPart) int { return cmp.Compare(x.p, y.p) })
	}
}

// find returns the entry at the address. high are the types of high parts.
func (h *hi20Pairs) find(b *base, rels *Entries, target int, at uint64, high [2]uint32) (int, bool) {
	if !h.made {
		h.fill(b, rels, target, high)
	}
	i, ok := h.search(at)
	if !ok {
		return 0, false
	}
	h.at = i
	found := int(h.list[i].entry)
	if h.round {
		if k := h.after(i, at); k < len(h.list) && h.list[k].p == at {
			found = int(h.list[k].entry)
		}
		h.last = found
	}
	return found, true
}

// after is the first of the list from number i on, the first of that address, that is no earlier entry than the last match.
func (h *hi20Pairs) after(i int, at uint64) int {
	before := func(x highPart) bool { return x.p == at && int(x.entry) < h.last }
	for range 4 { // mostly one entry has an address
		if i == len(h.list) || !before(h.list[i]) {
			return i
		}
		i++
	}
	return i + sort.Search(len(h.list)-i, func(k int) bool { return !before(h.list[i+k]) })
}

// search is the first of the list with that address.
func (h *hi20Pairs) search(at uint64) (int, bool) {
	for i := max(h.at-1, 0); i < min(h.at+8, len(h.list)); i++ {
		if h.list[i].p == at && (i == 0 || h.list[i-1].p != at) {
			return i, true
		}
	}
	i := sort.Search(len(h.list), func(k int) bool { return h.list[k].p >= at })
	return i, i < len(h.list) && h.list[i].p == at
}
