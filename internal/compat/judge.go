package compat

import (
	"errors"

	"kotool/internal/diag"
)

// Part is what a run of stages has said about a module, all of it: the kernel stops at the first stage that refuses, a reader wants to
// know what else is wrong.
type Part struct {
	Findings []diag.Finding
	Log      []Line // of the kernel: up to the stage that refused
	// Errno is the kernel's answer, 0 where it goes on; Stage and Step are where it refused.
	Errno       diag.Errno
	Stage, Step string
	// Doubt says that a refusal hangs on a fact that is only assumed.
	Doubt bool
	// Undefined is why the kernel's behaviour cannot be told; nil where it can.
	Undefined error
}

// symbolsAt is the index of the stage that resolves symbols.
var symbolsAt = func() int {
	for i := range Stages {
		if Stages[i].Name == "simplify_symbols" {
			return i
		}
	}
	panic("unreachable: no simplify_symbols")
}()

// Before runs the stages up to the symbols, going on behind a refusal as far as that makes sense. An error is one of reading the file.
func (l *Load) Before() (Part, error) { return l.part(Stages[:symbolsAt]) }

// After runs the stages behind the symbols that need no memory. It is to be called only where Before let the module through to its end: Whole.
func (l *Load) After() (Part, error) { return l.part(Stages[symbolsAt:]) }

// Whole reports whether Before came to its end, so that the symbols can be looked at.
func (l *Load) Whole() bool { return l.F != nil && l.Index.Mod != 0 && l.Index.Sym != 0 && l.whole }

func (l *Load) part(stages []Stage) (Part, error) {
	var p Part
	l.all, l.whole = true, false
	first, lines := len(l.Findings), len(l.Log)
	end := -1 // of the log, where a stage has refused
	defer func() { l.refusedAt = nil }()
	for i := range stages {
		st := &stages[i]
		if st.Judge == nil || !l.T.has(st.In) {
			continue
		}
		l.refusedAt = nil
		errno, err := st.Judge(l)
		if err != nil {
			if _, ok := errors.AsType[*UndefinedError](err); !ok {
				return p, err
			}
			if p.Errno == 0 {
				p.Undefined = err
			}
			break
		}
		if errno == 0 {
			continue
		}
		f := l.refusedAt
		if f == nil {
			n := len(l.Findings)
			f = &refusal{n - 1, len(l.Log)}
		}
		if f.finding >= first && len(l.Findings[f.finding].Assumes) > 0 {
			p.Doubt = true
			continue
		}
		if p.Errno == 0 {
			p.Errno, p.Stage, p.Step, end = errno, st.Name, st.ID, f.lines
			if f.finding >= first {
				fd := &l.Findings[f.finding]
				p.Errno, p.Step = fd.Errno, fd.Step
				if e := diag.Lookup(fd.Code); e != nil && e.Stage != "" {
					p.Stage = e.Stage
				}
			}
			p.Stage = l.T.StageName(p.Stage, p.Step)
		}
		if st.Hard && !l.valid {
			p.Findings = l.Findings[first:]
			p.Log = l.Log[lines:end]
			return p, nil
		}
	}
	l.whole = p.Undefined == nil
	if end < 0 {
		end = len(l.Log)
	}
	p.Findings, p.Log = l.Findings[first:len(l.Findings):len(l.Findings)], l.Log[lines:end:end]
	return p, nil
}

// refusal is where a stage refused: its finding, and how long the log was then.
type refusal struct{ finding, lines int }

// refuse notes the first step of a stage that refuses, and reports whether the stage ends there: where everything is wanted, it goes on.
func (l *Load) refuse() (ends bool) {
	at := len(l.Findings) - 1
	if l.refusedAt == nil || len(l.Findings[l.refusedAt.finding].Assumes) > 0 {
		l.refusedAt = &refusal{at, len(l.Log)}
	}
	return !l.all
}
