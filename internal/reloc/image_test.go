package reloc

import (
	"debug/elf"
	"strings"

	kelf "kotool/internal/elf"
)

// memImage is an Image in memory, for tests.
type memImage struct {
	name    string
	machine elf.Machine
	secs    []memSection
	rels    map[int][]kelf.Rel
	syms    []Symbol
	names   [][]byte
	kernel  map[string]uint64
	start   uint64 // of the text region
	head    []byte // at its start
	lines   []string
	trace   Tracer
}

type memSection struct {
	Section
	addr uint64
	data []byte
}

func (m *memImage) Name() string                { return m.name }
func (m *memImage) Sections() int               { return len(m.secs) }
func (m *memImage) Section(i int) Section       { return m.secs[i].Section }
func (m *memImage) SetSection(i int, s Section) { m.secs[i].Section = s }
func (m *memImage) Symbols() int                { return len(m.syms) }
func (m *memImage) TextStart() uint64           { return m.start }
func (m *memImage) Addr(i int) uint64           { return m.secs[i].addr }
func (m *memImage) Printk(l Line)               { m.lines = append(m.lines, l.Text) }
func (m *memImage) Trace() Tracer               { return m.trace }
func (m *memImage) Relocs(i int) []kelf.Rel     { return m.rels[i] }
func (m *memImage) Table(int) *kelf.RelTable    { return nil }
func (m *memImage) Symtab() []byte              { return nil }

func (m *memImage) Init(i int) bool {
	name := m.secs[i].Name
	if m.machine == elf.EM_PPC64 {
		return false
	}
	if m.machine == elf.EM_ARM && (strings.HasPrefix(name, ".ARM.extab.init") || strings.HasPrefix(name, ".ARM.exidx.init")) {
		return true
	}
	return strings.HasPrefix(name, ".init")
}

func (m *memImage) Symbol(i uint32) (Symbol, bool) {
	if uint64(i) >= uint64(len(m.syms)) {
		return Symbol{}, false
	}
	return m.syms[i], true
}

func (m *memImage) SetSymbol(i uint32, s Symbol) { m.syms[i] = s }

func (m *memImage) SymbolName(i uint32) []byte {
	if uint64(i) >= uint64(len(m.names)) {
		return nil
	}
	return m.names[i]
}

func (m *memImage) Bytes(section int, off, n uint64) []byte {
	d := m.secs[section].data
	if off > uint64(len(d)) || n > uint64(len(d))-off {
		return nil
	}
	return d[off : off+n : off+n]
}

func (m *memImage) Memory(addr, n uint64) []byte {
	if off := addr - m.start; off <= uint64(len(m.head)) && n <= uint64(len(m.head))-off {
		return m.head[off : off+n : off+n]
	}
	for i := range m.secs {
		if s := &m.secs[i]; len(s.data) > 0 && addr >= s.addr {
			if b := m.Bytes(i, addr-s.addr, n); b != nil {
				return b
			}
		}
	}
	return nil
}

func (m *memImage) Kernel(name string) (uint64, bool) {
	a, ok := m.kernel[name]
	return a, ok
}

// place lays out the head of the text region.
func (m *memImage) place(start, size uint64) {
	m.start, m.head = start, make([]byte, size)
}
