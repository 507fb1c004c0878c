//go:build linux

package main

import (
	"archive/tar"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kotool/internal/e2e"
)

// stream is what the host reads: a tar file that goes through a ring of our memory.
type stream struct {
	head []byte // the page that describes the ring
	ring []byte
	n    uint64 // bytes written
	tar  *tar.Writer
}

// openStream makes the ring and says where it is, until the host has found it.
func openStream() (*stream, error) {
	page := os.Getpagesize()
	mem, err := unix.Mmap(-1, 0, page+e2e.RingSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	// The host knows the ring by its page frames, which have to stay.
	_ = os.WriteFile("/proc/sys/vm/compact_unevictable_allowed", []byte("0"), 0)
	_ = unix.Madvise(mem, unix.MADV_NOHUGEPAGE)
	if err := unix.Mlock(mem); err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	for i := 0; i < len(mem); i += page {
		mem[i] = 1
		mem[i] = 0
	}
	frames, err := pageFrames(mem, page)
	if err != nil {
		return nil, err
	}
	s := &stream{head: mem[:page], ring: mem[page:]}
	s.tar = tar.NewWriter(s)
	s.set(e2e.RingPageOff, uint64(page))
	s.set(e2e.RingPagesOff, uint64(len(frames)-1))
	for i, f := range frames[1:] {
		s.set(e2e.RingFramesOff+8*i, f)
	}
	s.set(e2e.RingMagicOff, e2e.RingMagic)
	if _, err := s.Write(make([]byte, 1)); err != nil { // the host skips this; that it has read shows that it is there
		return nil, err
	}
	for i := 0; s.get(e2e.RingReadOff) == 0; i++ {
		if i%50 == 0 {
			fmt.Printf("\n%s%x\n", e2e.Announcement, frames[0])
		}
		time.Sleep(20 * time.Millisecond)
	}
	return s, nil
}

// pageFrames are the frame numbers of the pages of mem.
func pageFrames(mem []byte, page int) ([]uint64, error) {
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, len(mem)/page*8)
	first := uint64(uintptr(unsafe.Pointer(&mem[0]))) / uint64(page)
	if _, err := f.ReadAt(b, int64(first*8)); err != nil {
		return nil, err
	}
	list := make([]uint64, len(b)/8)
	for i := range list {
		e := binary.NativeEndian.Uint64(b[i*8:])
		if e>>63 == 0 || e<<9 == 0 {
			return nil, errors.New("a page of the ring has no frame")
		}
		list[i] = e & (1<<55 - 1)
	}
	return list, nil
}

func (s *stream) word(off int) *uint64 { return (*uint64)(unsafe.Pointer(&s.head[off])) }

func (s *stream) set(off int, v uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	atomic.StoreUint64(s.word(off), binary.NativeEndian.Uint64(b[:]))
}

func (s *stream) get(off int) uint64 {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], atomic.LoadUint64(s.word(off)))
	return binary.LittleEndian.Uint64(b[:])
}

// Write waits for room. Where there is no host that reads, the host stops the machine.
func (s *stream) Write(p []byte) (n int, err error) {
	for n < len(p) {
		free := uint64(len(s.ring)) - (s.n - s.get(e2e.RingReadOff))
		if free == 0 {
			time.Sleep(time.Millisecond)
			continue
		}
		at := s.n % uint64(len(s.ring))
		k := copy(s.ring[at:], p[n:][:min(free, uint64(len(p)-n))])
		n += k
		s.n += uint64(k)
		s.set(e2e.RingWrittenOff, s.n)
	}
	return n, nil
}

// put writes an entry.
func (s *stream) put(name string, data []byte) error {
	err := s.tar.WriteHeader(&tar.Header{Name: strings.TrimPrefix(name, "/"), Mode: 0o600, Size: int64(len(data))})
	if err == nil {
		_, err = s.tar.Write(data)
	}
	if err == nil {
		err = s.tar.Flush()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (s *stream) putJSON(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.put(name, b)
}

// released reports whether the host has said go.
func (s *stream) released() bool { return s.get(e2e.RingGoOff) != 0 }
