package sim

import "testing"

func TestPercpuReserveIsFirstFit(t *testing.T) {
	// The addresses of kvm and kvm_amd on a 6.1 and on a 7.2, as they were recorded.
	for _, c := range []struct{ start, size, align, want, size2, align2, want2 uint64 }{
		{0x35030, 0x18, 8, 0x35030, 0x60, 32, 0x35060},
		{0xffffffff83e42040, 0x160, 32, 0xffffffff83e42040, 0x50, 32, 0xffffffff83e421a0},
	} {
		r := &reserve{start: c.start, end: c.start + 8192}
		if at, ok := r.alloc(c.size, c.align); !ok || at != c.want {
			t.Errorf("got %#x %v want %#x", at, ok, c.want)
		}
		if at, ok := r.alloc(c.size2, c.align2); !ok || at != c.want2 {
			t.Errorf("got %#x %v want %#x", at, ok, c.want2)
		}
	}
	r := &reserve{start: 0x1004, end: 0x3004}
	alloc := func(size, align, want uint64, fits bool) {
		t.Helper()
		if at, ok := r.alloc(size, align); ok != fits || at != want {
			t.Errorf("%d bytes at a multiple of %d: got %#x %v want %#x %v", size, align, at, ok, want, fits)
		}
	}
	alloc(1, 1, 0x1004, true)
	alloc(4096, 4096, 0x2000, true)
	alloc(4, 0, 0x1008, true) // the gap before it
	alloc(4, 4, 0x100c, true)
	alloc(8192, 4, 0, false)
	alloc(0x1000, 64, 0, false) // neither gap
	alloc(0xfc0, 64, 0x1040, true)
	alloc(4, 4, 0x1010, true)
	alloc(5, 4, 0x1014, true)
	if got := r.taken(); got != 4+4096+4+4+0xfc0+4+8 {
		t.Errorf("%d bytes are taken", got)
	}
	r.free(0x2000)
	alloc(4096, 64, 0x2000, true)
	for len(r.used) > 0 {
		r.free(r.used[0].base)
	}
	alloc(8192, 4, 0x1004, true)
	alloc(1, 1, 0, false)
}
