package kimage

import (
	"encoding/binary"
	"sort"

	"kotool/internal/bin"
)

// segment is memory of the kernel that the image has the content of.
type segment struct {
	addr uint64 // 0 in an image whose base is not known
	off  uint64 // in the plain kernel
	data []byte
}

// memory is the kernel as it is linked: the segments by address.
type memory struct {
	segs []segment // in ascending order
	word int       // of an unsigned long, in bytes
	big  bool
	// noBase says that addresses count from the beginning of the image.
	noBase bool
	// noSections says that an ELF file lacks section headers: its tables must be looked for.
	noSections bool
	last       int // of segs, looked at first
}

// find is the segment that has addr, or nil.
func (m *memory) find(addr uint64) *segment {
	if m.last < len(m.segs) {
		if s := &m.segs[m.last]; addr >= s.addr && addr-s.addr < uint64(len(s.data)) {
			return s
		}
	}
	i := sort.Search(len(m.segs), func(i int) bool { return m.segs[i].addr > addr }) - 1
	if i < 0 || addr-m.segs[i].addr >= uint64(len(m.segs[i].data)) {
		return nil
	}
	m.last = i
	return &m.segs[i]
}

// at is what stands at addr and behind it. It implements ksymtab.Memory.
func (m *memory) at(addr uint64) bin.View {
	s := m.find(addr)
	if s == nil {
		return bin.New(nil, 0, m.big)
	}
	return bin.New(s.data[addr-s.addr:], s.off+addr-s.addr, m.big)
}

func (m *memory) order() binary.ByteOrder {
	if m.big {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// u32 and long read at an offset in b, which must be inside.
func (m *memory) u32(b []byte, off int) uint32 {
	if m.big {
		return binary.BigEndian.Uint32(b[off:])
	}
	return binary.LittleEndian.Uint32(b[off:])
}

func (m *memory) long(b []byte, off int) uint64 {
	switch {
	case m.word == 4:
		return uint64(m.u32(b, off))
	case m.big:
		return binary.BigEndian.Uint64(b[off:])
	}
	return binary.LittleEndian.Uint64(b[off:])
}

// trim makes an address as wide as the machine's are.
func (m *memory) trim(addr uint64) uint64 {
	if m.word == 4 {
		return uint64(uint32(addr))
	}
	return addr
}
