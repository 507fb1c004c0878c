package target

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kotool/internal/compat"
	"kotool/internal/elftest"
	"kotool/internal/kver"
)

const (
	ours   = "6.1.0-50-amd64 SMP preempt mod_unload modversions "
	rows   = "0x00000001\tmodule_layout\tvmlinux\tEXPORT_SYMBOL\t\n0x00000002\t_printk\tvmlinux\tEXPORT_SYMBOL\t\n0x00000003\tother\tdrivers/x/other-mod\tEXPORT_SYMBOL_GPL\tNS\n"
	dotCfg = "#\n# Linux/x86 6.1.176 Kernel Configuration\n#\nCONFIG_SMP=y\nCONFIG_PREEMPT_BUILD=y\nCONFIG_MODULE_UNLOAD=y\nCONFIG_X86_64=y\nCONFIG_MODVERSIONS=y\n# CONFIG_NUMA is not set\nCONFIG_BUILD_SALT=\"6.1.0-50-amd64\"\n"
)

// write makes files below a directory and returns it.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// ko is a module of a kernel: what it wants of it, and what it exports.
func ko(name, vermagic string, size int, wants map[string]uint32, exports ...string) string {
	b := elftest.Module(elftest.AMD64, name)
	for i := range b.Sections {
		if b.Sections[i].Name == elftest.ThisModule {
			b.Sections[i].Data = append(b.Sections[i].Data, make([]byte, size-len(b.Sections[i].Data))...)
		}
	}
	for sym := range wants {
		if sym != "module_layout" {
			b.Undefined(sym)
		}
	}
	for i, e := range exports {
		b.Export(elftest.Kernel6_1, elftest.Export{Name: e, CRC: uint32(0x100 + i), Sym: b.Named("init_module")})
	}
	o := elftest.Edit(b.Bytes())
	o.Modinfo("vermagic", vermagic)
	for sym, crc := range wants {
		o.CRC(sym, crc)
	}
	return string(o.B)
}

func build(t testing.TB, evidence ...string) (*Target, error) {
	b := New("test", 1<<20, 2)
	for _, e := range evidence {
		if err := b.Against(e); err != nil {
			return nil, err
		}
	}
	return b.Target()
}

func gzipped(s string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(s))
	z.Close()
	return b.String()
}

func TestAgainstSeesWhatItIsGiven(t *testing.T) {
	mod := ko("one", ours, 0x380, map[string]uint32{"module_layout": 1, "_printk": 2}, "one_export")
	dir := write(t, map[string]string{
		"a.symvers": rows, "b.gz": gzipped(rows), "c.config": dotCfg, "d.config.gz": gzipped(dotCfg), "e.map": "ffffffff81000000 T _text\nffffffff81000010 T _printk\n",
		"f.ko": mod, "g.ko.gz": gzipped(mod), "headers/Module.symvers": rows, "headers/.config": dotCfg, "headers/include/config/kernel.release": "6.1.0-50-amd64\n",
		"build/include/generated/utsrelease.h": "#define UTS_RELEASE \"6.1.0-50-amd64\"\n", "build/include/config/kernel.release": "6.1.176\n",
		"root/lib/modules/6.1.0-50-amd64/kernel/one.ko": mod, "root/lib/modules/6.1.0-50-amd64/modules.builtin": "kernel/fs/ext4/ext4.ko\n", "loose/some.ko": mod,
	})
	for _, c := range []struct {
		path, kind string
		release    string
		symbols    bool
	}{
		{"a.symvers", "symvers", "", true},
		{"b.gz", "symvers", "", true},
		{"symvers:a.symvers", "symvers", "", true},
		{"c.config", "config", "6.1.0-50-amd64", false},
		{"d.config.gz", "config", "6.1.0-50-amd64", false},
		{"config:c.config", "config", "6.1.0-50-amd64", false},
		{"e.map", "map", "", false},
		{"map:e.map", "map", "", false},
		{"f.ko", "module", "6.1.0-50-amd64", false},
		{"g.ko.gz", "module", "6.1.0-50-amd64", false},
		{"module:f.ko", "module", "6.1.0-50-amd64", false},
		{"headers", "symvers", "6.1.0-50-amd64", true},
		{"headers:headers", "symvers", "6.1.0-50-amd64", true},
		{"build", "headers", "6.1.0-50-amd64", false},
		{"root/lib/modules/6.1.0-50-amd64", "tree", "6.1.0-50-amd64", false},
		{"root", "tree", "6.1.0-50-amd64", false},
		{"tree:root/lib/modules/6.1.0-50-amd64", "tree", "6.1.0-50-amd64", false},
		{"loose", "tree", "6.1.0-50-amd64", false},
	} {
		prefix, path, ok := strings.Cut(c.path, ":")
		if !ok {
			prefix, path = "", c.path
		} else {
			prefix += ":"
		}
		got, err := build(t, prefix+filepath.Join(dir, path))
		if err != nil {
			t.Errorf("%s: %v", c.path, err)
			continue
		}
		kinds := []string{}
		for _, e := range got.Evidence {
			kinds = append(kinds, e.Kind)
		}
		if len(kinds) == 0 || kinds[0] != c.kind || got.Release != c.release || got.NoExports == c.symbols {
			t.Errorf("%s: kinds %v, release %q, exports known %v; want %s, %q, %v", c.path, kinds, got.Release, !got.NoExports, c.kind, c.release, c.symbols)
		}
	}
}

func TestDamagedEvidenceIsAnErrorThatSaysWhere(t *testing.T) {
	mod := ko("one", ours, 0x380, nil)
	dir := write(t, map[string]string{
		"columns.symvers": rows + "0x00000004\tcut\n0x00000005\tmore\tvmlinux\tEXPORT_SYMBOL\t\n", "crc.symvers": rows + "0xZZ\tbad\tvmlinux\tEXPORT_SYMBOL\t\n", "end.symvers": rows + "0x0000",
		"blank": "\n\n", "cut.config": "CONFIG_SMP=y\nCONFIG_MODVER", "cut2.config": "CONFIG_SMP=y\nCONFIG_MODVERSIONS=y", "odd.config": "CONFIG_SMP=y\nnonsense here\n", "nul.config": "CONFIG_SMP=y\n\x00\n",
		"garbage": "\x01\x02\x03\xff\xfe garbage \x00\x00", "text": "once upon a time\n", "nothing/README": "no modules here\n", "cut.ko": mod[:100], "noelf.ko": "\x7fELFnot", "broken.gz": gzipped(rows)[:40],
		"several/lib/modules/1.0/x.ko": mod, "several/lib/modules/2.0/x.ko": mod, "bad.map": "ffffffff81000000 T _text\nnonsense\n", "release/include/config/other": "",
		"stripped.ko": ko("x", "", 0x380, nil),
	})
	for path, want := range map[string]string{
		"columns.symvers":         "columns.symvers: line 4: want 5 columns, got 2",
		"symvers:columns.symvers": "columns.symvers: line 4: want 5 columns, got 2",
		"crc.symvers":             `crc.symvers: line 4: "0xZZ" is no CRC`,
		"end.symvers":             "end.symvers: line 4: want 2 to 5 columns, got 1",
		"symvers:blank":           "no rows",
		"blank":                   "a prefix says what it is",
		"cut.config":              `cut.config: line 2: "CONFIG_MODVER" is neither an option nor a comment`,
		"cut2.config":             "cut2.config: line 2: no newline at the end",
		"odd.config":              "odd.config: line 2",
		"config:nul.config":       "nul.config: line 2: a NUL byte",
		"garbage":                 "neither a Module.symvers",
		"symvers:garbage":         "line 1: a NUL byte",
		"text":                    "neither a Module.symvers",
		"config:text":             "text: line 1",
		"map:text":                "text: line 1",
		"bad.map":                 "bad.map: line 2",
		"nothing":                 "neither modules nor headers",
		"tree:nothing":            "no modules are in this directory",
		"headers:nothing":         "these are no headers",
		"cut.ko":                  "cut.ko: ",
		"noelf.ko":                "noelf.ko: ",
		"broken.gz":               "broken.gz: ",
		"several":                 "several kernels are below",
		"config:nothing":          "nothing",
		"nosuch/file":             "no such file or directory",
		"tree:text":               "text: not a directory",
	} {
		prefix, p, ok := strings.Cut(path, ":")
		if !ok {
			prefix, p = "", path
		} else {
			prefix += ":"
		}
		_, err := build(t, prefix+filepath.Join(dir, p))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v want %q", path, err, want)
		}
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := build(t, empty); err == nil || !strings.Contains(err.Error(), empty) {
		t.Errorf("an empty file: %v", err)
	}
}

func TestStrongerEvidenceWinsAndSaysSo(t *testing.T) {
	one, two := ko("one", ours, 0x380, nil), ko("two", "6.1.0-51-amd64 SMP mod_unload modversions ", 0x3c0, nil)
	dir := write(t, map[string]string{"one.ko": one, "two.ko": two, "a.config": dotCfg, "b.config": dotCfg + "CONFIG_RANDSTRUCT=y\n", "c.config": dotCfg,
		"headers/Module.symvers": rows, "headers/include/config/kernel.release": "6.1.0-51-amd64\n"})
	at := func(name string) string { return filepath.Join(dir, name) }

	got, err := build(t, at("one.ko"), at("two.ko"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Vermagic != ours || got.Struct.Size != 0x380 {
		t.Errorf("the first of two modules: got %q, %#x", got.Vermagic, got.Struct.Size)
	}
	if len(got.Conflicts) < 2 || !strings.Contains(strings.Join(got.Conflicts, "\n"), fmt.Sprintf("vermagic: %q (from %s) wins over", ours, at("one.ko"))) {
		t.Errorf("conflicts: %q", got.Conflicts)
	}

	b := New("flags", 1<<20, 1)
	b.Vermagic("9.9.9 SMP ")
	for _, e := range []string{at("one.ko"), at("a.config"), at("c.config"), at("b.config")} {
		if err := b.Against(e); err != nil {
			t.Fatal(err)
		}
	}
	if got, err = b.Target(); err != nil || got.Vermagic != "9.9.9 SMP " {
		t.Fatalf("a flag does not win: %q (%v)", got.Vermagic, err)
	}
	want := []string{"config: " + at("a.config") + " wins over " + at("b.config") + ", which has CONFIG_RANDSTRUCT=y (not n)",
		"config: " + at("a.config") + " is of Linux 6.1.176, the kernel is 9.9.9 (from --vermagic): its options count all the same"}
	var configs []string
	for _, c := range got.Conflicts {
		if strings.HasPrefix(c, "config:") {
			configs = append(configs, c)
		}
	}
	if diff := cmp.Diff(want, configs); diff != "" { // nothing of c.config, which is the same
		t.Errorf("(-want +got)\n%s", diff)
	}

	// What the headers say of the release is nearer to the kernel than what a module says.
	if got, err = build(t, at("one.ko"), at("headers")); err != nil {
		t.Fatal(err)
	}
	if f := got.Fact("release"); f == nil || f.Value != "6.1.0-51-amd64" || len(got.Conflicts) == 0 {
		t.Errorf("got %+v, conflicts %q", f, got.Conflicts)
	}
}

func TestWhatATreeTells(t *testing.T) {
	tree := map[string]string{"modules.builtin": "kernel/fs/ext4/ext4.ko\nkernel/drivers/usb/usb-core.ko\n"}
	for i := range 4 {
		wants := map[string]uint32{"module_layout": 1, "_printk": 2}
		if i == 3 {
			wants["_printk"], wants["module_layout"] = 9, 8 // of another build
		}
		tree[fmt.Sprintf("kernel/m%d.ko", i)] = ko(fmt.Sprintf("m%d", i), ours, 0x380, wants, fmt.Sprintf("export%d", i))
	}
	tree["kernel/user.ko"] = ko("user", ours, 0x380, map[string]uint32{"module_layout": 1, "export1": 0x100, "export0": 0x100})
	tree["kernel/top.ko"] = ko("top", ours, 0x380, map[string]uint32{"module_layout": 1, "user_export": 1})
	tree["kernel/broken.ko"] = "\x7fELF broken"
	files := map[string]string{}
	for name, text := range tree {
		files["lib/modules/6.1.0-50-amd64/"+name] = text
	}
	dir := filepath.Join(write(t, files), "lib/modules/6.1.0-50-amd64")
	got, err := build(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	if got.Release != "6.1.0-50-amd64" || got.Version != kver.V(6, 1) && got.Version.Compare(kver.V(6, 1)) != 0 || got.Vermagic != ours || got.Arch == nil || got.Arch.Name != "x86_64" {
		t.Errorf("got %q %v %q %v", got.Release, got.Version, got.Vermagic, got.Arch)
	}
	if got.Struct != (compat.StructModule{Size: 0x380, Init: 160, Exit: 240}) {
		t.Errorf("struct module: %+v", got.Struct)
	}
	if got.Tree.Modules != 6 || got.Tree.Damaged != 1 {
		t.Errorf("%d modules, %d damaged", got.Tree.Modules, got.Tree.Damaged)
	}
	if !got.NoExports || got.Learned == nil {
		t.Fatalf("what the kernel exports is known (%v), what modules use is not (%v)", !got.NoExports, got.Learned == nil)
	}
	for name, crc := range map[string]uint32{"module_layout": 1, "_printk": 2} { // most say so
		if e, ok := got.Find([]byte(name), "me"); !ok || e.CRC != crc || e.Owner != "" {
			t.Errorf("%s: got %+v, %v", name, e, ok)
		}
	}
	if e, ok := got.Find([]byte("export1"), "me"); !ok || e.CRC != 0x100 || e.Owner != "m1" {
		t.Errorf("export1: got %+v, %v", e, ok)
	}
	if !got.ModVersions || got.MissingCRC != compat.Yes {
		t.Errorf("modversions %v, Debian's rule %v", got.ModVersions, got.MissingCRC)
	}
	if p := got.Builtin("usb_core"); p != "kernel/drivers/usb/usb-core.ko" {
		t.Errorf("built in: %q", p)
	}
	var needs []string
	for _, p := range got.Deps()("user") {
		needs = append(needs, filepath.Base(p))
	}
	if diff := cmp.Diff([]string{"m1.ko", "m0.ko"}, needs); diff != "" {
		t.Errorf("needs (-want +got)\n%s", diff)
	}
}

func TestFactsKnowWhereTheyCameFrom(t *testing.T) {
	mod := ko("one", ours, 0x380, nil)
	dir := write(t, map[string]string{"a.ko": mod, "b.ko": mod, "cfg": dotCfg})
	got, err := build(t, filepath.Join(dir, "a.ko"), filepath.Join(dir, "b.ko"), filepath.Join(dir, "cfg"))
	if err != nil {
		t.Fatal(err)
	}
	f := got.Fact("struct module size")
	if f == nil || f.Value != "0x380" || f.From != filepath.Join(dir, "a.ko") || len(f.Also) != 1 || f.Also[0] != filepath.Join(dir, "b.ko") {
		t.Errorf("got %+v", f)
	}
	if got.Is("NUMA") != compat.No || got.Is("SMP") != compat.Yes || got.Is("NEVER_HEARD_OF") != compat.No {
		t.Error("a .config answers for what it does not mention, too: not set")
	}
	if len(got.Conflicts) != 0 {
		t.Errorf("conflicts: %q", got.Conflicts)
	}
}

func TestFlagsThatMakeNoSense(t *testing.T) {
	b := New("", 1<<20, 1)
	if err := b.Kernel("six"); err == nil {
		t.Error("a version that is none")
	}
	if err := b.Arch("z80"); err == nil {
		t.Error("a machine that is none")
	}
	if err := b.Arch("amd64"); err != nil {
		t.Error(err)
	}
	dir := write(t, map[string]string{"x": "text"})
	if err := b.Cert(filepath.Join(dir, "x")); err == nil {
		t.Error("a certificate that is none")
	}
	if err := b.With(dir); err == nil {
		t.Error("a directory without modules")
	}
}

// FuzzTarget: whatever a file holds, it is evidence of some kind or an error that names the file: no panic, and bounded.
func FuzzTarget(f *testing.F) {
	mod := ko("one", ours, 0x380, map[string]uint32{"module_layout": 1, "_printk": 2}, "one_export")
	for _, s := range []string{rows, dotCfg, "ffffffff81000000 T _text\n", mod, gzipped(rows), "0x1 a\n", "CONFIG_A=y\n", "\x7fELF", "MZ", "\x1f\x8b", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd", "\x00\x00\x00\x00HdrS"} {
		f.Add([]byte(s), byte(0))
		f.Add([]byte(s), byte(3))
	}
	dir := f.TempDir()
	n := 0
	f.Fuzz(func(t *testing.T, b []byte, kind byte) {
		n++
		path := filepath.Join(dir, fmt.Sprintf("file%d", n%8))
		if err := os.WriteFile(path, b, 0o666); err != nil {
			t.Fatal(err)
		}
		prefix := ""
		if k := int(kind) % (len(prefixes) + 1); k > 0 {
			prefix = prefixes[k-1] + ":"
		}
		got, err := build(t, prefix+path)
		switch {
		case err != nil && !strings.Contains(err.Error(), path):
			t.Errorf("the error does not name the file: %v", err)
		case err == nil && len(got.Evidence) == 0:
			t.Error("taken, and nothing is said of it")
		}
	})
}

func TestMagicOf(t *testing.T) {
	for _, c := range []struct{ release, machine, options, want string }{
		{"6.1.0-50-amd64", "x86_64", "SMP PREEMPT_BUILD PREEMPT_DYNAMIC MODULE_UNLOAD MODVERSIONS", ours},
		{"5.10.0-32-amd64", "x86_64", "SMP PREEMPT_VOLUNTARY MODULE_UNLOAD MODVERSIONS", "5.10.0-32-amd64 SMP mod_unload modversions "},
		{"5.10.0-32-rt-amd64", "x86_64", "SMP PREEMPT_RT MODULE_UNLOAD MODVERSIONS", "5.10.0-32-rt-amd64 SMP preempt_rt mod_unload modversions "},
		{"7.2.13+deb14-arm64", "arm64", "SMP PREEMPT_BUILD MODULE_UNLOAD", "7.2.13+deb14-arm64 SMP preempt mod_unload aarch64"},
		{"7.2.13-rt", "x86_64", "SMP PREEMPT_BUILD PREEMPT_RT", "7.2.13-rt SMP preempt_rt "},
		{"6.12.1-rt", "x86_64", "SMP PREEMPT_BUILD PREEMPT_RT", "6.12.1-rt SMP preempt "},
		{"6.14.0-rt", "x86_64", "SMP PREEMPT_BUILD PREEMPT_RT", ""}, // which came first then is not known
		{"5.15.0", "x86_64", "PREEMPT_DYNAMIC", ""},
		{"6.1.0", "arm", "SMP", ""}, // options of the machine decide
		{"6.1.0", "x86_64", "RANDSTRUCT", ""},
		{"", "x86_64", "SMP", ""},
	} {
		config := map[string]string{}
		for o := range strings.FieldsSeq(c.options) {
			config[o] = "y"
		}
		if got := magicOf(c.release, c.machine, config); got != c.want {
			t.Errorf("%s %s %s: got %q want %q", c.release, c.machine, c.options, got, c.want)
		}
	}
	for options, want := range map[string]string{"X86_64 64BIT": "x86_64", "ARM64": "arm64", "RISCV 64BIT": "riscv64", "RISCV 32BIT": "", "PPC64": "ppc64", "PPC64 CPU_LITTLE_ENDIAN": "ppc64le", "MIPS": ""} {
		config := map[string]string{}
		for o := range strings.FieldsSeq(options) {
			config[o] = "y"
		}
		if got := machineOf(config); got != want {
			t.Errorf("%s: got %q want %q", options, got, want)
		}
	}
}
