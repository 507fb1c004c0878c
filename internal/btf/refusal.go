package btf

import (
	"fmt"
	"strings"

	"kotool/internal/kver"
)

// The kernel's error numbers. Source: include/uapi/asm-generic/errno*.h, include/linux/errno.h.
const (
	e2big    = 7
	einval   = 22
	eloop    = 40
	enotsupp = 524
)

// Refusal is the kernel's answer to BTF that it does not take.
type Refusal struct {
	Errno   int
	Reason  string   // in one line, for people
	Pieces  []string // what it prints: each piece by itself, some with a newline at their end
	OfName  bool     // a name is at fault
	OfType  bool     // they are about a type or a member: a kernel that goes on without the BTF keeps them to itself (6.3)
	Missing bool     // a modifier's type is not there; nothing is printed
}

// refuse is btf_verifier_log with one piece.
func refuse(errno int, format string, args ...any) *Refusal {
	s := fmt.Sprintf(format, args...)
	return &Refusal{Errno: errno, Reason: strings.TrimSpace(s), Pieces: []string{s}, OfName: strings.Contains(s, "name_offset")}
}

// maxPiece is how much of a piece is printed, bytes: BPF_VERIFIER_TMP_LOG_SIZE without its NUL.
const maxPiece = 1023

// spaced is the version from which the prefix ends in a space, and a newline at the end of a piece does not give an empty line more.
//
// Source: kernel/bpf/log.c: bpf_verifier_vlog; commit "bpf: clean-up bpf_verifier_vlog() for BPF_LOG_KERNEL log level" (5.17).
var spaced = kver.Since(5, 17)

// Log are the lines of the kernel's log: every piece is one.
func (r *Refusal) Log(v kver.Version) []string {
	var lines []string
	for _, p := range r.Pieces {
		p = p[:min(len(p), maxPiece)]
		if spaced.Holds(v) {
			lines = append(lines, "BPF: "+strings.TrimSuffix(p, "\n"))
		} else {
			lines = append(lines, "BPF:"+p)
		}
	}
	return lines
}

// nameAt is __btf_name_by_offset.
func (c *checker) nameAt(off uint32) string {
	if off == 0 {
		return "(anon)"
	}
	s, at := c.textOf(off)
	if int(at) >= len(s.b) {
		return "(invalid-name-offset)"
	}
	return string(s.at(at))
}

// title names a type as the log does.
func (c *checker) title(k *kind, t *typ) string {
	return fmt.Sprintf("[%d] %s %s", t.id, k.name, c.nameAt(t.name))
}

// refuseType is the refusal of a type by a check.
//
// Source: kernel/bpf/btf.c: __btf_verifier_log_type.
func (c *checker) refuseType(k *kind, t *typ, q check) *Refusal {
	w := &words[q]
	errno := w.errno
	if errno == 0 {
		errno = einval
	}
	args := []any{len(t.rest), t.needs(k), uint32(0)}
	if len(t.rest) >= 4 {
		args[2] = u32(t.rest)
	}
	word := w.word
	if strings.Contains(word, "%") {
		word = fmt.Sprintf(word, args...)
	}
	if !w.basic {
		r := c.refuseWord(k, t, word)
		r.Errno = errno
		return r
	}
	return c.ofType(k, t, errno, word, []string{c.title(k, t)})
}

// refuseWord is the refusal of a type, with its details.
func (c *checker) refuseWord(k *kind, t *typ, word string) *Refusal {
	return c.ofType(k, t, einval, word, append([]string{c.title(k, t) + " "}, c.details(t)...))
}

func (c *checker) ofType(k *kind, t *typ, errno int, word string, pieces []string) *Refusal {
	return &Refusal{Errno: errno, OfType: true, OfName: strings.Contains(word, "name"), Reason: c.title(k, t) + ": " + word, Pieces: append(pieces, " ", word, "\n")}
}

// refuseField is the refusal of a structure's member.
//
// Source: kernel/bpf/btf.c: btf_verifier_log_member.
func (c *checker) refuseField(k *kind, t *typ, f *field, word string) *Refusal {
	if strings.Contains(word, "%") {
		word = fmt.Sprintf(word, f.name)
	}
	piece := fmt.Sprintf("\t%s type_id=%d bits_offset=%d", c.nameAt(f.name), f.id, f.place)
	if t.flag() {
		piece = fmt.Sprintf("\t%s type_id=%d bitfield_size=%d bits_offset=%d", c.nameAt(f.name), f.id, f.place>>24, f.bitOff(t))
	}
	r := c.ofType(k, t, einval, word, []string{piece})
	r.Reason = c.title(k, t) + ", member " + c.nameAt(f.name) + ": " + word
	return r
}

// refuseVariable is the refusal of a section's variable: its id, offset and size.
//
// Source: kernel/bpf/btf.c: btf_verifier_log_vsi.
func (c *checker) refuseVariable(k *kind, t *typ, v [3]uint32, word string) *Refusal {
	r := c.ofType(k, t, einval, word, []string{fmt.Sprintf("\t type_id=%d offset=%d size=%d", v[0], v[1], v[2])})
	r.OfType = false // these go to the log in any case
	r.Reason = fmt.Sprintf("%s, variable of type %d: %s", c.title(k, t), v[0], word)
	return r
}

// details are the pieces about a type.
//
// Source: kernel/bpf/btf.c: the log_details of each kind: btf_int_log, btf_ref_type_log and so on.
func (c *checker) details(t *typ) []string {
	one := func(format string, args ...any) []string { return []string{fmt.Sprintf(format, args...)} }
	switch t.kind {
	case kindInt:
		i := intOf(t.rest)
		return one("size=%d bits_offset=%d nr_bits=%d encoding=%s", t.size, i.off, i.bits, i.name())
	case kindArray:
		return one("type_id=%d index_type_id=%d nr_elems=%d", u32(t.rest), u32(t.rest[4:]), u32(t.rest[8:]))
	case kindStruct, kindUnion, kindEnum, kindEnum64, kindDatasec:
		return one("size=%d vlen=%d", t.size, t.vlen)
	case kindFwd:
		if t.flag() {
			return one("union")
		}
		return one("struct")
	case kindFuncProto:
		return c.prototype(t)
	case kindVar:
		return one("type_id=%d linkage=%d", t.size, u32(t.rest))
	case kindFloat:
		return one("size=%d", t.size)
	case kindDeclTag:
		return one("type=%d component_idx=%d", t.size, int32(u32(t.rest)))
	}
	return one("type_id=%d", t.size)
}

// name is btf_int_encoding_str.
func (i integer) name() string {
	switch i.encoding {
	case 0:
		return "(none)"
	case 1:
		return "SIGNED"
	case 2:
		return "CHAR"
	case 4:
		return "BOOL"
	}
	return "UNKN"
}

// prototype are the pieces about a function's prototype: each parameter is one.
//
// Source: kernel/bpf/btf.c: btf_func_proto_log.
func (c *checker) prototype(t *typ) []string {
	pieces := []string{fmt.Sprintf("return=%d args=(", t.size)}
	n := int(t.vlen)
	if n == 0 {
		pieces = append(pieces, "void")
	}
	for i := range n {
		name, id := u32(t.rest[8*i:]), u32(t.rest[8*i+4:])
		comma := ", "
		if i == 0 {
			comma = ""
		}
		if id == 0 && i == n-1 {
			pieces = append(pieces, comma+"vararg")
		} else {
			pieces = append(pieces, fmt.Sprintf("%s%d %s", comma, id, c.nameAt(name)))
		}
	}
	return append(pieces, ")")
}
