package reloc

import (
	"debug/elf"
	"strings"

	"kotool/internal/diag"
)

// pariscLinker relocates for parisc, 32 and 64 bits: arch/parisc/kernel/module.c.
// ABI: Processor-Specific ELF for PA-RISC, section 4.
//
// Odd: stubs stand right before the section whose calls need them, one for each such call; GOT and function descriptors (64
// bits) are at the start of the text region; a symbol with the value 0 is an error, weak or not.
type pariscLinker struct {
	base
	stubs     []int    // that a section may still make
	next      []uint64 // address of a section's next stub, 0 before its first
	room      []uint64 // bytes in front of a section
	fdescOff  uint64   // in the text region, where the GOT begins at 0
	head      uint64
	gots      map[uint64]int
	fdescs    map[uint64]int
	maxGots   int
	maxFdescs int
}

const fdescSize = 32 // Elf64_Fdesc: two words unused, address, gp

func (l *pariscLinker) wide() bool { return l.class == elf.ELFCLASS64 }

func (l *pariscLinker) stubSize() uint64 {
	if l.wide() {
		return 16
	}
	return 8
}

// Frob is module_frob_arch_sections: it counts slots and stubs; none is shared in the count.
func (l *pariscLinker) Frob() (diag.Errno, error) {
	l.relsec, l.entry = 0, 0
	n := l.Sections()
	l.stubs, l.next, l.room = make([]int, n), make([]uint64, n), make([]uint64, n)
	for i := 1; i < n; i++ {
		s := l.Section(i)
		if s.Type != elf.SHT_RELA {
			continue
		}
		stubs := 0
		for _, r := range l.Relocs(i) {
			switch r.Type {
			case 26, 30: // LTOFF21L, LTOFF14R
				if l.wide() {
					l.maxGots++
				}
			case 64: // FPTR64
				if l.wide() {
					l.maxFdescs++
				}
			case 74: // PCREL22F
				stubs++
				if l.wide() {
					l.maxGots++
				}
			case 12: // PCREL17F
				if !l.wide() {
					stubs++
				}
			}
		}
		if stubs == 0 {
			continue
		}
		if uint64(s.Info) >= uint64(n) {
			return 0, &UndefinedError{Cause: SectionOutside, Relsec: i, Off: uint64(s.Info)}
		}
		l.stubs[s.Info] += stubs
	}
	for i := range l.room {
		l.room[i] = uint64(l.stubs[i]+1) * l.stubSize()
	}
	l.fdescOff = (uint64(l.maxGots)*8 + 15) &^ 15
	l.head = l.fdescOff + uint64(l.maxFdescs)*fdescSize
	return 0, nil
}

func (l *pariscLinker) TextHead() uint64 { return l.head }

func (l *pariscLinker) Prepend(section int) uint64 {
	if section < len(l.room) {
		return l.room[section]
	}
	return l.stubSize()
}

func (l *pariscLinker) Apply(relsec int) (diag.Errno, error) {
	return l.apply(relsec, func(p *place) (diag.Errno, error) {
		if p.S == 0 {
			l.log(levelWarn, UnknownSymbol, "%s: Unknown symbol %s", l.Name(), l.SymbolName(p.Sym))
			return diag.ENOENT, nil
		}
		if l.wide() {
			return l.one64(p)
		}
		return l.one32(p)
	})
}

// Field selectors: the left 21 and the right 11 bits, with the addend rounded to 8 KiB.
func rnd(a uint64) uint64      { return (a + 0x1000) &^ 0x1fff }
func lrsel(v, a uint64) uint64 { return (v + rnd(a)) >> 11 }
func rrsel(v, a uint64) uint64 { return (v+rnd(a))&0x7ff + a - rnd(a) }

// Immediates as the instructions have them.
func reassemble14(v uint32) uint32 { return v&0x1fff<<1 | v&0x2000>>13 }
func reassemble17(v uint32) uint32 {
	return v&0x10000>>16 | v&0x0f800<<5 | v&0x00400>>8 | v&0x003ff<<3
}
func reassemble21(v uint32) uint32 {
	return v&0x100000>>20 | v&0x0ffe00>>8 | v&0x000180<<7 | v&0x00007c<<14 | v&0x000003<<12
}
func reassemble22(v uint32) uint32 {
	return v&0x200000>>21 | v&0x1f0000<<5 | v&0x00f800<<5 | v&0x000400>>8 | v&0x0003ff<<3
}
func reassemble16a(v uint32) uint32 { // wide mode's 16 bits
	t, s := v<<1&0xffff, v&0x8000
	return t ^ s ^ s>>1 | s>>15
}

// reachable is RELOC_REACHABLE for a distance that was divided by 4 without a sign.
func (l *pariscLinker) reachable(v uint64, bits uint) bool {
	ones := ^uint64(0)
	if !l.wide() {
		ones = 0xffffffff
	}
	if v&(1<<(bits-1)) == 0 {
		return v>>bits == 0
	}
	return v>>bits == ones>>(bits+2)
}

// field replaces bits of the instruction at the place.
func (l *pariscLinker) field(p *place, mask, v uint32) error {
	loc, err := l.at(p, 4)
	if err == nil {
		l.order.PutUint32(loc, l.order.Uint32(loc)&^mask|v)
	}
	return err
}

func (l *pariscLinker) unknown(p *place) diag.Errno {
	l.log(levelErr, UnknownType, "module %s: Unknown relocation: %d", l.Name(), p.Type)
	return diag.ENOEXEC
}

func (l *pariscLinker) outOfRange(p *place, v uint64, bits uint) diag.Errno {
	l.log(levelErr, Overflow, "module %s relocation of symbol %s is out of range (0x%x in %d bits)", l.Name(), l.SymbolName(p.Sym), v, bits)
	return diag.ENOEXEC
}

func (l *pariscLinker) one32(p *place) (diag.Errno, error) {
	A, dot := uint64(p.Addend), p.P&^3
	v := p.S
	switch p.Type {
	case 0:
		return 0, nil
	case 65, 1, 49, 41: // PLABEL32, DIR32, SEGREL32, SECREL32: the address, whatever the ABI says
		return 0, l.store(p, 4, v+A)
	case 2: // DIR21L
		return 0, l.field(p, 1<<21-1, reassemble21(uint32(l.long(lrsel32(v, A)))))
	case 6: // DIR14R
		return 0, l.field(p, 1<<14-1, reassemble14(uint32(rrsel(v, A))))
	case 18, 22: // DPREL21L, DPREL14R
		dp, ok := l.Kernel("$global$")
		if !ok {
			return 0, &UndefinedError{Cause: KernelUnknown, Relsec: l.relsec, Entry: l.entry, What: "$global$"}
		}
		if p.Type == 18 {
			return 0, l.field(p, 1<<21-1, reassemble21(uint32(lrsel32(v-dp, A))))
		}
		return 0, l.field(p, 1<<14-1, reassemble14(uint32(rrsel(v-dp, A))))
	case 9: // PCREL32
		return 0, l.store(p, 4, v-dot-8+A)
	case 12, 74: // PCREL17F, PCREL22F
		bits, mask, put := uint(17), uint32(0x1f1ffd), reassemble17
		if p.Type == 74 {
			bits, mask, put = 22, 0x3ff1ffd, reassemble22
		}
		d := l.long(v+A-dot-8) / 4
		if !l.reachable(d, bits) {
			stub, err := l.directStub(p, v, A)
			if err != nil {
				return 0, err
			}
			if d = l.long(stub-dot-8) / 4; !l.reachable(d, bits) {
				return l.outOfRange(p, d, bits), nil
			}
		}
		return 0, l.field(p, mask, put(uint32(d)))
	}
	return l.unknown(p), nil
}

// lrsel32 is lrsel in 32 bits.
func lrsel32(v, a uint64) uint64 { return uint64(uint32(v+rnd(a))) >> 11 }

func (l *pariscLinker) one64(p *place) (diag.Errno, error) {
	A, dot := uint64(p.Addend), p.P&^3
	v := p.S
	switch p.Type {
	case 0:
		return 0, nil
	case 26, 30: // LTOFF21L, LTOFF14R
		g, err := l.gotSlot(v + A)
		if err != nil {
			return 0, err
		}
		if p.Type == 26 {
			return 0, l.field(p, 1<<21-1, reassemble21(uint32(lrsel(g, 0))))
		}
		return 0, l.field(p, 1<<14-1, reassemble14(uint32(rrsel(g, 0))))
	case 74: // PCREL22F
		dst := v + A
		var err error
		switch {
		case !l.local(dst) && strings.HasPrefix(string(l.SymbolName(p.Sym)), "$$"):
			dst, err = l.milliStub(p, v, A)
		case !l.local(dst):
			dst, err = l.gotStub(p, v+A)
		case !l.reachable((dst-dot-8)/4, 22):
			dst, err = l.directStub(p, v, A)
		}
		if err != nil {
			return 0, err
		}
		d := (dst - dot - 8) / 4
		if !l.reachable(d, 22) {
			return l.outOfRange(p, d, 22), nil
		}
		return 0, l.field(p, 0x3ff1ffd, reassemble22(uint32(d)))
	case 9: // PCREL32
		return 0, l.store(p, 4, v-dot-8+A)
	case 72: // PCREL64
		return 0, l.store(p, 8, v-dot-8+A)
	case 80: // DIR64
		return 0, l.store(p, 8, v+A)
	case 49, 41: // SEGREL32, SECREL32
		return 0, l.store(p, 4, v+A)
	case 64: // FPTR64
		if !l.local(v + A) {
			return 0, l.store(p, 8, v+A) // a descriptor already
		}
		d, err := l.fdesc(v + A)
		if err != nil {
			return 0, err
		}
		return 0, l.store(p, 8, d)
	}
	return l.unknown(p), nil
}

// local reports whether an address is in this module.
func (l *pariscLinker) local(addr uint64) bool { return l.Memory(addr, 1) != nil }

// headSlot returns bytes at the start of the text region.
func (l *pariscLinker) headSlot(off, n uint64) ([]byte, uint64, error) {
	at := l.TextStart() + off
	b := l.Memory(at, n)
	if uint64(len(b)) != n {
		return nil, 0, l.undefined(TableFull, off)
	}
	return b, at, nil
}

// slotOf finds or takes an index for v in a table of at most limit slots; fresh says that it was taken.
func (l *pariscLinker) slotOf(m *map[uint64]int, v uint64, limit int, what string) (i int, fresh bool, err error) {
	if i, ok := (*m)[v]; ok {
		return i, false, nil
	}
	if i = len(*m); i >= limit {
		return 0, false, &UndefinedError{Cause: KernelBug, Relsec: l.relsec, Entry: l.entry, What: what + " has too few entries"}
	}
	if *m == nil {
		*m = map[uint64]int{}
	}
	(*m)[v] = i
	return i, true, nil
}

// gotSlot is get_got: the offset of the slot for v.
func (l *pariscLinker) gotSlot(v uint64) (uint64, error) {
	if v == 0 {
		return 0, &UndefinedError{Cause: KernelBug, Relsec: l.relsec, Entry: l.entry, What: "a GOT slot for the address 0"}
	}
	i, fresh, err := l.slotOf(&l.gots, v, l.maxGots, "GOT")
	if err != nil || !fresh {
		return uint64(i) * 8, err
	}
	b, at, err := l.headSlot(uint64(i)*8, 8)
	if err != nil {
		return 0, err
	}
	l.order.PutUint64(b, v)
	l.emitted("got", at, 8, v)
	return uint64(i) * 8, nil
}

// fdesc is get_fdesc: the address of the function descriptor for v.
func (l *pariscLinker) fdesc(v uint64) (uint64, error) {
	i, fresh, err := l.slotOf(&l.fdescs, v, l.maxFdescs, "function descriptors")
	if err != nil {
		return 0, err
	}
	b, at, err := l.headSlot(l.fdescOff+uint64(i)*fdescSize, fdescSize)
	if err != nil || !fresh {
		return at, err
	}
	l.order.PutUint64(b[16:], v)
	l.order.PutUint64(b[24:], l.TextStart())
	l.emitted("fdesc", at, fdescSize, v)
	return at, nil
}

// stub takes the next stub before the section of p.
func (l *pariscLinker) stub(p *place) ([]byte, uint64, error) {
	size, s := l.stubSize(), p.target
	if l.next[s] == 0 {
		l.next[s] = (l.long(l.Addr(s)-uint64(l.stubs[s]+1)*size) + size - 1) &^ (size - 1)
	}
	at := l.next[s]
	l.next[s] += size
	if l.stubs[s] == 0 {
		return nil, 0, &UndefinedError{Cause: KernelBug, Relsec: l.relsec, Entry: l.entry, What: "too few stubs"}
	}
	l.stubs[s]--
	b := l.Memory(at, size)
	if uint64(len(b)) != size {
		return nil, 0, l.undefined(TableFull, at)
	}
	return b, at, nil
}

func (l *pariscLinker) putStub(p *place, target uint64, words ...uint32) (uint64, error) {
	b, at, err := l.stub(p)
	if err != nil {
		return 0, err
	}
	for i, w := range words {
		l.order.PutUint32(b[4*i:], w)
	}
	l.emitted("stub", at, l.stubSize(), target)
	return at, nil
}

// directStub jumps to v + A:
//
//	32 bits: ldil L,%r1; be,n R(%sr4,%r1)
//	64 bits: ldil L,%r1; ldo R(%r1),%r1; bve,n (%r1)
func (l *pariscLinker) directStub(p *place, v, A uint64) (uint64, error) {
	if !l.wide() {
		return l.putStub(p, v+A, 0x20200000|reassemble21(uint32(lrsel32(v, A))), 0xe0202002|reassemble17(uint32(rrsel(v, A))/4))
	}
	return l.putStub(p, v+A, 0x20200000|reassemble21(uint32(lrsel(v, A))), 0x34210000|reassemble14(uint32(rrsel(v, A))), 0xe820d002)
}

// milliStub calls millicode: ldil; ldo; ldd 10(%r1),%r1; bve,n (%r1).
func (l *pariscLinker) milliStub(p *place, v, A uint64) (uint64, error) {
	return l.putStub(p, v+A, 0x20200000|reassemble21(uint32(lrsel(v, A))), 0x34210000|reassemble14(uint32(rrsel(v, A))), 0x50210020, 0xe820d002)
}

// gotStub calls a function of the kernel by its descriptor: ldd slot(%dp),%dp; ldd 10(%dp),%r1; bve (%r1); ldd 18(%dp),%dp.
func (l *pariscLinker) gotStub(p *place, v uint64) (uint64, error) {
	// The stub is taken before the slot, as in get_stub.
	b, at, err := l.stub(p)
	if err != nil {
		return 0, err
	}
	d, err := l.gotSlot(v)
	if err != nil {
		return 0, err
	}
	first := 0x537b0000 | reassemble16a(uint32(d))
	if d <= 15 {
		first = 0x0f6010db | (uint32(d)&15<<1|uint32(d)>>4&1)<<16
	}
	for i, w := range [4]uint32{first, 0x53610020, 0xe820d000, 0x537b0030} {
		l.order.PutUint32(b[4*i:], w)
	}
	l.emitted("stub", at, l.stubSize(), v)
	return at, nil
}

// Finalize refuses a GOT that the longest displacement does not cover.
func (l *pariscLinker) Finalize() (diag.Errno, error) {
	const most = 4095
	l.relsec, l.entry = 0, 0
	if len(l.gots) > most {
		l.log(levelErr, Overflow, "%s: Global Offset Table overflow (used %d, allowed %d)", l.Name(), len(l.gots), most)
		return diag.EINVAL, nil
	}
	return 0, nil
}
