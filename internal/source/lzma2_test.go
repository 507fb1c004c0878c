package source

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/mikelolasagasti/xz"
)

// fast decodes b by the fast path alone.
func fast(d *lzma2, b []byte) ([]byte, bool) {
	size, _ := promised("xz", b, memSource(b))
	if size == 0 || size > 1<<26 {
		return nil, false
	}
	out := make([]byte, size)
	ok := d.plainXZ(out, b)
	return out, ok
}

func library(b []byte) ([]byte, error) {
	r, err := xz.NewReader(bytes.NewReader(b), maxWindow)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// packings are ways to call xz whose output the fast path must take.
var packings = [][]string{
	{"--check=crc32", "--lzma2=dict=1MiB"}, {"--check=crc64"}, {"--check=none"}, {"-9e"}, {"-0"},
	{"--lzma2=preset=6,lc=0,lp=4,pb=0"}, {"--lzma2=preset=6,lc=4,lp=0,pb=4"}, {"--lzma2=preset=1,lc=1,lp=3,pb=2,dict=4KiB"}, {"--block-size=100KiB", "--check=crc32"},
}

func pack(t testing.TB, plain []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("xz", append([]string{"-T1", "-c"}, args...)...)
	cmd.Stdin = bytes.NewReader(plain)
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("xz(1) is not here: %v", err)
	}
	return out
}

func samples(t testing.TB) [][]byte {
	t.Helper()
	var list [][]byte
	files, err := filepath.Glob("../../testdata/ko/*/*.ko")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d fixtures (%v)", len(files), err)
	}
	var all []byte
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	noise := make([]byte, 300<<10) // does not compress: stored chunks
	x := uint32(1)
	for i := range noise {
		x = x*1664525 + 1013904223
		noise[i] = byte(x >> 24)
	}
	return append(list, all[:8208], all, noise, append(append([]byte{}, noise[:70000]...), all[:100000]...), bytes.Repeat([]byte("ab"), 3<<20), []byte("x"))
}

func TestTheFastXZDecoderIsTheLibrary(t *testing.T) {
	d := &lzma2{}
	for i, plain := range samples(t) {
		for _, args := range packings {
			packed := pack(t, plain, args...)
			got, ok := fast(d, packed)
			if !ok || !bytes.Equal(got, plain) {
				t.Errorf("sample %d, %v: ok %v, equal %v", i, args, ok, bytes.Equal(got, plain))
			}
		}
	}
}

func TestTheFastXZDecoderLeavesTheRestToTheLibrary(t *testing.T) {
	plain := samples(t)[1]
	d := &lzma2{}
	for _, args := range [][]string{{"--check=sha256"}, {"--x86", "--lzma2"}, {"--delta", "--lzma2"}} {
		if _, ok := fast(d, pack(t, plain, args...)); ok {
			t.Errorf("%v was taken", args)
		}
	}
	packed := pack(t, plain)
	if _, ok := fast(d, append(bytes.Clone(packed), packed...)); ok {
		t.Error("two streams were taken for one")
	}
}

// TestDamageIsNeverTaken flips every bit of a small file in turn, and cuts it everywhere: the fast path must not take what the library refuses.
func TestDamageIsNeverTaken(t *testing.T) {
	d := &lzma2{}
	packed := pack(t, samples(t)[0], "--check=crc32", "--lzma2=dict=1MiB")
	for i := range packed {
		for bit := range 8 {
			b := bytes.Clone(packed)
			b[i] ^= 1 << bit
			if got, ok := fast(d, b); ok {
				if want, err := library(b); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("byte %d bit %d: taken, the library says %v", i, bit, err)
				}
			}
		}
		if _, ok := fast(d, packed[:i]); ok {
			t.Fatalf("cut at %d: taken", i)
		}
	}
}

// FuzzLZMA2: no panic; what is taken is what the library makes of it.
func FuzzLZMA2(f *testing.F) {
	f.Add(pack(f, []byte("hello, hello, hello"), "--check=crc32"))
	f.Add(pack(f, samples(f)[0], "--check=none"))
	d := &lzma2{}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, ok := fast(d, b)
		if !ok {
			return
		}
		if want, err := library(b); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("taken, the library says %v", err)
		}
	})
}

func BenchmarkXZ(b *testing.B) {
	plain := samples(b)[1]
	packed := pack(b, plain, "--check=crc32", "--lzma2=dict=1MiB")
	b.Run("fast", func(b *testing.B) {
		b.SetBytes(int64(len(plain)))
		d, out := &lzma2{}, make([]byte, len(plain))
		for b.Loop() {
			if !d.plainXZ(out, packed) {
				b.Fatal("not taken")
			}
		}
	})
	b.Run("library", func(b *testing.B) {
		b.SetBytes(int64(len(plain)))
		for b.Loop() {
			if _, err := library(packed); err != nil {
				b.Fatal(err)
			}
		}
	})
}
