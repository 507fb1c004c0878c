package compat

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"kotool/internal/diag"
	"kotool/internal/elf"
	"kotool/internal/kver"
)

// xzHead is the beginning of an .xz: stream header, and the header of a block with those filters (id, properties).
func xzHead(check byte, filters ...[]byte) []byte {
	flags := []byte{0, check}
	b := append([]byte("\xfd7zXZ\x00"), flags...)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(flags))
	block := []byte{0, byte(len(filters) - 1)}
	for _, f := range filters {
		block = append(block, f[0], byte(len(f)-1))
		block = append(block, f[1:]...)
	}
	for len(block)%4 != 0 {
		block = append(block, 0)
	}
	block[0] = byte(len(block) / 4)
	return append(append(b, block...), make([]byte, 16)...)
}

func TestCompressedXZ(t *testing.T) {
	lzma2 := []byte{0x21, 22}
	for _, c := range []struct {
		name    string
		head    []byte
		v       kver.Version
		options string
		words   string
	}{
		{"no check", xzHead(0, lzma2), kver.V(6, 12), "", ""},
		{"CRC32", xzHead(1, lzma2), kver.V(6, 12), "", ""},
		{"CRC64, what xz does by itself", xzHead(4, lzma2), kver.V(6, 12), "", "check CRC64"},
		{"SHA-256", xzHead(10, lzma2), kver.V(6, 12), "", "check SHA-256"},
		{"a check that nobody has", xzHead(7, lzma2), kver.V(6, 12), "", "check number 7"},
		{"before the kernel unpacked modules", xzHead(4, lzma2), kver.V(5, 16), "", ""},
		{"a kernel that unpacks none", xzHead(4, lzma2), kver.V(6, 12), "MODULE_DECOMPRESS=n", ""},
		{"a branch filter", xzHead(1, []byte{4}, lzma2), kver.V(6, 12), "MODULE_DECOMPRESS=y XZ_DEC_X86=y", ""},
		{"a branch filter that is not configured", xzHead(1, []byte{10}, lzma2), kver.V(6, 12), "MODULE_DECOMPRESS=y XZ_DEC_ARM64=n", "filter 0xa, for which the kernel lacks CONFIG_XZ_DEC_ARM64"},
		{"delta", xzHead(1, []byte{3, 0}, lzma2), kver.V(6, 12), "", "filter 0x3, which the kernel's decoder does not know"},
		{"a dictionary of 4 GiB", xzHead(1, []byte{0x21, 40}), kver.V(6, 12), "", "a dictionary of 4 GiB"},
		{"two filters before LZMA2", xzHead(1, []byte{4}, []byte{7}, lzma2), kver.V(6, 12), "", "more than one filter before LZMA2"},
		{"cut in the header", xzHead(4, lzma2)[:12], kver.V(6, 12), "", ""},
		{"an index at once: an empty stream", append(xzHead(1, lzma2)[:12], make([]byte, 16)...), kver.V(6, 12), "", ""},
	} {
		f := CompressedFor(config(kernel(c.v), c.options), c.head)
		switch {
		case c.words == "" && f != nil:
			t.Errorf("%s: got %+v", c.name, f)
		case c.words != "" && (f == nil || f.Code != diag.Compress || !strings.Contains(f.Message, c.words) || f.Dmesg[0] != "decompression failed with status 6"):
			t.Errorf("%s: got %+v", c.name, f)
		}
	}
}

func TestCompressedZstd(t *testing.T) {
	frame := func(o ...zstd.EOption) []byte {
		var b bytes.Buffer
		e, err := zstd.NewWriter(&b, append(o, zstd.WithEncoderConcurrency(1))...)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []func() error{func() error { _, err := e.Write(sample().Bytes()); return err }, e.Flush, e.Close} {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}
		return b.Bytes()
	}
	raw := func(flags byte, rest ...byte) []byte {
		return append(append([]byte{0x28, 0xb5, 0x2f, 0xfd, flags}, rest...), make([]byte, 16)...)
	}
	for _, c := range []struct {
		name  string
		head  []byte
		v     kver.Version
		words string
	}{
		{"usual", frame(), kver.V(6, 12), ""},
		{"128 MiB", frame(zstd.WithWindowSize(128 << 20)), kver.V(6, 12), ""},
		{"256 MiB", frame(zstd.WithWindowSize(256 << 20)), kver.V(6, 12), "window of 256 MiB, the kernel's decoder takes 128 MiB"},
		{"a little more than 128 MiB", raw(0, 17<<3|1), kver.V(6, 12), "window of 144 MiB"},
		{"one segment, its size in eight bytes", raw(0xe0, 0, 0, 0, 0x10, 0, 0, 0, 0), kver.V(6, 12), "window of 256 MiB"},
		{"one segment of little", raw(0x60, 0, 1), kver.V(6, 12), ""},
		{"a dictionary", raw(2, 0, 0x34, 0x12), kver.V(6, 12), "dictionary 4660"},
		{"dictionary 0 is none", raw(2, 0, 0, 0), kver.V(6, 12), ""},
		{"before the kernel unpacked zstd", frame(zstd.WithWindowSize(256 << 20)), kver.V(6, 1), ""},
		{"cut in the header", raw(0, 17<<3|1)[:8], kver.V(6, 12), ""},
	} {
		f := CompressedFor(kernel(c.v), c.head)
		if c.words == "" && f != nil || c.words != "" && (f == nil || !strings.Contains(f.Message, c.words)) {
			t.Errorf("%s: got %+v", c.name, f)
		}
	}
	for _, head := range [][]byte{nil, {0x1f, 0x8b}, []byte("\x7fELF")} {
		if f := CompressedFor(kernel(kver.V(6, 12)), head); f != nil {
			t.Errorf("%q: got %+v", head, f)
		}
	}
}

// TestEntry is the system call with a compressed file: the recordings have more.
func TestEntry(t *testing.T) {
	dir := filepath.Join("..", "..", "testdata", "ko", "amd64-6.1")
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	xz := read("hello.ko.xz")
	for _, c := range []struct {
		name    string
		b       []byte
		flags   uint32
		v       kver.Version
		options string
		want    diag.Code
	}{
		{"empty", nil, 0, kver.V(6, 12), "", diag.Empty},
		{"a flag that nobody knows", xz, 8, kver.V(6, 12), "", diag.Flags},
		{"flag 4 before 5.17", xz, CompressedFile, kver.V(5, 10), "", diag.Flags},
		{"flag 4, and the kernel unpacks nothing", xz, CompressedFile, kver.V(6, 1), "MODULE_DECOMPRESS=n", diag.CompressOff},
		{"flag 4, another compression", read("hello.ko.gz"), CompressedFile, kver.V(6, 12), "MODULE_DECOMPRESS=y MODULE_COMPRESS_XZ=y", diag.CompressMagic},
		{"flag 4", xz, CompressedFile, kver.V(6, 12), "MODULE_DECOMPRESS=y MODULE_COMPRESS_XZ=y", ""},
		{"flag 4, cut short", xz[:len(xz)/2], CompressedFile, kver.V(6, 12), "MODULE_DECOMPRESS=y MODULE_COMPRESS_XZ=y", diag.Compress},
		{"plain", read("hello.ko"), 0, kver.V(6, 12), "", ""},
	} {
		l := NewLoad(config(kernel(c.v), c.options), elf.Mem(c.b), c.flags)
		errno, err := l.Entry()
		got := diag.Code("")
		if len(l.Findings) > 0 {
			got = l.Findings[0].Code
		}
		if err != nil || got != c.want || (errno != 0) != (c.want != "") {
			t.Errorf("%s: got %q %v %v want %q", c.name, got, errno, err, c.want)
		}
	}
}
