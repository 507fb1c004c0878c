// Package debtest builds Debian packages, for tests.
package debtest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"hash/crc64"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// File is one of a package's files.
type File struct {
	Name string
	Data []byte
	Link string // where it is a symbolic link
}

// Deb is a package of those files. container is what its tars are compressed with: none, gzip, xz or zstd.
func Deb(container, control string, files ...File) []byte {
	return Ar(
		File{Name: "debian-binary", Data: []byte("2.0\n")},
		File{Name: "control.tar" + suffixes[container], Data: Pack(container, Tar(File{Name: "./control", Data: []byte(control)}))},
		File{Name: "data.tar" + suffixes[container], Data: Pack(container, Tar(files...))})
}

var suffixes = map[string]string{"none": "", "gzip": ".gz", "xz": ".xz", "zstd": ".zst"}

// Ar is an archive. Source: ar(5).
func Ar(members ...File) []byte {
	b := []byte("!<arch>\n")
	for _, m := range members {
		b = fmt.Appendf(b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.Name, 0, 0, 0, "100644", len(m.Data))
		if b = append(b, m.Data...); len(b)%2 != 0 {
			b = append(b, '\n')
		}
	}
	return b
}

// Tar is a tar of regular files and links.
func Tar(files ...File) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.Name, Mode: 0o644, Size: int64(len(f.Data)), Typeflag: tar.TypeReg}
		if f.Link != "" {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, f.Link, 0
		}
		must(w.WriteHeader(h))
		if _, err := w.Write(f.Data); err != nil {
			panic(err)
		}
	}
	must(w.Close())
	return b.Bytes()
}

// Pack compresses b.
func Pack(container string, b []byte) []byte {
	var out bytes.Buffer
	switch container {
	case "none":
		return b
	case "xz":
		return XZ(b, 4)
	case "gzip":
		w := gzip.NewWriter(&out)
		w.Write(b)
		must(w.Close())
	case "zstd":
		w, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
		must(err)
		w.Write(b)
		must(w.Close())
	default:
		panic("debtest: no container " + container)
	}
	return out.Bytes()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// XZ is an .xz of one block of LZMA2 chunks that are not compressed, with check 1 (CRC32) or 4 (CRC64). Source: the .xz file format 1.2.1.
func XZ(in []byte, check byte) []byte {
	sum := func(b []byte) []byte { return binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(b)) }
	number := func(dst []byte, v uint64) []byte { return binary.AppendUvarint(dst, v) }
	flags := []byte{0, check}
	out := append([]byte("\xfd7zXZ\x00"), flags...)
	out = append(out, sum(flags)...)
	header := []byte{2, 0, 0x21, 1, 16, 0, 0, 0} // twelve bytes with the sum; one filter, LZMA2, a dictionary of 1 MiB
	block := append(slices.Clone(header), sum(header)...)
	for first, rest := byte(1), in; len(rest) > 0; first = 2 {
		n := min(len(rest), 1<<16)
		block = append(block, first, byte((n-1)>>8), byte(n-1))
		block = append(block, rest[:n]...)
		rest = rest[n:]
	}
	block = append(block, 0)
	unpadded := len(block)
	for len(block)%4 != 0 {
		block = append(block, 0)
	}
	if check == 4 {
		block = binary.LittleEndian.AppendUint64(block, crc64.Checksum(in, crc64.MakeTable(crc64.ECMA)))
		unpadded += 8
	} else {
		block = append(block, sum(in)...)
		unpadded += 4
	}
	out = append(out, block...)
	index := number(number([]byte{0, 1}, uint64(unpadded)), uint64(len(in)))
	for len(index)%4 != 0 {
		index = append(index, 0)
	}
	index = append(index, sum(index)...)
	out = append(out, index...)
	footer := append(binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1)), flags...)
	return append(append(append(out, sum(footer)...), footer...), "YZ"...)
}
