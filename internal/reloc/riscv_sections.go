package reloc

import (
	"cmp"
	"debug/elf"
	"slices"

	"kotool/internal/diag"
	kelf "kotool/internal/elf"
)

// GOT and PLT of riscv modules, and the sums of ADD, SUB and SET. Source: arch/riscv/kernel/module-sections.c;
// arch/riscv/kernel/module.c: process_accumulated_relocations.

// riscvTable is .plt, .got or .got.plt.
type riscvTable struct {
	section int
	max, n  int
	byValue map[uint64]int
}

const riscvPLTEntry = 12 // bytes

// gotEntry is module_emit_got_entry: the address of the slot for v.
func (l *riscvLinker) gotEntry(v uint64) (uint64, error) {
	t := &l.got
	if i, ok := t.byValue[v]; ok {
		return l.Addr(t.section) + uint64(i)*l.wordSize(), nil
	}
	b, at, err := l.tableSlot(t.section, t.n, l.wordSize())
	if err != nil {
		return 0, err
	}
	l.putLong(b, v)
	if err := t.used(&l.base, v); err != nil {
		return 0, err
	}
	l.emitted("got", at, l.wordSize(), v)
	return at, nil
}

// used counts the slot that v just got.
func (t *riscvTable) used(l *base, v uint64) error {
	if t.byValue == nil {
		t.byValue = map[uint64]int{}
	}
	t.byValue[v] = t.n
	t.n++
	if t.n > t.max {
		return &UndefinedError{Cause: KernelBug, Relsec: l.relsec, Entry: l.entry, What: l.Section(t.section).Name + " has too few entries"}
	}
	return nil
}

// pltEntry is module_emit_plt_entry. An entry loads its target from the slot of .got.plt with the same index:
//
//	auipc t0, hi20
//	ld    t1, lo12(t0)
//	jr    t1
func (l *riscvLinker) pltEntry(v uint64) (uint64, error) {
	t := &l.plt
	if i, ok := t.byValue[v]; ok {
		return l.Addr(t.section) + uint64(i)*riscvPLTEntry, nil
	}
	g, gotAt, err := l.tableSlot(l.gotPLT.section, t.n, l.wordSize())
	if err != nil {
		return 0, err
	}
	b, at, err := l.tableSlot(t.section, t.n, riscvPLTEntry)
	if err != nil {
		return 0, err
	}
	l.putLong(g, v)
	off := l.signed(gotAt - at)
	ld := uint32(0x0002b303)
	if l.class == elf.ELFCLASS32 {
		ld = 0x0002a303 // lw
	}
	putWords(b, 0x00000297|hi20(off), ld|uint32(off)<<20, 0x00030067)
	if err := t.used(&l.base, v); err != nil {
		return 0, err
	}
	l.emitted("got.plt", gotAt, l.wordSize(), v)
	l.emitted("plt", at, riscvPLTEntry, v)
	return at, nil
}

// Frob is module_frob_arch_sections of kernels with CONFIG_MODULE_SECTIONS.
func (l *riscvLinker) Frob() (diag.Errno, error) {
	if !l.t.RISCV.Sections {
		return 0, nil
	}
	l.relsec = 0
	for i := range l.Sections() {
		switch l.Section(i).Name {
		case ".plt":
			l.plt.section = i
		case ".got":
			l.got.section = i
		case ".got.plt":
			l.gotPLT.section = i
		}
	}
	for _, c := range []struct {
		section int
		name    string
	}{{l.plt.section, "PLT"}, {l.got.section, "GOT"}, {l.gotPLT.section, "GOT.PLT"}} {
		if c.section == 0 {
			l.log(levelErr, MissingSection, "%s: module %s section(s) missing", l.Name(), c.name)
			return diag.ENOEXEC, nil
		}
	}
	var plts, gots []kelf.Rel // of one section, or of the module
	count := func() {
		l.plt.max += distinct(plts)
		l.got.max += distinct(gots)
		plts, gots = plts[:0], gots[:0]
	}
	var bad error
	for i := range l.code(elf.SHT_RELA, &bad) {
		list := EntriesOf(l, i)
		for k := 0; k < list.Len(); k += batch {
			for _, r := range list.from(k, list.Len(), &l.some) {
				switch {
				case r.Type == 19, r.Type == 59 && l.t.RISCV.Accumulate: // CALL_PLT, PLT32
					plts = append(plts, r)
				case r.Type == 20: // GOT_HI20
					gots = append(gots, r)
				}
			}
		}
		if !l.t.RISCV.PLTPerModule {
			count()
		}
	}
	if bad != nil {
		return 0, bad
	}
	count()
	l.gotPLT.max = l.plt.max
	room := func(t *riscvTable, flags elf.SectionFlag, entry uint64) {
		s := l.Section(t.section)
		s.Type, s.Flags, s.Align, s.Size = elf.SHT_NOBITS, flags, 64, uint64(t.max+1)*entry
		l.SetSection(t.section, s)
	}
	room(&l.plt, elf.SHF_EXECINSTR|elf.SHF_ALLOC, riscvPLTEntry)
	room(&l.got, elf.SHF_ALLOC, l.wordSize())
	room(&l.gotPLT, elf.SHF_ALLOC, l.wordSize())
	return 0, nil
}

// distinct counts the entries that differ in symbol, type or addend. It may sort them.
func distinct(rels []kelf.Rel) int {
	keys := make([]uint64, len(rels))
	for i := range rels {
		key, ok := bySymbol(&rels[i])
		if !ok {
			return distinctLarge(rels)
		}
		keys[i] = key
	}
	slices.Sort(keys)
	return len(slices.Compact(keys))
}

// distinctLarge is distinct for numbers of any size.
func distinctLarge(rels []kelf.Rel) int {
	order := func(a, b kelf.Rel) int {
		return cmp.Or(cmp.Compare(a.Sym, b.Sym), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Addend, b.Addend))
	}
	slices.SortFunc(rels, order)
	n := 0
	for i := range rels {
		if i == 0 || order(rels[i-1], rels[i]) != 0 {
			n++
		}
	}
	return n
}

// summed reports whether a type has an accumulate handler: ADD*, SUB*, SET*.
func summed(typ uint32) bool {
	return typ >= 33 && typ <= 40 || typ >= 52 && typ <= 56 || typ == 60 || typ == 61
}

// riscvSum is what is to be stored at one place.
type riscvSum struct {
	sum    uint64 // a long, from zero
	p      uint64 // address of the place
	off    uint64 // the same in the section
	entry  int32  // the last one of the place
	typ    uint32 // of that
	target int32  // section
}

// riscvSums are the sums of a section, by place.
type riscvSums struct {
	list []riscvSum
	byP  map[uint64]int // nil as long as each place lies behind those before it
}

// at is the number of a place's sum, -1 where there is none.
func (s *riscvSums) at(place uint64) int {
	last := len(s.list) - 1
	switch {
	case last < 0:
		return -1
	case s.list[last].p == place:
		return last
	case s.byP == nil && s.list[last].p < place:
		return -1
	case s.byP == nil:
		s.byP = make(map[uint64]int, len(s.list))
		for i := range s.list {
			s.byP[s.list[i].p] = i
		}
	}
	if i, ok := s.byP[place]; ok {
		return i
	}
	return -1
}

// add applies a relocation to its place's sum. Narrow types change the low bytes of it only.
func (s *riscvSums) add(l *riscvLinker, p *place, v uint64) error {
	if len(s.list) == 0 {
		s.list = slices.Grow(s.list, l.rels.Len()/4)
	}
	i := s.at(p.P)
	if i < 0 {
		i = len(s.list)
		if s.byP != nil {
			s.byP[p.P] = i
		}
		s.list = append(s.list, riscvSum{p: p.P, off: p.Off, target: int32(p.target)})
	}
	e := &s.list[i]
	e.off, e.typ, e.entry = p.Off, p.Type, int32(l.entry)
	old := e.sum
	narrow := func(mask, v uint64) uint64 { return old&^mask | v&mask }
	switch p.Type {
	case 33: // ADD8
		e.sum = narrow(0xff, old+v)
	case 34: // ADD16
		e.sum = narrow(0xffff, old+v)
	case 35: // ADD32
		e.sum = narrow(0xffffffff, old+v)
	case 36: // ADD64
		e.sum = old + v
	case 37: // SUB8
		e.sum = narrow(0xff, old-v)
	case 38: // SUB16
		e.sum = narrow(0xffff, old-v)
	case 39: // SUB32
		e.sum = narrow(0xffffffff, old-v)
	case 40, 61: // SUB64, SUB_ULEB128
		e.sum = old - v
	case 52: // SUB6
		e.sum = narrow(0xff, (old-v&0x3f)&0x3f)
	case 53: // SET6
		e.sum = narrow(0x3f, v)
	case 54: // SET8
		e.sum = narrow(0xff, v)
	case 55: // SET16
		e.sum = narrow(0xffff, v)
	case 56: // SET32
		e.sum = narrow(0xffffffff, v)
	case 60: // SET_ULEB128
		e.sum = v
	}
	return nil
}

// buckets is how many bits the kernel's hash table of a section has. Source: arch/riscv/kernel/module.c: initialize_relocation_hashtable.
func (l *riscvLinker) buckets() (bits uint) {
	n, k := uint64(1), uint64(l.rels.Len())
	for n < k {
		n, bits = n<<1, bits+1
	}
	if k+k>>2 > n {
		bits++
	}
	return bits
}

// hash is hash_min: include/linux/hash.h.
func (l *riscvLinker) hash(v uint64, bits uint) uint64 {
	if bits == 0 {
		return 0
	}
	if l.class == elf.ELFCLASS32 {
		return uint64(uint32(v) * 0x61c88647 >> (32 - bits))
	}
	return v * 0x61c8864680b583eb >> (64 - bits)
}

// storeSums is process_accumulated_relocations: each sum is stored in the form of the last type of its place. What does not fit
// is logged, and the load goes on. Buckets of the kernel's hash table are walked from the one
// used first last, and so are the places in one.
func (l *riscvLinker) storeSums() error {
	list := l.sums.list
	if len(list) == 0 || l.storeApart() {
		return nil
	}
	bits := l.buckets()
	first := make([]uint32, uint64(1)<<bits) // by bucket: number plus one of its first sum
	order := make([]uint64, len(list))
	for i := range list {
		f := &first[l.hash(list[i].p, bits)]
		if *f == 0 {
			*f = uint32(i + 1)
		}
		order[i] = uint64(*f)<<32 | uint64(i)
	}
	slices.Sort(order)
	for _, o := range slices.Backward(order) {
		e := &list[uint32(o)]
		l.entry = int(e.entry)
		if err := l.storeOne(e); err != nil {
			return err
		}
	}
	return nil
}

// storeApart stores sums that nothing can be said of, each behind the one before it: then the order does not show. false: it may, and nothing is
// stored.
func (l *riscvLinker) storeApart() bool {
	list := l.sums.list
	target := int(list[0].target)
	content := l.Bytes(target, 0, l.Section(target).Size)
	end := uint64(0)
	for i := range list {
		e := &list[i]
		size, width := sumField(e.typ)
		have := uint64(len(content))
		if size == 0 || !fitsSum(l.signed(e.sum), width) || e.off < end || e.off > have || size > have-e.off {
			return false
		}
		end = e.off + size
	}
	for i := range list {
		e := &list[i]
		size, width := sumField(e.typ)
		l.putSum(content[e.off:e.off+size:e.off+size], width, e.sum)
	}
	return true
}

// sumField is the field that a sum is stored in, in bytes and bits; 0: as a ULEB128.
func sumField(typ uint32) (size uint64, width int) {
	switch typ {
	case 52, 53:
		return 1, 6
	case 33, 37, 54:
		return 1, 8
	case 34, 38, 55:
		return 2, 16
	case 35, 39, 56:
		return 4, 32
	case 36, 40:
		return 8, 64
	}
	return 0, 0
}

// fitsSum is the kernel's test of a sum: a negative one passes.
func fitsSum(sum int64, width int) bool { return width == 64 || sum <= 1<<width-1 }

func (l *riscvLinker) putSum(loc []byte, width int, sum uint64) {
	switch width {
	case 6:
		loc[0] = loc[0]&0xc0 | byte(sum)&0x3f
	case 8:
		loc[0] = byte(sum)
	case 16:
		l.order.PutUint16(loc, uint16(sum))
	case 32:
		l.order.PutUint32(loc, uint32(sum))
	default:
		l.order.PutUint64(loc, uint64(l.signed(sum)))
	}
}

func (l *riscvLinker) storeOne(e *riscvSum) error {
	p := place{Rel: &kelf.Rel{Off: e.off, Type: e.typ}, target: int(e.target), P: e.p}
	sum := l.signed(e.sum)
	size, width := sumField(e.typ)
	if size == 0 {
		return l.storeULEB(&p, sum)
	}
	if !fitsSum(sum, width) {
		l.log(levelErr, Overflow, "%s: value %d out of range for %d-bit relocation.", l.Name(), sum, width)
		return nil
	}
	loc, err := l.at(&p, size)
	if err == nil {
		l.putSum(loc, width, e.sum)
	}
	return err
}

// storeULEB writes as many bytes as the value needs: none for 0. A negative one never ends in the kernel.
func (l *riscvLinker) storeULEB(p *place, sum int64) error {
	if sum < 0 {
		return &UndefinedError{Cause: KernelBug, Relsec: l.relsec, Entry: l.entry, Off: p.Off, What: "a negative ULEB128 has no end"}
	}
	var b []byte
	for v := sum; v != 0; {
		c := byte(v & 0x7f)
		if v >>= 7; v != 0 {
			c |= 0x80
		}
		b = append(b, c)
	}
	loc, err := l.at(p, uint64(len(b)))
	if err == nil {
		copy(loc, b)
	}
	return err
}
