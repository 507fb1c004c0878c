package kimage

import (
	"bytes"
	"slices"

	"kotool/internal/ksymtab"
)

// This file finds the tables of exports in memory without section headers, by their form: entries of three fields, the second of which
// points to a C identifier, the third to one or to an empty string; sorted by name without exception. Some thousand of them in a row are
// nothing else.
//
// Source: include/asm-generic/vmlinux.lds.h: RO_DATA sorts ___ksymtab+NAME, and puts __ksymtab, __ksymtab_gpl, the CRCs, from 7.1 on
// the flags, and __ksymtab_strings behind each other.

const (
	// probe is the distance in bytes between the places that are looked at: a table of as many bytes and a few entries more is found.
	probe = 512
	// seed is how many entries in a row must be right before a table is believed in.
	seed = 6
	// fewest is the smallest number of entries that the largest table must have.
	fewest = 16
	// maxIdent bounds the names that are believed, in bytes: KSYM_NAME_LEN is 512.
	maxIdent = 512
	// maxGap bounds what may be between the tables and the strings beside CRCs and flags, in bytes.
	maxGap = 8192
)

// entryForm is a layout of struct kernel_symbol.
type entryForm struct {
	size, field int // in bytes
	prel, ns    bool
}

// forms are the layouts to look for, the likeliest first.
func (im *Image) forms() []entryForm {
	w := im.mem.word
	abs := []entryForm{{3 * w, w, false, true}, {2 * w, w, false, false}}
	if im.Arch.PREL32 {
		return append([]entryForm{{12, 4, true, true}, {8, 4, true, false}}, abs...)
	}
	return abs
}

// run is a table that was found.
type run struct {
	addr, end uint64
	n         int
}

// searcher looks for tables of one form in one segment.
type searcher struct {
	m    *memory
	s    *segment
	form entryForm
	low  uint64 // the lowest address of a string that entries point to
}

// target is where the field at off of the segment points, as an offset in the same segment.
func (s *searcher) target(off int) (int, bool) {
	n := uint64(len(s.s.data))
	var at uint64
	if s.form.prel {
		at = uint64(off) + uint64(int64(int32(s.m.u32(s.s.data, off))))
	} else {
		at = s.m.long(s.s.data, off) - s.s.addr
	}
	// The strings stand behind the tables.
	return int(at), at < n && at > uint64(off)
}

// name is the identifier that the name field of the entry at off points to.
func (s *searcher) name(off int) []byte {
	if off < 0 || off > len(s.s.data)-s.form.size {
		return nil
	}
	at, ok := s.target(off + s.form.field)
	if !ok {
		return nil
	}
	name := ident(s.s.data[at:])
	if len(name) == 0 {
		return nil
	}
	if s.form.ns {
		// Exports of assembly had no namespace at all, up to 6.2.
		if at, ok := s.target(off + 2*s.form.field); (!ok || !text(s.s.data[at:])) && !s.null(off+2*s.form.field) {
			return nil
		}
	}
	return name
}

// null reports whether the field at off is 0.
func (s *searcher) null(off int) bool {
	if s.form.prel {
		return s.m.u32(s.s.data, off) == 0
	}
	return s.m.long(s.s.data, off) == 0
}

// text reports whether b begins with a namespace, which may be empty: "module:kvm-intel,kvm-amd" is one.
func text(b []byte) bool {
	for _, c := range b[:min(len(b), maxText)] {
		if c == 0 {
			return true
		}
		if !printable(c) {
			return false
		}
	}
	return false
}

// ident is the C identifier at the beginning of b, which a NUL must end; nil: none.
func ident(b []byte) []byte {
	for i, c := range b[:min(len(b), maxIdent)] {
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '.' || c == '$':
		case c >= '0' && c <= '9' && i > 0:
		case c == 0:
			return b[:i]
		default:
			return nil
		}
	}
	return nil
}

// sown reports whether entries begin at off.
func (s *searcher) sown(off int) bool {
	var last []byte
	for range seed {
		name := s.name(off)
		if name == nil || bytes.Compare(last, name) >= 0 {
			return false
		}
		last = name
		off += s.form.size
	}
	return true
}

// grow is the table around the entry at off, which is good.
func (s *searcher) grow(off int) run {
	start, end := off, off+s.form.size
	name := s.name(off)
	for first := name; ; start -= s.form.size {
		before := s.name(start - s.form.size)
		if before == nil || bytes.Compare(before, first) >= 0 {
			break
		}
		first = before
	}
	for last := name; ; end += s.form.size {
		next := s.name(end)
		if next == nil || bytes.Compare(last, next) >= 0 {
			break
		}
		last = next
	}
	return run{s.s.addr + uint64(start), s.s.addr + uint64(end), (end - start) / s.form.size}
}

// tables finds the tables of the segment: of all that have the form those with the longest among them, which stand behind each other.
func (s *searcher) tables() []run {
	phase := 4
	if !s.form.prel {
		phase = s.m.word
	}
	var best []run
	most := fewest - 1
	for at := 0; at+s.form.size*seed <= len(s.s.data); at += probe {
		for p := at; p < at+s.form.size; p += phase {
			if !s.sown(p) {
				continue
			}
			list := s.around(p)
			for _, r := range list {
				if r.n > most {
					best, most = list, r.n
				}
			}
			at = max(at, int(list[len(list)-1].end-s.s.addr)&^(probe-1))
			break
		}
	}
	return best
}

// around is the table that has the entry at off, and those before it and behind it.
func (s *searcher) around(off int) []run {
	list := []run{s.grow(off)}
	for range exportSections {
		before := int(list[0].addr-s.s.addr) - s.form.size
		if s.name(before) == nil {
			break
		}
		list = append([]run{s.grow(before)}, list...)
	}
	for range exportSections {
		behind := int(list[len(list)-1].end - s.s.addr)
		if s.name(behind) == nil {
			break
		}
		list = append(list, s.grow(behind))
	}
	return list
}

// strings finds the lowest string that the tables' entries point to.
func (s *searcher) strings(list []run) {
	s.low = ^uint64(0)
	for _, r := range list {
		for off := int(r.addr - s.s.addr); off < int(r.end-s.s.addr); off += s.form.size {
			at, ok := s.target(off + s.form.field)
			if ok {
				s.low = min(s.low, s.s.addr+uint64(at))
			}
			if at, ok = s.target(off + 2*s.form.field); s.form.ns && ok {
				s.low = min(s.low, s.s.addr+uint64(at))
			}
		}
	}
}

// searchExports looks for the tables in all of memory.
func (im *Image) searchExports() []ksymtab.LinkedTable {
	for _, form := range im.forms() {
		for i := range im.mem.segs {
			s := &searcher{m: im.mem, s: &im.mem.segs[i], form: form}
			if list := s.tables(); len(list) > 0 {
				s.strings(list)
				return im.companions(s, list)
			}
		}
	}
	return nil
}

// companions gives the tables their names, CRCs and flags, which stand between them and the strings.
func (im *Image) companions(s *searcher, list []run) []ksymtab.LinkedTable {
	if len(list) > len(exportSections) {
		im.note("%d tables of exports in a row: those behind the fifth were left out", len(list))
		list = list[:len(exportSections)]
	}
	tables := make([]ksymtab.LinkedTable, len(list))
	total := uint64(0)
	for i, r := range list {
		tables[i] = ksymtab.LinkedTable{Name: exportSections[i][0], Addr: r.addr, Data: s.m.at(r.addr).Clip(0, r.end-r.addr)}
		total += uint64(r.n)
	}
	end := list[len(list)-1].end
	gap := uint64(0)
	if s.low > end {
		gap = s.low - end
	}
	if len(list) == 1 {
		// One table of all, from 7.1 on: with a flag for each entry.
		n := total
		flags := func(at uint64) bool {
			v := s.m.at(at).Clip(0, n)
			return v.Len() == n && len(bytes.Trim(v.Bytes(), "\x00\x01")) == 0
		}
		switch {
		case gap >= 5*n && gap < 5*n+maxGap && flags(end+4*n):
			tables[0].CRCs, tables[0].CRCAddr, tables[0].Flags = s.m.at(end).Clip(0, 4*n), end, s.m.at(end+4*n).Clip(0, n)
			return tables
		case gap >= 5*n && gap < 5*n+maxGap && flags(end):
			at := (end + n + 3) &^ 3
			tables[0].CRCs, tables[0].CRCAddr, tables[0].Flags = s.m.at(at).Clip(0, 4*n), at, s.m.at(end).Clip(0, n)
			return tables
		case gap >= n && gap < n+maxGap && flags(end):
			tables[0].Flags = s.m.at(end).Clip(0, n)
			return tables
		}
	}
	if gap >= 4*total && gap < 4*total+maxGap {
		for i, r := range list {
			tables[i].CRCs, tables[i].CRCAddr = s.m.at(end).Clip(0, 4*uint64(r.n)), end
			end += 4 * uint64(r.n)
		}
	}
	if len(list) > 2 {
		im.note("%d tables of exports: which kinds those behind __ksymtab_gpl are was guessed", len(list))
	}
	return tables
}

// locate finds out where an image without headers is linked to, the address of its first byte, and its tables of exports.
func (im *Image) locate(textOffset uint64) []ksymtab.LinkedTable {
	type candidate struct {
		base  uint64
		score int
	}
	m := im.mem
	rel := m.findRelocs(m.segs[0].data, im.Arch)
	var list []candidate
	for _, base := range im.bases(textOffset) {
		if n := im.score(base, rel); n > 0 {
			list = append(list, candidate{base, n})
		}
	}
	slices.SortStableFunc(list, func(a, b candidate) int { return b.score - a.score })
	if len(list) == 0 {
		m.noBase = true
		return im.searchExports()
	}
	m.segs[0].addr = list[0].base
	if rel != nil {
		if k := im.kallsyms(); k != nil && k.base == 0 {
			k.base, _ = rel.at(list[0].base + k.basePlace)
		}
		if !im.Arch.PREL32 {
			m.relocate(rel)
		}
	}
	for _, c := range list {
		m.segs[0].addr = c.base
		// With pointers in full the names tell whether the base is right.
		if tables := im.searchExports(); len(tables) > 0 || im.Arch.PREL32 {
			return tables
		}
	}
	m.segs[0].addr = list[0].base
	return nil
}

// bases are the addresses that kernels of the machine are linked to.
//
// Source: arch/arm64/include/asm/memory.h: KIMAGE_VADDR (5.4 to 7.2); arch/riscv: KERNEL_LINK_ADDR; arch/s390/kernel/vmlinux.lds.S;
// arch/loongarch/Makefile: load-y; arch/arm: PAGE_OFFSET, TEXT_OFFSET; arch/mips: load-y.
func (im *Image) bases(textOffset uint64) []uint64 {
	var list []uint64
	if k := im.kallsyms(); k != nil && k.base != 0 {
		list = append(list, k.base)
	}
	switch im.Arch.Name {
	case "arm64", "arm64be":
		for _, bits := range []uint{48, 39, 52, 47, 42, 36} {
			end := ^uint64(0) << (bits - 1)
			list = append(list, end+0x80000000, end+0x08000000, end+0x10000000, end+0x08080000, end+0x10080000)
		}
	case "riscv64":
		list = append(list, 0xffffffff80000000, 0xffffffe000000000, 0xffffffff80200000)
	case "riscv32":
		list = append(list, 0xc0000000)
	case "loongarch64":
		list = append(list, 0x9000000000200000, 0x9000000001000000, 0x9000000000000000)
	case "s390x":
		list = append(list, 0x100000, 0, 0x3ffe0000000, 0x3ffe0100000, 0x10000)
	case "arm", "armeb":
		for _, page := range []uint64{0xc0000000, 0x80000000, 0xb0000000, 0x40000000} {
			if textOffset != 0 {
				list = append(list, page+textOffset)
			}
			list = append(list, page+0x8000, page+0x208000, page+0x308000)
		}
	}
	return list
}

// score counts for how many of some samples the base makes sense.
func (im *Image) score(base uint64, rel *relocs) int {
	const samples = 2048
	m := im.mem
	b := m.segs[0].data
	n := uint64(len(b))
	good := 0
	if rel != nil {
		rela := rel.rela
		// Each relocation must lead to a place that has its addend already, or nothing.
		count := rela.Len() / relaSize
		for i := range min(count, samples) {
			r := rela.Clip(i*count/min(count, samples)*relaSize, relaSize)
			if at := r.U64(0) - base; at < n && 8 <= n-at {
				if v := m.long(b, int(at)); v == 0 || v == r.U64(16) {
					good++
				}
			}
		}
		return good
	}
	// Pointers into the image, by the words of some pages.
	const page = 4096
	pages := n / page
	for i := range min(pages, samples) {
		at := int(i * pages / min(pages, samples) * page)
		for off := at; off < at+page/8; off += m.word {
			if v := m.long(b, off); v != 0 && v-base < n {
				good++
			}
		}
	}
	return good
}
