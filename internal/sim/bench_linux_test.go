package sim

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"kotool/internal/diag"
	"kotool/internal/elf"
	"kotool/internal/source"
)

// stageNames are the stages that are timed.
var stageNames = []string{"module_frob_arch_sections", "layout_and_allocate", "simplify_symbols", "apply_relocations"}

// BenchmarkStages loads amdgpu.ko of each tree in KOTOOL_BENCH, directories separated as in PATH, or the largest module where there is none,
// and reports the stages that do the work: CPU time of the thread, by relocation and by symbol.
func BenchmarkStages(b *testing.B) {
	list := filepath.SplitList(os.Getenv("KOTOOL_BENCH"))
	if len(list) == 0 {
		b.Skip("KOTOOL_BENCH names no directories of modules")
	}
	for _, dir := range list {
		path := largest(b, dir)
		src, err := source.Open(path, source.Options{})
		if err != nil {
			b.Fatal(err)
		}
		data, err := src.ReadAll()
		if err != nil {
			b.Fatal(err)
		}
		b.Run(filepath.Base(dir)+"/"+strings.SplitN(filepath.Base(path), ".", 2)[0], func(b *testing.B) { benchmarkStages(b, bytes.Clone(data)) })
	}
}

func benchmarkStages(b *testing.B, data []byte) {
	v := version(data)
	var took [4]int64
	var relocs, symbols int
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for i, name := range stageNames {
		run := stages[name]
		stages[name] = func(s *state) (diag.Errno, error) {
			from := threadTime()
			errno, err := run(s)
			took[i] += threadTime() - from
			return errno, err
		}
		defer func() { stages[name] = run }()
	}
	b.ReportAllocs()
	k := granting(v)
	for b.Loop() {
		res := k.Load(RequestOf(elf.Mem(data)))
		if res.Errno != 0 || res.Undefined != nil {
			b.Fatal(res.Errno, res.Undefined, res.Log)
		}
		relocs, symbols = res.Applied, res.Load.Symbols().Len()
		k.Forget(res.Module)
	}
	n := float64(b.N)
	b.ReportMetric(float64(took[0])/n/1e6, "frob-ms")
	b.ReportMetric(float64(took[1])/n/1e6, "layout-ms")
	b.ReportMetric(float64(took[2])/n/float64(symbols), "ns/symbol")
	b.ReportMetric(float64(took[3])/n/float64(relocs), "ns/reloc")
	b.ReportMetric(float64(relocs), "relocs")
}

// threadTime is the CPU time of this thread, ns. Source: clock_gettime(2), CLOCK_THREAD_CPUTIME_ID.
func threadTime() int64 {
	var ts syscall.Timespec
	_, _, _ = syscall.Syscall(syscall.SYS_CLOCK_GETTIME, 3, uintptr(unsafe.Pointer(&ts)), 0)
	return ts.Nano()
}

// largest is amdgpu.ko below a directory, or the largest module there.
func largest(b *testing.B, dir string) string {
	best, size := "", int64(0)
	for p, err := range source.Expand([]string{dir}, true) {
		if err != nil {
			b.Fatal(err)
		}
		if strings.HasPrefix(filepath.Base(p), "amdgpu.ko") {
			return p
		}
		if st, err := os.Stat(p); err == nil && st.Size() > size {
			best, size = p, st.Size()
		}
	}
	if best == "" {
		b.Fatalf("%s: no modules", dir)
	}
	return best
}

func benchmark(b *testing.B, path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	v := version(data)
	b.ReportAllocs()
	for b.Loop() {
		if res := granting(v).Load(RequestOf(elf.Mem(data))); res.Errno != 0 {
			b.Fatal(res.Errno, res.Log)
		}
	}
}

func BenchmarkLoadHello(b *testing.B) { benchmark(b, "../../testdata/ko/amd64-6.1/hello.ko") }
func BenchmarkLoadArm64(b *testing.B) { benchmark(b, "../../testdata/ko/arm64-6.1/hello.ko") }
