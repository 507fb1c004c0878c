package source

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

// trusted is how much output, in bytes, is collected before it is known how long the whole is. A stream that goes on without
// having promised its size is first counted to its end, keeping nothing, so that a bomb costs time but no memory.
const trusted = 32 << 20

// StreamError says that a compressed stream is broken: so early that nothing of a module came out where Open returns it,
// later as an Input's Damage.
type StreamError struct {
	Container string
	Off       int // plain bytes before it broke
	Err       error
}

func (e *StreamError) Error() string {
	return fmt.Sprintf("%s: after %#x plain bytes: %v", e.Container, e.Off, e.Err)
}

// Unwrap returns the decoder's error.
func (e *StreamError) Unwrap() error { return e.Err }

// unpack decompresses src, which begins with head and may be broken or a bomb, into the pool's plain buffer.
//
// Memory stays small until there is reason to believe in the output: what is not ELF is left after its head (without
// Options.Any); a promised size beyond the limit is refused at once; the first buffer is no more than 64 times the
// input; and beyond trusted bytes a buffer is made only for a size that was promised or counted.
//
// The zstd decoder keeps back the last block of a frame whose checksum is wrong. Then it is read again without looking at
// checksums, and the first error is passed as damage; nil otherwise.
func (in *Input) unpack(src packedSource, head []byte, o Options, damage error) error {
	size, firm := promised(in.Compression, head, src)
	if size > o.MaxSize {
		if firm {
			return in.wrap(&LimitError{Unpacked: true, Size: size, Limit: o.MaxSize})
		}
		size = 0
	}
	if b, ok := src.(memSource); ok && in.fastXZ(b, size, o) {
		return nil
	}
	first := min(8*src.size()+chunk, trusted)
	if size > 0 {
		first = min(size+1, 64*src.size()+1<<20, trusted) // one byte more, to meet the end
	}
	r, err := in.pool.decoder(in.Compression, src.rewind(), damage != nil)
	if err != nil {
		return in.broken(src, 0, err)
	}
	buf := grow(&in.pool.plain, first)
	buf = buf[:0:cap(buf)]
	checked := o.Any
	for {
		if len(buf) == cap(buf) {
			have := uint64(len(buf))
			if have >= trusted && size < have {
				if size, err = in.count(r, have, o.MaxSize); err != nil {
					return err
				}
				// The decoder is at the end: once more, from the beginning.
				if r, err = in.pool.decoder(in.Compression, src.rewind(), damage != nil); err != nil {
					return in.broken(src, 0, err)
				}
				in.pool.plain, buf = nil, nil
				buf = make([]byte, 0, size+1)
			} else {
				buf = larger(buf, size, o.MaxSize)
			}
		}
		room := buf[len(buf):cap(buf)]
		if !checked {
			room = room[:min(len(room), headSize)]
		}
		n, err := r.Read(room)
		buf = buf[:len(buf)+n]
		if uint64(len(buf)) > o.MaxSize {
			return in.wrap(&LimitError{Unpacked: true, Limit: o.MaxSize})
		}
		if !checked && len(buf) >= 4 {
			checked = true
			if in.cut = !isELF(buf) && err == nil; in.cut {
				err = io.EOF
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			again := damage == nil && errors.Is(err, zstd.ErrCRCMismatch)
			err = in.broken(src, len(buf), err)
			if again {
				return in.unpack(src, head, o, err)
			}
			if _, ok := err.(*StreamError); !ok || len(buf) < enough {
				return err
			}
			in.Damage = err
			break
		}
	}
	if in.Damage == nil && !in.cut {
		in.Damage = damage
	}
	in.pool.plain = buf
	in.mem, in.size = buf, uint64(len(buf))
	return nil
}

// fastXZ unpacks b when it is an xz file as modules_install writes them, of a size that it promises and that can be believed. It
// costs two thirds of what the library takes.
func (in *Input) fastXZ(b memSource, size uint64, o Options) bool {
	if in.Compression != "xz" || size == 0 || size > 64*uint64(len(b))+1<<20 {
		return false
	}
	p := in.pool
	if p.lzma == nil {
		p.lzma = &lzma2{}
	}
	out := grow(&p.plain, size)
	if !p.lzma.plainXZ(out, b) || !o.Any && !isELF(out) {
		return false
	}
	in.mem, in.size = out, size
	return true
}

func (in *Input) wrap(err error) error { return fmt.Errorf("%s: %w", in.Compression, err) }

// broken makes the error of a decoder that failed after so many plain bytes: that of reading src, if it is that, else a *StreamError.
func (in *Input) broken(src packedSource, after int, err error) error {
	if e := src.failed(); e != nil {
		return in.wrap(e)
	}
	return &StreamError{in.Compression, after, cause(err)}
}

// larger makes room after buf: four times as much, so that little is left behind, or as much as was promised once that is
// believable.
func larger(buf []byte, size, limit uint64) []byte {
	have := uint64(len(buf))
	want := min(max(chunk, 4*have), trusted)
	if have >= trusted || size > have && size < want {
		want = size + 1
	}
	b := make([]byte, have, max(have+1, min(want, limit+1)))
	copy(b, buf)
	return b
}

// count reads to the end of r, of which have bytes were read, keeping nothing, and returns how many bytes there are. Where
// the stream is broken the count ends; the same will be met when it is read again.
func (in *Input) count(r io.Reader, have, limit uint64) (uint64, error) {
	scratch := in.pool.alloc(chunk)
	for {
		n, err := r.Read(scratch)
		have += uint64(n)
		if have > limit {
			return 0, in.wrap(&LimitError{Unpacked: true, Limit: limit})
		}
		if err != nil {
			return have, nil
		}
	}
}

// cause says in the same words what the decoders say in theirs.
func cause(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, xz.ErrBuf):
		return ErrCut
	case errors.Is(err, xz.ErrFormat), errors.Is(err, gzip.ErrHeader), errors.Is(err, zstd.ErrMagicMismatch):
		return errGarbage
	case errors.Is(err, xz.ErrMemlimit), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return ErrWindow
	case errors.Is(err, xz.ErrData), errors.Is(err, xz.ErrOptions), errors.Is(err, xz.ErrUnsupportedCheck):
		return errors.New(strings.TrimPrefix(err.Error(), "xz: "))
	}
	return err
}

var (
	// ErrCut says that a stream ends too early.
	ErrCut     = errors.New("the stream is cut short")
	errGarbage = errors.New("what follows is not a compressed stream, or its header is damaged")
	// ErrWindow says that a stream needs more memory than this package gives it. It may be a good one.
	ErrWindow = fmt.Errorf("needs a dictionary or window of more than %d MiB", maxWindow>>20)
)
