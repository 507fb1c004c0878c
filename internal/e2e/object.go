package e2e

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// header is what is needed of an ELF header to know a module, and to find its parts.
type header struct {
	machine elf.Machine
	bits    int
	big     bool

	shoff    uint64
	shnum    int
	shstrndx int
}

func headerOf(b []byte) (header, error) {
	var h header
	if len(b) < 52 || !bytes.HasPrefix(b, []byte(elf.ELFMAG)) {
		return h, errors.New("not an ELF file")
	}
	h.bits = 32 * int(b[elf.EI_CLASS])
	h.big = elf.Data(b[elf.EI_DATA]) == elf.ELFDATA2MSB
	o := orderOf(h.big)
	h.machine = elf.Machine(o.Uint16(b[18:]))
	switch {
	case h.bits == 32:
		h.shoff, h.shnum, h.shstrndx = uint64(o.Uint32(b[32:])), int(o.Uint16(b[48:])), int(o.Uint16(b[50:]))
	case h.bits == 64 && len(b) >= 64:
		h.shoff, h.shnum, h.shstrndx = o.Uint64(b[40:]), int(o.Uint16(b[60:])), int(o.Uint16(b[62:]))
	default:
		return h, fmt.Errorf("ELF class %d", b[elf.EI_CLASS])
	}
	return h, nil
}

// object is a good module whose bytes can be changed in place. It is found by offsets, without the packages that are tested with it.
type object struct {
	header
	o    binary.ByteOrder
	b    []byte
	secs []objSection
	syms []objSymbol
}

type objSection struct {
	at    int // offset of the header
	name  string
	typ   elf.SectionType
	flags elf.SectionFlag
	off   uint64
	size  uint64
	link  int
	info  int
}

type objSymbol struct {
	at    int // offset of the entry
	str   int // offset of the name in the file
	name  string
	info  byte
	shndx uint16
}

// parseObject takes a copy of a module.
func parseObject(file []byte) (*object, error) {
	h, err := headerOf(file)
	if err != nil {
		return nil, err
	}
	x := &object{header: h, o: orderOf(h.big), b: bytes.Clone(file)}
	one := shdrSize(h.bits)
	if h.shoff > uint64(len(file)) || uint64(h.shnum*one) > uint64(len(file))-h.shoff || h.shstrndx >= h.shnum {
		return nil, errors.New("section headers outside of the file")
	}
	names := make([]uint32, h.shnum)
	for i := range h.shnum {
		s := objSection{at: int(h.shoff) + i*one}
		b := x.b[s.at:]
		names[i], s.typ = x.o.Uint32(b), elf.SectionType(x.o.Uint32(b[4:]))
		if h.bits == 32 {
			s.flags, s.off, s.size = elf.SectionFlag(x.o.Uint32(b[8:])), uint64(x.o.Uint32(b[16:])), uint64(x.o.Uint32(b[20:]))
			s.link, s.info = int(x.o.Uint32(b[24:])), int(x.o.Uint32(b[28:]))
		} else {
			s.flags, s.off, s.size = elf.SectionFlag(x.o.Uint64(b[8:])), x.o.Uint64(b[24:]), x.o.Uint64(b[32:])
			s.link, s.info = int(x.o.Uint32(b[40:])), int(x.o.Uint32(b[44:]))
		}
		if s.typ != elf.SHT_NOBITS && s.typ != elf.SHT_NULL && (s.off > uint64(len(file)) || s.size > uint64(len(file))-s.off) {
			return nil, fmt.Errorf("section %d outside of the file", i)
		}
		x.secs = append(x.secs, s)
	}
	text := x.data(h.shstrndx)
	for i := range x.secs {
		if int(names[i]) < len(text) {
			x.secs[i].name = cString(text[names[i]:])
		}
	}
	x.symbols()
	return x, nil
}

func (x *object) symbols() {
	i := slices.IndexFunc(x.secs, func(s objSection) bool { return s.typ == elf.SHT_SYMTAB })
	if i < 0 || x.secs[i].link >= len(x.secs) {
		return
	}
	text := x.data(x.secs[i].link)
	one, info, shndx := 24, 4, 6
	if x.bits == 32 {
		one, info, shndx = 16, 12, 14
	}
	tab := x.data(i)
	for k := 0; k+one <= len(tab); k += one {
		name := int(x.o.Uint32(tab[k:]))
		if name >= len(text) {
			continue
		}
		x.syms = append(x.syms, objSymbol{
			at: int(x.secs[i].off) + k, str: int(x.secs[x.secs[i].link].off) + name,
			name: cString(text[name:]), info: tab[k+info], shndx: x.o.Uint16(tab[k+shndx:]),
		})
	}
}

// imports are the values of undefined symbols in another copy of the symbol table, in which they are resolved.
func (x *object) imports(table []byte) map[string]uint64 {
	values := map[string]uint64{}
	i := slices.IndexFunc(x.secs, func(s objSection) bool { return s.typ == elf.SHT_SYMTAB })
	if i < 0 || uint64(len(table)) != x.secs[i].size {
		return values
	}
	for _, s := range x.syms {
		if s.shndx != uint16(elf.SHN_UNDEF) || s.name == "" {
			continue
		}
		var v uint64
		if at := s.at - int(x.secs[i].off); x.bits == 32 {
			v = uint64(x.o.Uint32(table[at+4:]))
		} else {
			v = x.o.Uint64(table[at+8:])
		}
		if v != 0 {
			values[s.name] = v
		}
	}
	return values
}

func cString(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return string(s)
}

// data are the bytes of a section, in place.
func (x *object) data(i int) []byte {
	s := x.secs[i]
	if s.typ == elf.SHT_NOBITS || s.typ == elf.SHT_NULL {
		return nil
	}
	return x.b[s.off:][:s.size]
}

// find is the first section of a name, -1 when there is none.
func (x *object) find(name string) int {
	return slices.IndexFunc(x.secs, func(s objSection) bool { return s.name == name })
}

func (x *object) setType(i int, t elf.SectionType) { x.o.PutUint32(x.b[x.secs[i].at+4:], uint32(t)) }

func (x *object) setFlags(i int, f elf.SectionFlag) { x.putWord(x.secs[i].at+8, uint64(f)) }

func (x *object) setOffset(i int, off uint64) {
	if x.bits == 32 {
		x.putWord(x.secs[i].at+16, off)
	} else {
		x.putWord(x.secs[i].at+24, off)
	}
}

func (x *object) setSize(i int, size uint64) {
	if x.bits == 32 {
		x.putWord(x.secs[i].at+20, size)
	} else {
		x.putWord(x.secs[i].at+32, size)
	}
}

// putWord writes an address, a size or an offset.
func (x *object) putWord(at int, v uint64) {
	if x.bits == 32 {
		x.o.PutUint32(x.b[at:], uint32(v))
	} else {
		x.o.PutUint64(x.b[at:], v)
	}
}

// replace overwrites the first old in a section by a text of the same length.
func (x *object) replace(section, old, new string) bool {
	i := x.find(section)
	if i < 0 || len(old) != len(new) {
		return false
	}
	b := x.data(i)
	k := bytes.Index(b, []byte(old))
	if k < 0 {
		return false
	}
	copy(b[k:], new)
	return true
}

// objReloc is a relocation of a loaded section.
type objReloc struct {
	at     int // offset of the entry
	typ    uint32
	sym    uint32
	target int // offset in the file of what it changes; -1: nowhere
	addend bool
}

// relocs are the relocations of loaded sections.
func (x *object) relocs() []objReloc {
	var list []objReloc
	for i, s := range x.secs {
		rela := s.typ == elf.SHT_RELA
		if !rela && s.typ != elf.SHT_REL || s.info >= len(x.secs) || x.secs[s.info].flags&elf.SHF_ALLOC == 0 {
			continue
		}
		one := x.bits / 8 * 2
		if rela {
			one += x.bits / 8
		}
		tab := x.data(i)
		for k := 0; k+one <= len(tab); k += one {
			r := objReloc{at: int(s.off) + k, target: -1, addend: rela}
			var off uint64
			if x.bits == 32 {
				off = uint64(x.o.Uint32(tab[k:]))
				info := x.o.Uint32(tab[k+4:])
				r.sym, r.typ = info>>8, info&0xff
			} else {
				off = x.o.Uint64(tab[k:])
				r.sym, r.typ = x.info64(tab[k+8:])
			}
			if t := x.secs[s.info]; t.typ != elf.SHT_NOBITS && off < t.size {
				r.target = int(t.off + off)
			}
			list = append(list, r)
		}
	}
	return list
}

func (x *object) setReloc(r objReloc, typ uint32) {
	if x.bits == 32 {
		x.o.PutUint32(x.b[r.at+4:], r.sym<<8|typ&0xff)
	} else if x.machine == elf.EM_MIPS {
		x.b[r.at+15] = byte(typ)
	} else {
		x.o.PutUint64(x.b[r.at+8:], uint64(r.sym)<<32|uint64(typ))
	}
}

// info64 splits an r_info of 64 bits. That of mips64 is a word for the symbol, then four bytes, of which the last is the first type.
func (x *object) info64(b []byte) (sym, typ uint32) {
	if x.machine == elf.EM_MIPS {
		return x.o.Uint32(b), uint32(b[7])
	}
	info := x.o.Uint64(b)
	return uint32(info >> 32), uint32(info)
}

func (x *object) setAddend(r objReloc, v uint64) { x.putWord(r.at+x.bits/8*2, v) }

// versionOf is the offset of the lowest byte of a symbol's CRC in __versions, or -1.
func (x *object) versionOf(pick func(name string) bool) int {
	const one = 64
	i := x.find("__versions")
	if i < 0 {
		return -1
	}
	tab, long := x.data(i), x.bits/8
	for k := 0; k+one <= len(tab); k += one {
		if !pick(cString(tab[k+long : k+one])) {
			continue
		}
		at := int(x.secs[i].off) + k
		if x.big {
			at += long - 1
		}
		return at
	}
	return -1
}

// thisModuleName is the offset of the name in struct module, or -1.
func (x *object) thisModuleName(m *Machine) int {
	i := x.find(thisModule)
	if i < 0 || x.secs[i].size < uint64(m.nameOff()+64-8) {
		return -1
	}
	return int(x.secs[i].off) + m.nameOff()
}
