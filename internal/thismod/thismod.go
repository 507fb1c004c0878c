// Package thismod reads .gnu.linkonce.this_module: the struct module that a module brings along.
package thismod

import (
	"bytes"
	"debug/elf"
	"fmt"

	kelf "kotool/internal/elf"
)

// Name is the section's name.
const Name = ".gnu.linkonce.this_module"

// Module is the initial struct module.
type Module struct {
	Section int
	Size    uint64 // sizeof(struct module) of the kernel that it was built for, bytes
	Align   uint64
	Flags   elf.SectionFlag
	Name    string // the kernel's name for the module
	NameOff uint64 // offset of the name in the section
	// Standard says that the name stands where it does in every kernel without RANDSTRUCT.
	Standard   bool
	Init, Exit *Func
	Other      []Field // relocated fields that are neither
}

// Func is a function pointer in struct module.
type Func struct {
	Off    uint64 // offset of the field in the section
	Symbol string // "init_module", "cleanup_module"
	Place  kelf.Place
	f      *kelf.File
}

// Alias is another function symbol of the same place: "hello_init"; "" for none. It is looked for in the whole symbol table.
func (fn *Func) Alias() string {
	if fn.Place.Section == 0 {
		return ""
	}
	spot := fn.Place.Spot()
	return names(fn.f, map[kelf.Spot]bool{spot: true})[spot].alias
}

// Field is another relocated field: data of the machine.
type Field struct {
	Off    uint64
	Symbol string
}

// nameLen is MODULE_NAME_LEN: 64 - sizeof(unsigned long), the final NUL included.
func nameLen(word int) uint64 { return uint64(64 - word) }

// nameOff is the name's offset: behind enum state and the list head. Source: include/linux/module.h: struct module (2.6 to 7.2).
func nameOff(word int) uint64 {
	if word == 4 {
		return 12
	}
	return 24
}

// Read decodes the section; nil where there is none. info is the name in .modinfo, which helps
// where the structure's fields were shuffled (RANDSTRUCT); "" if it has none.
func Read(f *kelf.File, info string) (*Module, error) {
	sec, data, err := f.ByName(Name)
	if sec < 0 {
		return nil, nil
	}
	s := &f.Sections[sec]
	m := &Module{Section: sec, Size: s.Size, Align: s.Align, Flags: s.Flags}
	word := f.Word()
	m.NameOff, m.Standard = nameOff(word), true
	name := data.Clip(m.NameOff, nameLen(word)).Bytes()
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	} else if err == nil {
		err = fmt.Errorf("offset %#x: the name has no NUL within %d bytes", data.Off()+m.NameOff, nameLen(word))
	}
	if len(name) == 0 && info != "" {
		if i := bytes.Index(data.Bytes(), append([]byte(info), 0)); i >= 0 {
			m.NameOff, m.Standard, name = uint64(i), false, []byte(info)
		}
	}
	m.Name = string(name)
	rels, rerr := f.Targets(sec)
	if err == nil {
		err = rerr
	}
	var fields []field
	spots := map[kelf.Spot]bool{}
	for _, rel := range rels.In(0, ^uint64(0)) {
		var implicit int64
		if rel.Off <= data.Len() && uint64(word) <= data.Len()-rel.Off {
			implicit = int64(data.Word(int(rel.Off), word))
		}
		p, ok := f.Resolve(rel, rels.Rela, implicit)
		if !ok {
			if err == nil {
				err = fmt.Errorf("relocation at %#x: symbol %d is past the table", rel.Off, rel.Sym)
			}
			continue
		}
		fields = append(fields, field{rel.Off, p})
		if n := string(p.Name); p.Section != 0 && n != initName && n != exitName {
			spots[p.Spot()] = true
		}
	}
	known := names(f, spots)
	for _, fl := range fields {
		p := fl.place
		role := string(p.Name)
		if role != initName && role != exitName && p.Section != 0 {
			role = known[p.Spot()].role
		}
		fn := &Func{fl.off, role, p, f}
		switch role {
		case initName:
			m.Init = fn
		case exitName:
			m.Exit = fn
		default:
			m.Other = append(m.Other, Field{fl.off, string(p.Name)})
		}
	}
	if err != nil {
		err = &kelf.SectionError{Index: sec, Name: Name, Err: err}
	}
	return m, err
}

// NameOf is the name in struct module, without looking at anything else of it; "" where there is none.
func NameOf(f *kelf.File) string {
	sec := f.Find(Name)
	if sec < 0 {
		return ""
	}
	s := &f.Sections[sec]
	off, n := nameOff(f.Word()), nameLen(f.Word())
	if s.Type == elf.SHT_NOBITS || s.Size < off+n {
		return ""
	}
	v, err := f.View(s.Off+off, n)
	if err != nil {
		return ""
	}
	name, err := v.CString(0)
	if err != nil {
		return ""
	}
	return string(name)
}

// The symbols that the kernel's .mod.c points init and exit at.
const initName, exitName = "init_module", "cleanup_module"

// field is a relocated field of the structure.
type field struct {
	off   uint64
	place kelf.Place
}

// named is what the symbol table says of a place: whether init_module or cleanup_module is there (the relocation
// may name a local alias or the section), and what the source calls the function.
type named struct{ role, alias string }

func names(f *kelf.File, spots map[kelf.Spot]bool) map[kelf.Spot]named {
	known := make(map[kelf.Spot]named, len(spots))
	f.SymbolsAt(spots, func(at kelf.Spot, s kelf.Symbol, name []byte) {
		n := known[at]
		switch text := string(name); {
		case text == initName || text == exitName:
			if n.role == "" {
				n.role = text
			}
		case s.Type() != elf.STT_FUNC && s.Type() != elf.STT_NOTYPE:
			return
		case n.alias == "" && text[0] != '$' && text[0] != '.' && !bytes.HasPrefix(name, []byte("__")):
			n.alias = text
		}
		known[at] = n
	})
	return known
}
