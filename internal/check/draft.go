// Package check answers whether a kernel loads a module: the judgements of compat in the kernel's order, with what symbols need of
// other modules, and a simulation where memory decides.
//
// A Draft is what one module's bytes tell; workers make them, each for itself. A Session answers them in order, for exports of one
// are what another needs.
package check

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"kotool/internal/compat"
	"kotool/internal/diag"
	"kotool/internal/elf"
	"kotool/internal/ksymtab"
	"kotool/internal/kver"
	"kotool/internal/module"
	"kotool/internal/source"
	"kotool/internal/thismod"
)

// Draft is what is known of a module and one target without looking at other modules. Nothing of it refers to the module's bytes.
type Draft struct {
	Path string
	name string
	// NotModule is why the file is no module at all; nil where it is one.
	NotModule error

	t             compat.Target // with the version whose rules hold
	assumed       bool          // that version is the module's own
	before, after compat.Part
	whole         bool
	odd           bool // only a simulation tells
	im            *compat.Importer
	exports       []Export
	relocs        []diag.Finding
	suspicious    []string
	modelled      bool
	arch          string
	vermagic      string
	signed        bool
	refusedPacked bool     // by the kernel's own decoder, and no other can unpack it
	notes         []string // about the whole module
	hasBTF        bool
	noVersions    bool // in spite of its vermagic
	extra         []diag.Finding
	kept          []byte // the file, where it cannot be read again
	provided      int    // imports at the beginning of the list that are known to be provided
	size          uint64 // of struct module, bytes
	init, exit    uint64 // offsets in it
}

// Export is a symbol that a module exports.
type Export struct {
	Name string
	compat.Export
}

// exportsOf are a module's exports. All names are parts of one string.
func exportsOf(list []ksymtab.Export, owner string) []Export {
	n := 0
	for i := range list {
		n += len(list[i].Name)
	}
	var text strings.Builder
	text.Grow(n)
	for i := range list {
		text.Write(list[i].Name)
	}
	names := text.String()
	out := make([]Export, len(list))
	for i := range list {
		e := &list[i]
		out[i] = Export{names[:len(e.Name)], compat.Export{CRC: e.CRC, HasCRC: e.HasCRC, GPL: e.License.GPL(), Namespace: string(e.Namespace), Owner: owner}}
		names = names[len(e.Name):]
	}
	return out
}

// RefusedPacked reports whether the kernel's own decoder refuses the file, and no other could unpack it.
func (d *Draft) RefusedPacked() bool { return d.refusedPacked }

// NewDraft judges an open file. The target is only read. head are the first bytes of the file as it is stored, nil where they are not known. An
// error is one of reading. mem is the worker's, nil: the draft takes its own.
func NewDraft(t *compat.Target, path string, src *source.Input, head []byte, mem *compat.Scratch) (*Draft, error) {
	d := &Draft{Path: path, t: *t}
	if mem == nil {
		mem = &compat.Scratch{}
	}
	m, err := module.Decode(src, module.Meta{Path: path, Compression: src.Compression, PackedSize: src.PackedSize, Damage: src.Damage, Memory: &mem.ELF})
	if err == nil {
		if nerr := m.NeedSections(); nerr != nil {
			m, err = nil, nerr
		}
	}
	if m != nil {
		d.name, d.vermagic = m.Name(), m.InfoValue("vermagic")
		if m.File.Arch != nil {
			d.arch = m.File.Arch.Name
		}
	} else {
		d.name = module.NameOfFile(path)
	}
	if d.t.Version.IsZero() {
		// No evidence tells: by the rules of the kernel that the module was built for.
		if v, verr := kver.Parse(d.vermagic); verr == nil {
			d.t.Version, d.assumed = v, true
		}
	}
	l := compat.NewLoad(&d.t, src, 0)
	l.Borrow(mem)
	if m != nil {
		l.Use(m.File)
	}
	if src.Damage != nil {
		d.NotModule = src.Damage
		return d, nil
	}
	var lerr error
	if d.before, lerr = l.Before(); lerr != nil {
		return nil, lerr
	}
	if f := compat.CompressedFor(&d.t, head); f != nil {
		d.extra = append(d.extra, *f)
	}
	if l.Whole() && m == nil {
		// The kernel reads it by other rules than its own identification says.
		d.odd = true
		if path == "-" {
			d.kept, lerr = src.ReadAll()
			d.kept = bytes.Clone(d.kept)
		}
		return d, lerr
	}
	if !l.Whole() {
		if d.before.Errno == 0 && d.before.Undefined == nil {
			d.NotModule = err
			if err == nil {
				d.NotModule = errors.New("the file has no section table")
			}
		}
		return d, nil
	}
	d.whole = true
	l.Settle()
	var uerr *compat.UndefinedError
	if d.im, lerr = l.Importer(); errors.As(lerr, &uerr) {
		if d.before.Errno == 0 && d.before.Undefined == nil {
			d.before.Undefined = lerr
		}
		d.whole = false
		return d, nil
	} else if lerr != nil {
		return nil, lerr
	}
	d.exports = exportsOf(m.Exports().Exports, d.im.Name)
	n := len(l.Findings)
	d.modelled = l.Relocs()
	if this := d.this(m); this != nil {
		d.size = this.Size
		if this.Init != nil {
			d.init = this.Init.Off
		}
		if this.Exit != nil {
			d.exit = this.Exit.Off
		}
		if d.size == t.Struct.Size {
			l.StructOffsets(d.init, d.exit)
		}
	}
	d.relocs = append([]diag.Finding(nil), l.Findings[n:]...)
	l.Findings = l.Findings[:n]
	if d.after, lerr = l.After(); lerr != nil {
		return nil, lerr
	}
	d.suspicious = l.Suspicious
	d.signed = l.Signed
	d.hasBTF = m.File.Find(".BTF") > 0
	d.noVersions = lacksVersions(d.im.Versions, d.vermagic)
	d.extra = append(d.extra, d.dirFinding()...)
	if n := d.gplExports(); n > 0 && l.Kflags() {
		d.notes = append(d.notes, fmt.Sprintf("%d of its exports are for GPL modules only, by __kflagstab, which kernels before 7.1 do not look at: here they are for everybody", n))
	}
	if len(d.suspicious) > 0 && path == "-" {
		d.kept, lerr = src.ReadAll()
		d.kept = bytes.Clone(d.kept)
	}
	return d, lerr
}

// this is the module's struct module, nil where it is not compared with anything.
func (d *Draft) this(m *module.Module) *thismod.Module {
	if d.t.Struct.Size == 0 {
		return nil
	}
	return m.This()
}

func (d *Draft) gplExports() int {
	n := 0
	for i := range d.exports {
		if d.exports[i].GPL {
			n++
		}
	}
	return n
}

// dirFinding compares the module's release with that of the directory that it lies in: lib/modules/RELEASE.
func (d *Draft) dirFinding() []diag.Finding {
	rel := releaseOf(d.Path)
	built, _, _ := strings.Cut(d.vermagic, " ")
	if rel == "" || built == "" || rel == built {
		return nil
	}
	f := diag.New(diag.VermagicDir, d.t.Version, built, rel)
	f.Want, f.Got = rel, built
	if d.t.Vermagic == "" && (!d.t.ModVersions || d.im.Versions == "none") {
		// The release counts, and that kernel's cannot be the module's.
		f.Severity, f.Errno = diag.Error, diag.ENOEXEC
	}
	return []diag.Finding{f}
}

// releaseOf is the directory below lib/modules that a path goes through; "" for none.
func releaseOf(path string) string {
	_, rest, ok := strings.Cut("/"+path, "/lib/modules/")
	if !ok {
		return ""
	}
	rel, _, below := strings.Cut(rest, "/")
	if _, err := kver.Parse(rel); err != nil || !below {
		return ""
	}
	return rel
}

// source is the whole file, for a simulation.
func (d *Draft) source(open func() (*source.Input, error)) (elf.Source, func(), error) {
	if d.kept != nil {
		return elf.Mem(d.kept), func() {}, nil
	}
	src, err := open()
	if err != nil {
		return nil, nil, err
	}
	return src, func() { _ = src.Close() }, nil
}

// Broken is the draft of a file whose compression is damaged: nothing in it is a module. head are the file's first bytes.
func Broken(t *compat.Target, path string, err error, head []byte) *Draft {
	d := &Draft{Path: path, t: *t, name: module.NameOfFile(path), NotModule: err}
	if f := compat.CompressedFor(t, head); f != nil {
		f.Severity, f.Errno = diag.Error, diag.EINVAL
		d.extra, d.refusedPacked = append(d.extra, *f), true
	}
	return d
}
