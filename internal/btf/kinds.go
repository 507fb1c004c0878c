package btf

import "kotool/internal/kver"

// typeSize is sizeof(struct btf_type), bytes.
const typeSize = 12

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

// Limits. Source: include/uapi/linux/btf.h: BTF_MAX_TYPE, BTF_MAX_NAME_OFFSET.
const (
	maxType    = 0x000fffff
	maxNameOff = 0x00ffffff
)

// check is one question to a type.
type check uint8

const (
	room         check = iota // what follows the type is there
	noVlen                    // vlen is 0
	noFlag                    // kind_flag is not set, see kind.flag
	anonymous                 // it has no name
	named                     // it has a name: an identifier
	maybeNamed                // it has none, or one that is an identifier
	dotNamed                  // an identifier, in which dots are right in all versions
	sectionNamed              // a section's name
	tagged                    // its name, a type tag's, is not empty
	valued                    // its name, a declaration tag's, is not empty
	noType                    // a forward declaration's type is 0
	noSize                    // size is 0
	someSize                  // size is not 0
	enumSize                  // a power of 2 up to 8
	floatSize                 // 2, 4, 8, 12 or 16
	validType                 // an id that may be one
	someType                  // and is not void
	intData                   // an integer's unused bits
	intBits                   // up to 128 bits
	intRoom                   // and not more than size has
	intEncoding               // none, or one only
	arrayElem                 // what it has elements of is an id, and not void
	arrayIndex                // so is what it is indexed by
	linkage                   // of a function: static or global
	varLinkage                // of a variable: static or global
	component                 // a tag's member or parameter, or -1
	members                   // each member, see members.go
	checks
)

// words are the kernel's for each check that fails. basic leaves the details of the type out; errno is EINVAL where it is 0.
var words = [checks]struct {
	word  string
	basic bool
	errno int
}{
	room: {word: "meta_left:%[1]d meta_needed:%[2]d", basic: true}, noVlen: {word: "vlen != 0"}, noFlag: {word: "Invalid btf_info kind_flag"},
	anonymous: {word: "Invalid name"}, named: {word: "Invalid name"}, maybeNamed: {word: "Invalid name"}, dotNamed: {word: "Invalid name"},
	sectionNamed: {word: "Invalid name"}, tagged: {word: "Invalid name"}, valued: {word: "Invalid value"}, noType: {word: "type != 0"},
	noSize: {word: "size != 0"}, someSize: {word: "size == 0"}, enumSize: {word: "Unexpected size"}, floatSize: {word: "Invalid type_size"},
	validType: {word: "Invalid type_id"}, someType: {word: "Invalid type_id"}, intData: {word: "Invalid int_data:%[3]x", basic: true},
	intBits: {word: "nr_bits exceeds 128"}, intRoom: {word: "nr_bits exceeds type_size"}, intEncoding: {word: "Unsupported encoding", errno: enotsupp},
	arrayElem: {word: "Invalid elem"}, arrayIndex: {word: "Invalid index"}, linkage: {word: "Invalid func linkage"},
	varLinkage: {word: "Linkage not supported"}, component: {word: "Invalid component_idx"},
}

// kind is a row a kind of type: what follows its twelve bytes, fixed bytes or a record a member, and what the kernel checks, in its order.
type kind struct {
	name   string
	in     kver.Range // versions that have the kind
	flag   kver.Range // versions in which kind_flag may be set, where noFlag is among the checks and flagged
	ref    bool       // size_or_type is an id
	fixed  int
	member int
	refs   []int // offsets of ids in a member, or in the fixed part where there are no members
	checks []check

	flagged  bool // kind_flag may be set in the versions of flag
	modifier bool // btf_type_is_modifier
}

var modifiers = []check{noVlen, noFlag, validType, anonymous}

// Source: kernel/bpf/btf.c: the check_meta of each kind: btf_int_check_meta, btf_ref_type_check_meta and so on.
var kinds = [...]kind{
	kindInt: {name: "INT", fixed: 4, checks: []check{room, noVlen, noFlag, intData, intBits, intRoom, intEncoding}},
	kindPtr: {name: "PTR", ref: true, checks: modifiers},
	kindArray: {name: "ARRAY", fixed: 12, refs: []int{0, 4},
		checks: []check{room, anonymous, noVlen, noFlag, noSize, arrayElem, arrayIndex}},
	kindStruct: {name: "STRUCT", member: 12, refs: []int{4}, checks: []check{room, maybeNamed, members}},
	kindUnion:  {name: "UNION", member: 12, refs: []int{4}, checks: []check{room, maybeNamed, members}},
	kindEnum: {name: "ENUM", member: 8, flagged: true, flag: kver.Since(6, 0),
		checks: []check{room, noFlag, enumSize, maybeNamed, members}},
	kindFwd:      {name: "FWD", checks: []check{noVlen, noType, named}},
	kindTypedef:  {name: "TYPEDEF", ref: true, modifier: true, checks: []check{noVlen, noFlag, validType, named}},
	kindVolatile: {name: "VOLATILE", ref: true, modifier: true, checks: modifiers},
	kindConst:    {name: "CONST", ref: true, modifier: true, checks: modifiers},
	kindRestrict: {name: "RESTRICT", ref: true, modifier: true, checks: modifiers},
	kindFunc:     {name: "FUNC", ref: true, checks: []check{named, linkage, noFlag}},
	kindFuncProto: {name: "FUNC_PROTO", ref: true, member: 8, refs: []int{4},
		checks: []check{room, anonymous, noFlag, members}},
	kindVar: {name: "VAR", ref: true, fixed: 4,
		checks: []check{room, noVlen, noFlag, dotNamed, someType, varLinkage}},
	kindDatasec: {name: "DATASEC", member: 12, refs: []int{0}, checks: []check{room, someSize, noFlag, sectionNamed, members}},
	kindFloat:   {name: "FLOAT", in: kver.Since(5, 13), checks: []check{noVlen, noFlag, floatSize}},
	// Commit 53ee0d66d7a6 (6.15) lets tags have kind_flag.
	kindDeclTag: {name: "DECL_TAG", in: kver.Since(5, 16), ref: true, fixed: 4, flagged: true, flag: kver.Since(6, 15),
		checks: []check{room, valued, noVlen, noFlag, component}},
	kindTypeTag: {name: "TYPE_TAG", in: kver.Since(5, 17), ref: true, modifier: true, flagged: true, flag: kver.Since(6, 15),
		checks: []check{noVlen, noFlag, validType, tagged}},
	kindEnum64: {name: "ENUM64", in: kver.Since(6, 0), member: 12, checks: []check{room, enumSize, maybeNamed, members}},
}

// wide is where vlen has 24 bits and kinds have 7: commit f7a6b9eaff3e (7.2). There are no unused bits any more then.
var wide = kver.Since(7, 2)

// infoMask are the bits of info that a version uses. Source: kernel/bpf/btf.c: BTF_INFO_MASK.
func infoMask(v kver.Version) uint32 {
	switch {
	case wide.Holds(v):
		return 0xffffffff
	case kver.Since(5, 13).Holds(v):
		return 0x9f00ffff
	}
	return 0x8f00ffff
}

// infoFields are the masks of the two fields of info: of the kind, when shifted down, and of the number of members.
//
// Source: include/uapi/linux/btf.h: BTF_INFO_KIND, BTF_INFO_VLEN.
func infoFields(v kver.Version) (kindMask, vlenMask uint32) {
	switch {
	case wide.Holds(v):
		return 0x7f, 0xffffff
	case kver.Since(5, 13).Holds(v):
		return 0x1f, 0xffff
	}
	return 0x0f, 0xffff
}
