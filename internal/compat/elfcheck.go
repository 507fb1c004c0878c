package compat

import (
	stdelf "debug/elf"

	"kotool/internal/arch"
	"kotool/internal/diag"
	"kotool/internal/elf"
	"kotool/internal/kver"
)

// check is one test of the ELF file. It returns 0 where the file passes.
type check struct {
	id  string // row of the load pipeline
	in  kver.Range
	run func(*Load) (diag.Errno, error)
}

// The three forms that the tests have had.
var (
	before64 = kver.Until(6, 4)
	from64   = kver.Between(kver.V(6, 4), kver.V(6, 13))
	from613  = kver.Since(6, 13)
	till613  = kver.Until(6, 13)
	from515  = kver.Since(5, 15) // the checks say what is wrong: commit 7fd982f394c4 (5.16, and 5.15.y)
)

// validity are the tests in the order of each era. Where two eras have one test in different places it stands twice.
//
// Source: kernel/module/main.c: elf_validity_cache_copy, setup_load_info; kernel/module.c: elf_header_check (5.10).
var validity = []check{
	{"a1", kver.All, (*Load).headerLen},
	{"a2", kver.All, (*Load).headerMagic},
	{"a3", kver.All, (*Load).headerType},
	{"a4", kver.All, (*Load).headerArch},
	{"a5", kver.Since(6, 2), (*Load).headerModArch},
	{"a6", kver.All, (*Load).headerShentsize},
	{"a7", kver.All, (*Load).headerTable},

	// to 6.12: names first, then one loop over the sections
	{"b1", till613, (*Load).nameIndex},
	{"b1", till613, (*Load).nameBounds},
	{"b3", kver.Between(kver.V(5, 15), kver.V(6, 13)), (*Load).nameEmpty},
	{"b4", till613, (*Load).nameNUL},
	{"a8", till613, (*Load).section0},
	{"", till613, (*Load).sectionLoop},
	{"c1", from64, (*Load).oneModinfo},
	{"d1", from64, (*Load).oneSymtab},
	{"c2", from64, (*Load).oneStruct},
	{"c3", from64, (*Load).structBits},
	{"c4", from64, (*Load).structAlloc},
	{"c5", from64, (*Load).structSize},
	{"", before64, (*Load).setupInfo},

	// since 6.13
	{"a8", from613, (*Load).section0},
	{"a9", from613, (*Load).bounds},
	{"b1", from613, (*Load).nameIndex},
	{"b2", from613, (*Load).nameType},
	{"b3", from613, (*Load).nameEmpty},
	{"b4", from613, (*Load).nameNUL},
	{"b5", from613, (*Load).namesInside},
	{"c1", from613, (*Load).oneModinfo},
	{"c2", from613, (*Load).oneStruct},
	{"c3", from613, (*Load).structBits},
	{"c4", from613, (*Load).structAlloc},
	{"c5", from613, (*Load).structSize},
	{"d1", from613, (*Load).oneSymtab},
	{"d2", from613, (*Load).symtabLink},
	{"d3", from613, (*Load).strtabType},
	{"e1", from613, (*Load).extBoth},
	{"e2", from613, (*Load).extNames},
	{"f1", from613, (*Load).strtab},
	{"f2", from613, (*Load).symbolNames},
}

// has reports whether the target's version lies in r; no version is the newest.
func (t *Target) has(r kver.Range) bool { return r.Holds(t.Version) }

// Validity is the whole of the ELF tests: the first that fails ends it.
func (l *Load) Validity() (diag.Errno, error) {
	size := diag.Errno(0)
	for i := range validity {
		c := &validity[i]
		if !l.T.has(c.in) {
			continue
		}
		if c.id != "" {
			l.step = c.id
		}
		if errno, err := c.run(l); errno != 0 || err != nil {
			if l.all && l.step == "c5" && err == nil { // the rest of the file can be read all the same
				l.refuse()
				size = errno
				continue
			}
			if err == nil && !l.T.has(from515) && l.step != "c2" && l.step != "d1" {
				l.printk("Module has invalid ELF structures")
			}
			return errno, err
		}
	}
	l.valid = true
	return size, nil
}

func ehdrSize(c stdelf.Class) uint64 {
	if c == stdelf.ELFCLASS32 {
		return 52
	}
	return 64
}

// kernelForm is how the target's kernel reads the headers.
func (l *Load) kernelForm() (class stdelf.Class, big bool) {
	if a := l.T.Arch; a != nil {
		return a.Class, a.BigEndian
	}
	if l.F != nil {
		return l.F.Class, l.F.Big
	}
	b := l.bytes(0, 6)
	class = stdelf.ELFCLASS64
	if len(b) == 6 && b[4] == byte(stdelf.ELFCLASS32) {
		class = stdelf.ELFCLASS32
	}
	return class, len(b) == 6 && b[5] == byte(stdelf.ELFDATA2MSB)
}

// Use lets the load take headers that were read already, if the kernel reads them in the same way.
func (l *Load) Use(f *elf.File) {
	if a := l.T.Arch; a == nil || f.Class == a.Class && f.Big == a.BigEndian {
		l.F = f
	}
}

func (l *Load) headerLen() (diag.Errno, error) {
	class, _ := l.kernelForm()
	if l.Len < ehdrSize(class) {
		return l.fail(diag.ELFLen, l.Len), nil
	}
	return 0, nil
}

func (l *Load) headerMagic() (diag.Errno, error) {
	if string(l.bytes(0, 4)) != stdelf.ELFMAG {
		return l.fail(diag.ELFMagic), nil
	}
	if l.F == nil {
		class, big := l.kernelForm()
		f, err := elf.ParseAs(l.src, class, big)
		if err != nil {
			return 0, err
		}
		l.F = f
	}
	return 0, nil
}

func (l *Load) headerType() (diag.Errno, error) {
	if t := l.F.Header.Type; t != stdelf.ET_REL {
		return l.fail(diag.ELFType, int(t)), nil
	}
	return 0, nil
}

// acceptsArch is elf_check_arch. Source: arch/*/include/asm/elf.h; arch/arm/kernel/elf.c.
func acceptsArch(a *arch.Arch, h *elf.Header) bool {
	sameClass := h.Class() == a.Class
	switch a.Machine {
	case stdelf.EM_386:
		return h.Machine == stdelf.EM_386 || h.Machine == 6 // EM_486
	case stdelf.EM_S390, 0xa390:
		return (h.Machine == stdelf.EM_S390 || h.Machine == 0xa390) && sameClass
	case stdelf.EM_RISCV, stdelf.EM_LOONGARCH, stdelf.EM_SPARCV9, stdelf.EM_PARISC:
		return h.Machine == a.Machine && sameClass
	case stdelf.EM_MIPS:
		if h.Machine != a.Machine || !sameClass {
			return false
		}
		const abi2, abi, o32, fp64 = 0x20, 0xf000, 0x1000, 0x200
		return a.Class != stdelf.ELFCLASS32 || h.Flags&abi2 == 0 && (h.Flags&abi == 0 || h.Flags&abi == o32) && h.Flags&fp64 == 0
	case stdelf.EM_ARM:
		return h.Machine == a.Machine && (h.Entry&1 != 0 || h.Entry&3 == 0)
	}
	return h.Machine == a.Machine
}

func (l *Load) headerArch() (diag.Errno, error) {
	a, h := l.T.Arch, &l.F.Header
	if a == nil || acceptsArch(a, h) {
		return 0, nil
	}
	is := h.Machine.String()
	if g := arch.Guess(h.Machine); g != nil {
		is = g.Name
	}
	f := l.finding(diag.ELFArch, int(h.Machine), is, a.Name)
	f.Want, f.Got = a.Name, is
	return f.Errno, nil
}

func (l *Load) headerModArch() (diag.Errno, error) {
	h := &l.F.Header
	if h.Machine != stdelf.EM_PPC64 {
		return 0, nil
	}
	abi, v2 := h.Flags&3, !l.F.Big // distributions' big-endian kernels are ELFv1
	if v2 && abi != 2 || !v2 && abi >= 2 {
		return l.fail(diag.ELFModArch, int(h.Machine)), nil
	}
	return 0, nil
}

func (l *Load) headerShentsize() (diag.Errno, error) {
	if got, want := uint64(l.F.Header.Shentsize), l.F.ShentsizeWant(); got != want {
		return l.fail(diag.ELFShentsize, got, want), nil
	}
	return 0, nil
}

func (l *Load) headerTable() (diag.Errno, error) {
	h := &l.F.Header
	n := uint64(h.Shnum)
	if h.Shoff >= l.Len || n*uint64(h.Shentsize) > l.Len-h.Shoff {
		return l.fail(diag.ELFShtable, h.Shoff, n, l.Len), nil
	}
	mem := l.borrowed()
	l.named = room(&mem.named, int(n))
	if n > uint64(len(l.F.Sections)) { // e_shoff is 0
		list, err := l.F.HeaderTable(h.Shoff, n)
		if err != nil {
			return 0, err
		}
		l.Hdr = list
		return 0, nil
	}
	// Extended numbering is not the kernel's.
	l.Hdr = room(&mem.hdr, int(n))
	copy(l.Hdr, l.F.Sections)
	if i := uint64(h.Shstrndx); i > 0 && i < n && uint64(l.F.Shstrndx) == i {
		// A name inside the table was read with it; others are read as the kernel does, when they are wanted.
		s := &l.Hdr[i]
		for j := range l.Hdr {
			l.named[j] = uint64(l.Hdr[j].NameOff) < s.Size && len(l.Hdr[j].Name)+1 < elf.MaxName &&
				uint64(l.Hdr[j].NameOff)+uint64(len(l.Hdr[j].Name)) < s.Size && s.Type != stdelf.SHT_NOBITS && s.Type != stdelf.SHT_NULL
		}
	}
	return 0, nil
}

// inside is validate_section_offset. Source: kernel/module/main.c.
func (l *Load) inside(s *elf.Section) bool {
	end := s.Off + s.Size
	return end >= s.Off && end <= l.Len
}

func (l *Load) section0() (diag.Errno, error) {
	var s elf.Section
	if len(l.Hdr) > 0 {
		s = l.Hdr[0]
	} else if len(l.F.Sections) > 0 {
		s = l.F.Sections[0]
	}
	if s.Type != stdelf.SHT_NULL || s.Size != 0 || s.Addr != 0 {
		return l.fail(diag.ELFSection0, int(s.Type)), nil
	}
	return 0, nil
}

func (l *Load) nameIndex() (diag.Errno, error) {
	h := &l.F.Header
	if h.Shstrndx == 0 || int(h.Shstrndx) >= int(h.Shnum) {
		return l.fail(diag.ELFShstrndx, int(h.Shstrndx), int(h.Shnum)), nil
	}
	return 0, nil
}

func (l *Load) nameTable() *elf.Section { return &l.Hdr[l.shstrndx()] }

func (l *Load) nameBounds() (diag.Errno, error) {
	if s := l.nameTable(); !l.inside(s) {
		return l.fail(diag.ELFShstrtab, int(s.Type)), nil
	}
	return 0, nil
}

func (l *Load) nameType() (diag.Errno, error) {
	if s := l.nameTable(); s.Type != stdelf.SHT_STRTAB {
		return l.fail(diag.ELFShstrType, int(s.Type)), nil
	}
	return 0, nil
}

func (l *Load) nameEmpty() (diag.Errno, error) {
	if l.nameTable().Size == 0 {
		return l.fail(diag.ELFShstrEmpty), nil
	}
	return 0, nil
}

func (l *Load) nameNUL() (diag.Errno, error) {
	s := l.nameTable()
	last := s.Off + s.Size - 1 // before 5.15 a table of size 0 is looked at too
	if last >= l.src.Size() {
		return 0, undefined("the kernel reads the byte before the file: the section name table at offset %#x has size %d", s.Off, s.Size)
	}
	if b := l.bytes(last, 1); len(b) == 1 && b[0] != 0 {
		return l.fail(diag.ELFShstrNUL), nil
	}
	return 0, nil
}

// sectionLoop is the loop over all sections of kernels before 6.13: link of symbol tables, bounds, and the names of loaded sections.
func (l *Load) sectionLoop() (diag.Errno, error) {
	table := l.nameTable()
	counting := l.T.has(from64) // .modinfo and this_module are counted by name here
	for i := 1; i < len(l.Hdr); i++ {
		s := &l.Hdr[i]
		if s.Type == stdelf.SHT_NULL || s.Type == stdelf.SHT_NOBITS {
			continue
		}
		if s.Type == stdelf.SHT_SYMTAB {
			l.step = "d2"
			if s.Link == 0 || int64(s.Link) >= int64(len(l.Hdr)) {
				return l.fail(diag.SymtabLink, int32(s.Link), len(l.Hdr)), nil
			}
		}
		l.step = "a9"
		if !l.inside(s) {
			return l.outOfFile(i), nil
		}
		if counting {
			if _, err := l.nameOf(i); err != nil {
				return 0, err
			}
		}
		if s.Flags&stdelf.SHF_ALLOC != 0 && uint64(s.NameOff) >= table.Size {
			l.step = "b5"
			return l.fail(diag.ELFShname, i, int(s.Type)), nil
		}
	}
	return 0, nil
}

func (l *Load) outOfFile(i int) diag.Errno {
	s := &l.Hdr[i]
	name := ""
	if l.named[i] {
		name = s.Name
	}
	f := l.finding(diag.ELFBounds, i, int(s.Type), name, l.Len)
	f.Where = diag.In(name, i).At(s.Off)
	return f.Errno
}

func (l *Load) bounds() (diag.Errno, error) {
	for i := 1; i < len(l.Hdr); i++ {
		if s := &l.Hdr[i]; s.Type != stdelf.SHT_NULL && s.Type != stdelf.SHT_NOBITS && !l.inside(s) {
			return l.outOfFile(i), nil
		}
	}
	return 0, nil
}

func (l *Load) namesInside() (diag.Errno, error) {
	table := l.nameTable()
	for i := 1; i < len(l.Hdr); i++ {
		if s := &l.Hdr[i]; s.Type != stdelf.SHT_NULL && uint64(s.NameOff) >= table.Size {
			return l.fail(diag.ELFShname, i, int(s.Type)), nil
		}
	}
	return 0, nil
}

const thisModule = ".gnu.linkonce.this_module"

// named counts the sections of a name; the kernels from 6.4 to 6.12 skip those without bytes.
func (l *Load) count(name string) (n, last int, err error) {
	skip := l.T.has(till613)
	for i := 1; i < len(l.Hdr); i++ {
		if s := &l.Hdr[i]; skip && (s.Type == stdelf.SHT_NOBITS || s.Type == stdelf.SHT_NULL) {
			continue
		}
		text, err := l.nameOf(i)
		if err != nil {
			return n, last, err
		}
		if text == name {
			n, last = n+1, i
		}
	}
	return n, last, nil
}

func (l *Load) oneModinfo() (diag.Errno, error) {
	n, last, err := l.count(".modinfo")
	if err != nil {
		return 0, err
	}
	if n > 1 {
		return l.fail(diag.ModinfoTwice, n), nil
	}
	l.Index.Info = last
	l.readTags(last)
	return 0, nil
}

func (l *Load) oneStruct() (diag.Errno, error) {
	n, last, err := l.count(thisModule)
	if err != nil {
		return 0, err
	}
	if n != 1 {
		return l.fail(diag.StructCount, l.infoName(), n), nil
	}
	l.Index.Mod = last
	return 0, nil
}

func (l *Load) structBits() (diag.Errno, error) {
	if l.Hdr[l.Index.Mod].Type == stdelf.SHT_NOBITS {
		return l.fail(diag.StructNobits, l.infoName()), nil
	}
	return 0, nil
}

func (l *Load) structAlloc() (diag.Errno, error) {
	if l.Hdr[l.Index.Mod].Flags&stdelf.SHF_ALLOC == 0 {
		return l.fail(diag.StructAlloc, l.infoName()), nil
	}
	return 0, nil
}

func (l *Load) structSize() (diag.Errno, error) {
	want, got := l.T.Struct.Size, l.Hdr[l.Index.Mod].Size
	if want == 0 || got == want {
		return 0, nil
	}
	f := l.finding(diag.StructSize, l.infoName(), got, want)
	f.Want, f.Got = hex(want), hex(got)
	f.Where = diag.In(thisModule, l.Index.Mod)
	return f.Errno, nil
}

func (l *Load) oneSymtab() (diag.Errno, error) {
	n := 0
	for i := 1; i < len(l.Hdr); i++ {
		if l.Hdr[i].Type == stdelf.SHT_SYMTAB {
			n++
			l.Index.Sym = i
		}
	}
	if n != 1 {
		return l.stripped(), nil
	}
	if l.T.has(till613) {
		l.Index.Str = int(l.Hdr[l.Index.Sym].Link)
	}
	return 0, nil
}

func (l *Load) stripped() diag.Errno {
	f := l.finding(diag.Stripped, l.infoName())
	f.Hint, f.Certain = "copy or build it again; strip --strip-debug is the furthest that one may go", &yes
	return f.Errno
}

func (l *Load) symtabLink() (diag.Errno, error) {
	link := l.Hdr[l.Index.Sym].Link
	if link == 0 || uint64(link) >= uint64(len(l.Hdr)) {
		return l.fail(diag.SymtabLink, int32(link), len(l.Hdr)), nil
	}
	l.Index.Str = int(link)
	return 0, nil
}

func (l *Load) strtabType() (diag.Errno, error) {
	if t := l.Hdr[l.Index.Str].Type; t != stdelf.SHT_STRTAB {
		return l.fail(diag.StrtabType, int(t)), nil
	}
	return 0, nil
}

func (l *Load) extBoth() (diag.Errno, error) {
	if l.Flags&IgnoreModVersions != 0 {
		return 0, nil
	}
	crc, name := l.findSec("__version_ext_crcs"), l.findSec("__version_ext_names")
	if (crc == 0) != (name == 0) {
		return l.fail(diag.VersionsExt), nil
	}
	l.Index.VersExtCRC, l.Index.VersExtName = crc, name
	return 0, nil
}

func (l *Load) extNames() (diag.Errno, error) {
	if l.Index.VersExtCRC == 0 {
		return 0, nil
	}
	s := &l.Hdr[l.Index.VersExtName]
	want, got := l.Hdr[l.Index.VersExtCRC].Size/4, uint64(0)
	for _, c := range l.bytes(s.Off, s.Size) {
		if c == 0 {
			got++
		}
	}
	if got < want {
		return l.fail(diag.VersionsNames), nil
	}
	return 0, nil
}

func (l *Load) strtab() (diag.Errno, error) {
	s := &l.Hdr[l.Index.Str]
	if s.Size == 0 {
		return l.fail(diag.StrtabEmpty), nil
	}
	if b := l.bytes(s.Off, 1); len(b) == 1 && b[0] != 0 {
		return l.fail(diag.StrtabLead), nil
	}
	if b := l.bytes(s.Off+s.Size-1, 1); len(b) == 1 && b[0] != 0 {
		return l.fail(diag.StrtabNUL), nil
	}
	return 0, nil
}

func (l *Load) symbolNames() (diag.Errno, error) {
	size := l.Hdr[l.Index.Str].Size
	syms := l.Symbols()
	for i := range syms.Len() {
		if uint64(syms.At(i).NameOff) >= size {
			return l.fail(diag.SymName, i), nil
		}
	}
	return 0, nil
}

// setupInfo is setup_load_info of kernels before 6.4.
func (l *Load) setupInfo() (diag.Errno, error) {
	l.step = "c1"
	l.Index.Info = l.findSec(".modinfo")
	l.readTags(l.Index.Info)
	mod := l.findSec(thisModule)
	for i := 1; i < len(l.Hdr); i++ {
		if l.Hdr[i].Type == stdelf.SHT_SYMTAB {
			l.Index.Sym, l.Index.Str = i, int(l.Hdr[i].Link)
			break
		}
	}
	if l.Index.Sym == 0 {
		l.step = "d1"
		return l.stripped(), nil
	}
	l.step = "c2"
	if l.Index.Mod = mod; mod == 0 {
		return l.fail(diag.StructNone, l.infoName()), nil
	}
	// The size is not looked at: the kernel uses what lies behind a section that is too small.
	if s := &l.Hdr[mod]; s.Type == stdelf.SHT_NOBITS || s.Size < 24+2*l.Word() {
		return 0, undefined("%s has no bytes or too few to hold a struct module (size %#x)", thisModule, s.Size)
	}
	return 0, nil
}

// Symbols is the symbol table that the kernel uses.
func (l *Load) Symbols() *elf.Symtab {
	if l.Index.Sym == 0 {
		return nil
	}
	if l.symtab == nil {
		l.symtab = l.F.SymtabOf(l.Hdr[l.Index.Sym], l.Hdr[l.Index.Str])
	}
	return l.symtab
}
