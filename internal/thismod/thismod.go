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
	Alias  string // another function symbol of the same place: "hello_init"; "" for none
	Place  kelf.Place
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
	r := &reader{f: f}
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
		switch r.role(p) {
		case "init_module":
			m.Init = &Func{rel.Off, "init_module", r.alias(p, "init_module"), p}
		case "cleanup_module":
			m.Exit = &Func{rel.Off, "cleanup_module", r.alias(p, "cleanup_module"), p}
		default:
			m.Other = append(m.Other, Field{rel.Off, string(p.Name)})
		}
	}
	if err != nil {
		err = &kelf.SectionError{Index: sec, Name: Name, Err: err}
	}
	return m, err
}

type reader struct{ f *kelf.File }

// role is "init_module" or "cleanup_module": by the symbol's name or, where the relocation names a
// local alias or the section, by another symbol of the same place.
func (r *reader) role(p kelf.Place) string {
	if n := string(p.Name); n == "init_module" || n == "cleanup_module" {
		return n
	}
	t, _ := r.f.Symbols()
	for i := range t.Len() {
		s := t.At(i)
		if !r.same(s, p) {
			continue
		}
		if n := string(t.Name(s)); n == "init_module" || n == "cleanup_module" {
			return n
		}
	}
	return ""
}

func (r *reader) same(s kelf.Symbol, p kelf.Place) bool {
	return p.Section != 0 && !s.Reserved && int(s.Shndx) == p.Section && s.Value == p.Off
}

// alias is another named function at the same place: what the source calls it.
func (r *reader) alias(p kelf.Place, not string) string {
	t, _ := r.f.Symbols()
	for i := range t.Len() {
		s := t.At(i)
		if !r.same(s, p) || s.Type() != elf.STT_FUNC && s.Type() != elf.STT_NOTYPE {
			continue
		}
		n := string(t.Name(s))
		if n == "" || n == not || n == "init_module" || n == "cleanup_module" || n[0] == '$' || n[0] == '.' || bytes.HasPrefix([]byte(n), []byte("__")) {
			continue
		}
		return n
	}
	return ""
}
