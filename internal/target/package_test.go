package target

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kotool/internal/debtest"
)

const (
	headersDir = "./usr/src/linux-headers-6.1.0-50-amd64/"
	modulesDir = "./lib/modules/6.1.0-50-amd64/kernel/"
)

func debFile(name, data string) debtest.File { return debtest.File{Name: name, Data: []byte(data)} }

// packageOf writes a package and returns its path.
func packageOf(t *testing.T, container string, files ...debtest.File) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "linux.deb")
	control := "Package: linux-test\nVersion: 1\nArchitecture: amd64\nMaintainer: Debian Kernel Team <debian-kernel@lists.debian.org>\n"
	if err := os.WriteFile(p, debtest.Deb(container, control, files...), 0o666); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPackagesOfOneKernel(t *testing.T) {
	symvers := "0x00000001\tmodule_layout\tvmlinux\tEXPORT_SYMBOL\t\n0x00000002\t_printk\tvmlinux\tEXPORT_SYMBOL\t\n"
	headers := packageOf(t, "xz", debFile(headersDir+"Module.symvers", symvers), debFile(headersDir+".config", dotCfg),
		debFile(headersDir+"include/generated/utsrelease.h", "#define UTS_RELEASE \"6.1.0-50-amd64\"\n"), debFile(headersDir+"include/config/kernel.release", "6.1.0\n"),
		debFile("./usr/lib/debug/Module.symvers", "garbage"), debFile("./usr/src/x/scripts/config", "garbage"))
	modules := packageOf(t, "zstd", debFile(modulesDir+"m0.ko", ko("m0", ours, 0x380, map[string]uint32{"module_layout": 1}, "export0")),
		debFile(modulesDir+"user.ko", ko("user", ours, 0x380, map[string]uint32{"module_layout": 1, "export0": 0x100})), debFile(modulesDir+"half.ko", ko("half", ours, 0x380, nil)[:100]),
		debFile("./lib/modules/6.1.0-50-amd64/modules.builtin", "kernel/fs/ext4/ext4.ko\n"), debFile("./boot/System.map-6.1.0-50-amd64", "ffffffffffffffff B stub\n"),
		debFile("./boot/config-6.1.0-50-amd64", strings.ReplaceAll(dotCfg, "CONFIG_BUILD_SALT", "# CONFIG_BUILD_SALT")))
	for name, evidence := range map[string][]string{"one after the other": {headers, modules}, "with a comma": {headers + "," + modules}, "by prefix": {"deb:" + modules + "," + headers}} {
		got, err := build(t, evidence...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(got.Conflicts) > 0 {
			t.Errorf("%s: conflicts %q", name, got.Conflicts)
		}
		if got.Release != "6.1.0-50-amd64" || got.Vermagic != ours || got.Struct.Size != 0x380 || got.NoExports || got.Arch == nil || got.Arch.Name != "x86_64" {
			t.Errorf("%s: got release %q vermagic %q struct %#x arch %v", name, got.Release, got.Vermagic, got.Struct.Size, got.Arch)
		}
		if e, ok := got.Find([]byte("export0"), ""); !ok || e.Owner != "m0" {
			t.Errorf("%s: export0: got %+v %v", name, e, ok)
		}
		if e, ok := got.Find([]byte("_printk"), ""); !ok || e.CRC != 2 || e.Owner != "" {
			t.Errorf("%s: _printk: got %+v %v", name, e, ok)
		}
		if got.Builtin("ext4") == "" || got.Is("NUMA").String() != "no" || got.Address != nil {
			t.Errorf("%s: built in %q, NUMA %v, addresses %v", name, got.Builtin("ext4"), got.Is("NUMA"), got.Address != nil)
		}
		if got.Tree.Modules != 2 || got.Tree.Damaged != 1 {
			t.Errorf("%s: %d modules, %d damaged", name, got.Tree.Modules, got.Tree.Damaged)
		}
		if f := got.Evidence; !slices.ContainsFunc(f, func(e Evidence) bool {
			return e.Kind == "config" && strings.HasSuffix(e.Path, "boot/config-6.1.0-50-amd64")
		}) && name != "one after the other" {
			t.Errorf("%s: the image's .config comes before that of the headers: got %+v", name, f)
		}
		if f := got.Fact("vendor"); f == nil || f.Value != "Debian" {
			t.Errorf("%s: vendor %+v", name, f)
		}
		needs := got.Deps()("user")
		if len(needs) != 1 || !strings.HasSuffix(needs[0], modulesDir[2:]+"m0.ko") {
			t.Errorf("%s: user needs %q", name, needs)
		}
	}
}

func TestPackagesThatAreNoEvidence(t *testing.T) {
	good := debFile(modulesDir+"m0.ko", ko("m0", ours, 0x380, nil, "export0"))
	one := packageOf(t, "none", good)
	two := packageOf(t, "none", debFile("./lib/modules/6.1.0-51-amd64/kernel/m0.ko", string(good.Data)))
	images := packageOf(t, "none", debFile("./boot/vmlinuz-1", "x"), debFile("./boot/vmlinuz-2", "x"))
	empty := packageOf(t, "none", debFile("./usr/share/doc/x", "x"))
	broken := packageOf(t, "none", debFile(headersDir+"Module.symvers", "0xzz\tx\tvmlinux\tEXPORT_SYMBOL\n"), good)
	b, err := os.ReadFile(one)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut.deb")
	if err := os.WriteFile(cut, b[:len(b)/2], 0o666); err != nil {
		t.Fatal(err)
	}
	for evidence, want := range map[string]string{
		one + "," + two:              "modules of 6.1.0-50-amd64 and 6.1.0-51-amd64: packages of one kernel are wanted",
		images:                       "boot/vmlinuz-1 and " + images + ": boot/vmlinuz-2: packages of one kernel are wanted",
		empty:                        "nothing of a kernel's is in the package linux-test",
		"deb:" + empty + "," + empty: "nothing of a kernel's is in the package linux-test",
		broken:                       broken + ": " + headersDir[2:] + "Module.symvers: line 1",
		cut:                          "data.tar: offset 0x",
		"deb:" + filepath.Dir(two) + "/nosuch.deb":               "no such file",
		"deb:" + filepath.Dir(filepath.Dir(filepath.Dir(empty))): "in which no .deb is",
	} {
		if _, err := build(t, evidence); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", evidence, err, want)
		}
	}
}

func TestConflictsSayWhoWonAndWhy(t *testing.T) {
	dir := write(t, map[string]string{
		"a.ko": ko("one", ours, 0x380, map[string]uint32{"module_layout": 1, "_printk": 2}), "config": dotCfg,
		"other.config": strings.ReplaceAll(strings.ReplaceAll(dotCfg, "6.1.176", "6.12.9"), "CONFIG_PREEMPT_BUILD=y\n", ""),
		"off.config":   strings.ReplaceAll(dotCfg, "CONFIG_MODVERSIONS=y\n", "# CONFIG_MODVERSIONS is not set\n"),
		"symvers":      "0x00000001\tmodule_layout\tvmlinux\tEXPORT_SYMBOL\t\n0x00000009\t_printk\tvmlinux\tEXPORT_SYMBOL\t\n",
		"symvers2":     "0x00000001\tmodule_layout\tvmlinux\tEXPORT_SYMBOL\t\n0x00000002\t_printk\tvmlinux\tEXPORT_SYMBOL\t\n",
	})
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, c := range []struct {
		name string
		give func(b *Builder) []error
		want []string
	}{
		{"a flag before a module", func(b *Builder) []error {
			b.Vermagic("6.12.0 SMP")
			return []error{b.Against(at("a.ko"))}
		}, []string{`vermagic: "6.12.0 SMP" (from --vermagic) wins over "` + ours + `" (from ` + at("a.ko") + "): a flag counts before modules and Module.symvers"}},
		{"evidence before a version number", func(b *Builder) []error { return []error{b.Kernel("5.4"), b.Against(at("a.ko"))} },
			[]string{"version: 6.1 (release 6.1.0-50-amd64) wins over 5.4 (from --kernel): evidence counts before a version number"}},
		{"the same version", func(b *Builder) []error { return []error{b.Kernel("6.1"), b.Against(at("a.ko"))} }, nil},
		{"a module that does not fit the Module.symvers", func(b *Builder) []error { return []error{b.Symvers(at("symvers")), b.Against(at("a.ko"))} },
			[]string{"exports: 1 of the 2 CRCs that " + at("a.ko") + " expects differ from those of " + at("symvers") + ", which counts: they are of two builds"}},
		{"one that does", func(b *Builder) []error { return []error{b.Symvers(at("symvers2")), b.Against(at("a.ko"))} }, nil},
		{"two Module.symvers", func(b *Builder) []error { return []error{b.Symvers(at("symvers")), b.Symvers(at("symvers2"))} },
			[]string{"exports: 1 of the 2 CRCs in both differ between " + at("symvers") + " and " + at("symvers2") + ": the first counts; they are of two builds"}},
		{"a .config of another kernel", func(b *Builder) []error { return []error{b.ConfigFile(at("other.config")), b.Against(at("a.ko"))} },
			[]string{"config: " + at("other.config") + " is of Linux 6.12.9, the kernel is 6.1.0-50-amd64", `(which ` + at("other.config") + " makes): it says what the configuration was"}},
		{"a .config without CRCs", func(b *Builder) []error { return []error{b.ConfigFile(at("off.config")), b.Symvers(at("symvers"))} },
			[]string{"CRCs: " + at("off.config") + " says that CONFIG_MODVERSIONS is not set, and " + at("symvers") + " has CRCs: the .config counts"}},
		{"all of one kernel", func(b *Builder) []error {
			return []error{b.ConfigFile(at("config")), b.Symvers(at("symvers2")), b.Against(at("a.ko"))}
		}, nil},
		{"another machine", func(b *Builder) []error { return []error{b.Arch("arm64"), b.Against(at("a.ko"))} },
			[]string{`machine: "arm64" (from --arch) wins over "x86_64"`}},
	} {
		b := New("test", 1<<20, 1)
		for _, err := range c.give(b) {
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
		}
		got, err := b.Target()
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		all := strings.Join(got.Conflicts, "\n")
		if len(c.want) == 0 && all != "" {
			t.Errorf("%s: got %s", c.name, all)
		}
		for _, w := range c.want {
			if !strings.Contains(all, w) {
				t.Errorf("%s: got\n%s\nwant\n%s", c.name, all, w)
			}
		}
	}
}

func TestVersionOfAConfig(t *testing.T) {
	for head, want := range map[string]string{
		"#\n# Automatically generated file; DO NOT EDIT.\n# Linux/x86 6.1.176 Kernel Configuration\n#\n": "6.1.176",
		"# Linux/arm64 7.2.0-rc1 Kernel Configuration\n":                                                 "7.2",
		"# Linux/\nCONFIG_A=y\n": "0.0",
		"CONFIG_A=y\n":           "0.0",
	} {
		if got := versionOfConfig(bytes.Clone([]byte(head))); !strings.HasPrefix(want, got.String()) {
			t.Errorf("%q: got %v want %s", head, got, want)
		}
	}
}
