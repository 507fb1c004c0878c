package ksymtab

import (
	"debug/elf"
	"fmt"
)

// Form is the layout of a table's entries: struct kernel_symbol.
type Form struct {
	Size   uint64 // bytes
	Prel   bool   // fields are 32-bit offsets from themselves, else words
	NS     bool   // with a namespace field
	Name   uint64 // offset of the name field in the entry
	NSOff  uint64 // offset of the namespace field
	Source string // how it was found: "relocations", "symbols", "strings" (linked images), "machine"
}

func (f Form) String() string {
	kind, ns := "absolute", ""
	if f.Prel {
		kind = "place-relative"
	}
	if f.NS {
		ns = ", with namespaces"
	}
	return fmt.Sprintf("%d bytes, %s%s", f.Size, kind, ns)
}

// forms lists the layouts that an entry of that machine can have, the newest first. word is 4 or 8.
//
// Source: include/linux/export-internal.h and export.h: struct kernel_symbol; HAVE_ARCH_PREL32_RELOCATIONS.
func forms(word uint64, prel32 bool) [4]Form {
	abs, absOld := Form{Size: 3 * word, NS: true, Name: word, NSOff: 2 * word}, Form{Size: 2 * word, Name: word}
	prel, prelOld := Form{Size: 12, Prel: true, NS: true, Name: 4, NSOff: 8}, Form{Size: 8, Prel: true, Name: 4}
	if prel32 {
		return [...]Form{prel, prelOld, abs, absOld}
	}
	return [...]Form{abs, absOld, prel, prelOld}
}

// placeRelative says of the relocation types that fill such fields whether they are relative to the place. known is
// false for types and machines that it does not have; only x86 and arm64 ever had both kinds.
func placeRelative(m elf.Machine, typ uint32) (prel, known bool) {
	switch m {
	case elf.EM_X86_64:
		switch elf.R_X86_64(typ) {
		case elf.R_X86_64_PC32, elf.R_X86_64_PLT32, elf.R_X86_64_PC64:
			return true, true
		case elf.R_X86_64_64, elf.R_X86_64_32, elf.R_X86_64_32S:
			return false, true
		}
	case elf.EM_386:
		switch elf.R_386(typ) {
		case elf.R_386_PC32, elf.R_386_PLT32:
			return true, true
		case elf.R_386_32:
			return false, true
		}
	case elf.EM_AARCH64:
		switch elf.R_AARCH64(typ) {
		case elf.R_AARCH64_PREL32, elf.R_AARCH64_PREL64:
			return true, true
		case elf.R_AARCH64_ABS32, elf.R_AARCH64_ABS64:
			return false, true
		}
	}
	return false, false
}

// samples bounds the entries that are looked at to find the form: they tell, and all of a large table would cost more
// than it says.
const samples = 16

// form finds the layout of a module's entries: that in which every name and namespace points into a string section; or that in which the symbols __ksymtab_NAME are as many as the entries and stand at their
// beginnings; or the newest of the machine whose size divides the section's.
func (m *relocated) form() Form {
	list := forms(uint64(m.f.Word()), m.f.Arch != nil && m.f.Arch.PREL32)
	if m.rels.Len() > 0 {
		for _, f := range list {
			if m.fits(f) {
				f.Source = "relocations"
				return f
			}
		}
	}
	if names := m.entryNames(); len(names) > 0 {
	next:
		for _, f := range list {
			if uint64(len(names)) != m.data.Len()/f.Size {
				continue
			}
			for off := range names {
				if off%f.Size != 0 {
					continue next
				}
			}
			f.Source = "symbols"
			return f
		}
	}
	for _, f := range list {
		if m.data.Len()%f.Size == 0 {
			f.Source = "machine"
			return f
		}
	}
	list[0].Source = "machine"
	return list[0]
}

func (m *relocated) fits(f Form) bool {
	n := m.data.Len() / f.Size
	for i := range min(n, samples) {
		if !m.inStrings(i*f.Size+f.Name, f) {
			return false
		}
		if f.NS {
			// Before 5.6 the field of a symbol without a namespace was 0, without a relocation.
			if _, ok := m.rels.At(i*f.Size + f.NSOff); ok && !m.inStrings(i*f.Size+f.NSOff, f) {
				return false
			}
		}
	}
	return n > 0
}

// inStrings reports whether the field at off is relocated, in the way of that form, and points to a string.
func (m *relocated) inStrings(off uint64, form Form) bool {
	rel, ok := m.rels.At(off)
	if !ok {
		return false
	}
	if prel, known := placeRelative(m.f.Header.Machine, rel.Type); known && prel != form.Prel {
		return false
	}
	p, ok := resolve(m.f, rel, m.rels.Rela, 0)
	if !ok || p.Section == 0 {
		return false
	}
	s := &m.f.Sections[p.Section]
	return s.Name == "__ksymtab_strings" || s.Flags&elf.SHF_STRINGS != 0
}
