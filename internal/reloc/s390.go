package reloc

import (
	"debug/elf"

	"kotool/internal/diag"
)

// s390Linker relocates for s390 (64 bits): arch/s390/kernel/module.c.
// ABI: ELF Application Binary Interface s390x Supplement, section "Relocation".
//
// Odd: GOT and PLT are in no section but at the start of the text region, one slot per symbol index that needs one,
// whether it is used or not; a slot holds the symbol without the addend; PLT16DBL and PLT32DBL go straight to
// the symbol where that is near, but write the slot all the same.
type s390Linker struct {
	base
	syms         []s390Sym
	got, plt     uint64 // bytes; plt with the thunk
	pltOff       uint64 // in the text region, where the GOT begins at 0
	headReserved uint64
}

// s390Sym is what a symbol has in GOT and PLT; an offset of -1 is none.
type s390Sym struct {
	got, plt         int64
	gotDone, pltDone bool
}

const s390PLTEntry = 22 // bytes

// s390Class says what a relocation type needs.
type s390Class uint8

const (
	s390Bad s390Class = iota
	s390None
	s390Abs    // S + A
	s390PC     // S + A - P
	s390GOT    // slot + A
	s390GOTEnt // GOT + slot + A - P
	s390PLT    // S or slot, + A - P
	s390PLTOff // slot - GOT + A
	s390GOTOff // S + A - GOT
	s390GOTPC  // GOT + A - P
	s390Silent // refused without a word
)

// s390Field is where the value goes.
type s390Field struct {
	class  s390Class
	signed bool
	bits   uint8
	shift  uint8
}

// s390Fields are the fields by type.
var s390Fields = [...]s390Field{
	0:  {class: s390None},
	1:  {s390Abs, false, 8, 0},
	2:  {s390Abs, false, 12, 0},
	3:  {s390Abs, false, 16, 0},
	4:  {s390Abs, false, 32, 0},
	5:  {s390PC, true, 32, 0},
	6:  {s390GOT, false, 12, 0},
	7:  {s390GOT, false, 32, 0},
	8:  {s390PLT, false, 32, 0},
	9:  {class: s390Silent},
	10: {class: s390Silent},
	11: {class: s390Silent},
	12: {class: s390Silent},
	13: {s390GOTOff, false, 32, 0},
	14: {s390GOTPC, true, 32, 0},
	15: {s390GOT, false, 16, 0},
	16: {s390PC, true, 16, 0},
	17: {s390PC, true, 16, 1},
	18: {s390PLT, true, 16, 1},
	19: {s390PC, true, 32, 1},
	20: {s390PLT, true, 32, 1},
	21: {s390GOTPC, true, 32, 1},
	22: {s390Abs, false, 64, 0},
	23: {s390PC, true, 64, 0},
	24: {s390GOT, false, 64, 0},
	25: {s390PLT, false, 64, 0},
	26: {s390GOTEnt, true, 32, 1},
	27: {s390GOTOff, false, 16, 0},
	28: {s390GOTOff, false, 64, 0},
	29: {s390GOT, false, 12, 0},
	30: {s390GOT, false, 16, 0},
	31: {s390GOT, false, 32, 0},
	32: {s390GOT, false, 64, 0},
	33: {s390GOTEnt, true, 32, 1},
	34: {s390PLTOff, false, 16, 0},
	35: {s390PLTOff, false, 32, 0},
	36: {s390PLTOff, false, 64, 0},
	57: {s390Abs, true, 20, 0},
	58: {s390GOT, true, 20, 0},
	59: {s390GOT, true, 20, 0},
}

func s390FieldOf(typ uint32) s390Field {
	if uint64(typ) < uint64(len(s390Fields)) {
		return s390Fields[typ]
	}
	return s390Field{}
}

// Frob is module_frob_arch_sections: GOT and PLT slots in the order of first use, in all relocation sections.
func (l *s390Linker) Frob() (diag.Errno, error) {
	l.relsec, l.entry = 0, 0
	symtab := false
	for i := range l.Sections() {
		symtab = symtab || l.Section(i).Type == elf.SHT_SYMTAB
	}
	if !symtab {
		l.log(levelErr, MissingSection, "module %s: no symbol table", l.Name())
		return diag.ENOEXEC, nil
	}
	l.syms = make([]s390Sym, l.Symbols())
	for i := range l.syms {
		l.syms[i] = s390Sym{got: -1, plt: -1}
		if s, ok := l.Symbol(uint32(i)); ok && s.Shndx == uint16(elf.SHN_UNDEF) && string(l.SymbolName(uint32(i))) == "_GLOBAL_OFFSET_TABLE_" {
			s.Shndx = uint16(elf.SHN_ABS)
			l.SetSymbol(uint32(i), s)
		}
	}
	for i := range l.Sections() {
		if l.Section(i).Type != elf.SHT_RELA {
			continue
		}
		list := EntriesOf(l, i)
		for k := range list.Len() {
			r := list.At(k)
			class := s390FieldOf(r.Type).class
			if class != s390GOT && class != s390GOTEnt && class != s390PLT && class != s390PLTOff {
				continue
			}
			if uint64(r.Sym) >= uint64(len(l.syms)) {
				return 0, &UndefinedError{Cause: SymbolOutside, Relsec: i, Entry: k, Off: uint64(r.Sym)}
			}
			s := &l.syms[r.Sym]
			if class == s390GOT || class == s390GOTEnt {
				if s.got < 0 {
					s.got = int64(l.got)
					l.got += 8
				}
			} else if s.plt < 0 {
				s.plt = int64(l.plt)
				l.plt += s390PLTEntry
			}
		}
	}
	l.pltOff = l.got
	if l.plt > 0 && l.t.S390.Expoline {
		l.plt += s390PLTEntry
	}
	l.headReserved = l.pltOff + l.plt
	return 0, nil
}

func (l *s390Linker) TextHead() uint64 { return l.headReserved }

func (l *s390Linker) Apply(relsec int) (diag.Errno, error) {
	return l.apply(relsec, l.one)
}

func (l *s390Linker) one(p *place) (diag.Errno, error) {
	f := s390FieldOf(p.Type)
	val, A := p.S, uint64(p.Addend)
	switch f.class {
	case s390None:
		return 0, nil
	case s390Abs:
		val += A
	case s390PC:
		val += A - p.P
	case s390GOT, s390GOTEnt:
		s, err := l.gotSlot(p)
		if err != nil {
			return 0, err
		}
		val = uint64(s.got) + A
		if f.class == s390GOTEnt {
			val += l.TextStart() - p.P // the GOT is at the start, so that its offset, which 5.10 and 6.1 leave out, is 0
		}
	case s390PLT, s390PLTOff:
		s, err := l.pltSlot(p)
		if err != nil {
			return 0, err
		}
		if f.class == s390PLTOff {
			val = l.pltOff + uint64(s.plt) + A
			break
		}
		near := p.Type == 18 && val-p.P+0xffff < 0x1ffffe || p.Type == 20 && val-p.P+0xffffffff < 0x1fffffffe
		if !near {
			val = l.TextStart() + l.pltOff + uint64(s.plt)
		}
		val += A - p.P
	case s390GOTOff:
		val += A - l.TextStart()
	case s390GOTPC:
		val = l.TextStart() + A - p.P
	case s390Silent:
		return diag.ENOEXEC, nil
	default:
		l.log(levelErr, UnknownType, "module %s: unknown relocation: %d", l.Name(), p.Type)
		return diag.ENOEXEC, nil
	}
	ok, err := l.put(p, f, val)
	if err != nil {
		return 0, err
	}
	if !ok {
		l.log(levelErr, Overflow, "module %s: relocation error for symbol %s (r_type %d, value 0x%x)", l.Name(), l.SymbolName(p.Sym), p.Type, val)
		return diag.ENOEXEC, nil
	}
	return 0, nil
}

// put is apply_rela_bits; false where the value does not fit.
func (l *s390Linker) put(p *place, f s390Field, val uint64) (bool, error) {
	if val&(1<<f.shift-1) != 0 {
		return false, nil
	}
	if f.signed {
		val = uint64(int64(val) >> f.shift)
		if f.bits < 64 && !fits(int64(val), uint(f.bits)) {
			return false, nil
		}
	} else if val >>= f.shift; f.bits < 64 && val >= 1<<f.bits {
		return false, nil
	}
	size := uint64(f.bits+7) / 8
	if f.bits == 20 {
		size = 4
	}
	loc, err := l.at(p, size)
	if err != nil {
		return false, err
	}
	switch f.bits {
	case 8:
		loc[0] = byte(val)
	case 12: // the displacement below a base register
		l.order.PutUint16(loc, uint16(val&0xfff)|l.order.Uint16(loc)&0xf000)
	case 16:
		l.order.PutUint16(loc, uint16(val))
	case 20: // DL in bits 27:16, DH in bits 15:8
		l.order.PutUint32(loc, uint32(val&0xfff)<<16|uint32(val&0xff000)>>4|l.order.Uint32(loc)&0xf00000ff)
	case 32:
		l.order.PutUint32(loc, uint32(val))
	case 64:
		l.order.PutUint64(loc, val)
	}
	return true, nil
}

// slots are what a symbol got in Frob.
func (l *s390Linker) slots(p *place) (*s390Sym, error) {
	if uint64(p.Sym) >= uint64(len(l.syms)) {
		return nil, l.undefined(SymbolOutside, uint64(p.Sym))
	}
	return &l.syms[p.Sym], nil
}

// headBytes are n bytes of the text region before the first section.
func (l *s390Linker) headBytes(off int64, n uint64) ([]byte, uint64, error) {
	at := l.TextStart() + uint64(off)
	if off < 0 || uint64(off) > l.headReserved || n > l.headReserved-uint64(off) {
		return nil, 0, l.undefined(TableFull, uint64(off))
	}
	b := l.Memory(at, n)
	if uint64(len(b)) != n {
		return nil, 0, l.undefined(TableFull, uint64(off))
	}
	return b, at, nil
}

func (l *s390Linker) gotSlot(p *place) (*s390Sym, error) {
	s, err := l.slots(p)
	if err != nil || s.gotDone {
		return s, err
	}
	b, at, err := l.headBytes(s.got, 8)
	if err != nil {
		return nil, err
	}
	l.order.PutUint64(b, p.S)
	s.gotDone = true
	l.emitted("got", at, 8, p.S)
	return s, nil
}

// pltSlot writes a symbol's PLT slot at its first use:
//
//	basr %r1,%r0
//	lg   %r1,12(%r1)    the address at +14
//	br   %r1            or brcl 15 to the expoline thunk
func (l *s390Linker) pltSlot(p *place) (*s390Sym, error) {
	s, err := l.slots(p)
	if err != nil || s.pltDone {
		return s, err
	}
	b, at, err := l.headBytes(int64(l.pltOff)+s.plt, s390PLTEntry)
	if err != nil {
		return nil, err
	}
	copy(b, []byte{0x0d, 0x10, 0xe3, 0x10, 0x10, 0x0c, 0x00, 0x04, 0x07, 0xf1, 0, 0, 0, 0})
	if l.t.S390.Expoline {
		thunk := l.TextStart() + l.pltOff + l.plt - s390PLTEntry
		b[8], b[9] = 0xc0, 0xf4
		l.order.PutUint32(b[10:], uint32(int64(thunk-(at+8))/2))
	}
	l.order.PutUint64(b[14:], p.S)
	s.pltDone = true
	l.emitted("plt", at, s390PLTEntry, p.S)
	return s, nil
}

// Finalize writes the expoline thunk behind the last PLT slot.
func (l *s390Linker) Finalize() (diag.Errno, error) {
	if !l.t.S390.Expoline || l.plt == 0 {
		return 0, nil
	}
	l.relsec, l.entry = 0, 0
	if !l.t.S390.EXRL {
		return 0, &UndefinedError{Cause: KernelUnknown, What: "the trampoline in the lowcore that a thunk without EXRL executes"}
	}
	b, at, err := l.headBytes(int64(l.pltOff+l.plt-s390PLTEntry), 12)
	if err != nil {
		return 0, err
	}
	copy(b, []byte{
		0xc6, 0x00, 0x00, 0x00, 0x00, 0x05, // exrl %r0,.+10
		0xa7, 0xf4, 0x00, 0x00, // j .
		0x07, 0xf1, // br %r1
	})
	l.emitted("thunk", at, 12, 0)
	return 0, nil
}
