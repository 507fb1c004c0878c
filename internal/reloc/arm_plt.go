package reloc

import (
	"cmp"
	"debug/elf"
	"strings"

	"kotool/internal/diag"
	kelf "kotool/internal/elf"
)

// The PLT of arm modules. Source: arch/arm/kernel/module-plts.c.

// armPLT is .plt or .init.plt: blocks of as many loads as fit a cache line, then their literals.
type armPLT struct {
	section int
	n       int // entries in use, over all blocks
}

// bucket is the table for code at p.
func (l *armLinker) bucket(p *place) *armPLT {
	if l.Init(p.target) {
		return &l.init
	}
	return &l.core
}

// ldr is the instruction of every entry: ldr pc, [pc, #to its literal].
func (l *armLinker) ldr(b []byte) {
	if l.t.ARM.Thumb2 {
		w := 0xf8dff000 | l.t.ARM.L1Bytes - 4
		l.insnOrder().PutUint16(b, uint16(w>>16))
		l.insnOrder().PutUint16(b[2:], uint16(w))
		return
	}
	l.insnOrder().PutUint32(b, 0xe59ff000|l.t.ARM.L1Bytes-8)
}

// block returns block i of the table and its address.
func (t *armPLT) block(l *armLinker, i int) ([]byte, uint64, error) {
	return l.tableSlot(t.section, i, 2*uint64(l.t.ARM.L1Bytes))
}

// fixed are the entries that each table begins with.
func (l *armLinker) fixed() []string {
	if l.t.ARM.Fixed {
		return []string{"ftrace_caller", "__gnu_mcount_nc"}
	}
	return nil
}

// fill writes the loads of a block.
func (l *armLinker) fill(b []byte) {
	for i := uint32(0); i < l.t.ARM.L1Bytes; i += 4 {
		l.ldr(b[i:])
	}
}

// entry is get_module_plt: the address of an entry that leads to val. Fixed entries are looked at first, then
// the last one; else there is a new one.
func (t *armPLT) entry(l *armLinker, val uint32) (uint32, error) {
	line := int(l.t.ARM.L1Bytes)
	lits := func(b []byte, i int) []byte { return b[line+4*i:] }
	per := line / 4
	fixed := l.fixed()
	first, at, err := t.block(l, 0)
	if err != nil {
		return 0, err
	}
	if t.n == 0 && len(fixed) > 0 {
		for i, name := range fixed {
			addr, ok := l.Kernel(name)
			if !ok {
				return 0, &UndefinedError{Cause: KernelUnknown, Relsec: l.relsec, Entry: l.entry, What: name}
			}
			if l.t.ARM.Thumb2 {
				addr |= 1
			}
			l.order.PutUint32(lits(first, i), uint32(addr))
			l.emitted("plt", at+4*uint64(i), 4, addr)
		}
		l.fill(first)
		t.n = len(fixed)
	}
	for i := range fixed {
		if l.order.Uint32(lits(first, i)) == val {
			return uint32(at) + 4*uint32(i), nil
		}
	}
	if t.n > 0 {
		b, at, err := t.block(l, (t.n-1)/per)
		if err != nil {
			return 0, err
		}
		if i := (t.n - 1) % per; l.order.Uint32(lits(b, i)) == val {
			return uint32(at) + 4*uint32(i), nil
		}
	}
	i := t.n % per
	b, at, err := t.block(l, t.n/per)
	if err != nil {
		return 0, err
	}
	t.n++
	if i == 0 {
		clear(b)
		l.fill(b)
	}
	l.order.PutUint32(lits(b, i), val)
	l.emitted("plt", at+4*uint64(i), 4, uint64(val))
	return uint32(at) + 4*uint32(i), nil
}

// Frob is module_frob_arch_sections: it sorts the relocations of code and counts the entries that they may need.
func (l *armLinker) Frob() (diag.Errno, error) {
	l.symtab = l.Symtab()
	defer func() { l.symtab = nil }() // layout moves it
	if !l.t.ARM.PLT {
		return 0, nil
	}
	if l.t.ARM.L1Bytes < 8 {
		l.t.ARM.L1Bytes = 64
	}
	l.relsec, l.entry = 0, 0
	symtab := false
	for i := range l.Sections() {
		s := l.Section(i)
		switch {
		case s.Name == ".plt":
			l.core.section = i
		case s.Name == ".init.plt":
			l.init.section = i
		case s.Type == elf.SHT_SYMTAB:
			symtab = true
		}
		if l.t.ARM.ExidxText && (s.Type == 0x70000001 || strings.HasPrefix(s.Name, ".ARM.extab")) {
			s.Flags |= elf.SHF_EXECINSTR
			l.SetSection(i, s)
		}
	}
	if l.core.section == 0 || l.init.section == 0 {
		l.log(levelErr, MissingSection, "%s: module PLT section(s) missing", l.Name())
		return diag.ENOEXEC, nil
	}
	if !symtab {
		l.log(levelErr, MissingSection, "%s: module symtab section missing", l.Name())
		return diag.ENOEXEC, nil
	}
	core, init := len(l.fixed()), len(l.fixed())
	var bad error
	for i, target := range l.code(elf.SHT_REL, &bad) {
		n, err := l.count(l.Relocs(i), target)
		if err != nil {
			return 0, err
		}
		if l.Init(target) {
			init += n
		} else {
			core += n
		}
	}
	if bad != nil {
		return 0, bad
	}
	line := uint64(l.t.ARM.L1Bytes)
	for _, t := range []struct{ section, n int }{{l.core.section, core}, {l.init.section, init}} {
		s := l.Section(t.section)
		s.Type, s.Flags, s.Align = elf.SHT_NOBITS, elf.SHF_EXECINSTR|elf.SHF_ALLOC, line
		s.Size = (uint64(t.n)*8 + 2*line - 1) &^ (2*line - 1)
		l.SetSection(t.section, s)
	}
	return 0, nil
}

// count is the sort and count_plts.
func (l *armLinker) count(rels []kelf.Rel, target int) (n int, err error) {
	order := func(a, b *kelf.Rel) int { return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Sym, b.Sym)) }
	sortRels(rels, l.t.SortPairs, func(r *kelf.Rel) (uint64, bool) { return uint64(r.Type)<<32 | uint64(r.Sym), true }, order)
	for i := range rels {
		r := &rels[i]
		if !armBranch(r.Type) {
			continue
		}
		l.entry = i
		s, ok := l.symbol(r.Sym)
		if !ok {
			return 0, l.undefined(SymbolOutside, uint64(r.Sym))
		}
		if int(s.Shndx) == target {
			continue
		}
		zero, err := l.zeroAddend(r, target)
		if err != nil {
			return 0, err
		}
		if zero && i > 0 && order(r, &rels[i-1]) == 0 {
			if zero, err = l.zeroAddend(&rels[i-1], target); err != nil {
				return 0, err
			}
			if zero {
				continue // the entry before is the same
			}
		}
		n++
	}
	return n, nil
}

func armBranch(typ uint32) bool { return typ == 1 || typ == 28 || typ == 29 || typ == 10 || typ == 30 }

// zeroAddend reports whether a branch has no addend but the PC's bias.
func (l *armLinker) zeroAddend(r *kelf.Rel, target int) (bool, error) {
	b := l.Bytes(target, r.Off, 4)
	if len(b) != 4 {
		return false, l.undefined(PlaceOutside, r.Off)
	}
	o := l.insnOrder()
	if r.Type == 10 || r.Type == 30 {
		return o.Uint16(b)&0x7ff == 0x7ff && o.Uint16(b[2:])&0x2fff == 0x2ffe, nil
	}
	return o.Uint32(b)&0xffffff == 0xfffffe, nil
}
