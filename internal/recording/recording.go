// Package recording reads what a real kernel did with modules: load order, files, parameters, errno and log, section addresses and the
// bytes in memory, as internal/e2e writes it down.
package recording

import (
	"bytes"
	"compress/gzip"
	stdelf "debug/elf"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"kotool/internal/elf"
	"kotool/internal/symvers"
)

// Section is a section of a module in memory.
type Section struct {
	Name  string `json:"name"`
	Index int    `json:"idx"`
	Type  uint32 `json:"type"`
	Flags uint64 `json:"flags"`
	Addr  uint64 `json:"addr"`
	Size  uint64 `json:"size"`
	Off   int64  `json:"off"` // of its bytes in the state's image; -1: none
}

// Module is one load.
type Module struct {
	Name        string    `json:"name"`
	File        string    `json:"file"`
	Params      string    `json:"params"`
	Flags       uint32    `json:"load_flags"`
	Syscall     string    `json:"syscall"`
	Errno       int       `json:"errno"`
	Error       string    `json:"error"`
	Dmesg       []string  `json:"dmesg"` // each with its level: "<4>text"
	Taint       string    `json:"taint"`
	ProcModules string    `json:"proc_modules_at_load"`
	ThisModule  uint64    `json:"this_module"`
	PreAddr     uint64    `json:"pre_addr"`
	Reloc       []Section `json:"reloc"` // when relocation was done
	Ready       []Section `json:"ready"` // before the module's init function
	Live        []Section `json:"live"`  // at the end of the recording
}

// Recording is a directory of them.
type Recording struct {
	Dir     string
	Arch    string // Debian's name of the machine
	Release string
	CPU     string
	Cmdline string
	Modules []Module
	kernel  map[string]uint64
}

// Open reads a recording; images are read when they are wanted.
func Open(dir string) (*Recording, error) {
	r := &Recording{Dir: dir, kernel: map[string]uint64{}}
	var meta struct{ Arch, Release, CPU, Cmdline string }
	if err := r.json("meta.json", &meta); err != nil {
		return nil, err
	}
	r.Arch, r.Release, r.CPU, r.Cmdline = meta.Arch, meta.Release, meta.CPU, meta.Cmdline
	if err := r.json("modules.json", &r.Modules); err != nil {
		return nil, err
	}
	b, err := r.unpack("kallsyms")
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return r, nil
		}
		return nil, err
	}
	m, err := symvers.ParseMap(b)
	if err != nil {
		return nil, fmt.Errorf("%s: kallsyms: %w", dir, err)
	}
	global := map[string]bool{}
	for a := range m.All() {
		if name := string(a.Name); len(a.Module) == 0 && !global[name] {
			if _, have := r.kernel[name]; !have || a.Global() {
				r.kernel[name], global[name] = a.Addr, a.Global()
			}
		}
	}
	return r, nil
}

// Kernel is a kernel symbol's address.
func (r *Recording) Kernel(name string) (uint64, bool) {
	a, ok := r.kernel[name]
	return a, ok
}

func (r *Recording) json(name string, v any) error {
	b, err := os.ReadFile(filepath.Join(r.Dir, name))
	if err != nil {
		return fmt.Errorf("no recording: %w", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", filepath.Join(r.Dir, name), err)
	}
	return nil
}

// unpack reads a file, or the same with .gz.
func (r *Recording) unpack(name string) ([]byte, error) {
	path := filepath.Join(r.Dir, name)
	if b, err := os.ReadFile(path); err == nil {
		return b, nil
	}
	f, err := os.Open(path + ".gz")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s.gz: %w", path, err)
	}
	b, err := io.ReadAll(io.LimitReader(z, 1<<30))
	if err != nil {
		return nil, fmt.Errorf("%s.gz: %w", path, err)
	}
	return b, nil
}

// File is the path of the file that was loaded.
func (r *Recording) File(m *Module) (string, error) {
	base := filepath.Base(m.File)
	for _, name := range []string{m.Name + ".ko.xz", base, base + ".xz", m.Name + ".ko", m.Name + ".ko.gz", m.Name + ".ko.zst"} {
		p := filepath.Join(r.Dir, "ko", name)
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s: no file of %s in ko/", r.Dir, m.Name)
}

// Image is a state's bytes: "reloc", "ready", "live"; "pre" is what lies before the first section of code.
func (r *Recording) Image(m *Module, state string) ([]byte, error) {
	return r.unpack(filepath.Join("modules", m.Name+"."+state+".bin"))
}

// State is the earliest state that was recorded, and its name.
func (m *Module) State() ([]Section, string) {
	switch {
	case len(m.Reloc) > 0:
		return m.Reloc, "reloc"
	case len(m.Ready) > 0:
		return m.Ready, "ready"
	}
	return m.Live, "live"
}

// Symtab is a resolved symbol table.
type Symtab struct {
	data []byte
	o    binary.ByteOrder
	size int
}

// Symtab is the module's symbol table as it was resolved; nil where it was not recorded. f is the module's file.
func (r *Recording) Symtab(m *Module, f *elf.File) (*Symtab, error) {
	list, state := m.State()
	for i := range list {
		s := &list[i]
		if s.Type != uint32(stdelf.SHT_SYMTAB) || s.Off < 0 {
			continue
		}
		b, err := r.Image(m, state)
		if err != nil {
			return nil, err
		}
		if uint64(s.Off) > uint64(len(b)) || s.Size > uint64(len(b))-uint64(s.Off) {
			return nil, fmt.Errorf("%s: %s: the symbol table does not lie inside the image", r.Dir, m.Name)
		}
		t := &Symtab{data: bytes.Clone(b[s.Off : uint64(s.Off)+s.Size]), o: binary.LittleEndian, size: 24}
		if f.Big {
			t.o = binary.BigEndian
		}
		if f.Class == stdelf.ELFCLASS32 {
			t.size = 16
		}
		return t, nil
	}
	return nil, nil
}

// Value is a symbol's value.
func (t *Symtab) Value(i int) (uint64, bool) {
	if t == nil || i < 0 || (i+1)*t.size > len(t.data) {
		return 0, false
	}
	if t.size == 16 {
		return uint64(t.o.Uint32(t.data[i*16+4:])), true
	}
	return t.o.Uint64(t.data[i*24+8:]), true
}

// Bases finds what symbols of sections that lie elsewhere count from: the per-CPU section's base and the address of the temporary copy of the
// file, 0 where no symbol tells.
func (t *Symtab) Bases(f *elf.File) (percpu, image uint64) {
	syms, err := f.Symbols()
	if t == nil || err != nil {
		return 0, 0
	}
	for i := 1; i < syms.Len(); i++ {
		s := syms.At(i)
		if s.Undefined() || s.Reserved || int(s.Shndx) >= len(f.Sections) {
			continue
		}
		v, ok := t.Value(i)
		sec := &f.Sections[s.Shndx]
		switch {
		case !ok:
		case sec.Name == ".data..percpu":
			percpu = v - s.Value
		case sec.Flags&stdelf.SHF_ALLOC == 0 && image == 0:
			image = v - s.Value - sec.Off
		}
		if percpu != 0 && image != 0 {
			break
		}
	}
	if f.Class == stdelf.ELFCLASS32 {
		percpu, image = uint64(uint32(percpu)), uint64(uint32(image))
	}
	return percpu, image
}

// recorded takes the places out of a modules.json: of the modules that were loaded, the sections in memory whose names say which they are.
func recorded(text []byte) (Placed, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	line := func() int { return 1 + bytes.Count(text[:d.InputOffset()], []byte{'\n'}) }
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("line %d: %w", line(), err)
	}
	list := Placed{}
	for d.More() {
		var m Module
		if err := d.Decode(&m); err != nil {
			return nil, fmt.Errorf("line %d: %w", line(), err)
		}
		if m.Errno != 0 || m.Name == "" {
			continue
		}
		seen, places := map[string]int{}, map[string]Place{}
		sections, _ := m.State()
		for i := range sections {
			if s := &sections[i]; s.Addr != 0 && s.Size != 0 && (s.Flags&2 != 0 || s.Flags == 0 && s.Type == 0) { // SHF_ALLOC; the live state has no flags
				seen[s.Name]++
				places[s.Name] = Place{s.Addr, line()}
			}
		}
		for name, n := range seen {
			if n > 1 || name == "" || name == ".data..percpu" {
				delete(places, name)
			}
		}
		if len(places) > 0 {
			list[m.Name] = places
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("line %d: %w", line(), err)
	}
	return list, nil
}

// Placed are addresses of sections, by module and section.
type Placed map[string]map[string]Place

// Place is where a section is said to lie.
type Place struct {
	Addr uint64
	Line int // of the file that says so
}

// Places reads lines of a module's name, a section's and its address: NAME SECTION 0xADDR, as in /sys/module/NAME/sections; or the
// modules.json of a recording.
func Places(text []byte) (Placed, error) {
	if bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("[")) {
		return recorded(text)
	}
	list := Placed{}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		w := strings.Fields(line)
		if len(w) == 0 || w[0][0] == '#' {
			continue
		}
		if len(w) != 3 {
			return nil, fmt.Errorf("line %d: want a module, a section and its address", n)
		}
		digits, hex := strings.CutPrefix(w[2], "0x")
		a, err := strconv.ParseUint(digits, 16, 64)
		if !hex || err != nil {
			return nil, fmt.Errorf("line %d: %q is no address, want 0x and hexadecimal digits", n, w[2])
		}
		if a == 0 {
			return nil, fmt.Errorf("line %d: %s %s is at 0: /sys/module/%s/sections is to be read as root", n, w[0], w[1], w[0])
		}
		if list[w[0]] == nil {
			list[w[0]] = map[string]Place{}
		}
		if p, ok := list[w[0]][w[1]]; ok && p.Addr != a {
			return nil, fmt.Errorf("line %d: %s %s is at %#x here, and at %#x in line %d", n, w[0], w[1], a, p.Addr, p.Line)
		} else if !ok {
			list[w[0]][w[1]] = Place{a, n}
		}
	}
	return list, nil
}
