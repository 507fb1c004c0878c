package sim

import (
	"fmt"
	"strings"

	"kotool/internal/arch"
	"kotool/internal/compat"
	"kotool/internal/elf"
	"kotool/internal/kver"
	"kotool/internal/recording"
	"kotool/internal/reloc"
)

// Replayed is a kernel that repeats a recording: its addresses, its symbols, its release and machine. What nothing else is known of it follows
// the modules' own word.
func Replayed(r *recording.Recording, t *compat.Target) (*Kernel, error) {
	if t.Arch == nil {
		if t.Arch = arch.Named(r.Arch); t.Arch == nil {
			return nil, fmt.Errorf("%s: unknown machine %q", r.Dir, r.Arch)
		}
	}
	if t.Release == "" {
		t.Release = r.Release
	}
	if t.Version.IsZero() {
		v, err := kver.Parse(r.Release)
		if err != nil {
			return nil, err
		}
		t.Version = v
	}
	t.OnlyLoaded = true
	k := NewKernel(t)
	k.Addr, k.PercpuApart = r.Kernel, true
	k.Traits = func(t *reloc.Traits) {
		// The one CPU with the erratum that QEMU has.
		t.ARM64.Erratum843419 = strings.HasPrefix(r.CPU, "cortex-a53")
	}
	return k, nil
}

// Replay makes a call repeat one load of a recording.
func (req *Request) Replay(r *recording.Recording, m *recording.Module, a *arch.Arch) error {
	req.Args, req.Flags, req.Raw = []byte(m.Params), m.Flags, m.Syscall == "init"
	fixed := &Fixed{Sections: map[int]uint64{}, Names: map[string]uint64{}}
	list, state := m.State()
	for i := range list {
		s := &list[i]
		switch {
		case state == "live":
			fixed.Names[s.Name] = s.Addr
		case s.Flags&2 != 0: // SHF_ALLOC
			fixed.Sections[s.Index] = s.Addr
		}
	}
	req.Fixed = fixed
	f, err := elf.ParseAs(req.Source, a.Class, a.BigEndian)
	if err != nil {
		return nil //nolint:nilerr // no module: the load says so
	}
	tab, err := r.Symtab(m, f)
	if err != nil {
		return err
	}
	fixed.Percpu, fixed.Image = tab.Bases(f)
	if tab != nil {
		// What the kernel did not find is 0: weak symbols.
		fixed.Missing = map[string]bool{}
		if syms, serr := f.Symbols(); serr == nil {
			for i := 1; i < syms.Len(); i++ {
				if y := syms.At(i); y.Undefined() {
					if v, ok := tab.Value(i); ok && v == 0 {
						fixed.Missing[string(syms.Name(y))] = true
					}
				}
			}
		}
		fixed.Symbol = func(i uint32, _ string) (uint64, bool) {
			v, ok := tab.Value(int(i))
			return v, ok && v != 0
		}
	}
	return nil
}

// Grants says whether a recording's kernel has a symbol: by its symbols, or since the module that asks found it.
func Grants(r *recording.Recording, fixed *Fixed) func(name []byte) bool {
	return func(name []byte) bool {
		if fixed != nil && fixed.Missing[string(name)] {
			return false
		}
		if _, ok := r.Kernel(string(name)); ok {
			return true
		}
		return fixed != nil && fixed.Symbol != nil
	}
}
