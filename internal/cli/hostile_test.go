package cli

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// mutate damages a module as files get damaged, and as someone would who wants harm.
func mutate(r *rand.Rand, in []byte) []byte {
	b := bytes.Clone(in)
	word := func() uint64 {
		switch r.IntN(5) {
		case 0:
			return uint64(r.IntN(256))
		case 1:
			return uint64(len(b)) + uint64(r.IntN(64)) - 32
		case 2:
			return ^uint64(0) - uint64(r.IntN(64))
		case 3:
			return 1 << r.IntN(64)
		}
		return r.Uint64()
	}
	big := b[5] == 2
	for range 1 + r.IntN(8) {
		if len(b) < 128 {
			return b
		}
		at := r.IntN(len(b) - 8)
		switch r.IntN(9) {
		case 0:
			b = b[:at]
		case 1:
			b[at] ^= 1 << r.IntN(8)
		case 2:
			b[at] = byte(r.Uint32())
		case 3, 4: // a word of the section headers, which stand at the end
			at = max(0, len(b)-1-r.IntN(min(len(b), 4000))) &^ 7
			if at+8 <= len(b) {
				binary.LittleEndian.PutUint64(b[at:], word())
			}
		case 5: // the ELF header
			b[r.IntN(64)] = byte(r.Uint32())
		case 6:
			n := min(r.IntN(64), len(b)-at)
			copy(b[at:at+n], b[r.IntN(len(b)-n):])
		case 7:
			clear(b[at:min(len(b), at+r.IntN(64))])
		case 8:
			v := uint32(word())
			if big {
				binary.BigEndian.PutUint32(b[at&^3:], v)
			} else {
				binary.LittleEndian.PutUint32(b[at&^3:], v)
			}
		}
	}
	return b
}

// TestDamagedModulesAreAnswered: no command may panic, hang, take much memory, print a raw control character or write broken JSON,
// whatever the file is. KOTOOL_HOSTILE sets the number of files.
func TestDamagedModulesAreAnswered(t *testing.T) {
	n := 400
	if s := os.Getenv("KOTOOL_HOSTILE"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob("../../testdata/ko/*/*.ko*")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d fixtures (%v)", len(files), err)
	}
	symvers := "../../testdata/ko/amd64-6.1/kernel.symvers"
	dir := t.TempDir()
	path := filepath.Join(dir, "damaged.ko")
	r := rand.New(rand.NewPCG(1, 2))
	statuses := map[int]int{}
	var before, after runtime.MemStats
	for i := range n {
		in, err := os.ReadFile(files[r.IntN(len(files))])
		if err != nil {
			t.Fatal(err)
		}
		b := mutate(r, in)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{
			{"info"}, {"header"}, {"sections"}, {"symbols"}, {"relocs"}, {"exports"}, {"imports"}, {"versions"}, {"params"}, {"module"}, {"module", "--as-c"},
			{"signature"}, {"dump", "-x", ".text", "-x", "5"}, {"check", "--symvers", symvers},
		} {
			for _, format := range []string{"table", "json", "tsv"} {
				var out, errs bytes.Buffer
				app := &App{Out: &out, Err: &errs, Getenv: func(string) string { return "" }, Release: func() string { return "" }}
				start := time.Now()
				runtime.ReadMemStats(&before)
				status := Run(t.Context(), app, append(args, "-o", format, path))
				runtime.ReadMemStats(&after)
				what := fmt.Sprintf("file %d, kotool %v -o %s", i, args, format)
				statuses[status]++
				if d := time.Since(start); d > 2*time.Second {
					t.Errorf("%s: took %v", what, d)
				}
				// Output is kept by this test; everything else must be a small multiple of the file.
				if got, most := after.TotalAlloc-before.TotalAlloc, uint64(16*len(b)+8*out.Cap()+8<<20); got > most {
					t.Errorf("%s: allocated %d bytes for a file of %d", what, got, len(b))
				}
				if status < 0 || status > 3 {
					t.Errorf("%s: status %d", what, status)
				}
				if status == statusTrouble && errs.Len() == 0 {
					t.Errorf("%s: status 2 without a word", what)
				}
				for _, text := range [][]byte{out.Bytes(), errs.Bytes()} {
					if at := bytes.IndexFunc(text, func(c rune) bool { return c < 0x20 && c != '\n' && c != '\t' || c == 0x7f }); at >= 0 {
						t.Errorf("%s: a raw control character: %q", what, text[max(0, at-20):min(len(text), at+20)])
					}
				}
				if format == "json" && !json.Valid(out.Bytes()) {
					t.Errorf("%s: broken JSON: %.200q", what, out.Bytes())
				}
				if t.Failed() {
					_ = os.WriteFile(filepath.Join(os.TempDir(), "kotool-damaged.ko"), b, 0o600)
					t.Fatalf("the file is kept as %s", filepath.Join(os.TempDir(), "kotool-damaged.ko"))
				}
			}
		}
	}
	t.Logf("%d files, by status: %v", n, statuses)
	if statuses[0] == 0 || statuses[1] == 0 || statuses[2] == 0 {
		t.Errorf("not every status was seen: %v", statuses)
	}
}
