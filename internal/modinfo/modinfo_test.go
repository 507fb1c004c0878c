package modinfo

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kotool/internal/bin"
)

// section is a .modinfo at file offset 0x100.
func section(text string) bin.View { return bin.New([]byte(text), 0x100, false) }

func TestStringsAreReadInTheirOrder(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []string // offset, key, value; - for a nil key
		err      string
	}{
		{"two", "license=GPL\x00name=fat\x00", []string{`100 "license" "GPL"`, `10c "name" "fat"`}, ""},
		{"the same key twice", "alias=a\x00alias=b\x00", []string{`100 "alias" "a"`, `108 "alias" "b"`}, ""},
		{"padding before, between and after", "\x00\x00a=1\x00\x00\x00b=2\x00\x00", []string{`102 "a" "1"`, `108 "b" "2"`}, ""},
		{"more than one '='", "parm=x:a=b\x00", []string{`100 "parm" "x:a=b"`}, ""},
		{"an empty value", "depends=\x00", []string{`100 "depends" ""`}, ""},
		{"an empty key", "=a\x00", []string{`100 "" "a"`}, ""},
		{"newlines, tabs and bytes over 0x7f", "parm=a\n\tb\xe9\x00", []string{`100 "parm" "a\n\tb\xe9"`}, ""},
		{"no '='", "a=1\x00nonsense\x00b=2\x00", []string{`100 "a" "1"`, `104 - "nonsense"`, `10d "b" "2"`}, "offset 0x104: a string without '='"},
		{"no NUL at the end", "a=1\x00b=2", []string{`100 "a" "1"`, `104 "b" "2"`}, "offset 0x104: the last string has no terminating NUL"},
		{"only NULs", "\x00\x00\x00\x00", nil, ""},
		{"nothing", "", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			info, err := Parse(section(c.in))
			var got []string
			for _, e := range info.Entries {
				key := "-"
				if e.Key != nil {
					key = fmt.Sprintf("%q", e.Key)
				}
				got = append(got, fmt.Sprintf("%x %s %q", e.Off, key, e.Value))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v want %q", err, c.err)
			}
		})
	}
}

func TestTheFirstValueOfAKeyIsFound(t *testing.T) {
	info, _ := Parse(section("version\x00versions=0\x00version=1\x00version=2\x00=empty\x00"))
	for _, c := range []struct {
		key, value string
		ok         bool
	}{{"version", "1", true}, {"versions", "0", true}, {"", "empty", true}, {"vers", "", false}, {"nosuch", "", false}} {
		if v, ok := info.Get(c.key); string(v) != c.value || ok != c.ok {
			t.Errorf("%q: got %q, %v want %q, %v", c.key, v, ok, c.value, c.ok)
		}
	}
	if got := fmt.Sprintf("%q", slices.Collect(info.All("version"))); got != `["1" "2"]` {
		t.Errorf("got %s", got)
	}
	var none *Info
	if _, ok := none.Get("version"); ok || len(slices.Collect(none.All("version"))) != 0 {
		t.Error("found a value in nothing")
	}
}

func TestASectionOfVeryManyStringsIsBounded(t *testing.T) {
	info, err := Parse(bin.New(bytes.Repeat([]byte("a=\x00"), maxEntries+1), 0, false))
	if len(info.Entries) != maxEntries || err == nil || !strings.Contains(err.Error(), "the rest is left out") {
		t.Errorf("got %d entries, %v want %d", len(info.Entries), err, maxEntries)
	}
}

// sample is the .modinfo of a middling driver.
var sample = []byte(strings.Repeat("alias=pci:v00008086d*sv*sd*bc*sc*i*\x00", 40) + strings.Repeat("parm=name:What it does (int)\x00parmtype=name:int\x00", 10) +
	"license=GPL v2\x00depends=a,b\x00intree=Y\x00name=driver\x00vermagic=6.1.0 SMP preempt mod_unload modversions \x00")

func TestASectionIsReadWithTwoAllocations(t *testing.T) {
	if n := testing.AllocsPerRun(20, func() {
		if _, err := Parse(bin.New(sample, 0, false)); err != nil {
			t.Error(err)
		}
	}); n > 2 {
		t.Errorf("got %v allocations want 2", n)
	}
}

func BenchmarkParse(b *testing.B) {
	b.SetBytes(int64(len(sample)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(bin.New(sample, 0, false)); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("license=GPL\x00name=fat\x00"))
	f.Add([]byte("\x00nonsense\x00=\x00a"))
	// Contract: no panic; the strings put together again, with their NULs and without padding, are the section; Get
	// gives the first value of every key.
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := Parse(bin.New(data, 0, false))
		var want, got [][]byte
		for s := range bytes.SplitSeq(data, []byte{0}) {
			if len(s) > 0 {
				want = append(want, s)
			}
		}
		plain := len(data) == 0 || data[len(data)-1] == 0
		for i := range info.Entries {
			e := &info.Entries[i]
			s := e.Value
			if e.Key != nil {
				s = slices.Concat(e.Key, []byte("="), e.Value)
				if v, ok := info.Get(string(e.Key)); !ok || i == 0 && !bytes.Equal(v, e.Value) {
					t.Fatalf("%q: got %q, %v", e.Key, v, ok)
				} else if first, ok := First(bin.New(data, 0, false), string(e.Key)); !ok || !bytes.Equal(first, v) {
					t.Fatalf("%q: First is %q, Get is %q", e.Key, first, v)
				}
			}
			plain = plain && e.Key != nil
			got = append(got, s)
		}
		if len(want) <= maxEntries && !slices.EqualFunc(want, got, bytes.Equal) {
			t.Fatalf("got %q want %q", got, want)
		}
		if plain != (err == nil) && len(want) <= maxEntries {
			t.Fatalf("got error %v of %q", err, data)
		}
	})
}
