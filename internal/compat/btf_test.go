package compat

import (
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kotool/internal/btf"
	"kotool/internal/diag"
	"kotool/internal/elf"
	"kotool/internal/kver"
)

// btfOf is a .BTF of types, 12 bytes each: words are name, info and size or type, in that order.
func btfOf(strs string, words ...uint32) []byte {
	o := binary.LittleEndian
	out := make([]byte, 24, 24+4*len(words)+len(strs))
	o.PutUint16(out, 0xeb9f)
	out[2] = 1
	o.PutUint32(out[4:], 24)
	o.PutUint32(out[12:], uint32(4*len(words)))
	o.PutUint32(out[16:], uint32(4*len(words)))
	o.PutUint32(out[20:], uint32(len(strs)))
	for _, w := range words {
		out = o.AppendUint32(out, w)
	}
	return append(out, strs...)
}

// baseOf is a base of n types, void included: pointers to void, and strings of four bytes.
func baseOf(n uint32) *btf.Base {
	if n == 0 {
		return nil
	}
	var words []uint32
	for range n - 1 {
		words = append(words, 0, 2<<24, 0)
	}
	return btf.ReadBase(btfOf("\x00ab\x00", words...), false)
}

func TestBTF(t *testing.T) {
	for _, c := range []struct {
		name    string
		data    []byte
		base    uint32
		options string
		want    codes
		doubt   bool
	}{
		{"header cut short", []byte{1, 2, 3}, 0, "MODULE_ALLOW_BTF_MISMATCH=n", codes{"", diag.BTF, diag.BTF, diag.BTF}, false},
		{"header cut short, and the kernel forgives", []byte{1, 2, 3}, 0, "MODULE_ALLOW_BTF_MISMATCH=y", codes{}, false},
		{"header cut short, and whether it forgives is not known", []byte{1, 2, 3}, 0, "", codes{"", diag.BTF, diag.BTF, diag.BTF}, true},
		{"no types of the kernel are known", btfOf("\x00", 0, 2<<24, 70000), 0, "", codes{}, false},
		{"a type of the kernel", btfOf("\x00", 0, 2<<24, 999), 1000, "", codes{}, false},
		{"its own type", btfOf("\x00", 0, 2<<24, 1000), 1000, "", codes{}, false},
		{"a constant type of a larger kernel", btfOf("\x00", 0, 10<<24, 1001), 1000, "MODULE_ALLOW_BTF_MISMATCH=n", codes{"", diag.BTFBase, diag.BTFBase, diag.BTFBase}, false},
		{"a pointer to a type of a larger kernel: the kernel does not look", btfOf("\x00", 0, 2<<24, 1001), 1000, "MODULE_ALLOW_BTF_MISMATCH=n", codes{}, false},
		{"a name of the kernel", btfOf("\x00", 1, 7<<24, 0), 1000, "MODULE_ALLOW_BTF_MISMATCH=n", codes{}, false},
		{"an empty name", btfOf("\x00", 3, 7<<24, 0), 1000, "MODULE_ALLOW_BTF_MISMATCH=n", codes{"", diag.BTF, diag.BTF, diag.BTF}, false},
		{"an empty name, and the kernel forgives", btfOf("\x00", 3, 7<<24, 0), 1000, "MODULE_ALLOW_BTF_MISMATCH=y", codes{}, false},
		{"a name past a smaller kernel's", btfOf("\x00", 99, 7<<24, 0, 0, 2<<24, 5000), 1000, "MODULE_ALLOW_BTF_MISMATCH=n", codes{"", diag.BTFBase, diag.BTFBase, diag.BTFBase}, false},
		{"the kernel has no BTF of modules", btfOf("\x00", 0, 10<<24, 1001), 1000, "DEBUG_INFO_BTF_MODULES=n", codes{}, false},
		{"empty", nil, 1000, "", codes{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := sample()
			b.Progbits(".BTF", 0, c.data)
			for i, v := range eras {
				tg := config(kernel(v), c.options)
				tg.Base = baseOf(c.base)
				got, p := verdict(t, tg, b.Bytes())
				if got != c.want[i] || p.Doubt != (c.doubt && got != "") {
					t.Errorf("%v: got %q (doubt %v) want %q", v, got, p.Doubt, c.want[i])
				}
			}
		})
	}
}

func TestBTFsLogIsTheKernels(t *testing.T) {
	union := btfOf("\x00a\xd7b\x00", 5, 1<<31|7<<24, 0)
	vars := btfOf("\x00v\x00", 5, 15<<24|1, 8, 1, 8, 4)
	for _, c := range []struct {
		name    string
		data    []byte
		v       kver.Version
		options string
		errno   diag.Errno
		want    []string
	}{
		{"refused", union, kver.V(7, 2), "MODULE_ALLOW_BTF_MISMATCH=n", diag.EINVAL,
			[]string{`BPF: [2] FWD a\xd7b `, "BPF: union", "BPF:  ", "BPF: Invalid name", "BPF: ", "failed to validate module [sample] BTF: -22"}},
		{"without a space yet", union, kver.V(5, 16), "MODULE_ALLOW_BTF_MISMATCH=n", diag.EINVAL,
			[]string{`BPF:[2] FWD a\xd7b `, "BPF:union", "BPF: ", "BPF:Invalid name", `BPF:\x0a`, "failed to validate module [sample] BTF: -22"}},
		{"told and forgiven", union, kver.V(6, 1), "MODULE_ALLOW_BTF_MISMATCH=y", 0,
			[]string{`BPF: [2] FWD a\xd7b `, "BPF: union", "BPF:  ", "BPF: Invalid name", "BPF: ", "failed to validate module [sample] BTF: -22"}},
		{"forgiven", union, kver.V(6, 12), "MODULE_ALLOW_BTF_MISMATCH=y", 0, []string{diag.BTFMismatch}},
		{"forgiven, but for a variable", vars, kver.V(6, 12), "MODULE_ALLOW_BTF_MISMATCH=y", 0,
			[]string{`BPF: \x09 type_id=1 offset=8 size=4`, "BPF:  ", "BPF: Invalid offset", "BPF: ", diag.BTFMismatch}},
		{"a header of another version", append([]byte{0x9f, 0xeb, 2}, union[3:]...), kver.V(7, 2), "MODULE_ALLOW_BTF_MISMATCH=n", diag.ENOTSUPP,
			[]string{"BPF: Unsupported version", "failed to validate module [sample] BTF: -524"}},
		{"a constant of itself", btfOf("\x00", 0, 10<<24, 2), kver.V(7, 2), "MODULE_ALLOW_BTF_MISMATCH=n", diag.ELOOP,
			[]string{"BPF: Max chain length or cycle detected", "failed to validate module [sample] BTF: -40"}},
		{"a constant of what is not there", btfOf("\x00", 0, 10<<24, 3), kver.V(7, 2), "MODULE_ALLOW_BTF_MISMATCH=n", diag.EINVAL,
			[]string{"failed to validate module [sample] BTF: -22"}},
		{"a pointer to what is not there", btfOf("\x00", 0, 2<<24, 3), kver.V(7, 2), "MODULE_ALLOW_BTF_MISMATCH=n", 0, nil},
	} {
		b := sample()
		b.Progbits(".BTF", 0, c.data)
		tg := config(kernel(c.v), c.options)
		tg.Base = baseOf(2)
		errno, log := btfLog(t, tg, b.Bytes())
		if d := cmp.Diff(c.want, log); d != "" || errno != c.errno {
			t.Errorf("%s: errno %v want %v; log (-want +got):\n%s", c.name, errno, c.errno, d)
		}
	}
}

func TestTheModulesOwnBaseIsTakenSince611(t *testing.T) {
	base := btfOf("\x00int\x00", 1, 1<<24, 4)
	base = append(base[:36:36], append([]byte{32, 0, 0, 0}, base[36:]...)...)
	base[12], base[16] = 16, 16
	broken := append([]byte(nil), base...)
	broken[28+3] = 99 // its kind
	module := btfOf("tt\x00", 5, 8<<24, 1)
	for _, c := range []struct {
		name   string
		base   []byte
		module []byte
		v      kver.Version
		want   []string
	}{
		{"in order", base, module, kver.V(6, 11), nil},
		{"the base is broken", broken, module, kver.V(6, 11), []string{"BPF: [1] Invalid btf_info:63000000", "failed to validate module [sample] BTF: -22"}},
		{"a name past both", base, btfOf("tt\x00", 99, 8<<24, 1), kver.V(6, 11), []string{"BPF: [2] Invalid name_offset:99", "failed to validate module [sample] BTF: -22"}},
		{"nobody looks at the base", broken, module, kver.V(6, 10), nil},
	} {
		b := sample()
		b.Progbits(".BTF", 0, c.module)
		b.Progbits(".BTF.base", 0, c.base)
		_, log := btfLog(t, config(kernel(c.v), "MODULE_ALLOW_BTF_MISMATCH=n"), b.Bytes())
		if d := cmp.Diff(c.want, log); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}

// btfLog is what Load.BTF says of a module.
func btfLog(t *testing.T, tg *Target, b []byte) (diag.Errno, []string) {
	t.Helper()
	l := NewLoad(tg, elf.Mem(b), 0)
	if p, err := l.Before(); err != nil || p.Errno != 0 {
		t.Fatalf("%v %v", p.Errno, err)
	}
	l.Log, l.Findings = nil, nil
	errno, err := l.BTF()
	if err != nil {
		t.Fatal(err)
	}
	var log, told []string
	for _, line := range l.Log {
		log = append(log, line.Text)
	}
	for i := range l.Findings {
		told = append(told, l.Findings[i].Dmesg...)
	}
	if d := cmp.Diff(log, told); d != "" {
		t.Errorf("the findings' lines are not the log's (-log +findings):\n%s", d)
	}
	return errno, log
}
