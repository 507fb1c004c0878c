package compat

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"kotool/internal/arch"
	"kotool/internal/elf"
	"kotool/internal/kver"
)

// TestDamagedStreams holds the kernel's words for streams that break while module_decompress reads them.
func TestDamagedStreams(t *testing.T) {
	dir := filepath.Join("..", "..", "testdata", "ko", "amd64-6.1")
	plain, err := os.ReadFile(filepath.Join(dir, "hello.ko"))
	if err != nil {
		t.Fatal(err)
	}
	xz, err := os.ReadFile(filepath.Join(dir, "hello.ko.xz"))
	if err != nil {
		t.Fatal(err)
	}
	var gz, zst bytes.Buffer
	g := gzip.NewWriter(&gz)
	g.Write(plain)
	g.Close()
	z, err := zstd.NewWriter(&zst, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	z.Write(plain)
	z.Close()
	edit := func(b []byte, at int, mask byte) []byte {
		b = slices.Clone(b)
		if at < 0 {
			at += len(b)
		}
		b[at] ^= mask
		return b
	}
	const on = "MODULE_DECOMPRESS=y MODULE_COMPRESS_"
	for _, c := range []struct {
		name, option string
		b            []byte
		want         string // in the log; "" where the kernel goes on with what came out
	}{
		{"gzip", "GZIP=y", gz.Bytes(), ""},
		{"gzip cut short: Z_BUF_ERROR", "GZIP=y", gz.Bytes()[:gz.Len()/2], "decompression failed with status -5"},
		{"gzip damaged: Z_DATA_ERROR", "GZIP=y", edit(gz.Bytes(), 10, 6), "decompression failed with status -3"},
		{"gzip with a wrong checksum, which zlib_inflate never sees", "GZIP=y", edit(gz.Bytes(), -5, 1), ""},
		{"xz", "XZ=y", xz, ""},
		{"xz cut short", "XZ=y", xz[:len(xz)/2], "decompression failed with status 0"},
		{"xz damaged: XZ_DATA_ERROR", "XZ=y", edit(xz, len(xz)/2, 255), "decompression failed with status 7"},
		{"zstd", "ZSTD=y", zst.Bytes(), ""},
		{"zstd cut short: the loop ends with the input", "ZSTD=y", zst.Bytes()[:zst.Len()/2], ""},
		{"zstd with a wrong checksum", "ZSTD=y", edit(zst.Bytes(), -1, 1), "ZSTD-decompression failed with status 22"},
	} {
		l := NewLoad(config(kernel(kver.V(6, 12)), on+c.option), elf.Mem(c.b), CompressedFile)
		errno, err := l.Entry()
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, line := range l.Log {
			got += line.Text
		}
		if got != c.want || (errno != 0) != (c.want != "") {
			t.Errorf("%s: got %q, errno %d, want %q", c.name, got, errno, c.want)
		}
	}
}

func TestZstdHeadersThatAreRefused(t *testing.T) {
	raw := func(flags byte, rest ...byte) []byte {
		return append(append([]byte{0x28, 0xb5, 0x2f, 0xfd, flags}, rest...), make([]byte, 16)...)
	}
	for _, c := range []struct {
		name, arch string
		head       []byte
		want       string
	}{
		{"a window of 256 MiB", "x86_64", raw(0, 18<<3), "ZSTD-decompression failed with status 16"},
		{"a dictionary", "x86_64", raw(1, 0, 7), "ZSTD-decompression failed with status 32"},
		{"both: the dictionary is looked at first", "x86_64", raw(1, 18<<3, 7), "ZSTD-decompression failed with status 32"},
		{"the reserved bit", "x86_64", raw(8, 0), "ZSTD-compressed data has an incomplete frame header"},
		{"2 GiB", "x86_64", raw(0, 21<<3), "ZSTD-decompression failed with status 16"},
		{"4 GiB", "x86_64", raw(0, 22<<3), "ZSTD-compressed data has an incomplete frame header"},
		{"2 GiB, 32 bits", "arm", raw(0, 21<<3), "ZSTD-compressed data has an incomplete frame header"},
		{"1.5 GiB, 32 bits", "arm", raw(0, 20<<3|4), "ZSTD-compressed data has too large a window size"},
	} {
		target := kernel(kver.V(6, 12))
		target.Arch = arch.Named(c.arch)
		f := CompressedFor(target, c.head)
		if f == nil || len(f.Dmesg) != 1 || f.Dmesg[0] != c.want || f.Want == "" || !strings.Contains(f.Hint, "zstd") {
			t.Errorf("%s: got %+v, want %q", c.name, f, c.want)
		}
	}
}
