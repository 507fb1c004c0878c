//go:build e2e

package e2e

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The environment of these tests:
//
//	KERNELS       directories of unpacked kernels, or of several such, separated as in PATH
//	MACHINE       of those the ones of this machine only: arm64, riscv64, s390x, ppc64el, armhf, i386, amd64, ...
//	RECORDINGS    directories of recordings: these are compared without any boot
//	E2E_OUT       where recordings are written; else a temporary directory
//	E2E_CONSOLE   "1" shows what the machines write to their serial ports
//	E2E_LONG      "1" also tries what kernels have died of, which takes a boot each
//	E2E_MUTANTS   a directory of further files to try: copies of dummy.ko, damaged by somebody else
//	E2E_CPU       QEMU's name of the CPU, when it is not to be the usual one
//	E2E_CPUS, E2E_APPEND, E2E_KASLR: as Job has them

// modulesWanted are loaded where a kernel has them, after what they depend on. What they do in their init needs no hardware.
var modulesWanted = []string{"loop", "brd", "vfat", "nls_utf8", "veth", "tun", "wireguard", "tcp_bbr", "dm-mod", "zram", "crc32c-intel", "lz4_compress"}

// paramsOf are given to modules that take them.
var paramsOf = map[string]string{"loop": "max_loop=2", "brd": "rd_nr=1"}

// damaged is the module that is damaged, and stays out of the others' way. twin is a module with exports that is loaded while a copy of it is tried.
const (
	damaged = "dummy"
	twin    = "fat"
)

func TestKernels(t *testing.T) {
	list := filepath.SplitList(os.Getenv("KERNELS"))
	if len(list) == 0 {
		t.Skip("KERNELS names no kernels: give it directories that bench/fetch-kernel has made")
	}
	machine, n := os.Getenv("MACHINE"), 0
	for _, dir := range kernelsIn(list) {
		k, err := OpenKernel(dir)
		if err == nil && machine != "" && k.Machine.Name != machine {
			continue
		}
		n++
		t.Run(filepath.Base(dir), func(t *testing.T) {
			if err != nil {
				t.Fatal(err)
			}
			compareWithSimulation(t, record(t, k), k.Evidence()...)
		})
	}
	if n == 0 {
		t.Fatalf("no kernel of %q is in %q", machine, list)
	}
}

// kernelsIn are the directories of unpacked kernels: those of the list, and those in them where one holds several.
func kernelsIn(list []string) []string {
	var out []string
	for _, dir := range list {
		n := len(out)
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if sub := filepath.Join(dir, e.Name()); hasModules(sub) && !hasModules(dir) {
				out = append(out, sub)
			}
		}
		if len(out) == n {
			out = append(out, dir)
		}
	}
	return out
}

func hasModules(dir string) bool {
	for _, p := range []string{"lib/modules", "usr/lib/modules"} {
		if _, err := os.Stat(filepath.Join(dir, p)); err == nil {
			return true
		}
	}
	return false
}

// record records a kernel, and returns the directory of the recording.
func record(t *testing.T, k *Kernel) string {
	t.Helper()
	job := jobOf(t, k)
	start := time.Now()
	rec, err := Record(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	root := os.Getenv("E2E_OUT")
	if root == "" {
		root = t.TempDir()
	}
	name := recordingName(k)
	out := filepath.Join(root, "mini", name)
	if err := rec.Write(out); err != nil {
		t.Fatal(err)
	}
	if err := rec.WriteVerdicts(root, name); err != nil {
		t.Fatal(err)
	}
	var loaded, refused, died int
	for _, n := range rec.Names() {
		switch o := rec.Results[n]; {
		case o.Errno == 0:
			loaded++
		case o.Errno < 0:
			died++
		default:
			refused++
		}
	}
	t.Logf("%s: %d loads in %d boots, %.1f s: %d loaded, %d refused, %d died", k.Release, len(rec.Results), len(rec.Boots), time.Since(start).Seconds(), loaded, refused, died)
	checkRecording(t, rec)
	return out
}

// recordingName is MACHINE-KERNEL: amd64-6.12.
func recordingName(k *Kernel) string {
	parts := strings.SplitN(k.Release, ".", 3)
	return k.Machine.Name + "-" + strings.Join(parts[:min(2, len(parts))], ".")
}

func jobOf(t *testing.T, k *Kernel) *Job {
	t.Helper()
	job := &Job{
		Kernel: k, CPU: os.Getenv("E2E_CPU"), Append: os.Getenv("E2E_APPEND"), KASLR: os.Getenv("E2E_KASLR") != "",
		Log: t.Logf,
	}
	if s := os.Getenv("E2E_CPUS"); s != "" {
		if _, err := fmt.Sscan(s, &job.CPUs); err != nil {
			t.Fatalf("E2E_CPUS: %v", err)
		}
	}
	if os.Getenv("E2E_CONSOLE") == "1" {
		job.Console = os.Stderr
	}
	wanted := slices.DeleteFunc(slices.Clone(modulesWanted), func(n string) bool { return !k.Has(strings.ReplaceAll(n, "-", "_")) })
	var err error
	if job.Modules, err = k.Modules(wanted...); err != nil {
		t.Fatal(err)
	}
	for i := range job.Modules {
		job.Modules[i].Params = paramsOf[job.Modules[i].Name]
	}
	ours := fixtures(t, k.Release)
	for _, m := range ours {
		if m.Name == "paramkinds" {
			continue // is damaged below
		}
		job.Modules = append(job.Modules, m)
	}
	var bad []Mutant
	add := func(list []Mutant, err error) {
		if err != nil {
			t.Fatal(err)
		}
		bad = append(bad, list...)
	}
	for _, m := range job.Modules {
		if m.Name == twin || m.Name == "hello" {
			add(Twins(m))
		}
	}
	if k.Has(damaged) {
		base, err := k.Modules(damaged)
		if err != nil {
			t.Fatal(err)
		}
		add(Mutants(base[len(base)-1]))
	}
	for _, m := range ours {
		if m.Name == "paramkinds" {
			add(Mutants(m))
		}
	}
	if dir := os.Getenv("E2E_MUTANTS"); dir != "" {
		list, err := filepath.Glob(filepath.Join(dir, "*.ko"))
		if err != nil || len(list) == 0 {
			t.Fatalf("E2E_MUTANTS: no modules in %s: %v", dir, err)
		}
		for _, p := range list {
			b, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			id := strings.TrimSuffix(filepath.Base(p), ".ko")
			bad = append(bad, Mutant{ID: id, What: id, Base: damaged, Name: damaged, File: b})
		}
	}
	if os.Getenv("E2E_LONG") != "1" {
		bad = slices.DeleteFunc(bad, func(m Mutant) bool { return m.Risky })
	}
	slices.SortStableFunc(bad, func(a, b Mutant) int { return cmp.Compare(risk(a), risk(b)) })
	job.Mutants = bad
	return job
}

// fixtures are the modules of testdata that were built for a kernel, in the order of their dependencies.
func fixtures(t *testing.T, release string) []Module {
	t.Helper()
	found, err := filepath.Glob(filepath.Join("..", "..", "testdata", "ko", "*", "*.ko"))
	if err != nil {
		t.Fatal(err)
	}
	var list []Module
	for _, name := range []string{"hello", "hello_user", "prop", "paramkinds"} {
		for _, p := range found {
			if filepath.Base(p) != name+".ko" {
				continue
			}
			b, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			if v, ok := modinfo(b, "vermagic"); ok && strings.HasPrefix(v, release+" ") {
				list = append(list, Module{Name: name, Path: "testdata/ko/" + filepath.Base(filepath.Dir(p)) + "/" + filepath.Base(p), File: b})
			}
		}
	}
	return list
}

// checkRecording holds the recording against what is known without a simulation.
func checkRecording(t *testing.T, rec *Recording) {
	t.Helper()
	j := rec.Job
	for i := range j.Modules {
		m := &j.Modules[i]
		o := rec.Results[m.Name]
		switch {
		case o == nil:
			t.Errorf("%s: was not loaded", m.Name)
		case o.Errno != 0 && strings.HasPrefix(m.Path, "testdata/"): // not every machine's kernel takes all of ours
			t.Logf("%s: errno %d (%s): %q", m.Name, o.Errno, o.Error, o.Dmesg)
		case o.Errno != 0:
			t.Errorf("%s: errno %d (%s), want it loaded: %q", m.Name, o.Errno, o.Error, o.Dmesg)
		case !j.NoStates && (rec.First.Reloc[m.Name] == nil || rec.First.Ready[m.Name] == nil):
			t.Errorf("%s: its states were not seen", m.Name)
		}
	}
	for i := range j.Mutants {
		m := &j.Mutants[i]
		if o := rec.Results[m.ID]; o == nil {
			t.Errorf("%s: was not tried", m.ID)
		} else {
			t.Logf("%-28s errno %3d taint %-6s %q", m.ID, o.Errno, o.Taint, o.Dmesg[:min(len(o.Dmesg), 6)])
		}
	}
}
