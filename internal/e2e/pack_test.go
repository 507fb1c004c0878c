package e2e

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mikelolasagasti/xz"
)

// readCPIO is the names and contents of an archive; directories have none.
func readCPIO(b []byte) (map[string]string, error) {
	files := map[string]string{}
	for at := 0; ; {
		if len(b)-at < 110 || string(b[at:at+6]) != "070701" {
			return nil, fmt.Errorf("no header at %#x", at)
		}
		field := func(i int) int {
			v, err := strconv.ParseUint(string(b[at+6+8*i:][:8]), 16, 32)
			if err != nil {
				return -1
			}
			return int(v)
		}
		mode, size, names := field(1), field(6), field(11)
		name := string(b[at+110:][:names-1])
		at = (at + 110 + names + 3) &^ 3
		if name == "TRAILER!!!" {
			return files, nil
		}
		files[fmt.Sprintf("%o %s", mode, name)] = string(b[at:][:size])
		at = (at + size + 3) &^ 3
	}
}

func TestArchiveOfInitramfs(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := writeCPIO(&out, map[string][]byte{"init": []byte("x"), "mods/a.ko": []byte("12345"), "mods/deep/b": nil}); err != nil {
		t.Fatal(err)
	}
	got, err := readCPIO(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"100755 init": "x", "40755 mods": "", "40755 mods/deep": "", "100755 mods/a.ko": "12345", "100755 mods/deep/b": ""}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestStoredXZIsRead(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 2, 3, 4, 1 << 16, 1<<16 + 1, 3<<16 + 7} {
		want := make([]byte, n)
		for i := range want {
			want[i] = byte(i * 7 >> 3)
		}
		r, err := xz.NewReader(bytes.NewReader(xzStored(want)), 0)
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: got %d bytes, %v", n, len(got), err)
		}
	}
}
