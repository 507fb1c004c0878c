package reloc

import (
	"debug/elf"
	"reflect"
	"strings"
	"testing"

	"kotool/internal/diag"
	kelf "kotool/internal/elf"
	"kotool/internal/kver"
)

func TestX86_64(t *testing.T) {
	const P = 0xffffffffc0400010
	mcmodel := "\nmodule: `mod' likely not compiled with -mcmodel=kernel"
	testX86.runAll(t, []relocCase{
		{name: "64", typ: 1, S: 0xffffffff81000000, A: -8, want: "f8ffff80 ffffffff"},
		{name: "NONE touches nothing", typ: 0, S: 1, before: "aabb", want: "aabb"},
		{name: "PC32 with its usual addend", typ: 2, S: P + 0x1000, A: -4, want: "fc0f0000 00000000"},
		{name: "PLT32 backwards", typ: 4, S: 0xffffffff81000000, A: -4, want: "ecffbfc0"},
		{name: "PC32 out of reach is cut off without a word", typ: 2, S: 0x100000000, A: 0, want: "f0ffbf3f"},
		{name: "32 at its largest", typ: 10, S: 0xffffffff, want: "ffffffff"},
		{name: "32 one above", typ: 10, S: 0x100000000, want: "00000000", errno: diag.ENOEXEC,
			line: "module: overflow in relocation type 10 val 100000000 sec 2 idx 0" + mcmodel},
		{name: "32 of a negative value", typ: 10, S: 0, A: -1, want: "00000000", errno: diag.ENOEXEC,
			line: "module: overflow in relocation type 10 val ffffffffffffffff sec 2 idx 0" + mcmodel},
		{name: "32S of a negative value", typ: 11, S: 0xffffffff80000000, want: "00000080 00000000"},
		{name: "32S at its largest", typ: 11, S: 0x7fffffff, want: "ffffff7f"},
		{name: "32S one above", typ: 11, S: 0x80000000, want: "00000000", errno: diag.ENOEXEC,
			line: "module: overflow in relocation type 11 val 80000000 sec 2 idx 0" + mcmodel},
		{name: "32S one below", typ: 11, S: 0xffffffff7fffffff, want: "00000000", errno: diag.ENOEXEC,
			line: "module: overflow in relocation type 11 val ffffffff7fffffff sec 2 idx 0" + mcmodel},
		{name: "PC64", typ: 24, S: 0x10, A: 1, want: "0100c03f 00000000"},
		{name: "a place that holds something", typ: 1, S: 0x1234, before: "00000000 00000001", want: "00000000 00000001", errno: diag.ENOEXEC,
			line: "module: x86/modules: Invalid relocation target, existing value is nonzero for sec 2, idx 0, type 1, loc ffffffffc0400010, val 1234"},
		{name: "only the bytes of the field must be zero", typ: 2, S: P, before: "00000000 01", want: "00000000 01"},
		{name: "overflow is seen before the bytes at the place", typ: 10, S: 1 << 40, before: "01", want: "01", errno: diag.ENOEXEC,
			line: "module: overflow in relocation type 10 val 10000000000 sec 2 idx 0" + mcmodel},
		{name: "a type that the loader does not know", typ: 9, S: P, errno: diag.ENOEXEC, line: "module: mod: Unknown rela relocation: 9"},
		{name: "a type of 32 bits", typ: 0xffffffff, S: P, errno: diag.ENOEXEC, line: "module: mod: Unknown rela relocation: 4294967295"},
	})
}

func TestX86MessagesByEra(t *testing.T) {
	for _, c := range []struct {
		v                 kver.Version
		overflow, nonzero string
	}{
		{kver.V(5, 10), "module: overflow in relocation type 10 val 100000001",
			"module: x86/modules: Skipping invalid relocation target, existing value is nonzero for type 4, loc (____ptrval____), val 3fc00000"},
		{kver.V(6, 1), "module: overflow in relocation type 10 val 100000001",
			"module: x86/modules: Skipping invalid relocation target, existing value is nonzero for type 4, loc (____ptrval____), val 3fc00000"},
		{kver.V(6, 12), "module: overflow in relocation type 10 val 100000001",
			"module: x86/modules: Invalid relocation target, existing value is nonzero for type 4, loc (____ptrval____), val 3fc00000"},
		{kver.V(7, 2), "module: overflow in relocation type 10 val 100000001 sec 2 idx 0",
			"module: x86/modules: Invalid relocation target, existing value is nonzero for sec 2, idx 0, type 4, loc ffffffffc0400010, val 3fc00000"},
	} {
		mc := testX86
		mc.t = DefaultTraits(mc.m, c.v)
		mc.run(t, relocCase{name: c.v.String(), typ: 10, S: 0x100000000, A: 1, errno: diag.ENOEXEC,
			line: c.overflow + "\nmodule: `mod' likely not compiled with -mcmodel=kernel"})
		mc.run(t, relocCase{name: c.v.String(), typ: 4, S: 0x10, before: "01", want: "01", errno: diag.ENOEXEC, line: c.nonzero})
	}
}

// Lines of real kernels (Debian 6.1.0-50 and 6.12.107) for modules that were damaged on purpose.
func TestX86LinesOfRealKernels(t *testing.T) {
	mc := testX86
	mc.t = DefaultTraits(mc.m, kver.V(6, 1))
	mc.run(t, relocCase{name: "GOT32", typ: 3, errno: diag.ENOEXEC, line: "module: mod: Unknown rela relocation: 3"})
	mc.run(t, relocCase{name: "32", typ: 10, S: 0xffffffff81076560, errno: diag.ENOEXEC,
		line: "module: overflow in relocation type 10 val ffffffff81076560\nmodule: `mod' likely not compiled with -mcmodel=kernel"})
}

func TestTheSecondRelocationOfAPlaceFails(t *testing.T) {
	img, l := testX86.begin(t, kelf.Rel{Off: 8, Sym: 1, Type: 2}, kelf.Rel{Off: 8, Sym: 1, Type: 2})
	img.syms[1].Value = testX86.text
	errno, err := l.Apply(2)
	if errno != diag.ENOEXEC || err != nil || len(img.lines) != 1 || !strings.Contains(img.lines[0], "idx 1, type 2") {
		t.Errorf("got %v %v %q", errno, err, img.lines)
	}
}

func Test386(t *testing.T) {
	test386.runAll(t, []relocCase{
		{name: "32 adds to what is there", typ: 1, S: 0xc1000000, before: "fcffffff", want: "fcffffc0"},
		{name: "32 wraps", typ: 1, S: 0xffffffff, before: "02000000", want: "01000000"},
		{name: "PC32", typ: 2, S: 0xc1000000, before: "fcffffff", want: "ecffffc8"},
		{name: "PLT32", typ: 4, S: 0xf8000110, before: "fcffffff", want: "fc000000 00"},
		{name: "NONE is refused", typ: 0, errno: diag.ENOEXEC, line: "module: mod: Unknown relocation: 0"},
		{name: "GOTPC", typ: 10, before: "01", want: "01", errno: diag.ENOEXEC, line: "module: mod: Unknown relocation: 10"},
	})
}

type recorder struct {
	applied []Applied
	slots   []Slot
}

func (r *recorder) Relocated(a Applied) {
	a.After = append([]byte(nil), a.After...)
	r.applied = append(r.applied, a)
}

func (r *recorder) Emitted(s Slot) { r.slots = append(r.slots, s) }

func TestTheTraceNamesEachRelocation(t *testing.T) {
	img, l := testX86.begin(t, kelf.Rel{Off: 8, Sym: 1, Type: 2, Addend: -4}, kelf.Rel{Off: 16, Sym: 1, Type: uint32(elf.R_X86_64_64)})
	r := &recorder{}
	img.trace = r
	img.syms[1].Value = 0xffffffff81000000
	if errno, err := l.Apply(2); errno != 0 || err != nil {
		t.Fatal(errno, err)
	}
	want := Applied{Relsec: 2, Entry: 0, Type: 2, Target: 1, Off: 8, S: 0xffffffff81000000, A: -4, P: 0xffffffffc0400008,
		Before: []byte{0, 0, 0, 0}, After: []byte{0xf4, 0xff, 0xbf, 0xc0}}
	if len(r.applied) != 2 || !reflect.DeepEqual(r.applied[0], want) || r.applied[1].Entry != 1 {
		t.Errorf("got %+v, want %+v first", r.applied, want)
	}
}
