package params

import "testing"

func TestTakesIsInWords(t *testing.T) {
	for _, c := range []struct {
		kind string
		max  uint32
		word int
		want string
	}{
		{"byte", 0, 8, "a number from 0 to 255"},
		{"short", 0, 8, "a number from -32768 to 32767"},
		{"int", 0, 8, "a number from -2147483648 to 2147483647"},
		{"long", 0, 4, "a number from -2147483648 to 2147483647"},
		{"long", 0, 8, "a number from -9223372036854775808 to 9223372036854775807"},
		{"ullong", 0, 4, "a number from 0 to 18446744073709551615"},
		{"bool", 0, 8, "y, n, 1, 0, on or off"},
		{"charp", 0, 8, "a text of at most 1024 bytes"},
		{"string", 16, 8, "a text of at most 15 bytes"},
		{"array of uint", 8, 8, "an array of at most 8, each a number from 0 to 4294967295"},
		{"", 0, 8, ""},
	} {
		r := Record{Kind: c.kind, Max: c.max}
		if got := r.Takes(c.word); got != c.want {
			t.Errorf("%s: got %q want %q", c.kind, got, c.want)
		}
	}
}

func TestFailuresAndUnknownNamesAreListed(t *testing.T) {
	list := []Param{{Name: "n", Record: &Record{Kind: "byte"}}}
	r := ParseArgs([]byte("n=300 m=1 n=x"), list, Options{Module: "mod"})
	if len(r.Failed) != 2 || r.Failed[0].Name != "n" || r.Failed[0].Value != "300" || r.Failed[0].Errno != 34 || r.Failed[0].Param != &list[0] || r.Failed[1].Errno != 22 {
		t.Errorf("failed: %+v", r.Failed)
	}
	if len(r.Failed) == 2 && (len(r.Failed[0].Log) != 1 || r.Failed[0].Log[0] != "mod: `300' invalid for parameter `n'") {
		t.Errorf("log: %q", r.Failed[0].Log)
	}
	if len(r.Unknown) != 1 || r.Unknown[0] != "m" {
		t.Errorf("unknown: %q", r.Unknown)
	}
}
