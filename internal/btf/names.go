package btf

import (
	"bytes"

	"kotool/internal/kver"
)

// What a byte of a name may be, as lib/ctype.c has it: Latin-1.
const (
	first uint8 = 1 << iota // of an identifier: isalpha, '_'
	inner                   // behind its first: isalnum, '_'
	dot
	print
	begin  // first or dot
	within // inner or dot
)

var ctype = func() (t [256]uint8) {
	for i := range t {
		switch c := byte(i); {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c >= 0xc0 && c != 0xd7 && c != 0xf7:
			t[i] = first | begin | inner | within | print
		case c >= '0' && c <= '9':
			t[i] = inner | within | print
		case c == '.':
			t[i] = dot | begin | within | print
		case c >= ' ' && c < 0x7f, c >= 0xa0:
			t[i] = print
		}
	}
	return t
}()

// naming is what a version takes for a name.
type naming struct {
	dots    bool // in every identifier
	limit   int  // KSYM_NAME_LEN: the longest name, bytes
	qmark   bool // a section's name may begin with '?'
	printed bool // a section's name is anything that can be printed
}

// dotless are versions for which an identifier has no dots. Commit 9724160b3942 (6.5) allowed them, and was taken over by those that were maintained
// at the time, so that for them nothing is refused.
var dotless = []kver.Range{kver.Until(5, 15), kver.Between(kver.V(5, 16), kver.V(6, 1)), kver.Between(kver.V(6, 2), kver.V(6, 4))}

// Source: kernel/bpf/btf.c: __btf_name_valid, btf_name_valid_section; include/linux/kallsyms.h: KSYM_NAME_LEN, commit b8a94bfb3395 (6.1).
func namingOf(v kver.Version) naming {
	n := naming{dots: true, limit: 128, qmark: kver.Since(6, 9).Holds(v), printed: kver.Since(6, 10).Holds(v)}
	for _, r := range dotless {
		n.dots = n.dots && !r.Holds(v)
	}
	if kver.Since(6, 1).Holds(v) {
		n.limit = 512
	}
	return n
}

// text is a string section. Nearly every string is an identifier, and of those a name is one if its first byte is: the others are noted once.
type text struct {
	b       []byte
	odd     []bool // by block: a string that is no identifier, whatever dots are, has bytes there; nil: none
	dots    bool   // there are dots
	longest int    // the longest string, bytes
}

// block is how many bytes text.odd counts together, as a power of 2.
const block = 6

func textOf(b []byte) text {
	t := text{b: b}
	some := uint8(0)
	for off := 0; off < len(b); {
		n := bytes.IndexByte(b[off:], 0)
		if n < 0 {
			n = len(b) - off
		}
		if n > 0 {
			every := within
			for _, c := range b[off : off+n] {
				k := ctype[c]
				every &= k
				some |= k
			}
			if every == 0 || ctype[b[off]]&begin == 0 {
				t.note(off, off+n)
			}
			t.longest = max(t.longest, n)
		}
		off += n + 1
	}
	t.dots = some&dot != 0
	return t
}

// note marks a string that is no identifier.
func (t *text) note(off, end int) {
	if t.odd == nil {
		t.odd = make([]bool, len(t.b)>>block+1)
	}
	for i := off >> block; i <= end>>block && i < len(t.odd); i++ {
		t.odd[i] = true
	}
}

// at is the string at an offset into the section, which has it.
func (t *text) at(off uint32) []byte {
	s := t.b[off:]
	if i := bytes.IndexByte(s, 0); i >= 0 {
		return s[:i]
	}
	return s
}

// identifier is whether the string at an offset is one.
func (t *text) identifier(off uint32, dots bool, limit int) bool {
	if (t.odd == nil || !t.odd[off>>block]) && (dots || !t.dots) && t.longest <= limit {
		return ctype[t.b[off]]&begin != 0
	}
	s := t.at(off)
	if len(s) == 0 || len(s) > limit {
		return false
	}
	ok := inner
	if dots {
		ok = within
	}
	for _, c := range s {
		if ctype[c]&ok == 0 {
			return false
		}
	}
	return ctype[s[0]]&begin != 0
}

// section is whether the string at an offset is a section's name.
func (t *text) section(off uint32, n naming) bool {
	s := t.at(off)
	if n.printed {
		if len(s) == 0 || len(s) > n.limit {
			return false
		}
		for _, c := range s {
			if ctype[c]&print == 0 {
				return false
			}
		}
		return true
	}
	if n.qmark && len(s) > 0 && s[0] == '?' {
		if len(s) == 1 || len(s) > n.limit {
			return len(s) == 1
		}
		// The rest has no first letter.
		for _, c := range s[1:] {
			if ctype[c]&within == 0 {
				return false
			}
		}
		return true
	}
	return t.identifier(off, true, n.limit)
}
