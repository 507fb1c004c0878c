package kimage

import (
	"bytes"
	"encoding/binary"
	"iter"

	"kotool/internal/bin"
)

// kallsyms are the kernel's own tables of its symbols, which are found by their form: the table of tokens has all ten digits as
// tokens of their own, and the index behind it says where each token begins; everything else is measured from there.
//
// Source: scripts/kallsyms.c: write_src (5.10, 6.1, 6.12, 7.2); kernel/kallsyms.c: kallsyms_expand_symbol, kallsyms_sym_address.
type kallsyms struct {
	m       *memory
	n       int
	number  int // offset of kallsyms_num_syms in the segment
	names   []byte
	tokens  [256][]byte
	offsets []byte // n of four bytes
	mode    offsetMode
	base    uint64 // relative_base as it stands; of an image that needs relocation 0
	place   uint64 // offset of offsets in the segment
	// basePlace is the offset of relative_base in the segment.
	basePlace uint64
	seg       *segment
	work      *int // steps that may still be taken to find it
}

// offsetMode is what an offset counts from.
type offsetMode uint8

const (
	fromBase   offsetMode = iota // relative_base + offset
	percpu                       // not negative: absolute; negative: relative_base - 1 - offset (x86 with SMP, up to 6.14)
	fromItself                   // the place of the offset (from 7.0 on)
)

const (
	kallsymsGroup = 256     // names per marker
	maxSymbols    = 4 << 20 // believed in
	longestName   = 600     // tokens of a name; KSYM_NAME_LEN is 512
)

// kallsyms are the image's, or nil.
func (im *Image) kallsyms() *kallsyms {
	im.kallOnce.Do(func() {
		if im.mem == nil {
			return
		}
		for i := range im.mem.segs {
			if k := findKallsyms(im.mem, &im.mem.segs[i]); k != nil {
				im.kall = k
				return
			}
		}
	})
	return im.kall
}

func findKallsyms(m *memory, s *segment) *kallsyms {
	// Damaged or hostile images must not have all of this tried at each of very many places.
	work := 1 << 26
	digits := []byte("0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00")
	for at := 0; ; at++ {
		i := bytes.Index(s.data[at:], digits)
		if i < 0 || work < 0 {
			return nil
		}
		at += i
		k := &kallsyms{m: m, seg: s, work: &work}
		if table, index := k.findTokens(at); index > 0 && k.findNames(table) && k.findOffsets(index+512) {
			return k
		}
	}
}

// findTokens reads the table that has the digits at an offset, and the index behind it. index is 0 where they are no such.
func (k *kallsyms) findTokens(at int) (table, index int) {
	b := k.seg.data
	end := at
	for range 256 - '0' {
		n := bytes.IndexByte(b[end:min(len(b), end+longestName)], 0)
		if n < 0 {
			return 0, 0
		}
		end += n + 1
	}
	for _, align := range [...]int{8, 4, 2} {
		index := (end + align - 1) &^ (align - 1)
		if index > len(b)-512 {
			continue
		}
		off := func(i int) int { return int(k.u16(index + 2*i)) }
		table := at - off('0')
		if table < 0 || off(0) != 0 || table+off(255) >= end {
			continue
		}
		good := true
		for i := 0; i < 256 && good; i++ {
			t, err := bin.New(b[table+off(i):end], 0, false).CString(0)
			k.tokens[i] = t
			good = err == nil && (i == 255 || off(i+1) == off(i)+len(t)+1)
		}
		if good {
			return table, index
		}
	}
	return 0, 0
}

func (k *kallsyms) u16(off int) uint16 {
	if k.m.big {
		return binary.BigEndian.Uint16(k.seg.data[off:])
	}
	return binary.LittleEndian.Uint16(k.seg.data[off:])
}

func (k *kallsyms) u32(off int) uint32 { return k.m.u32(k.seg.data, off) }

// findNames finds the markers before the table of tokens, and the names before the markers. From 6.2 to 6.3, and in stable kernels, numbers of
// three bytes for each symbol stand between the markers and the tokens.
func (k *kallsyms) findNames(table int) bool {
	table &^= 3
	const most = 3 * maxSymbols
	for end := table; end >= max(4, table-most) && *k.work > 0; end -= 4 {
		// The markers ascend from 0 on, by what 256 names take.
		step := func(at int) bool {
			d := int64(k.u32(at)) - int64(k.u32(at-4))
			return d >= 2*kallsymsGroup && d < longestName*kallsymsGroup
		}
		start := end - 4
		for start >= 4 && step(start) {
			start -= 4
		}
		*k.work -= (end - start) / 4
		if (start < end-4 || end >= table-4) && k.u32(start) == 0 && k.namesBefore(start, (end-start)/4) {
			return true
		}
	}
	return false
}

// namesBefore finds the names and their number before so many markers.
func (k *kallsyms) namesBefore(markers, count int) bool {
	b := k.seg.data
	last := k.u32(markers + 4*(count-1))
	if uint64(last) >= uint64(markers) {
		return false
	}
	first := markers - int(last)
	for start := first &^ 3; start >= max(8, first-kallsymsGroup*longestName) && *k.work > 0; start -= 4 {
		*k.work--
		for _, at := range [...]int{start - 8, start - 4} {
			n := int(k.u32(at))
			if n <= 0 || n > maxSymbols || (n+kallsymsGroup-1)/kallsymsGroup != count || at == start-8 && k.u32(start-4) != 0 && !k.m.big {
				continue
			}
			if k.walk(start, markers, n) {
				k.n, k.names, k.number = n, b[start:markers], at
				return true
			}
		}
	}
	return false
}

// walk goes through n names from start on, and reports whether the markers agree.
func (k *kallsyms) walk(start, markers, n int) bool {
	b := k.seg.data[:markers]
	at := start
	for i := range n {
		if i%kallsymsGroup == 0 && k.u32(markers+i/kallsymsGroup*4) != uint32(at-start) {
			return false
		}
		size, head := nameSize(b[at:])
		if size == 0 || size > len(b)-at-head {
			return false
		}
		at += head + size
		*k.work--
	}
	return markers-at < 8
}

// nameSize is the number of tokens of a name, and of the bytes that say so: one, or two from 6.1 on. 0: there is none.
func nameSize(b []byte) (n, head int) {
	if len(b) == 0 {
		return 0, 0
	}
	n = int(b[0])
	if n&0x80 == 0 || len(b) < 2 {
		return n, 1
	}
	return n&0x7f | int(b[1])<<7, 2
}

// findOffsets finds the offsets: behind the tokens at an offset (from 6.4 on), or before the number of symbols.
func (k *kallsyms) findOffsets(behind int) bool {
	b, w := k.seg.data, k.m.word
	align := func(n int) int { return (n + w - 1) &^ (w - 1) }
	try := func(at, base int) bool {
		if at < 0 || at+4*k.n > len(b) || base < 0 || base+w > len(b) {
			return false
		}
		k.offsets, k.place = b[at:at+4*k.n], uint64(at)
		k.base, k.basePlace = k.m.long(b, base), uint64(base)
		return k.ascending()
	}
	before := k.number&^(w-1) - w
	if try(before-align(4*k.n), before) {
		return true
	}
	for at := behind; at <= align(behind); at += 2 {
		if at%4 == 0 && try(at, min(align(at+4*k.n), len(b)-w)) {
			return true
		}
	}
	return false
}

// ascending finds the mode in which the addresses ascend.
func (k *kallsyms) ascending() bool {
	for _, mode := range [...]offsetMode{fromBase, percpu, fromItself} {
		k.mode = mode
		last, good := k.relative(0), true
		for i := 1; i < k.n && good; i++ {
			v := k.relative(i)
			good = v >= last
			last = v
		}
		if good && k.begins() {
			return true
		}
	}
	return false
}

// begins reports whether the offsets begin as they do in the mode: relative_base is the lowest address that is not a processor's own.
func (k *kallsyms) begins() bool {
	switch k.mode {
	case fromBase:
		return k.m.u32(k.offsets, 0) == 0
	case percpu:
		for i := range k.n {
			if v := int32(k.m.u32(k.offsets, 4*i)); v < 0 {
				return v == -1
			}
		}
		return false
	}
	return true
}

// relative is a number that ascends as the address of symbol i does.
func (k *kallsyms) relative(i int) int64 {
	v := k.m.u32(k.offsets, 4*i)
	switch k.mode {
	case percpu:
		if int32(v) < 0 {
			return 1<<32 - 1 - int64(int32(v))
		}
		return int64(v)
	case fromItself:
		return int64(4*i) + int64(int32(v))
	}
	return int64(v)
}

// addr is the address of symbol i.
func (k *kallsyms) addr(i int) uint64 {
	v := k.m.u32(k.offsets, 4*i)
	base := k.base
	if base == 0 {
		base = k.seg.addr
	}
	switch k.mode {
	case percpu:
		if int32(v) >= 0 {
			return uint64(v)
		}
		return k.m.trim(base - 1 - uint64(int64(int32(v))))
	case fromItself:
		return k.m.trim(k.seg.addr + k.place + uint64(4*i) + uint64(int64(int32(v))))
	}
	return k.m.trim(base + uint64(v))
}

// all yields the symbols in the order of addresses.
func (k *kallsyms) all() iter.Seq[Symbol] {
	return func(yield func(Symbol) bool) {
		names := k.names
		var text []byte
		for i := range k.n {
			size, head := nameSize(names)
			if size == 0 || size > len(names)-head {
				return
			}
			text = text[:0]
			for _, c := range names[head : head+size] {
				text = append(text, k.tokens[c]...)
			}
			names = names[head+size:]
			if len(text) < 2 {
				continue
			}
			if !yield(Symbol{Name: string(text[1:]), Type: text[0], Addr: k.addr(i)}) {
				return
			}
		}
	}
}
