package deb

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"kotool/internal/debtest"
	"kotool/internal/source"
)

const control = "Package: linux-test\nVersion: 6.1-1\nArchitecture: amd64\nDescription: one line\n and: another\n"

// read is all of a package as text.
func read(b []byte, limit uint64) (string, error) {
	p, err := Open(bytes.NewReader(b), uint64(len(b)), limit)
	if err != nil {
		return "", err
	}
	out := p.String() + "\n"
	err = p.Each(func(f *File) error {
		data, err := f.ReadTo(nil)
		out += fmt.Sprintf("%s %d %s\n", f.Name, f.Size, data)
		return err
	})
	return out, err
}

func TestFilesOfAPackage(t *testing.T) {
	for _, container := range []string{"none", "gzip", "xz", "zstd"} {
		b := debtest.Deb(container, control, debtest.File{Name: "./boot/config-6.1", Data: []byte("CONFIG_A=y")}, debtest.File{Name: "./vmlinuz", Link: "boot/vmlinuz"},
			debtest.File{Name: "/../lib/modules/../x.ko", Data: []byte("x")})
		got, err := read(b, 1<<20)
		if want := "linux-test 6.1-1 amd64\nboot/config-6.1 10 CONFIG_A=y\nlib/x.ko 1 x\n"; err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", container, got, err, want)
		}
	}
}

func TestDamagedPackagesSayWhere(t *testing.T) {
	file := debtest.File{Name: "./boot/vmlinuz-6.1", Data: bytes.Repeat([]byte("kernel"), 1000)}
	version, good := debtest.File{Name: "debian-binary", Data: []byte("2.0\n")}, debtest.Deb("zstd", control, file)
	data := func(b []byte) []byte { return debtest.Ar(version, debtest.File{Name: "data.tar.zst", Data: b}) }
	edit := func(b []byte, at int, s string) []byte {
		b = bytes.Clone(b)
		copy(b[at:], s)
		return b
	}
	// A header that promises more than there is.
	plain := debtest.Tar(file)
	bomb := bytes.Repeat(debtest.Tar(debtest.File{Name: "a", Data: make([]byte, 1<<16)})[:512+1<<16], 40)
	sparse := sparseTar(t)
	for _, c := range []struct {
		name string
		b    []byte
		want string
	}{
		{"no archive", []byte("!<arch"), "no ar archive"},
		{"an archive of objects", debtest.Ar(debtest.File{Name: "a.o/", Data: []byte("x")}), `no Debian package: want debian-binary as the first member, got "a.o"`},
		{"nothing in it", []byte(Magic), "want debian-binary as the first member, got no member"},
		{"a format that does not exist", debtest.Ar(debtest.File{Name: "debian-binary", Data: []byte("9.0\n")}), `debian-binary: offset 0x44: want format 2, got "9.0\n"`},
		{"no data", debtest.Ar(version), "no data.tar in it"},
		{"a damaged header", edit(good, 8+58, "xx"), "offset 0x8: no header of an archive member"},
		{"a size that is no number", edit(good, 8+48, "12x"), `debian-binary: offset 0x38: "12x       " is no size`},
		{"a size past the end", edit(good, 8+48, "9999999999"), "debian-binary: offset 0x44: a member of 9999999999 bytes, of which the file has"},
		{"cut in a header", good[:100], "offset 0x48: 28 bytes are left, a header has 60: the file was cut short"},
		{"cut in the data", good[:len(good)-20], "data.tar.zst: offset 0x"},
		{"damage in the stream", data(debtest.Pack("zstd", plain)[:100]), "data.tar.zst: after 0x"},
		{"a tar that was cut before it was packed", data(debtest.Pack("zstd", plain[:4000])), "the stream is cut short"},
		{"no tar", data(debtest.Pack("zstd", bytes.Repeat([]byte("x"), 4096))), "data.tar.zst: after 0x200 plain bytes: archive/tar: invalid tar header"},
		{"too many bytes", data(debtest.Pack("zstd", bomb)), "decompressed size exceeds the limit of 1600000 bytes"},
		{"a sparse file of much", data(debtest.Pack("gzip", sparse)), "exceeds the limit of 100000 bytes"},
		{"lzma", debtest.Ar(version, debtest.File{Name: "data.tar.lzma", Data: []byte("]\x00\x00\x80\x00")}), "compressed with lzma, which is not read here"},
		{"garbage in place of the tar", debtest.Ar(version, debtest.File{Name: "data.tar.xz", Data: []byte("\xfd7zXZ\x00garbage, garbage, garbage")}), "data.tar.xz: "},
	} {
		got, err := read(c.b, 100000)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %q, %v, want an error with %q", c.name, got, err, c.want)
		}
	}
	if _, err := read(good, 1000); err == nil || !strings.Contains(err.Error(), "boot/vmlinuz-6.1: size of 6000 bytes exceeds the limit of 1000 bytes") {
		t.Errorf("a file above the limit: got %v", err)
	}
	p, err := Open(bytes.NewReader(good), uint64(len(good)), 1000)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Each(func(*File) error { return nil }); err != nil {
		t.Errorf("a file above the limit that nobody reads: got %v", err)
	}
}

// sparseTar promises a file of 2^40 zeros in a few bytes. Source: the GNU tar manual, "Sparse Formats", 1.0.
func sparseTar(t *testing.T) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	m := make([]byte, 512)
	copy(m, "1\n1099511627776\n0\n")
	err := w.WriteHeader(&tar.Header{Name: "GNUSparseFile.0/vmlinuz", Size: 512, Mode: 0o644, Format: tar.FormatPAX})
	if err != nil {
		t.Fatal(err)
	}
	w.Write(m)
	w.Close()
	// The writer refuses such records: they are put before it by hand.
	records := ""
	for _, kv := range []string{"GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.name=vmlinuz", "GNU.sparse.realsize=1099511627776"} {
		n := len(kv) + 3
		for len(fmt.Sprintf("%d %s\n", n, kv)) != n {
			n++
		}
		records += fmt.Sprintf("%d %s\n", n, kv)
	}
	var x bytes.Buffer
	w = tar.NewWriter(&x)
	if err := w.WriteHeader(&tar.Header{Name: "PaxHeaders/x", Size: int64(len(records)), Mode: 0o644, Format: tar.FormatUSTAR}); err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, records)
	w.Flush()
	h := x.Bytes()
	h[156] = 'x'
	sum := 0
	for i, c := range h[:512] {
		if i >= 148 && i < 156 {
			c = ' '
		}
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return append(h, b.Bytes()...)
}

func TestPackagesThatEndTooEarlyAreErrors(t *testing.T) {
	for _, container := range []string{"none", "gzip", "xz", "zstd"} {
		b := debtest.Deb(container, control, debtest.File{Name: "./a", Data: bytes.Repeat([]byte("ab"), 2000)})
		for n := range len(b) - 1 {
			if _, err := read(b[:n], 1<<20); err == nil {
				t.Fatalf("%s: %d of %d bytes: no error", container, n, len(b))
			}
		}
	}
}

func TestErrorsOfReadingArePassedOn(t *testing.T) {
	b := debtest.Deb("xz", control, debtest.File{Name: "./a", Data: make([]byte, 1<<20)})
	p, err := Open(&failing{bytes.NewReader(b), int64(len(b) / 2)}, uint64(len(b)), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	err = p.Each(func(f *File) error { _, err := f.ReadTo(nil); return err })
	if !errors.Is(err, errDisk) {
		t.Errorf("got %v", err)
	}
	if _, ok := errors.AsType[*source.StreamError](err); ok {
		t.Errorf("the disk's error is taken for the stream's: %v", err)
	}
}

var errDisk = errors.New("input/output error")

type failing struct {
	r  io.ReaderAt
	at int64
}

func (f *failing) ReadAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) > f.at && off > 1024 {
		return 0, errDisk
	}
	return f.r.ReadAt(b, off)
}

// FuzzPackage: whatever the bytes, no panic, and no more memory than the limit allows.
func FuzzPackage(f *testing.F) {
	for _, container := range []string{"none", "gzip", "zstd"} {
		f.Add(debtest.Deb(container, control, debtest.File{Name: "./a", Data: []byte("x")}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		read(b, 1<<16)
	})
}
