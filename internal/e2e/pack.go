package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
)

// writeCPIO writes files as an archive for the kernel's initramfs: "newc", uncompressed. Directories are made as needed; all files can be executed.
func writeCPIO(w io.Writer, files map[string][]byte) error {
	dirs := map[string]bool{}
	ino := 0
	put := func(name string, mode int, data []byte) error {
		ino++
		var head strings.Builder
		head.WriteString("070701")
		for _, v := range []int{ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0} {
			fmt.Fprintf(&head, "%08x", v)
		}
		head.WriteString(name + "\x00")
		head.WriteString(zeros(head.Len()))
		if _, err := io.WriteString(w, head.String()); err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
		_, err := io.WriteString(w, zeros(len(data)))
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		parts := strings.Split(path.Dir(name), "/")
		for i := range parts {
			d := strings.Join(parts[:i+1], "/")
			if d == "." || dirs[d] {
				continue
			}
			dirs[d] = true
			if err := put(d, 0o040755, nil); err != nil {
				return err
			}
		}
		if err := put(name, 0o100755, files[name]); err != nil {
			return err
		}
	}
	return put("TRAILER!!!", 0, nil)
}

// zeros pad n to a multiple of 4.
func zeros(n int) string { return "\x00\x00\x00"[:-n&3] }

// xzStored puts bytes into an .xz file without compressing them: LZMA2 has chunks for that. The check is CRC32, as the kernel wants it.
func xzStored(b []byte) []byte {
	sum := func(out *bytes.Buffer, of []byte) {
		_ = binary.Write(out, binary.LittleEndian, crc32.ChecksumIEEE(of))
	}
	var out bytes.Buffer
	flags := []byte{0, 1}
	out.WriteString("\xfd7zXZ\x00")
	out.Write(flags)
	sum(&out, flags)
	// A block: one filter, LZMA2 with a dictionary of 64 KiB, which is a chunk.
	start := out.Len()
	head := []byte{2, 0, 0x21, 1, 8, 0, 0, 0}
	out.Write(head)
	sum(&out, head)
	control := byte(1) // resets the dictionary
	for rest := b; len(rest) > 0; control = 2 {
		n := min(len(rest), 1<<16)
		out.Write([]byte{control, byte((n - 1) >> 8), byte(n - 1)})
		out.Write(rest[:n])
		rest = rest[n:]
	}
	out.WriteByte(0)
	unpadded := out.Len() - start + 4 // with the check
	out.WriteString(zeros(out.Len() - start))
	sum(&out, b)
	// The index.
	index := []byte{0, 1}
	index = binary.AppendUvarint(index, uint64(unpadded))
	index = binary.AppendUvarint(index, uint64(len(b)))
	index = append(index, zeros(len(index))...)
	out.Write(index)
	sum(&out, index)
	foot := binary.LittleEndian.AppendUint32(nil, uint32((len(index)+4)/4-1))
	foot = append(foot, flags...)
	sum(&out, foot)
	out.Write(foot)
	out.WriteString("YZ")
	return out.Bytes()
}

func gzipped(b []byte) ([]byte, error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
