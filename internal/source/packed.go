package source

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"

	"github.com/klauspost/compress/zstd"
)

// packedSource is compressed bytes that can be read from the beginning more than once.
type packedSource interface {
	rewind() io.Reader
	// end returns the last n bytes before the last skip ones, or nil where they are not to be had.
	end(skip, n uint64) []byte
	// size is the number of bytes; 0: not known yet.
	size() uint64
	// failed is the error of reading, if there was one.
	failed() error
}

// memSource is a compressed file in memory.
type memSource []byte

func (m memSource) rewind() io.Reader { return bytes.NewReader(m) }
func (m memSource) size() uint64      { return uint64(len(m)) }
func (m memSource) end(skip, n uint64) []byte {
	if size := m.size(); skip <= size && n <= size-skip {
		return m[size-skip-n : size-skip]
	}
	return nil
}

func (m memSource) failed() error { return nil }

// fileSource is a compressed file that is too large to be read whole.
type fileSource struct {
	f    file
	n    uint64
	pool *Buffers
	off  uint64
	err  error
}

func (s *fileSource) size() uint64  { return s.n }
func (s *fileSource) failed() error { return s.err }

func (s *fileSource) rewind() io.Reader {
	s.off = 0
	return s.pool.buffered(s)
}

// Read reads on at off.
func (s *fileSource) Read(b []byte) (int, error) {
	b = b[:min(uint64(len(b)), s.n-s.off)]
	if len(b) == 0 {
		return 0, io.EOF
	}
	if s.err = readAt(s.f, b, s.off); s.err != nil {
		return 0, s.err
	}
	s.off += uint64(len(b))
	return len(b), nil
}

func (s *fileSource) end(skip, n uint64) []byte {
	if n > 1<<20 || skip > s.n || n > s.n-skip {
		return nil
	}
	b := make([]byte, n)
	if readAt(s.f, b, s.n-skip-n) != nil {
		return nil
	}
	return b
}

// tape is a stream of which everything that was read is kept.
type tape struct {
	src   io.Reader
	buf   []byte
	limit uint64 // of buf, in bytes
	err   error  // what ended src
	pool  *Buffers
}

// fill reads some more, at most n bytes, or sets err.
func (t *tape) fill(n int) {
	if len(t.buf) == cap(t.buf) {
		b := make([]byte, len(t.buf), min(max(headSize, 2*uint64(cap(t.buf))), t.limit+1))
		copy(b, t.buf)
		t.buf = b
	}
	room := t.buf[len(t.buf):cap(t.buf)]
	n, err := t.src.Read(room[:min(n, len(room))])
	t.buf = t.buf[:len(t.buf)+n]
	t.err = bare(err)
	if uint64(len(t.buf)) > t.limit {
		t.err = &LimitError{Limit: t.limit}
	}
}

func (t *tape) rewind() io.Reader         { return t.pool.buffered(&tapeReader{t: t}) }
func (t *tape) end(skip, n uint64) []byte { return nil }
func (t *tape) size() uint64              { return 0 }
func (t *tape) failed() error {
	if t.err == io.EOF {
		return nil
	}
	return t.err
}

type tapeReader struct {
	t   *tape
	off int
}

func (r *tapeReader) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if r.off == len(r.t.buf) && r.t.err == nil {
		r.t.fill(math.MaxInt)
	}
	n := copy(b, r.t.buf[r.off:])
	r.off += n
	if n == 0 {
		return 0, r.t.err
	}
	return n, nil
}

// promised is the plain size that the container itself states. firm says that a stream with another size is broken;
// else it is no more than a hint. Size 0 is no promise.
func promised(container string, head []byte, src packedSource) (size uint64, firm bool) {
	switch container {
	case "xz":
		return xzSize(src), true
	case "zstd":
		// Further frames may follow the first, so that there may be more, but not less.
		var h zstd.Header
		if h.Decode(head) == nil && h.HasFCS && !h.Skippable {
			return h.FrameContentSize, true
		}
	case "gzip":
		// Modulo 1<<32, of the last member; or anything, when the file is cut short.
		if b := src.end(0, 4); b != nil {
			return uint64(binary.LittleEndian.Uint32(b)), false
		}
	}
	return 0, false
}

// xzSize adds up the sizes in an xz file's index. It is 0 for what is not one whole stream: more streams, padding, damage.
//
// Source: The .xz File Format 1.2, sections 2.1.2 (stream footer) and 4 (index).
func xzSize(src packedSource) uint64 {
	const header, footer = 12, 12
	b := src.end(0, footer)
	if b == nil || b[10] != 'Y' || b[11] != 'Z' {
		return 0
	}
	backward := (uint64(binary.LittleEndian.Uint32(b[4:])) + 1) * 4
	index := src.end(footer, backward)
	if index == nil || index[0] != 0 {
		return 0
	}
	index = index[1:]
	ok := true
	next := func() uint64 {
		v, n := binary.Uvarint(index)
		if n <= 0 {
			ok = false
			return 0
		}
		index = index[n:]
		return v
	}
	var packed, size uint64
	for records := next(); records > 0 && ok; records-- {
		packed += (next() + 3) &^ 3
		n := next()
		if n > 1<<63-1-size {
			return 0
		}
		size += n
	}
	// With more than one stream the blocks do not reach back to the first header.
	if !ok || packed+backward+footer+header != src.size() {
		return 0
	}
	return size
}
