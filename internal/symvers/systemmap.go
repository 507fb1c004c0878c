package symvers

import (
	"bytes"
	"fmt"
	"iter"
	"math"
)

// Address is one line of a System.map or of /proc/kallsyms. The byte slices are parts of the file.
type Address struct {
	Name   []byte
	Addr   uint64
	Type   byte   // nm's letter: upper case is global
	Module []byte // of kallsyms: the text between brackets; empty for the kernel itself
	Line   int    // 1 is the first
}

// Global reports whether the symbol is seen outside its own object. nm writes u for the GNU unique ones.
func (a *Address) Global() bool { return a.Type >= 'A' && a.Type <= 'Z' || a.Type == 'u' }

// Map is a System.map, indexed by name. It is read-only, so that many may use it at once.
type Map struct {
	data  []byte
	lines []mapLine
	names index
	// Zero says that every address is 0, as in /proc/kallsyms for those without privilege.
	Zero bool
}

// mapLine holds offsets in the file rather than slices.
type mapLine struct {
	addr      uint64
	name      uint32
	line      uint32
	module    uint32
	nameLen   uint16
	moduleLen uint16
	tag       uint16 // of the name's hash
	kind      byte
	next      uint32 // line number plus one of the next one in the same bucket
}

// ParseMap reads a System.map, or text from /proc/kallsyms: address, type letter and name, and there the module in
// brackets. The map keeps data. A line that is none of these is a *LineError.
//
// Source: scripts/mksysmap (nm -n); kernel/kallsyms.c: s_show.
func ParseMap(data []byte) (*Map, error) {
	if uint64(len(data)) > math.MaxUint32 {
		return nil, fmt.Errorf("%d bytes are more than a System.map can have", len(data))
	}
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return nil, &LineError{1 + bytes.Count(data[:i], []byte{'\n'}), "a NUL byte: this is not text", hintMap}
	}
	m := &Map{data: data, Zero: true, lines: make([]mapLine, 0, len(data)/48+1)}
	for pos, line := 0, 1; pos < len(data); line++ {
		end := bytes.IndexByte(data[pos:], '\n')
		if end < 0 {
			end = len(data) - pos
		}
		if s := bytes.TrimRight(data[pos:pos+end], " \t\r"); len(s) > 0 {
			if err := m.parseLine(s, pos, line); err != nil {
				return nil, err
			}
		}
		pos += end + 1
	}
	m.names = newIndex(len(m.lines))
	// Global symbols come first in each chain, so they go in last: a static one of the same name is not what a module means.
	for _, global := range []bool{false, true} {
		for i := len(m.lines) - 1; i >= 0; i-- {
			l := &m.lines[i]
			if a := (Address{Type: l.kind}); a.Global() == global {
				var head *uint32
				head, l.tag = m.names.bucket(m.name(l))
				l.next, *head = *head, uint32(i+1)
			}
		}
	}
	return m, nil
}

const hintMap = "give the kernel build's System.map, or a copy of /proc/kallsyms"

func (m *Map) parseLine(s []byte, pos, line int) error {
	bad := func(format string, args ...any) error {
		return &LineError{line, fmt.Sprintf(format, args...), hintMap}
	}
	if bytes.Contains(s, []byte("The real System.map is in")) {
		return &LineError{line, "this is the placeholder of a distribution, not a System.map", "install the package that the line names: " + quote(s)}
	}
	i := bytes.IndexByte(s, ' ')
	if i < 0 || len(s)-i < 4 || s[i+2] != ' ' {
		return bad("want an address, a type letter and a name, got %s", quote(s))
	}
	addr, ok := parseHex(s[:i])
	if !ok {
		return bad("%s is no address", quote(s[:i]))
	}
	from := i + 3
	name, module := s[from:], 0
	l := mapLine{addr: addr, kind: s[i+1], line: uint32(line)}
	if tab := bytes.IndexByte(name, '\t'); tab >= 0 {
		if module = from + tab + 1; s[len(s)-1] != ']' || module >= len(s) || s[module] != '[' {
			return bad("want the module in brackets, got %s", quote(s[module:]))
		}
		module++
		if len(s)-1-module > math.MaxUint16 {
			return bad("a module's name of %d bytes", len(s)-1-module)
		}
		l.module, l.moduleLen = uint32(pos+module), uint16(max(0, len(s)-1-module))
		name = name[:tab]
	}
	if len(name) == 0 || len(name) > math.MaxUint16 {
		return bad("a name of %d bytes", len(name))
	}
	l.name, l.nameLen = uint32(pos+from), uint16(len(name))
	if addr != 0 {
		m.Zero = false
	}
	m.lines = append(m.lines, l)
	return nil
}

func (m *Map) name(l *mapLine) []byte {
	end := l.name + uint32(l.nameLen)
	return m.data[l.name:end:end]
}

// Len is the number of symbols.
func (m *Map) Len() int {
	if m == nil {
		return 0
	}
	return len(m.lines)
}

// At returns symbol i, in file order.
func (m *Map) At(i int) Address {
	l := &m.lines[i]
	end := l.module + uint32(l.moduleLen)
	return Address{Name: m.name(l), Addr: l.addr, Type: l.kind, Module: m.data[l.module:end:end], Line: int(l.line)}
}

// Lookup returns the first global symbol of a name, or else the first local one.
func (m *Map) Lookup(name []byte) (Address, bool) {
	if m == nil || len(m.lines) == 0 {
		return Address{}, false
	}
	head, tag := m.names.bucket(name)
	for at := *head; at != 0; at = m.lines[at-1].next {
		if l := &m.lines[at-1]; l.tag == tag && string(m.name(l)) == string(name) {
			return m.At(int(at - 1)), true
		}
	}
	return Address{}, false
}

// All yields the symbols in file order.
func (m *Map) All() iter.Seq[Address] {
	return func(yield func(Address) bool) {
		for i := range m.Len() {
			if !yield(m.At(i)) {
				return
			}
		}
	}
}
