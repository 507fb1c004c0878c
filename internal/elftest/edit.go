package elftest

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// Object is a finished module that is to be changed: one that kbuild made, say. What grows goes to the end of the file.
type Object struct {
	B     []byte
	order binary.ByteOrder
	word  int
}

// Edit takes a module's bytes, which must be those of an undamaged ELF file.
func Edit(b []byte) *Object {
	o := &Object{B: slices.Clone(b), order: binary.LittleEndian, word: 8}
	if b[elf.EI_DATA] == byte(elf.ELFDATA2MSB) {
		o.order = binary.BigEndian
	}
	if b[elf.EI_CLASS] == byte(elf.ELFCLASS32) {
		o.word = 4
	}
	return o
}

func (o *Object) get(off int) uint64 {
	if o.word == 4 {
		return uint64(o.order.Uint32(o.B[off:]))
	}
	return o.order.Uint64(o.B[off:])
}

func (o *Object) put(off int, v uint64) {
	if o.word == 4 {
		o.order.PutUint32(o.B[off:], uint32(v))
	} else {
		o.order.PutUint64(o.B[off:], v)
	}
}

// header is the file offset of section i's header.
func (o *Object) header(i int) int {
	return int(o.get(24+2*o.word)) + i*(16+6*o.word)
}

// The offsets of a section header's fields.
func (o *Object) flagsAt(i int) int  { return o.header(i) + 8 }
func (o *Object) offsetAt(i int) int { return o.header(i) + 8 + 2*o.word }
func (o *Object) sizeAt(i int) int   { return o.header(i) + 8 + 3*o.word }

// Names are the sections' names by index.
func (o *Object) Names() []string {
	at := 24 + 3*o.word + 4 // e_ehsize
	n, str := int(o.order.Uint16(o.B[at+8:])), int(o.order.Uint16(o.B[at+10:]))
	table := int(o.get(o.offsetAt(str)))
	list := make([]string, n)
	for i := range list {
		name := o.B[table+int(o.order.Uint32(o.B[o.header(i):])):]
		list[i] = string(name[:slices.Index(name, 0)])
	}
	return list
}

// Find is the index of the first section of that name. It panics where there is none.
func (o *Object) Find(name string) int {
	i := slices.Index(o.Names(), name)
	if i < 0 {
		panic(fmt.Sprintf("elftest: no section %s", name))
	}
	return i
}

// Data are a section's bytes.
func (o *Object) Data(name string) []byte {
	i := o.Find(name)
	off, size := o.get(o.offsetAt(i)), o.get(o.sizeAt(i))
	return o.B[off : off+size]
}

// SetData gives a section other bytes.
func (o *Object) SetData(name string, data []byte) {
	i := o.Find(name)
	for len(o.B)%64 != 0 {
		o.B = append(o.B, 0)
	}
	o.put(o.offsetAt(i), uint64(len(o.B)))
	o.put(o.sizeAt(i), uint64(len(data)))
	o.B = append(o.B, data...)
}

// SetSize gives a section another size, which its bytes need not have.
func (o *Object) SetSize(name string, size uint64) { o.put(o.sizeAt(o.Find(name)), size) }

// SetFlags gives a section other flags.
func (o *Object) SetFlags(name string, flags elf.SectionFlag) {
	o.put(o.flagsAt(o.Find(name)), uint64(flags))
}

// SetType gives a section another type.
func (o *Object) SetType(name string, t elf.SectionType) {
	o.order.PutUint32(o.B[o.header(o.Find(name))+4:], uint32(t))
}

// Drop makes a section one that is not there: without name, type and flags.
func (o *Object) Drop(name string) {
	i := o.Find(name)
	clear(o.B[o.header(i) : o.header(i)+8])
	o.put(o.flagsAt(i), 0)
}

// Rename gives a section another name.
func (o *Object) Rename(name, to string) {
	i := o.Find(name)
	str := ".shstrtab"
	table := slices.Clone(o.Data(str))
	off := len(table)
	o.SetData(str, append(append(table, to...), 0))
	o.order.PutUint32(o.B[o.header(i):], uint32(off))
}

// Modinfo sets a tag of .modinfo.
func (o *Object) Modinfo(key, value string) {
	o.modinfo(key, key+"="+value)
}

// Untag takes all entries of a tag out of .modinfo.
func (o *Object) Untag(key string) { o.modinfo(key, "") }

func (o *Object) modinfo(key, entry string) {
	var out []string
	for s := range strings.SplitSeq(strings.Trim(string(o.Data(".modinfo")), "\x00"), "\x00") {
		if s == "" || strings.HasPrefix(s, key+"=") {
			continue
		}
		out = append(out, s)
	}
	if entry != "" {
		out = append(out, entry)
	}
	o.SetData(".modinfo", Modinfo(out...))
}

// AddTag adds an entry to .modinfo.
func (o *Object) AddTag(key, value string) {
	o.SetData(".modinfo", append(slices.Clone(o.Data(".modinfo")), key+"="+value+"\x00"...))
}

// CRC sets the CRC of a symbol in __versions; a symbol that is not there is added.
func (o *Object) CRC(symbol string, crc uint32) {
	data := slices.Clone(o.Data("__versions"))
	set := func(rec []byte) {
		clear(rec)
		if o.word == 4 {
			o.order.PutUint32(rec, crc)
		} else {
			o.order.PutUint64(rec, uint64(crc))
		}
		copy(rec[o.word:], symbol)
	}
	for rec := data; len(rec) >= 64; rec = rec[64:] {
		name := string(rec[o.word:64])
		if strings.TrimRight(name, "\x00") == symbol {
			set(rec[:64])
			o.SetData("__versions", data)
			return
		}
	}
	rec := make([]byte, 64)
	set(rec)
	o.SetData("__versions", append(data, rec...))
}

// symbolAt is the file offset of the entry of the symbol of that name.
func (o *Object) symbolAt(name string) (off, index int) {
	size := 8 + 2*o.word
	strs := string(o.Data(".strtab"))
	base := int(o.get(o.offsetAt(o.Find(".symtab"))))
	n := len(o.Data(".symtab")) / size
	for i := range n {
		at := strs[o.order.Uint32(o.B[base+i*size:]):]
		if at[:strings.IndexByte(at, 0)] == name {
			return base + i*size, i
		}
	}
	panic(fmt.Sprintf("elftest: no symbol %s", name))
}

// Symbol gives a symbol another name, in __versions too.
func (o *Object) Symbol(name, to string) {
	strs := slices.Clone(o.Data(".strtab"))
	off := len(strs)
	o.SetData(".strtab", append(append(strs, to...), 0))
	at, _ := o.symbolAt(name)
	o.order.PutUint32(o.B[at:], uint32(off))
	if !slices.Contains(o.Names(), "__versions") {
		return
	}
	for rec := o.Data("__versions"); len(rec) >= 64; rec = rec[64:] {
		if strings.TrimRight(string(rec[o.word:64]), "\x00") == name {
			clear(rec[o.word:64])
			copy(rec[o.word:64], to)
		}
	}
}

// Import adds undefined symbols, without versions.
func (o *Object) Import(names ...string) {
	strs, syms := slices.Clone(o.Data(".strtab")), slices.Clone(o.Data(".symtab"))
	for _, n := range names {
		rec := make([]byte, 8+2*o.word)
		o.order.PutUint32(rec, uint32(len(strs)))
		rec[4] = Global(elf.STT_NOTYPE)
		if o.word == 4 {
			rec[4], rec[12] = 0, Global(elf.STT_NOTYPE)
		}
		strs, syms = append(append(strs, n...), 0), append(syms, rec...)
	}
	o.SetData(".strtab", strs)
	o.SetData(".symtab", syms)
}

// Reloc gives entry i of a relocation section another type, little-endian ELF64 with addends only, and returns its r_offset.
func (o *Object) Reloc(section string, i int, typ uint32) uint64 {
	e := o.Data(section)[i*24:]
	o.order.PutUint32(e[8:], typ)
	return o.order.Uint64(e)
}

// BTF gives the object a .BTF, if need be in the place of .comment: own types, the first of which is a constant of type ref; 0: of void. A distilled
// base (.BTF.base) goes.
func (o *Object) BTF(own int, ref uint32) {
	if !slices.Contains(o.Names(), ".BTF") {
		o.Rename(".comment", ".BTF")
		o.SetFlags(".BTF", 0)
	}
	o.SetData(".BTF", BTF(o.order, own, ref))
	if slices.Contains(o.Names(), ".BTF.base") {
		o.Drop(".BTF.base")
	}
}

// BTF are the bytes of own types: pointers to void, and before them a constant of type ref, which the kernel follows. Source:
// Documentation/bpf/btf.rst.
func BTF(order binary.ByteOrder, own int, ref uint32) []byte {
	const header, pointer, constant = 24, 2 << 24, 10 << 24
	b := make([]byte, header+12*own+1)
	order.PutUint16(b, 0xeb9f)
	b[2] = 1
	order.PutUint32(b[4:], header)
	order.PutUint32(b[12:], uint32(12*own)) // of the types
	order.PutUint32(b[16:], uint32(12*own)) // offset of the strings
	order.PutUint32(b[20:], 1)
	for i := range own {
		order.PutUint32(b[header+12*i+4:], pointer)
	}
	if own > 0 {
		order.PutUint32(b[header+4:], constant)
		order.PutUint32(b[header+8:], ref)
	}
	return b
}

// SetFileType sets e_type.
func (o *Object) SetFileType(t elf.Type) { o.order.PutUint16(o.B[16:], uint16(t)) }
