package elftest

import "debug/elf"

// Era says in which form a kernel's modules hold their tables.
type Era struct {
	Place      bool // exports are place-relative, where the machine has it (4.19)
	Namespaces bool // exports have a namespace (5.4)
	CRCSymbols bool // CRCs are the values of absolute symbols (to 5.18)
	Flagstab   bool // licences are in __kflagstab, not in a table of their own (7.2)
	NoModule   bool // parameters have no pointer to the module (2.6.36 to 3.14)
}

// Eras by the kernel that has them.
var (
	Kernel3_10 = Era{CRCSymbols: true, NoModule: true}
	Kernel4_19 = Era{Place: true, CRCSymbols: true}
	Kernel5_10 = Era{Place: true, Namespaces: true, CRCSymbols: true}
	Kernel6_1  = Era{Place: true, Namespaces: true}
	Kernel7_2  = Era{Place: true, Namespaces: true, Flagstab: true}
)

// ThisModule is the name of the section that holds struct module.
const ThisModule = ".gnu.linkonce.this_module"

// NameOffset is where the name stands in struct module, in bytes.
func (b *Builder) NameOffset() int {
	if b.Word() == 4 {
		return 12
	}
	return 24
}

// Module makes a small valid module: .text with init_module and cleanup_module, which the source calls NAME_init and NAME_exit, .modinfo,
// __versions, struct module with its two relocations, and a little .data and .bss.
func Module(m Machine, name string) *Builder {
	b := For(m)
	text := b.Add(Section{Name: ".text", Type: elf.SHT_PROGBITS, Flags: elf.SHF_ALLOC | elf.SHF_EXECINSTR, Align: 16, Data: make([]byte, 64)})
	b.Add(Section{Name: ".modinfo", Type: elf.SHT_PROGBITS, Flags: elf.SHF_ALLOC,
		Data: Modinfo("license=GPL", "name="+name, "vermagic=6.1.0 SMP preempt mod_unload modversions ")})
	b.Add(Section{Name: ".data", Type: elf.SHT_PROGBITS, Flags: elf.SHF_ALLOC | elf.SHF_WRITE, Align: 8})
	b.Add(Section{Name: ".bss", Type: elf.SHT_NOBITS, Flags: elf.SHF_ALLOC | elf.SHF_WRITE, Align: 8, Size: 64})
	word := b.Word()
	this := b.Add(Section{Name: ThisModule, Type: elf.SHT_PROGBITS, Flags: elf.SHF_ALLOC | elf.SHF_WRITE, Align: 64, Data: make([]byte, 40*word)})
	copy(b.Sections[this-1].Data[b.NameOffset():], name)
	b.Symbol(Symbol{Name: name + "_init", Info: Local(elf.STT_FUNC), Shndx: uint16(text), Value: 16, Size: 8})
	b.Symbol(Symbol{Name: name + "_exit", Info: Local(elf.STT_FUNC), Shndx: uint16(text), Value: 32, Size: 8})
	b.Symbol(Symbol{Name: "__this_module", Info: Global(elf.STT_OBJECT), Shndx: uint16(this), Size: uint64(40 * word)})
	b.Point(this, uint64(20*word), b.Symbol(Symbol{Name: "init_module", Info: Global(elf.STT_FUNC), Shndx: uint16(text), Value: 16, Size: 8}), 0)
	b.Point(this, uint64(30*word), b.Symbol(Symbol{Name: "cleanup_module", Info: Global(elf.STT_FUNC), Shndx: uint16(text), Value: 32, Size: 8}), 0)
	b.Version("module_layout", 0x11223344)
	return b
}

// Info appends a string to .modinfo.
func (b *Builder) Info(text string) {
	b.Extend(b.section(".modinfo", elf.SHF_ALLOC, 1), append([]byte(text), 0))
}

// Version appends a record to __versions: a word of CRC, and the name in what is left of 64 bytes.
func (b *Builder) Version(name string, crc uint32) {
	rec := make([]byte, 64)
	copy(rec, b.AppendWord(nil, uint64(crc)))
	copy(rec[b.Word():], name)
	b.Extend(b.section("__versions", elf.SHF_ALLOC, 8), rec)
}

// Named is the index of the first symbol of that name, 0 for none.
func (b *Builder) Named(name string) uint32 {
	for i := range b.Symbols {
		if b.Symbols[i].Name == name {
			return uint32(i + 1)
		}
	}
	return 0
}

// Undefined is Named, or a new undefined symbol.
func (b *Builder) Undefined(name string) uint32 {
	if i := b.Named(name); i != 0 {
		return i
	}
	return b.Symbol(Symbol{Name: name, Info: Global(elf.STT_NOTYPE)})
}

// Text appends a NUL-terminated string to a section and returns a symbol and an addend that point at it.
func (b *Builder) Text(section, text string) (sym uint32, addend int64) {
	sec := b.section(section, elf.SHF_ALLOC, 1)
	off := b.Extend(sec, append([]byte(text), 0))
	return b.sectionSymbol(sec), int64(off)
}

// sectionSymbol is the section's own symbol.
func (b *Builder) sectionSymbol(section int) uint32 {
	info := Local(elf.STT_SECTION)
	for i := range b.Symbols {
		if s := &b.Symbols[i]; s.Info == info && int(s.Shndx) == section {
			return uint32(i + 1)
		}
	}
	return b.Symbol(Symbol{Info: info, Shndx: uint16(section)})
}

// Variable appends a variable with a name to .data and returns its symbol.
func (b *Builder) Variable(name string, data []byte) uint32 {
	sec := b.section(".data", elf.SHF_ALLOC|elf.SHF_WRITE, 8)
	for len(b.Sections[sec-1].Data)%8 != 0 {
		b.Extend(sec, []byte{0})
	}
	off := b.Extend(sec, data)
	return b.Symbol(Symbol{Name: name, Info: Local(elf.STT_OBJECT), Shndx: uint16(sec), Value: off, Size: uint64(len(data))})
}

// Param is a record of __param to be written.
type Param struct {
	Name  string
	Ops   uint32 // symbol of its operations
	Perm  uint16
	Level int8
	Flags uint8
	Arg   uint32 // symbol of what it sets
}

// Param appends a record to __param.
func (b *Builder) Param(e Era, p Param) {
	w := uint64(b.Word())
	size, ops := 5*w, 2*w
	if e.NoModule {
		size, ops = 4*w, w
	}
	rec := make([]byte, size)
	b.Order().PutUint16(rec[ops+w:], p.Perm)
	if e.NoModule {
		b.Order().PutUint16(rec[ops+w+2:], uint16(int16(p.Level)))
	} else {
		rec[ops+w+2], rec[ops+w+3] = byte(p.Level), p.Flags
	}
	sec := b.section("__param", elf.SHF_ALLOC, w)
	at := b.Extend(sec, rec)
	name, addend := b.Text(".rodata", p.Name)
	b.Point(sec, at, name, addend)
	if !e.NoModule {
		b.Point(sec, at+w, b.Undefined("__this_module"), 0)
	}
	b.Point(sec, at+ops, p.Ops, 0)
	b.Point(sec, at+size-w, p.Arg, 0)
}

// Ops appends the module's own struct kernel_param_ops and returns its symbol. set is 0 for none.
func (b *Builder) Ops(name string, flags uint32, set uint32) uint32 {
	w := b.Word()
	data := make([]byte, 4*w)
	b.Order().PutUint32(data, flags)
	sym := b.Variable(name, data)
	if set != 0 {
		s := &b.Symbols[sym-1]
		b.Point(int(s.Shndx), s.Value+uint64(w), set, 0)
	}
	return sym
}

// StringArg appends a struct kparam_string.
func (b *Builder) StringArg(name string, maxlen uint32, target uint32) uint32 {
	w := b.Word()
	data := make([]byte, 2*w)
	b.Order().PutUint32(data, maxlen)
	sym := b.Variable(name, data)
	s := &b.Symbols[sym-1]
	b.Point(int(s.Shndx), s.Value+uint64(w), target, 0)
	return sym
}

// ArrayArg appends a struct kparam_array. num is 0 for an array without a count.
func (b *Builder) ArrayArg(name string, limit, elemsize uint32, num, ops, elem uint32) uint32 {
	w := uint64(b.Word())
	data := make([]byte, 8+3*w)
	b.Order().PutUint32(data, limit)
	b.Order().PutUint32(data[4:], elemsize)
	sym := b.Variable(name, data)
	sec, at := int(b.Symbols[sym-1].Shndx), b.Symbols[sym-1].Value+8
	for i, target := range []uint32{num, ops, elem} {
		if target != 0 {
			b.Point(sec, at+uint64(i)*w, target, 0)
		}
	}
	return sym
}

// Export is an export to be written.
type Export struct {
	Name, Namespace string
	GPL             bool
	CRC             uint32
	Sym             uint32 // of what is exported
}

// Export appends an export, with its CRC, in the era's form. Exports must be added in the order of their names, as the linker sorts them.
func (b *Builder) Export(e Era, x Export) {
	suffix := ""
	if x.GPL && !e.Flagstab {
		suffix = "_gpl"
	}
	place := e.Place && b.Kind.Rel32 != 0
	size := b.Word()
	if place {
		size = 4
	}
	name, nameAt := b.Text("__ksymtab_strings", x.Name)
	ns, nsAt := name, nameAt+int64(len(x.Name)) // the empty string at the name's end
	if x.Namespace != "" {
		ns, nsAt = b.Text("__ksymtab_strings", x.Namespace)
	}
	fields := []Rel{{Sym: x.Sym}, {Sym: name, Addend: nameAt}}
	if e.Namespaces {
		fields = append(fields, Rel{Sym: ns, Addend: nsAt})
	}
	sec := b.section("__ksymtab"+suffix, elf.SHF_ALLOC, 4)
	at := b.Extend(sec, make([]byte, size*len(fields)))
	b.Symbol(Symbol{Name: "__ksymtab_" + x.Name, Info: Local(elf.STT_OBJECT), Shndx: uint16(sec), Value: at})
	for i, f := range fields {
		f.Off, f.Type = at+uint64(i*size), b.Kind.Abs
		if place {
			f.Type = b.Kind.Rel32
		}
		b.point(sec, f.Off, size, f)
	}
	crcs := b.section("__kcrctab"+suffix, elf.SHF_ALLOC, 4)
	if e.CRCSymbols {
		sym := b.Symbol(Symbol{Name: "__crc_" + x.Name, Info: Global(elf.STT_NOTYPE), Shndx: uint16(elf.SHN_ABS), Value: uint64(x.CRC)})
		off := b.Extend(crcs, make([]byte, 4))
		b.point(crcs, off, 4, Rel{Off: off, Sym: sym, Type: b.Kind.Abs32})
	} else {
		b.Extend(crcs, b.append32(nil, x.CRC))
	}
	if e.Flagstab {
		flags := byte(0)
		if x.GPL {
			flags = 1
		}
		b.Extend(b.section("__kflagstab", elf.SHF_ALLOC, 1), []byte{flags})
	}
}

// Sign appends a PKCS#7 message and the trailer that says so.
func Sign(file, message []byte) []byte {
	n := len(message)
	out := append(append([]byte(nil), file...), message...)
	out = append(out, 0, 0, 2, 0, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	return append(out, "~Module signature appended~\n"...)
}
