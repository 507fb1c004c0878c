package reloc

import (
	"debug/elf"
	"testing"
)

// What a loader lets through of a type's values is known, and the same as in the tables of the psABIs.
func TestReachIsWhatLoadersLetThrough(t *testing.T) {
	// The range of a jump is that of its place's region; a stack is judged when a value is taken off it; a low part is judged with its high part.
	other := map[string]bool{"R_MIPS_26": true, "R_LARCH_SOP_PUSH_PCREL": true, "R_LARCH_SOP_PUSH_ABSOLUTE": true, "R_RISCV_PCREL_LO12_I": true, "R_RISCV_PCREL_LO12_S": true}
	type key struct {
		m     elf.Machine
		class elf.Class
		typ   uint32
	}
	checked := map[key]bool{}
	for i := range abiTables {
		tab := &abiTables[i]
		for k := range tab.rows {
			r := &tab.rows[k]
			at := key{tab.mc.m, tab.mc.class, r.typ}
			if r.in == nil {
				continue
			}
			checked[at] = true
			name := Name(at.m, at.typ)
			if other[name] {
				continue
			}
			x := &abiRun{t: t, tab: tab, row: r, mc: *tab.mc}
			lo, hi := r.in(&abiVars{P: x.mc.text + testOff + r.off, img: x.begin(nil)})
			if from, to, ok := Reach(at.m, at.class, at.typ); !ok || from != lo || to != hi {
				t.Errorf("%v %s: got %#x to %#x (%v), want %#x to %#x", at.m, name, from, to, ok, lo, hi)
			}
		}
	}
	for i := range reaches {
		r := &reaches[i]
		for _, typ := range r.types {
			if !checked[key{r.machine, elf.ELFCLASS64, typ}] && !checked[key{r.machine, elf.ELFCLASS32, typ}] {
				t.Errorf("%v %s: no loader looks at it", r.machine, Name(r.machine, typ))
			}
		}
	}
	if _, _, ok := Reach(elf.EM_X86_64, elf.ELFCLASS64, uint32(elf.R_X86_64_PC32)); ok {
		t.Error("x86 does not look at PC32")
	}
	if _, _, ok := Reach(elf.EM_RISCV, elf.ELFCLASS32, 23); ok {
		t.Error("riscv32 does not look at PCREL_HI20")
	}
}
