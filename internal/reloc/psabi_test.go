package reloc

import (
	"cmp"
	"debug/elf"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kotool/internal/diag"
	kelf "kotool/internal/elf"
)

// The tests of this file know nothing of how the Linkers are written. A row of psabi_tables_test.go states of one type what the psABI says of its
// value and its field, and what the kernel's loader checks. TestPSABI makes relocations of it whose values lie at, below and above each end of
// the range, applies them, reads the field out of the place by the row's bits, and compares.

// abiVars are what an expression of a psABI is made of.
type abiVars struct {
	S, A, P uint64
	V       uint64 // what the word at the place held
	img     *memImage
}

// at is the address of a section.
func (v *abiVars) at(section string) uint64 {
	for i := range v.img.secs {
		if v.img.secs[i].Name == section {
			return v.img.secs[i].addr
		}
	}
	return 0
}

// abiValue is an expression.
type abiValue func(v *abiVars) uint64

// abiRange is what the loader lets through, both ends included.
type abiRange func(v *abiVars) (lo, hi int64)

// sx(n) are the signed numbers of n bits, and ux(n) the unsigned ones.
func sx(n uint) abiRange { return span(-1<<(n-1), 1<<(n-1)-1) }
func ux(n uint) abiRange { return span(0, 1<<n-1) }

func span(lo, hi int64) abiRange { return func(*abiVars) (int64, int64) { return lo, hi } }

// abiRow is one relocation type, or one way to use it. A type may have more rows than one.
type abiRow struct {
	typ  uint32
	by   string // the test that has the type; then there is nothing else
	note string // what makes the row another than the type's other rows

	value abiValue                // nil: a marker, which writes nothing
	round uint64                  // added to the value before its bits are taken: 0x800 where the lower part is signed
	size  uint64                  // bytes of the word that has the field
	bits  string                  // "31:12=19:0 7=11": bits of the word = bits of the value
	zero  uint64                  // bits of the word that become zero
	halve bool                    // the word is two halfwords, the upper one first
	read  func(raw uint64) uint64 // makes the value of the bits that were read; of a SHT_REL type it is its own inverse

	in      abiRange // nil: the value is cut
	ranged  abiValue // what is checked, where that is not the value
	align   int64    // what is checked has to be a multiple of it
	grain   int64    // the value is always a multiple of it
	errno   diag.Errno
	word    string // of the log line
	written bool   // the field is written before it is checked

	far        abiValue // the value where what is checked is out of range: the way to a slot of a PLT
	alignFirst bool     // an odd target is refused, far or not

	off    uint64           // of the place, behind testOff
	addend string           // SHT_REL: the bits of the addend, where they are not those of the value
	sym    Symbol           // but for its value
	solve  abiValue         // by which S is found for a value; else what is checked
	S      uint64           // of the symbol, where the value does not hang on it
	moves  string           // the section that is moved for a value which hangs on neither S nor A
	seq    []uint32         // all types at the place, where it takes more than one
	extra  uint32           // a type that another place needs for this one
	label  bool             // the entry's symbol is that other place, which has S and A
	local  bool             // the symbol lies in memory of the module
	traits func(tr *Traits) // of a kernel with another configuration
}

// abiTable are the types of a machine.
type abiTable struct {
	mc      *machine
	errno   diag.Errno                       // of a value that does not fit
	clean   bool                             // the place must hold zeros
	refused func(mc *machine, S uint64) bool // values of a symbol that are no address
	rows    []abiRow
}

// abiExtra is the offset of the other place.
const abiExtra = 40

// abiPiece is a run of bits: n of them, at a bit of the word and from a bit of the value on.
type abiPiece struct{ at, from, n uint }

// pieces reads a row's bits.
func pieces(t *testing.T, s string) []abiPiece {
	t.Helper()
	run := func(s string) (lo, n uint) {
		hi, low, ok := strings.Cut(s, ":")
		if !ok {
			low = hi
		}
		h, err1 := strconv.Atoi(hi)
		l, err2 := strconv.Atoi(low)
		if err1 != nil || err2 != nil || l > h || h > 63 {
			t.Fatalf("bits %q", s)
		}
		return uint(l), uint(h - l + 1)
	}
	var list []abiPiece
	for _, f := range strings.Fields(s) {
		word, value, _ := strings.Cut(f, "=")
		at, n := run(word)
		from, m := run(value)
		if n != m {
			t.Fatalf("bits %q: %d = %d", f, n, m)
		}
		list = append(list, abiPiece{at, from, n})
	}
	return list
}

func (p abiPiece) mask() uint64 { return ^uint64(0) >> (64 - p.n) }

// abiMasks are the bits of the word and of the value.
func abiMasks(list []abiPiece) (word, value uint64) {
	for _, p := range list {
		word |= p.mask() << p.at
		value |= p.mask() << p.from
	}
	return word, value
}

// abiRead gathers the bits of a value, abiWrite scatters them.
func abiRead(list []abiPiece, word uint64) (v uint64) {
	for _, p := range list {
		v |= word >> p.at & p.mask() << p.from
	}
	return v
}

func abiWrite(list []abiPiece, word, v uint64) uint64 {
	for _, p := range list {
		word = word&^(p.mask()<<p.at) | v>>p.from&p.mask()<<p.at
	}
	return word
}

// abiWord reads the word of a row, and abiPut writes it.
func (r *abiRow) abiWord(mc *machine, b []byte) (w uint64) {
	for i := range r.size {
		at := i
		switch {
		case r.halve:
			at = i ^ 1
		case !mc.big:
			at = r.size - 1 - i
		}
		w = w<<8 | uint64(b[at])
	}
	return w
}

func (r *abiRow) abiPut(mc *machine, b []byte, w uint64) {
	for i := range r.size {
		at := r.size - 1 - i
		switch {
		case r.halve:
			at ^= 1
		case !mc.big:
			at = i
		}
		b[at] = byte(w >> (8 * i))
	}
}

// abiSigned is a value of the machine's width.
func abiSigned(mc *machine, v uint64) int64 {
	if mc.class == elf.ELFCLASS32 {
		return int64(int32(v))
	}
	return int64(v)
}

func abiUnsigned(mc *machine, v uint64) uint64 {
	if mc.class == elf.ELFCLASS32 {
		return uint64(uint32(v))
	}
	return v
}

// abiRun is a row at work.
type abiRun struct {
	t     *testing.T
	tab   *abiTable
	row   *abiRow
	mc    machine
	list  []abiPiece // of the value
	add   []abiPiece // of the addend
	field uint64
	known uint64 // bits of the value that the field has
	n     int
	seen  map[string]bool
}

func TestPSABI(t *testing.T) {
	for i := range abiTables {
		tab := &abiTables[i]
		class := map[elf.Class]string{elf.ELFCLASS32: "32", elf.ELFCLASS64: "64"}[tab.mc.class]
		t.Run(strings.TrimPrefix(tab.mc.m.String(), "EM_")+" "+class, func(t *testing.T) {
			t.Parallel()
			for k := range tab.rows {
				if r := &tab.rows[k]; r.by == "" {
					name := Name(tab.mc.m, r.typ)
					if tab.mc.m == elf.EM_SPARCV9 {
						name = Name(tab.mc.m, r.typ&0xff) // the rest is an addend
					}
					t.Run(strings.TrimSpace(name+" "+r.note), func(t *testing.T) { tab.run(t, r) })
				}
			}
		})
	}
}

// run makes the relocations of a row.
func (tab *abiTable) run(t *testing.T, r *abiRow) {
	x := &abiRun{t: t, tab: tab, row: r, mc: *tab.mc, seen: map[string]bool{}}
	if r.traits != nil {
		r.traits(&x.mc.t)
	}
	x.list, x.add = pieces(t, r.bits), pieces(t, cmp.Or(r.addend, r.bits))
	x.field, x.known = abiMasks(x.list)
	if r.value == nil {
		for _, A := range []uint64{0, 4, 1 << 20} {
			x.one(0, A)
		}
		return
	}
	v := &abiVars{P: x.mc.text + testOff + r.off, img: x.begin(nil)}
	var lo, hi int64
	if r.in != nil {
		lo, hi = r.in(v)
	}
	addends := []uint64{0, 1<<64 - 4, 2, 0x1237, 1<<64 - 0x12345678, 0x7ffffff0}
	if x.mc.rel {
		addends = x.addends()
	}
	list, ends := r.values(lo, hi)
	for i, X := range list {
		n := 2
		if i < ends {
			n = len(addends)
		}
		for k := range n {
			x.one(X, addends[(i+k)%len(addends)])
		}
	}
	want := []string{"any"}
	if r.in != nil {
		want = append(want, "smallest", "largest", "below", "above")
	}
	if r.align > 1 {
		want = append(want, "odd")
	}
	for _, w := range want {
		if !x.seen[w] {
			t.Errorf("no relocation was made whose value is %s (%d were, from %#x to %#x)", w, x.n, lo, hi)
		}
	}
}

// values are those to try. The first of them, which lie at the ends of the range, with all addends.
func (r *abiRow) values(lo, hi int64) (list []int64, ends int) {
	g := max(r.align, r.grain, 1)
	down := func(v int64) int64 { return v - (v%g+g)%g }
	if r.in != nil {
		list = append(list, down(lo+g-1), down(hi), down(lo-1), down(hi)+g, lo, hi, lo-1, hi+1, hi-1, lo+1)
	}
	list = append(list, 0, g, -g, 1, -1)
	ends = len(list)
	const a, b = 0x5555555555555555, 0x1234567812345678
	list = append(list, a, -a, b, -b, -1<<63)
	for k := range 63 {
		list = append(list, 1<<k, -1<<k)
		if w := int64(1) << k; r.in != nil && w <= hi-lo {
			list = append(list, lo+w, hi-w, lo+a&(w-1), hi-b&(w-1))
		}
	}
	return list, ends
}

// addends are some that the place can hold.
func (x *abiRun) addends() []uint64 {
	_, value := abiMasks(x.add)
	top, low := uint64(1)<<63, value&-value
	for top&value == 0 {
		top >>= 1
	}
	list := []uint64{0, -(2 * low), 3 * low, top - low, -top, 0x5555555555555555 & value & (top - 1)}
	if top>>3 == low { // of four bits there are few
		list = list[:2]
	}
	return list
}

// begin makes an image and its Linker with the row's entries; the address of the symbol is still to come.
func (x *abiRun) begin(l *Linker) *memImage {
	r := x.row
	seq := r.seq
	if seq == nil {
		seq = []uint32{r.typ}
	}
	var rels []kelf.Rel
	if r.extra != 0 {
		rels = append(rels, kelf.Rel{Off: abiExtra, Sym: 1, Type: r.extra})
	}
	for _, typ := range seq {
		e := kelf.Rel{Off: testOff + r.off, Sym: 1, Type: typ}
		if r.label {
			e.Sym = 2
		}
		rels = append(rels, e)
	}
	img, linker := x.mc.begin(x.t, rels...)
	if l != nil {
		*l = linker
	}
	if x.mc.m == elf.EM_PARISC { // its stubs stand before the section
		head := linker.TextHead() + linker.Prepend(1)
		img.place(x.mc.text-head, head)
	}
	img.syms = append(img.syms, Symbol{Value: x.mc.text + abiExtra})
	img.names = append(img.names, nil)
	for i, name := range []string{"ftrace_caller", "__gnu_mcount_nc", "$global$"} {
		img.kernel[name] = abiUnsigned(&x.mc, x.mc.text+0x4321000+uint64(i)*0x100)
	}
	return img
}

// abiPatterns are what the bytes around a field hold.
var abiPatterns = [...]uint64{0, ^uint64(0), 0xa5a5a5a5a5a5a5a5, 0x3c3c3c3c3c3c3c3c}

// one makes one relocation, of a value as near to X as it gets. A is its addend.
func (x *abiRun) one(X int64, A uint64) {
	r, mc := x.row, &x.mc
	pattern := abiPatterns[x.n%len(abiPatterns)]
	if x.tab.clean {
		pattern = 0
	}
	mc.text = x.tab.mc.text
	if x.n&4 != 0 {
		mc.text += 0xfc0 // the place is at the other end of the page
	}
	x.n++
	var l Linker
	img := x.begin(&l)
	text := img.secs[1].data
	for i := range text {
		text[i] = byte(pattern)
	}
	loc := text[testOff+r.off:]
	word := pattern
	if r.size < 8 {
		word &= 1<<(8*r.size) - 1
	}
	if mc.rel && r.value != nil {
		raw := A
		if r.read != nil {
			raw = r.read(A) // its own inverse
		}
		word = abiWrite(x.add, word, raw)
	}
	r.abiPut(mc, loc, word)
	v := &abiVars{S: r.S, A: A, P: mc.text + testOff + r.off, V: word, img: img}
	checked := r.ranged
	if checked == nil {
		checked = r.value
	}
	if r.value != nil && !x.aim(v, checked, X) {
		return
	}
	x.enter(v)
	before := slices.Clone(text)
	errno, err := l.Apply(2)
	after := r.abiWord(mc, loc)
	fail := func(format string, args ...any) {
		x.t.Helper()
		if r.size == 0 {
			word, after = 0, 0
		}
		x.t.Errorf("S %#x A %#x P %#x, place %#x: %s; now %#x, log %q", v.S, v.A, v.P, word, fmt.Sprintf(format, args...), after, img.lines)
	}
	if err != nil {
		fail("%v", err)
		return
	}
	unchanged := func(from, to uint64) bool { return slices.Equal(before[from:to], text[from:to]) }
	if end := testOff + r.off + r.size; !unchanged(0, testOff+r.off) || !unchanged(end, abiExtra) || !unchanged(abiExtra+8, 64) {
		fail("bytes beside the field have changed: % x", text)
	}
	if r.value == nil {
		if errno != 0 || len(img.lines) > 0 {
			fail("got %v, want nothing", errno)
		}
		return
	}
	got, ok := abiSigned(mc, r.value(v)), x.fits(v, checked)
	if r.far != nil && !x.inRange(v, checked) && (ok || !r.alignFirst || x.even(v, checked)) {
		got, ok = abiSigned(mc, r.far(v)), true
	}
	if left := ^(x.field | r.zero); (word^after)&left != 0 {
		fail("bits outside of the field have changed: %#x", (word^after)&left)
	}
	if !ok {
		if want := cmp.Or(r.errno, x.tab.errno); errno != want {
			fail("value %#x: got %v, want %v", got, errno, want)
		}
		if len(img.lines) == 0 || !strings.Contains(img.lines[0], r.word) {
			fail("value %#x: want a line with %q", got, r.word)
		}
		if !r.written && word != after {
			fail("value %#x: the place was written", got)
		}
		return
	}
	if errno != 0 || len(img.lines) > 0 {
		fail("value %#x: got %v, want none", got, errno)
		return
	}
	raw := abiRead(x.list, after)
	if r.read != nil {
		raw = r.read(raw)
	}
	if want := (uint64(got) + r.round) & x.known; raw&x.known != want {
		fail("value %#x: the field has %#x, want %#x", got, raw&x.known, want)
	}
	if after&r.zero != 0 {
		fail("value %#x: bits %#x are not zero", got, after&r.zero)
	}
}

// aim chooses the symbol, or else the addend or a section's address, so that what is checked is X. false: such a symbol is no address.
func (x *abiRun) aim(v *abiVars, checked abiValue, X int64) bool {
	mc, r := &x.mc, x.row
	f := checked
	if r.solve != nil {
		f = r.solve
	}
	hangs := func(p *uint64, width int) bool {
		old := *p
		defer func() { *p = old }()
		*p = 0
		zero := f(v)
		for k := range width {
			if *p = 1 << k; f(v) != zero {
				return true
			}
		}
		return false
	}
	for range 3 {
		switch {
		case hangs(&v.S, 64):
			v.S = 0
			v.S = abiUnsigned(mc, uint64(X)-f(v))
		case !mc.rel && hangs(&v.A, 64):
			v.A = 0
			v.A = uint64(X) - f(v)
		case r.moves != "":
			i := slices.IndexFunc(v.img.secs, func(s memSection) bool { return s.Name == r.moves })
			addr := &v.img.secs[i].addr
			*addr = 0
			*addr = abiUnsigned(mc, uint64(X)-f(v)) &^ (max(uint64(r.grain), 1) - 1)
		}
		if x.tab.refused == nil || !x.tab.refused(mc, v.S) {
			x.note(v, checked)
			return true
		}
		if mc.rel {
			return false
		}
		v.A += 0x4000
	}
	return false
}

// enter puts symbol and addend where the Linker finds them.
func (x *abiRun) enter(v *abiVars) {
	r, mc, img := x.row, &x.mc, v.img
	img.syms[1] = r.sym
	img.syms[1].Value = abiUnsigned(mc, v.S)
	if !mc.rel {
		img.rels[2][0].Addend = int64(v.A)
		if r.extra != 0 && !r.label {
			img.rels[2][1].Addend = int64(v.A)
		} else if mc.m == elf.EM_RISCV && r.label {
			img.rels[2][1].Addend = 99 // does not count
		}
	}
	if dst := v.S + v.A; r.local && img.Memory(dst, 1) == nil {
		img.secs = append(img.secs, memSection{Section: Section{Name: ".more"}, addr: dst, data: make([]byte, 8)})
	}
}

func (x *abiRun) inRange(v *abiVars, checked abiValue) bool {
	if x.row.in == nil {
		return true
	}
	lo, hi := x.row.in(v)
	n := abiSigned(&x.mc, checked(v))
	return n >= lo && n <= hi
}

func (x *abiRun) even(v *abiVars, checked abiValue) bool {
	return x.row.align < 2 || abiSigned(&x.mc, checked(v))%x.row.align == 0
}

func (x *abiRun) fits(v *abiVars, checked abiValue) bool {
	return x.inRange(v, checked) && x.even(v, checked)
}

// note keeps what kinds of values there were.
func (x *abiRun) note(v *abiVars, checked abiValue) {
	r := x.row
	n := abiSigned(&x.mc, checked(v))
	x.seen["any"] = true
	x.seen["odd"] = x.seen["odd"] || !x.even(v, checked)
	if r.in == nil {
		return
	}
	lo, hi := r.in(v)
	g := max(r.align, r.grain, 1)
	for name, is := range map[string]bool{
		"smallest": n >= lo && n < lo+g, "largest": n <= hi && n > hi-g, "below": n < lo && n >= lo-g, "above": n > hi && n <= hi+g,
	} {
		x.seen[name] = x.seen[name] || is && x.even(v, checked)
	}
}

// TestPSABIHasEveryType holds the tables to the types that the loaders take.
func TestPSABIHasEveryType(t *testing.T) {
	tests := testNames(t)
	for i := range testMachines {
		mc := &testMachines[i]
		k := slices.IndexFunc(abiTables, func(tab abiTable) bool { return tab.mc.m == mc.m && tab.mc.class == mc.class })
		if k < 0 {
			t.Errorf("%v %v: no table", mc.m, mc.class)
			continue
		}
		has := map[uint32]bool{}
		for _, r := range abiTables[k].rows {
			typ := r.typ
			if mc.m == elf.EM_SPARCV9 {
				typ &= 0xff // the rest is an addend
			}
			has[typ] = true
			h := Lookup(mc.m, mc.class, typ)
			if !h.Loader {
				t.Errorf("%v %v: type %d %s has a row, but the loader does not take it", mc.m, mc.class, typ, h.Name)
			}
			if r.by != "" {
				if !tests[r.by] {
					t.Errorf("%v %v: type %d %s: there is no %s", mc.m, mc.class, typ, h.Name, r.by)
				}
			} else if size := r.size; size != uint64(h.Size) && r.seq == nil {
				t.Errorf("%v %v: type %d %s: the Howto has %d bytes, the row %d", mc.m, mc.class, typ, h.Name, h.Size, size)
			}
		}
		for typ := range uint32(1 << 10) {
			if h := Lookup(mc.m, mc.class, typ); h.Loader && !has[typ] {
				t.Errorf("%v %v: type %d %s has no row", mc.m, mc.class, typ, h.Name)
			}
		}
	}
}

// testNames are the tests of this package.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
				names[fn.Name.Name] = true
			}
		}
	}
	return names
}
