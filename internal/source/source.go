// Package source turns a path or standard input into the plain bytes of a file: it reads, recognises
// compression by content, and keeps to limits.
//
// Plain files are read with pread into reused buffers, never mapped: a file that is cut short while it is
// mapped would kill the process.
package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

// DefaultMaxSize is the largest plain size, in bytes, that is read unless told otherwise.
const DefaultMaxSize = 1 << 30

// Options say how to open.
type Options struct {
	MaxSize uint64 // of the plain bytes; 0: DefaultMaxSize
	// Partial says that only small ranges will be read: they are read alone, and not the whole file.
	Partial bool
	Stdin   io.Reader // what "-" is
	Pool    *Buffers  // buffers to use again; nil: fresh ones
	// Any takes files that are neither ELF nor compressed whole as well: lists, logs. Without it only their head is read.
	Any bool
}

// Buffers are the buffers and decoders of one worker. One Input at a time may use them.
type Buffers struct {
	plain  []byte
	packed []byte
	arena  []byte
	zstd   *zstd.Decoder
	gzip   gzipReader
	xz     *xz.Reader
}

// Input is an open file as plain bytes. It implements elf.Source.
type Input struct {
	Path        string
	Compression string // "none", "gzip", "xz", "zstd"
	PackedSize  uint64 // bytes of the file as it is
	// Damage says that the compressed stream is broken: the plain bytes end where it broke.
	Damage error

	file *os.File // only with partial reads
	head []byte   // the file's first bytes, with partial reads
	mem  []byte
	size uint64
	pool *Buffers
}

// headSize is how much of a file is read to see what it is. It holds the ELF header, and for small
// modules much of what info wants.
const headSize = 4096

// Open opens path, "-" for standard input. The error names neither the path nor kotool.
func Open(path string, o Options) (*Input, error) {
	if o.MaxSize == 0 {
		o.MaxSize = DefaultMaxSize
	}
	if o.Pool == nil {
		o.Pool = &Buffers{}
	}
	in := &Input{Path: path, pool: o.Pool}
	if path == "-" {
		if o.Stdin == nil {
			return nil, errors.New("no standard input")
		}
		if err := in.stream(o.Stdin, o); err != nil {
			return nil, err
		}
		return in, nil
	}
	f, err := openFile(path)
	if err != nil {
		return nil, bare(err)
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, bare(err)
	}
	switch {
	case st.IsDir():
		f.Close()
		return nil, ErrDirectory
	case !st.Mode().IsRegular():
		err := in.stream(newPatient(f, st.Mode()), o)
		f.Close()
		if err != nil {
			return nil, err
		}
		return in, nil
	}
	err = in.regular(f, uint64(max(0, st.Size())), o)
	if err != nil || in.file == nil {
		f.Close()
	}
	if err != nil {
		return nil, bare(err)
	}
	return in, nil
}

// ErrDirectory says that a file was wanted.
var ErrDirectory = errors.New("is a directory (use -r to walk it)")

// bare takes the path from the os package's errors: callers name it themselves.
func bare(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// regular reads a regular file of that size.
func (in *Input) regular(f *os.File, size uint64, o Options) error {
	in.PackedSize = size
	p := in.pool
	head := grow(&p.arena, headSize)[:min(size, headSize)]
	if err := readAt(f, head, 0); err != nil {
		return err
	}
	in.Compression = compression(head)
	if in.Compression != "none" {
		packed := grow(&p.packed, size)
		copy(packed, head)
		if err := readAt(f, packed[len(head):], uint64(len(head))); err != nil {
			return err
		}
		return in.unpack(packed, o)
	}
	if size > o.MaxSize {
		return tooLarge(o.MaxSize)
	}
	in.size = size
	if o.Partial || !o.Any && !isELF(head) {
		in.file, in.head = f, head
		return nil
	}
	in.mem = grow(&p.plain, size)
	copy(in.mem, head)
	return readAt(f, in.mem[len(head):], uint64(len(head)))
}

// stream reads what has no size: a pipe, a device, standard input.
func (in *Input) stream(r io.Reader, o Options) error {
	p := in.pool
	buf := grow(&p.packed, headSize)
	n, err := io.ReadFull(r, buf)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return bare(err)
	}
	whole := err != nil
	in.Compression = compression(buf[:n])
	if in.Compression == "none" && !isELF(buf[:n]) && !o.Any {
		// Whatever this is, it is no module, and it may never end (/dev/zero).
		in.mem, in.PackedSize, in.size = buf[:n], uint64(n), uint64(n)
		return nil
	}
	for !whole {
		if uint64(n) > o.MaxSize {
			return tooLarge(o.MaxSize)
		}
		if n == len(buf) {
			buf = append(buf, 0)
			buf = buf[:cap(buf)]
		}
		k, err := r.Read(buf[n:])
		n += k
		if err == io.EOF {
			whole = true
		} else if err != nil {
			return bare(err)
		}
	}
	p.packed = buf
	in.PackedSize = uint64(n)
	if in.Compression != "none" {
		return in.unpack(buf[:n], o)
	}
	if uint64(n) > o.MaxSize {
		return tooLarge(o.MaxSize)
	}
	in.mem, in.size = buf[:n], uint64(n)
	return nil
}

func tooLarge(limit uint64) error {
	return fmt.Errorf("larger than %d bytes, the limit (--max-size)", limit)
}

func isELF(head []byte) bool { return bytes.HasPrefix(head, []byte("\x7fELF")) }

// compression tells the container by its first bytes, as kmod and the kernel do.
func compression(head []byte) string {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return "gzip"
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return "xz"
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return "zstd"
	}
	return "none"
}

// grow returns n bytes of *buf, which it makes larger when need be. The content is what it was before.
func grow(buf *[]byte, n uint64) []byte {
	if uint64(cap(*buf)) < n {
		*buf = make([]byte, n, n+n/8)
	}
	return (*buf)[:n]
}

// readAt fills b from off; a file that is shorter than it was is an error that says so.
func readAt(f *os.File, b []byte, off uint64) error {
	if len(b) == 0 {
		return nil
	}
	n, err := f.ReadAt(b, int64(off))
	if n == len(b) {
		return nil
	}
	if err == io.EOF {
		return fmt.Errorf("offset %#x: the file became shorter while it was read", off+uint64(n))
	}
	return bare(err)
}

// Size is the number of plain bytes.
func (in *Input) Size() uint64 { return in.size }

// Range returns n plain bytes from off; the caller has made sure that they are there.
func (in *Input) Range(off, n uint64) ([]byte, error) {
	if in.file == nil {
		return in.mem[off : off+n : off+n], nil
	}
	if h := uint64(len(in.head)); off <= h && n <= h-off {
		return in.head[off : off+n : off+n], nil
	}
	b := in.alloc(n)
	return b, readAt(in.file, b, off)
}

// alloc takes n bytes from the arena; what was given out before stays valid.
func (in *Input) alloc(n uint64) []byte {
	p := in.pool
	used := uint64(len(p.arena))
	if used < headSize {
		used = headSize
	}
	if uint64(cap(p.arena))-min(used, uint64(cap(p.arena))) < n {
		p.arena = make([]byte, 0, max(64<<10, n+n/4))
		used = 0
	}
	p.arena = p.arena[:used+n]
	return p.arena[used : used+n : used+n]
}

// All returns all plain bytes.
func (in *Input) All() ([]byte, error) {
	if in.file == nil {
		return in.mem, nil
	}
	b := make([]byte, in.size)
	return b, readAt(in.file, b, 0)
}

// Close ends the use of the bytes; the buffers may serve another input.
func (in *Input) Close() error {
	in.pool.arena = in.pool.arena[:0]
	if cap(in.pool.plain) > keep {
		in.pool.plain = nil
	}
	if cap(in.pool.packed) > keep {
		in.pool.packed = nil
	}
	in.mem = nil
	if in.file != nil {
		return in.file.Close()
	}
	return nil
}

// keep is the largest buffer that is kept for the next file, in bytes.
const keep = 16 << 20
