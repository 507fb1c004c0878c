package source

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// write makes a file in a directory of its own.
func write(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "m.ko")
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// what is an Input as the tests see it.
type what struct {
	Compression  string
	Size, Packed uint64
	Damaged      bool
}

func describe(in *Input) what {
	return what{in.Compression, in.Size(), in.PackedSize, in.Damage != nil}
}

// all reads an Input by Range, in one piece.
func all(t testing.TB, in *Input) []byte {
	t.Helper()
	b, err := in.Range(0, in.Size())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEveryContainerGivesThePlainBytes(t *testing.T) {
	small, big := sample(2000), sample(400_000)
	cases := []struct {
		name        string
		file        []byte
		plain       []byte
		compression string
	}{
		{"plain", small, small, "none"},
		{"plain, more than the head", big, big, "none"},
		{"gzip", packGzip(t, small), small, "gzip"},
		{"gzip of many blocks", packGzip(t, big), big, "gzip"},
		{"gzip of two members", append(packGzip(t, small), packGzip(t, small)...), append(small, small...), "gzip"},
		{"xz", xzSample(t), small, "xz"},
		{"xz of many blocks", storedXZ(big, 18, uint64(len(big))), big, "xz"},
		{"xz of two streams", append(xzSample(t), xzSample(t)...), append(small, small...), "xz"},
		{"xz with stream padding", append(xzSample(t), 0, 0, 0, 0, 0, 0, 0, 0), small, "xz"},
		{"zstd", packZstd(t, small), small, "zstd"},
		{"zstd of many blocks", packZstd(t, big), big, "zstd"},
		{"zstd that does not say its size", packZstdStream(t, big), big, "zstd"},
		{"zstd of two frames", append(packZstd(t, small), packZstd(t, big)...), append(small, big...), "zstd"},
		{"zstd with a skippable frame", append(packZstd(t, small), 0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2), small, "zstd"},
	}
	pool := &Buffers{} // one for all: what one left behind must not disturb the next
	for range 2 {
		for _, tc := range cases {
			t.Run(tc.name, func(t *testing.T) {
				path := write(t, tc.file)
				for _, o := range []Options{{}, {Partial: true}, {Any: true}, {MaxSize: uint64(len(tc.plain))}} {
					o.Pool = pool
					for _, stdin := range []io.Reader{nil, bytes.NewReader(tc.file), iotest.HalfReader(bytes.NewReader(tc.file))} {
						p := path
						if o.Stdin = stdin; stdin != nil {
							p = "-"
						}
						in, err := Open(p, o)
						if err != nil {
							t.Fatal(err)
						}
						want := what{tc.compression, uint64(len(tc.plain)), uint64(len(tc.file)), false}
						if diff := cmp.Diff(want, describe(in)); diff != "" {
							t.Errorf("%+v: (-want +got)\n%s", o, diff)
						}
						if got := all(t, in); !bytes.Equal(got, tc.plain) {
							t.Errorf("%+v: Range: %d bytes are not the %d plain ones", o, len(got), len(tc.plain))
						}
						if got, err := in.ReadAll(); err != nil || !bytes.Equal(got, tc.plain) {
							t.Errorf("%+v: ReadAll: %v, %d bytes are not the %d plain ones", o, err, len(got), len(tc.plain))
						}
						if err := in.Close(); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
	}
}

func TestRangesStayValidUntilClose(t *testing.T) {
	plain := sample(4 << 20)
	in, err := Open(write(t, plain), Options{Partial: true})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	type piece struct{ off, n uint64 }
	pieces := []piece{{0, 64}, {4000, 96}, {4000, 200}, {100_000, 70_000}, {0, 4096}, {1, 0}, {4 << 20, 0}, {50_000, 1}, {0, 4 << 20}}
	for i := range uint64(500) {
		pieces = append(pieces, piece{i * 7919, 1000 + i*13})
	}
	var got [][]byte
	for _, p := range pieces {
		b, err := in.Range(p.off, p.n)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b)
	}
	for i, p := range pieces {
		if !bytes.Equal(got[i], plain[p.off:p.off+p.n]) {
			t.Errorf("range %+v has other bytes than it had", p)
		}
		if cap(got[i]) != len(got[i]) {
			t.Errorf("range %+v: appending to it would overwrite the next", p)
		}
	}
}

func TestPartialReadsAllocateNothingForTheNextFile(t *testing.T) {
	pool := &Buffers{}
	path := write(t, sample(1<<20))
	read := func() {
		in, err := Open(path, Options{Partial: true, Pool: pool})
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(20) {
			if _, err := in.Range(8192+i*20_000, 10_000); err != nil {
				t.Fatal(err)
			}
		}
		in.Close()
	}
	read()
	read()
	if n := testing.AllocsPerRun(10, read); n > 10 { // the file, its Stat, the Input
		t.Errorf("got %v allocations a file, want at most 10", n)
	}
	if n := cap(pool.plain); n != 0 {
		t.Errorf("a buffer of %d bytes was made for the whole file", n)
	}
}

func TestAFileThatBecomesShorterIsAnErrorWithItsOffset(t *testing.T) {
	path := write(t, sample(100_000))
	in, err := Open(path, Options{Partial: true})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := os.Truncate(path, 50_000); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Range(40_000, 10_000); err != nil {
		t.Errorf("a range that is still there: %v", err)
	}
	for name, read := range map[string]func() ([]byte, error){
		"Range":   func() ([]byte, error) { return in.Range(40_000, 20_000) },
		"ReadAll": in.ReadAll,
	} {
		if _, err := read(); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "0xc350") {
			t.Errorf("%s: got %v, want io.ErrUnexpectedEOF at 0xc350", name, err)
		}
	}
}

func TestOfWhatIsNotELFOnlyTheHeadIsRead(t *testing.T) {
	text := bytes.Repeat([]byte("0x12345678\tsymbol\tvmlinux\tEXPORT_SYMBOL\n"), 100_000)
	for name, file := range map[string][]byte{"plain": text, "gzip": packGzip(t, text), "zstd": packZstd(t, text), "xz": storedXZ(text, 18, uint64(len(text)))} {
		t.Run(name, func(t *testing.T) {
			read := new(int)
			for _, path := range []string{write(t, file), "-"} {
				pool := &Buffers{}
				in, err := Open(path, Options{Pool: pool, Stdin: counted(bytes.NewReader(file), read)})
				if err != nil {
					t.Fatal(err)
				}
				if h, err := in.Range(0, 1000); err != nil || !bytes.Equal(h, text[:1000]) {
					t.Errorf("%s: the head is not there: %v", path, err)
				}
				if n := len(pool.plain); n > headSize {
					t.Errorf("%s: %d bytes were kept", path, n)
				}
				if all, err := in.ReadAll(); err == nil && !bytes.Equal(all, text) {
					t.Errorf("%s: ReadAll gives %d of %d bytes, and no error", path, len(all), len(text))
				}
				in.Close()

				in, err = Open(path, Options{Pool: pool, Any: true, Stdin: bytes.NewReader(file)})
				if err != nil {
					t.Fatal(err)
				}
				if all, err := in.ReadAll(); err != nil || !bytes.Equal(all, text) {
					t.Errorf("%s: with Any: %v, %d of %d bytes", path, err, len(all), len(text))
				}
				in.Close()
			}
			if *read > 128<<10 {
				t.Errorf("%d bytes of standard input were read", *read)
			}
		})
	}
}

type counter struct {
	r io.Reader
	n *int
}

func counted(r io.Reader, n *int) io.Reader { return counter{r, n} }

func (c counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	*c.n += n
	return n, err
}

func TestSmallAndEmptyFiles(t *testing.T) {
	for _, b := range []string{"", "\x7f", "\x7fEL", "\x7fELF", "\x1f", "\xfd7zXZ", "\x28\xb5\x2f", "#!/bin/sh\n"} {
		for _, path := range []string{write(t, []byte(b)), "-"} {
			for _, o := range []Options{{}, {Partial: true}, {Any: true}} {
				o.Stdin = strings.NewReader(b)
				in, err := Open(path, o)
				if err != nil {
					t.Errorf("%q %s: %v", b, path, err)
					continue
				}
				want := what{"none", uint64(len(b)), uint64(len(b)), false}
				if diff := cmp.Diff(want, describe(in)); diff != "" || string(all(t, in)) != b {
					t.Errorf("%q %s: (-want +got)\n%s", b, path, diff)
				}
				if got, err := in.ReadAll(); err != nil || string(got) != b {
					t.Errorf("%q %s: ReadAll: got %q, %v", b, path, got, err)
				}
				in.Close()
			}
		}
	}
}

func TestWhatCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	locked := write(t, sample(100))
	if err := os.Chmod(locked, 0); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, path string
		want       error
	}{
		{"a directory", dir, ErrDirectory},
		{"no file", filepath.Join(dir, "none.ko"), os.ErrNotExist},
		{"no permission", locked, os.ErrPermission},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.want == os.ErrPermission {
				if f, err := os.Open(locked); err == nil {
					f.Close()
					t.Skip("this user may read everything")
				}
			}
			in, err := Open(tc.path, Options{})
			if in != nil || !errors.Is(err, tc.want) {
				t.Fatalf("got %v, %v want %v", in, err, tc.want)
			}
			if strings.Contains(err.Error(), tc.path) {
				t.Errorf("the error names the path, which the caller does: %v", err)
			}
		})
	}
	if _, err := Open("-", Options{}); err == nil {
		t.Error("standard input that is not there: no error")
	}
}

func TestAnErrorOfStandardInputIsReported(t *testing.T) {
	boom := errors.New("input/output error")
	file := packGzip(t, sample(1<<20))
	for name, r := range map[string]io.Reader{
		"at once":             iotest.ErrReader(boom),
		"in plain bytes":      io.MultiReader(bytes.NewReader(sample(10_000)), iotest.ErrReader(boom)),
		"in compressed bytes": io.MultiReader(bytes.NewReader(file[:len(file)/2]), iotest.ErrReader(boom)),
	} {
		if _, err := Open("-", Options{Stdin: r}); !errors.Is(err, boom) {
			t.Errorf("%s: got %v want %v", name, err, boom)
		}
	}
}

func TestClosingTwiceDoesNotTouchTheNextInput(t *testing.T) {
	pool := &Buffers{}
	path := write(t, sample(10_000))
	a, err := Open(path, Options{Partial: true, Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	b, err := Open(path, Options{Partial: true, Pool: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	x, _ := b.Range(5000, 100)
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	b.Range(7000, 100)
	if !bytes.Equal(x, sample(10_000)[5000:5100]) {
		t.Error("a range was overwritten")
	}
}
