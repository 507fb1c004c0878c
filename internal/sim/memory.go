package sim

import (
	"cmp"
	"fmt"
	"slices"
)

// Kind is what a region of a module's memory is for. Source: include/linux/module.h: enum mod_mem_type.
type Kind uint8

// The kinds of 6.4 and later, in the kernel's order; before, there are Core and Init.
const (
	Text Kind = iota
	Data
	Rodata
	RoAfterInit
	InitText
	InitData
	InitRodata
	Core
	Init
	kinds
)

var kindNames = [kinds]string{"text", "data", "rodata", "ro-after-init", "init text", "init data", "init rodata", "core", "init"}

func (k Kind) String() string { return kindNames[k] }

// IsInit reports whether the region is freed after the module's init function.
func (k Kind) IsInit() bool { return k == InitText || k == InitData || k == InitRodata || k == Init }

// area is a piece of the kernel's memory.
type area struct {
	base  uint64
	bytes []byte
}

func (a *area) end() uint64 { return a.base + uint64(len(a.bytes)) }

// memory is what can be read and written: areas that do not overlap, by address.
type memory struct {
	areas []area
	last  int // the area of the last hit: most come in a row
}

// add puts an area where nothing is yet.
func (m *memory) add(base uint64, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	i, _ := slices.BinarySearchFunc(m.areas, base, func(a area, at uint64) int { return cmp.Compare(a.base, at) })
	end := base + uint64(len(b))
	if end < base || i > 0 && m.areas[i-1].end() > base || i < len(m.areas) && m.areas[i].base < end {
		return fmt.Errorf("two areas at %#x", base)
	}
	m.areas = slices.Insert(m.areas, i, area{base, b})
	return nil
}

// at returns n bytes at an address; nil where they are not all there.
func (m *memory) at(addr, n uint64) []byte {
	if m.last < len(m.areas) {
		a := &m.areas[m.last]
		if off := addr - a.base; off < uint64(len(a.bytes)) && n <= uint64(len(a.bytes))-off {
			return a.bytes[off : off+n : off+n]
		}
	}
	i, ok := slices.BinarySearchFunc(m.areas, addr, func(a area, at uint64) int { return cmp.Compare(a.base, at) })
	if !ok {
		i--
	}
	if i < 0 {
		return nil
	}
	a := &m.areas[i]
	off := addr - a.base
	if off > uint64(len(a.bytes)) || n > uint64(len(a.bytes))-off {
		return nil
	}
	m.last = i
	return a.bytes[off : off+n : off+n]
}

// window is a range of addresses that the kernel allocates from, first fit, page by page, with a guard page behind each piece.
type window struct {
	start, end uint64
	guard      uint64 // bytes left free behind each piece
	used       []span // by address
	from       int    // no gap before this one is larger than small
	small      uint64
}

type span struct{ base, end uint64 }

// alloc returns where n bytes go, or false. n is a multiple of the page size.
func (w *window) alloc(n uint64) (uint64, bool) {
	need := n + w.guard
	first := 0
	if need > w.small && w.from <= len(w.used) {
		first = w.from // what lies before is too small
	}
	at := w.start
	if first > 0 {
		at = w.used[first-1].end
	}
	for i := first; i < len(w.used); i++ {
		if w.used[i].base-at >= need {
			w.used = slices.Insert(w.used, i, span{at, at + need})
			w.from = min(w.from, i)
			return at, true
		}
		at = w.used[i].end
	}
	if at > w.end || need > w.end-at {
		return 0, false
	}
	w.used = append(w.used, span{at, at + need})
	if need > w.small {
		// Nothing before the end took it: no gap there has so much.
		w.from, w.small = len(w.used), need-1
	}
	return at, true
}

// occupy takes n bytes at an address, without a guard, if they are all free.
func (w *window) occupy(base, n uint64) bool {
	if base < w.start || base > w.end || n > w.end-base {
		return false
	}
	i, is := slices.BinarySearchFunc(w.used, base, func(s span, at uint64) int { return cmp.Compare(s.base, at) })
	if is || i > 0 && w.used[i-1].end > base || i < len(w.used) && w.used[i].base < base+n {
		return false
	}
	w.used = slices.Insert(w.used, i, span{base, base + n})
	w.from = min(w.from, i)
	return true
}

// free gives a piece back.
func (w *window) free(base uint64) {
	i, ok := slices.BinarySearchFunc(w.used, base, func(s span, at uint64) int { return cmp.Compare(s.base, at) })
	if ok {
		w.used = slices.Delete(w.used, i, i+1)
		w.from = min(w.from, i)
	}
}

// take returns n zero bytes, of memory that was given back where there is enough.
func (k *Kernel) take(n uint64) []byte {
	b := k.takeDirty(n)
	clear(b)
	return b
}

// takeDirty is take without clearing.
func (k *Kernel) takeDirty(n uint64) []byte {
	for i := len(k.spare) - 1; i >= 0; i-- {
		if b := k.spare[i]; uint64(cap(b)) >= n && uint64(cap(b)) < 4*n+64<<10 {
			k.spare = slices.Delete(k.spare, i, i+1)
			return b[:n]
		}
	}
	return make([]byte, n)
}

// give takes memory back.
func (k *Kernel) give(b []byte) {
	if len(b) == 0 {
		return
	}
	if len(k.spare) >= 16 {
		k.spare = slices.Delete(k.spare, 0, 1)
	}
	k.spare = append(k.spare, b)
}
