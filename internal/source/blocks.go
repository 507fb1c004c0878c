package source

import (
	"bufio"
	"io"
	"sync"
)

// maxBlock is the largest block of an xz file that is decoded in one piece, in bytes, packed or plain. xz -6 with threads makes 24 MiB.
const maxBlock = 64 << 20

// MaxAhead is how many blocks are decoded at once at the most: each takes memory.
const MaxAhead = 4

// NewReaderAt is NewReader for a file of that size that can be read anywhere. An xz file of several blocks, as xz writes with threads and
// dpkg-deb therefore too, is decoded block by block, up to jobs of them, or MaxAhead, ahead of what is read; each takes its packed and plain bytes of memory.
// Close ends that.
func NewReaderAt(container string, r io.ReaderAt, size int64, jobs int) (io.ReadCloser, error) {
	if container == "xz" {
		if x := newBlockReader(r, size, jobs); x != nil {
			return x, nil
		}
	}
	s, err := stream(container, r, size)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(s), nil
}

func stream(container string, r io.ReaderAt, size int64) (io.Reader, error) {
	return NewReader(container, bufio.NewReaderSize(io.NewSectionReader(r, 0, size), chunk))
}

// blockReader reads the blocks of an xz file in order. What goes wrong with a block is left to the library: it reads the file anew from the
// beginning, and has the words.
type blockReader struct {
	r       io.ReaderAt
	size    int64
	check   byte
	list    []xzBlock
	started int           // blocks that are being decoded, or were
	done    []chan []byte // of each of those: its plain bytes, nil where it cannot be decoded
	ahead   int           // blocks that are decoded at once

	cur   []byte // of the block that is being read: what is left
	whole []byte // all of it: memory for another block
	next  int    // the block after it
	n     int64  // plain bytes that were given out

	free chan []byte // memory of blocks that were read
	pool sync.Pool   // *blockDecoder
	wg   sync.WaitGroup

	rest io.Reader // the library, once a block could not be decoded
}

type blockDecoder struct {
	lzma   lzma2
	packed []byte
}

// newBlockReader is nil for what is not an xz file of several blocks, all of a reasonable size.
func newBlockReader(r io.ReaderAt, size int64, jobs int) *blockReader {
	list, check, ok := xzIndex(uint64(size), func(off, n uint64) []byte {
		b := make([]byte, n)
		if m, err := r.ReadAt(b, int64(off)); m != len(b) && err != nil {
			return nil
		}
		return b
	})
	if !ok || len(list) < 2 {
		return nil
	}
	for i := range list {
		if list[i].plain == 0 || list[i].plain > maxBlock || list[i].unpadded > maxBlock || list[i].plain > 64*list[i].unpadded+1<<20 {
			return nil
		}
	}
	x := &blockReader{r: r, size: size, check: check, list: list, done: make([]chan []byte, len(list)), ahead: min(max(1, jobs), MaxAhead)}
	x.free = make(chan []byte, x.ahead+1)
	x.pool.New = func() any { return &blockDecoder{} }
	return x
}

// start decodes block i.
func (x *blockReader) start(i int) {
	done := make(chan []byte, 1)
	x.done[i] = done
	var out []byte
	select {
	case out = <-x.free:
	default:
	}
	x.wg.Go(func() {
		d := x.pool.Get().(*blockDecoder)
		defer x.pool.Put(d)
		b := &x.list[i]
		in := grow(&d.packed, b.padded())
		if n, err := x.r.ReadAt(in, int64(b.off)); n != len(in) && err != nil {
			done <- nil
			return
		}
		out := grow(&out, b.plain)
		if d.lzma.oneBlock(out, in, x.check) != b.unpadded {
			out = nil
		}
		done <- out
	})
}

func (x *blockReader) Read(b []byte) (int, error) {
	for len(x.cur) == 0 && x.rest == nil {
		if x.whole != nil {
			x.free <- x.whole
			x.whole = nil
		}
		if x.next == len(x.list) {
			return 0, io.EOF
		}
		for ; x.started < min(x.next+x.ahead, len(x.list)); x.started++ {
			x.start(x.started)
		}
		x.cur = <-x.done[x.next]
		if x.whole = x.cur; x.whole == nil {
			if err := x.fallBack(); err != nil {
				return 0, err
			}
		}
		x.next++
	}
	if x.rest != nil {
		return x.rest.Read(b)
	}
	n := copy(b, x.cur)
	x.cur, x.n = x.cur[n:], x.n+int64(n)
	return n, nil
}

// fallBack lets the library go on from here.
func (x *blockReader) fallBack() error {
	x.wg.Wait()
	rest, err := stream("xz", x.r, x.size)
	if err != nil {
		return err
	}
	x.rest = rest
	_, err = io.CopyN(io.Discard, rest, x.n)
	return err
}

// Close waits for what is under way.
func (x *blockReader) Close() error {
	x.wg.Wait()
	x.done, x.cur, x.whole = nil, nil, nil
	return nil
}
