package kver

import "testing"

func TestParseReadsTheNumbersOfARelease(t *testing.T) {
	for in, want := range map[string]string{
		"6.1.0-50-amd64": "6.1", "5.10.223": "5.10.223", "7.2.13+deb14-amd64": "7.2.13", "4.19": "4.19", "6.12-rc3": "6.12", "2.6.36": "2.6.36",
	} {
		if v, err := Parse(in); err != nil || v.String() != want {
			t.Errorf("%q: got %v, %v want %s", in, v, err, want)
		}
	}
	for _, in := range []string{"", "x", "6", "6.", ".1", "99999999999.1"} {
		if v, err := Parse(in); err == nil {
			t.Errorf("%q: got %v", in, v)
		}
	}
}

func TestRangesAreHalfOpen(t *testing.T) {
	r := Between(V(5, 4), V(6, 1))
	for v, want := range map[Version]bool{{5, 3, 9}: false, V(5, 4): true, {6, 0, 19}: true, V(6, 1): false} {
		if r.Has(v) != want {
			t.Errorf("%v in %v: got %v", v, r, !want)
		}
	}
	if !Since(6, 4).Has(V(7, 0)) || Until(6, 4).Has(V(6, 4)) || !All.Has(Version{}) {
		t.Error("open ends")
	}
}

func TestUnionsHoldBoth(t *testing.T) {
	for _, c := range []struct {
		a, b Range
		want string
	}{
		{Since(5, 4), Since(6, 1), "5.4+"}, {Until(5, 0), Since(5, 0), "all"}, {Between(V(5, 4), V(6, 0)), Until(5, 5), "before 6.0"},
		{Between(V(5, 4), V(6, 0)), Between(V(6, 5), V(7, 0)), "5.4 to before 7.0"}, {All, Until(5, 0), "all"},
	} {
		if got := c.a.Union(c.b).String(); got != c.want {
			t.Errorf("%v and %v: got %q want %q", c.a, c.b, got, c.want)
		}
		if got := c.b.Union(c.a).String(); got != c.want {
			t.Errorf("%v and %v: got %q want %q", c.b, c.a, got, c.want)
		}
	}
}
