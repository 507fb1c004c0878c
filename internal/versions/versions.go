// Package versions reads the CRCs that a module was built against: __versions (basic) and
// __version_ext_crcs with __version_ext_names (extended).
package versions

import (
	stdelf "debug/elf"
	"errors"
	"fmt"
	"slices"

	"kotool/internal/bin"
	"kotool/internal/elf"
)

// Entry is one symbol version that the module was built against.
type Entry struct {
	Name []byte // without NUL; may be anything the file says
	CRC  uint32
	// High holds the upper half of a 64-bit basic entry. When it is not 0 the entry matches no CRC:
	// the kernel compares the whole unsigned long.
	High uint32
	// NoNUL says that the name fills its record without a NUL: the kernel reads on into the next record, and finds no
	// such symbol.
	NoNUL bool
	Off   uint64 // file offset of the record
}

// Raw is the CRC as it stands in the file: an unsigned long in a basic entry.
func (e *Entry) Raw() uint64 { return uint64(e.High)<<32 | uint64(e.CRC) }

// Matches reports whether the kernel takes the entry for that CRC.
// Source: kernel/module/version.c: check_version.
func (e *Entry) Matches(crc uint32) bool { return e.High == 0 && e.CRC == crc }

// recordSize is sizeof(struct modversion_info), in bytes, on every machine.
const recordSize = 64

// Parse decodes __versions: an unsigned long CRC, then the name, NUL padded to 64 bytes. word is 4 or 8.
// A rest of less than a record is left out. The error tells of the first record whose name has no NUL; all records are returned.
//
// Source: include/linux/module.h: struct modversion_info.
func Parse(v bin.View, word int) ([]Entry, error) { return ParseTo(nil, v, word) }

// ParseTo is Parse that appends to a list.
func ParseTo(list []Entry, v bin.View, word int) ([]Entry, error) {
	list = slices.Grow(list, int(v.Len()/recordSize))
	var bad error
	for rec := range v.All(recordSize) {
		raw := rec.Word(0, word)
		name, err := rec.CString(uint64(word))
		if err != nil && bad == nil {
			bad = fmt.Errorf("entry %d: %w", len(list), err)
		}
		list = append(list, Entry{Name: name, CRC: uint32(raw), High: uint32(raw >> 32), NoNUL: err != nil, Off: rec.Off()})
	}
	if rest := v.Len() % recordSize; rest != 0 && bad == nil {
		bad = fmt.Errorf("%d bytes after the last record of %d", rest, recordSize)
	}
	return list, bad
}

// ParseExtended decodes __version_ext_crcs (u32 each) and __version_ext_names (NUL-terminated strings, one a
// CRC; an extra NUL at the end is allowed).
//
// Source: kernel/module/version.c: modversion_ext_start; kernel/module/main.c: elf_validity_cache_index_versions.
func ParseExtended(crcs, names bin.View) ([]Entry, error) {
	n := crcs.Len() / 4
	list := make([]Entry, 0, min(n, names.Len()+1))
	pos := uint64(0)
	for rec := range crcs.All(4) {
		name, err := names.CString(pos)
		if err != nil {
			return list, fmt.Errorf("%d CRCs, but only %d names: %w", n, len(list), err)
		}
		pos += uint64(len(name)) + 1
		list = append(list, Entry{Name: name, CRC: rec.U32(0), Off: rec.Off()})
	}
	if crcs.Len()%4 != 0 {
		return list, fmt.Errorf("%d bytes after the last CRC", crcs.Len()%4)
	}
	return list, nil
}

// Table is what a module carries of both kinds. HasBasic and HasExtended tell of the sections, which may be empty.
type Table struct {
	Basic, Extended       []Entry
	HasBasic, HasExtended bool
}

// Read decodes a module's version sections. The error is what is damaged in them.
func Read(f *elf.File) (Table, error) {
	var t Table
	var errs []error
	sec, v, err := section(f, "__versions")
	if sec >= 0 {
		t.HasBasic = true
		var perr error
		t.Basic, perr = Parse(v, f.Word())
		errs = append(errs, err, wrap(sec, "__versions", perr))
	}
	csec, crcs, cerr := section(f, "__version_ext_crcs")
	nsec, names, nerr := section(f, "__version_ext_names")
	switch {
	case csec >= 0 && nsec >= 0:
		t.HasExtended = true
		var perr error
		t.Extended, perr = ParseExtended(crcs, names)
		errs = append(errs, cerr, nerr, wrap(nsec, "__version_ext_names", perr))
	case csec >= 0:
		errs = append(errs, wrap(csec, "__version_ext_crcs", errors.New("there is no __version_ext_names")))
	case nsec >= 0:
		errs = append(errs, wrap(nsec, "__version_ext_names", errors.New("there is no __version_ext_crcs")))
	}
	return t, errors.Join(errs...)
}

// section is the first section of that name that is loaded, as the kernel sees it, or else any of that name; index -1 and
// an empty view where there is none.
//
// Source: kernel/module/main.c: find_sec.
func section(f *elf.File, name string) (int, bin.View, error) {
	for i := range f.Sections {
		if s := &f.Sections[i]; s.Name == name && s.Flags&stdelf.SHF_ALLOC != 0 {
			v, err := f.Data(i)
			return i, v, err
		}
	}
	return f.ByName(name)
}

func wrap(sec int, name string, err error) error {
	if err == nil {
		return nil
	}
	return &elf.SectionError{Index: sec, Name: name, Err: err}
}

// Format is "basic", "extended", "both" or "none", by the sections that are there.
func (t *Table) Format() string {
	switch {
	case t.HasBasic && t.HasExtended:
		return "both"
	case t.HasExtended:
		return "extended"
	case t.HasBasic:
		return "basic"
	}
	return "none"
}

// Effective are the entries that a kernel looks at: the extended ones where there are any sections of them.
func (t *Table) Effective() []Entry {
	if t.HasExtended {
		return t.Extended
	}
	return t.Basic
}
