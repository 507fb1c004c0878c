// Package params reads a module's parameters: the __param table, and what .modinfo says of them.
package params

import (
	"bytes"
	"debug/elf"
	"fmt"
	"iter"
	"strconv"
	"strings"

	"kotool/internal/bin"
	kelf "kotool/internal/elf"
)

// Param is one parameter.
type Param struct {
	Name string
	// Type is what parmtype= says; "" where it says nothing.
	Type string
	// Description is what parm= says.
	Description    string
	HasDescription bool

	Record *Record // of __param; nil where .modinfo alone knows the parameter
}

// Record is one struct kernel_param. Source: include/linux/moduleparam.h.
type Record struct {
	Index int
	Perm  uint16 // of the file in sysfs; 0: none
	Level int8
	Flags uint8
	// Ops is the symbol of its struct kernel_param_ops: "param_ops_int", "param_array_ops", or the module's own.
	Ops string
	// Kind is the type by Ops: "int", "charp", "array of int", "string"; "" for the module's own.
	Kind    string
	Var     kelf.Place // of the variable: arg, or what the array or string structure points at
	HasVar  bool
	VarName string // a symbol at Var; "" where there is none
	ops     kelf.Place
	Max     uint32     // elements of an array at most, bytes of a string; 0 otherwise
	HasMax  bool       // Max was read: it may be 0
	Elem    uint32     // size of an array's element
	Num     kelf.Place // of the array's count variable
	HasNum  bool
	Len     uint32 // elements that the array's count variable starts with
	HasLen  bool
	Default *string // the value that the module's data start with; nil where it cannot be read

	// What the module's own operations are made of; nothing of the kernel's standard ones, which are not in the file.
	HasOps bool
	SetFn  string // symbol of the set function: "param_set_int", or the module's own; "" where it has no name
	NoSet  bool   // there is no set function
	NoArg  bool   // the parameter needs no value (KERNEL_PARAM_OPS_FL_NOARG)
	set    kelf.Place
}

// SetKind is the standard type by which the parameter is set: Kind, or, for the module's own operations, what the kernel's function in
// them sets; "" where the module's own code sets it.
func (r *Record) SetKind() string {
	if r.Kind != "" {
		return r.Kind
	}
	name, ok := strings.CutPrefix(r.SetFn, "param_set_")
	switch {
	case !ok:
		return ""
	case name == "copystring":
		return "string"
	}
	if kind := kindOf("param_ops_" + name); kind != "string" {
		return kind
	}
	return ""
}

// The flags of a parameter.
const (
	Unsafe = 1 // setting it taints the kernel
	HW     = 2 // it describes hardware: refused under lockdown
)

// FlagNames are the flags in words.
func (r *Record) FlagNames() []string {
	names := []string{}
	if r.Flags&Unsafe != 0 {
		names = append(names, "unsafe")
	}
	if r.Flags&HW != 0 {
		names = append(names, "hwparam")
	}
	return names
}

// Read joins __param with the parm= and parmtype= strings of .modinfo, in the order in which .modinfo first mentions them; what
// only __param has comes last. The error is what is damaged.
//
// Source: include/linux/moduleparam.h: struct kernel_param, MODULE_PARM_DESC.
func Read(f *kelf.File, info iter.Seq2[[]byte, []byte]) ([]Param, error) {
	var list []Param
	at := map[string]int{}
	get := func(name string) *Param {
		i, ok := at[name]
		if !ok {
			i = len(list)
			at[name] = i
			list = append(list, Param{Name: name})
		}
		return &list[i]
	}
	for key, value := range info {
		isType := string(key) == "parmtype"
		if !isType && string(key) != "parm" {
			continue
		}
		name, text, ok := bytes.Cut(value, []byte(":"))
		if !ok {
			continue
		}
		p := get(string(name))
		switch {
		case isType:
			p.Type = string(text)
		case !p.HasDescription:
			p.Description, p.HasDescription = string(text), true
		}
	}
	records, names, err := readTable(f)
	for i := range records {
		p := get(names[i])
		if p.Record == nil {
			p.Record = &records[i]
		}
	}
	return list, err
}

// layout of struct kernel_param by word size, in bytes: where each field is. The level has two bytes where there are no flags.
type layout struct {
	size, name, ops, perm, level, flags, arg uint64
	wide                                     bool // level is s16
}

// layoutOf is the form of the records. Since 3.15 a pointer to the module stands between name and operations; before, there was none
// (2.6.36 to 3.14). Records of 2.6.35 and older are not known here.
//
// Source: include/linux/moduleparam.h: struct kernel_param.
func (r *reader) layoutOf() layout {
	at, ok := r.pointer(r.sec, &r.rels, r.data, uint64(r.word))
	module := ok && (string(at.Name) == "__this_module" || r.sectionName(at.Section) == ".gnu.linkonce.this_module")
	switch n := r.data.Len(); {
	case r.word == 4 && !module && ok && n%16 == 0:
		return layout{16, 0, 4, 8, 10, 0, 12, true}
	case r.word == 4:
		return layout{20, 0, 8, 12, 14, 15, 16, false}
	case !module && ok && n%32 == 0:
		return layout{32, 0, 8, 16, 18, 0, 24, true}
	}
	return layout{40, 0, 16, 24, 26, 27, 32, false}
}

// sectionName is "" for sections that are not in the file.
func (r *reader) sectionName(i int) string {
	if i <= 0 || i >= len(r.f.Sections) {
		return ""
	}
	return r.f.Sections[i].Name
}

type reader struct {
	f    *kelf.File
	sec  int
	data bin.View
	rels kelf.Targets
	word int
}

func readTable(f *kelf.File) (records []Record, names []string, err error) {
	sec, data, err := f.ByName("__param")
	if sec < 0 {
		return nil, nil, nil
	}
	rels, rerr := f.Targets(sec)
	if err == nil {
		err = rerr
	}
	r := &reader{f, sec, data, rels, f.Word()}
	l := r.layoutOf()
	n := data.Len() / l.size
	records, names = make([]Record, 0, n), make([]string, 0, n)
	for i := range n {
		off := i * l.size
		rec, _ := data.Slice(off, l.size)
		p := Record{Index: int(i), Perm: rec.U16(int(l.perm))}
		p.Level, p.Flags = l.levelAndFlags(rec)
		name := ""
		if at, ok := r.pointer(r.sec, &r.rels, data, off+l.name); ok {
			if s, ok := f.CStringAt(at); ok {
				name = string(s)
			}
		}
		if name == "" {
			if err == nil {
				err = &kelf.SectionError{Index: sec, Name: "__param", Err: fmt.Errorf("record %d: offset %#x: the name cannot be read", i, data.Off()+off)}
			}
			continue
		}
		if at, ok := r.pointer(r.sec, &r.rels, data, off+l.ops); ok {
			p.Ops, p.ops = string(at.Name), at
			p.Kind = kindOf(p.Ops)
			if p.Kind == "" {
				r.operations(&p, at)
			}
		}
		if at, ok := r.pointer(r.sec, &r.rels, data, off+l.arg); ok {
			r.argument(&p, at)
		}
		records, names = append(records, p), append(names, name)
	}
	nameSymbols(f, records)
	return records, names, err
}

// levelAndFlags reads both; 3.15 and 3.16 have a level of two bytes where later kernels have level and flags, which no flags look like.
func (l *layout) levelAndFlags(rec bin.View) (level int8, flags uint8) {
	if l.wide {
		return int8(rec.U16(int(l.level))), 0
	}
	level, flags = int8(rec.U8(int(l.level))), rec.U8(int(l.flags))
	if level == -1 && flags == 0xff {
		flags = 0
	}
	return level, flags
}

// operations reads the module's own struct kernel_param_ops: a word of flags since 3.13, then set, get and free.
//
// Source: include/linux/moduleparam.h: struct kernel_param_ops.
func (r *reader) operations(p *Record, at kelf.Place) {
	data, rels, ok := r.section(at)
	w := uint64(r.word)
	if !ok || !inside(data, at.Off, 3*w) {
		return
	}
	p.HasOps = true
	set := at.Off
	if _, old := rels.At(at.Off); !old {
		p.NoArg = data.U32(int(at.Off))&1 != 0
		set += w
	}
	if fn, ok := r.pointer(at.Section, &rels, data, set); ok {
		p.set, p.SetFn = fn, string(fn.Name)
	} else {
		p.NoSet = true
	}
}

// nameSymbols finds the names of what section symbols point at: the module's own operations, and variables.
func nameSymbols(f *kelf.File, records []Record) {
	bySection := func(p kelf.Place) bool { return p.Section != 0 && p.Sym.Type() == elf.STT_SECTION }
	spots := map[kelf.Spot]bool{}
	for i := range records {
		for _, p := range []kelf.Place{records[i].ops, records[i].Var, records[i].set} {
			if bySection(p) {
				spots[p.Spot()] = true
			}
		}
	}
	found := make(map[kelf.Spot]string, len(spots))
	f.SymbolsAt(spots, func(at kelf.Spot, _ kelf.Symbol, name []byte) {
		if _, ok := found[at]; !ok {
			found[at] = string(name)
		}
	})
	for i := range records {
		r := &records[i]
		if n := found[r.ops.Spot()]; n != "" && bySection(r.ops) {
			r.Ops = n
		}
		if bySection(r.set) {
			r.SetFn = found[r.set.Spot()]
		}
		if r.VarName = string(r.Var.Name); bySection(r.Var) {
			r.VarName = found[r.Var.Spot()]
		}
	}
}

// pointer resolves the word at off of a section through its relocation.
func (r *reader) pointer(_ int, rels *kelf.Targets, data bin.View, off uint64) (kelf.Place, bool) {
	rel, ok := rels.At(off)
	if !ok {
		return kelf.Place{}, false
	}
	var implicit int64
	if off <= data.Len() && uint64(r.word) <= data.Len()-off {
		implicit = int64(data.Word(int(off), r.word))
		if r.word == 4 {
			implicit = int64(int32(implicit))
		}
	}
	return r.f.Resolve(rel, rels.Rela, implicit)
}

// kindOf names the type that a standard struct kernel_param_ops implements.
func kindOf(ops string) string {
	switch ops {
	case "param_ops_byte", "param_ops_short", "param_ops_ushort", "param_ops_int", "param_ops_uint", "param_ops_long", "param_ops_ulong",
		"param_ops_ullong", "param_ops_hexint", "param_ops_charp", "param_ops_bool", "param_ops_invbool", "param_ops_bint", "param_ops_string",
		"param_ops_bool_enable_only":
		return ops[len("param_ops_"):]
	case "param_array_ops":
		return "array"
	}
	return ""
}

// argument follows arg: to the variable itself, or through struct kparam_string or kparam_array.
//
// Source: include/linux/moduleparam.h: struct kparam_string, struct kparam_array.
func (r *reader) argument(p *Record, at kelf.Place) {
	switch p.SetKind() {
	case "string":
		data, rels, ok := r.section(at)
		if !ok || !inside(data, at.Off, 4) {
			return
		}
		p.Max, p.HasMax = data.U32(int(at.Off)), true
		if v, ok := r.pointer(at.Section, &rels, data, at.Off+uint64(r.word)); ok {
			p.Var, p.HasVar = v, true
			p.Default = r.text(v, uint64(p.Max))
		}
	case "array":
		data, rels, ok := r.section(at)
		w := uint64(r.word)
		if !ok || !inside(data, at.Off, 8+3*w) {
			return
		}
		p.HasMax = true
		p.Max, p.Elem = data.U32(int(at.Off)), data.U32(int(at.Off)+4)
		if ops, ok := r.pointer(at.Section, &rels, data, at.Off+8+w); ok {
			if p.Kind = "array"; kindOf(string(ops.Name)) != "" {
				p.Kind = "array of " + kindOf(string(ops.Name))
			}
			if v, ok := r.pointer(at.Section, &rels, data, at.Off+8+2*w); ok {
				p.Var, p.HasVar = v, true
				n := p.Max
				if num, ok := r.pointer(at.Section, &rels, data, at.Off+8); ok {
					p.Num, p.HasNum = num, true
					if c, ok := r.load(num, 4); ok {
						p.Len, p.HasLen = uint32(c), true
						n = min(n, p.Len)
					}
				}
				p.Default = r.elements(v, kindOf(string(ops.Name)), n, p.Elem)
			}
		}
	default:
		p.Var, p.HasVar = at, true
		p.Default = r.value(p.Kind, at)
	}
}

func inside(v bin.View, off, n uint64) bool { return off <= v.Len() && n <= v.Len()-off }

// section is the content and the relocations of the section that a place is in.
func (r *reader) section(at kelf.Place) (bin.View, kelf.Targets, bool) {
	if at.Section == 0 {
		return bin.View{}, kelf.Targets{}, false
	}
	data, err := r.f.Data(at.Section)
	if err != nil && data.Len() == 0 {
		return bin.View{}, kelf.Targets{}, false
	}
	rels, _ := r.f.Targets(at.Section)
	return data, rels, true
}

// load reads n bytes of a variable; those of .bss are 0.
func (r *reader) load(at kelf.Place, n uint64) (uint64, bool) {
	if at.Section == 0 || at.Section >= len(r.f.Sections) {
		return 0, false
	}
	s := &r.f.Sections[at.Section]
	if s.Type == elf.SHT_NOBITS {
		return 0, at.Off <= s.Size && n <= s.Size-at.Off
	}
	data, _ := r.f.Data(at.Section)
	if !inside(data, at.Off, n) {
		return 0, false
	}
	switch n {
	case 1:
		return uint64(data.U8(int(at.Off))), true
	case 2:
		return uint64(data.U16(int(at.Off))), true
	case 4:
		return uint64(data.U32(int(at.Off))), true
	}
	return data.U64(int(at.Off)), true
}

// value is a variable's first value as the parameter's get function would print it.
//
// Source: kernel/params.c: param_get_*.
func (r *reader) value(kind string, at kelf.Place) *string {
	num := func(n uint64, format func(v uint64) string) *string {
		v, ok := r.load(at, n)
		if !ok {
			return nil
		}
		s := format(v)
		return &s
	}
	signed := func(n uint64) *string {
		return num(n, func(v uint64) string { return strconv.FormatInt(int64(v<<(64-8*n))>>(64-8*n), 10) })
	}
	unsigned := func(n uint64) *string { return num(n, func(v uint64) string { return strconv.FormatUint(v, 10) }) }
	word := uint64(r.word)
	switch kind {
	case "byte":
		return unsigned(1)
	case "short":
		return signed(2)
	case "ushort":
		return unsigned(2)
	case "int", "bint":
		return signed(4)
	case "uint":
		return unsigned(4)
	case "hexint":
		return num(4, func(v uint64) string { return fmt.Sprintf("%#08x", v) })
	case "long":
		return signed(word)
	case "ulong":
		return unsigned(word)
	case "ullong":
		return unsigned(8)
	case "bool", "bool_enable_only":
		return num(1, func(v uint64) string { return yesNo(v != 0) })
	case "invbool":
		return num(1, func(v uint64) string { return yesNo(v == 0) })
	case "charp":
		return r.charp(at)
	}
	return nil
}

func yesNo(v bool) string {
	if v {
		return "Y"
	}
	return "N"
}

// charp is the string that a char pointer variable starts with; "(null)" as printf would have it.
func (r *reader) charp(at kelf.Place) *string {
	null := "(null)"
	if v, ok := r.load(at, uint64(r.word)); !ok {
		return nil
	} else if at.Section > 0 && r.f.Sections[at.Section].Type == elf.SHT_NOBITS && v == 0 {
		return &null
	}
	data, rels, ok := r.section(at)
	if !ok {
		return nil
	}
	p, ok := r.pointer(at.Section, &rels, data, at.Off)
	if !ok {
		return &null
	}
	if s, ok := r.f.CStringAt(p); ok {
		t := string(s)
		return &t
	}
	return nil
}

// text is a character array's first content.
func (r *reader) text(at kelf.Place, limit uint64) *string {
	if at.Section == 0 || at.Section >= len(r.f.Sections) {
		return nil
	}
	if r.f.Sections[at.Section].Type == elf.SHT_NOBITS {
		return new(string)
	}
	data, _ := r.f.Data(at.Section)
	b := data.Clip(at.Off, limit).Bytes()
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	s := string(b)
	return &s
}

// shownElements bounds how much of an array is shown, so that a hostile length costs nothing.
const shownElements = 256

func (r *reader) elements(at kelf.Place, kind string, n, size uint32) *string {
	if kind == "" || size == 0 {
		return nil
	}
	var out []byte
	for i := range min(n, shownElements) {
		el := at
		el.Off += uint64(i) * uint64(size)
		v := r.value(kind, el)
		if v == nil {
			return nil
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, *v...)
	}
	if n > shownElements {
		out = append(out, ",…"...)
	}
	s := string(out)
	return &s
}
