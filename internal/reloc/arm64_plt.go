package reloc

import (
	"cmp"
	"debug/elf"
	"encoding/binary"
	"math/bits"

	"kotool/internal/diag"
	kelf "kotool/internal/elf"
)

// The PLT of arm64 modules. Source: arch/arm64/kernel/module-plts.c.

// arm64PLT is a table of PLT entries and veneers: .plt or .init.plt.
type arm64PLT struct {
	section int
	max     int // entries counted
	n       int // entries in use
}

const arm64Entry = 12 // bytes of a PLT entry

// arm64Slot is an entry that leads to dst from address at:
//
//	adrp reg, page of dst
//	add  reg, reg, #low 12 bits of dst
//	br   reg
func arm64Slot(at, dst uint64, reg uint32) [3]uint32 {
	adrp := uint32(0xd4202000) // brk #0x100, what the kernel's generator gives for a page out of reach
	if off := int64(dst-at&^0xfff) >> 12; off >= -1<<20 && off < 1<<20 {
		adrp = immADR.put(0x90000000|reg, uint64(off))
	}
	return [3]uint32{adrp, 0x91000000 | uint32(dst&0xfff)<<10 | reg<<5 | reg, 0xd61f0000 | reg<<5}
}

const arm64x16 = 16 // the register that PLT entries use: ip0

// forbidden reports whether an ADRP must not stand at the address: erratum 843419.
func (l *arm64Linker) forbidden(addr uint64) bool {
	return l.t.ARM64.Erratum843419 && addr&0xfff >= 0xff8
}

// bucket is the table for code at p.
func (l *arm64Linker) bucket(p *place) *arm64PLT {
	if l.Init(p.target) {
		return &l.init
	}
	return &l.core
}

// slot returns the bytes of an entry and its address.
func (t *arm64PLT) slot(l *arm64Linker, i int) ([]byte, uint64, error) {
	off := uint64(i) * arm64Entry
	b := l.Bytes(t.section, off, arm64Entry)
	if len(b) != arm64Entry {
		return nil, 0, l.full(t.section, off)
	}
	return b, l.Addr(t.section) + off, nil
}

func putWords(b []byte, words ...uint32) {
	for i, w := range words {
		binary.LittleEndian.PutUint32(b[4*i:], w)
	}
}

// branch is module_emit_plt_entry: the address of an entry for val, a new one or the last. full is where the kernel warns and gives up.
//
// The new entry is written before it is compared with the last one; where they are the same, what was
// written stays, and the next entry overwrites it.
func (t *arm64PLT) branch(l *arm64Linker, val uint64) (addr uint64, full bool, err error) {
	last := t.n - 1
	i := t.n
	b, at, err := t.slot(l, i)
	if err != nil {
		return 0, false, err
	}
	if l.forbidden(at) {
		i++
		if b, at, err = t.slot(l, i); err != nil {
			return 0, false, err
		}
	}
	words := arm64Slot(at, val, arm64x16)
	putWords(b, words[:]...)
	if last >= 0 {
		lb, lat, err := t.slot(l, last)
		if err != nil {
			return 0, false, err
		}
		if sameTarget(b, at, lb, lat) {
			return lat, false, nil
		}
	}
	t.n = i + 1
	if t.n > t.max {
		return 0, true, nil
	}
	l.emitted("plt", at, arm64Entry, val)
	return at, false, nil
}

// sameTarget is plt_entries_equal.
func sameTarget(a []byte, at uint64, b []byte, bt uint64) bool {
	le := binary.LittleEndian
	if le.Uint64(a[4:]) != le.Uint64(b[4:]) {
		return false
	}
	page := func(e []byte, at uint64) uint64 {
		insn := le.Uint32(e)
		imm := uint64(insn>>29&3 | insn>>5&0x7ffff<<2)
		return at&^0xfff + uint64(sext(imm, 21)<<12)
	}
	return page(a, at) == page(b, bt)
}

// adrp is reloc_insn_adrp for an ADRP at a forbidden place: an ADR where that reaches, else a branch to a veneer.
func (l *arm64Linker) adrp(p *place, in *arm64Insn, loc []byte, val uint64) (diag.Errno, error) {
	val &^= 0xfff
	adr := arm64Insn{op: opPREL, width: 21, field: immADR}
	if adr.write(loc, val, p.P) {
		binary.LittleEndian.PutUint32(loc, binary.LittleEndian.Uint32(loc)&^(1<<31))
		return 0, nil
	}
	t := l.bucket(p)
	i := t.n
	t.n++
	if t.n > t.max {
		return diag.ENOEXEC, nil
	}
	b, at, err := t.slot(l, i)
	if err == nil && l.forbidden(at) {
		b, at, err = t.slot(l, t.n)
		t.n++
	}
	if err != nil {
		return 0, err
	}
	words := arm64Slot(at, val, binary.LittleEndian.Uint32(loc)&0x1f)
	words[2] = 0x14000000 | uint32(int64(p.P+4-(at+8))>>2)&0x3ffffff
	putWords(b, words[:]...)
	l.emitted("veneer", at, arm64Entry, val)
	putWords(loc, 0x14000000|uint32(int64(at-p.P)>>2)&0x3ffffff)
	return 0, nil
}

// Frob is module_frob_arch_sections: it counts PLT entries and sorts the branches among the relocations of code.
func (l *arm64Linker) Frob() (diag.Errno, error) {
	l.symtab = l.Symtab()
	defer func() { l.symtab = nil }() // layout moves it
	if !l.t.ARM64.PLT {
		return 0, nil
	}
	var tramps [2]int
	symtab := false
	for i := range l.Sections() {
		s := l.Section(i)
		switch {
		case s.Name == ".plt":
			l.core.section = i
		case s.Name == ".init.plt":
			l.init.section = i
		case l.t.ARM64.FtracePLTs > 0 && s.Name == ".text.ftrace_trampoline":
			tramps[0] = i
		case l.t.ARM64.InitTrampoline && l.t.ARM64.FtracePLTs > 0 && s.Name == ".init.text.ftrace_trampoline":
			tramps[1] = i
		case s.Type == elf.SHT_SYMTAB:
			symtab = true
		}
	}
	l.relsec = 0
	if l.core.section == 0 || l.init.section == 0 {
		l.log(levelErr, MissingSection, "%s%s: module PLT section(s) missing", l.t.ARM64.Prefix, l.Name())
		return diag.ENOEXEC, nil
	}
	if !symtab {
		l.log(levelErr, MissingSection, "%s%s: module symtab section missing", l.t.ARM64.Prefix, l.Name())
		return diag.ENOEXEC, nil
	}
	var bad error
	for i, target := range l.code(elf.SHT_RELA, &bad) {
		n, err := l.count(l.Relocs(i), target)
		if err != nil {
			return 0, err
		}
		if l.Init(target) {
			l.init.max += n
		} else {
			l.core.max += n
		}
	}
	if bad != nil {
		return 0, bad
	}
	const text = elf.SHF_ALLOC | elf.SHF_EXECINSTR
	room := func(section int, size, align uint64) {
		s := l.Section(section)
		s.Type, s.Flags, s.Size, s.Align = elf.SHT_NOBITS, text, size, align
		l.SetSection(section, s)
	}
	room(l.core.section, uint64(l.core.max+1)*arm64Entry, 64)
	room(l.init.section, uint64(l.init.max+1)*arm64Entry, 64)
	for _, t := range tramps {
		if t != 0 {
			room(t, uint64(l.t.ARM64.FtracePLTs)*arm64Entry, 4)
		}
	}
	return 0, nil
}

// count is partition_branch_plt_relas, the sort, and count_plts.
func (l *arm64Linker) count(rels []kelf.Rel, target int) (n int, err error) {
	outside := func(r *kelf.Rel) bool { // a branch to another section
		if r.Type != uint32(elf.R_AARCH64_JUMP26) && r.Type != uint32(elf.R_AARCH64_CALL26) {
			return false
		}
		s, ok := l.symbol(r.Sym)
		if !ok && err == nil {
			err = l.undefined(SymbolOutside, uint64(r.Sym))
		}
		return int(s.Shndx) != target
	}
	order := func(a, b *kelf.Rel) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Sym, b.Sym), cmp.Compare(a.Addend, b.Addend))
	}
	if l.t.ARM64.CountBranches {
		// The entry where both ends meet is not looked at: one branch may stay behind, unsorted.
		i, j := 0, len(rels)-1
		for i < j {
			switch {
			case outside(&rels[i]):
				i++
			case outside(&rels[j]):
				rels[i], rels[j] = rels[j], rels[i]
			default:
				j--
			}
		}
		sortRels(rels[:i], l.t.SortPairs, byType, order)
	}
	for k := range rels {
		r := &rels[k]
		switch elf.R_AARCH64(r.Type) {
		case elf.R_AARCH64_JUMP26, elf.R_AARCH64_CALL26:
			if l.t.ARM64.CountBranches && outside(r) && (r.Addend != 0 || k == 0 || order(r, &rels[k-1]) != 0) {
				n++
			}
		case elf.R_AARCH64_ADR_PREL_PG_HI21, elf.R_AARCH64_ADR_PREL_PG_HI21_NC:
			if !l.t.ARM64.Erratum843419 {
				break
			}
			// The alignment at which the place's offset in its page is sure not to be a bad one.
			if zero := bits.TrailingZeros64(^(r.Off | 7)); zero >= 12 { // 2 << zero exceeds 4096
				n++
			} else if s := l.Section(target); s.Align < 2<<zero {
				s.Align = 2 << zero
				l.SetSection(target, s)
			}
		}
	}
	if l.t.ARM64.Erratum843419 {
		n += (n + 4096/arm64Entry - 1) / (4096 / arm64Entry) // some entries are skipped: see forbidden
	}
	return n, err
}

// Finalize is module_init_ftrace_plt: the first entries of the trampoline sections lead to ftrace.
func (l *arm64Linker) Finalize() (diag.Errno, error) {
	if l.t.ARM64.FtracePLTs == 0 {
		return 0, nil
	}
	l.relsec, l.entry = 0, 0
	names := []string{".text.ftrace_trampoline", ".init.text.ftrace_trampoline"}
	if !l.t.ARM64.InitTrampoline {
		names = names[:1]
	}
	for _, name := range names {
		section := l.find(name)
		if section == 0 {
			return diag.ENOEXEC, nil
		}
		t := arm64PLT{section: section}
		for i, fn := range []string{"ftrace_caller", "ftrace_regs_caller"}[:min(2, l.t.ARM64.FtracePLTs)] {
			dst, ok := l.Kernel(fn)
			if !ok {
				return 0, &UndefinedError{Cause: KernelUnknown, What: fn}
			}
			b, at, err := t.slot(l, i)
			if err != nil {
				return 0, err
			}
			words := arm64Slot(at, dst, arm64x16)
			putWords(b, words[:]...)
			l.emitted("plt", at, arm64Entry, dst)
		}
	}
	return 0, nil
}
