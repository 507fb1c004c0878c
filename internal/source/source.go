// Package source turns a path or standard input into the plain bytes of a file: it reads, recognises
// compression by content, and keeps to limits.
//
// Plain files are read with pread into reused buffers, never mapped: a file that is cut short while it is
// mapped would kill the process.
//
// What is neither ELF nor compressed is no module. Unless the caller says Options.Any, no more than its head
// is read, be it a long text, a device without end or the inside of a compressed file.
package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math"
	"os"
)

// DefaultMaxSize is the largest plain size, in bytes, that is read unless told otherwise.
const DefaultMaxSize = 1 << 30

// headSize is how much of a file is read to see what it is, in bytes. It holds the ELF header, and for small
// modules much of what info wants.
const headSize = 4096

// enough is how many plain bytes of a damaged stream are worth showing: an ELF header.
const enough = 64

// inMemory is the largest compressed file that is read whole before it is unpacked, in bytes.
const inMemory = 16 << 20

// Options say how to open.
type Options struct {
	MaxSize uint64 // of the plain bytes; 0: DefaultMaxSize
	// Partial says that only small ranges will be read. Of a plain regular file those are read alone, not the whole file.
	Partial bool
	// Whole is up to which size, in bytes, a file is read whole in spite of Partial: where most of it is wanted, one read is cheaper than many.
	Whole uint64
	Stdin io.Reader // what "-" is
	Pool  *Buffers  // buffers to use again; nil: fresh ones
	// Any takes whole what is not ELF as well: lists, logs, kernel images. Without it only the head is read.
	Any bool
}

// Input is an open file as plain bytes. It implements elf.Source. One goroutine at a time may use it.
type Input struct {
	Path        string
	Compression string // "none", "gzip", "xz", "zstd"
	// PackedSize is the size of the file as it is, in bytes; of a stream, what was read of it.
	PackedSize uint64
	// Damage says that the compressed stream is broken: the plain bytes end where it broke, or something follows
	// them that is not part of it. At least an ELF header's worth is there.
	Damage error

	file file   // set when ranges are read on demand
	head []byte // the file's first bytes, with file
	near []byte // the last piece that was read, with file
	from uint64 // its offset
	mem  []byte // all bytes, without file
	size uint64
	cut  bool // mem is only the head of something that is not ELF
	pool *Buffers
}

// file is a regular file.
type file interface {
	io.ReaderAt
	io.Closer
}

// ErrDirectory says that a file was wanted.
var ErrDirectory = errors.New("is a directory")

// LimitError says that something is larger than Options.MaxSize allows.
type LimitError struct {
	Unpacked bool   // the plain bytes of a compressed file are too many, not those of the file itself
	Size     uint64 // in bytes; 0: not known, only that it is more than Limit
	Limit    uint64 // in bytes
}

func (e *LimitError) Error() string {
	what, size := "size", ""
	if e.Unpacked {
		what = "decompressed size"
	}
	if e.Size != 0 {
		size = fmt.Sprintf(" of %d bytes", e.Size)
	}
	return fmt.Sprintf("%s%s exceeds the limit of %d bytes (--max-size)", what, size, e.Limit)
}

// Open opens path, "-" for standard input. The error does not name the path.
//
// A regular file is read by its size. Everything else, and the files of /proc that claim to be empty, is read to
// its end; see patient for those that keep silent.
func Open(path string, o Options) (*Input, error) {
	if o.MaxSize == 0 {
		o.MaxSize = DefaultMaxSize
	}
	o.MaxSize = min(o.MaxSize, mostBytes)
	if o.Pool == nil {
		o.Pool = &Buffers{}
	}
	in := &Input{Path: path, pool: o.Pool}
	if path == "-" {
		if o.Stdin == nil {
			return nil, errors.New("there is no standard input")
		}
		return in.opened(in.stream(o.Stdin, o))
	}
	f, size, other, err := openFile(path)
	switch {
	case err != nil:
		return nil, bare(err)
	case f != nil && size > 0:
		err = in.regular(f, uint64(size), o)
		if err != nil || in.file == nil {
			f.Close()
		}
	case f != nil: // empty, or one of /proc's
		f.Close()
		var again *os.File
		if again, err = os.Open(path); err == nil {
			err = in.stream(again, o)
			again.Close()
		}
	default:
		var st os.FileInfo
		if st, err = other.Stat(); err == nil {
			if err = ErrDirectory; !st.IsDir() {
				err = in.stream(newPatient(other, st.Mode()), o)
			}
		}
		other.Close()
	}
	return in.opened(err)
}

// opened is the end of Open.
func (in *Input) opened(err error) (*Input, error) {
	if err == nil {
		return in, nil
	}
	in.file = nil // closed already
	in.Close()
	return nil, bare(err)
}

// mostBytes is what MaxSize may be at most: make must not panic.
const mostBytes = min(math.MaxInt/2+1, 1<<40)

// bare takes the path from the os package's errors: callers name it themselves.
func bare(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok && err == error(pe) {
		return pe.Err
	}
	return err
}

// OpenBytes is Open for a file that is in memory, as it is stored. path is what it is called.
func OpenBytes(path string, b []byte, o Options) (*Input, error) {
	o.Stdin = bytes.NewReader(b)
	in, err := Open("-", o)
	if in != nil {
		in.Path = path
	}
	return in, err
}

// regular reads a regular file of that size.
func (in *Input) regular(f file, size uint64, o Options) error {
	p := in.pool
	in.PackedSize = size
	if o.Partial && size <= o.Whole && size <= o.MaxSize {
		if uint64(cap(p.plain)) < size {
			n := size
			if cap(p.plain) > 0 {
				n = o.Whole // there are more files: to grow again and again costs more than memory that is not touched
			}
			p.plain = make([]byte, n)
		}
		b := p.plain[:size]
		if err := readAt(f, b, 0); err != nil {
			return err
		}
		switch in.Compression = compression(b); {
		case in.Compression != "none":
			p.plain, p.packed = p.packed[:0], b // plain is what it is unpacked to
			return in.unpack(memSource(b), b[:min(size, headSize)], o, nil)
		case isELF(b) || o.Any:
			in.mem, in.size = b, size
			return nil
		}
	}
	head := p.alloc(min(size, headSize))
	if err := readAt(f, head, 0); err != nil {
		return err
	}
	in.Compression = compression(head)
	switch limit := in.fileLimit(o); {
	case size > limit:
		return &LimitError{Size: size, Limit: limit}
	case in.Compression != "none" && size > inMemory:
		return in.unpack(&fileSource{f: f, n: size, pool: p}, head, o, nil)
	case in.Compression != "none":
		b, err := rest(f, grow(&p.packed, size), head)
		if err != nil {
			return err
		}
		return in.unpack(memSource(b), head, o, nil)
	}
	in.size = size
	if o.Partial || !o.Any && !isELF(head) {
		in.file, in.head = f, head
		return nil
	}
	var err error
	in.mem, err = rest(f, grow(&p.plain, size), head)
	return err
}

// rest fills b with the file f, of which the head has been read.
func rest(f file, b, head []byte) ([]byte, error) {
	n := copy(b, head)
	return b, readAt(f, b[n:], uint64(n))
}

// readAt fills b from off; a file that is shorter than it was is an error that says so.
func readAt(f file, b []byte, off uint64) error {
	if len(b) == 0 {
		return nil
	}
	n, err := f.ReadAt(b, int64(off))
	if n == len(b) {
		return nil
	}
	if err == io.EOF {
		return fmt.Errorf("offset %#x: the file became shorter while it was read: %w", off+uint64(n), io.ErrUnexpectedEOF)
	}
	return bare(err)
}

// stream reads what has no size: a pipe, a device, standard input.
func (in *Input) stream(r io.Reader, o Options) error {
	t := &tape{src: r, buf: in.pool.packed[:0], limit: headSize, pool: in.pool}
	defer func() {
		in.PackedSize = uint64(len(t.buf))
		in.pool.packed = t.buf
	}()
	for t.err == nil && len(t.buf) < headSize {
		t.fill(headSize - len(t.buf))
	}
	if t.err != nil && t.err != io.EOF {
		return t.err
	}
	in.Compression = compression(t.buf)
	t.limit = in.fileLimit(o)
	if in.Compression != "none" {
		return in.unpack(t, t.buf, o, nil)
	}
	if !isELF(t.buf) && !o.Any {
		in.cut = t.err == nil
	} else {
		for t.err == nil {
			t.fill(math.MaxInt)
		}
		if t.err != io.EOF {
			return t.err
		}
		if uint64(len(t.buf)) > o.MaxSize { // reading the head did not look at that
			return &LimitError{Limit: o.MaxSize}
		}
	}
	in.mem, in.size = t.buf, uint64(len(t.buf))
	return nil
}

// fileLimit is how large the file itself may be, in bytes: compression may make it a little larger.
func (in *Input) fileLimit(o Options) uint64 {
	if in.Compression == "none" {
		return o.MaxSize
	}
	return o.MaxSize + o.MaxSize/8 + chunk
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

// Size is the number of plain bytes.
func (in *Input) Size() uint64 { return in.size }

// Range returns n plain bytes from off, which stay valid until Close. The caller has made sure that they lie inside
// Size. The error is that of reading, io.ErrUnexpectedEOF where the file became shorter.
func (in *Input) Range(off, n uint64) ([]byte, error) {
	if in.file == nil {
		return in.mem[off : off+n : off+n], nil
	}
	if b := within(in.head, 0, off, n); b != nil {
		return b, nil
	}
	if b := within(in.near, in.from, off, n); b != nil {
		return b, nil
	}
	if n > around {
		b := in.pool.alloc(n)
		return b, readAt(in.file, b, off)
	}
	// What belongs together lies together: section headers, their names before them and a signature behind them.
	from := off - min(off, around)
	in.near = in.pool.alloc(min(in.size, off+n+around) - from)
	in.from = from
	if err := readAt(in.file, in.near, from); err != nil {
		in.near = nil
		return nil, err
	}
	return within(in.near, from, off, n), nil
}

// around is how much is read before and behind a small range, in bytes.
const around = 1024

// within returns n bytes at offset off out of b, which begins at offset from; nil where they are not all in it.
func within(b []byte, from, off, n uint64) []byte {
	if off < from || off-from > uint64(len(b)) || n > uint64(len(b))-(off-from) {
		return nil
	}
	return b[off-from : off-from+n : off-from+n]
}

// ReadAll returns all plain bytes, valid until Close. It is an error where no more than the head has been read of a
// stream that is not ELF: Options.Any reads on.
func (in *Input) ReadAll() ([]byte, error) {
	switch {
	case in.cut:
		return nil, errors.New("neither ELF nor compressed ELF: only the head was read")
	case in.file == nil:
		return in.mem, nil
	}
	b, err := rest(in.file, grow(&in.pool.plain, in.size), in.head)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Pieces yields all plain bytes in order. A piece is valid until the next one comes.
func (in *Input) Pieces() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if in.cut || in.file == nil {
			yield(in.ReadAll())
			return
		}
		buf := make([]byte, min(in.size, chunk))
		for off := uint64(0); off < in.size; off += uint64(len(buf)) {
			buf = buf[:min(in.size-off, chunk)]
			err := readAt(in.file, buf, off)
			if !yield(buf, err) || err != nil {
				return
			}
		}
	}
}

// Keep hands the plain bytes of a compressed file over, which live on after Close; nil where the file is not compressed, damaged or no ELF.
func (in *Input) Keep() []byte {
	if in.Compression == "none" || in.Damage != nil || in.cut || in.pool == nil || in.mem == nil {
		return nil
	}
	if n := len(in.mem); cap(in.mem) > n+n/4+chunk {
		in.mem = bytes.Clone(in.mem)
	} else {
		in.pool.plain = nil
	}
	return in.mem
}

// Kept is a file that was open before, by the plain bytes that Keep gave.
func Kept(path, compression string, packed uint64, plain []byte) *Input {
	return &Input{Path: path, Compression: compression, PackedSize: packed, mem: plain, size: uint64(len(plain)), pool: &Buffers{}}
}

// Close ends the use of the bytes; the buffers may serve another input. To close again does nothing.
func (in *Input) Close() error {
	if in.pool == nil {
		return nil
	}
	in.pool.release()
	in.pool, in.mem, in.head, in.size = nil, nil, nil, 0
	if in.file != nil {
		f := in.file
		in.file = nil
		return f.Close()
	}
	return nil
}
