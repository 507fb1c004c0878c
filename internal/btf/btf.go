// Package btf has the module loader's view of BTF: the header, how many types there are, which of a base they refer to, and the verifier's checks
// of each type.
//
// Source: Documentation/bpf/btf.rst.
package btf

import (
	"encoding/binary"

	"kotool/internal/kver"
)

func order(big bool) binary.ByteOrder {
	if big {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// headerSize is sizeof(struct btf_header) without what later versions may add, longSize with the place of the layouts (7.1). Bytes.
const (
	headerSize = 24
	longSize   = 32
)

// layouts is when the header got a third part: what types of each kind look like. Source: include/uapi/linux/btf.h: struct btf_layout.
var layouts = kver.Since(7, 1)

// known is how much of a header a kernel version knows, bytes.
func known(v kver.Version) uint32 {
	if layouts.Holds(v) {
		return longSize
	}
	return headerSize
}

// Header is struct btf_header: where types and strings lie behind its end, bytes.
type Header struct {
	Len              uint32
	TypeOff, TypeLen uint32
	StrOff, StrLen   uint32
}

// part is a part of the data by its place.
type part struct{ off, len uint32 }

// ReadHeader is the kernel's check of the header of BTF, and of where its parts lie. split says that the types count on from a base. The refusal is nil where all is in order.
//
// Source: kernel/bpf/btf.c: btf_parse_hdr, btf_check_sec_info, and the first check of btf_parse_str_sec.
func ReadHeader(b []byte, split bool, v kver.Version, big bool) (Header, *Refusal) {
	o, long, size := order(big), known(v), uint64(len(b))
	var h Header
	if size < 8 {
		return h, refuse(einval, "hdr_len not found")
	}
	n := o.Uint32(b[4:])
	if size < uint64(n) {
		return h, refuse(einval, "btf_header not found")
	}
	if n > long {
		for _, c := range b[long:n] {
			if c != 0 {
				return h, refuse(e2big, "Unsupported btf_header")
			}
		}
	}
	// What a short header lacks is zero, its own length too.
	var raw [longSize]byte
	copy(raw[:long], b[:n])
	h = Header{Len: o.Uint32(raw[4:]), TypeOff: o.Uint32(raw[8:]), TypeLen: o.Uint32(raw[12:]), StrOff: o.Uint32(raw[16:]), StrLen: o.Uint32(raw[20:])}
	switch {
	case o.Uint16(raw[:]) != 0xeb9f:
		return h, refuse(einval, "Invalid magic")
	case raw[2] != 1:
		return h, refuse(enotsupp, "Unsupported version")
	case raw[3] != 0:
		return h, refuse(enotsupp, "Unsupported flags")
	case !split && size == uint64(h.Len):
		return h, refuse(einval, "No data")
	}
	parts := [3]part{{h.TypeOff, h.TypeLen}, {h.StrOff, h.StrLen}, {o.Uint32(raw[24:]), o.Uint32(raw[28:])}}
	list := parts[:]
	if h.Len < long || parts[2].len == 0 || long < longSize {
		list = parts[:2]
	}
	if word := tiled(list, uint32(size)-h.Len); word != "" {
		return h, refuse(einval, "%s", word)
	}
	if (h.Len < long || long < longSize) && uint64(h.Len)+uint64(h.StrOff)+uint64(h.StrLen) != size {
		return h, refuse(einval, "String section is not at the end")
	}
	return h, nil
}

// tiled is the word for parts that do not lie one behind the other and fill want bytes, "" where they do. It sorts them, as 32-bit differences go.
//
// Source: kernel/bpf/btf.c: btf_check_sec_info, btf_sec_info_cmp.
func tiled(parts []part, want uint32) string {
	for i := 1; i < len(parts); i++ {
		for k := i; k > 0; k-- {
			d := int32(parts[k].off - parts[k-1].off)
			if d > 0 || d == 0 && int32(parts[k].len-parts[k-1].len) >= 0 {
				break
			}
			parts[k], parts[k-1] = parts[k-1], parts[k]
		}
	}
	total := uint32(0)
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
	return ""
}

// typesOf are the bytes of the types, where a header of sorts says so and they are there; they need not be in order.
func typesOf(b []byte, big bool) []byte {
	o := order(big)
	if len(b) < headerSize || o.Uint16(b) != 0xeb9f || b[2] != 1 || b[3] != 0 || o.Uint32(b[4:]) < headerSize {
		return nil
	}
	start, size := uint64(o.Uint32(b[4:]))+uint64(o.Uint32(b[8:])), uint64(o.Uint32(b[12:]))
	if start > uint64(len(b)) || size > uint64(len(b))-start {
		return nil
	}
	return b[start : start+size]
}

// Refs counts the types in b and finds the highest id that they refer to. ok is false where the types cannot be followed to the end.
func Refs(b []byte, big bool) (own, highest uint32, ok bool) {
	list, highest, ok := kindsOf(b, big)
	return uint32(len(list)), highest, ok
}

// kindsOf are the kinds of the types in b, the rest is as in Refs.
func kindsOf(b []byte, big bool) (list []uint8, highest uint32, ok bool) {
	o, t := order(big), typesOf(b, big)
	if t == nil {
		return nil, 0, false
	}
	list = make([]uint8, 0, len(t)/typeSize/2)
	for len(t) >= typeSize {
		info, ref := o.Uint32(t[4:]), o.Uint32(t[8:])
		kind, n := int(info>>24&0x7f), int(info&0xffffff) // what versions before 7.2 do not use is zero
		if kind == 0 || kind >= len(kinds) {
			return list, highest, false
		}
		k := &kinds[kind]
		if k.ref {
			highest = max(highest, ref)
		}
		t = t[typeSize:]
		if k.member == 0 {
			n = 1
		}
		step := k.fixed + k.member
		if step*n > len(t) {
			return list, highest, false
		}
		for range n {
			for _, at := range k.refs {
				highest = max(highest, o.Uint32(t[at:]))
			}
			t = t[step:]
		}
		list = append(list, uint8(kind))
	}
	return list, highest, len(t) == 0
}
