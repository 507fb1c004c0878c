package reloc

import (
	"bytes"
	"debug/elf"

	"kotool/internal/kver"
)

// Extable is the shape of a machine's __ex_table.
type Extable struct {
	Size     int  // bytes of an entry
	Relative bool // insn and fixup are 32-bit distances from their own fields
	Handler  bool // a third field is such a distance too
	Word     int  // size of insn where not Relative
}

// ExtableOf is the shape of __ex_table for a machine and kernel version; the zero version is the newest.
//
// Source: arch/*/include/asm/extable.h, asm/asm-extable.h.
func ExtableOf(m elf.Machine, class elf.Class, v kver.Version) Extable {
	old := !v.IsZero() && kver.Until(6, 1).Has(v)
	word := 8
	if class == elf.ELFCLASS32 {
		word = 4
	}
	switch m {
	case elf.EM_X86_64, elf.EM_386:
		return Extable{Size: 12, Relative: true, Handler: old}
	case elf.EM_AARCH64:
		if old {
			return Extable{Size: 8, Relative: true}
		}
		return Extable{Size: 12, Relative: true}
	case elf.EM_RISCV:
		if !old {
			return Extable{Size: 12, Relative: true}
		}
	case elf.EM_S390, em390Old:
		if old {
			return Extable{Size: 16, Relative: true} // the third field is 64 bits wide; see SortExtable
		}
		return Extable{Size: 12, Relative: true}
	case elf.EM_LOONGARCH:
		return Extable{Size: 12, Relative: true}
	case elf.EM_PPC64, elf.EM_PPC, elf.EM_PARISC, elf.EM_ALPHA, elf.EM_ALPHA_STD:
		return Extable{Size: 8, Relative: true}
	}
	return Extable{Size: 2 * word, Word: word}
}

// SortExtable sorts the exception table b, which lies at addr, by the address of the instruction, and corrects the relative
// fields of entries that move. A rest shorter than an entry is left alone. pairs: see kernelSort.
//
// Source: lib/extable.c: sort_extable, swap_ex; kernel/module/main.c: post_relocation.
func SortExtable(b []byte, addr uint64, x Extable, big, pairs bool) {
	o := byteOrder{big}
	if x.Size == 0 {
		return
	}
	n := len(b) / x.Size
	insn := func(i int) uint64 {
		e := b[i*x.Size:]
		switch {
		case x.Relative:
			return addr + uint64(i*x.Size) + uint64(int64(int32(o.Uint32(e))))
		case x.Word == 4:
			return uint64(o.Uint32(e))
		}
		return o.Uint64(e)
	}
	h := make([]sortKey, n)
	for i := range h {
		h[i] = sortKey{insn(i), int32(i)}
	}
	kernelSort(h, pairs)
	old := bytes.Clone(b)
	for i := range h {
		from := int(h[i].i)
		e := b[i*x.Size : (i+1)*x.Size]
		copy(e, old[from*x.Size:])
		if !x.Relative || from == i {
			continue
		}
		moved := (from - i) * x.Size
		fields := 2
		if x.Handler {
			fields = 3
		}
		for f := range fields {
			o.PutUint32(e[4*f:], o.Uint32(e[4*f:])+uint32(moved))
		}
		if x.Size == 16 { // s390 up to 5.10: a handler, relative too, unless it is 0
			if v := o.Uint64(e[8:]); v != 0 {
				o.PutUint64(e[8:], v+uint64(moved))
			}
		}
	}
}
