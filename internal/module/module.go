// Package module is the model of one kernel module: its bytes decoded once, read by every command.
package module

import (
	"errors"
	"fmt"

	"kotool/internal/bin"
	"kotool/internal/diag"
	"kotool/internal/elf"
	"kotool/internal/kver"
)

// Meta says where a module came from.
type Meta struct {
	Path        string
	Compression string      // "none", "gzip", "xz", "zstd"
	PackedSize  uint64      // bytes of the file as it is
	Damage      error       // of the compressed stream: what follows it is missing
	Memory      *elf.Memory // that the file may use: until the next one does, and then the module is gone; nil: its own
}

// Module is a decoded module. Its parts are decoded when they are first asked for; damage in one of them
// is a finding, and the others are still there. A Module is not for concurrent use.
type Module struct {
	Meta
	File     *elf.File
	Findings []diag.Finding // damage found while decoding, in the order of decoding

	parts
}

// Decode reads a module's headers. An error means that there is nothing to show: not ELF, or
// shorter than an ELF header.
func Decode(src elf.Source, meta Meta) (*Module, error) {
	f, err := elf.ParseIn(src, meta.Memory)
	if err != nil {
		if meta.Damage != nil {
			return nil, meta.Damage
		}
		return nil, err
	}
	m := &Module{Meta: meta, File: f}
	if meta.Damage != nil {
		m.add(diag.DamagedELF, diag.Location{}, meta.Damage)
	}
	for _, p := range f.Problems {
		code, where := diag.DamagedELF, diag.Location{}
		if p.Section >= 0 {
			code, where = diag.DamagedSection, diag.In(f.Sections[p.Section].Name, p.Section)
		}
		m.add(code, where.At(p.Off), errors.New(p.Text))
	}
	return m, nil
}

// add notes damage. The same text is noted once.
func (m *Module) add(code diag.Code, where diag.Location, err error) {
	if err == nil {
		return
	}
	f := diag.New(code, kver.Version{}, err.Error())
	if where.Empty() {
		if s, ok := errors.AsType[*elf.SectionError](err); ok {
			where = diag.In(s.Name, s.Index)
		}
		if r, ok := errors.AsType[*bin.RangeError](err); ok {
			where = where.At(r.Off)
		}
	}
	f.Where = where
	for i := range m.Findings {
		if m.Findings[i].Message == f.Message {
			return
		}
	}
	m.Findings = append(m.Findings, f)
}

// ErrNoSections says that a file has no section table, so that there is nothing to show but its header.
var ErrNoSections = errors.New("no section headers")

// NeedSections returns an error when the file has no section table at all.
func (m *Module) NeedSections() error {
	if len(m.File.Sections) > 0 {
		return nil
	}
	if len(m.Findings) > 0 {
		return fmt.Errorf("%w: %s", ErrNoSections, m.Findings[len(m.Findings)-1].Message)
	}
	return ErrNoSections
}
