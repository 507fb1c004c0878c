package reloc

import (
	"debug/elf"
	"testing"
)

// TestReachIsOfTypesThatLoadersTake holds the table to that of the relocation types.
func TestReachIsOfTypesThatLoadersTake(t *testing.T) {
	for i := range reaches {
		r := &reaches[i]
		class := elf.ELFCLASS64
		if r.machine == elf.EM_ARM {
			class = elf.ELFCLASS32
		}
		if h := Lookup(r.machine, class, r.typ); !h.Loader {
			t.Errorf("%v: type %d %s is not taken", r.machine, r.typ, h.Name)
		}
		if lo, hi, ok := Reach(r.machine, r.typ); !ok || lo != r.lo || hi != r.hi || lo > 0 || hi <= 0 {
			t.Errorf("%v: type %d: %#x to %#x", r.machine, r.typ, lo, hi)
		}
	}
	if lo, hi, _ := Reach(elf.EM_AARCH64, uint32(elf.R_AARCH64_CALL26)); lo != -128<<20 || hi != 128<<20-1 {
		t.Errorf("CALL26: %#x to %#x", lo, hi)
	}
	if _, _, ok := Reach(elf.EM_X86_64, uint32(elf.R_X86_64_PC32)); ok {
		t.Error("x86 does not look at PC32")
	}
}
