package sim

import (
	"errors"
	"path/filepath"
	"testing"

	"kotool/internal/elf"
	"kotool/internal/oracletest"
)

func TestVerdictsAreThoseOfRealKernels(t *testing.T) {
	for _, path := range oracletest.Verdicts(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			o := oracletest.Read(t, path)
			equal, explained, wrong := 0, map[string]int{}, 0
			for i := 0; i < len(o.Results); i += oracletest.Every {
				r := &o.Results[i]
				why, bad := judge(t, o, r)
				switch {
				case bad != "":
					wrong++
					t.Errorf("%s (%s): %s", r.ID, r.What, bad)
				case why != "":
					explained[why]++
				default:
					equal++
				}
			}
			n := 0
			for why, k := range explained {
				t.Logf("explained: %d %s", k, why)
				n += k
			}
			t.Logf("%s: equal %d, explained %d, wrong %d", o.Kernel, equal, n, wrong)
			if equal < 800/oracletest.Every {
				t.Errorf("only %d of %d loads were compared", equal, len(o.Results))
			}
		})
	}
}

// judge simulates one recorded load.
func judge(t *testing.T, o *oracletest.Oracle, r *oracletest.Recorded) (why, bad string) {
	m, ok := o.Manifest[r.ID]
	if !ok {
		return "", "not in the manifest"
	}
	b, ok := o.Files[m.File]
	if !ok {
		return "", "no file " + m.File
	}
	tg, err := o.Prepared(t, &m)
	if err != nil {
		return "", err.Error()
	}
	req := RequestOf(elf.Mem(b))
	req.Args, req.Flags, req.Raw = []byte(m.Params), m.Flags, m.Syscall == "init"
	if req.Raw && m.Len != nil && *m.Len > uint64(len(b)) {
		return "init_module with a length past the file", ""
	}
	res := NewKernel(tg).Load(req)
	a := &oracletest.Answer{Errno: res.Errno, Undefined: res.Undefined, Stray: res.Load.Stray}
	if len(res.Assumes) > 0 && res.Errno == 0 {
		a.Undefined = errors.New(res.Assumes[0])
	}
	for _, l := range res.Log {
		a.Log = append(a.Log, l.Text)
	}
	return o.Compare(r, a)
}
