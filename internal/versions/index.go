package versions

import "hash/maphash"

// Index finds entries by name. The first entry of a name counts, as in the kernel. It is read-only.
type Index struct {
	list  []Entry
	slots []uint32 // open addressing: number of the entry plus one
	seed  maphash.Seed
}

// NewIndex indexes list, which must not change afterwards.
func NewIndex(list []Entry) *Index { return IndexIn(make([]uint32, Slots(len(list))), list) }

// Slots is how many slots the index of n entries has.
func Slots(n int) int {
	size := 8
	for size/2 < n {
		size *= 2
	}
	return size
}

// seed is the process's own, so that no file can be made to collide.
var seed = maphash.MakeSeed()

// IndexIn is NewIndex with the caller's zeroed slots, as many as Slots says.
func IndexIn(slots []uint32, list []Entry) *Index {
	x := &Index{list: list, slots: slots, seed: seed}
	for i := range list {
		if list[i].NoNUL {
			continue
		}
		if s := x.slot(list[i].Name); *s == 0 {
			*s = uint32(i + 1)
		}
	}
	return x
}

// slot is where the entry of a name is, or would go.
func (x *Index) slot(name []byte) *uint32 {
	mask := uint64(len(x.slots) - 1)
	for i := maphash.Bytes(x.seed, name) & mask; ; i = (i + 1) & mask {
		s := &x.slots[i]
		if *s == 0 || string(x.list[*s-1].Name) == string(name) {
			return s
		}
	}
}

// Len is the number of entries.
func (x *Index) Len() int { return len(x.list) }

// Find returns the first entry of a name, or nil.
//
// Source: kernel/module/version.c: check_version.
func (x *Index) Find(name []byte) *Entry {
	if i := *x.slot(name); i != 0 {
		return &x.list[i-1]
	}
	return nil
}
