package sim

import (
	"math/rand/v2"
	"testing"
)

// naive is first fit without any shortcut.
type naive struct {
	window
}

func (w *naive) alloc(n uint64) (uint64, bool) {
	w.from, w.small = 0, 0
	return w.window.alloc(n)
}

func TestFirstFitTakesTheLowestGap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	a := window{start: 0x1000, end: 0x400000, guard: 0x1000}
	b := naive{a}
	var live []uint64
	for i := range 20000 {
		if len(live) > 0 && r.IntN(3) == 0 {
			k := r.IntN(len(live))
			a.free(live[k])
			b.free(live[k])
			live[k] = live[len(live)-1]
			live = live[:len(live)-1]
			continue
		}
		n := uint64(1+r.IntN(16)) << 12
		x, okx := a.alloc(n)
		y, oky := b.alloc(n)
		if x != y || okx != oky {
			t.Fatalf("step %d: %d bytes: got %#x %v, first fit is %#x %v", i, n, x, okx, y, oky)
		}
		if okx {
			live = append(live, x)
		}
	}
}

func TestMemoryIsReachedOnlyWhereItIs(t *testing.T) {
	var m memory
	for _, a := range []struct{ base, n uint64 }{{0x2000, 0x1000}, {0x1000, 0x800}} {
		if err := m.add(a.base, make([]byte, a.n)); err != nil {
			t.Fatal(err)
		}
	}
	if m.add(0x17ff, make([]byte, 2)) == nil || m.add(^uint64(0), make([]byte, 2)) == nil {
		t.Error("two areas in one place, or one past the end of addresses, were taken")
	}
	for _, c := range []struct {
		addr, n uint64
		ok      bool
	}{{0x1000, 0x800, true}, {0x1000, 0x801, false}, {0xfff, 1, false}, {0x1800, 1, false}, {0x2fff, 1, true}, {0x3000, 0, true}, {0x3000, 1, false}, {^uint64(0), 8, false}, {0x2000, ^uint64(0), false}} {
		if got := m.at(c.addr, c.n) != nil; got != c.ok {
			t.Errorf("%#x, %d bytes: got %v", c.addr, c.n, got)
		}
	}
}
