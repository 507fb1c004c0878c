package sim

import (
	"cmp"
	"strconv"
	"strings"

	"kotool/internal/compat"
	"kotool/internal/reloc"
)

// armKernels are what the processor in a vermagic says of a kernel whose configuration is not known, where it is not as DefaultTraits has it
// for ARMv7. Read in Debian's configurations of marvell (ARMv5) and rpi (ARMv6).
var armKernels = []struct {
	word   string
	l1     uint32 // L1_CACHE_BYTES
	ftrace bool   // CONFIG_DYNAMIC_FTRACE
}{
	{" ARMv5 ", 32, false},
	{" ARMv6 ", 32, true},
}

// arm sets what hangs on the configuration.
func (s *state) arm(t *reloc.ARMTraits) {
	fixed := t.Fixed
	vermagic := cmp.Or(s.k.T.Vermagic, s.Load.Vermagic())
	for i := range armKernels {
		if k := &armKernels[i]; strings.Contains(vermagic, k.word) {
			t.L1Bytes, t.Fixed = k.l1, fixed && k.ftrace
		}
	}
	c := s.k.T
	if a := c.Is("DYNAMIC_FTRACE"); a != compat.Unknown {
		t.Fixed = fixed && a == compat.Yes
	}
	if a := c.Is("ARM_MODULE_PLTS"); a != compat.Unknown {
		t.PLT = a == compat.Yes
	}
	if c.Config == nil {
		return
	}
	if v, known := c.Config("ARM_L1_CACHE_SHIFT"); known {
		if n, err := strconv.Atoi(v); err == nil && n >= 4 && n <= 8 {
			t.L1Bytes = 1 << n
		}
	}
}
