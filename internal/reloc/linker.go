package reloc

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"iter"
	"math/bits"

	"kotool/internal/diag"
	kelf "kotool/internal/elf"
)

// Begin makes the Linker of one load of a module of that machine. The error is ErrMachine.
func Begin(m elf.Machine, class elf.Class, big bool, img Image, t Traits) (Linker, error) {
	b := base{Image: img, t: t, m: m, class: class, order: byteOrder{big}, rela: true}
	switch m {
	case elf.EM_X86_64:
		return &x86Linker{base: b}, nil
	case elf.EM_386:
		b.rel, b.rela = true, false
		return &i386Linker{base: b}, nil
	case elf.EM_AARCH64:
		return &arm64Linker{base: b}, nil
	case elf.EM_RISCV:
		return &riscvLinker{base: b}, nil
	case elf.EM_S390, em390Old:
		if class == elf.ELFCLASS64 {
			return &s390Linker{base: b}, nil
		}
	case elf.EM_PPC64:
		if !t.PPC64.PCREL {
			return &ppc64Linker{base: b}, nil
		}
	case elf.EM_ARM:
		b.rel, b.rela = true, false
		return &armLinker{base: b}, nil
	case elf.EM_MIPS:
		b.rel, b.rela = true, class == elf.ELFCLASS64
		return &mipsLinker{base: b}, nil
	case elf.EM_LOONGARCH:
		if class == elf.ELFCLASS64 {
			return &loongLinker{base: b}, nil
		}
	case elf.EM_PPC:
		return &ppc32Linker{base: b}, nil
	case elf.EM_SPARCV9:
		return &sparcLinker{base: b}, nil
	case elf.EM_PARISC:
		return &pariscLinker{base: b}, nil
	}
	return nil, ErrMachine
}

// byteOrder is the order of a machine's data. It is no interface, so that reading an instruction is no call.
type byteOrder struct{ big bool }

func (o byteOrder) Uint16(b []byte) uint16 {
	if o.big {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

func (o byteOrder) Uint32(b []byte) uint32 {
	if o.big {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

func (o byteOrder) Uint64(b []byte) uint64 {
	if o.big {
		return binary.BigEndian.Uint64(b)
	}
	return binary.LittleEndian.Uint64(b)
}

func (o byteOrder) PutUint16(b []byte, v uint16) {
	if o.big {
		v = bits.ReverseBytes16(v)
	}
	binary.LittleEndian.PutUint16(b, v)
}

func (o byteOrder) PutUint32(b []byte, v uint32) {
	if o.big {
		v = bits.ReverseBytes32(v)
	}
	binary.LittleEndian.PutUint32(b, v)
}

func (o byteOrder) PutUint64(b []byte, v uint64) {
	if o.big {
		v = bits.ReverseBytes64(v)
	}
	binary.LittleEndian.PutUint64(b, v)
}

// base is what all Linkers share.
type base struct {
	Image
	t     Traits
	m     elf.Machine
	class elf.Class
	order byteOrder

	rel, rela bool // the forms of relocation that the machine takes: MODULES_USE_ELF_REL, MODULES_USE_ELF_RELA

	relsec, entry int // being applied

	// What is read for each entry of the section that is being applied.
	content []byte // of the target
	size    uint64 // of the target, by its header
	symtab  []byte
	some    [batch]kelf.Rel
	fetched byte
}

func (*base) Frob() (diag.Errno, error)     { return 0, nil }
func (*base) TextHead() uint64              { return 0 }
func (*base) Prepend(int) uint64            { return 0 }
func (*base) Finalize() (diag.Errno, error) { return 0, nil }

// place is one relocation ready to be applied. It and its entry are another's afterwards.
type place struct {
	*kelf.Rel
	target int
	sym    Symbol
	S, P   uint64
}

// apply calls one for each entry of a relocation section, in the order of the load. loc is nil for a type whose Howto has no size.
func (b *base) apply(relsec int, one func(p *place) (diag.Errno, error)) (diag.Errno, error) {
	return b.applySome(relsec, 0, b.length(relsec), one)
}

// Entries are those of a relocation section in the order of the load, without a copy where the file's order holds.
type Entries struct {
	table *kelf.RelTable
	own   []kelf.Rel
}

// EntriesOf are those of an Image's section.
func EntriesOf(img Image, relsec int) Entries {
	if t := img.Table(relsec); t != nil {
		return Entries{table: t}
	}
	return Entries{own: img.Relocs(relsec)}
}

// Len is the number of entries.
func (e *Entries) Len() int {
	if e.table != nil {
		return e.table.Len()
	}
	return len(e.own)
}

// At is an entry, which must be below Len.
func (e *Entries) At(i int) kelf.Rel {
	if e.table != nil {
		return e.table.At(i)
	}
	return e.own[i]
}

// raw are the entries' bytes as RelTable.Raw has them, nil where there are none.
func (e *Entries) raw() []byte {
	if e.table == nil {
		return nil
	}
	return e.table.Raw()
}

// batch is how many entries are read at a time. In a large module most of an entry's time is waiting for its place and its symbol: those of a
// batch are waited for together.
const batch = 32

// from are the entries from number i on, up to end, no more than a batch. They stand in buf where the table has to be decoded.
func (e *Entries) from(i, end int, buf *[batch]kelf.Rel) []kelf.Rel {
	end = min(end, i+batch)
	if e.table == nil {
		return e.own[i:end]
	}
	return e.table.Read(buf[:end-i], i)
}

// length is the number of entries of a relocation section.
func (b *base) length(relsec int) int {
	e := EntriesOf(b, relsec)
	return e.Len()
}

// begin is what stands before the first entry: the form of the section, and whether it has a target.
func (b *base) begin(relsec int) (target int, errno diag.Errno, err error) {
	s := b.Section(relsec)
	b.relsec, b.entry = relsec, 0
	if s.Type == elf.SHT_REL && !b.rel || s.Type == elf.SHT_RELA && !b.rela {
		b.log(levelErr, Form, "module %s: REL relocation unsupported", b.Name())
		return 0, diag.ENOEXEC, nil
	}
	if uint64(s.Info) >= uint64(b.Sections()) {
		return 0, 0, &UndefinedError{Cause: SectionOutside, Relsec: relsec, Off: uint64(s.Info)}
	}
	return int(s.Info), 0, nil
}

// applySome is apply for the entries from first to end.
func (b *base) applySome(relsec, first, end int, one func(p *place) (diag.Errno, error)) (diag.Errno, error) {
	target, errno, err := b.begin(relsec)
	if errno != 0 || err != nil {
		return errno, err
	}
	start := b.Addr(target)
	b.size = b.Section(target).Size
	b.content, b.symtab = b.Bytes(target, 0, b.size), b.Symtab()
	defer func() { b.content, b.symtab = nil, nil }()
	list := EntriesOf(b, relsec)
	tr := b.Trace()
	p := place{target: target}
	for i := first; i < end; {
		rels := list.from(i, end, &b.some)
		b.fetch(rels, list.own != nil)
		for k := range rels {
			b.entry, p.Rel = i, &rels[k]
			i++
			var ok bool
			if p.sym, ok = b.symbol(p.Sym); !ok {
				return 0, b.undefined(SymbolOutside, uint64(p.Sym))
			}
			p.S, p.P = p.sym.Value, start+p.Off
			if b.class == elf.ELFCLASS32 {
				p.P = uint64(uint32(p.P))
			}
			var before []byte
			if tr != nil {
				before = append(before, b.touched(&p)...)
			}
			errno, err := one(&p)
			if errno != 0 || err != nil {
				return errno, err
			}
			if tr != nil {
				tr.Relocated(Applied{Relsec: relsec, Entry: b.entry, Type: p.Type, Target: target, Off: p.Off, S: p.S, A: p.Addend, P: p.P, Before: before, After: b.touched(&p)})
			}
		}
	}
	return 0, nil
}

// fetch brings from memory what the entries need: loads that do not wait for one another. The sum keeps them in the program. In the file's order
// the places lie one behind the other, which a processor foresees; sorted says that they do not.
func (b *base) fetch(rels []kelf.Rel, sorted bool) {
	sum, size := byte(0), b.symbolSize()
	for i := range rels {
		if at := uint64(rels[i].Sym) * size; at < uint64(len(b.symtab)) {
			sum += b.symtab[at]
		}
		if off := rels[i].Off; sorted && off < uint64(len(b.content)) {
			sum += b.content[off]
		}
	}
	b.fetched = sum
}

// symbol is Symbol, from the table where it is in reach.
func (b *base) symbol(i uint32) (Symbol, bool) {
	size := b.symbolSize()
	if at := uint64(i) * size; at+size <= uint64(len(b.symtab)) {
		e := b.symtab[at : at+size : at+size]
		if len(e) == 24 && !b.order.big {
			return plainSymbol(e), true
		}
		return SymbolOf(e, b.order.big), true
	}
	return b.Symbol(i)
}

// symbolSize is the size of an entry of the symbol table, in bytes.
func (b *base) symbolSize() uint64 {
	if b.class == elf.ELFCLASS32 {
		return 16
	}
	return 24
}

// SymbolOf decodes an entry of a symbol table: 24 bytes for ELF64, 16 for ELF32.
func SymbolOf(e []byte, big bool) Symbol {
	switch {
	case len(e) == 24 && big:
		return Symbol{Value: binary.BigEndian.Uint64(e[8:]), Info: e[4], Other: e[5], Shndx: binary.BigEndian.Uint16(e[6:])}
	case len(e) == 24:
		return plainSymbol(e)
	case big:
		return Symbol{Value: uint64(binary.BigEndian.Uint32(e[4:])), Info: e[12], Other: e[13], Shndx: binary.BigEndian.Uint16(e[14:])}
	}
	return Symbol{Value: uint64(binary.LittleEndian.Uint32(e[4:])), Info: e[12], Other: e[13], Shndx: binary.LittleEndian.Uint16(e[14:])}
}

// plainSymbol is SymbolOf for little-endian ELF64: short enough to need no call.
func plainSymbol(e []byte) Symbol {
	return Symbol{Value: binary.LittleEndian.Uint64(e[8:]), Info: e[4], Other: e[5], Shndx: binary.LittleEndian.Uint16(e[6:])}
}

// touched are the bytes that a relocation's type touches; nil where they are not known or out of reach.
func (b *base) touched(p *place) []byte {
	if n := Lookup(b.m, b.class, p.Type).Size; n > 0 {
		return b.Bytes(p.target, p.Off, uint64(n))
	}
	return nil
}

// at returns n writable bytes at the place, or an *UndefinedError.
func (b *base) at(p *place, n uint64) ([]byte, error) {
	if have := uint64(len(b.content)); p.Off <= have && n <= have-p.Off {
		return b.content[p.Off : p.Off+n : p.Off+n], nil
	}
	if loc := b.Bytes(p.target, p.Off, n); uint64(len(loc)) == n {
		return loc, nil
	}
	return nil, b.undefined(PlaceOutside, p.Off)
}

func (b *base) undefined(c Cause, off uint64) error {
	return &UndefinedError{Cause: c, Relsec: b.relsec, Entry: b.entry, Off: off}
}

// log writes a line about the entry that is being applied.
func (b *base) log(level uint8, k Kind, format string, args ...any) {
	b.Printk(Line{Level: level, Text: fmt.Sprintf(format, args...), Kind: k, Relsec: b.relsec, Entry: b.entry})
}

// emitted tells the trace of a slot.
func (b *base) emitted(table string, addr, size, target uint64) {
	if tr := b.Trace(); tr != nil {
		tr.Emitted(Slot{Table: table, Addr: addr, Size: size, Target: target})
	}
}

// find returns the first section of that name.
func (b *base) find(name string) int {
	for i := 1; i < b.Sections(); i++ {
		if b.Section(i).Name == name {
			return i
		}
	}
	return 0
}

// target is the section that a relocation section is for; ok is false where its sh_info is past the table.
func (b *base) target(s Section) (Section, int, bool) {
	if uint64(s.Info) >= uint64(b.Sections()) {
		return Section{}, 0, false
	}
	return b.Section(int(s.Info)), int(s.Info), true
}

// code yields the relocation sections of a type whose target is executable, with that: of those machines count the entries of their PLTs. It
// stops at one whose sh_info is past the table, and bad says so.
func (b *base) code(typ elf.SectionType, bad *error) iter.Seq2[int, int] {
	return func(yield func(relsec, target int) bool) {
		for i := 1; i < b.Sections(); i++ {
			s := b.Section(i)
			if s.Type != typ {
				continue
			}
			b.relsec, b.entry = i, 0
			dst, target, ok := b.target(s)
			if !ok {
				*bad = b.undefined(SectionOutside, uint64(s.Info))
				return
			}
			if dst.Flags&elf.SHF_EXECINSTR != 0 && !yield(i, target) {
				return
			}
		}
	}
}

// errValue reports whether a value is one of the error numbers that a pointer can hold (IS_ERR_VALUE).
func (b *base) errValue(v uint64) bool {
	if b.class == elf.ELFCLASS32 {
		return uint32(v) >= 0xfffff001
	}
	return v >= 0xfffffffffffff001
}

// fits reports whether v is a signed number of so many bits.
func fits(v int64, bits uint) bool { return v >= -1<<(bits-1) && v < 1<<(bits-1) }

// sext sign-extends the low bits of v.
func sext(v uint64, bits uint) int64 { return int64(v<<(64-bits)) >> (64 - bits) }

// ptrval is what the kernel prints for a pointer that it cannot hash.
func (b *base) ptrval() string {
	if b.class == elf.ELFCLASS32 {
		return "(ptrval)"
	}
	return "(____ptrval____)"
}

// long cuts a value to an unsigned long.
func (b *base) long(v uint64) uint64 {
	if b.class == elf.ELFCLASS32 {
		return uint64(uint32(v))
	}
	return v
}

// signed is a long.
func (b *base) signed(v uint64) int64 {
	if b.class == elf.ELFCLASS32 {
		return int64(int32(v))
	}
	return int64(v)
}

// wordSize is sizeof(long).
func (b *base) wordSize() uint64 {
	if b.class == elf.ELFCLASS32 {
		return 4
	}
	return 8
}

// tableSlot returns the bytes and address of slot i of a table.
func (b *base) tableSlot(section int, i int, size uint64) ([]byte, uint64, error) {
	off := uint64(i) * size
	s := b.Bytes(section, off, size)
	if uint64(len(s)) != size {
		return nil, 0, b.full(section, off)
	}
	return s, b.Addr(section) + off, nil
}

// putLong stores an unsigned long.
func (b *base) putLong(loc []byte, v uint64) {
	if b.class == elf.ELFCLASS32 {
		b.order.PutUint32(loc, uint32(v))
	} else {
		b.order.PutUint64(loc, v)
	}
}

// store writes n bytes, 4 or 8.
func (b *base) store(p *place, n uint64, v uint64) error {
	loc, err := b.at(p, n)
	if err != nil {
		return err
	}
	if n == 8 {
		b.order.PutUint64(loc, v)
	} else {
		b.order.PutUint32(loc, uint32(v))
	}
	return nil
}

// full says that a table has no slot at off.
func (b *base) full(section int, off uint64) error {
	return &UndefinedError{Cause: TableFull, Relsec: b.relsec, Entry: b.entry, Off: off, What: b.Section(section).Name}
}
