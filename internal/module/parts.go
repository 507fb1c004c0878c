package module

import (
	"fmt"

	"kotool/internal/diag"
	"kotool/internal/elf"
	"kotool/internal/ksymtab"
	"kotool/internal/modinfo"
	"kotool/internal/params"
	"kotool/internal/sig"
	"kotool/internal/source"
	"kotool/internal/thismod"
	"kotool/internal/versions"
)

// parts are what has been decoded so far; the booleans say that it has been tried.
type parts struct {
	info      *modinfo.Info
	infoSec   int
	versions  *versions.Table
	exports   *ksymtab.Table
	params    []params.Param
	hasParams bool
	this      *thismod.Module
	hasThis   bool
	sig       *sig.Signature
	hasSig    bool
	symtab    *elf.Symtab
	hasSymtab bool
}

// Info is .modinfo; empty where there is none.
func (m *Module) Info() *modinfo.Info {
	if m.info == nil {
		sec, v, err := m.File.ByName(".modinfo")
		m.infoSec = sec
		m.add(diag.DamagedModinfo, diag.Location{}, err)
		info, err := modinfo.Parse(v)
		if err != nil {
			m.add(diag.DamagedModinfo, diag.In(".modinfo", sec), err)
		}
		m.info = info
	}
	return m.info
}

// InfoValue is the first value of a .modinfo key, "" where there is none.
func (m *Module) InfoValue(key string) string {
	if m.info == nil { // for one value the section need not be taken apart
		_, v, _ := m.File.ByName(".modinfo")
		value, _ := modinfo.First(v, key)
		return string(value)
	}
	v, _ := m.info.Get(key)
	return string(v)
}

// Versions are the CRCs that the module was built against.
func (m *Module) Versions() *versions.Table {
	if m.versions == nil {
		t, err := versions.Read(m.File)
		m.add(diag.DamagedVersions, diag.Location{}, err)
		m.versions = &t
	}
	return m.versions
}

// Exports are what the module exports.
func (m *Module) Exports() *ksymtab.Table {
	if m.exports == nil {
		m.Symtab() // damage in it is noted as its own
		t, err := ksymtab.Read(m.File)
		m.add(diag.DamagedExports, diag.Location{}, err)
		m.exports = &t
	}
	return m.exports
}

// Symtab is the symbol table, nil where there is none.
func (m *Module) Symtab() *elf.Symtab {
	if !m.hasSymtab {
		m.hasSymtab = true
		t, err := m.File.Symbols()
		m.add(diag.DamagedSymtab, diag.Location{}, err)
		m.symtab = t
	}
	return m.symtab
}

// Relocs are the relocation tables, in file order. Tables that overlap, so that together they would be larger than the file, are left out.
func (m *Module) Relocs() []*elf.RelTable {
	var tabs []*elf.RelTable
	room := m.File.Size()
	for _, i := range m.File.RelocSections() {
		t, err := m.File.Relocs(i)
		m.add(diag.DamagedRelocs, diag.Location{}, err)
		size := uint64(t.Len()) * uint64(t.EntrySize())
		if size > room {
			m.add(diag.DamagedRelocs, diag.In(m.File.Sections[i].Name, i),
				fmt.Errorf("section %d and others overlap: the relocation tables are larger than the file", i))
			continue
		}
		room -= size
		tabs = append(tabs, t)
	}
	return tabs
}

// Params are the module's parameters.
func (m *Module) Params() []params.Param {
	if !m.hasParams {
		m.hasParams = true
		info := m.Info()
		list, err := params.Read(m.File, func(yield func(k, v []byte) bool) {
			for i := range info.Entries {
				if e := &info.Entries[i]; !yield(e.Key, e.Value) {
					return
				}
			}
		})
		m.add(diag.DamagedParams, diag.Location{}, err)
		m.params = list
	}
	return m.params
}

// This is .gnu.linkonce.this_module, nil where there is none.
func (m *Module) This() *thismod.Module {
	if !m.hasThis {
		m.hasThis = true
		t, err := thismod.Read(m.File, m.InfoValue("name"))
		m.add(diag.DamagedModule, diag.Location{}, err)
		m.this = t
	}
	return m.this
}

// Signature is the appended signature, nil for an unsigned module.
func (m *Module) Signature() *sig.Signature {
	if !m.hasSig {
		m.hasSig = true
		s, err := sig.Read(m.File.Source())
		m.add(diag.DamagedSignature, diag.Location{}, err)
		m.sig = s
	}
	return m.sig
}

// Name is what the kernel calls the module: the name in struct module, else in .modinfo, else the file's name
// without its suffix, dashes as underscores.
func (m *Module) Name() string {
	if n := thismod.NameOf(m.File); n != "" {
		return n
	}
	if t := m.This(); t != nil && t.Name != "" { // shuffled by RANDSTRUCT, or damaged
		return t.Name
	}
	return m.InfoName()
}

// InfoName is .modinfo's name=, which many of the kernel's messages use; else the file's name.
func (m *Module) InfoName() string {
	if n := m.InfoValue("name"); n != "" {
		return n
	}
	return NameOfFile(m.Path)
}

// NameOfFile is the module name that a file name stands for.
func NameOfFile(p string) string { return source.ModuleName(p) }

// BuildID is the GNU build id, nil where there is none.
func (m *Module) BuildID() []byte {
	_, v, _ := m.File.ByName(".note.gnu.build-id")
	for v.Len() >= 12 {
		nameSize, descSize, kind := uint64(v.U32(0)), uint64(v.U32(4)), v.U32(8)
		name, err := v.Slice(12, nameSize)
		if err != nil {
			return nil
		}
		at := 12 + (nameSize+3)&^3
		desc, err := v.Slice(at, descSize)
		if err != nil {
			return nil
		}
		if kind == 3 && string(name.Bytes()) == "GNU\x00" { // NT_GNU_BUILD_ID
			return desc.Bytes()
		}
		v = v.Clip(at+(descSize+3)&^3, ^uint64(0))
	}
	return nil
}
