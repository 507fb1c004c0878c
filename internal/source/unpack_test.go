package source

import (
	"bytes"
	"errors"
	"runtime"
	"testing"
)

func TestAStreamCutAnywhereIsShownAsFarAsItGoes(t *testing.T) {
	small, blocks := sample(2000), append(sample(1000), make([]byte, 300<<10)...)
	for name, tc := range map[string]struct{ file, plain []byte }{
		"gzip":                {packGzip(t, small), small},
		"xz":                  {xzSample(t), small},
		"xz of stored chunks": {storedXZ(small, 18, 2000), small},
		"zstd":                {packZstd(t, blocks), blocks}, // comes out by whole blocks
	} {
		t.Run(name, func(t *testing.T) {
			file, plain := tc.file, tc.plain
			pool := &Buffers{}
			shown := 0
			for k := 6; k < len(file); k++ {
				in, err := Open("-", Options{Stdin: bytes.NewReader(file[:k]), Pool: pool})
				if err != nil {
					if _, ok := errors.AsType[*StreamError](err); !ok {
						t.Errorf("cut at %d: got %v, want a *StreamError", k, err)
					}
					continue
				}
				if in.Damage == nil {
					t.Errorf("cut at %d of %d: passed for whole", k, len(file))
				}
				got := all(t, in)
				if len(got) < enough || !bytes.HasPrefix(plain, got) {
					t.Errorf("cut at %d: %d bytes are not the beginning", k, len(got))
				}
				shown++
				in.Close()
			}
			if shown == 0 {
				t.Error("nothing was ever shown")
			}
			// And the pool is as good as before.
			in, err := Open("-", Options{Stdin: bytes.NewReader(file), Pool: pool})
			if err != nil || in.Damage != nil || !bytes.Equal(all(t, in), plain) {
				t.Errorf("whole, after broken ones: %v", err)
			}
		})
	}
}

func TestADamagedStreamIsDamageOrAnError(t *testing.T) {
	plain := sample(2000)
	flip := func(b []byte, off int) []byte {
		b = bytes.Clone(b)
		b[(off+len(b))%len(b)] ^= 0x55
		return b
	}
	for _, tc := range []struct {
		name string
		file []byte
		size int // plain bytes that must be there
	}{
		{"garbage after gzip", append(packGzip(t, plain), "garbage, quite a lot of it"...), 2000},
		{"garbage after xz", append(xzSample(t), "garbage, quite a lot of it"...), 2000},
		{"a little garbage after xz", append(xzSample(t), 'x'), 2000},
		{"padding after xz that is not a multiple of four", append(xzSample(t), 0, 0, 0), 2000},
		{"garbage after zstd", append(packZstd(t, plain), "garbage, quite a lot of it"...), 2000},
		{"checksum of gzip", flip(packGzip(t, plain), -6), 2000},
		{"checksum of zstd", flip(packZstd(t, plain), -2), 2000},
		{"index of xz", flip(xzSample(t), -16), 2000},
		{"footer of xz", flip(xzSample(t), -1), 2000},
		{"an index of xz that promises less", storedXZ(plain, 18, 100), 2000},
		{"an index of xz that promises more", storedXZ(plain, 18, 1<<29), 2000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, path := range []string{"-", write(t, tc.file)} {
				in, err := Open(path, Options{Stdin: bytes.NewReader(tc.file)})
				if err != nil {
					t.Fatalf("%s: nothing is shown: %v", path, err)
				}
				if _, ok := errors.AsType[*StreamError](in.Damage); !ok || in.Size() != uint64(tc.size) || !bytes.Equal(all(t, in), plain[:tc.size]) {
					t.Errorf("%s: damage %v, %d plain bytes, want %d", path, in.Damage, in.Size(), tc.size)
				}
				in.Close()
			}
		})
	}
}

// allocated is how many bytes f allocates in all, whether they are freed again or not.
func allocated(f func()) uint64 {
	var a, b runtime.MemStats
	runtime.ReadMemStats(&a)
	f()
	runtime.ReadMemStats(&b)
	return b.TotalAlloc - a.TotalAlloc
}

// elfZeros begins like ELF and goes on with zeros.
func elfZeros(n int) []byte {
	b := make([]byte, n)
	copy(b, sample(64))
	return b
}

func TestABombCostsAnErrorAndLittleMemory(t *testing.T) {
	const mega = 1 << 20
	// 200 MiB each, made of members and frames of 1 MiB. The gzip trailer's hint is wrong therefore.
	bomb := func(pack func(testing.TB, []byte) []byte, first []byte) []byte {
		return append(pack(t, first), bytes.Repeat(pack(t, make([]byte, mega)), 199)...)
	}
	zeros, elf := make([]byte, mega), elfZeros(mega)
	// These two are no bombs, but what they promise would be.
	promise := storedXZ(sample(1000), 18, 3<<30)
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xc0, 10 << 3, 0, 0, 0, 0x0c, 0, 0, 0, 0} // content size 0xc000000
	for _, tc := range []struct {
		name    string
		file    []byte
		max     uint64
		limit   bool   // a *LimitError is wanted; else the head is shown
		promise uint64 // the size that is refused, where it is known
		memory  uint64
	}{
		{"zeros in gzip", bomb(packGzip, zeros), 16 * mega, false, 0, 4 * mega},
		{"zeros in zstd", bomb(packZstdStream, zeros), 16 * mega, false, 0, 12 * mega},
		{"ELF in gzip", bomb(packGzip, elf), 16 * mega, true, 0, 48 * mega},
		{"ELF in zstd", bomb(packZstdStream, elf), 16 * mega, true, 0, 56 * mega},
		{"ELF in zstd, of which the first frame says its size", bomb(packZstd, elf), 16 * mega, true, 0, 56 * mega},
		{"ELF in gzip, limit above what is trusted", bomb(packGzip, elf), 48 * mega, true, 0, 72 * mega},
		{"ELF in zstd, limit above what is trusted", bomb(packZstdStream, elf), 48 * mega, true, 0, 80 * mega},
		{"zstd that promises 192 MiB", frame, 16 * mega, true, 0xc000000, 4 * mega},
		{"xz that promises 3 GiB", promise, 1 << 30, true, 3 << 30, 4 * mega},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := write(t, tc.file)
			var in *Input
			var err error
			got := allocated(func() { in, err = Open(path, Options{MaxSize: tc.max}) })
			if got > tc.memory {
				t.Errorf("%d bytes were allocated, want at most %d", got, tc.memory)
			}
			if !tc.limit {
				if err != nil || in.Size() > headSize {
					t.Errorf("got %v, want the head", err)
				}
				return
			}
			le, ok := errors.AsType[*LimitError](err)
			if !ok || le.Limit != tc.max || le.Size != tc.promise || !le.Unpacked {
				t.Errorf("got %v, want a *LimitError of %d with size %d", err, tc.max, tc.promise)
			}
		})
	}
}

func TestALargeStreamThatDoesNotSayItsSizeIsReadExactly(t *testing.T) {
	const most = trusted + trusted/4
	plain := elfZeros(most + 12345)
	copy(plain[most:], sample(12345))
	for name, file := range map[string][]byte{
		"zstd":                  packZstdStream(t, plain),
		"gzip":                  packGzip(t, plain),
		"gzip of two":           append(packGzip(t, plain[:most/2]), packGzip(t, plain[most/2:])...),
		"zstd, the first small": append(packZstd(t, plain[:1000]), packZstd(t, plain[1000:])...),
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, file)
			var in *Input
			var err error
			got := allocated(func() { in, err = Open(path, Options{}) })
			if err != nil || in.Damage != nil || !bytes.Equal(all(t, in), plain) {
				t.Fatalf("got %v, not the plain bytes", err)
			}
			if limit := uint64(len(plain)) + 3*trusted; got > limit {
				t.Errorf("%d bytes were allocated, want at most %d", got, limit)
			}
		})
	}
}

func TestALargeCompressedFileIsNotReadWhole(t *testing.T) {
	// Incompressible, so that the packed file passes inMemory.
	plain := sample(inMemory + 1<<20)
	x := uint64(88172645463325252)
	for i := 64; i < len(plain); i++ {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		plain[i] = byte(x)
	}
	for name, file := range map[string][]byte{"gzip": storedGzip(t, plain), "zstd": packZstd(t, plain), "xz": storedXZ(plain, 18, uint64(len(plain)))} {
		t.Run(name, func(t *testing.T) {
			if len(file) <= inMemory {
				t.Fatalf("the file has %d bytes only", len(file))
			}
			pool := &Buffers{}
			in, err := Open(write(t, file), Options{Pool: pool})
			if err != nil || in.Damage != nil || !bytes.Equal(all(t, in), plain) {
				t.Fatalf("got %v, not the plain bytes", err)
			}
			if n := cap(pool.packed); n != 0 {
				t.Errorf("%d bytes were kept of the packed file", n)
			}
			in.Close()
			if n := cap(pool.plain); n > keep {
				t.Errorf("%d bytes are kept for the next file", n)
			}
		})
	}
}

func TestTooLargeADictionaryIsRefused(t *testing.T) {
	plain := sample(1000)
	for _, tc := range []struct {
		dict byte // LZMA2: (2 | dict&1) << (dict/2 + 11)
		ok   bool
	}{{28, true}, {29, false}, {40, false}} {
		in, err := Open("-", Options{Stdin: bytes.NewReader(storedXZ(plain, tc.dict, 1000))})
		if (err == nil && in.Damage == nil) != tc.ok || err != nil && !errors.Is(err, ErrWindow) {
			t.Errorf("dictionary size byte %d: got %v", tc.dict, err)
		}
	}
	// A zstd frame with a window of 128 MiB and one raw block.
	b := append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, (27 - 10) << 3, 1 | 100<<3&0xff, 100 << 3 >> 8, 0}, sample(100)...)
	if _, err := Open("-", Options{Stdin: bytes.NewReader(b)}); !errors.Is(err, ErrWindow) {
		t.Errorf("zstd: got %v want %v", err, ErrWindow)
	}
}

func TestSizeLimitsOfPlainFiles(t *testing.T) {
	plain := sample(10_000)
	path := write(t, plain)
	for _, o := range []Options{{MaxSize: 9999}, {MaxSize: 9999, Partial: true}, {MaxSize: 9999, Any: true}} {
		for _, p := range []string{path, "-"} {
			o.Stdin = bytes.NewReader(plain)
			_, err := Open(p, o)
			if le, ok := errors.AsType[*LimitError](err); !ok || le.Limit != 9999 || le.Unpacked {
				t.Errorf("%s: got %v, want a *LimitError", p, err)
			}
		}
	}
	want := "decompressed size of 5 bytes exceeds the limit of 4 bytes (--max-size)"
	if got := (&LimitError{true, 5, 4}).Error(); got != want {
		t.Errorf("got %q want %q", got, want)
	}
	in, err := Open(path, Options{MaxSize: 1<<64 - 1})
	if err != nil || in.Size() != 10_000 {
		t.Errorf("without limit: %v", err)
	}
}

// Whatever the bytes are, Open neither panics nor goes on for ever, gives no more than MaxSize bytes, and answers the same
// for a file and for a stream, and with buffers that were used before.
func FuzzOpen(f *testing.F) {
	plain := sample(2000)
	f.Add(plain)
	f.Add(xzSample(f))
	f.Add(storedXZ(plain, 18, 2000))
	f.Add(storedXZ(plain, 18, 1<<62))
	f.Add(packGzip(f, plain))
	f.Add(packZstd(f, plain))
	f.Add(packZstdStream(f, plain))
	f.Add(packZstdStream(f, elfZeros(1<<20)))
	pool := &Buffers{}
	f.Fuzz(func(t *testing.T, b []byte) {
		const limit = 1 << 20
		path := write(t, b)
		var first *Input
		for i, o := range []Options{{}, {Pool: pool, Partial: true}, {Pool: pool}, {Pool: pool, Any: true}} {
			for _, p := range []string{path, "-"} {
				o.MaxSize, o.Stdin = limit, bytes.NewReader(b)
				in, err := Open(p, o)
				if err != nil {
					continue
				}
				if in.Size() > limit {
					t.Fatalf("%d plain bytes", in.Size())
				}
				got := all(t, in)
				if first == nil && i == 0 {
					first = in
					continue
				}
				// What is not ELF is cut at the head, where only streams can be.
				want := all(t, first)
				if n := min(len(want), len(got)); !bytes.Equal(want[:n], got[:n]) || isELF(got) && len(want) != len(got) {
					t.Fatalf("%s %+v: %d bytes, other than the %d of %s", p, o, len(got), len(want), first.Path)
				}
				in.Close()
			}
		}
	})
}

func TestOnlyOneWholeXZStreamPromisesItsSize(t *testing.T) {
	one := xzSample(t)
	for _, tc := range []struct {
		name string
		file []byte
		want uint64
	}{
		{"one stream", one, 2000},
		{"two streams: the last index knows of one", append(bytes.Clone(one), one...), 0},
		{"stream padding", append(bytes.Clone(one), 0, 0, 0, 0), 0},
		{"cut short", one[:len(one)-1], 0},
		{"an index that reaches before the file", []byte("\xfd7zXZ\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff\x00\x00YZ"), 0},
		{"nothing", nil, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := xzSize(memSource(tc.file)); got != tc.want {
				t.Errorf("got %d want %d", got, tc.want)
			}
		})
	}
}
