package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// synthetic is a recording of hello, of a module that the kernel died of, and of two mutants.
func synthetic(t *testing.T) *Recording {
	t.Helper()
	file := fixtureModules(t)["amd64-6.1/hello"]
	k := &Kernel{Dir: "some/bookworm-amd64-amd64", Machine: &machines[0], Release: "6.1.0-50-amd64"}
	job := &Job{
		Kernel:  k,
		Modules: []Module{{Name: "hello", Path: "lib/hello.ko", File: file, Params: "a=1"}, {Name: "bad", File: file}},
		Mutants: []Mutant{
			{ID: "hello-crc", What: "another CRC", Base: "hello", Name: "hello", File: file, Flags: 2},
			{ID: "hello-intact", Base: "hello", Name: "hello", File: file},
			{ID: "hello-dead", Base: "hello", Name: "hello", File: file, Risky: true},
		},
	}
	sections := []StateSection{{Off: -1}, {Name: ".text", Idx: 1, Type: 1, Flags: 6, Addr: 0xffffffffc0000000, Size: 4, Off: 0}}
	return &Recording{
		Job: job, Guest: &Guest{Release: k.Release, Version: "Linux", Cmdline: "quiet"},
		First: &Run{
			Modules:  "hello 16384 1 - Live 0xffffffffc0000000 (OE)\n",
			Kallsyms: []byte("ffffffff81000000 T _text\nffffffff81000010 T _printk\nffffffff81000020 D param_ops_int\nffffffff81000030 T not_wanted\nffffffffc0000000 t f\t[hello]\nodd\n"),
			Memory:   map[string]string{"_printk": "00", "param_ops_int": strings.Repeat("ab", 16), "boot_cpu_data": "01"},
			Reloc:    map[string]*State{"hello": {Sections: sections, Bytes: []byte("abcd"), Module: 0xffffffffc0001000}},
			Ready:    map[string]*State{"hello": {Sections: sections, Bytes: []byte("abce"), Module: 0xffffffffc0001000}},
			Live:     map[string]Live{"hello": {Sections: []Section{{Name: ".text", Addr: 0xffffffffc0000000, Size: 4}}, Bytes: []byte("abcf")}},
		},
		Results: map[string]*Outcome{
			"hello": {
				ID: "hello", Dmesg: []string{"<6>hello: hello, world (43)"}, Taint: "12288", ProcModules: "hello 16384 0 - Live 0xffffffffc0000000 (OE)",
				Sysfs: &Sysfs{Taint: "OE"},
			},
			"bad":          {ID: "bad", Errno: Oopsed},
			"hello-crc":    {ID: "hello-crc", Errno: 8, Error: "exec format error", Dmesg: []string{"<3>no"}},
			"hello-intact": {ID: "hello-intact"},
			"hello-dead":   {ID: "hello-dead", Errno: Hung},
		},
	}
}

func TestRecordingIsWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rec := synthetic(t)
	if err := rec.Write(dir); err != nil {
		t.Fatal(err)
	}
	var list []recordedModule
	if err := readJSON(filepath.Join(dir, "modules.json"), &list); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range list {
		names = append(names, m.Name)
	}
	if d := cmp.Diff([]string{"hello", "bad", "hello-crc"}, names); d != "" {
		t.Error(d)
	}
	if m := list[0]; m.ThisModule != 0xffffffffc0001000 || len(m.Reloc) != 2 || len(m.Live) != 1 || m.ModTaint == nil || *m.ModTaint != "OE" ||
		m.ProcModules != "hello 16384 1 - Live 0xffffffffc0000000 (OE)" || m.Params != "a=1" {
		t.Errorf("hello: %+v", m)
	}
	if m := list[2]; m.Errno != 8 || m.Flags != 2 || m.What != "another CRC" {
		t.Errorf("hello-crc: %+v", m)
	}
	for state, want := range map[string]string{"reloc": "abcd", "ready": "abce", "live": "abcf"} {
		if b, err := readMaybeGzip(filepath.Join(dir, "modules", "hello."+state+".bin")); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", state, b, err)
		}
	}
	b, err := readModule(filepath.Join(dir, "ko", "hello-crc.ko.xz"))
	if err != nil || string(b) != string(rec.Job.Mutants[0].File) {
		t.Errorf("hello-crc.ko.xz: %d bytes, %v", len(b), err)
	}
	b, err = readMaybeGzip(filepath.Join(dir, "kallsyms"))
	want := "ffffffff81000000 T _text\nffffffff81000010 T _printk\nffffffffc0000000 t f\t[hello]\n"
	if err != nil || string(b) != want {
		t.Errorf("kallsyms: %q, %v; want %q", b, err, want)
	}
	var meta recordedMeta
	if err := readJSON(filepath.Join(dir, "meta.json"), &meta); err != nil {
		t.Fatal(err)
	}
	if meta.KernelDir != "bookworm-amd64-amd64" || meta.Memory["boot_cpu_data"] != "01" || meta.Symbols["_text"] != 0xffffffff81000000 || meta.CPU != "max" || meta.SMP != 2 {
		t.Errorf("meta.json: %+v", meta)
	}
}

func TestVerdictsAreWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := synthetic(t).WriteVerdicts(dir, "amd64-6.1"); err != nil {
		t.Fatal(err)
	}
	if _, err := readMaybeGzip(filepath.Join(dir, "verdicts-amd64-6.1.json")); err != nil {
		t.Error(err)
	}
	b, err := readModule(filepath.Join(dir, "mutants-amd64-6.1.tar.xz"))
	if err != nil || !strings.HasPrefix(string(b), "manifest.json") {
		t.Errorf("mutants: %d bytes, %v", len(b), err)
	}
}

func TestBootsGoOnBehindADeath(t *testing.T) {
	t.Parallel()
	job := synthetic(t).Job
	rec := &Recording{Job: job, Results: map[string]*Outcome{}}
	ids := func(steps []Step) (list []string) {
		for _, s := range steps {
			list = append(list, s.ID)
		}
		return list
	}
	// The first boot dies of "bad", which was to stay: it is left out, and the states are taken again.
	b := job.boot(nil, rec)
	if len(b.States) == 0 || !b.Plan.Dump {
		t.Error("the first boot does not read states")
	}
	if done, dead := rec.take(&b.Plan, &Run{Begun: "bad", Outcomes: map[string]*Outcome{"hello": {ID: "hello"}}}); done != 2 || !dead {
		t.Errorf("first boot: %d outcomes, dead: %t", done, dead)
	}
	b = job.boot(nil, rec)
	if d := cmp.Diff([]string{"hello"}, ids(b.Plan.Load)); d != "" || len(b.States) == 0 {
		t.Error(d)
	}
	// The second dies of the first mutant.
	run := &Run{Begun: "hello-crc", Outcomes: map[string]*Outcome{"hello": {ID: "hello"}}, Why: errSilent.Error()}
	if done, dead := rec.take(&b.Plan, run); done != 1 || dead {
		t.Errorf("second boot: %d outcomes, dead: %t", done, dead)
	}
	rec.First = run
	if o := rec.Results["hello-crc"]; o.Errno != Hung {
		t.Errorf("hello-crc: %+v", o)
	}
	// The third has only the others.
	b = job.boot(nil, rec)
	if d := cmp.Diff([]string{"hello-intact", "hello-dead"}, ids(b.Plan.Try)); d != "" || len(b.States) > 0 || b.Plan.Dump {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"hello"}, ids(b.Plan.Load)); d != "" {
		t.Error(d)
	}
}

func TestNamesThatAreThereTwiceAreRefused(t *testing.T) {
	t.Parallel()
	job := &Job{Modules: []Module{{Name: "a"}}, Mutants: []Mutant{{ID: "a"}}}
	if _, err := Record(t.Context(), job); err == nil {
		t.Error("got no error")
	}
	if _, err := Record(t.Context(), &Job{}); err == nil {
		t.Error("an empty job: got no error")
	}
}

func TestDeviceTreesAreFound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put := func(path string, b []byte) {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("lib/modules/6.1.0-50-rpi/kernel/hello.ko", bytes.ReplaceAll(fixtureModules(t)["armhf-6.1/hello"], []byte(" ARMv7 "), []byte(" ARMv6 ")))
	put("boot/vmlinuz-6.1.0-50-rpi", nil)
	if _, err := OpenKernel(dir); err == nil || !strings.Contains(err.Error(), ".dtb") {
		t.Errorf("no device tree: got %v", err)
	}
	const tree = "usr/lib/linux-image-6.1.0-50-rpi/bcm2835-rpi-a-plus.dtb"
	put(tree, nil)
	k, err := OpenKernel(dir)
	if err != nil {
		t.Fatal(err)
	}
	if k.Machine.Name != "armel" || k.DTB != filepath.Join(dir, tree) {
		t.Errorf("got %+v", k)
	}
}

func TestPackedKernelsAreUnpacked(t *testing.T) {
	t.Parallel()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	packed := z.EncodeAll([]byte("a kernel"), nil)
	file := append([]byte("MZ\x00\x00zimg"), make([]byte, 56)...)
	copy(file[24:], "zstd")
	orderOf(false).PutUint32(file[8:], 64)
	orderOf(false).PutUint32(file[12:], uint32(len(packed)))
	if b, err := unzboot(append(bytes.Clone(file), packed...)); err != nil || string(b) != "a kernel" {
		t.Errorf("got %q, %v", b, err)
	}
	if _, err := unzboot(append(bytes.Clone(file), packed[:4]...)); err == nil {
		t.Error("cut off: got no error")
	}
	if _, err := unzboot(append(bytes.Clone(file), make([]byte, len(packed))...)); err == nil {
		t.Error("damaged: got no error")
	}
	for _, other := range []string{"", "MZ", "\x7fELF"} {
		if b, err := unzboot([]byte(other)); b != nil || err != nil {
			t.Errorf("%q: got %q, %v", other, b, err)
		}
	}
}

func TestKernelDirectories(t *testing.T) {
	t.Parallel()
	files := fixtureModules(t)
	dir := t.TempDir()
	put := func(path string, b []byte) {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := OpenKernel(dir); err == nil {
		t.Error("an empty directory: got no error")
	}
	put("usr/lib/modules/6.1.0-50-amd64/kernel/a/hello.ko.xz", xzStored(files["amd64-6.1/hello"]))
	put("usr/lib/modules/6.1.0-50-amd64/kernel/b/hello_user.ko", files["amd64-6.1/hello_user"])
	if _, err := OpenKernel(dir); err == nil {
		t.Error("no image: got no error")
	}
	put("boot/vmlinuz-6.1.0-50-amd64", nil)
	k, err := OpenKernel(dir)
	if err != nil {
		t.Fatal(err)
	}
	if k.Machine.Name != "amd64" || k.Release != "6.1.0-50-amd64" || !k.Has("hello_user") {
		t.Errorf("got %+v", k)
	}
	if k.DTB != "" {
		t.Errorf("got %s, want no device tree", k.DTB)
	}
	list, err := k.Modules("hello-user")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range list {
		got = append(got, m.Name+" "+m.Path)
	}
	want := []string{"hello usr/lib/modules/6.1.0-50-amd64/kernel/a/hello.ko", "hello_user usr/lib/modules/6.1.0-50-amd64/kernel/b/hello_user.ko"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if _, err := k.Modules("nobody"); err == nil {
		t.Error("a module that is not there: got no error")
	}
}
