package kimage

import (
	"bytes"
	"compress/bzip2"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"

	"kotool/internal/bin"
	"kotool/internal/source"
)

// maxWindow is the largest dictionary or window, in bytes. Kernels are packed with zstd --ultra -22, which takes 128 MiB.
const maxWindow = 128 << 20

// expand bounds how many times larger than its payload a kernel of more than trusted bytes may be. Real ones are 3 to 9 times as large.
const (
	expand  = 64
	trusted = 64 << 20
)

// magics are how compressed streams begin, by the packing's name.
var magics = [...]struct{ packing, magic string }{
	{"gzip", "\x1f\x8b\x08"},
	{"xz", "\xfd7zXZ\x00"},
	{"zstd", "\x28\xb5\x2f\xfd"},
	{"lz4", "\x02\x21\x4c\x18"},
	{"lzma", "\x5d\x00\x00"},
	{"bzip2", "BZh"},
	{"lzo", "\x89LZO\x00\r\n\x1a\n"},
}

// packingOf names the compression of what begins with b; empty: none that is known.
func packingOf(b []byte) string {
	for _, m := range magics {
		if bytes.HasPrefix(b, []byte(m.magic)) && plausible(m.packing, b) {
			return m.packing
		}
	}
	return ""
}

// plausible looks at more of a stream's header than the magic number.
func plausible(packing string, b []byte) bool {
	switch packing {
	case "gzip":
		return len(b) >= 10 && b[3]&0xe0 == 0
	case "xz":
		return len(b) >= 12 && b[6] == 0 && binary.LittleEndian.Uint32(b[8:]) == crc32.ChecksumIEEE(b[6:8])
	case "bzip2":
		return len(b) >= 10 && b[3] >= '1' && b[3] <= '9' && string(b[4:10]) == "\x31\x41\x59\x26\x53\x59"
	case "lzma":
		if len(b) < 14 || b[13] != 0 { // the range coder's first byte is 0
			return false
		}
		dict, size := binary.LittleEndian.Uint32(b[1:]), binary.LittleEndian.Uint64(b[5:])
		return dict >= 1<<16 && dict&(dict-1)&^(dict>>1) == 0 && (size == ^uint64(0) || size < 1<<32)
	}
	return true
}

// unwrap takes the layer off. packing is how its content was compressed.
func (w *wrapping) unwrap(limit uint64) (next []byte, packing string, err error) {
	prefix := ""
	if w.kind != "" {
		prefix = w.kind + ": "
	}
	if !w.search {
		if w.packing == "none" {
			return w.body.Bytes(), "none", nil
		}
		next, err := w.unpack(w.packing, w.body, limit)
		if err != nil {
			return nil, "", fmt.Errorf("%spayload: offset %#x: %w", prefix, w.body.Off(), err)
		}
		return next, w.packing, nil
	}
	found := w.candidates(w.body)
	var worst error
	far, total := -1, uint64(0)
	for _, p := range found {
		if total > max(trusted, expand*w.body.Len()) {
			break // so many false beginnings of so much: hostile
		}
		next, err := w.unpack(p.packing, w.body.Clip(uint64(p.off), w.body.Len()), limit)
		if err == nil {
			return next, p.packing, nil
		}
		came := 0
		if se, ok := errors.AsType[*source.StreamError](err); ok {
			came = se.Off
			total += uint64(se.Off)
		}
		if came > far {
			far = came
			worst = fmt.Errorf("%spayload: offset %#x: %w", prefix, w.body.Off()+uint64(p.off), err)
		}
	}
	if worst == nil {
		worst = fmt.Errorf("%sno compressed kernel in it: cut short, or not packed in a known way", prefix)
	}
	return nil, "", worst
}

// place is where a compressed stream may begin.
type place struct {
	off     int
	packing string
}

// candidates are the places in v where compressed streams may begin, a few of each kind.
func (*wrapping) candidates(v bin.View) []place {
	const few = 8
	var found []place
	b := v.Bytes()
	for _, m := range magics {
		for at, n := 0, 0; n < few; at++ {
			i := bytes.Index(b[at:], []byte(m.magic))
			if i < 0 {
				break
			}
			if at += i; plausible(m.packing, b[at:]) {
				found = append(found, place{at, m.packing})
				n++
			}
		}
	}
	slices.SortFunc(found, func(a, b place) int { return a.off - b.off })
	return found
}

// unpack decompresses what stands at the beginning of body.
func (w *wrapping) unpack(packing string, body bin.View, limit uint64) ([]byte, error) {
	b := body.Bytes()
	out := sink{max: min(limit, max(trusted, expand*body.Len())), limit: limit, packing: packing}
	// Four bytes of size follow all streams but gzip's, which has them itself.
	// Source: scripts/Makefile.lib: size_append.
	var size uint64
	if known := w.sized && (!w.search || w.last); known && len(b) > 4 {
		size = uint64(binary.LittleEndian.Uint32(b[len(b)-4:]))
		if packing != "gzip" {
			b = b[:len(b)-4]
		}
		if size > limit {
			return nil, &source.LimitError{Unpacked: true, Size: size, Limit: limit}
		}
		if size <= out.max {
			out.expect = min(size, expand*body.Len()+1<<20)
		}
	}
	err := out.fill(packing, b)
	if err != nil {
		if _, ok := errors.AsType[*source.LimitError](err); ok {
			return nil, err
		}
		return nil, &source.StreamError{Container: packing, Off: len(out.b), Err: err}
	}
	if size != 0 && uint64(len(out.b)) != size {
		return nil, &source.StreamError{Container: packing, Off: len(out.b), Err: fmt.Errorf("the size behind it says %#x", size)}
	}
	return out.b, nil
}

// sink collects the plain bytes.
type sink struct {
	b       []byte
	max     uint64
	limit   uint64
	expect  uint64 // bytes; 0: not known
	packing string
}

var errCut = errors.New("the stream is cut short")

// errMuch is what is said when more comes out than may.
func (s *sink) errMuch() error {
	if s.max < s.limit {
		return fmt.Errorf("more than %d times the payload's size comes out: no kernel", expand)
	}
	return &source.LimitError{Unpacked: true, Limit: s.limit}
}

// room makes place for n more bytes behind b.
func (s *sink) room(n int) error {
	have := uint64(len(s.b))
	if uint64(n) > s.max-min(s.max, have) {
		return s.errMuch()
	}
	if n <= cap(s.b)-len(s.b) {
		return nil
	}
	want := max(have+uint64(n), min(2*have, s.max), 1<<16)
	if s.expect >= have+uint64(n) {
		want = s.expect + 1 // the end is met behind it
	}
	grown := make([]byte, have, want)
	copy(grown, s.b)
	s.b = grown
	return nil
}

// fill decompresses one stream; what stands behind it is ignored.
func (s *sink) fill(packing string, b []byte) error {
	switch packing {
	case "gzip":
		r, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return plainer(err)
		}
		r.Multistream(false)
		return s.from(r)
	case "xz":
		r, err := xz.NewReader(bytes.NewReader(b), maxWindow)
		if err != nil {
			return plainer(err)
		}
		r.Multistream(false)
		return s.from(r)
	case "zstd":
		return s.zstd(b)
	case "bzip2":
		err := s.from(bzip2.NewReader(bytes.NewReader(b)))
		if se, ok := errors.AsType[bzip2.StructuralError](err); ok && se == "bad magic value in continuation file" {
			return nil
		}
		return err
	case "lz4":
		return s.lz4(b)
	case "lzo":
		return s.lzop(b)
	case "lzma":
		return s.lzma(b)
	}
	panic("unreachable: packing " + packing)
}

// from reads to the end of r.
func (s *sink) from(r io.Reader) error {
	for {
		if uint64(len(s.b)) == s.max {
			var one [1]byte
			n, err := r.Read(one[:])
			if n > 0 {
				return s.errMuch()
			}
			if err != nil {
				return plainer(err)
			}
			continue
		}
		if len(s.b) == cap(s.b) {
			if err := s.room(1); err != nil {
				return err
			}
		}
		end := min(uint64(cap(s.b)), s.max)
		n, err := r.Read(s.b[len(s.b):end])
		s.b = s.b[:len(s.b)+n]
		if err != nil {
			return plainer(err)
		}
	}
}

// plainer says in our words what the decoders say in theirs; io.EOF is no error.
func plainer(err error) error {
	switch {
	case err == io.EOF:
		return nil
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, xz.ErrBuf):
		return errCut
	case errors.Is(err, xz.ErrMemlimit), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return fmt.Errorf("needs a dictionary or window of more than %d MiB", maxWindow>>20)
	}
	return err
}

// zstd decompresses one frame. The whole is decoded into the buffer at once, which then is the window too.
func (s *sink) zstd(b []byte) error {
	n, most, err := frame(b)
	if err != nil {
		return err
	}
	var h zstd.Header
	if err := h.Decode(b); err != nil {
		return plainer(err)
	}
	if h.HasFCS && h.FrameContentSize > most {
		return errors.New("the frame says that it is larger than its blocks can be")
	}
	switch {
	case h.HasFCS && h.FrameContentSize > s.max:
		return s.errMuch()
	case h.HasFCS:
		s.expect = h.FrameContentSize
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(max(s.max, 1)))
	if err != nil {
		return err
	}
	defer d.Close()
	// One block more than there is: the decoder makes room for one before it knows that it is at the end.
	const block = 128 << 10
	s.b, err = d.DecodeAll(b[:n], make([]byte, 0, min(s.expect, most)+block))
	if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return s.errMuch()
	}
	return plainer(err)
}

// frame measures a zstd frame: its bytes, and the most that its blocks can unpack to.
//
// Source: RFC 8878, section 3.1.1.
func frame(b []byte) (n int, most uint64, err error) {
	const block = 128 << 10
	v := bin.New(b, 0, false)
	if len(b) < 5 {
		return 0, 0, errCut
	}
	desc := b[4]
	n = 5 + [...]int{0, 1, 2, 4}[desc&3] + [...]int{0, 2, 4, 8}[desc>>6]
	if desc&0x20 == 0 {
		n++ // window
	} else if desc>>6 == 0 {
		n++ // content size of one byte
	}
	for {
		h, err := v.Slice(uint64(n), 3)
		if err != nil {
			return 0, 0, errCut
		}
		head := int(h.U8(0)) | int(h.U8(1))<<8 | int(h.U8(2))<<16
		size := head >> 3
		n += 3
		switch head >> 1 & 3 {
		case 0:
			most += uint64(size)
			n += size
		case 1:
			most += uint64(size)
			n++
		case 2:
			most += block
			n += size
		default:
			return 0, 0, fmt.Errorf("offset %#x: reserved block type", n-3)
		}
		if n > len(b) {
			return 0, 0, errCut
		}
		if head&1 != 0 {
			break
		}
	}
	if desc&4 != 0 {
		n += 4
	}
	if n > len(b) {
		return 0, 0, errCut
	}
	return n, most, nil
}
