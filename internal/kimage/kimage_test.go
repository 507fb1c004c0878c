package kimage

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kotool/internal/arch"
	"kotool/internal/ksymtab"
	"kotool/internal/source"
)

// check holds what was read against what was built.
func check(t *testing.T, im *Image, k *kernel) {
	t.Helper()
	if im.Release != k.release || im.Banner != "Linux version "+k.release+strings.TrimSuffix(banner, "\n") {
		t.Errorf("got release %q, banner %q", im.Release, im.Banner)
	}
	if want := k.release + " SMP preempt mod_unload modversions "; im.Vermagic != want {
		t.Errorf("got vermagic %q want %q", im.Vermagic, want)
	}
	if im.Arch != k.arch {
		t.Errorf("got machine %v want %v", im.Arch, k.arch.Name)
	}
	if string(im.Config) != k.config {
		t.Errorf("got config %q want %q", im.Config, k.config)
	}
	if len(im.BTF) != 48 {
		t.Errorf("got %d bytes of BTF want 48", len(im.BTF))
	}
	var want, got []string
	tables := 2
	if k.oneTable {
		tables = 1
	}
	for table := range tables {
		for i := range k.exports {
			crc := uint32(0)
			if k.crcs {
				crc = k.crc(table, i)
			}
			gpl := table == 1 || k.oneTable && i%2 == 1
			want = append(want, fmt.Sprintf("%s %08x %v %v %q %#x", exportName(table, i), crc, k.crcs, gpl, namespaceRead(i), k.base+uint64(k.value(table, i))))
		}
	}
	for _, e := range im.Exports {
		got = append(got, fmt.Sprintf("%s %08x %v %v %q %#x", e.Name, e.CRC, e.HasCRC, e.License.GPL(), e.Namespace, e.Value.Off))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("exports differ: %.2000s", diff)
	}
	checkSymbols(t, im, k)
}

func namespaceRead(i int) string {
	if i%10 == 5 {
		return ""
	}
	return namespace(i)
}

func checkSymbols(t *testing.T, im *Image, k *kernel) {
	t.Helper()
	if addr, ok := im.Address(exportName(0, 7)); k.exports > 7 && (!ok || addr != k.base+uint64(k.value(0, 7))) {
		t.Errorf("got address %#x, %v of an export", addr, ok)
	}
	if addr, ok := im.Address("no_such_symbol"); ok {
		t.Errorf("got %#x for a symbol that is not there", addr)
	}
	n := 0
	for s := range im.Symbols() {
		name, addr := kallsymsName(n)[1:], k.base+uint64(kallsymsValue(n))
		if n == 5 {
			name += strings.Repeat("x", 0x90)
		}
		if n == 0 && k.kallsyms == kallsymsPercpu {
			addr = 0x40
		}
		if s.Name != name || s.Addr != addr || s.Type != 'T' {
			t.Errorf("symbol %d: got %+v want %s at %#x", n, s, name, addr)
			return
		}
		n++
	}
	want := kallsymsCount
	if k.kallsyms == noKallsyms {
		want = 0
	}
	if n != want || im.HasSymbols() != (want > 0) {
		t.Errorf("got %d symbols want %d", n, want)
	}
	if want > 0 {
		if addr, ok := im.Address("sym599_end"); !ok || addr != k.base+uint64(kallsymsValue(599)) {
			t.Errorf("got address %#x, %v of a symbol", addr, ok)
		}
	}
}

// machines are kernels of several machines and eras.
func machines() map[string]*kernel {
	of := func(name string, base uint64, kall kallsymsLayout) *kernel {
		k := amd64()
		k.arch, k.base, k.kallsyms = arch.Named(name), base, kall
		return k
	}
	flags := func(k *kernel, crcs bool) *kernel {
		k.oneTable, k.crcs, k.exports = true, crcs, 800
		return k
	}
	s390x := of("s390x", 0x100000, kallsymsSeqs)
	s390x.relocated = true
	none := of("arm64", 0xffff800080000000, noKallsyms)
	none.config = ""
	return map[string]*kernel{
		"x86_64 of 6.12":                     amd64(),
		"x86_64 of 5.10":                     of("x86_64", 0xffffffff81000000, kallsymsOld),
		"x86_64 of 7.2":                      flags(of("x86_64", 0xffffffff81000000, kallsymsPlace), false),
		"x86_64 of 7.2 with CRCs":            flags(of("x86_64", 0xffffffff81000000, kallsymsPlace), true),
		"i386":                               of("i386", 0xc1000000, kallsymsSeqs),
		"arm64":                              of("arm64", 0xffff800080000000, kallsymsPlace),
		"arm64 with 39 bits of address":      of("arm64", 0xffffffc008000000, kallsymsPlace),
		"arm64 without config and kallsyms":  none,
		"arm":                                of("arm", 0xc0008000, kallsymsOld),
		"riscv64":                            of("riscv64", 0xffffffff80000000, kallsymsSeqs),
		"riscv64 of 7.2":                     flags(of("riscv64", 0xffffffff80000000, kallsymsPlace), false),
		"ppc64":                              of("ppc64", 0xc000000000000000, kallsymsOld),
		"s390x, which is to be relocated":    s390x,
		"loongarch64":                        of("loongarch64", 0x9000000000200000, kallsymsOld),
		"mips, where nothing is 64 bit wide": of("mips", 0x80100000, kallsymsOld),
	}
}

func TestVmlinuxOfEveryMachineAndEra(t *testing.T) {
	for name, k := range machines() {
		t.Run(name, func(t *testing.T) {
			im := open(t, k.elf())
			if im.Kind != "vmlinux" || im.Packing != "none" {
				t.Errorf("got %s, %s", im.Kind, im.Packing)
			}
			check(t, im, k)
		})
	}
}

func TestVmlinuxWithoutSectionHeadersIsSearched(t *testing.T) {
	k := amd64()
	k.noSections = true
	check(t, open(t, k.elf()), k)
}

func TestMemoryWithoutAnyHeadersIsSearched(t *testing.T) {
	for name, k := range machines() {
		var wrap func([]byte) []byte
		switch k.arch.Name {
		case "arm64", "riscv64":
			wrap = func(b []byte) []byte { return b }
		case "arm":
			wrap = func(b []byte) []byte { return zImageOf(packers["xz"](b), true) }
		case "s390x":
			wrap = func(b []byte) []byte {
				head := make([]byte, 0x11000)
				copy(head[offS390:], "S390EP")
				return append(append(head, packers["xz"](b)...), "what follows"...)
			}
		case "loongarch64":
			wrap = func(b []byte) []byte { return zbootOf(packers["zstd"](b), "zstd", 0x6264) }
		default:
			continue
		}
		t.Run(name, func(t *testing.T) {
			im := open(t, wrap(k.raw()))
			check(t, im, k)
		})
	}
}

func TestEveryWrappingAndPacking(t *testing.T) {
	k := amd64()
	plain := k.elf()
	arm64 := machines()["arm64"]
	arm := machines()["arm"]
	for packing, pack := range packers {
		for _, c := range []struct {
			name, kind string
			data       []byte
			want       *kernel
		}{
			{"bzImage", "bzImage", bzImageOf(pack(plain)), k},
			{"vmlinux in a compressed file", "vmlinux", pack(plain), k},
			{"Image in a compressed file", "Image", pack(arm64.raw()), arm64},
			{"EFI zboot", "EFI zboot", zbootOf(pack(arm64.raw()), packing, 0xaa64), arm64},
			{"zImage", "zImage", zImageOf(pack(arm.raw()), true), arm},
			{"zImage without the table", "zImage", zImageOf(pack(arm.raw()), false), arm},
			{"uImage", "uImage", uImageOf(pack(arm64.raw()), 22, 1), arm64},
			{"zImage in an uImage", "uImage", uImageOf(zImageOf(pack(arm.raw()), true), 2, 0), arm},
		} {
			t.Run(c.name+", "+packing, func(t *testing.T) {
				im := open(t, c.data)
				if im.Kind != c.kind || im.Packing != packing {
					t.Errorf("got %s, %s want %s, %s", im.Kind, im.Packing, c.kind, packing)
				}
				check(t, im, c.want)
				head := c.data[:min(len(c.data), 4096)]
				if !Looks(head) {
					t.Error("does not look like an image")
				}
			})
		}
	}
	t.Run("an ELF file with a packed kernel in it", func(t *testing.T) {
		ppc := machines()["ppc64"]
		b := &kernel{arch: ppc.arch, base: 0x400000, release: "none", kallsyms: noKallsyms}
		outer := bytes.ReplaceAll(b.elf(), []byte("Linux version "), []byte("linux version "))
		for _, name := range []string{"__ksymtab\x00", "__ksymtab_gpl\x00"} {
			outer = bytes.ReplaceAll(outer, []byte(name), bytes.ReplaceAll([]byte(name), []byte("_"), []byte(".")))
		}
		im := open(t, append(outer, packers["gzip"](ppc.elf())...))
		if im.Kind != "zImage" || im.Packing != "gzip" {
			t.Errorf("got %s, %s", im.Kind, im.Packing)
		}
		check(t, im, ppc)
	})
}

func TestLooksKnowsImagesFromOtherFiles(t *testing.T) {
	for _, head := range []string{"", "MZ", "\x7fELF\x02\x01\x01", "0x12345678\tname\tvmlinux\tEXPORT_SYMBOL\t\n", "CONFIG_A=y\n", strings.Repeat("x", 4096),
		strings.Repeat("\x00", 4096), "]\x00\x00 text"} {
		if Looks([]byte(head)) {
			t.Errorf("%.20q looks like an image", head)
		}
	}
}

// TestWhatIsCutShortIsAnError cuts images at all boundaries, and near them.
func TestWhatIsCutShortIsAnError(t *testing.T) {
	k := amd64()
	arm := machines()["arm"]
	plain, raw := k.elf(), machines()["arm64"].raw()
	images := map[string][]byte{"vmlinux": plain}
	for packing, pack := range packers {
		images["bzImage, "+packing] = bzImageOf(pack(plain))
		images["zboot, "+packing] = zbootOf(pack(raw), packing, 0xaa64)
		images["zImage, "+packing] = zImageOf(pack(arm.raw()), true)
		images["uImage, "+packing] = uImageOf(pack(raw), 22, 1)
		images["compressed, "+packing] = pack(raw)
	}
	for name, image := range images {
		t.Run(name, func(t *testing.T) {
			end := len(image)
			switch {
			case strings.HasPrefix(name, "bzImage"):
				end -= 512 // what stands behind the payload is not needed
			case strings.HasPrefix(name, "zboot"):
				end -= 64 + 4
			case strings.HasPrefix(name, "compressed"):
				end -= 4 + 8 // the size behind it is not looked at, nor lzo's end
			}
			for _, at := range []int{0, 1, 3, 4, 0x30, 0x3b, 0x1f2, 0x210, 0x24f, 0x268, 0x400, 0x600, 0x800, 0xb40, 0xb44, 0xb50, 0x1000, 0x8000,
				end / 4, end / 2, end * 3 / 4, end - 300, end - 70, end - 17, end - 13, end - 9, end - 5, end - 1} {
				if at < 0 || at >= end {
					continue
				}
				if im, err := Open(image[:at], 0); err == nil {
					t.Errorf("cut to %#x of %#x bytes: no error, %s %s with %d exports", at, len(image), im.Kind, im.Packing, len(im.Exports))
				}
			}
		})
	}
}

func TestErrorsSayWhereAndWhat(t *testing.T) {
	k := amd64()
	plain := k.elf()
	damaged := func(b []byte, off int, with ...byte) []byte {
		b = bytes.Clone(b)
		copy(b[off:], with)
		return b
	}
	image := bzImageOf(packers["gzip"](plain))
	for _, c := range []struct {
		name, want string
		data       []byte
	}{
		{"nothing", "empty file", nil},
		{"a text", "not a Linux kernel", []byte("a text\n")},
		{"a payload past the end", "bzImage: payload: offset 0xb40: need", image[:0xb50]},
		{"a payload of no kind", "bzImage: payload: offset 0xb40: neither ELF nor compressed", damaged(image, 0xb40, 'x')},
		{"a header past the end", "bzImage: setup header: offset 0x0: need", image[:0x210]},
		{"a payload that is damaged", "bzImage: payload: offset 0xb40: gzip: after ", damaged(image, 0xc00, 0xff, 0xff, 0xff, 0xff)},
		{"another size behind the payload", "the size behind it says 0x1", bzImageOf(append(xzStored(plain), 1, 0, 0, 0))},
		{"a module", "ET_REL", damaged(plain, 16, 1)},
		{"ELF that is no kernel", "not a Linux kernel", []byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x3e\x00" + strings.Repeat("\x00", 64))},
		{"a payload in which there is no kernel", "the unpacked kernel: no \"Linux version\"", packers["gzip"]([]byte("a text"))},
		{"a zboot image past the end", "EFI zboot: payload: offset 0x400: need", zbootOf(packers["gzip"](plain), "gzip", 0x8664)[:0x500]},
		{"a zboot image of no kind", `the header says "rot13"`, zbootOf(plain, "rot13", 0xaa64)},
		{"a zImage past its end", "zImage: offset 0x800: need", zImageOf(packers["gzip"](plain), true)[:0x800]},
		{"a zImage with nothing in it", "zImage: payload: offset 0x100: gzip", zImageOf(make([]byte, 4000), true)},
		{"an uImage past its end", "uImage: payload: offset 0x40: need", uImageOf(plain, 2, 0)[:0x400]},
		{"wrappings without end", "nested", uImageOf(uImageOf(uImageOf(uImageOf(uImageOf(uImageOf(plain, 2, 0), 2, 0), 2, 0), 2, 0), 2, 0), 2, 0)},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Open(c.data, 0)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v want %q", err, c.want)
			}
		})
	}
}

func TestMoreThanTheLimitIsALimitError(t *testing.T) {
	plain := amd64().elf()
	for packing, pack := range packers {
		for _, image := range [][]byte{bzImageOf(pack(plain)), pack(plain)} {
			_, err := Open(image, uint64(len(plain)-1))
			if _, ok := errors.AsType[*source.LimitError](err); !ok {
				t.Errorf("%s: got %v want a LimitError", packing, err)
			}
			if _, err = Open(image, uint64(len(plain))); err != nil {
				t.Errorf("%s: at the limit: %v", packing, err)
			}
		}
	}
}

func TestABombIsNotUnpacked(t *testing.T) {
	bomb := make([]byte, trusted+1<<20)
	for _, packing := range []string{"gzip", "zstd"} {
		_, err := Open(bzImageOf(packers[packing](bomb)), 1<<30)
		if err == nil || !strings.Contains(err.Error(), "no kernel") {
			t.Errorf("%s: got %v", packing, err)
		}
	}
}

func TestNotesSayWhatIsMissing(t *testing.T) {
	k := machines()["arm64"]
	k.config, k.exports, k.kallsyms = "", 0, noKallsyms
	im := open(t, bytes.Replace(k.raw(), []byte(" SMP preempt mod_unload modversions \x00"), []byte(" (something else)                   \x00"), 1))
	notes := strings.Join(im.Notes, "\n")
	for _, want := range []string{"no vermagic", "no embedded configuration", "no exports"} {
		if !strings.Contains(notes, want) {
			t.Errorf("got %q want %q", notes, want)
		}
	}
	k = amd64()
	data := bytes.Replace(k.elf(), []byte("IKCFG_ST\x1f\x8b\x08\x00"), []byte("IKCFG_ST\x1f\x8b\x08\xff"), 1)
	if im = open(t, data); im.Config != nil || !strings.Contains(strings.Join(im.Notes, "\n"), "embedded configuration at offset 0x") {
		t.Errorf("got config %q, notes %q", im.Config, im.Notes)
	}
}

func TestAKernelWithoutHeaderIsKnownByItsVermagic(t *testing.T) {
	k := machines()["riscv64"]
	raw := bytes.Replace(k.raw(), []byte("RSC\x05"), make([]byte, 4), 1)
	raw = bytes.Replace(raw, []byte("modversions \x00"), []byte("riscv       \x00"), 1)
	if im := open(t, raw); im.Arch != k.arch || len(im.Exports) != 600 {
		t.Errorf("got %v, %d exports", im.Arch, len(im.Exports))
	}
	raw = bytes.Replace(raw, []byte("riscv       \x00"), []byte("            \x00"), 1)
	im := open(t, raw)
	if im.Arch != nil || len(im.Exports) != 0 || !strings.Contains(strings.Join(im.Notes, "\n"), "the machine is not known") {
		t.Errorf("got %v, %d exports, %q", im.Arch, len(im.Exports), im.Notes)
	}
}

func TestDamagedTablesAreNotesAndWhatCanBeReadIsThere(t *testing.T) {
	k := amd64()
	k.exports = 800
	b := k.build()
	var strs section
	for _, s := range b.sections {
		if s.name == "__ksymtab_strings" {
			strs = s
		}
	}
	// The last strings are not terminated.
	data := k.elf()
	at := 0x1000 + strs.end - 8000
	copy(data[at:], bytes.Repeat([]byte{0xff}, 8000))
	im := open(t, data)
	if len(im.Exports) < k.exports || im.Exports[0].License != ksymtab.Any || !strings.Contains(strings.Join(im.Notes, "\n"), "exports: __ksymtab_gpl") {
		t.Errorf("got %d exports, %q", len(im.Exports), im.Notes)
	}
}
