package sim

import (
	stdelf "debug/elf"
	"encoding/binary"
	"slices"

	"kotool/internal/elf"
	"kotool/internal/reloc"
)

// image is the module in memory as a Linker sees it.
type image struct {
	s    *state
	rels map[int][]elf.Rel     // copies, where they were asked for
	tabs map[int]*elf.RelTable // as the file has them
	tr   reloc.Tracer

	asked   []string // kernel symbols that the Linker has asked for
	symtab  []byte   // the symbol table, at symAddr
	symAddr uint64
}

func (m *image) hdr(i int) *elf.Section { return &m.s.Load.Hdr[i] }

func (m *image) Name() string                { return m.s.Load.Mod }
func (m *image) Sections() int               { return len(m.s.Load.Hdr) }
func (m *image) Section(i int) reloc.Section { return linkSection(m.hdr(i)) }

func (m *image) SetSection(i int, r reloc.Section) {
	h := m.hdr(i)
	h.Type, h.Flags, h.Size, h.Align, h.Info = r.Type, r.Flags, r.Size, r.Align, r.Info
}

func (m *image) Init(i int) bool {
	c := m.s.Load
	return isInit(c.F.Header.Machine, c.Hdr[i].Name, m.s.unload)
}

// Relocs is this load's copy of a relocation section's entries.
func (m *image) Relocs(i int) []elf.Rel {
	if list, ok := m.rels[i]; ok {
		return list
	}
	tab := m.table(i)
	if tab == nil {
		return nil
	}
	list := make([]elf.Rel, tab.Len())
	for k := range list {
		list[k] = tab.At(k)
	}
	m.rels[i] = list
	return list
}

func (m *image) Table(i int) *elf.RelTable {
	if _, ok := m.rels[i]; ok {
		return nil
	}
	return m.table(i)
}

func (m *image) table(i int) *elf.RelTable {
	if t, ok := m.tabs[i]; ok {
		return t
	}
	var t *elf.RelTable
	if h := m.hdr(i); h.Type == stdelf.SHT_REL || h.Type == stdelf.SHT_RELA {
		tab := m.s.Load.F.RelocsOf(h)
		t = &tab
	}
	m.tabs[i] = t
	return t
}

func (m *image) Symtab() []byte {
	m.entry(0)
	return m.symtab
}

func (m *image) order() binary.ByteOrder {
	if m.s.Load.F.Big {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

func (m *image) Symbols() int {
	c := m.s.Load
	if c.Index.Sym == 0 {
		return 0
	}
	return int(c.Hdr[c.Index.Sym].Size / symSize(c.Word()))
}

// entry is a symbol's bytes: in the loaded table, or behind it.
func (m *image) entry(i uint32) []byte {
	c := m.s.Load
	if c.Index.Sym == 0 {
		return nil
	}
	n := symSize(c.Word())
	if at := m.Addr(c.Index.Sym); m.symtab == nil || m.symAddr != at {
		m.symtab, m.symAddr = m.s.mem.at(at, c.Hdr[c.Index.Sym].Size), at
	}
	if off := uint64(i) * n; off+n <= uint64(len(m.symtab)) {
		return m.symtab[off : off+n : off+n]
	}
	return m.s.mem.at(m.Addr(c.Index.Sym)+uint64(i)*n, n)
}

func (m *image) Symbol(i uint32) (reloc.Symbol, bool) {
	b := m.entry(i)
	if b == nil {
		return reloc.Symbol{}, false
	}
	return reloc.SymbolOf(b, m.s.Load.F.Big), true
}

func (m *image) SetSymbol(i uint32, y reloc.Symbol) {
	b := m.entry(i)
	o := m.order()
	switch len(b) {
	case 16:
		o.PutUint32(b[4:], uint32(y.Value))
		b[12], b[13] = y.Info, y.Other
		o.PutUint16(b[14:], y.Shndx)
	case 24:
		o.PutUint64(b[8:], y.Value)
		b[4], b[5] = y.Info, y.Other
		o.PutUint16(b[6:], y.Shndx)
	}
}

func (m *image) SymbolName(i uint32) []byte {
	c := m.s.Load
	t := c.Symbols()
	if int64(i) >= int64(t.Len()) {
		return nil
	}
	return t.Name(t.At(int(i)))
}

func (m *image) Addr(i int) uint64 { return m.hdr(i).Addr }

func (m *image) Bytes(section int, off, n uint64) []byte {
	addr := m.hdr(section).Addr + off
	if m.s.Load.Word() == 4 {
		addr = uint64(uint32(addr))
	}
	return m.s.mem.at(addr, n)
}

func (m *image) Memory(addr, n uint64) []byte { return m.s.mem.at(addr, n) }

func (m *image) TextStart() uint64 {
	l := m.s.layout
	k := l.region(Text)
	for i := range m.s.regions {
		if m.s.regions[i].Kind == k {
			return m.s.regions[i].Base
		}
	}
	return 0
}

// Kernel is the address of a kernel symbol that the Linker itself uses.
func (m *image) Kernel(name string) (uint64, bool) {
	a, ok := m.s.k.kernelSymbol(name)
	if ok && m.s.k.Addr != nil && !slices.Contains(m.asked, name) {
		m.asked = append(m.asked, name)
		m.s.res.Asked++
		m.s.noteMade(name, m.s.k.madeUp(name))
	}
	return a, ok
}

func (m *image) Printk(l reloc.Line) { m.s.lines = append(m.s.lines, l) }

func (m *image) Trace() reloc.Tracer { return m.tr }
