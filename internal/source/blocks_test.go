package source

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// both reads b by blocks and as a stream: the bytes, and how each ended.
func both(t *testing.T, b []byte, jobs int) (byBlocks, streamed []byte, ends [2]string, blocks bool) {
	t.Helper()
	r, err := NewReaderAt("xz", bytes.NewReader(b), int64(len(b)), jobs)
	if err == nil {
		_, blocks = r.(*blockReader)
		byBlocks, err = io.ReadAll(r)
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	ends[0] = ending(err)
	s, err := NewReader("xz", bytes.NewReader(b))
	if err == nil {
		streamed, err = io.ReadAll(s)
	}
	ends[1] = ending(err)
	return byBlocks, streamed, ends, blocks
}

// ending is an error without how far the library came, which depends on how much is asked of it at once.
func ending(err error) string {
	if s, ok := errors.AsType[*StreamError](err); ok {
		return s.Err.Error()
	}
	return fmt.Sprint(err)
}

func TestAFileOfBlocksIsReadAsTheStream(t *testing.T) {
	plain := samples(t)[1]
	for _, args := range [][]string{{"--block-size=100KiB"}, {"--block-size=64KiB", "--check=crc32"}, {"--block-size=200KiB", "--check=none"}, {"--block-size=100KiB", "--x86", "--lzma2"}, {"--check=crc64"}} {
		b := pack(t, plain, args...)
		for _, jobs := range []int{0, 1, 3} {
			got, want, ends, blocks := both(t, b, jobs)
			if !bytes.Equal(got, plain) || !bytes.Equal(want, plain) || ends != [2]string{"<nil>", "<nil>"} {
				t.Errorf("%v, %d jobs: got %d bytes of %d, %q", args, jobs, len(got), len(plain), ends)
			}
			if blocks != strings.HasPrefix(args[0], "--block") {
				t.Errorf("%v: by blocks: %v", args, blocks)
			}
		}
	}
}

// Damage anywhere is told in the stream's words, and no byte that comes before is another.
func TestDamageInABlockIsToldAsTheStreamTellsIt(t *testing.T) {
	plain := samples(t)[1][:60000]
	b := pack(t, plain, "--block-size=16KiB")
	byBlocks := 0
	for i := 0; i < len(b); i += 1 + len(b)/50 {
		bad := bytes.Clone(b)
		bad[i] ^= 0x10
		for what, bad := range map[string][]byte{"damaged": bad, "cut": b[:i]} {
			got, want, ends, blocks := both(t, bad, 2)
			if ends[0] != ends[1] || len(got) < len(want)&^(16<<10-1) {
				t.Errorf("%s at byte %d: got %d bytes, %q, want %d, %q", what, i, len(got), ends[0], len(want), ends[1])
			}
			if !bytes.HasPrefix(got, want) && !bytes.HasPrefix(want, got) {
				t.Errorf("%s at byte %d: other bytes", what, i)
			}
			if blocks {
				byBlocks++
			}
		}
	}
	if byBlocks < 30 {
		t.Errorf("%d were read by blocks", byBlocks)
	}
}

// faulty cannot be read behind some offset, once its end has been read.
type faulty struct {
	*bytes.Reader
	from int64
}

var errFaulty = errors.New("the disk is gone")

func (f *faulty) ReadAt(b []byte, off int64) (int, error) {
	if off < f.from && off+int64(len(b)) > f.from {
		return 0, errFaulty
	}
	return f.Reader.ReadAt(b, off)
}

func TestAnErrorOfReadingABlockIsThatOfTheFile(t *testing.T) {
	b := pack(t, samples(t)[1], "--block-size=100KiB")
	r, err := NewReaderAt("xz", &faulty{bytes.NewReader(b), int64(len(b)) / 2}, int64(len(b)), 2)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, errFaulty) {
		t.Errorf("got %v", err)
	}
}
