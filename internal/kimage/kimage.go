// Package kimage reads Linux kernel images as distributions ship them (vmlinuz, Image, zImage, vmlinux): it takes off boot headers and
// compression, and finds in the kernel what modules depend on: its release and vermagic, configuration, BTF, exports, and symbols.
//
// The images of x86 hold an ELF file with its section headers. Those of most other machines hold memory without any table of contents;
// there the tables are found by their form, and Image.Notes says what was not.
package kimage

import (
	"errors"
	"fmt"
	"sync"

	"kotool/internal/arch"
	"kotool/internal/bin"
	"kotool/internal/ksymtab"
	"kotool/internal/source"
)

// Image is what a kernel image says. Its slices are parts of the unpacked kernel.
type Image struct {
	Kind     string // "vmlinux", "bzImage", "Image", "zImage", "EFI zboot", "uImage"
	Packing  string // "none", "gzip", "xz", "zstd", "lz4", "lzma", "bzip2", "lzo"
	Release  string // as uname -r has it
	Vermagic string // what modules must have as theirs; empty: not found
	Banner   string // the line of /proc/version
	Arch     *arch.Arch
	Config   []byte // the embedded .config as text; nil: none
	BTF      []byte // nil: none
	Exports  []ksymtab.Export
	// Notes say in words what could not be recovered, and why.
	Notes []string
	// Plain is the kernel itself without its wrappings: an ELF file, or memory from its first byte on.
	Plain []byte

	mem     *memory
	symtab  symbols        // of ELF; nil: none
	exports map[string]int // index of Exports by name
	index   map[string]located
	kall    *kallsyms // nil: not recovered

	kallOnce, exportsOnce, indexOnce sync.Once
}

// layers bounds how deep wrappings may be nested: an uImage with a zImage with a packed kernel, in a file that is packed itself.
const layers = 5

// Open reads a kernel image of which no more than limit bytes may come out when it is unpacked (0: source.DefaultMaxSize). Images that are
// cut short or damaged are errors that name the offset.
func Open(data []byte, limit uint64) (*Image, error) {
	if limit == 0 {
		limit = source.DefaultMaxSize
	}
	if len(data) == 0 {
		return nil, errors.New("empty file")
	}
	im := &Image{Packing: "none"}
	var hint facts
	where := ""
	for range layers {
		w, err := recognise(data)
		if err != nil {
			return nil, fmt.Errorf("%s%w", where, err)
		}
		hint.add(&w.facts)
		if im.Kind == "" {
			im.Kind = w.kind
		}
		if w.content {
			im.Plain = data
			if im.Kind == "" {
				im.Kind = "Image"
			}
			err := im.read(w.elf, hint)
			if err == nil {
				return im, nil
			}
			if !errors.Is(err, errNoKernel) || !w.elf || im.Packing != "none" {
				return nil, fmt.Errorf("%s%w", where, err)
			}
			// The boot wrappers of powerpc, mips and parisc are ELF files with a packed kernel in them.
			if w, err = wrapper(im, data), nil; w.body.Len() == 0 {
				return nil, fmt.Errorf("%s%w", where, errNoKernel)
			}
		}
		next, packing, err := w.unwrap(limit)
		if err != nil {
			return nil, fmt.Errorf("%s%w", where, err)
		}
		if packing != "" && packing != "none" {
			im.Packing = packing
			where = "the unpacked kernel: "
		}
		data = next
	}
	return nil, fmt.Errorf("%swrappings are nested more than %d deep", where, layers)
}

var errNoKernel = errors.New("an ELF file without \"Linux version\" and __ksymtab: not a Linux kernel")

// wrapper is an ELF file that a packed kernel is in. Its body is empty where nothing in it looks like one.
func wrapper(im *Image, data []byte) wrapping {
	w := wrapping{kind: "zImage", facts: facts{arch: im.Arch}, search: true}
	if v := bin.New(data, 0, false); len(w.candidates(v)) > 0 {
		w.body = v
	}
	*im = Image{Packing: "none", Kind: w.kind}
	return w
}

// facts are what wrappings know about the kernel in them.
type facts struct {
	arch       *arch.Arch
	release    string
	textOffset uint64 // of the kernel from the start of memory, arm only; 0: not known
}

func (f *facts) add(other *facts) {
	if f.arch == nil {
		f.arch = other.arch
	}
	if f.release == "" {
		f.release = other.release
	}
	if f.textOffset == 0 {
		f.textOffset = other.textOffset
	}
}

func (im *Image) note(format string, args ...any) {
	im.Notes = append(im.Notes, fmt.Sprintf(format, args...))
}

// read fills in everything from the plain kernel.
func (im *Image) read(isELF bool, hint facts) error {
	var tables []ksymtab.LinkedTable
	var places []bin.View
	if isELF {
		e, err := openELF(im.Plain)
		if err != nil {
			return err
		}
		im.Arch, im.mem, im.symtab = e.file.Arch, e.memory(), e.symbols()
		tables, places = e.tables(im.mem), e.places()
		im.texts(places)
		im.BTF = e.section(".BTF")
		if im.Banner == "" && len(tables) == 0 {
			return errNoKernel
		}
	} else {
		places = []bin.View{bin.New(im.Plain, 0, false)}
		im.texts(places)
		if im.Banner == "" {
			return fmt.Errorf("no \"Linux version\" in %d bytes: not a Linux kernel, or cut short", len(im.Plain))
		}
	}
	if im.Release == "" {
		im.Release = hint.release
		if im.Release == "" {
			im.note("no release: there is no \"Linux version\" in it")
		}
	}
	im.vermagic(places)
	if !isELF {
		if im.Arch = hint.arch; im.Arch == nil {
			im.Arch = archOfVermagic(im.Vermagic)
		}
		im.mem = &memory{word: 8, segs: []segment{{data: im.Plain}}}
		if im.Arch != nil {
			im.mem.word, im.mem.big = im.Arch.WordSize(), im.Arch.BigEndian
		}
	}
	if im.Arch == nil {
		im.note("the machine is not known, and with it the form of the tables")
	}
	im.config(places)
	if im.BTF == nil && (!isELF || len(places) > 0 && im.mem.noSections) {
		im.BTF = findBTF(im.Plain, im.mem.big)
	}
	if im.BTF == nil {
		im.note("no BTF (CONFIG_DEBUG_INFO_BTF is off)")
	}
	im.readExports(isELF, tables, hint)
	return nil
}

// readExports decodes the tables, or looks for them.
func (im *Image) readExports(isELF bool, tables []ksymtab.LinkedTable, hint facts) {
	if im.Arch == nil {
		return
	}
	switch {
	case !isELF:
		tables = im.locate(hint.textOffset)
	case len(tables) == 0:
		tables = im.searchExports()
	}
	if len(tables) == 0 {
		im.note("no exports: nothing in it has the form of __ksymtab")
		return
	}
	t, err := ksymtab.ReadLinked(tables, im.mem.word, im.Arch.PREL32, im.mem.at)
	if err != nil {
		im.note("exports: %v", err)
	}
	im.Exports = t.Exports
	if im.mem.noBase {
		im.note("addresses count from the beginning of the image: where the kernel is linked to was not found")
	}
	if len(t.Exports) > 0 && !t.HasCRCs && moduleWord(im.Vermagic, "modversions") {
		im.note("no CRCs: __kcrctab was not found")
	}
}
