// Package bin reads untrusted bytes: a View is a window on a file that knows its
// file offset, so that every range error can say where it happened.
//
// Check once per record (Slice, All), then read fields at constant offsets.
package bin

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
)

// RangeError says that bytes were wanted which the file does not have.
// All three are in bytes; Off counts from the start of the (plain) file.
type RangeError struct{ Off, Want, Have uint64 }

func (e *RangeError) Error() string {
	return fmt.Sprintf("offset %#x: need %d bytes, have %d", e.Off, e.Want, e.Have)
}

// StringError says that a string has no terminating NUL before its table ends.
type StringError struct{ Off uint64 }

func (e *StringError) Error() string {
	return fmt.Sprintf("offset %#x: string without a terminating NUL", e.Off)
}

// View is a window on untrusted bytes that remembers where it came from.
// The zero View is empty. Views never copy; they are valid as long as the bytes are.
type View struct {
	b    []byte
	base uint64 // file offset of b[0]
	big  bool
}

// New makes a view of b, whose first byte stands at file offset base.
func New(b []byte, base uint64, bigEndian bool) View {
	return View{b: b, base: base, big: bigEndian}
}

// Len is the number of bytes in the window.
func (v View) Len() uint64 { return uint64(len(v.b)) }

// Off is the file offset of the first byte.
func (v View) Off() uint64 { return v.base }

// Big reports whether multi-byte values are big-endian.
func (v View) Big() bool { return v.big }

// Bytes returns the bytes themselves, not a copy.
func (v View) Bytes() []byte { return v.b }

// Slice returns n bytes from off, or a *RangeError. It cannot overflow and never copies.
func (v View) Slice(off, n uint64) (View, error) {
	have := uint64(len(v.b))
	if off > have || n > have-off {
		rest := uint64(0)
		if off < have {
			rest = have - off
		}
		return View{}, &RangeError{Off: v.base + off, Want: n, Have: rest}
	}
	return View{b: v.b[off : off+n : off+n], base: v.base + off, big: v.big}, nil
}

// Clip returns at most n bytes from off: what there is, possibly nothing.
func (v View) Clip(off, n uint64) View {
	have := uint64(len(v.b))
	if off > have {
		off = have
	}
	n = min(n, have-off)
	return View{b: v.b[off : off+n : off+n], base: v.base + off, big: v.big}
}

// All yields the whole records of size bytes; a rest shorter than that is left out.
func (v View) All(size uint64) iter.Seq[View] {
	return func(yield func(View) bool) {
		if size == 0 {
			return
		}
		b, base := v.b, v.base
		for uint64(len(b)) >= size {
			if !yield(View{b: b[:size:size], base: base, big: v.big}) {
				return
			}
			b, base = b[size:], base+size
		}
	}
}

// U8 reads the byte at off, which must be inside the window.
func (v View) U8(off int) uint8 { return v.b[off] }

// U16 reads two bytes at off, which must be inside the window.
func (v View) U16(off int) uint16 {
	if v.big {
		return binary.BigEndian.Uint16(v.b[off:])
	}
	return binary.LittleEndian.Uint16(v.b[off:])
}

// U32 reads four bytes at off, which must be inside the window.
func (v View) U32(off int) uint32 {
	if v.big {
		return binary.BigEndian.Uint32(v.b[off:])
	}
	return binary.LittleEndian.Uint32(v.b[off:])
}

// U64 reads eight bytes at off, which must be inside the window.
func (v View) U64(off int) uint64 {
	if v.big {
		return binary.BigEndian.Uint64(v.b[off:])
	}
	return binary.LittleEndian.Uint64(v.b[off:])
}

// Word reads an unsigned long of the given size, 4 or 8 bytes.
func (v View) Word(off, size int) uint64 {
	if size == 4 {
		return uint64(v.U32(off))
	}
	return v.U64(off)
}

// CString returns the bytes from off up to a NUL (left out). Where no NUL follows it
// returns the rest of the window and a *StringError; off past the end is a *RangeError.
func (v View) CString(off uint64) ([]byte, error) {
	if off >= uint64(len(v.b)) {
		return nil, &RangeError{Off: v.base + off, Want: 1, Have: 0}
	}
	rest := v.b[off:]
	if i := bytes.IndexByte(rest, 0); i >= 0 {
		return rest[:i:i], nil
	}
	return rest, &StringError{Off: v.base + off}
}
