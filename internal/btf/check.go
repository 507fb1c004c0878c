package btf

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"kotool/internal/kver"
)

// Base is what the types of a module count on from: those of the kernel, or of the module's own .BTF.base.
type Base struct {
	Types uint32 // how many there are, void included
	text  text
	kinds []uint8 // by id
}

// ReadBase takes from BTF what its modules' types are checked against; nil where it is no BTF that can be read. The Base has memory of its own.
func ReadBase(b []byte, big bool) *Base {
	list, _, ok := kindsOf(b, big)
	if !ok {
		return nil
	}
	o := order(big)
	start, size := uint64(o.Uint32(b[4:]))+uint64(o.Uint32(b[16:])), uint64(o.Uint32(b[20:]))
	if start > uint64(len(b)) || size > uint64(len(b))-start {
		return nil
	}
	return &Base{Types: uint32(len(list)) + 1, text: textOf(bytes.Clone(b[start : start+size])), kinds: append([]uint8{0}, list...)}
}

// checker is struct btf_verifier_env, as far as one reading needs it.
type checker struct {
	v        kver.Version
	base     *Base  // never nil: an empty one without a base
	start    uint32 // the first id
	strOff   uint32 // where its own strings begin: the length of the base's
	own      text
	naming   naming
	infoMask uint32
	kindMask uint32
	vlenMask uint32
	has      [len(kinds)]bool // kinds that the version has
	types    []uint32         // own types: what each refers to where it is a modifier, with isModifier, isTag
	highest  uint32           // the highest id that a type refers to
}

// Bits of checker.types; ids have 20.
const (
	isModifier = 1 << 31
	isTag      = 1 << 30
)

// typ is a type as it stands in the data; rest are the bytes behind its head.
type typ struct {
	id, name, info, size uint32
	kind                 uint32
	vlen                 uint32
	rest                 []byte
}

func (t *typ) flag() bool { return t.info>>31 != 0 }

func u32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }

// Result is what a reading of BTF found out besides the kernel's answer.
type Result struct {
	Own     uint32 // types of its own
	Highest uint32 // the highest id that they refer to
}

// Check is btf_parse_module: what kernel version v says to a module's BTF, nil where it takes it. A nil base is that of a .BTF.base, which has none.
// What single types are is checked, and that chains of modifiers end; the types are not resolved: no kernel does that for a module's.
//
// Source: kernel/bpf/btf.c: btf_parse_module, btf_parse_base, btf_parse_str_sec, btf_check_all_metas, btf_check_meta.
func Check(b []byte, base *Base, v kver.Version, big bool) (Result, *Refusal) {
	h, r := ReadHeader(b, base != nil, v, big)
	if r != nil {
		return Result{}, r
	}
	c := &checker{v: v, base: base, start: 1, naming: namingOf(v), infoMask: infoMask(v)}
	c.kindMask, c.vlenMask = infoFields(v)
	for i := 1; i < len(kinds); i++ {
		c.has[i] = kinds[i].in.Holds(v)
	}
	if base != nil {
		c.start, c.strOff = base.Types, uint32(len(base.text.b))
	} else {
		c.base = &Base{Types: 1}
	}
	body := b[h.Len:]
	strings := body[h.StrOff : h.StrOff+h.StrLen]
	if n := len(strings); n > 0 || base == nil {
		if n == 0 || n-1 > maxNameOff || strings[n-1] != 0 || base == nil && strings[0] != 0 {
			return Result{}, refuse(einval, "Invalid string section")
		}
	}
	c.own = textOf(strings)
	types := body[h.TypeOff : h.TypeOff+h.TypeLen]
	if big {
		types = swapped(types)
	}
	r = c.metas(types)
	if r == nil {
		r = c.chains()
	}
	return Result{Own: uint32(len(c.types)), Highest: c.highest}, r
}

// swapped is a copy of big-endian words in little-endian order: all that types are made of.
func swapped(b []byte) []byte {
	out := bytes.Clone(b)
	for i := 0; i+4 <= len(out); i += 4 {
		binary.LittleEndian.PutUint32(out[i:], binary.BigEndian.Uint32(b[i:]))
	}
	return out
}

// metas checks each type by itself.
//
// Source: kernel/bpf/btf.c: btf_check_all_metas, btf_check_meta.
func (c *checker) metas(b []byte) *Refusal {
	c.types = make([]uint32, 0, len(b)/typeSize/2)
	t := typ{id: c.start}
	for ; len(b) > 0; t.id++ {
		if len(b) < typeSize {
			return refuse(einval, "[%d] meta_left:%d meta_needed:%d", t.id, len(b), typeSize)
		}
		t.name, t.info, t.size, t.rest = u32(b), u32(b[4:]), u32(b[8:]), b[typeSize:]
		t.kind, t.vlen = t.info>>24&c.kindMask, t.info&c.vlenMask
		if t.info&^c.infoMask != 0 {
			return refuse(einval, "[%d] Invalid btf_info:%x", t.id, t.info)
		}
		if t.kind >= uint32(len(kinds)) || !c.has[t.kind] {
			return refuse(einval, "[%d] Invalid kind:%d", t.id, t.kind)
		}
		if !c.nameThere(t.name) {
			return refuse(einval, "[%d] Invalid name_offset:%d", t.id, t.name)
		}
		k := &kinds[t.kind]
		for _, q := range k.checks {
			if q == members {
				if r := c.members(k, &t); r != nil {
					return r
				}
			} else if c.fails(k, &t, q) {
				return c.refuseType(k, &t, q)
			}
		}
		entry := uint32(0)
		if k.ref {
			c.highest = max(c.highest, t.size)
			if k.modifier {
				entry = isModifier | t.size
				if t.kind == kindTypeTag {
					entry |= isTag
				}
			}
		}
		c.types = append(c.types, entry)
		b = t.rest[k.fixed+k.member*t.count(k):]
	}
	return nil
}

// count is the number of members: what vlen is, for kinds that have some.
func (t *typ) count(k *kind) int {
	if k.member == 0 {
		return 0
	}
	return int(t.vlen)
}

// needs is how many bytes have to follow the head.
func (t *typ) needs(k *kind) int { return k.fixed + k.member*t.count(k) }

// fails puts one question to a type.
func (c *checker) fails(k *kind, t *typ, q check) bool {
	switch q {
	case room:
		return len(t.rest) < t.needs(k)
	case noVlen:
		return t.vlen != 0
	case noFlag:
		return t.flag() && !(k.flagged && k.flag.Holds(c.v))
	case anonymous:
		return t.name != 0
	case named:
		return t.name == 0 || !c.identifier(t.name, c.naming.dots)
	case maybeNamed:
		return t.name != 0 && !c.identifier(t.name, c.naming.dots)
	case dotNamed:
		return t.name == 0 || !c.identifier(t.name, true)
	case sectionNamed:
		if t.name == 0 {
			return true
		}
		s, off := c.textOf(t.name)
		return !s.section(off, c.naming)
	case tagged, valued:
		s, off := c.textOf(t.name)
		return int(off) >= len(s.b) || s.b[off] == 0
	case noType, noSize:
		return t.size != 0
	case someSize:
		return t.size == 0
	case enumSize:
		return t.size > 8 || bits.OnesCount32(t.size) != 1
	case floatSize:
		return t.size != 2 && t.size != 4 && t.size != 8 && t.size != 12 && t.size != 16
	case validType:
		return t.size > maxType
	case someType:
		return t.size == 0 || t.size > maxType
	case intData:
		return u32(t.rest)&^0x0fffffff != 0
	case intBits:
		return intOf(t.rest).all() > 128
	case intRoom:
		return roundUp(intOf(t.rest).all()) > t.size
	case intEncoding:
		return bits.OnesCount32(intOf(t.rest).encoding) > 1 || intOf(t.rest).encoding > 4
	case arrayElem, arrayIndex:
		id := u32(t.rest[4*(q-arrayElem):])
		c.highest = max(c.highest, id)
		return id == 0 || id > maxType
	case linkage:
		return t.vlen > 1
	case varLinkage:
		return u32(t.rest) > 1
	case component:
		return int32(u32(t.rest)) < -1
	}
	panic("unreachable: check without an answer")
}

// integer is what follows an INT. Source: include/uapi/linux/btf.h: BTF_INT_ENCODING, BTF_INT_OFFSET, BTF_INT_BITS.
type integer struct{ encoding, off, bits uint32 }

func intOf(b []byte) integer {
	v := u32(b)
	return integer{v >> 24 & 15, v >> 16 & 255, v & 255}
}

func (i integer) all() uint32 { return i.off + i.bits }

// roundUp is the bytes that hold n bits.
func roundUp(n uint32) uint32 {
	if n&7 != 0 {
		return n>>3 + 1
	}
	return n >> 3
}

// nameThere is btf_name_offset_valid.
func (c *checker) nameThere(off uint32) bool {
	return off <= maxNameOff && off < c.strOff+uint32(len(c.own.b))
}

// textOf is the section that an offset lies in, the base's or the own, and the offset in it, which may be past its end.
func (c *checker) textOf(off uint32) (*text, uint32) {
	if off < c.strOff {
		return &c.base.text, off
	}
	return &c.own, off - c.strOff
}

// identifier is whether the name at an offset that is there is one.
func (c *checker) identifier(off uint32, dots bool) bool {
	s, at := c.textOf(off)
	return s.identifier(at, dots, c.naming.limit)
}

// chains follows each chain of modifiers to its end, within 32 of them.
//
// Source: kernel/bpf/btf.c: btf_check_type_tags (5.19; commit d1a374a1aeb7), btf_check_modifier_chain_length (commit 39799c63578e: 7.2).
func (c *checker) chains() *Refusal {
	if !kver.Since(5, 19).Holds(c.v) {
		return nil
	}
	ordered := kver.Until(7, 2).Holds(c.v)
	good := c.start - 1
	for i, entry := range c.types {
		if entry&isModifier == 0 {
			continue
		}
		id := c.start + uint32(i)
		tags := entry&isTag != 0
		for cur, left := id, 32; entry&isModifier != 0; left-- {
			if left == 0 {
				return refuse(eloop, "Max chain length or cycle detected")
			}
			if ordered && entry&isTag != 0 && !tags {
				return refuse(einval, "Type tags don't precede modifiers")
			}
			tags = tags && entry&isTag != 0
			if cur <= good {
				break
			}
			cur = entry &^ (isModifier | isTag)
			switch {
			case cur < c.start:
				// Chains in the base end: its types are in order.
				entry = c.base.entry(cur)
			case cur-c.start < uint32(len(c.types)):
				entry = c.types[cur-c.start]
			default:
				return &Refusal{Errno: einval, Reason: "a type refers to one that is not there", Missing: true}
			}
		}
		good = id
	}
	return nil
}

// entry is what checker.types would have of a type of the base.
func (b *Base) entry(id uint32) uint32 {
	if int(id) >= len(b.kinds) || !kinds[b.kinds[id]].modifier {
		return 0
	}
	if b.kinds[id] == kindTypeTag {
		return isModifier | isTag
	}
	return isModifier
}
