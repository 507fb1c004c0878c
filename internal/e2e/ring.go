package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// ring is the host's side of the guest's stream. It is a reader that waits for the guest.
type ring struct {
	ram    *os.File
	m      *Machine // whose RAM it is
	head   int64    // offset of the header's page
	page   uint64
	frames []int64 // offsets of the pages of data
	read   uint64
	// alive reports whether the guest may still write. It is asked when there is nothing to read, which waits a little each time.
	alive func() error
}

// openRing looks at a frame that the guest has announced.
func openRing(ram *os.File, m *Machine, frame uint64, alive func() error) (*ring, error) {
	r := &ring{ram: ram, m: m, alive: alive}
	st, err := ram.Stat()
	if err != nil {
		return nil, err
	}
	// The header says how large a page is, and that is needed to find it.
	for page := uint64(4096); page <= 65536; page *= 2 {
		off := m.ramOffset(frame * page)
		if off >= uint64(st.Size()) || uint64(st.Size())-off < page {
			continue
		}
		r.head = int64(off)
		if magic, err := r.word(RingMagicOff); err != nil || magic != RingMagic {
			continue
		}
		if p, err := r.word(RingPageOff); err == nil && p == page {
			r.page = page
			break
		}
	}
	if r.page == 0 {
		return nil, fmt.Errorf("ring: nothing at frame %#x", frame)
	}
	n, err := r.word(RingPagesOff)
	if err != nil {
		return nil, err
	}
	if n == 0 || n > (r.page-RingFramesOff)/8 {
		return nil, fmt.Errorf("ring: %d pages", n)
	}
	for i := range n {
		f, err := r.word(RingFramesOff + int64(8*i))
		if err != nil {
			return nil, err
		}
		off := m.ramOffset(f * r.page)
		if off >= uint64(st.Size()) || uint64(st.Size())-off < r.page {
			return nil, fmt.Errorf("ring: page %d is at frame %#x", i, f)
		}
		r.frames = append(r.frames, int64(off))
	}
	// The first byte says nothing: the guest waits until it has been read.
	return r, r.skip(1)
}

func (r *ring) word(off int64) (uint64, error) {
	var b [8]byte
	_, err := r.ram.ReadAt(b[:], r.head+off)
	return binary.LittleEndian.Uint64(b[:]), err
}

func (r *ring) set(off int64, v uint64) error {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	_, err := r.ram.WriteAt(b[:], r.head+off)
	return err
}

func (r *ring) skip(n uint64) error {
	r.read += n
	return r.set(RingReadOff, r.read)
}

// release says go.
func (r *ring) release() error { return r.set(RingGoOff, 1) }

// Read gives what the guest has written. io.EOF is what alive says when there will be no more.
func (r *ring) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	var gone error
	for {
		written, err := r.word(RingWrittenOff)
		if err != nil {
			return 0, err
		}
		if written-r.read > uint64(len(r.frames))*r.page {
			return 0, errors.New("ring: more was written than fits")
		}
		if written > r.read {
			return r.copy(p, written-r.read)
		}
		if gone != nil {
			return 0, gone
		}
		time.Sleep(2 * time.Millisecond)
		gone = r.alive() // what was written just before is read in the next round
	}
}

func (r *ring) copy(p []byte, n uint64) (int, error) {
	at := r.read % (uint64(len(r.frames)) * r.page)
	n = min(n, uint64(len(p)), r.page-at%r.page)
	k, err := r.ram.ReadAt(p[:n], r.frames[at/r.page]+int64(at%r.page))
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("ring: %w", err)
	}
	return k, r.skip(uint64(k))
}
