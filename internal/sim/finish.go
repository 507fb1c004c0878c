package sim

import (
	"bytes"
	"fmt"
	"strings"

	"kotool/internal/compat"
	"kotool/internal/diag"
	"kotool/internal/kver"
	"kotool/internal/params"
)

func (s *state) completeFormation() (diag.Errno, error) {
	s.res.Exported = len(s.req.Exports)
	for i := range s.req.Exports {
		if f := compat.Duplicate(s.Load.Mod, string(s.req.Exports[i].Name), s.k.T); f != nil && f.Errno != 0 {
			f.Step = "k5"
			s.Load.Findings = append(s.Load.Findings, *f)
			s.Load.Append(f.Dmesg...)
			return f.Errno, nil
		}
	}
	return 0, nil
}

func (s *state) parseArgs() (diag.Errno, error) {
	if len(bytes.TrimSpace(s.req.Args)) == 0 {
		return 0, nil
	}
	c := s.Load
	r := params.ParseArgs(s.req.Args, s.req.Params, params.Options{Module: c.Mod, Version: s.k.T.Version, Word: c.F.Word(), Big: c.F.Big,
		NoDynamicDebug: s.k.T.Is("DYNAMIC_DEBUG") == compat.No})
	s.res.Params = r
	for _, l := range r.Log {
		c.Print(l.Text)
	}
	if r.Tainted {
		c.Taints |= compat.TaintUser
	}
	s.argumentFindings(r)
	for i := range r.Stores {
		st := &r.Stores[i]
		if st.Var.Section <= 0 || st.Var.Section >= len(c.Hdr) || st.Data == nil {
			continue // outside of the module, or the address of a copy
		}
		copy(s.mem.at(c.Hdr[st.Var.Section].Addr+st.Var.Off, uint64(len(st.Data))), st.Data)
	}
	s.note("arguments: %d", len(r.Args))
	if n := len(r.Unknown); n > 0 {
		s.did += fmt.Sprintf(", %d unknown", n)
	}
	if n := len(r.Failed); n > 0 {
		s.did += fmt.Sprintf(", %d refused", n)
	}
	s.res.Values = values(r, s.req.Params, c.F.Big)
	for _, u := range r.Undecided {
		s.res.Assumes = append(s.res.Assumes, fmt.Sprintf("parameter %s takes its value: %s", u.Name, u.Why))
	}
	return r.Errno, nil
}

// argumentFindings says which arguments are refused, and what their parameters take, and which nobody takes.
func (s *state) argumentFindings(r *params.Result) {
	c := s.Load
	for _, name := range r.Unknown {
		f := diag.New(diag.ParamUnknown, s.k.T.Version, c.Mod, name)
		f.Step = "k8"
		c.Findings = append(c.Findings, f)
	}
	for i := range s.req.Params {
		if p := &s.req.Params[i]; p.Record != nil && len(r.Unknown) > 0 {
			s.res.ParamNames = append(s.res.ParamNames, p.Name)
		}
	}
	for i := range r.Failed {
		x := &r.Failed[i]
		text := x.Name + "=" + x.Value + " is refused"
		if x.Param == nil {
			text = "the module has no parameter " + x.Name
		}
		f := diag.New(diag.Param, s.k.T.Version, text, c.Mod, x.Value, x.Name)
		f.Errno, f.Step, f.Dmesg, f.Got = x.Errno, "k8", x.Log, x.Value
		if x.Param != nil {
			f.Want = x.Param.Record.Takes(c.F.Word())
		}
		c.Findings = append(c.Findings, f)
	}
}

// suspicious are the texts about an init function that returns a positive number.
//
// Source: kernel/module/main.c: do_init_module.
var suspicious = []struct {
	in     kver.Range
	format string
}{
	{kver.Until(7, 0), "do_init_module: '%s'->init suspiciously returned %d, it should follow 0/-E convention\ndo_init_module: loading module anyway..."},
	{kver.Since(7, 0), "%s: init suspiciously returned %d, it should follow 0/-E convention"},
}

func (s *state) doInit() (diag.Errno, error) {
	n := s.req.Init
	switch {
	case !s.req.HasInit:
		s.note("there is no init function")
		return 0, nil
	case n == 0:
		s.note("init is taken to return 0; its memory is freed")
		return 0, nil
	case n > 0:
		for _, t := range suspicious {
			if s.k.has(t.in) {
				s.Load.Print(strings.Split(fmt.Sprintf(t.format, s.Load.Mod, n), "\n")...)
			}
		}
		s.note("init returns %d", n)
		return 0, nil
	}
	s.note("init returns %d", n)
	errno := diag.Errno(-n)
	if errno == diag.EEXIST && s.k.has(kver.Since(7, 0)) {
		errno = diag.EBUSY
	}
	return errno, nil
}

// release gives the memory of a load that failed back, and init memory of one that did not.
func (s *state) release() {
	for i := range s.regions {
		r := &s.regions[i]
		if !r.apart && (s.res.Module == nil || r.Kind.IsInit()) {
			s.k.free(r.Base)
		}
		s.k.give(r.mem)
		r.mem = nil
	}
	if s.res.Module == nil {
		s.k.percpu.free(s.percpuAt)
	}
	s.k.give(s.copyOf) // nobody reads the file through the Load any more
	s.copyOf = nil
}
