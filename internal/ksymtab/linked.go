package ksymtab

import (
	"errors"
	"fmt"

	"kotool/internal/bin"
	kelf "kotool/internal/elf"
)

// Memory is what stands at an address of a linked image and after it, as far as that is one piece. It is empty
// where nothing is known.
type Memory func(addr uint64) bin.View

// LinkedTable is one table of a linked image: what is between __start___ksymtab and __stop___ksymtab, and its companions.
type LinkedTable struct {
	Name    string   // of the section: "__ksymtab", "__ksymtab_gpl", …
	Data    bin.View // the entries
	Addr    uint64   // of the first
	CRCs    bin.View // __kcrctab*; empty: none
	CRCAddr uint64   // of the first
	Flags   bin.View // __kflagstab; empty: none
}

// ReadLinked decodes the exports of a linked image, such as vmlinux, whose fields have been relocated. word is the size
// of an unsigned long, 4 or 8 bytes; prel32 says that the machine may have place-relative entries (arch.Arch.PREL32).
// The error joins what is damaged; the exports that can be read are returned all the same.
//
// Source: include/linux/module_symbol.h and kernel/module/internal.h: kernel_symbol_value, kernel_symbol_name,
// kernel_symbol_namespace.
func ReadLinked(list []LinkedTable, word int, prel32 bool, mem Memory) (Table, error) {
	var t Table
	var errs []error
	for _, lt := range list {
		r := reader{table: &t, data: lt.Data}
		ok := false
		for i := range tables {
			if tables[i].name == lt.Name {
				r.license, ok = tables[i].license, true
			}
		}
		if !ok {
			errs = append(errs, fmt.Errorf("%q is no table of exports", lt.Name))
			continue
		}
		l := &linked{data: lt.Data, addr: lt.Addr, word: uint64(word), mem: mem}
		r.fields, r.form = l, l.form(prel32)
		if r.data.Len() > 0 && lt.CRCs.Len() > 0 {
			t.HasCRCs = true
			r.crc = linkedCRCs(&lt, r.count(), l.word, mem)
			if _, ok := r.crc(r.count() - 1); !ok && r.count() > 0 {
				r.note("the CRCs have %d bytes for %d symbols", lt.CRCs.Len(), r.count())
			}
		}
		if r.license == Any && lt.Flags.Len() > 0 {
			r.useFlags(lt.Flags)
		}
		r.read()
		if r.bad != nil {
			errs = append(errs, fmt.Errorf("%s: %w", lt.Name, r.bad))
		}
	}
	return t, errors.Join(errs...)
}

// linked reads the entries of a linked image.
type linked struct {
	data bin.View
	addr uint64
	word uint64
	mem  Memory
}

// pointer is the address in the field at off; ok is false for the null pointer and past the table.
func (l *linked) pointer(off uint64, form Form) (addr uint64, ok bool) {
	width := l.word
	if form.Prel {
		width = 4
	}
	field, err := l.data.Slice(off, width)
	if err != nil {
		return 0, false
	}
	if !form.Prel {
		addr = field.Word(0, int(width))
		return addr, addr != 0
	}
	delta := int64(int32(field.U32(0)))
	addr = l.addr + off + uint64(delta)
	if l.word == 4 {
		addr = uint64(uint32(addr))
	}
	return addr, delta != 0
}

func (l *linked) place(off uint64, form Form) (kelf.Place, bool) {
	addr, ok := l.pointer(off, form)
	return kelf.Place{Off: addr, Abs: ok}, ok
}

func (l *linked) str(off uint64, form Form) ([]byte, bool) {
	addr, ok := l.pointer(off, form)
	if !ok {
		return nil, false
	}
	s, err := l.mem(addr).Clip(0, maxString).CString(0)
	return s, err == nil
}

func (*linked) alias(uint64) []byte { return nil }

// form finds the layout: that in which the names look like names.
func (l *linked) form(prel32 bool) Form {
	list := forms(l.word, prel32)
	for _, f := range list {
		if l.fits(f) {
			f.Source = "strings"
			return f
		}
	}
	for _, f := range list {
		if l.data.Len()%f.Size == 0 {
			f.Source = "machine"
			return f
		}
	}
	list[0].Source = "machine"
	return list[0]
}

func (l *linked) fits(f Form) bool {
	n := l.data.Len() / f.Size
	take := min(n, 4*samples)
	for i := range take {
		if s, ok := l.str(i*n/take*f.Size+f.Name, f); !ok || !isName(s) {
			return false
		}
	}
	return n > 0
}

// isName reports whether s could be the name of a symbol.
func isName(s []byte) bool {
	for i, c := range s {
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == '.' || c == '$':
		case c >= '0' && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return len(s) > 0
}

// linkedCRCs gives the CRC of entry i: as it stands, or, with MODULE_REL_CRCS, where the offset from the entry leads. A
// table is of that kind if all offsets lead into the image: those of CRCs would be all over 4 GiB.
//
// Source: include/linux/module.h and kernel/module.c: resolve_rel_crc (4.10 to 5.18).
func linkedCRCs(lt *LinkedTable, n int, word uint64, mem Memory) func(i int) (uint32, bool) {
	const few = 8 // too few offsets to tell
	size := uint64(4)
	if word == 8 && n > 0 && lt.CRCs.Len() == uint64(n)*8 {
		size = 8
	}
	target := func(i int) (bin.View, bool) {
		field, err := lt.CRCs.Slice(uint64(i)*size, size)
		if err != nil || size == 8 {
			return bin.View{}, false
		}
		addr := lt.CRCAddr + uint64(i)*size + uint64(int64(int32(field.U32(0))))
		if word == 4 {
			addr = uint64(uint32(addr))
		}
		v, err := mem(addr).Slice(0, 4)
		return v, err == nil
	}
	relative := n >= few
	for i := uint64(0); i < 4*samples && relative; i++ {
		_, relative = target(int(i * uint64(n) / (4 * samples)))
	}
	return func(i int) (uint32, bool) {
		if relative {
			v, ok := target(i)
			if !ok {
				return 0, false
			}
			return v.U32(0), true
		}
		field, err := lt.CRCs.Slice(uint64(i)*size, size)
		if i < 0 || err != nil {
			return 0, false
		}
		return uint32(field.Word(0, int(size))), true
	}
}
