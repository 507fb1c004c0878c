package source

import (
	"bufio"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

// keep is the largest buffer that is kept for the next file, in bytes.
const keep = 16 << 20

// chunk is the smallest piece of memory for ranges, in bytes.
const chunk = 64 << 10

// maxWindow is the largest dictionary or window, in bytes, that a stream may ask for. modules_install uses 1 to 8 MiB.
const maxWindow = 64 << 20

// Buffers are the buffers and decoders of one worker, made when they are first needed. One Input at a time may use them.
type Buffers struct {
	plain  []byte // of a whole file
	packed []byte
	arena  []byte // of ranges: what has been given out is arena[:len]
	total  uint64 // bytes given out since the last release

	buf  *bufio.Reader
	gzip *gzip.Reader
	xz   *xz.Reader
	lzma *lzma2
	zstd *zstd.Decoder
}

// grow returns n bytes of *buf, which it makes larger when need be. They may hold anything.
func grow(buf *[]byte, n uint64) []byte {
	if uint64(cap(*buf)) < n {
		*buf = nil // let go of the old one first
		*buf = make([]byte, n)
	}
	return (*buf)[:n]
}

// alloc gives out n bytes; what was given out before stays valid until release.
func (p *Buffers) alloc(n uint64) []byte {
	p.total += n
	if uint64(cap(p.arena)-len(p.arena)) < n {
		// As much again as all so far: the next file like this one finds it enough.
		p.arena = make([]byte, 0, max(chunk, n, min(2*p.total, keep)))
	}
	used := uint64(len(p.arena))
	p.arena = p.arena[:used+n]
	return p.arena[used : used+n : used+n]
}

// release takes everything back, and gives large buffers to the collector.
func (p *Buffers) release() {
	p.total = 0
	for _, b := range [...]*[]byte{&p.plain, &p.packed, &p.arena} {
		if *b = (*b)[:0]; cap(*b) > keep {
			*b = nil
		}
	}
}

// buffered is r with a buffer, as gzip and zstd, which read byte by byte, want it.
func (p *Buffers) buffered(r io.Reader) io.Reader {
	if p.buf == nil {
		p.buf = bufio.NewReaderSize(nil, chunk)
	}
	p.buf.Reset(r)
	return p.buf
}

// decoder makes a decoder of the container over r, reusing the one that is there. lax: one that ignores zstd's checksums.
func (p *Buffers) decoder(container string, r io.Reader, lax bool) (io.Reader, error) {
	switch container {
	case "gzip":
		if p.gzip == nil {
			p.gzip = new(gzip.Reader)
		}
		return p.gzip, p.gzip.Reset(r)
	case "xz":
		if p.xz == nil {
			p.xz, _ = xz.NewReader(nil, maxWindow)
		}
		return p.xz, p.xz.Reset(r)
	default:
		d := p.zstd
		if d == nil || lax {
			// unpack counts the output: the decoder's own limit is set out of the way.
			var err error
			d, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow),
				zstd.WithDecoderMaxMemory(1<<62), zstd.IgnoreChecksum(lax))
			if err != nil {
				return nil, err
			}
		}
		if !lax {
			p.zstd = d
		}
		return d, d.Reset(r)
	}
}
