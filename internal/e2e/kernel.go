package e2e

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/mikelolasagasti/xz"
)

// Kernel is an unpacked kernel package.
type Kernel struct {
	Dir     string // as it was named
	Machine *Machine
	Release string
	Image   string // what is booted
	DTB     string // with this device tree, where one is needed
	paths   map[string]string
}

// OpenKernel looks at a directory that has lib/modules/RELEASE, perhaps below usr, and boot/vmlinuz-RELEASE (or vmlinux), or vmlinuz beside the
// modules.
func OpenKernel(dir string) (*Kernel, error) {
	var trees []string
	for _, p := range []string{"lib/modules/*", "usr/lib/modules/*"} {
		found, err := filepath.Glob(filepath.Join(dir, p))
		if err != nil {
			return nil, err
		}
		for _, f := range found {
			if _, err := os.Stat(filepath.Join(f, "kernel")); err == nil {
				trees = append(trees, f)
			}
		}
	}
	if len(trees) != 1 {
		return nil, fmt.Errorf("%s: want one lib/modules/RELEASE, got %d", dir, len(trees))
	}
	k := &Kernel{Dir: dir, Release: filepath.Base(trees[0]), paths: map[string]string{}}
	err := filepath.WalkDir(trees[0], func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.Contains(d.Name(), ".ko") {
			k.paths[moduleName(d.Name())] = path
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, p := range k.paths {
		b, err := readModule(p)
		if err != nil {
			return nil, err
		}
		if k.Machine, err = machineOf(b); err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		break
	}
	if k.Machine == nil {
		return nil, fmt.Errorf("%s has no modules", trees[0])
	}
	images, err := filepath.Glob(filepath.Join(dir, "boot", k.Machine.Image))
	if err != nil {
		return nil, err
	}
	images = slices.DeleteFunc(images, func(p string) bool { return !strings.HasSuffix(p, k.Release) })
	if p := filepath.Join(trees[0], "vmlinuz"); len(images) == 0 {
		if _, err := os.Stat(p); err == nil {
			images = append(images, p)
		}
	}
	if len(images) != 1 {
		return nil, fmt.Errorf("%s: want one boot/%s of %s, or vmlinuz beside its modules, got %d", dir, k.Machine.Image, k.Release, len(images))
	}
	k.Image = images[0]
	if k.Machine.DTB == "" {
		return k, nil
	}
	trees, err = filepath.Glob(filepath.Join(dir, k.Machine.DTB))
	if err != nil {
		return nil, err
	}
	if len(trees) != 1 {
		return nil, fmt.Errorf("%s: want one %s, got %d", dir, k.Machine.DTB, len(trees))
	}
	k.DTB = trees[0]
	return k, nil
}

// Evidence are kotool's flags that say what the kernel is: its tree, and its headers and configuration where they are there.
func (k *Kernel) Evidence() []string {
	var flags []string
	for _, p := range []string{"lib/modules/" + k.Release, "usr/lib/modules/" + k.Release} {
		if _, err := os.Stat(filepath.Join(k.Dir, p)); err == nil {
			flags = append(flags, "--against", "tree:"+filepath.Join(k.Dir, p))
		}
	}
	for _, f := range []struct{ flag, path string }{
		{"--symvers", "usr/src/linux-headers-" + k.Release + "/Module.symvers"}, {"--config", "boot/config-" + k.Release}, {"--config", "usr/lib/modules/" + k.Release + "/config"},
	} {
		if p := filepath.Join(k.Dir, f.path); !slices.Contains(flags, f.flag) {
			if _, err := os.Stat(p); err == nil {
				flags = append(flags, f.flag, p)
			}
		}
	}
	return flags
}

// moduleName is what the kernel calls the module in a file.
func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// Module is a module file, decompressed.
type Module struct {
	Name   string
	Path   string // relative to the kernel's directory, or as it was named
	File   []byte
	Params string
}

// Modules reads modules by name, each after those that it depends on by its .modinfo. Names that the kernel does not have are an error.
func (k *Kernel) Modules(names ...string) ([]Module, error) {
	var list []Module
	state := map[string]bool{}
	var visit func(name string) error
	visit = func(name string) error {
		name = strings.ReplaceAll(name, "-", "_")
		if state[name] {
			return nil
		}
		state[name] = true
		path, ok := k.paths[name]
		if !ok {
			return fmt.Errorf("module %s: %w", name, fs.ErrNotExist)
		}
		b, err := readModule(path)
		if err != nil {
			return err
		}
		for _, d := range dependencies(b) {
			if err := visit(d); err != nil {
				return fmt.Errorf("%s needs %w", name, err)
			}
		}
		if rel, err := filepath.Rel(k.Dir, path); err == nil {
			path = filepath.ToSlash(rel)
		}
		list = append(list, Module{Name: name, Path: strings.TrimSuffix(path, filepath.Ext(strings.TrimSuffix(path, ".ko"))), File: b})
		return nil
	}
	for _, n := range names {
		if err := visit(n); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Has reports whether the kernel has a module of this name.
func (k *Kernel) Has(name string) bool { return k.paths[name] != "" }

// dependencies are the names in the module's depends=.
func dependencies(file []byte) []string {
	value, ok := modinfo(file, "depends")
	if !ok || value == "" {
		return nil
	}
	return strings.Split(value, ",")
}

// modinfo is the first value of a key in .modinfo.
func modinfo(file []byte, key string) (string, bool) {
	f, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		return "", false
	}
	s := f.Section(".modinfo")
	if s == nil {
		return "", false
	}
	b, err := s.Data()
	if err != nil {
		return "", false
	}
	for entry := range bytes.SplitSeq(b, []byte{0}) {
		if v, ok := bytes.CutPrefix(entry, []byte(key+"=")); ok {
			return string(v), true
		}
	}
	return "", false
}

// undefined are the names of the symbols that a module takes from elsewhere.
func undefined(file []byte) []string {
	f, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		return nil
	}
	syms, err := f.Symbols()
	if err != nil {
		return nil
	}
	var list []string
	for _, s := range syms {
		if s.Section == elf.SHN_UNDEF && s.Name != "" {
			list = append(list, s.Name)
		}
	}
	return list
}

// defined are the names of a module's own global symbols.
func defined(file []byte) []string {
	x, err := parseObject(file)
	if err != nil {
		return nil
	}
	var list []string
	for _, s := range x.syms {
		if s.shndx != uint16(elf.SHN_UNDEF) && elf.ST_BIND(s.info) != elf.STB_LOCAL {
			list = append(list, s.name)
		}
	}
	return list
}

// loadedSizes are the sizes of the sections that are loaded, by name.
func loadedSizes(file []byte) map[string]uint64 {
	f, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		return nil
	}
	m := map[string]uint64{}
	for _, s := range f.Sections {
		if s.Flags&elf.SHF_ALLOC != 0 {
			m[s.Name] = s.Size
		}
	}
	return m
}

// unzboot unpacks an EFI program that unpacks a kernel, packed by zstd, which not every QEMU can. It is nil for all else.
//
// Layout: "MZ", at 4 "zimg", at 8 offset and size of what is packed, at 24 "zstd".
func unzboot(b []byte) ([]byte, error) {
	if len(b) < 64 || !bytes.HasPrefix(b, []byte("MZ")) || string(b[4:8]) != "zimg" || string(b[24:28]) != "zstd" {
		return nil, nil
	}
	o := binary.LittleEndian
	off, size := uint64(o.Uint32(b[8:])), uint64(o.Uint32(b[12:]))
	if off > uint64(len(b)) || size > uint64(len(b))-off {
		return nil, errors.New("the packed kernel is cut off")
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxModule))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	out, err := z.DecodeAll(b[off:][:size], nil)
	if err != nil {
		return nil, fmt.Errorf("the packed kernel: %w", err)
	}
	return out, nil
}

const maxModule = 256 << 20

// readModule reads a file, decompressed when it is compressed.
func readModule(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r io.Reader
	switch {
	case bytes.HasPrefix(b, []byte("\xfd7zXZ\x00")):
		r, err = xz.NewReader(bytes.NewReader(b), 0)
	case bytes.HasPrefix(b, []byte("\x1f\x8b")):
		r, err = gzip.NewReader(bytes.NewReader(b))
	case bytes.HasPrefix(b, []byte("\x28\xb5\x2f\xfd")):
		var z *zstd.Decoder
		if z, err = zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1)); err == nil {
			defer z.Close()
			r = z
		}
	default:
		return b, nil
	}
	if err == nil {
		b, err = io.ReadAll(io.LimitReader(r, maxModule+1))
	}
	if err == nil && len(b) > maxModule {
		err = errors.New("too large")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}
