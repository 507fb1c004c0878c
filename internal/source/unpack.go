package source

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

// maxWindow is the largest dictionary or window, in bytes, that a stream may ask for. modules_install uses 1 to 8 MiB.
const maxWindow = 64 << 20

// trusted is how much output, in bytes, is collected on a stream's word alone. A stream that goes on without having said how long it
// will be is first counted to its end, so that a bomb costs time up to the limit, but no memory.
const trusted = 64 << 20

type gzipReader struct {
	r   *gzip.Reader
	buf *bufio.Reader
}

// reader makes a decoder of the container over packed, reusing the pool's.
func (p *Buffers) reader(container string, packed []byte) (io.Reader, error) {
	switch container {
	case "gzip":
		if p.gzip.r == nil {
			p.gzip.buf = bufio.NewReader(nil)
			p.gzip.r = new(gzip.Reader)
		}
		p.gzip.buf.Reset(bytes.NewReader(packed))
		return p.gzip.r, p.gzip.r.Reset(p.gzip.buf)
	case "xz":
		if p.xz == nil {
			r, err := xz.NewReader(bytes.NewReader(packed), maxWindow)
			p.xz = r
			return r, err
		}
		return p.xz, p.xz.Reset(bytes.NewReader(packed))
	default:
		if p.zstd == nil {
			d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(1<<62))
			if err != nil {
				return nil, err
			}
			p.zstd = d
		}
		return p.zstd, p.zstd.Reset(bytes.NewReader(packed))
	}
}

// promise is the plain size that the container itself states; ok is false where it does not, or not reliably.
func promise(container string, packed []byte) (size uint64, ok bool) {
	switch container {
	case "xz":
		return xzSize(packed)
	case "zstd":
		var h zstd.Header
		if h.Decode(packed) == nil && h.HasFCS && !h.Skippable {
			return h.FrameContentSize, true
		}
	case "gzip":
		if n := len(packed); n >= 18 {
			return uint64(binary.LittleEndian.Uint32(packed[n-4:])), true
		}
	}
	return 0, false
}

// StreamError says that a compressed stream is broken, so early that nothing of a module came out.
type StreamError struct {
	Container string
	Off       int // plain bytes before it broke
	Err       error
}

func (e *StreamError) Error() string {
	return fmt.Sprintf("%s: after %#x plain bytes: %v", e.Container, e.Off, e.Err)
}

func (e *StreamError) Unwrap() error { return e.Err }

// unpack decompresses packed, which may be broken or a bomb, into the pool's plain buffer.
func (in *Input) unpack(packed []byte, o Options) error {
	size, known := promise(in.Compression, packed)
	if known && size > o.MaxSize {
		return fmt.Errorf("%s: unpacks to %d bytes, more than the limit of %d (--max-size)", in.Compression, size, o.MaxSize)
	}
	r, err := in.pool.reader(in.Compression, packed)
	if err != nil {
		return &StreamError{in.Compression, 0, ended(err)}
	}
	first := uint64(len(packed))*8 + 64<<10
	if known {
		first = min(size+1, first*8) // one more byte than promised shows a broken promise
	}
	buf := in.pool.plain
	if uint64(cap(buf)) < min(first, trusted) {
		buf = make([]byte, 0, min(first, trusted))
	}
	buf = buf[:0]
	checked := o.Any
	for {
		if len(buf) == cap(buf) {
			if buf, err = in.more(buf, size, known, packed, o); err != nil {
				return err
			}
		}
		room := buf[len(buf):cap(buf)]
		if !checked {
			room = room[:min(len(room), headSize)]
		}
		n, err := r.Read(room)
		buf = buf[:len(buf)+n]
		if uint64(len(buf)) > o.MaxSize {
			return fmt.Errorf("%s: unpacks to more than %d bytes, the limit (--max-size)", in.Compression, o.MaxSize)
		}
		if !checked && len(buf) >= 4 {
			if checked = true; !isELF(buf) {
				// Not a module, however much of it there is.
				err = io.EOF
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			err = &StreamError{in.Compression, len(buf), ended(err)}
			if len(buf) < 64 {
				return err
			}
			in.Damage = err
			break
		}
	}
	in.pool.plain = buf
	in.mem, in.size = buf, uint64(len(buf))
	return nil
}

// more makes room after buf, which is full: doubling, within what is promised and the limit.
func (in *Input) more(buf []byte, size uint64, known bool, packed []byte, o Options) ([]byte, error) {
	have := uint64(len(buf))
	want := max(64<<10, 2*have)
	if want > trusted {
		if !known || size <= have {
			n, err := in.count(packed, o.MaxSize)
			if err != nil {
				return nil, err
			}
			size = n
		}
		want = max(size+1, have+1)
	}
	want = min(want, o.MaxSize+1)
	if want <= have {
		return nil, fmt.Errorf("%s: unpacks to more than %d bytes, the limit (--max-size)", in.Compression, o.MaxSize)
	}
	b := make([]byte, have, want)
	copy(b, buf)
	return b, nil
}

// count decompresses once more, keeping nothing, and returns how many bytes there are.
func (in *Input) count(packed []byte, limit uint64) (uint64, error) {
	p := &Buffers{}
	defer p.free()
	r, err := p.reader(in.Compression, packed)
	if err != nil {
		return 0, err
	}
	n, err := io.CopyN(io.Discard, r, int64(min(limit, 1<<62))+1)
	if uint64(n) > limit {
		return 0, fmt.Errorf("%s: unpacks to more than %d bytes, the limit (--max-size)", in.Compression, limit)
	}
	return uint64(n), nil // an error is met again, with the bytes before it
}

func (p *Buffers) free() {
	if p.zstd != nil {
		p.zstd.Close()
	}
}

// ended says "the stream is cut short" for the errors that mean it.
func ended(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return errors.New("the stream is cut short")
	}
	return err
}

// xzSize adds up the sizes in an xz file's index. ok is false for what is not one plain stream: more
// streams, padding, damage.
//
// Source: The .xz File Format 1.2, sections 2.1.2 (footer) and 4 (index).
func xzSize(b []byte) (size uint64, ok bool) {
	const footer, header = 12, 12
	n := len(b)
	if n < footer+header || b[n-2] != 'Y' || b[n-1] != 'Z' {
		return 0, false
	}
	backward := (uint64(binary.LittleEndian.Uint32(b[n-8:])) + 1) * 4
	if backward > uint64(n-footer-header) {
		return 0, false
	}
	index := b[uint64(n-footer)-backward : n-footer]
	if len(index) == 0 || index[0] != 0 {
		return 0, false
	}
	index = index[1:]
	next := func() uint64 {
		v, k := binary.Uvarint(index)
		if k <= 0 {
			ok = false
			return 0
		}
		index = index[k:]
		return v
	}
	ok = true
	var packed uint64
	for records := next(); records > 0 && ok; records-- {
		packed += (next() + 3) &^ 3
		u := next()
		if size+u < size {
			return 0, false
		}
		size += u
	}
	// With more than one stream the blocks do not reach back to the first header.
	return size, ok && packed+backward+footer+header == uint64(n)
}
