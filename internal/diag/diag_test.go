package diag

import (
	"regexp"
	"strings"
	"testing"

	"kotool/internal/kver"
)

var verb = regexp.MustCompile(`%\[(\d)\]`)

func TestEveryEntryOfTheCatalogueIsWhole(t *testing.T) {
	seen := map[Code]bool{}
	for i := range Catalogue {
		e := &Catalogue[i]
		if seen[e.Code] || !strings.HasPrefix(string(e.Code), "KT-") || e.Severity == 0 || e.Title == "" || e.Message == "" || e.Source == "" {
			t.Errorf("%s: incomplete, or twice", e.Code)
		}
		seen[e.Code] = true
		n := strings.Count(e.Args, ",") + 1
		formats := []string{e.Message, e.Hint}
		for _, d := range e.Dmesg {
			formats = append(formats, d.Format)
		}
		for _, f := range formats {
			for _, m := range verb.FindAllStringSubmatch(f, -1) {
				if int(m[1][0]-'0') > n {
					t.Errorf("%s: %q wants argument %s of %q", e.Code, f, m[1], e.Args)
				}
			}
		}
		if e.Severity == Error && e.Errno == 0 {
			t.Errorf("%s: the kernel refuses, but with what?", e.Code)
		}
	}
}

// Lines of real kernels' logs.
func TestTextsAreTheKernels(t *testing.T) {
	for _, c := range []struct {
		f    Finding
		want string
	}{
		{New(SymMissing, kver.V(6, 1), "dummy", "no_such_symbol", -2), "dummy: Unknown symbol no_such_symbol (err -2)"},
		{New(SymCRC, kver.V(6, 1), "dummy", "ether_setup", "dummy"), "dummy: disagrees about version of symbol ether_setup\ndummy: Unknown symbol ether_setup (err -22)"},
		{New(SymNoCRC, kver.V(6, 1), "dummy", "ether_setup", "dummy"), "dummy: no symbol version for ether_setup\ndummy: Unknown symbol ether_setup (err -22)"},
		{New(LayoutCRC, kver.V(6, 12), "dummy"), "dummy: disagrees about version of symbol module_layout"},
		{New(DupExport, kver.V(6, 12), "hello", "printk", "kernel"), "hello: exports duplicate symbol printk (owned by kernel)"},
		{New(Namespace, kver.V(7, 2), "cxl_x", "devm_cxl", "CXL"), "cxl_x: module uses symbol (devm_cxl) from namespace CXL, but does not import it.\ncxl_x: Unknown symbol devm_cxl (err -22)"},
	} {
		if got := strings.Join(c.f.Dmesg, "\n"); got != c.want {
			t.Errorf("%s:\ngot  %q\nwant %q", c.f.Code, got, c.want)
		}
	}
}

func TestErrnosHaveTheirNames(t *testing.T) {
	if ENOEXEC.Name() != "ENOEXEC" || Errno(0).Name() != "" || Errno(77).Name() != "errno 77" || ErrnoNamed("EKEYREJECTED") != 129 || ErrnoNamed("X") != 0 {
		t.Error("wrong name")
	}
}
