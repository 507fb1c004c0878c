package reloc

import (
	"bytes"
	"debug/elf"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	kelf "kotool/internal/elf"

	"kotool/internal/diag"
	"kotool/internal/kver"
)

// machine is what a test needs to know of a machine.
type machine struct {
	m     elf.Machine
	class elf.Class
	big   bool
	rel   bool   // the addend is at the place
	text  uint64 // address of .text
	t     Traits
}

// relocCase is one relocation of one place.
type relocCase struct {
	name   string
	typ    uint32
	S      uint64
	A      int64
	sym    Symbol // but for Value
	before string // hex: the bytes at P; none: zeros
	want   string // hex: those after
	errno  diag.Errno
	line   string // of the log; none: nothing is logged
}

const testOff = 16 // r_offset of the cases' place

// image makes a module with one section of code at mc.text, the tables that machines ask for, and symbol 1.
func (mc *machine) image(rels ...kelf.Rel) *memImage {
	typ := elf.SHT_RELA
	if mc.rel {
		typ = elf.SHT_REL
	}
	img := &memImage{name: "mod", machine: mc.m, kernel: map[string]uint64{}, rels: map[int][]kelf.Rel{2: rels}}
	sec := func(name string, typ elf.SectionType, flags elf.SectionFlag, addr, size uint64) {
		s := memSection{Section: Section{Name: name, Type: typ, Flags: flags, Size: size, Align: 8}, addr: addr}
		if flags&elf.SHF_ALLOC != 0 {
			s.data = make([]byte, size)
		}
		img.secs = append(img.secs, s)
	}
	const text = elf.SHF_ALLOC | elf.SHF_EXECINSTR
	sec("", 0, 0, 0, 0)
	sec(".text", elf.SHT_PROGBITS, text, mc.text, 64)
	sec(".rela.text", typ, 0, 0, 24*uint64(len(rels)))
	img.secs[2].Info = 1
	sec(".symtab", elf.SHT_SYMTAB, 0, 0, 0)
	for _, name := range []string{".plt", ".init.plt", ".got", ".got.plt", ".plt.idx", ".stubs", ".toc"} {
		sec(name, elf.SHT_PROGBITS, text, 0, 0)
	}
	img.syms = []Symbol{{}, {}}
	img.names = [][]byte{nil, []byte("sym")}
	return img
}

// layout gives the tables addresses behind .text, one page each, and room.
func (mc *machine) layout(img *memImage, l Linker) {
	addr := mc.text + 0x1000
	for i := 4; i < len(img.secs); i++ {
		s := &img.secs[i]
		s.addr, addr = addr, addr+0x1000
		s.data = make([]byte, s.Size)
	}
	img.place(mc.text-0x2000, l.TextHead())
}

// begin makes an image and its Linker, after Frob and layout.
func (mc *machine) begin(t *testing.T, rels ...kelf.Rel) (*memImage, Linker) {
	t.Helper()
	img := mc.image(rels...)
	l, err := Begin(mc.m, mc.class, mc.big, img, mc.t)
	if err != nil {
		t.Fatal(err)
	}
	if errno, err := l.Frob(); errno != 0 || err != nil {
		t.Fatalf("Frob: %v %v %q", errno, err, img.lines)
	}
	mc.layout(img, l)
	return img, l
}

// run does one case.
func (mc *machine) run(t *testing.T, c relocCase) {
	t.Helper()
	img, l := mc.begin(t, kelf.Rel{Off: testOff, Sym: 1, Type: c.typ, Addend: c.A})
	c.sym.Value = c.S
	img.syms[1] = c.sym
	loc := img.secs[1].data[testOff:]
	unhex(t, loc, c.before)
	errno, err := l.Apply(2)
	if err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	if errno != c.errno {
		t.Errorf("%s: got errno %v, want %v", c.name, errno, c.errno)
	}
	if got := strings.Join(img.lines, "\n"); got != c.line {
		t.Errorf("%s: log\n got %q\nwant %q", c.name, got, c.line)
	}
	n := len(strings.ReplaceAll(c.want, " ", "")) / 2
	want := make([]byte, n)
	unhex(t, want, c.want)
	if !bytes.Equal(loc[:n], want) {
		t.Errorf("%s: got % x, want % x", c.name, loc[:n], want)
	}
	for i, b := range img.secs[1].data {
		if b != 0 && (i < testOff || i >= testOff+16) {
			t.Errorf("%s: byte %d was written", c.name, i)
		}
	}
}

func unhex(t *testing.T, dst []byte, s string) {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	copy(dst, b)
}

// runAll does the cases, and what holds for every machine.
func (mc *machine) runAll(t *testing.T, cases []relocCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { mc.run(t, c) })
	}
	typ := cases[0].typ
	t.Run("a place outside of the section is not written", func(t *testing.T) {
		for _, off := range []uint64{63, 64, 1 << 31, 1<<63 + 8, ^uint64(0), ^uint64(0) - 7} {
			img, l := mc.begin(t, kelf.Rel{Off: off, Sym: 1, Type: typ})
			img.syms[1].Value = mc.text + 0x100
			errno, err := l.Apply(2)
			u, ok := errors.AsType[*UndefinedError](err)
			if mc.m == elf.EM_ARM && errno == diag.ENOEXEC && err == nil {
				continue // the one loader that looks
			}
			if !ok || u.Cause != PlaceOutside && u.Cause != KernelBug || u.Relsec != 2 || u.Entry != 0 {
				t.Errorf("offset %#x: got %v %v", off, errno, err)
			}
			for _, b := range img.secs[1].data {
				if b != 0 {
					t.Fatalf("offset %#x: something was written", off)
				}
			}
		}
	})
	t.Run("a symbol outside of the table", func(t *testing.T) {
		_, l := mc.begin(t)
		mc.rels(l)[2] = []kelf.Rel{{Off: testOff, Sym: 2, Type: typ}}
		_, err := l.Apply(2)
		if u, ok := errors.AsType[*UndefinedError](err); !ok || u.Cause != SymbolOutside || u.Off != 2 {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the form that the machine does not take", func(t *testing.T) {
		if mc.m == elf.EM_MIPS {
			return
		}
		img, l := mc.begin(t, kelf.Rel{Off: testOff, Sym: 1, Type: typ})
		img.secs[2].Type = elf.SHT_REL
		if mc.rel {
			img.secs[2].Type = elf.SHT_RELA
		}
		errno, err := l.Apply(2)
		if want := "module mod: REL relocation unsupported"; errno != diag.ENOEXEC || err != nil || len(img.lines) != 1 || img.lines[0] != want {
			t.Errorf("got %v %v %q, want ENOEXEC and %q", errno, err, img.lines, want)
		}
	})
}

// rels are the relocations of the image that l works on.
func (mc *machine) rels(l Linker) map[int][]kelf.Rel {
	type imager interface{ image() Image }
	return l.(imager).image().(*memImage).rels
}

func (b *base) image() Image { return b.Image }

func TestUnknownMachinesAreNotModelled(t *testing.T) {
	for _, c := range []struct {
		m     elf.Machine
		class elf.Class
	}{{elf.EM_IA_64, elf.ELFCLASS64}, {elf.EM_NONE, elf.ELFCLASS64}, {elf.EM_S390, elf.ELFCLASS32}, {elf.EM_LOONGARCH, elf.ELFCLASS32}} {
		if _, err := Begin(c.m, c.class, false, &memImage{}, Traits{}); !errors.Is(err, ErrMachine) {
			t.Errorf("%v %v: got %v", c.m, c.class, err)
		}
		if Modelled(c.m, c.class) {
			t.Errorf("%v %v: is modelled", c.m, c.class)
		}
	}
}

func TestEveryModelledMachineHasALinker(t *testing.T) {
	for m := range elf.Machine(300) {
		for _, class := range []elf.Class{elf.ELFCLASS32, elf.ELFCLASS64} {
			_, err := Begin(m, class, false, &memImage{}, Traits{})
			if has := err == nil; has != Modelled(m, class) && !(m == elf.EM_X86_64 || m == elf.EM_386 || m == elf.EM_PPC || m == elf.EM_PPC64) {
				t.Errorf("%v %v: Linker %v, Howtos %v", m, class, has, !has)
			}
		}
	}
}

// The Linker must take the types that have a Howto, and no others.
func TestLinkersTakeTheTypesOfTheirHowtos(t *testing.T) {
	for i := range testMachines {
		mc := &testMachines[i]
		for typ := range uint32(320) {
			img, l := mc.begin(t, kelf.Rel{Off: testOff, Sym: 1, Type: typ})
			img.syms[1].Value = mc.text + 0x20
			img.kernel["$global$"] = mc.text
			img.kernel["ftrace_caller"], img.kernel["__gnu_mcount_nc"] = mc.text, mc.text
			_, err := l.Apply(2)
			if err != nil && mc.m != elf.EM_PARISC && mc.m != elf.EM_RISCV {
				t.Errorf("%v %d: %v", mc.m, typ, err)
			}
			refused := strings.Contains(strings.Join(img.lines, ""), "nknown") || strings.Contains(strings.Join(img.lines, ""), "nsupport") ||
				strings.Contains(strings.Join(img.lines, ""), "not supported") || strings.Contains(strings.Join(img.lines, ""), "unexpected")
			if mc.m == elf.EM_S390 && typ >= 9 && typ <= 12 {
				refused = true // without a word
			}
			if mc.m == elf.EM_MIPS && mc.rel && (typ == 18 || typ == 28 || typ == 29) || mc.m == elf.EM_LOONGARCH && typ == 38 {
				refused = true // the same: a warning without text, an empty stack
			}
			if mc.m == elf.EM_SPARCV9 && typ > 255 {
				continue // the rest is an addend
			}
			if h := Lookup(mc.m, mc.class, typ); h.Loader == refused {
				t.Errorf("%v %v type %d %s: Howto says %v, the Linker %q", mc.m, mc.class, typ, h.Name, h.Loader, img.lines)
			}
		}
	}
}

// testMachines are the machines with the newest kernel's traits.
var testMachines = []machine{
	testX86, test386, testARM64, testARM, testRISCV, testRISCV32, testS390, testPPC64, testPPC32, testMIPS, testMIPS64,
	testLoong, testSPARC, testPARISC, testPARISC64,
}

var newest kver.Version

var (
	testX86      = machine{m: elf.EM_X86_64, class: elf.ELFCLASS64, text: 0xffffffffc0400000, t: DefaultTraits(elf.EM_X86_64, newest)}
	test386      = machine{m: elf.EM_386, class: elf.ELFCLASS32, rel: true, text: 0xf8000000}
	testARM64    = machine{m: elf.EM_AARCH64, class: elf.ELFCLASS64, text: 0xffff800078000000, t: DefaultTraits(elf.EM_AARCH64, newest)}
	testARM      = machine{m: elf.EM_ARM, class: elf.ELFCLASS32, rel: true, text: 0xbf000000, t: thumb2(DefaultTraits(elf.EM_ARM, newest))}
	testRISCV    = machine{m: elf.EM_RISCV, class: elf.ELFCLASS64, text: 0xffffffff01000000, t: sections(DefaultTraits(elf.EM_RISCV, newest))}
	testRISCV32  = machine{m: elf.EM_RISCV, class: elf.ELFCLASS32, text: 0x9d000000, t: sections(DefaultTraits(elf.EM_RISCV, newest))}
	testS390     = machine{m: elf.EM_S390, class: elf.ELFCLASS64, big: true, text: 0x3ff80010000, t: DefaultTraits(elf.EM_S390, newest)}
	testPPC64    = machine{m: elf.EM_PPC64, class: elf.ELFCLASS64, text: 0xc008000000100000, t: DefaultTraits(elf.EM_PPC64, newest)}
	testPPC32    = machine{m: elf.EM_PPC, class: elf.ELFCLASS32, big: true, text: 0xbe000000, t: DefaultTraits(elf.EM_PPC, newest)}
	testMIPS     = machine{m: elf.EM_MIPS, class: elf.ELFCLASS32, rel: true, text: 0xc0100000}
	testMIPS64   = machine{m: elf.EM_MIPS, class: elf.ELFCLASS64, text: 0xffffffffc0100000}
	testLoong    = machine{m: elf.EM_LOONGARCH, class: elf.ELFCLASS64, text: 0xffff800002010000, t: DefaultTraits(elf.EM_LOONGARCH, newest)}
	testSPARC    = machine{m: elf.EM_SPARCV9, class: elf.ELFCLASS64, big: true, text: 0x10010000}
	testPARISC   = machine{m: elf.EM_PARISC, class: elf.ELFCLASS32, big: true, text: 0x00810000}
	testPARISC64 = machine{m: elf.EM_PARISC, class: elf.ELFCLASS64, big: true, text: 0x00810000}
)

func thumb2(t Traits) Traits   { t.ARM.Thumb2 = true; return t }
func sections(t Traits) Traits { t.RISCV.Sections = true; return t }
