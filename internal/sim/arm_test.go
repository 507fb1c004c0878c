package sim

import (
	"testing"

	"kotool/internal/arch"
	"kotool/internal/compat"
	"kotool/internal/reloc"
)

func TestARMTraitsAreTheConfigurations(t *testing.T) {
	t.Parallel()
	usual := reloc.ARMTraits{PLT: true, L1Bytes: 64, Fixed: true}
	for _, c := range []struct {
		name, vermagic string
		config         map[string]string
		before, want   reloc.ARMTraits
	}{
		{"nothing is known", "", nil, usual, usual},
		{"ARMv7", "6.1.0-50-armmp SMP mod_unload modversions ARMv7 p2v8 ", nil, usual, usual},
		{"ARMv6", "6.1.0-50-rpi mod_unload modversions ARMv6 p2v8 ", nil, usual, reloc.ARMTraits{PLT: true, L1Bytes: 32, Fixed: true}},
		{"ARMv5", "6.1.0-50-marvell mod_unload modversions ARMv5 p2v8 ", nil, usual, reloc.ARMTraits{PLT: true, L1Bytes: 32}},
		{"a configuration", " ARMv7 ", map[string]string{"ARM_L1_CACHE_SHIFT": "5", "ARM_MODULE_PLTS": "n", "DYNAMIC_FTRACE": "n"}, usual, reloc.ARMTraits{L1Bytes: 32}},
		{"an old kernel", " ARMv7 ", map[string]string{"DYNAMIC_FTRACE": "y"}, reloc.ARMTraits{L1Bytes: 64}, reloc.ARMTraits{L1Bytes: 64}},
		{"an odd line", " ARMv7 ", map[string]string{"ARM_L1_CACHE_SHIFT": "70"}, usual, usual},
	} {
		target := &compat.Target{Vermagic: c.vermagic}
		if c.config != nil {
			target.Config = func(name string) (string, bool) { v, ok := c.config[name]; return v, ok }
		}
		s := &state{k: &Kernel{T: target}, Load: &compat.Load{}}
		got := c.before
		if s.arm(&got); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestAreasOfTheMachines(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{"i386": 2, "arm": 2, "arm64": 2, "loongarch64": 1, "loongarch32": 1, "mips64el": 1} {
		k := &Kernel{T: &compat.Target{Arch: arch.Named(name)}}
		if got := len(k.windowsOf(Text, 4096)); got != want {
			t.Errorf("%s: %d areas, want %d", name, got, want)
		}
	}
}
