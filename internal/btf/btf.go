// Package btf looks at BTF as far as the module loader's checks go: the header, how many types there are, and which of a base they
// refer to.
//
// Source: Documentation/bpf/btf.rst.
package btf

import "encoding/binary"

func order(big bool) binary.ByteOrder {
	if big {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// headerSize is sizeof(struct btf_header) without what later versions may add, bytes.
const headerSize = 24

// Header is the kernel's check of the header: its word for what is wrong, "" for nothing.
//
// Source: kernel/bpf/btf.c: btf_parse_hdr.
func Header(b []byte, big bool) string {
	o := order(big)
	if len(b) < 8 {
		return "hdr_len not found"
	}
	n := o.Uint32(b[4:])
	switch {
	case uint64(len(b)) < uint64(n):
		return "btf_header not found"
	case o.Uint16(b) != 0xeb9f:
		return "Invalid magic"
	case b[2] != 1:
		return "Unsupported version"
	case b[3] != 0:
		return "Unsupported flags"
	case n < headerSize || len(b) < headerSize:
		return "btf_header not found"
	}
	return ""
}

// Sections is the kernel's check of where types and strings lie behind a header that is in order, in size bytes: its word for what is wrong, "" for
// nothing. b has the header at least. Longer headers, which name further parts, are not judged.
//
// Source: kernel/bpf/btf.c: btf_check_sec_info, btf_parse_str_sec.
func Sections(b []byte, size uint64, big bool) string {
	o := order(big)
	if len(b) < headerSize || o.Uint32(b[4:]) != headerSize {
		return ""
	}
	type part struct{ off, len uint32 }
	types, strs := part{o.Uint32(b[8:]), o.Uint32(b[12:])}, part{o.Uint32(b[16:]), o.Uint32(b[20:])}
	parts := [2]part{types, strs}
	if d := int32(strs.off - types.off); d < 0 || d == 0 && int32(strs.len-types.len) < 0 {
		parts = [2]part{strs, types}
	}
	total, want := uint32(0), uint32(size)-headerSize
	for _, p := range parts {
		switch {
		case want < p.off:
			return "Invalid section offset"
		case total < p.off:
			return "Unsupported section found"
		case total > p.off:
			return "Section overlap found"
		case want-total < p.len:
			return "Total section length too long"
		}
		total += p.len
	}
	if want != total {
		return "Unsupported section found"
	}
	if uint64(headerSize)+uint64(strs.off)+uint64(strs.len) != size {
		return "String section is not at the end"
	}
	return ""
}

// Count is the number of a kernel's types, void included; 0 where b is no BTF that can be read.
func Count(b []byte, big bool) uint32 {
	own, _, ok := Refs(b, big)
	if !ok {
		return 0
	}
	return own + 1
}

// Kinds of types. Source: include/uapi/linux/btf.h.
const (
	kindInt = 1 + iota
	kindPtr
	kindArray
	kindStruct
	kindUnion
	kindEnum
	kindFwd
	kindTypedef
	kindVolatile
	kindConst
	kindRestrict
	kindFunc
	kindFuncProto
	kindVar
	kindDatasec
	kindFloat
	kindDeclTag
	kindTypeTag
	kindEnum64
)

// shape is what follows the twelve bytes of a type: fixed bytes, and a record a member. ref and those at refs are ids of types.
type shape struct {
	ref    bool // size_or_type is an id
	fixed  int
	member int
	refs   []int // offsets of ids in a member, or in the fixed part where there are no members
}

var shapes = [...]shape{
	kindInt: {fixed: 4}, kindPtr: {ref: true}, kindArray: {fixed: 12, refs: []int{0, 4}}, kindStruct: {member: 12, refs: []int{4}},
	kindUnion: {member: 12, refs: []int{4}}, kindEnum: {member: 8}, kindFwd: {}, kindTypedef: {ref: true}, kindVolatile: {ref: true},
	kindConst: {ref: true}, kindRestrict: {ref: true}, kindFunc: {ref: true}, kindFuncProto: {ref: true, member: 8, refs: []int{4}},
	kindVar: {ref: true, fixed: 4}, kindDatasec: {member: 12, refs: []int{0}}, kindFloat: {}, kindDeclTag: {ref: true, fixed: 4},
	kindTypeTag: {ref: true}, kindEnum64: {member: 12},
}

// Refs counts the types in b and finds the highest id that they refer to. ok is false where the types cannot be followed to the end.
func Refs(b []byte, big bool) (own, highest uint32, ok bool) {
	if Header(b, big) != "" {
		return 0, 0, false
	}
	o := order(big)
	start := uint64(o.Uint32(b[4:])) + uint64(o.Uint32(b[8:]))
	size := uint64(o.Uint32(b[12:]))
	if start > uint64(len(b)) || size > uint64(len(b))-start {
		return 0, 0, false
	}
	t := b[start : start+size]
	for len(t) >= 12 {
		info, ref := o.Uint32(t[4:]), o.Uint32(t[8:])
		kind, n := int(info>>24&0x1f), int(info&0xffff)
		if kind == 0 || kind >= len(shapes) {
			return own, highest, false
		}
		s := &shapes[kind]
		if s.ref {
			highest = max(highest, ref)
		}
		t = t[12:]
		if s.member == 0 {
			n = 1
		}
		step := s.fixed + s.member
		if step*n > len(t) {
			return own, highest, false
		}
		for range n {
			for _, at := range s.refs {
				highest = max(highest, o.Uint32(t[at:]))
			}
			t = t[step:]
		}
		own++
	}
	return own, highest, len(t) == 0
}
