package reloc

import (
	"cmp"
	"debug/elf"

	"kotool/internal/diag"
	kelf "kotool/internal/elf"
)

// loongLinker relocates for loongarch (64 bits): arch/loongarch/kernel/module.c, module-sections.c.
// ABI: ELF for the LoongArch Architecture, chapter "Relocation".
//
// Odd: old objects compute on a stack, one operation a relocation, which newer kernels (6.12) break by sorting the
// relocations of code; HI20 and LO12 of a GOT slot both make it; weak symbols with an error number for a value are passed
// over; unknown types give EINVAL.
type loongLinker struct {
	base
	got, plt, idx int // sections
	nGot, maxGot  int
	nPLT, maxPLT  int
	gotOf, pltOf  map[uint64]int

	rels  Entries
	pairs hi20Pairs
	stack []int64
}

const loongPLTEntry = 16 // bytes

// Instruction fields.
func si20(insn uint32, v uint64) uint32 { return insn&^(0xfffff<<5) | uint32(v)&0xfffff<<5 }
func si12(insn uint32, v uint64) uint32 { return insn&^(0xfff<<10) | uint32(v)&0xfff<<10 }
func si16(insn uint32, v uint64) uint32 { return insn&^(0xffff<<10) | uint32(v)&0xffff<<10 }

// offs21 is imm[15:0] in 25:10, imm[20:16] in 4:0.
func offs21(insn uint32, v uint64) uint32 { return si16(insn, v)&^0x1f | uint32(v>>16)&0x1f }

// offs26 is imm[15:0] in 25:10, imm[25:16] in 9:0.
func offs26(insn uint32, v uint64) uint32 { return si16(insn, v)&^0x3ff | uint32(v>>16)&0x3ff }

// maxType is the last type that the kernel's table has.
func (l *loongLinker) maxType() uint32 {
	switch {
	case l.t.LoongArch.PCADD:
		return 131
	case l.t.LoongArch.PCREL:
		return 109
	}
	return 100
}

func (l *loongLinker) Apply(relsec int) (diag.Errno, error) {
	l.rels, l.stack = EntriesOf(l, relsec), l.stack[:0]
	l.pairs.begin(true)
	return l.apply(relsec, l.one)
}

// insn changes the instruction at the place.
func (l *loongLinker) insn(p *place, field func(uint32, uint64) uint32, v uint64) error {
	loc, err := l.at(p, 4)
	if err == nil {
		l.order.PutUint32(loc, field(l.order.Uint32(loc), v))
	}
	return err
}

func (l *loongLinker) one(p *place) (diag.Errno, error) {
	if l.errValue(p.S) {
		if p.sym.bind() == elf.STB_WEAK {
			return 0, nil
		}
		l.log(levelWarn, UnknownSymbol, "kmod: %s: Unknown symbol %s", l.Name(), l.SymbolName(p.Sym))
		return diag.ENOENT, nil
	}
	if p.Type > l.maxType() {
		l.log(levelErr, UnknownType, "kmod: %s: Unknown relocation type %d", l.Name(), p.Type)
		return diag.EINVAL, nil
	}
	v := p.S + uint64(p.Addend)
	switch {
	case p.Type == 0, p.Type == 20, p.Type == 21: // NONE, MARK_LA, MARK_PCREL
		return 0, nil
	case p.Type == 1: // 32
		return 0, l.store(p, 4, v)
	case p.Type == 2: // 64
		return 0, l.store(p, 8, v)
	case p.Type >= 22 && p.Type <= 24, p.Type == 29, p.Type >= 32 && p.Type <= 37:
		return l.operate(p, v)
	case p.Type >= 38 && p.Type <= 46:
		return l.pop(p)
	case p.Type >= 50 && p.Type <= 56:
		return l.addSub(p, v)
	case l.t.LoongArch.NoPCALA:
	case p.Type == 66:
		return l.b26(p, v)
	case p.Type >= 71 && p.Type <= 74:
		return 0, l.pcala(p, p.Type, v)
	case p.Type == 75, p.Type == 76: // GOT_PC_HI20, GOT_PC_LO12
		got, errno, err := l.gotEntry(v)
		if errno != 0 || err != nil {
			return errno, err
		}
		return 0, l.pcala(p, p.Type-4, got)
	case p.Type == 99 && l.t.LoongArch.PCREL: // 32_PCREL
		return 0, l.store(p, 4, v-p.P)
	case p.Type == 109 && l.t.LoongArch.PCREL: // 64_PCREL
		return 0, l.store(p, 8, v-p.P)
	case p.Type >= 128 && l.t.LoongArch.PCADD:
		return l.pcadd(p, v)
	}
	l.log(levelErr, UnknownType, "kmod: %s: Unsupport relocation type %d, please add its support.", l.Name(), p.Type)
	return diag.EINVAL, nil
}

// unsupported is for a type in the range of a handler that does not know it.
func (l *loongLinker) unsupported(p *place) diag.Errno {
	l.log(levelErr, UnknownType, "kmod: %s: Unsupport relocation type %d", l.Name(), p.Type)
	return diag.EINVAL
}

func (l *loongLinker) addSub(p *place, v uint64) (diag.Errno, error) {
	n := uint64(4)
	switch p.Type {
	case 51, 56: // ADD64, SUB64
		n = 8
	case 50, 55: // ADD32, SUB32
	default:
		return l.unsupported(p), nil
	}
	loc, err := l.at(p, n)
	if err != nil {
		return 0, err
	}
	if p.Type > 51 {
		v = -v
	}
	if n == 8 {
		v += l.order.Uint64(loc)
	} else {
		v += uint64(l.order.Uint32(loc))
	}
	return 0, l.store(p, n, v)
}

// operate is one operation on the stack. The kernel says nothing where the stack is empty or full.
func (l *loongLinker) operate(p *place, v uint64) (diag.Errno, error) {
	const depth = 16
	n := len(l.stack)
	switch p.Type {
	case 22, 23, 29: // PUSH_PCREL, PUSH_ABSOLUTE, PUSH_PLT_PCREL
		if p.Type == 29 {
			var err error
			if v, err = l.near(p, v); err != nil {
				return 0, err
			}
		}
		if p.Type != 23 {
			v -= p.P
		}
		if n == depth {
			return diag.ENOEXEC, nil
		}
		l.stack = append(l.stack, int64(v))
		return 0, nil
	case 24: // PUSH_DUP
		if n == 0 || n == depth {
			return diag.ENOEXEC, nil
		}
		l.stack = append(l.stack, l.stack[n-1])
		return 0, nil
	}
	var third int64
	if p.Type == 37 { // IF_ELSE
		if n == 0 {
			return diag.ENOEXEC, nil
		}
		third = l.stack[n-1]
		n--
	}
	if n < 2 {
		return diag.ENOEXEC, nil
	}
	a, b := l.stack[n-2], l.stack[n-1]
	switch p.Type {
	case 32: // SUB
		a -= b
	case 33: // SL
		a <<= b & 63
	case 34: // SR
		a >>= b & 63
	case 35: // ADD
		a += b
	case 36: // AND
		a &= b
	case 37:
		if a != 0 {
			a = b
		} else {
			a = third
		}
	}
	l.stack = append(l.stack[:n-2], a)
	return 0, nil
}

// pop stores the top of the stack.
func (l *loongLinker) pop(p *place) (diag.Errno, error) {
	n := len(l.stack)
	if n == 0 {
		return diag.ENOEXEC, nil
	}
	v := l.stack[n-1]
	l.stack = l.stack[:n-1]
	complain := func(what string) (diag.Errno, error) {
		l.log(levelErr, Overflow, "kmod: module %s: opr1 = 0x%x %s! dangerous apply_r_larch_sop_imm_field (%d) relocation",
			l.Name(), uint64(v), what, p.Type)
		return diag.ENOEXEC, nil
	}
	field, bits, shift := si12, uint(12), 0
	switch p.Type {
	case 39: // POP_32_U_10_12
		if uint64(v) >= 1<<12 {
			return complain("overflow")
		}
		return 0, l.insn(p, si12, uint64(v))
	case 40: // POP_32_S_10_12
	case 41: // POP_32_S_10_16
		field, bits = si16, 16
	case 42: // POP_32_S_10_16_S2
		field, bits, shift = si16, 18, 2
	case 43: // POP_32_S_5_20
		field, bits = si20, 20
	case 44: // POP_32_S_0_5_10_16_S2
		field, bits, shift = offs21, 23, 2
	case 45: // POP_32_S_0_10_10_16_S2
		field, bits, shift = offs26, 28, 2
	case 46: // POP_32_U
		if uint64(v) >= 1<<32 {
			return complain("overflow")
		}
		return 0, l.store(p, 4, uint64(v))
	default:
		return l.unsupported(p), nil
	}
	if v&(1<<shift-1) != 0 {
		return complain("unaligned")
	}
	if !fits(v, bits) {
		return complain("overflow")
	}
	return 0, l.insn(p, field, uint64(v>>shift))
}

// near is the address to jump to: v, or its PLT entry where v is 128 MiB away or more.
func (l *loongLinker) near(p *place, v uint64) (uint64, error) {
	const reach = 128 << 20
	if off := int64(v - p.P); off >= reach || off < -reach {
		return l.pltEntry(v)
	}
	return v, nil
}

func (l *loongLinker) b26(p *place, v uint64) (diag.Errno, error) {
	v, err := l.near(p, v)
	if err != nil {
		return 0, err
	}
	off := int64(v - p.P)
	what := ""
	switch {
	case off&3 != 0:
		what = "unaligned"
	case !fits(off, 28):
		what = "overflow"
	default:
		return 0, l.insn(p, offs26, uint64(off>>2))
	}
	l.log(levelErr, Overflow, "kmod: module %s: jump offset = 0x%x %s! dangerous R_LARCH_B26 (%d) relocation", l.Name(), uint64(off), what, p.Type)
	return diag.ENOEXEC, nil
}

// pcala is PCALA_HI20, LO12, 64_LO20 and 64_HI12: typ is 71 to 74.
func (l *loongLinker) pcala(p *place, typ uint32, v uint64) error {
	hi := int32((v+0x800)&^0xfff - p.P&^0xfff)
	rest := int64(v - (p.P&^0xfff + uint64(int64(hi))))
	switch typ {
	case 71: // PCALA_HI20
		return l.insn(p, si20, uint64(hi>>12))
	case 72: // PCALA_LO12
		return l.insn(p, si12, v)
	case 73: // PCALA64_LO20
		return l.insn(p, si20, uint64(rest>>32))
	}
	return l.insn(p, si12, uint64(rest>>52)) // PCALA64_HI12
}

// pcadd is PCADD_HI20 and LO12, and the same of a GOT slot. A LO12 points at the instruction with the HI20.
func (l *loongLinker) pcadd(p *place, v uint64) (diag.Errno, error) {
	at, low := p.P, p.Type == 129 || p.Type == 131
	slot := p.Type == 130
	if low {
		i, ok := l.pairs.find(&l.base, &l.rels, p.target, p.S, [2]uint32{128, 130})
		if !ok {
			l.log(levelErr, Other, "kmod: %s: Can not find HI20 relocation information", l.Name())
			return diag.EINVAL, nil
		}
		r := l.rels.At(i)
		sym, ok := l.Symbol(r.Sym)
		if !ok {
			return 0, l.undefined(SymbolOutside, uint64(r.Sym))
		}
		at, v, slot = p.S, sym.Value+uint64(r.Addend), r.Type == 130
	}
	if slot {
		got, errno, err := l.gotEntry(v)
		if errno != 0 || err != nil {
			return errno, err
		}
		v = got
	}
	off := int64(int32(v - at))
	if low {
		return 0, l.insn(p, si12, uint64(off))
	}
	return 0, l.insn(p, si20, uint64(hi20(off)>>12))
}

// gotEntry is module_emit_got_entry: the address of the slot for v, or the errno for one slot too many.
func (l *loongLinker) gotEntry(v uint64) (uint64, diag.Errno, error) {
	if i, ok := l.gotOf[v]; ok {
		return l.Addr(l.got) + uint64(i)*8, 0, nil
	}
	b, at, err := l.tableSlot(l.got, l.nGot, 8)
	if err != nil {
		return 0, 0, err
	}
	l.order.PutUint64(b, v)
	l.emitted("got", at, 8, v)
	if l.gotOf == nil {
		l.gotOf = map[uint64]int{}
	}
	l.gotOf[v] = l.nGot
	if l.nGot++; l.nGot > l.maxGot {
		l.log(levelErr, MissingSection, "%s: module contains bad GOT relocation", l.Name())
		return 0, diag.EINVAL, nil
	}
	return at, 0, nil
}

// loongSlot is a PLT entry:
//
//	lu12i.w t1, bits 31:12
//	lu32i.d t1, bits 51:32
//	lu52i.d t1, t1, bits 63:52
//	jirl    zero, t1, bits 11:0
func loongSlot(v uint64) [4]uint32 {
	const t1 = 13
	return [4]uint32{
		si20(0x14000000|t1, v>>12),
		si20(0x16000000|t1, v>>32),
		si12(0x03000000|t1<<5|t1, v>>52),
		si16(0x4c000000|t1<<5, v&0xfff>>2),
	}
}

// pltEntry is module_emit_plt_entry. The slot of .plt.idx with the same index has the target, to find the entry by.
func (l *loongLinker) pltEntry(v uint64) (uint64, error) {
	if i, ok := l.pltOf[v]; ok {
		return l.Addr(l.plt) + uint64(i)*loongPLTEntry, nil
	}
	b, at, err := l.tableSlot(l.plt, l.nPLT, loongPLTEntry)
	if err != nil {
		return 0, err
	}
	x, _, err := l.tableSlot(l.idx, l.nPLT, 8)
	if err != nil {
		return 0, err
	}
	words := loongSlot(v)
	putWords(b, words[:]...)
	l.order.PutUint64(x, v)
	l.emitted("plt", at, loongPLTEntry, v)
	if l.pltOf == nil {
		l.pltOf = map[uint64]int{}
	}
	l.pltOf[v] = l.nPLT
	if l.nPLT++; l.nPLT > l.maxPLT {
		return 0, &UndefinedError{Cause: KernelBug, Relsec: l.relsec, Entry: l.entry, What: ".plt has too few entries"}
	}
	return at, nil
}

// Frob is module_frob_arch_sections.
func (l *loongLinker) Frob() (diag.Errno, error) {
	l.relsec, l.entry = 0, 0
	tramp := 0
	for i := range l.Sections() {
		switch l.Section(i).Name {
		case ".got":
			l.got = i
		case ".plt":
			l.plt = i
		case ".plt.idx":
			l.idx = i
		case ".ftrace_trampoline":
			tramp = i
		}
	}
	for _, c := range []struct {
		section int
		name    string
	}{{l.got, "GOT"}, {l.plt, "PLT"}, {l.idx, "PLT.IDX"}} {
		if c.section == 0 {
			l.log(levelErr, MissingSection, "%s: module %s section(s) missing", l.Name(), c.name)
			return diag.ENOEXEC, nil
		}
	}
	var bad error
	for i := range l.code(elf.SHT_RELA, &bad) {
		rels := l.Relocs(i)
		if l.t.LoongArch.Sort {
			order := func(a, b *kelf.Rel) int {
				return cmp.Or(cmp.Compare(a.Sym, b.Sym), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Addend, b.Addend))
			}
			sortRels(rels, l.t.SortPairs, bySymbol, order)
		}
		var plts, gots []kelf.Rel
		for _, r := range rels {
			switch {
			case r.Type == 29, r.Type == 66: // PUSH_PLT_PCREL, B26
				plts = append(plts, r)
			case r.Type == 75, r.Type == 130 && l.t.LoongArch.PCADD: // GOT_PC_HI20, GOT_PCADD_HI20
				gots = append(gots, r)
			}
		}
		l.maxPLT += distinct(plts)
		l.maxGot += distinct(gots)
	}
	if bad != nil {
		return 0, bad
	}
	room := func(section int, flags elf.SectionFlag, align, size uint64) {
		s := l.Section(section)
		s.Type, s.Flags, s.Align, s.Size = elf.SHT_NOBITS, flags, align, size
		l.SetSection(section, s)
	}
	const line = 64 // L1_CACHE_BYTES
	room(l.got, elf.SHF_ALLOC, line, uint64(l.maxGot+1)*8)
	room(l.plt, elf.SHF_EXECINSTR|elf.SHF_ALLOC, line, uint64(l.maxPLT+1)*loongPLTEntry)
	room(l.idx, elf.SHF_ALLOC, line, uint64(l.maxPLT+1)*8)
	if tramp != 0 {
		room(tramp, elf.SHF_EXECINSTR|elf.SHF_ALLOC, 4, uint64(l.t.LoongArch.FtracePLTs)*loongPLTEntry)
	}
	return 0, nil
}

// Finalize is module_init_ftrace_plt: the trampolines lead to ftrace.
func (l *loongLinker) Finalize() (diag.Errno, error) {
	l.relsec, l.entry = 0, 0
	for i := range l.Sections() {
		if l.Section(i).Name != ".ftrace_trampoline" {
			continue
		}
		for k, fn := range []string{"ftrace_caller", "ftrace_regs_caller"}[:min(2, l.t.LoongArch.FtracePLTs)] {
			dst, ok := l.Kernel(fn)
			if !ok {
				return 0, &UndefinedError{Cause: KernelUnknown, What: fn}
			}
			b, at, err := l.tableSlot(i, k, loongPLTEntry)
			if err != nil {
				return 0, err
			}
			words := loongSlot(dst)
			putWords(b, words[:]...)
			l.emitted("plt", at, loongPLTEntry, dst)
		}
	}
	return 0, nil
}
