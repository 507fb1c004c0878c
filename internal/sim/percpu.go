package sim

import (
	"cmp"
	"fmt"
	"slices"

	"kotool/internal/diag"
)

// percpuUnit is the step of the per-CPU allocator, bytes. Source: include/linux/percpu.h: PCPU_MIN_ALLOC_SIZE.
const percpuUnit = 4

// reserve is the part of the first per-CPU chunk that is kept for modules.
type reserve struct {
	start, end uint64 // pointers as modules have them
	exact      bool   // where it begins is known
	used       []span // by address
}

// percpuReserve is the kernel's reserve. It begins where the kernel's own per-CPU data end.
//
// Source: mm/percpu.c: pcpu_setup_first_chunk.
func (k *Kernel) percpuReserve(size uint64) *reserve {
	if k.percpu != nil {
		return k.percpu
	}
	r := &reserve{start: usualOf(k.T.Arch).percpu}
	if k.Addr != nil {
		from, ok := k.Addr("__per_cpu_start")
		to, ok2 := k.Addr("__per_cpu_end")
		if ok && ok2 && to > from {
			r.start, r.exact = from+alignUp(to-from, percpuUnit), true
		}
	}
	r.end = r.start + size
	k.percpu = r
	return r
}

func alignUp(v, align uint64) uint64 { return (v + align - 1) &^ (align - 1) }

// alloc is the first place that is large enough; size and align as the section has them.
//
// Source: mm/percpu.c: pcpu_alloc, pcpu_find_block_fit, pcpu_alloc_area.
func (r *reserve) alloc(size, align uint64) (uint64, bool) {
	size, align = alignUp(size, percpuUnit), max(align, percpuUnit)
	at, i := alignUp(r.start, align), 0
	for ; i < len(r.used) && r.used[i].base < at+size; i++ {
		at = alignUp(r.used[i].end, align)
	}
	if at > r.end || size > r.end-at {
		return 0, false
	}
	r.used = slices.Insert(r.used, i, span{at, at + size})
	return at, true
}

func (r *reserve) free(base uint64) {
	if r == nil {
		return
	}
	if i, ok := slices.BinarySearchFunc(r.used, base, func(s span, at uint64) int { return cmp.Compare(s.base, at) }); ok {
		r.used = slices.Delete(r.used, i, i+1)
	}
}

// taken are the bytes that modules have.
func (r *reserve) taken() (n uint64) {
	if r == nil {
		return 0
	}
	for _, s := range r.used {
		n += s.end - s.base
	}
	return n
}

// Percpu is a module's per-CPU section.
type Percpu struct {
	Base    uint64
	Size    uint64 // bytes
	Reserve uint64 // what the kernel keeps for all modules; 0: nothing, they share with everybody
	Taken   uint64 // of it, by this and all other modules; 0: it was not counted
	Exact   bool   // where the reserve begins is known
}

// allocPercpu is percpu_modalloc as far as other modules decide: what they have is not there any more. The judgement has said whether the
// section fits at all.
//
// Source: kernel/module/main.c: percpu_modalloc, percpu_modfree; mm/percpu.c: __alloc_reserved_percpu.
func (s *state) allocPercpu() (diag.Errno, error) {
	c := s.Load
	size, align := c.Percpu()
	if size == 0 {
		return 0, nil
	}
	p := &Percpu{Base: s.percpuBase(), Size: size, Reserve: c.PercpuReserve()}
	s.note("%d bytes", size)
	if f := s.req.Fixed; p.Reserve == 0 || s.k.PercpuApart || f != nil && f.Percpu != 0 {
		s.res.Percpu = p
		return 0, nil
	}
	r := s.k.percpuReserve(p.Reserve)
	before := r.taken()
	at, ok := r.alloc(size, align)
	if ok {
		s.res.Percpu = p
		p.Base, p.Taken, p.Exact, s.percpuAt = at, r.taken(), r.exact, at
		s.did += fmt.Sprintf(", %d of the reserve's %d are taken", p.Taken, p.Reserve)
		return 0, nil
	}
	errno := c.FailPercpu(size, align)
	f := &c.Findings[len(c.Findings)-1]
	f.Message = fmt.Sprintf("the module wants %d bytes of per-CPU memory, and the modules that are loaded have %d of the %d that all share", size, before, p.Reserve)
	f.Hint = "unload a module that has such data, or allocate it with alloc_percpu() at run time"
	if !r.exact && before+alignUp(size, percpuUnit) <= p.Reserve {
		// There are enough bytes, in pieces whose alignment hangs on where the reserve begins.
		f.Assumes = []string{fmt.Sprintf("the reserve begins at %#x (the kernel's __per_cpu_end tells)", r.start)}
	}
	return errno, nil
}
