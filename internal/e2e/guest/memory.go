//go:build linux

package main

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/binary"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"kotool/internal/e2e"
)

// memory is /proc/kcore: the kernel's memory as a core file. debug/elf refuses it where parts of it have no offset that a file can have.
type memory struct {
	f     *os.File
	parts []part
}

type part struct {
	addr, size uint64
	off        int64
}

func openMemory() (*memory, error) {
	f, err := os.Open("/proc/kcore")
	if err != nil {
		return nil, err
	}
	m := &memory{f: f}
	var head [64]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return nil, err
	}
	o := binary.NativeEndian
	phoff, n, size := int64(o.Uint64(head[32:])), int(o.Uint16(head[56:])), int64(56)
	if head[elf.EI_CLASS] == byte(elf.ELFCLASS32) {
		phoff, n, size = int64(o.Uint32(head[28:])), int(o.Uint16(head[44:])), 32
	}
	for i := range int64(n) {
		var ph [56]byte
		if _, err := f.ReadAt(ph[:size], phoff+i*size); err != nil {
			return nil, err
		}
		p := part{off: int64(o.Uint64(ph[8:])), addr: o.Uint64(ph[16:]), size: o.Uint64(ph[40:])}
		if size == 32 {
			p = part{off: int64(o.Uint32(ph[4:])), addr: uint64(o.Uint32(ph[8:])), size: uint64(o.Uint32(ph[20:]))}
		}
		if elf.ProgType(o.Uint32(ph[:])) == elf.PT_LOAD && p.off >= 0 {
			m.parts = append(m.parts, p)
		}
	}
	return m, nil
}

// read returns n bytes at a virtual address.
func (m *memory) read(addr, n uint64) ([]byte, error) {
	for _, p := range m.parts {
		if addr >= p.addr && addr-p.addr < p.size && n <= p.size-(addr-p.addr) {
			b := make([]byte, n)
			_, err := m.f.ReadAt(b, p.off+int64(addr-p.addr))
			return b, err
		}
	}
	return nil, unix.EFAULT
}

// sections reads the sections of a module, in the order of their names. Those of its init are freed, and so are the full symbols, which sizes
// does not have.
func (m *memory) sections(addrs, sizes map[string]uint64) (list []e2e.Section, image []byte) {
	for _, name := range slices.Sorted(maps.Keys(addrs)) {
		s := e2e.Section{Name: name, Addr: addrs[name], Size: sizes[name], Off: -1}
		if s.Size > 0 && !strings.HasPrefix(name, ".init") {
			if b, err := m.read(s.Addr, s.Size); err == nil {
				s.Off = int64(len(image))
				image = append(image, b...)
			}
		}
		list = append(list, s)
	}
	return list, image
}

// symbol splits a line of /proc/kallsyms: "ffffffff81000000 T _text\n", with "\t[module]" behind it in one of a module.
func symbol(line []byte) (addr uint64, name []byte, ok bool) {
	digits, rest, ok := bytes.Cut(line, []byte(" "))
	if !ok || len(rest) < 2 {
		return 0, nil, false
	}
	name = bytes.TrimSuffix(rest[2:], []byte("\n"))
	if bytes.IndexByte(name, '\t') >= 0 {
		return 0, nil, false
	}
	addr, err := strconv.ParseUint(string(digits), 16, 64)
	return addr, name, err == nil
}

// symbols are the addresses of kernel symbols. Reading stops at the last that is wanted: it is slow.
func symbols(want []string) map[string]uint64 {
	m := map[string]uint64{}
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return m
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for len(m) < len(want) && lines.Scan() {
		addr, name, ok := symbol(lines.Bytes())
		if ok && slices.Contains(want, string(name)) {
			m[string(name)] = addr
		}
	}
	return m
}
