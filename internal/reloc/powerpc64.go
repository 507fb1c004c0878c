package reloc

import (
	"cmp"
	"debug/elf"
	"fmt"

	"kotool/internal/diag"
	kelf "kotool/internal/elf"
)

// ppc64Linker relocates for ppc64: arch/powerpc/kernel/module_64.c.
// ABI: 64-Bit ELF V2 ABI Specification, Power Architecture, section 3.5; ELFv1 before it.
//
// Odd: a call of an undefined symbol goes through a stub in .stubs, which saves r2, and the nop behind the call becomes the
// load that restores it; stubs are counted by relocation section but found by address in the whole module; .TOC. gets its
// value from the first section that is applied; all relocation sections are sorted, backwards; there is no init memory.
// Not modelled: CONFIG_PPC_KERNEL_PCREL.
type ppc64Linker struct {
	base
	stubs, toc int // sections
	n          int // stubs in use
	max        int // stubs that .stubs has room for
	byAddr     map[uint64]int
	tocFixed   bool
	call       ppcCall // the last one through a stub: sorted entries have it again and again
}

// ppcCall is a call of an undefined symbol.
type ppcCall struct {
	sym    uint32
	ftrace bool
	to     uint64
	stub   uint64 // 0: there was none
}

// FuncDescriptors is an Image that can read function descriptors of the kernel, which stubs of ELFv1 copy.
type FuncDescriptors interface {
	// FuncDescriptor returns the three words at addr; false: not known.
	FuncDescriptor(addr uint64) ([3]uint64, bool)
}

const (
	ppcNop       = 0x60000000
	stubMagic    = 0x73747562 // "stub"
	ppcLDTocV2   = 0xe8410018 // ld r2,24(r1)
	ppcLDTocV1   = 0xe8410028 // ld r2,40(r1)
	stubV2       = 40         // bytes: seven instructions, magic, address
	stubV1       = 56         // the same with a descriptor of three words
	ppcREL24     = 10
	shnLivepatch = 0xff20
)

func (l *ppc64Linker) stubSize() uint64 {
	if l.t.PPC64.ELFv1 {
		return stubV1
	}
	return stubV2
}

// ha is the upper half of v for an instruction whose lower half is signed.
func ha(v uint64) uint32 { return uint32(v+0x8000) >> 16 & 0xffff }

// r2 is my_r2: the TOC pointer.
func (l *ppc64Linker) r2() uint64 { return l.Addr(l.toc)&^0xff + 0x8000 }

// Frob is module_frob_arch_sections. A leading dot of an undefined symbol's name is dropped there (dedotify): the Image does
// that itself when it resolves symbols; here only .TOC. is made absolute.
func (l *ppc64Linker) Frob() (diag.Errno, error) {
	l.relsec, l.entry = 0, 0
	patchable := uint64(0)
	for i := 1; i < l.Sections(); i++ {
		s := l.Section(i)
		switch s.Name {
		case ".stubs":
			l.stubs = i
		case ".toc":
			l.toc = i
			if s.Align < 8 {
				s.Align = 8
				l.SetSection(i, s)
			}
		case "__patchable_function_entries":
			patchable += s.Size / 8
		}
	}
	for i := 1; i < l.Symbols(); i++ {
		if s, ok := l.Symbol(uint32(i)); ok && s.Shndx == 0 && string(l.SymbolName(uint32(i))) == ".TOC." {
			s.Shndx = uint16(elf.SHN_ABS)
			l.SetSymbol(uint32(i), s)
		}
	}
	if l.stubs == 0 {
		l.log(levelErr, MissingSection, "module_64: %s: doesn't contain .stubs.", l.Name())
		return diag.ENOEXEC, nil
	}
	if l.toc == 0 {
		l.toc = l.stubs
	}
	t := &l.t.PPC64
	n := 0
	for i := 1; i < l.Sections(); i++ {
		if l.Section(i).Type == elf.SHT_RELA {
			n += l.count(l.Relocs(i))
		}
	}
	for _, more := range []bool{t.Terminator, t.Ftrace, t.FtraceRegs} {
		if more {
			n++
		}
	}
	if t.OutOfLine {
		n += int((patchable*t.OutOfLineSize + l.stubSize() - 1) / l.stubSize())
	}
	l.max = n
	s := l.Section(l.stubs)
	s.Size = uint64(n) * l.stubSize()
	l.SetSection(l.stubs, s)
	return 0, nil
}

// count sorts a relocation section backwards by symbol, type and addend, and counts the calls that differ from the one counted
// before. The kernel compares 32 bits of the addend with all of the next one's.
func (l *ppc64Linker) count(rels []kelf.Rel) (n int) {
	sortRels(rels, l.t.SortPairs, bySymbolDown, func(b, a *kelf.Rel) int {
		return cmp.Or(cmp.Compare(a.Sym, b.Sym), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Addend, b.Addend))
	})
	var sym, addend uint32
	for i := range rels {
		r := &rels[i]
		if r.Type == ppcREL24 && (r.Sym != sym || int64(addend) != r.Addend) {
			n++
			sym, addend = r.Sym, uint32(r.Addend)
		}
	}
	return n
}

func (l *ppc64Linker) Apply(relsec int) (diag.Errno, error) {
	if !l.tocFixed {
		l.tocFixed = true
		for i := 1; i < l.Symbols(); i++ {
			if s, ok := l.Symbol(uint32(i)); ok && s.Shndx == uint16(elf.SHN_ABS) && string(l.SymbolName(uint32(i))) == ".TOC." {
				s.Value = l.r2()
				l.SetSymbol(uint32(i), s)
				break
			}
		}
	}
	return l.apply(relsec, l.one)
}

func (l *ppc64Linker) one(p *place) (diag.Errno, error) {
	v := p.S + uint64(p.Addend)
	switch p.Type {
	case 1: // ADDR32
		return 0, l.store(p, 4, v)
	case 38: // ADDR64
		return 0, l.store(p, 8, v)
	case 51: // TOC
		return 0, l.store(p, 8, l.r2())
	case 47: // TOC16
		if v -= l.r2(); !fits(int64(v), 16) {
			return l.bad("TOC16", v), nil
		}
		return 0, l.half(p, 0, v)
	case 48: // TOC16_LO
		return 0, l.half(p, 0, v-l.r2())
	case 50: // TOC16_HA
		return 0, l.half(p, 0, (v-l.r2()+0x8000)>>16)
	case 63: // TOC16_DS
		if v -= l.r2(); v&3 != 0 || !fits(int64(v), 16) {
			return l.bad("TOC16_DS", v), nil
		}
		return 0, l.half(p, 3, v)
	case 64: // TOC16_LO_DS
		if v -= l.r2(); v&3 != 0 {
			return l.bad("TOC16_LO_DS", v), nil
		}
		return 0, l.half(p, 3, v)
	case ppcREL24:
		return l.rel24(p, v)
	case 26: // REL32
		if v -= p.P; !fits(int64(v), 32) {
			l.log(levelErr, Overflow, "module_64: %s: REL32 %d out of range!", l.Name(), int64(v))
			return diag.ENOEXEC, nil
		}
		return 0, l.store(p, 4, v)
	case 44: // REL64
		return 0, l.store(p, 8, v-p.P)
	case 109: // TOCSAVE
		return 0, nil
	case 118: // ENTRY
		return 0, l.entryPoint(p)
	case 252: // REL16_HA
		return 0, l.half(p, 0, (v-p.P+0x8000)>>16)
	case 250: // REL16_LO
		return 0, l.half(p, 0, v-p.P)
	}
	l.log(levelErr, UnknownType, "module_64: %s: Unknown ADD relocation: %d", l.Name(), p.Type)
	return diag.ENOEXEC, nil
}

func (l *ppc64Linker) bad(what string, v uint64) diag.Errno {
	l.log(levelErr, Overflow, "module_64: %s: bad %s relocation (0x%x)", l.Name(), what, v)
	return diag.ENOEXEC
}

// half writes 16 bits, but for those in keep.
func (l *ppc64Linker) half(p *place, keep uint16, v uint64) error {
	loc, err := l.at(p, 2)
	if err != nil {
		return err
	}
	l.order.PutUint16(loc, l.order.Uint16(loc)&keep|uint16(v)&^keep)
	return nil
}

// entryPoint rewrites the large code model's prologue where the TOC is near:
//
//	ld  r2,x(r12); add  r2,r2,r12    to    addis r2,r12,ha; addi r2,r2,lo
func (l *ppc64Linker) entryPoint(p *place) error {
	loc, err := l.at(p, 8)
	if err != nil {
		return err
	}
	v := l.r2() - p.P
	if v+0x80008000 > 0xffffffff || l.order.Uint32(loc)&^0xfffc != 0xe84c0000 || l.order.Uint32(loc[4:]) != 0x7c426214 {
		return nil
	}
	l.order.PutUint32(loc, 0x3c4c0000|ha(v))
	l.order.PutUint32(loc[4:], 0x38420000|uint32(v&0xffff))
	return nil
}

// rel24 is a call.
func (l *ppc64Linker) rel24(p *place, v uint64) (diag.Errno, error) {
	loc, err := l.at(p, 4)
	if err != nil {
		return 0, err
	}
	if p.sym.Shndx == 0 || p.sym.Shndx == shnLivepatch {
		if c := &l.call; c.stub == 0 || c.sym != p.Sym || c.to != v || v == 0 {
			name := l.SymbolName(p.Sym)
			stub, err := l.stubFor(v, name)
			if err != nil {
				return 0, err
			}
			if stub == 0 {
				return diag.ENOENT, nil
			}
			*c = ppcCall{p.Sym, l.ftraceCall(name), v, stub}
		}
		v = l.call.stub
		if errno, err := l.restoreR2(p, l.order.Uint32(loc), l.call.ftrace); errno != 0 || err != nil {
			return errno, err
		}
	} else if !l.t.PPC64.ELFv1 {
		v += 1 << (p.sym.Other >> 5) >> 2 << 2 // to the local entry point
	}
	v -= p.P
	if v+0x2000000 > 0x3ffffff || v&3 != 0 {
		l.log(levelErr, Overflow, "module_64: %s: REL24 %d out of range!", l.Name(), int64(v))
		return diag.ENOEXEC, nil
	}
	l.order.PutUint32(loc, l.order.Uint32(loc)&^0x03fffffc|uint32(v)&0x03fffffc)
	return 0, nil
}

// ftraceCall is is_mprofile_ftrace_call: names whose stubs use the kernel's TOC, and whose callers do not restore r2.
func (l *ppc64Linker) ftraceCall(name []byte) bool {
	return l.t.PPC64.KernelStubs && (string(name) == "_mcount" || l.t.PPC64.Ftrace && (string(name) == "ftrace_caller" || string(name) == "ftrace_regs_caller"))
}

// restoreR2 makes the nop behind a call the load of r2. insn is the call; ftrace: one of ftraceCall.
func (l *ppc64Linker) restoreR2(p *place, insn uint32, ftrace bool) (diag.Errno, error) {
	op := insn >> 26
	if ftrace || insn&2 != 0 || insn&1 == 0 || op != 18 && op != 16 { // not a relative branch that links
		return 0, nil
	}
	both, err := l.at(p, 8)
	if err != nil {
		return 0, err
	}
	load := uint32(ppcLDTocV2)
	if l.t.PPC64.ELFv1 {
		load = ppcLDTocV1
	}
	switch next := l.order.Uint32(both[4:]); next {
	case load:
	case ppcNop:
		l.order.PutUint32(both[4:], load)
	default:
		l.log(levelErr, BadCall, "module_64: %s: Expected nop after call, got %08x at 0x%x", l.Name(), next, p.P+4)
		return diag.ENOEXEC, nil
	}
	return 0, nil
}

// stubFor is stub_for_addr: the address of the stub for addr, 0 where it cannot be made.
func (l *ppc64Linker) stubFor(addr uint64, name []byte) (uint64, error) {
	size := l.stubSize()
	desc := [3]uint64{addr}
	if l.t.PPC64.ELFv1 {
		r, ok := l.Image.(FuncDescriptors)
		if ok {
			desc, ok = r.FuncDescriptor(addr)
		}
		if !ok {
			return 0, &UndefinedError{Cause: KernelUnknown, Relsec: l.relsec, Entry: l.entry, Off: addr, What: "function descriptor of " + string(name)}
		}
	}
	if i, ok := l.byAddr[desc[0]]; ok {
		return l.Addr(l.stubs) + uint64(i)*size, nil
	}
	b, at, err := l.tableSlot(l.stubs, l.n, size)
	if err != nil {
		return 0, err
	}
	ok, err := l.makeStub(b, at, desc, name)
	if err != nil || !ok {
		return 0, err
	}
	l.emitted("stub", at, size, addr)
	// Without a count a stub for 0 looks free: the next one takes its place.
	if desc[0] != 0 || !l.t.PPC64.Terminator {
		if l.byAddr == nil {
			l.byAddr = map[uint64]int{}
		}
		l.byAddr[desc[0]] = l.n
		l.n++
	}
	return at, nil
}

// makeStub writes a stub:
//
//	addis r11,r2,ha; addi r11,r11,lo; std r2,24(r1); ld r12,32(r11); mtctr r12; bctr
//
// or, for ftrace, one that finds the target by the kernel's TOC:
//
//	ld r12,kernel_toc(r13); addis r12,r12,ha; addi r12,r12,lo; mtctr r12; bctr
func (l *ppc64Linker) makeStub(b []byte, at uint64, desc [3]uint64, name []byte) (bool, error) {
	var words [8]uint32
	words[7] = stubMagic
	if l.ftraceCall(name) {
		toc, ok := l.Kernel(".TOC.")
		if !ok {
			return false, &UndefinedError{Cause: KernelUnknown, What: ".TOC."}
		}
		rel := desc[0] - toc
		if !fits(int64(rel), 32) {
			where := string(name) // %ps: the symbol there, or else the address
			if a, ok := l.Kernel(where); !ok || a != desc[0] {
				where = fmt.Sprintf("%#x", desc[0])
			}
			l.log(levelErr, Overflow, "module_64: %s: Address of %s out of range of kernel_toc.", l.Name(), where)
			return false, nil
		}
		copy(words[:], []uint32{0xe98d0000 | uint32(l.t.PPC64.PacaTOC), 0x3d8c0000 | ha(rel), 0x398c0000 | uint32(rel&0xffff), 0x7d8903a6, 0x4e800420})
	} else {
		rel := at - l.r2()
		if !fits(int64(rel), 32) {
			l.log(levelErr, Overflow, "module_64: %s: Address %s of stub out of range of %s.", l.Name(), l.ptrval(), l.ptrval())
			return false, nil
		}
		save := uint32(0xf8410018)
		if l.t.PPC64.ELFv1 {
			save = 0xf8410028
		}
		copy(words[:], []uint32{0x3d620000 | ha(rel), 0x396b0000 | uint32(rel&0xffff), save, 0xe98b0020})
		rest := words[4:4]
		if l.t.PPC64.ELFv1 {
			rest = append(rest, 0xe84b0028) // ld r2,40(r11)
		}
		_ = append(rest, 0x7d8903a6, 0x4e800420)
	}
	for i, w := range words {
		l.order.PutUint32(b[4*i:], w)
	}
	for i := range (len(b) - 32) / 8 {
		l.order.PutUint64(b[32+8*i:], desc[i])
	}
	return true, nil
}

// Finalize is module_finalize_ftrace: stubs for ftrace behind those in use.
func (l *ppc64Linker) Finalize() (diag.Errno, error) {
	l.relsec, l.entry = 0, 0
	for _, f := range []struct {
		on   bool
		name string
	}{{l.t.PPC64.Ftrace, "ftrace_caller"}, {l.t.PPC64.FtraceRegs, "ftrace_regs_caller"}} {
		if !f.on {
			continue
		}
		addr, ok := l.Kernel(f.name)
		if !ok {
			return 0, &UndefinedError{Cause: KernelUnknown, What: f.name}
		}
		stub, err := l.stubFor(addr, []byte(f.name))
		if err != nil {
			return 0, err
		}
		if stub == 0 {
			return diag.ENOENT, nil
		}
	}
	return 0, nil
}
