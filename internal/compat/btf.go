package compat

import (
	"kotool/internal/btf"
	"kotool/internal/diag"
	"kotool/internal/kver"
)

// BTF is what the kernel checks of .BTF when the module is coming. What the module's types count on from has to be known: else its header is all
// that is looked at.
//
// Source: kernel/bpf/btf.c: btf_module_notify, btf_parse_module.
func (l *Load) BTF() (diag.Errno, error) {
	l.step = "k7"
	if l.T.Is("DEBUG_INFO_BTF_MODULES") == No || !l.T.has(kver.Since(5, 11)) {
		return 0, nil
	}
	i := l.anySec(".BTF")
	if i == 0 || l.Hdr[i].Size == 0 {
		return 0, nil
	}
	s, base := &l.Hdr[i], l.T.Base
	distilled := false
	if k := l.anySec(".BTF.base"); k != 0 && l.T.has(distilledBase) {
		b := l.bytes(l.Hdr[k].Off, l.Hdr[k].Size)
		if _, r := btf.Check(b, nil, l.T.Version, l.F.Big); r != nil {
			return l.badBTF(l.refuseBTF(r, false)), nil
		}
		base, distilled = btf.ReadBase(b, l.F.Big), true
	}
	b := l.bytes(s.Off, s.Size)
	if base == nil {
		if _, r := btf.ReadHeader(b, true, l.T.Version, l.F.Big); r != nil {
			return l.badBTF(l.refuseBTF(r, true)), nil
		}
		return 0, nil
	}
	got, r := btf.Check(b, base, l.T.Version, l.F.Big)
	if distilled {
		// What btf_relocate does then, to look for the base's types among the kernel's, is not judged.
		if r != nil {
			return l.badBTF(l.refuseBTF(r, true)), nil
		}
		return 0, nil
	}
	if r == nil {
		if got.Highest >= base.Types+got.Own {
			// The kernel takes it: only what modifiers refer to is looked for.
			f := l.finding(diag.BTFBase, l.Mod, got.Highest, got.Own, got.Highest+1-got.Own, base.Types)
			f.Severity, f.Errno = diag.Warning, 0
			l.relog(f, nil)
		}
		return 0, nil
	}
	if r.Missing || r.OfName {
		// Types of the module are numbered on from those of the kernel. A reference behind all of them is one to a larger kernel.
		if own, highest, ok := btf.Refs(b, l.F.Big); ok && highest >= base.Types+own {
			f := l.finding(diag.BTFBase, l.Mod, highest, own, highest+1-own, base.Types)
			l.relog(f, append(l.btfLog(r, true), f.Dmesg[len(f.Dmesg)-1]))
			return l.badBTF(f), nil
		}
	}
	return l.badBTF(l.refuseBTF(r, true)), nil
}

// distilledBase is when a module may bring what it needs of its base. Source: kernel/module/main.c: find_module_sections; commit d4e48e3dd450 (6.11).
var distilledBase = kver.Since(6, 11)

// refuseBTF is the finding of what the kernel does not take, with its lines. split says that there is a base.
func (l *Load) refuseBTF(r *btf.Refusal, split bool) *diag.Finding {
	f := l.finding(diag.BTF, l.Mod, diag.Kmsg(r.Reason), -r.Errno)
	f.Errno = diag.Errno(r.Errno)
	l.relog(f, append(l.btfLog(r, split), f.Dmesg[len(f.Dmesg)-1]))
	return f
}

// btfLog are the lines of the log before the last. What is wrong with a type goes unsaid where it does not matter.
//
// Source: kernel/bpf/btf.c: __btf_verifier_log_type; commit 9cb61e50bf6b (6.3).
func (l *Load) btfLog(r *btf.Refusal, split bool) []string {
	if split && r.OfType && l.T.has(kver.Since(6, 3)) && l.T.Is("MODULE_ALLOW_BTF_MISMATCH") == Yes {
		return nil
	}
	lines := r.Log(l.T.Version)
	for i, s := range lines {
		lines[i] = diag.Kmsg(l.T.record(s))
	}
	return lines
}

// relog gives the finding that was added last other lines than its row has.
func (l *Load) relog(f *diag.Finding, lines []string) {
	l.Log = l.Log[:len(l.Log)-len(f.Dmesg)]
	f.Dmesg = lines
	for _, s := range lines {
		l.Log = append(l.Log, Line{Text: s})
	}
}

// badBTF gives a finding the kernel's answer: it may be configured to go on without, and says so once a boot since 6.3.
//
// Source: kernel/bpf/btf.c: btf_module_notify; commit 9cb61e50bf6b (6.3).
func (l *Load) badBTF(f *diag.Finding) diag.Errno {
	switch l.T.Is("MODULE_ALLOW_BTF_MISMATCH") {
	case Yes:
		f.Severity, f.Errno = diag.Warning, 0
		if n := len(f.Dmesg); n > 0 && l.T.has(kver.Since(6, 3)) {
			f.Dmesg[n-1] = diag.BTFMismatch
			l.Log[len(l.Log)-1] = Line{Text: diag.BTFMismatch, Once: true}
		}
	case Unknown:
		f.Assumes = []string{"CONFIG_MODULE_ALLOW_BTF_MISMATCH is not set"}
	}
	return f.Errno
}
