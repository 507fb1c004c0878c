package check

import (
	"bytes"
	"io"
	"path/filepath"
	"slices"
	"testing"

	"kotool/internal/elf"
	"kotool/internal/oracletest"
	"kotool/internal/report"
	"kotool/internal/sim"
	"kotool/internal/source"
	"kotool/internal/target"
)

// TestCheckSaysWhatRealKernelsDid puts every recorded module that is loaded without parameters and flags to check: errno and log are those of the
// kernel, and of the simulation.
func TestCheckSaysWhatRealKernelsDid(t *testing.T) {
	for _, path := range oracletest.Verdicts(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			o := oracletest.Read(t, path)
			equal, explained, wrong := 0, map[string]int{}, 0
			for i := 0; i < len(o.Results); i += oracletest.Every {
				r := &o.Results[i]
				m := o.Manifest[r.ID]
				if m.Params != "" || m.Flags != 0 || m.Syscall == "init" || slices.Contains(m.Pre, "dummy") {
					continue
				}
				why, bad := compare(t, o, r, &m)
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
			for why, k := range explained {
				t.Logf("explained: %d %s", k, why)
			}
			t.Logf("%s: equal %d, wrong %d", o.Kernel, equal, wrong)
			if equal < 500/oracletest.Every {
				t.Errorf("only %d loads were compared", equal)
			}
		})
	}
}

func compare(t *testing.T, o *oracletest.Oracle, r *oracletest.Recorded, m *oracletest.Mutation) (why, bad string) {
	b := o.Files[m.File]
	tg, err := o.Prepared(t, m)
	if err != nil {
		return "", err.Error()
	}
	open := func(string) (*source.Input, error) {
		return source.Open("-", source.Options{Stdin: io.Reader(bytes.NewReader(b)), MaxSize: 1 << 30, Any: true})
	}
	s := &Session{T: &target.Target{Target: *tg}, Info: &report.CheckTarget{}, Open: open}
	src, err := open("")
	if err != nil {
		return "an empty file is trouble", ""
	}
	defer src.Close()
	frozen := s.T.Target
	d, err := NewDraft(&frozen, "dummy.ko", src, nil, nil)
	if err != nil {
		return "", err.Error()
	}
	s.Register(d)
	c, err := s.Answer(d)
	if err != nil {
		return "", err.Error()
	}
	a := &oracletest.Answer{Errno: c.Errno, Log: c.Dmesg}
	res := sim.NewKernel(tg).Load(sim.RequestOf(elf.Mem(b)))
	if res.Undefined != nil {
		a.Undefined, a.Stray = res.Undefined, true
		if c.Verdict != report.Undecided && c.Verdict != report.Refused {
			return "", "the simulation says undefined, check says " + string(c.Verdict)
		}
		return o.Compare(r, a)
	}
	if c.Verdict == report.Undecided {
		return "", "undecided, the simulation says " + res.Errno.Name()
	}
	a.Stray = res.Load.Stray
	if src.Compression != "none" && c.Errno == 0 {
		return "check unpacks a file as kmod does", ""
	}
	if c.Errno != res.Errno {
		return "", "check says " + c.Errno.Name() + ", the simulation " + res.Errno.Name() + " in " + res.Stage
	}
	return o.Compare(r, a)
}
