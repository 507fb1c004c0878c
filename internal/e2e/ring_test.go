package e2e

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// fakeGuest is the guest's side of a ring in a file.
type fakeGuest struct {
	t    *testing.T
	f    *os.File
	page int
	pfn  []uint64
	base uint64
	n    uint64
}

func (g *fakeGuest) set(off int, v uint64) {
	b := binary.LittleEndian.AppendUint64(nil, v)
	if _, err := g.f.WriteAt(b, int64(g.pfn[0])*int64(g.page)-int64(g.base)+int64(off)); err != nil {
		g.t.Error(err)
	}
}

func (g *fakeGuest) get(off int) uint64 {
	var b [8]byte
	if _, err := g.f.ReadAt(b[:], int64(g.pfn[0])*int64(g.page)-int64(g.base)+int64(off)); err != nil {
		g.t.Error(err)
	}
	return binary.LittleEndian.Uint64(b[:])
}

func (g *fakeGuest) write(p []byte) {
	size := uint64((len(g.pfn) - 1) * g.page)
	for len(p) > 0 {
		free := size - (g.n - g.get(RingReadOff))
		at := int(g.n % size)
		n := min(int(free), len(p), g.page-at%g.page, 1000)
		if n == 0 {
			time.Sleep(time.Millisecond)
			continue
		}
		if _, err := g.f.WriteAt(p[:n], int64(g.pfn[1+at/g.page])*int64(g.page)-int64(g.base)+int64(at%g.page)); err != nil {
			g.t.Error(err)
		}
		p = p[n:]
		g.n += uint64(n)
		g.set(RingWrittenOff, g.n)
	}
}

// newFakeGuest has three pages of data, not in order, in RAM of 64 pages.
func newFakeGuest(t *testing.T, page int) *fakeGuest {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "ram"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := f.Truncate(int64(64 * page)); err != nil {
		t.Fatal(err)
	}
	g := &fakeGuest{t: t, f: f, page: page, base: 0x40000000}
	first := g.base / uint64(page)
	g.pfn = []uint64{first + 17, first + 63, first, first + 30}
	g.set(RingPageOff, uint64(page))
	g.set(RingPagesOff, 3)
	for i, p := range g.pfn[1:] {
		g.set(RingFramesOff+8*i, p)
	}
	g.set(RingMagicOff, RingMagic)
	g.write([]byte{0})
	return g
}

func TestRingGivesWhatTheGuestWrites(t *testing.T) {
	t.Parallel()
	for _, page := range []int{4096, 65536} {
		g := newFakeGuest(t, page)
		done := make(chan struct{})
		r, err := openRing(g.f, &Machine{RAM: g.base}, g.pfn[0], func() error {
			select {
			case <-done:
				return io.EOF
			default:
				return nil
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if g.get(RingReadOff) != 1 {
			t.Errorf("the guest is not told that its ring was found")
		}
		want := make([]byte, 3*page*2+99)
		for i := range want {
			want[i] = byte(i ^ i>>8)
		}
		go func() {
			g.write(want)
			close(done)
		}()
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("pages of %d: got %d bytes, %v; want %d", page, len(got), err, len(want))
		}
		if err := r.release(); err != nil || g.get(RingGoOff) == 0 {
			t.Errorf("release: %v", err)
		}
	}
}

func TestRingRefusesOddHeaders(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		off   int
		value uint64
	}{
		{"no magic", RingMagicOff, 1},
		{"a page size that is not its own", RingPageOff, 8192},
		{"no pages", RingPagesOff, 0},
		{"more pages than a page has room for", RingPagesOff, 1 << 40},
		{"a page outside of the RAM", RingFramesOff, 1 << 50},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newFakeGuest(t, 4096)
			g.set(c.off, c.value)
			if _, err := openRing(g.f, &Machine{RAM: g.base}, g.pfn[0], func() error { return nil }); err == nil {
				t.Error("got no error")
			}
		})
	}
	g := newFakeGuest(t, 4096)
	for _, frame := range []uint64{0, 1, 1 << 60} {
		if _, err := openRing(g.f, &Machine{RAM: g.base}, frame, func() error { return nil }); err == nil {
			t.Errorf("frame %#x: got no error", frame)
		}
	}
	r, err := openRing(g.f, &Machine{RAM: g.base}, g.pfn[0], func() error { return io.EOF })
	if err != nil {
		t.Fatal(err)
	}
	g.set(RingWrittenOff, 1<<40)
	if _, err := r.Read(make([]byte, 10)); err == nil || err == io.EOF {
		t.Errorf("more written than fits: got %v", err)
	}
}

func TestRAMBehindAGapIsFound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		m          Machine
		addr, want uint64
	}{
		{Machine{}, 0x123000, 0x123000},
		{Machine{RAM: 0x40000000}, 0x50001000, 0x10001000},
		{Machine{High: 0x80000000}, 0xffff000, 0xffff000},
		{Machine{High: 0x80000000}, 0x80001000, 0x10001000},
		{Machine{High: 0x80000000}, 0x10000000, math.MaxUint64},
	} {
		if got := c.m.ramOffset(c.addr); got != c.want {
			t.Errorf("%+v: %#x: got %#x, want %#x", c.m, c.addr, got, c.want)
		}
	}
}
