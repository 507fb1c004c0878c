package cli

import (
	"kotool/internal/compat"
	"kotool/internal/diag"
	"kotool/internal/reloc"
	"kotool/internal/sim"
)

// tee tells several tracers.
type tee []sim.Tracer

func (t tee) Enter(s *compat.Stage) {
	for _, x := range t {
		x.Enter(s)
	}
}

func (t tee) Leave(s *compat.Stage, errno diag.Errno) {
	for _, x := range t {
		x.Leave(s, errno)
	}
}

func (t tee) Placed(i int, name, region string, addr, size uint64) {
	for _, x := range t {
		x.Placed(i, name, region, addr, size)
	}
}

func (t tee) Resolved(symbol, owner string, addr uint64, how string) {
	for _, x := range t {
		x.Resolved(symbol, owner, addr, how)
	}
}

func (t tee) Relocated(a reloc.Applied) {
	for _, x := range t {
		x.Relocated(a)
	}
}

func (t tee) Emitted(s reloc.Slot) {
	for _, x := range t {
		x.Emitted(s)
	}
}
