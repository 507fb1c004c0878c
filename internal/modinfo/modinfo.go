// Package modinfo reads the .modinfo section: NUL-separated key=value strings.
package modinfo

import (
	"bytes"
	"fmt"
	"iter"

	"kotool/internal/bin"
)

// Entry is one string of .modinfo. Key and Value are parts of the file.
type Entry struct {
	Key   []byte // before the first '='; nil where there is none
	Value []byte // after it; the whole string where there is none
	Off   uint64 // file offset of the string
}

// Info is a .modinfo section, in file order, duplicates kept. A nil Info is empty.
type Info struct {
	Entries []Entry
}

// maxEntries bounds the strings of a section: real ones have some thousands, and an entry needs many times the
// bytes of the shortest string.
const maxEntries = 1 << 20

// Parse splits a .modinfo section. Empty strings are padding and left out. The error says what is wrong
// with the section (the first such thing); the entries are there all the same.
//
// Source: kernel/module/main.c: next_string, get_next_modinfo.
func Parse(v bin.View) (*Info, error) {
	b := v.Bytes()
	// Strings have 20 to 40 bytes. The bound is for sections that are all NULs.
	info := &Info{Entries: make([]Entry, 0, min(bytes.Count(b, []byte{0})+1, len(b)/16+1, maxEntries))}
	var bad error
	note := func(off uint64, text string) {
		if bad == nil {
			bad = fmt.Errorf(".modinfo: offset %#x: %s", off, text)
		}
	}
	for pos := 0; pos < len(b); {
		end := bytes.IndexByte(b[pos:], 0)
		if end < 0 {
			note(v.Off()+uint64(pos), "the last string has no terminating NUL")
			end = len(b) - pos
		}
		if s := b[pos : pos+end : pos+end]; len(s) > 0 {
			if len(info.Entries) == maxEntries {
				note(v.Off()+uint64(pos), fmt.Sprintf("more than %d strings; the rest is left out", maxEntries))
				break
			}
			e := Entry{Value: s, Off: v.Off() + uint64(pos)}
			if i := bytes.IndexByte(s, '='); i >= 0 {
				e.Key, e.Value = s[:i:i], s[i+1:]
			} else {
				note(e.Off, "a string without '='")
			}
			info.Entries = append(info.Entries, e)
		}
		pos += end + 1
	}
	return info, bad
}

// First is Get without taking the section apart.
func First(v bin.View, key string) (value []byte, ok bool) {
	for b := v.Bytes(); len(b) > 0; {
		s, rest, _ := bytes.Cut(b, []byte{0})
		if len(s) > len(key) && s[len(key)] == '=' && string(s[:len(key)]) == key {
			return s[len(key)+1:], true
		}
		b = rest
	}
	return nil, false
}

// Get returns the first value of a key, as the kernel does. ok is false where there is none.
//
// Source: kernel/module/main.c: get_modinfo.
func (i *Info) Get(key string) (value []byte, ok bool) {
	if i == nil {
		return nil, false
	}
	for n := range i.Entries {
		if e := &i.Entries[n]; e.Key != nil && string(e.Key) == key {
			return e.Value, true
		}
	}
	return nil, false
}

// All yields the values of a key in file order.
func (i *Info) All(key string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if i == nil {
			return
		}
		for n := range i.Entries {
			if e := &i.Entries[n]; e.Key != nil && string(e.Key) == key && !yield(e.Value) {
				return
			}
		}
	}
}
