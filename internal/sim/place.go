package sim

import (
	stdelf "debug/elf"
	"fmt"

	"kotool/internal/diag"
)

func (s *state) layoutAndAllocate() (diag.Errno, error) {
	c := s.Load
	s.lay(s.link.TextHead(), s.link.Prepend)
	l := s.layout
	total := uint64(0)
	for k := range kinds {
		total += l.counters[k]
	}
	room := s.k.room(l.region(Text), l.page)
	if total > room || total > 64<<20+16*s.size {
		if total <= room {
			// More than is held in memory here for such a file, and possible: the answer is not made up.
			return 0, fmt.Errorf("the module takes %d bytes of memory, too many to be simulated", total)
		}
		return c.Fail(diag.Memory, fmt.Sprintf("the module takes %d bytes, there is room for %d", total, room)), nil
	}
	fixed, err := s.fixedBases()
	if err != nil {
		return 0, err
	}
	var apart [kinds]bool
	for k := range kinds { // what is given goes first: the rest keeps out of its way
		if at, ok := fixed[k]; ok {
			apart[k] = !s.k.occupy(at, l.pages(k), l.page)
		}
	}
	var base [kinds]int
	total = 0
	for k := range kinds {
		if l.counters[k] == 0 && !(l.model == coreInit && k == Core) {
			continue
		}
		size := l.pages(k)
		at, ok := fixed[k]
		if !ok {
			if at, ok = s.k.allocate(k, size, l.page); !ok {
				return c.Fail(diag.Memory, fmt.Sprintf("there are no %d bytes left for modules", size)), nil
			}
		}
		total += size
		b := s.k.take(size)
		s.regions = append(s.regions, Region{Kind: k, Base: at, Size: size, Used: l.counted(k, size), apart: apart[k], mem: b})
		base[k] = len(s.regions) - 1
		if err := s.mem.add(at, b); err != nil {
			return 0, err
		}
	}
	s.note("%d regions, %d bytes", len(s.regions), total)
	// move_module
	for i := range c.Hdr {
		h, p := &c.Hdr[i], &l.places[i]
		if p.Region < 0 || h.Flags&stdelf.SHF_ALLOC == 0 {
			continue
		}
		r := &s.regions[base[p.Region]]
		p.Region = base[p.Region]
		p.Addr = r.Base + p.Off
		if h.Type != stdelf.SHT_NOBITS && h.Size > 0 {
			dst := s.mem.at(p.Addr, h.Size)
			src := s.mem.at(h.Addr, h.Size)
			if dst == nil || src == nil {
				return 0, fmt.Errorf("section %d of %#x bytes is copied to %#x: past the end of its region", i, h.Size, p.Addr)
			}
			copy(dst, src)
		}
		h.Addr = p.Addr
		if s.tr != nil {
			s.tr.Placed(i, h.Name, r.Kind.String(), p.Addr, h.Size)
		}
	}
	for i := range l.places {
		if p := &l.places[i]; p.Addr == 0 {
			p.Region = -1
		}
	}
	s.writeHeaders()
	return 0, s.fillStruct()
}

// counted is a region's size as /proc/modules has it.
func (l *layout) counted(k Kind, size uint64) uint64 {
	if l.model == memTypes {
		return size
	}
	return l.counters[k]
}

// pages is the room that a region takes, in whole pages, bytes.
func (l *layout) pages(k Kind) uint64 { return (l.counters[k] + l.page - 1) &^ (l.page - 1) }

// fixedBases are the regions' addresses that follow from those of sections.
func (s *state) fixedBases() (map[Kind]uint64, error) {
	f := s.req.Fixed
	if f == nil {
		return nil, nil
	}
	if f.Strict {
		if err := s.placeable(f.Names); err != nil {
			return nil, err
		}
	}
	bases := map[Kind]uint64{}
	seen := map[string]int{}
	for i := range s.layout.places {
		seen[s.Load.Hdr[i].Name]++
	}
	for i := range s.layout.places {
		p := &s.layout.places[i]
		if p.Region < 0 {
			continue
		}
		k := Kind(p.Region)
		a, ok := f.Sections[i]
		if name := s.Load.Hdr[i].Name; !ok && seen[name] == 1 {
			a, ok = f.Names[name]
		}
		if _, have := bases[k]; ok && !have && a >= p.Off && s.Load.Hdr[i].Size > 0 {
			bases[k] = a - p.Off
		}
	}
	return bases, nil
}

// percpuBase is what the address of a per-CPU symbol counts from.
func (s *state) percpuBase() uint64 {
	if s.percpuAt != 0 {
		return s.percpuAt
	}
	if f := s.req.Fixed; f != nil && f.Percpu != 0 {
		return f.Percpu
	}
	return usualOf(s.k.T.Arch).percpu
}

// writeHeaders puts the changed headers into the temporary copy, where careless names are read.
func (s *state) writeHeaders() {
	c := s.Load
	n := c.F.ShentsizeWant()
	for i := range c.Hdr {
		at := c.F.Header.Shoff + uint64(i)*n
		if at+n > uint64(len(s.copyOf)) {
			return
		}
		b, o := s.copyOf[at:at+n], s.img.order()
		h := &c.Hdr[i]
		if n == 64 {
			o.PutUint64(b[8:], uint64(h.Flags))
			o.PutUint64(b[16:], h.Addr)
			o.PutUint64(b[32:], h.Size)
			o.PutUint64(b[56:], s.layout.places[i].Entry)
		}
	}
	c.Reread(s.copyOf[:s.size])
}

// fillStruct is what the kernel writes into struct module before it relocates, as far as its layout is known: the state, the list of modules,
// and the lists of module_unload_init, which stand before exit.
func (s *state) fillStruct() error {
	c := s.Load
	w := c.Word()
	at := c.Hdr[c.Index.Mod].Addr
	put := func(off uint64, n uint64) {
		b := s.mem.at(at+off, n)
		for i := range b {
			b[i] = 0xff
		}
	}
	put(0, 1)
	put(w, 2*w)
	if e := s.k.T.Struct.Exit; e > 4*w && s.unload {
		put(e-4*w, 4*w)
	}
	return nil
}
