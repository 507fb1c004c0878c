package btf

import (
	"encoding/binary"
	"testing"

	"kotool/internal/kver"
)

// build makes BTF of types that are given as words.
func build(big bool, words ...uint32) []byte {
	o := order(big)
	b := make([]byte, headerSize)
	o.PutUint16(b, 0xeb9f)
	b[2] = 1
	o.PutUint32(b[4:], headerSize)
	o.PutUint32(b[12:], uint32(4*len(words)))
	for _, w := range words {
		b = o.(binary.AppendByteOrder).AppendUint32(b, w)
	}
	return b
}

func TestTypesAreCountedAndFollowed(t *testing.T) {
	for _, c := range []struct {
		name         string
		words        []uint32
		own, highest uint32
		ok           bool
	}{
		{"nothing", nil, 0, 0, true},
		{"an int and a pointer to it", []uint32{1, kindInt << 24, 4, 32, 0, kindPtr << 24, 1}, 2, 1, true},
		{"a struct of two members", []uint32{1, kindStruct<<24 | 2, 8, 1, 7, 0, 2, 9, 32}, 1, 9, true},
		{"an array's element and index", []uint32{0, kindArray << 24, 0, 5, 6, 10}, 1, 6, true},
		{"a function's return and parameters", []uint32{0, kindFuncProto<<24 | 1, 3, 1, 4}, 1, 4, true},
		{"a data section's variables", []uint32{0, kindDatasec<<24 | 1, 3, 8, 0, 4}, 1, 8, true},
		{"an enumeration refers to nothing", []uint32{0, kindEnum<<24 | 1, 4, 1, 99}, 1, 0, true},
		{"a kind that does not exist", []uint32{0, 31 << 24, 0}, 0, 0, false},
		{"members past the end", []uint32{0, kindStruct<<24 | 3, 8, 1, 7, 0}, 0, 0, false},
	} {
		for _, big := range []bool{false, true} {
			own, highest, ok := Refs(build(big, c.words...), big)
			if own != c.own || highest != c.highest || ok != c.ok {
				t.Errorf("%s (big %v): got %d %d %v, want %d %d %v", c.name, big, own, highest, ok, c.own, c.highest, c.ok)
			}
		}
	}
	if b := ReadBase(build(false, 1, kindInt<<24, 4, 32), false); b == nil || b.Types != 2 {
		t.Errorf("void and one type: got %+v", b)
	}
}

func TestHeaderErrorsAreTheKernelsWords(t *testing.T) {
	good := build(false)
	edit := func(off int, v byte) []byte {
		b := append([]byte(nil), good...)
		b[off] = v
		return b
	}
	long := func(n int, at int, v byte) []byte {
		b := append(append([]byte(nil), good...), make([]byte, n-len(good))...)
		b[4], b[at] = byte(n), v
		return b
	}
	old, with := kver.V(7, 0), kver.V(7, 1)
	for _, c := range []struct {
		name  string
		b     []byte
		v     kver.Version
		errno int
		want  string
	}{
		{"in order", good, old, 0, ""},
		{"no length", good[:7], old, einval, "hdr_len not found"},
		{"cut", good[:20], old, einval, "btf_header not found"},
		{"magic", edit(0, 0), old, einval, "Invalid magic"},
		{"version", edit(2, 2), old, enotsupp, "Unsupported version"},
		{"flags", edit(3, 1), old, enotsupp, "Unsupported flags"},
		{"a short header: what it lacks is zero", edit(4, 20), old, einval, "Unsupported section found"},
		{"a header without a version", edit(4, 2), old, enotsupp, "Unsupported version"},
		{"no header at all", edit(4, 0), old, einval, "Invalid magic"},
		{"a longer one of zeros", long(28, 4, 28), old, 0, ""},
		{"a longer one that says something", long(28, 24, 1), old, e2big, "Unsupported btf_header"},
		{"the same where layouts are known", long(28, 24, 1), with, 0, ""},
		{"longer than with layouts", long(36, 32, 1), with, e2big, "Unsupported btf_header"},
	} {
		_, r := ReadHeader(c.b, true, c.v, false)
		if r == nil && c.want != "" || r != nil && (r.Reason != c.want || r.Errno != c.errno) {
			t.Errorf("%s: got %+v, want %q, %d", c.name, r, c.want, c.errno)
		}
	}
	if _, r := ReadHeader(good[:headerSize], false, old, false); r == nil || r.Reason != "No data" {
		t.Errorf("nothing, without a base: got %+v", r)
	}
}

// FuzzRefs: whatever the bytes, no panic, and no more types than their bytes can hold.
func FuzzRefs(f *testing.F) {
	f.Add(build(false, 1, kindInt<<24, 4, 32, 0, kindPtr<<24, 1), false)
	f.Fuzz(func(t *testing.T, b []byte, big bool) {
		if own, _, _ := Refs(b, big); int(own) > len(b)/12 {
			t.Errorf("%d types in %d bytes", own, len(b))
		}
	})
}

func TestSectionsHaveTheKernelsWords(t *testing.T) {
	for _, c := range []struct {
		typeOff, typeLen, strOff, strLen uint32
		size                             uint64
		want                             string
	}{
		{0, 16, 16, 5, 45, ""},
		{0, 16, 16, 5, 46, "Unsupported section found"},
		{4, 16, 16, 5, 45, "Unsupported section found"},
		{0, 16, 20, 5, 49, "Unsupported section found"},
		{0, 16, 12, 5, 45, "Section overlap found"},
		{0, 16, 16, 6, 45, "Total section length too long"},
		{0, 16, 99, 5, 45, "Invalid section offset"},
		{5, 16, 0, 5, 45, "String section is not at the end"},
	} {
		b := binary.LittleEndian.AppendUint32([]byte{0x9f, 0xeb, 1, 0}, 24)
		for _, v := range []uint32{c.typeOff, c.typeLen, c.strOff, c.strLen} {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
		_, r := ReadHeader(append(b, make([]byte, c.size-headerSize)...), true, kver.Version{}, false)
		if r == nil && c.want != "" || r != nil && r.Reason != c.want {
			t.Errorf("%+v: got %+v", c, r)
		}
	}
}

func TestLayoutsAreAPartSince71(t *testing.T) {
	b := make([]byte, 32, 64)
	for at, v := range map[int]uint32{0: 0x0001eb9f, 4: 32, 12: 12, 16: 16, 20: 4, 24: 12, 28: 4} {
		binary.LittleEndian.PutUint32(b[at:], v)
	}
	b = append(b, make([]byte, 20)...)
	for _, c := range []struct {
		v    kver.Version
		want string
	}{{kver.V(7, 0), "Unsupported btf_header"}, {kver.V(7, 1), ""}, {kver.Version{}, ""}} {
		_, r := ReadHeader(b, true, c.v, false)
		if r == nil && c.want != "" || r != nil && r.Reason != c.want {
			t.Errorf("%v: got %+v", c.v, r)
		}
	}
}
