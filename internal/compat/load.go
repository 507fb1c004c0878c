package compat

import (
	"bytes"
	stdelf "debug/elf"
	"fmt"

	"kotool/internal/diag"
	"kotool/internal/elf"
	"kotool/internal/versions"
)

// The flags of finit_module. Source: include/uapi/linux/module.h.
const (
	IgnoreModVersions = 1
	IgnoreVermagic    = 2
	CompressedFile    = 4
)

// Line is a line of the kernel's log.
type Line struct {
	Text string
	Once bool // comes once a boot only
}

// Indices are the sections that the kernel remembers by number; 0: none. Source: kernel/module/internal.h: struct load_info.
type Indices struct {
	Sym, Str, Mod, Vers, VersExtCRC, VersExtName, Info, Pcpu int
}

// Load is one load_module as far as it can be judged from the file and the target: what the kernel's struct load_info holds, the log
// and the findings so far. The stages fill it in. A Load is not for concurrent use.
//
// Source: kernel/module/internal.h: struct load_info.
type Load struct {
	T     *Target
	Flags uint32
	Raw   bool // by init_module, not finit_module

	src elf.Source
	F   *elf.File // as the target's class and byte order read it; nil until the header is known to be one
	// Len is info->len: the file without its signature, bytes.
	Len   uint64
	Hdr   []elf.Section // info->sechdrs: this load's own copy, whose flags the kernel changes
	named []bool        // the name has been read
	Index Indices
	Info  string // info->name: of .modinfo
	Mod   string // mod->name: of struct module
	tags  tags
	SigOK bool
	// Signed says that there is a signature that can be read, whoever made it.
	Signed bool

	Log      []Line
	Findings []diag.Finding
	// Taints that this module brings, in order of their letters' bits.
	Taints Taint
	// Suspicious says that memory decides: relocations that leave their section, overlapping sections and the like.
	Suspicious []string

	// Stray says that a name was read where the section headers lie, which the kernel has written addresses into.
	Stray   bool
	reread  bool
	vers    *versions.Index
	symtab  *elf.Symtab
	step    string
	scratch *Scratch

	all, whole, valid bool // for Before and After
	settle            bool // for Importer
	refusedAt         *refusal
}

// UndefinedError says that the kernel's behaviour is not defined by the input: it reads or writes where it should not.
type UndefinedError struct{ What string }

func (e *UndefinedError) Error() string { return e.What }

func undefined(format string, args ...any) error {
	return &UndefinedError{fmt.Sprintf(format, args...)}
}

// NewLoad begins a load of a file.
func NewLoad(t *Target, src elf.Source, flags uint32) *Load {
	return &Load{T: t, src: src, Len: src.Size(), Flags: flags}
}

// printk adds lines to the log; empty ones are left out.
func (l *Load) printk(lines ...string) {
	for _, s := range lines {
		if s != "" {
			l.Log = append(l.Log, Line{Text: diag.Kmsg(l.T.record(s))})
		}
	}
}

// record is as much of a line as one record of the log takes: its level has two bytes of the room, a NUL one.
//
// Source: kernel/printk/printk.c: LOG_LINE_MAX (to 6.3), PRINTKRB_RECORD_MAX.
func (t *Target) record(s string) string {
	room := 1024 - 3
	if t.has(before64) {
		room = 992 - 3
	}
	return s[:min(len(s), room)]
}

func (l *Load) printkOnce(s string) { l.Log = append(l.Log, Line{Text: s, Once: true}) }

// finding adds a finding of the catalogue's row at the current step, and its lines to the log.
func (l *Load) finding(code diag.Code, args ...any) *diag.Finding {
	f := diag.New(code, l.T.Version, args...)
	f.Step = l.step
	for _, s := range f.Dmesg {
		l.Log = append(l.Log, Line{Text: s})
	}
	l.Findings = append(l.Findings, f)
	return &l.Findings[len(l.Findings)-1]
}

// fail is finding for what ends the load.
func (l *Load) fail(code diag.Code, args ...any) diag.Errno { return l.finding(code, args...).Errno }

// bytes are n bytes of the kernel's copy of the file, as far as there are so many.
func (l *Load) bytes(off, n uint64) []byte {
	size := l.src.Size()
	if off >= size {
		return nil
	}
	b, err := l.src.Range(off, min(n, size-off))
	if err != nil {
		return nil
	}
	return b
}

// maxCString is how far a string is followed, bytes.
const maxCString = 64 << 10

// cstring is the string at a file offset, which may run past its section as the kernel's reading does. ok is false where
// there is nothing to read: the kernel would fault.
func (l *Load) cstring(off uint64) (s string, ok bool) {
	b, ok := l.cbytes(off)
	return string(b), ok
}

// cbytes is cstring as a part of the file.
func (l *Load) cbytes(off uint64) (s []byte, ok bool) {
	if off >= l.src.Size() {
		// The rest of the last page is there, and its bytes are not the file's.
		return nil, off < (l.src.Size()+pageSize-1)&^uint64(pageSize-1)
	}
	if h := &l.F.Header; l.reread && off >= h.Shoff && off < h.Shoff+uint64(h.Shnum)*l.F.ShentsizeWant() {
		l.Stray = true
	}
	for n := uint64(64); ; n *= 8 {
		b := l.bytes(off, n)
		if i := bytes.IndexByte(b, 0); i >= 0 {
			return b[:i], true
		}
		if uint64(len(b)) < n || n > maxCString {
			return b, true
		}
	}
}

const pageSize = 4096

// nameOf is a section's name as the kernel reads it: it may lie past the table.
func (l *Load) nameOf(i int) (string, error) {
	s := &l.Hdr[i]
	if l.named[i] {
		return s.Name, nil
	}
	str := &l.Hdr[l.shstrndx()]
	name, ok := l.cstring(str.Off + uint64(s.NameOff))
	if !ok {
		return "", undefined("the kernel reads the name of section %d at offset %#x of the file, which has %#x bytes", i, str.Off+uint64(s.NameOff), l.src.Size())
	}
	s.Name, l.named[i] = name, true
	return name, nil
}

func (l *Load) shstrndx() int { return int(l.F.Header.Shstrndx) }

// findSec is find_sec: the first loaded section of that name, 0 for none.
//
// Source: kernel/module/main.c: find_sec.
func (l *Load) findSec(name string) int {
	for i := 1; i < len(l.Hdr); i++ {
		if s := &l.Hdr[i]; s.Flags&stdelf.SHF_ALLOC != 0 {
			if n, _ := l.nameOf(i); n == name {
				return i
			}
		}
	}
	return 0
}

// FindSec returns the first loaded section of that name, 0 for none.
func (l *Load) FindSec(name string) int { return l.findSec(name) }

// objs is section_objs: how many entries of a size the first loaded section of that name has.
//
// Source: kernel/module/main.c: section_objs.
func (l *Load) objs(name string, size uint64) uint64 {
	i := l.findSec(name)
	if i == 0 {
		return 0
	}
	return l.Hdr[i].Size / size
}

// infoName is info->name as messages print it.
func (l *Load) infoName() string {
	if !l.tags.has || !l.tags.hasName {
		return "(missing .modinfo section or name field)"
	}
	return l.Info
}

// Word is sizeof(unsigned long) of the kernel, bytes.
func (l *Load) Word() uint64 { return uint64(l.F.Word()) }

// tags are what the kernel reads of .modinfo.
type tags struct {
	has, hasName                           bool
	vermagic, license                      string
	hasVermagic, hasLicense                bool
	intree, retpoline, staging, test, live bool
	importNS                               []string
	depends                                string
}

// readTags is one pass of get_modinfo over all of its tags: the first string of each counts.
//
// Source: kernel/module/main.c: get_next_modinfo, next_string.
func (l *Load) readTags(sec int) {
	l.tags = tags{}
	if sec == 0 {
		return
	}
	l.tags.has = true
	s := &l.Hdr[sec]
	// The first string is looked at whatever the size; each may run past the section.
	for pos, rest, first := s.Off, s.Size, true; ; first = false {
		if !first && rest <= 0 {
			return
		}
		text, ok := l.cbytes(pos)
		if !ok {
			return
		}
		l.tag(text)
		n := uint64(len(text)) + 1
		// next_string: to the NUL, then over NULs, as long as the section lasts.
		if rest <= uint64(len(text)) || rest-uint64(len(text)) <= 1 {
			return
		}
		pos, rest = pos+n, rest-n
		skipped := false
		for !skipped {
			b := l.bytes(pos, min(rest, 256))
			if len(b) == 0 {
				return
			}
			i := 0
			for i < len(b) && b[i] == 0 {
				i++
			}
			pos, rest = pos+uint64(i), rest-uint64(i)
			skipped = i < len(b)
		}
	}
}

func (l *Load) tag(text []byte) {
	key, value, ok := bytes.Cut(text, []byte("="))
	if !ok {
		return
	}
	t := &l.tags
	switch string(key) {
	case "name":
		if !t.hasName {
			t.hasName, l.Info = true, string(value)
		}
	case "vermagic":
		if !t.hasVermagic {
			t.hasVermagic, t.vermagic = true, string(value)
		}
	case "license":
		if !t.hasLicense {
			t.hasLicense, t.license = true, string(value)
		}
	case "depends":
		t.depends = string(value)
	case "intree":
		t.intree = true
	case "retpoline":
		t.retpoline = true
	case "staging":
		t.staging = true
	case "test":
		t.test = true
	case "livepatch":
		t.live = true
	case "import_ns":
		t.importNS = append(t.importNS, string(value))
	}
}

// Vermagic is the module's vermagic tag, "" where it has none.
func (l *Load) Vermagic() string { return l.tags.vermagic }

// License is what the kernel takes for the licence: without a tag "unspecified".
func (l *Load) License() string {
	if !l.tags.hasLicense {
		return "unspecified"
	}
	return l.tags.license
}

// Name is section i's name, "" where the kernel would fault on it.
func (l *Load) Name(i int) string {
	n, _ := l.nameOf(i)
	return n
}

// NameOf is section i's name.
func (l *Load) NameOf(i int) (string, error) { return l.nameOf(i) }

// Print adds lines to the kernel's log.
func (l *Load) Print(lines ...string) { l.printk(lines...) }

// Append adds lines that are written as the log gives them.
func (l *Load) Append(lines ...string) {
	for _, s := range lines {
		l.Log = append(l.Log, Line{Text: s})
	}
}

// Fail adds the finding that ends the load.
func (l *Load) Fail(code diag.Code, args ...any) diag.Errno { return l.fail(code, args...) }

// Reread makes the kernel's copy of the file what is read from now on: the loader has changed its headers.
func (l *Load) Reread(b []byte) { l.src, l.reread = elf.Mem(b), true }

// Source is the file that the kernel reads: decompressed, if it was handed over compressed and the kernel does that.
func (l *Load) Source() elf.Source { return l.src }
