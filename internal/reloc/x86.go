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
// that is taken. It returns how many it has applied; the rules for the rest, and the words about them, are those of one.
func (l *x86Linker) usual(relsec int) (n int, err error) {
	table, symtab := l.Table(relsec), l.Symtab()
	if table == nil || table.Raw() == nil || l.Trace() != nil {
		return 0, nil
	}
	target, errno, err := l.begin(relsec)
	if errno != 0 || err != nil {
		return 0, err
	}
	entries := table.Raw()
	size := l.Section(target).Size
	content := l.Bytes(target, 0, size)
	start := l.Addr(target)
	for ; len(entries) >= 24; n++ {
		r := kelf.PlainRel(entries)
		at := uint64(r.Sym) * 24
		if at+24 > uint64(len(symtab)) || r.Off > uint64(len(content)) {
			break
		}
		place := content[r.Off:]
		val := binary.LittleEndian.Uint64(symtab[at+8:]) + uint64(r.Addend)
		narrow := true
		switch elf.R_X86_64(r.Type) {
		case elf.R_X86_64_64:
			narrow = false
		case elf.R_X86_64_PC32, elf.R_X86_64_PLT32:
			val -= start + r.Off
		case elf.R_X86_64_32S:
			if int64(val) != int64(int32(val)) {
				return n, nil
			}
		case elf.R_X86_64_PC64:
			val -= start + r.Off
			narrow = false
		default:
			return n, nil
		}
		if narrow {
			if len(place) < 4 || binary.LittleEndian.Uint32(place) != 0 {
				return n, nil
			}
			binary.LittleEndian.PutUint32(place, uint32(val))
		} else {
			if len(place) < 8 || binary.LittleEndian.Uint64(place) != 0 {
				return n, nil
			}
			binary.LittleEndian.PutUint64(place, val)
		}
		entries = entries[24:]
	}
	return n, nil
}

func (l *x86Linker) one(p *place) (diag.Errno, error) {
	val := p.S + uint64(p.Addend)
	n := uint64(4)
	switch elf.R_X86_64(p.Type) {
	case elf.R_X86_64_NONE:
		return 0, nil
	case elf.R_X86_64_64:
		n = 8
	case elf.R_X86_64_32:
		if val != uint64(uint32(val)) {
			return l.overflow(p, val), nil
		}
	case elf.R_X86_64_32S:
		if int64(val) != int64(int32(val)) {
			return l.overflow(p, val), nil
		}
	case elf.R_X86_64_PC32, elf.R_X86_64_PLT32:
		val -= p.P
	case elf.R_X86_64_PC64:
		val -= p.P
		n = 8
	default:
		l.log(levelErr, UnknownType, "module: %s: Unknown rela relocation: %d", l.Name(), p.Type)
		return diag.ENOEXEC, nil
	}
	loc, err := l.at(p, n)
	if err != nil {
		return 0, err
	}
	for _, c := range loc {
		if c != 0 {
			return l.nonZero(p, val), nil
		}
	}
	if n == 8 {
		l.order.PutUint64(loc, val)
	} else {
		l.order.PutUint32(loc, uint32(val))
	}
	return 0, nil
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
