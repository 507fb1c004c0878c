package symvers

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestASystemMapIsReadByName(t *testing.T) {
	m, err := ParseMap([]byte("0000000000000000 A VDSO32_PRELINK\n" +
		"ffffffff81000000 T _stext\r\n" +
		"ffffffff81000100 t static_name\n" +
		"\n" +
		"ffffffff81000200 T static_name\n" +
		"ffffffff81000300 T static_name\n" +
		"ffffffffc0001000 t helper\t[mod_name]\n" +
		"c0008000 W weak32"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, want string }{
		{"_stext", "ffffffff81000000 T  2"},
		{"static_name", "ffffffff81000200 T  5"}, // a global one is preferred, the first of them
		{"helper", "ffffffffc0001000 t mod_name 7"},
		{"weak32", "c0008000 W  8"},
		{"VDSO32_PRELINK", "0 A  1"},
	} {
		a, ok := m.Lookup([]byte(c.name))
		if got := fmt.Sprintf("%x %c %s %d", a.Addr, a.Type, a.Module, a.Line); !ok || got != c.want || string(a.Name) != c.name {
			t.Errorf("%s: got %q (%q) want %q", c.name, got, a.Name, c.want)
		}
	}
	if _, ok := m.Lookup([]byte("_stex")); ok || m.Len() != 7 || m.Zero {
		t.Errorf("got a name that is not there, or %d symbols, zero %v", m.Len(), m.Zero)
	}
}

func TestWhatIsNoSystemMapSaysItsLine(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"a Module.symvers", "0x12345678\tfoo\tvmlinux\tEXPORT_SYMBOL\t\n", "line 1: want an address"},
		{"a distribution's placeholder", "ffffffffffffffff B The real System.map is in the linux-image-<version>-dbg package\n", "placeholder"},
		{"no address", "xyz T name\n", "is no address"},
		{"an address of 17 digits", "00000000000000001 T name\n", "is no address"},
		{"no name", "ffffffff81000000 T\n", "want an address"},
		{"binary", "ffffffff81000000 T a\n\x00", "line 2: a NUL byte"},
		{"a module without brackets", "ffffffff81000000 T a\tmod\n", "in brackets"},
		{"a module with one bracket only", "ffffffff81000000 T a\t]\n", "in brackets"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseMap([]byte(c.in))
			e, ok := errors.AsType[*LineError](err)
			if !ok || !strings.Contains(err.Error(), c.want) || e.Hint == "" {
				t.Errorf("got %v want %q with a hint", err, c.want)
			}
		})
	}
}

func TestKallsymsWithoutPrivilegeHasOnlyZeros(t *testing.T) {
	m, err := ParseMap([]byte("0000000000000000 T _stext\n0000000000000000 t a\t[m]\n"))
	if err != nil || !m.Zero {
		t.Errorf("got zero %v, %v", m.Zero, err)
	}
}

func FuzzParseMap(f *testing.F) {
	f.Add([]byte("ffffffff81000000 T _stext\nffffffffc0001000 t helper\t[mod]\n"))
	f.Add([]byte("0 T a\t[]\n0 T b\t["))
	// Contract: no panic; what is in the map can be looked up again, and only a global symbol goes before another.
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseMap(data)
		if err != nil {
			return
		}
		for a := range m.All() {
			got, ok := m.Lookup(a.Name)
			if !ok || !got.Global() && got.Line > a.Line || a.Global() && !got.Global() {
				t.Fatalf("%q: got line %d, %v", a.Name, got.Line, ok)
			}
		}
	})
}
