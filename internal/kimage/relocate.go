package kimage

import (
	"debug/elf"
	"slices"

	"kotool/internal/arch"
	"kotool/internal/bin"
)

// relocTypes are the machine's relocation types in linked kernels: for the base plus the addend, and for a symbol plus the addend.
type relocTypes struct {
	relative uint32
	symbolic [2]uint32
}

// relocTypesOf is false for machines whose kernels are linked without relocations of 24 bytes.
func relocTypesOf(a *arch.Arch) (relocTypes, bool) {
	if a.WordSize() != 8 {
		return relocTypes{}, false
	}
	switch a.Machine {
	case elf.EM_X86_64:
		return relocTypes{uint32(elf.R_X86_64_RELATIVE), [2]uint32{uint32(elf.R_X86_64_64), uint32(elf.R_X86_64_GLOB_DAT)}}, true
	case elf.EM_AARCH64:
		return relocTypes{uint32(elf.R_AARCH64_RELATIVE), [2]uint32{uint32(elf.R_AARCH64_ABS64), uint32(elf.R_AARCH64_GLOB_DAT)}}, true
	case elf.EM_RISCV:
		return relocTypes{uint32(elf.R_RISCV_RELATIVE), [2]uint32{uint32(elf.R_RISCV_64)}}, true
	case elf.EM_PPC64:
		return relocTypes{uint32(elf.R_PPC64_RELATIVE), [2]uint32{uint32(elf.R_PPC64_ADDR64), uint32(elf.R_PPC64_GLOB_DAT)}}, true
	case elf.EM_S390:
		return relocTypes{uint32(elf.R_390_RELATIVE), [2]uint32{uint32(elf.R_390_64), uint32(elf.R_390_GLOB_DAT)}}, true
	case elf.EM_LOONGARCH:
		return relocTypes{uint32(elf.R_LARCH_RELATIVE), [2]uint32{uint32(elf.R_LARCH_64)}}, true
	}
	return relocTypes{}, false
}

const (
	relaSize = 24 // of an Elf64_Rela, in bytes
	symSize  = 24 // of an Elf64_Sym
)

// relocs are the relocations of a linked kernel.
type relocs struct {
	rela  bin.View
	syms  bin.View // .dynsym; empty: none
	types relocTypes
}

// target is what a relocation writes.
func (r *relocs) target(rec bin.View) (uint64, bool) {
	info := rec.U64(8)
	typ, sym := uint32(info), info>>32
	if typ == r.types.relative && typ != 0 {
		return rec.U64(16), true
	}
	if typ == 0 || !slices.Contains(r.types.symbolic[:], typ) {
		return 0, false
	}
	s, err := r.syms.Slice(sym*symSize, symSize)
	if err != nil || sym == 0 || s.U16(6) == uint16(elf.SHN_UNDEF) {
		return 0, false
	}
	return s.U64(8) + rec.U64(16), true
}

// at is what the relocation of a place writes there.
func (r *relocs) at(addr uint64) (uint64, bool) {
	for rec := range r.rela.All(relaSize) {
		if rec.U64(0) == addr {
			return r.target(rec)
		}
	}
	return 0, false
}

// relocate writes all of them, in a copy of the memory. It reports whether there were any.
func (m *memory) relocate(r *relocs) bool {
	for i := range m.segs {
		m.segs[i].data = slices.Clone(m.segs[i].data)
	}
	n := 0
	for rec := range r.rela.All(relaSize) {
		v, ok := r.target(rec)
		if !ok {
			continue
		}
		if s := m.find(rec.U64(0)); s != nil {
			if at := rec.U64(0) - s.addr; 8 <= uint64(len(s.data))-at {
				m.order().PutUint64(s.data[at:], v)
				n++
			}
		}
	}
	return n > 0
}

// findRelocs looks for the relocations in memory without section headers: a long row of RELATIVE ones. nil: there is none.
func (m *memory) findRelocs(b []byte, a *arch.Arch) *relocs {
	const some, step = 64, 4 * relaSize // entries a table has at least; bytes between the places looked at
	types, ok := relocTypesOf(a)
	if !ok || m.word != 8 {
		return nil
	}
	is := func(at int) bool { return m.long(b, at+8) == uint64(types.relative) }
	for at := 0; at+3*relaSize <= len(b); at += step {
		for _, p := range [...]int{at, at + 8, at + 16} {
			if p+2*relaSize > len(b) || !is(p) || !is(p+relaSize) {
				continue
			}
			start, end := p, p+2*relaSize
			for start >= relaSize && is(start-relaSize) {
				start -= relaSize
			}
			for end+relaSize <= len(b) && is(end) {
				end += relaSize
			}
			if (end-start)/relaSize >= some {
				return m.withSymbols(b, start, end, types)
			}
			break
		}
	}
	return nil
}

// withSymbols takes the relocations with symbols, which follow the others, and the symbols, which stand before them on s390.
//
// Source: arch/s390/kernel/vmlinux.lds.S: .dynsym, .rela.dyn (6.1).
func (m *memory) withSymbols(b []byte, start, end int, types relocTypes) *relocs {
	most := uint64(0)
	for end+relaSize <= len(b) {
		info := m.long(b, end+8)
		typ := uint32(info)
		if typ == 0 || typ != types.relative && !slices.Contains(types.symbolic[:], typ) || info>>32 >= uint64(start/symSize) {
			break
		}
		most = max(most, info>>32)
		end += relaSize
	}
	r := &relocs{rela: bin.New(b[start:end], uint64(start), m.big), types: types}
	if most == 0 {
		return r
	}
	// The first symbol is all zero.
	var null [symSize]byte
	for at := start - symSize; at >= 0; at -= symSize {
		if [symSize]byte(b[at:at+symSize]) == null {
			if n := uint64(start-at) / symSize; n > most {
				r.syms = bin.New(b[at:start], uint64(at), m.big)
			}
			break
		}
	}
	return r
}
