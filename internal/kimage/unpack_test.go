package kimage

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kotool/internal/bin"
)

// lines is the text that testdata/lines.* hold.
func lines() []byte {
	var b bytes.Buffer
	for i := range 2000 {
		fmt.Fprintf(&b, "%d squared is %d\n", i%1500, (i%1500)*(i%1500))
	}
	return b.Bytes()
}

// streams are the files of testdata, by name.
func streams(t testing.TB) map[string][]byte {
	t.Helper()
	list, err := filepath.Glob("testdata/lines.*")
	if err != nil || len(list) != 5 {
		t.Fatalf("got %v, %v want five files", list, err)
	}
	found := map[string][]byte{}
	for _, path := range list {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found[filepath.Base(path)] = b
	}
	return found
}

func unpackAll(b []byte, w wrapping, limit uint64) ([]byte, error) {
	p := packingOf(b)
	if p == "" {
		return nil, fmt.Errorf("not packed in a known way")
	}
	return w.unpack(p, bin.New(b, 0, false), limit)
}

func TestStreamsOfTheToolsAreUnpacked(t *testing.T) {
	want := lines()
	for name, b := range streams(t) {
		for _, c := range []struct {
			name string
			w    wrapping
			b    []byte
		}{
			{"as it is", wrapping{}, b},
			{"with the size behind it", wrapping{sized: true}, sized(bytes.Clone(b), want)},
			{"with the size and more behind it", wrapping{}, append(sized(bytes.Clone(b), want), "more than that"...)},
		} {
			got, err := unpackAll(c.b, c.w, 1<<20)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, %s: got %d bytes, %v want %d", name, c.name, len(got), err, len(want))
			}
		}
		if _, err := unpackAll(b, wrapping{}, uint64(len(want)-1)); err == nil || !strings.Contains(err.Error(), "limit") {
			t.Errorf("%s: above the limit: got %v", name, err)
		}
	}
}

func TestDamagedStreamsEnd(t *testing.T) {
	want := lines()
	for name, b := range streams(t) {
		for n := range len(b) - 16 {
			if n%61 != 0 && n > 32 {
				continue
			}
			if got, err := unpackAll(b[:n], wrapping{}, 1<<20); err == nil && bytes.Equal(got, want) {
				t.Errorf("%s: all of it came out of %d of %d bytes", name, n, len(b))
			}
			c := bytes.Clone(b)
			c[n] ^= 0x55
			got, err := unpackAll(c, wrapping{}, 1<<20)
			if strings.HasSuffix(name, ".lzo") && err == nil && n > 0x40 && !bytes.Equal(got, want) {
				t.Errorf("%s: other bytes came out with %#x damaged", name, n)
			}
			if err == nil && len(got) > 1<<20 {
				t.Errorf("%s: more than the limit came out", name)
			}
		}
	}
}

// TestLZO1XInstructions has each kind of instruction once. Source: Documentation/staging/lzo.rst.
func TestLZO1XInstructions(t *testing.T) {
	far := strings.Repeat("0123456789abcdef", 4096)
	for _, c := range []struct {
		name, before, in, want string
		err                    bool
	}{
		{"literals first", "", "\x15abcd\x11\x00\x00", "abcd", false},
		{"few literals first", "", "\x13ab\x11\x00\x00", "ab", false},
		{"literals as an instruction", "", "\x01abcd\x11\x00\x00", "abcd", false},
		{"a long run of literals", "", "\x00\x03" + far[:21] + "\x11\x00\x00", far[:21], false},
		{"two bytes from near, behind a match with a literal", "", "\x15abcd\x41\x00X\x04\x00\x11\x00\x00", "abcd" + "ddd" + "X" + "dX", false},
		{"three bytes from beyond 2 KiB, behind literals", far[:2052], "\x15wxyz\x00\x00\x11\x00\x00", "", true},
		{"a match that overlaps itself", "", "\x12a\x23\x00\x00\x11\x00\x00", "aaaaaa", false},
		{"a match of more than 33", "", "\x15abcd\x20\x01\x0c\x00\x11\x00\x00", "abcd" + strings.Repeat("abcd", 8) + "ab", false},
		{"before the beginning", "", "\x15abcd\x5c\x01\x11\x00\x00", "", true},
		{"no end", "", "\x15abcd", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &sink{max: 1 << 20, limit: 1 << 20}
			err := s.lzo1x([]byte(c.in), len(c.want))
			if (err != nil) != c.err || err == nil && string(s.b) != c.want {
				t.Errorf("got %q, %v want %q", s.b, err, c.want)
			}
		})
	}
}
