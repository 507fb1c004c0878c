package reloc

import (
	"debug/elf"
	"encoding/binary"

	"kotool/internal/diag"
	kelf "kotool/internal/elf"
)

// x86Linker relocates for x86-64: arch/x86/kernel/module.c, __apply_relocate_add and __write_relocate_add.
// ABI: System V ABI, AMD64 Architecture Processor Supplement, section 4.4.
//
// Odd: PC32 and PLT32 are not checked for overflow; a place must be zero before it is written, and the value is
// checked before that; there are no PLTs, for modules lie within 2 GiB of the kernel.
type x86Linker struct{ base }

func (l *x86Linker) Apply(relsec int) (diag.Errno, error) {
	n, err := l.usual(relsec)
	if err != nil {
		return 0, err
	}
	return l.applySome(relsec, n, l.length(relsec), l.one)
}

// usual applies the entries from the first on as long as one after the other is what nearly all are: of a type, at a place and with a value
// that is taken. It returns how many it has applied; for the first that is not, one has the words.
func (l *x86Linker) usual(relsec int) (n int, err error) {
	list, symtab := EntriesOf(l, relsec), l.Symtab()
	entries := list.raw()
	if entries == nil || l.Trace() != nil {
		return 0, nil
	}
	target, errno, err := l.begin(relsec)
	if errno != 0 || err != nil {
		return 0, err
	}
	content := l.Bytes(target, 0, l.Section(target).Size)
	start := l.Addr(target)
	for ; len(entries) >= 24; n++ {
		r := kelf.PlainRel(entries)
		at := uint64(r.Sym) * 24
		if at+24 > uint64(len(symtab)) || r.Off > uint64(len(content)) {
			break
		}
		val, size, how := x86Value(r.Type, binary.LittleEndian.Uint64(symtab[at+8:])+uint64(r.Addend), start+r.Off)
		place := content[r.Off:]
		if how != x86Fits || uint64(len(place)) < size || !x86Put(place[:size], val) {
			break
		}
		entries = entries[24:]
	}
	return n, nil
}

func (l *x86Linker) one(p *place) (diag.Errno, error) {
	val, size, how := x86Value(p.Type, p.S+uint64(p.Addend), p.P)
	switch how {
	case x86Nothing:
		return 0, nil
	case x86Overflows:
		return l.overflow(p, val), nil
	case x86Unknown:
		l.log(levelErr, UnknownType, "module: %s: Unknown rela relocation: %d", l.Name(), p.Type)
		return diag.ENOEXEC, nil
	}
	loc, err := l.at(p, size)
	if err != nil {
		return 0, err
	}
	if !x86Put(loc, val) {
		return l.nonZero(p, val), nil
	}
	return 0, nil
}

// What becomes of a relocation before its place is looked at.
type x86Case uint8

const (
	x86Fits x86Case = iota
	x86Nothing
	x86Overflows
	x86Unknown
)

// x86Value is what a relocation writes, and how many bytes of it. val is S + A, at the place.
func x86Value(typ uint32, val, place uint64) (v, size uint64, how x86Case) {
	switch elf.R_X86_64(typ) {
	case elf.R_X86_64_NONE:
		return 0, 0, x86Nothing
	case elf.R_X86_64_64:
		return val, 8, x86Fits
	case elf.R_X86_64_32:
		if val != uint64(uint32(val)) {
			return val, 4, x86Overflows
		}
	case elf.R_X86_64_32S:
		if int64(val) != int64(int32(val)) {
			return val, 4, x86Overflows
		}
	case elf.R_X86_64_PC32, elf.R_X86_64_PLT32:
		val -= place
	case elf.R_X86_64_PC64:
		return val - place, 8, x86Fits
	default:
		return 0, 0, x86Unknown
	}
	return val, 4, x86Fits
}

// x86Put writes a value of 4 or 8 bytes where nothing but zeros are; false: there is something.
func x86Put(loc []byte, val uint64) bool {
	if len(loc) == 8 {
		if binary.LittleEndian.Uint64(loc) != 0 {
			return false
		}
		binary.LittleEndian.PutUint64(loc, val)
		return true
	}
	if binary.LittleEndian.Uint32(loc) != 0 {
		return false
	}
	binary.LittleEndian.PutUint32(loc, uint32(val))
	return true
}

func (l *x86Linker) overflow(p *place, val uint64) diag.Errno {
	if l.t.X86.Text >= 2 {
		l.log(levelErr, Overflow, "module: overflow in relocation type %d val %x sec %d idx %d", p.Type, val, l.relsec, l.entry)
	} else {
		l.log(levelErr, Overflow, "module: overflow in relocation type %d val %x", p.Type, val)
	}
	l.log(levelErr, Overflow, "module: `%s' likely not compiled with -mcmodel=kernel", l.Name())
	return diag.ENOEXEC
}

func (l *x86Linker) nonZero(p *place, val uint64) diag.Errno {
	switch l.t.X86.Text {
	case 0:
		l.log(levelErr, NonZero, "module: x86/modules: Skipping invalid relocation target, existing value is nonzero for type %d, loc %s, val %x",
			p.Type, l.ptrval(), val)
	case 1:
		l.log(levelErr, NonZero, "module: x86/modules: Invalid relocation target, existing value is nonzero for type %d, loc %s, val %x",
			p.Type, l.ptrval(), val)
	default:
		l.log(levelErr, NonZero, "module: x86/modules: Invalid relocation target, existing value is nonzero for sec %d, idx %d, type %d, loc %x, val %x",
			l.relsec, l.entry, p.Type, p.P, val)
	}
	return diag.ENOEXEC
}

// i386Linker relocates for i386: arch/x86/kernel/module.c, apply_relocate.
// ABI: System V ABI, Intel386 Architecture Processor Supplement.
//
// Odd: the addend is what stands at the place; nothing is checked; R_386_NONE is refused.
type i386Linker struct{ base }

func (l *i386Linker) Apply(relsec int) (diag.Errno, error) {
	return l.apply(relsec, func(p *place) (diag.Errno, error) {
		val := uint32(p.S)
		switch elf.R_386(p.Type) {
		case elf.R_386_32:
		case elf.R_386_PC32, elf.R_386_PLT32:
			val -= uint32(p.P)
		default:
			l.log(levelErr, UnknownType, "module: %s: Unknown relocation: %d", l.Name(), p.Type)
			return diag.ENOEXEC, nil
		}
		loc, err := l.at(p, 4)
		if err != nil {
			return 0, err
		}
		l.order.PutUint32(loc, l.order.Uint32(loc)+val)
		return 0, nil
	})
}
