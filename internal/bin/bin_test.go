package bin

import (
	"errors"
	"math"
	"testing"
)

func TestSliceCannotOverflow(t *testing.T) {
	v := New(make([]byte, 16), 0x100, false)
	for _, c := range []struct {
		off, n uint64
		ok     bool
		err    RangeError
	}{
		{0, 16, true, RangeError{}},
		{16, 0, true, RangeError{}},
		{8, 8, true, RangeError{}},
		{8, 9, false, RangeError{0x108, 9, 8}},
		{17, 0, false, RangeError{0x111, 0, 0}},
		{1, math.MaxUint64, false, RangeError{0x101, math.MaxUint64, 15}},
		{math.MaxUint64, 2, false, RangeError{0xff, 2, 0}},
	} {
		got, err := v.Slice(c.off, c.n)
		if (err == nil) != c.ok || c.ok && (got.Len() != c.n || got.Off() != 0x100+c.off) {
			t.Errorf("Slice(%d, %d): got %v, %v", c.off, c.n, got, err)
		}
		if e, is := errors.AsType[*RangeError](err); !c.ok && (!is || *e != c.err) {
			t.Errorf("Slice(%d, %d): got %v want %v", c.off, c.n, err, &c.err)
		}
	}
}

func TestValuesHaveTheByteOrderOfTheView(t *testing.T) {
	b := []byte{1, 2, 3, 4, 5, 6, 7, 8}
	le, be := New(b, 0, false), New(b, 0, true)
	if le.U16(0) != 0x0201 || be.U16(0) != 0x0102 || le.U32(4) != 0x08070605 || be.U64(0) != 0x0102030405060708 || le.Word(0, 4) != 0x04030201 || be.Word(0, 8) != be.U64(0) {
		t.Error("wrong byte order")
	}
}

func TestCStringSaysWhereTheNULIsMissing(t *testing.T) {
	v := New([]byte("ab\x00cd"), 0x10, false)
	if s, err := v.CString(0); string(s) != "ab" || err != nil {
		t.Errorf("got %q, %v", s, err)
	}
	s, err := v.CString(3)
	if e, ok := errors.AsType[*StringError](err); string(s) != "cd" || !ok || e.Off != 0x13 {
		t.Errorf("got %q, %v", s, err)
	}
	if _, err := v.CString(5); err == nil {
		t.Error("no error past the end")
	}
}

func TestAllYieldsWholeRecords(t *testing.T) {
	n, last := 0, uint64(0)
	for r := range New(make([]byte, 25), 100, false).All(8) {
		n, last = n+1, r.Off()
	}
	if n != 3 || last != 116 {
		t.Errorf("got %d records, the last at %d", n, last)
	}
	for range New(make([]byte, 8), 0, false).All(0) {
		t.Fatal("a record of no size")
	}
}
