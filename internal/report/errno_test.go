package report

import (
	"strings"
	"testing"

	"kotool/internal/diag"
)

func TestErrnosAreTheMachines(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ module, kernel, want string }{
		{"mips64el", "", "EOPNOTSUPP (122)"},
		{"x86_64", "mips64el", "EOPNOTSUPP (122)"},
		{"mips64el", "x86_64", "EOPNOTSUPP (95)"},
		{"", "", "EOPNOTSUPP (95)"},
	} {
		r := &Check{Verdict: Refused, Errno: diag.EOPNOTSUPP, Arch: c.module}
		if c.kernel != "" {
			r.Target = &CheckTarget{Arch: c.kernel}
		}
		if got := r.Headline(); !strings.Contains(got, c.want) {
			t.Errorf("%q on %q: got %q, want %s", c.module, c.kernel, got, c.want)
		}
	}
}
