package source

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"hash/crc32"
	"os"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// sample is n bytes that begin like ELF. testdata/sample-2000.xz holds sample(2000), by xz -9 --check=crc64.
func sample(n int) []byte {
	b := []byte("\x7fELF\x02\x01\x01")
	for i := uint32(1); len(b) < n; i++ {
		// Half of it repeats, half does not.
		b = append(b, "module="...)
		b = binary.LittleEndian.AppendUint32(b, i*2654435761)
	}
	return b[:n]
}

func packGzip(t testing.TB, plain []byte) []byte {
	t.Helper()
	return gzipLevel(t, plain, gzip.BestSpeed)
}

func storedGzip(t testing.TB, plain []byte) []byte {
	t.Helper()
	return gzipLevel(t, plain, gzip.NoCompression)
}

func gzipLevel(t testing.TB, plain []byte, level int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// packZstd is a frame that says its size.
func packZstd(t testing.TB, plain []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(plain, nil)
}

// packZstdStream is a frame that does not say its size, as from a pipe.
func packZstdStream(t testing.TB, plain []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	for len(plain) > 0 { // one large write would be taken for the whole
		n := min(len(plain), 1<<16)
		if _, err := w.Write(plain[:n]); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		plain = plain[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// xzSample is testdata/sample-2000.xz.
func xzSample(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/sample-2000.xz")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// storedXZ is an xz stream of one block whose LZMA2 chunks are stored as they are. dict is the LZMA2 property byte
// of the dictionary size, and promise the plain size that the index states.
func storedXZ(plain []byte, dict byte, promise uint64) []byte {
	sum := func(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b)) }
	flags := []byte{0, 0} // no check
	out := append([]byte("\xfd7zXZ\x00"), flags...)
	out = binary.LittleEndian.AppendUint32(out, crc32.ChecksumIEEE(flags))
	start := len(out)
	out = append(out, sum([]byte{2, 0, 0x21, 1, dict, 0, 0, 0})...) // (2+1)*4 bytes; LZMA2
	for i := 0; i < len(plain); i += 1 << 16 {
		c := plain[i:min(len(plain), i+1<<16)]
		kind := byte(2)
		if i == 0 {
			kind = 1 // with a new dictionary
		}
		out = append(out, kind, byte((len(c)-1)>>8), byte(len(c)-1))
		out = append(out, c...)
	}
	out = append(out, 0)
	unpadded := len(out) - start
	for (len(out)-start)%4 != 0 {
		out = append(out, 0)
	}
	index := binary.AppendUvarint([]byte{0, 1}, uint64(unpadded))
	index = binary.AppendUvarint(index, promise)
	for len(index)%4 != 0 {
		index = append(index, 0)
	}
	index = sum(index)
	out = append(out, index...)
	tail := binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1))
	tail = append(tail, flags...)
	out = binary.LittleEndian.AppendUint32(out, crc32.ChecksumIEEE(tail))
	return append(append(out, tail...), "YZ"...)
}
