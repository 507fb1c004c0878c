package compat

import (
	"kotool/internal/elf"
	"kotool/internal/versions"
)

// Scratch is memory that the Loads of one worker use one after the other. The zero Scratch is ready.
type Scratch struct {
	hdr           []elf.Section
	named, loaded []bool
	state         []uint8
	entries       []versions.Entry
	slots         []uint32
	names         []string
	imports       []Import
	text          []byte // of the imports' names

	ELF elf.Memory // for the file that the load looks at
}

// most is how many entries of a kind are kept for the next module.
const most = 1 << 14

// room returns n zero elements, of *p where those are enough.
func room[T any](p *[]T, n int) []T {
	if p == nil || n > most {
		return make([]T, n)
	}
	if cap(*p) < n {
		*p = make([]T, n, n+n/2)
		return *p
	}
	*p = (*p)[:n]
	clear(*p)
	return *p
}

// Borrow lets the load use memory that other loads have used before. What the load found out must not refer to its own tables any more when
// the next one begins.
func (l *Load) Borrow(s *Scratch) { l.scratch = s }

// borrowed is the scratch memory, fresh where there is none.
func (l *Load) borrowed() *Scratch {
	if l.scratch == nil {
		l.scratch = &Scratch{}
	}
	return l.scratch
}
