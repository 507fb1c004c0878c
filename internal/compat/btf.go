package compat

import (
	"kotool/internal/btf"
	"kotool/internal/diag"
	"kotool/internal/kver"
)

// BTF is what the kernel checks of .BTF when the module is coming: as far as that can be judged from its header and its types.
//
// Source: kernel/bpf/btf.c: btf_module_notify, btf_parse_module, btf_parse_hdr.
func (l *Load) BTF() (diag.Errno, error) {
	l.step = "k7"
	if l.T.Is("DEBUG_INFO_BTF_MODULES") == No || !l.T.has(kver.Since(5, 11)) {
		return 0, nil
	}
	i := l.anySec(".BTF")
	if i == 0 || l.Hdr[i].Size == 0 {
		return 0, nil
	}
	s := &l.Hdr[i]
	if l.T.BaseTypes == 0 {
		// Nothing to hold the types against: the header is enough.
		head := l.btfHead(s.Off, s.Size)
		word := btf.Header(head, l.F.Big)
		if word == "" {
			word = btf.Sections(head, s.Size, l.F.Big)
		}
		if word != "" {
			return l.badBTF(l.finding(diag.BTF, l.Mod, word, -int(diag.EINVAL))), nil
		}
		return 0, nil
	}
	b := l.bytes(s.Off, s.Size)
	word := btf.Header(b, l.F.Big)
	if word == "" {
		word = btf.Sections(b, s.Size, l.F.Big)
	}
	if word != "" {
		return l.badBTF(l.finding(diag.BTF, l.Mod, word, -int(diag.EINVAL))), nil
	}
	if l.anySec(".BTF.base") == 0 {
		// Types of the module are numbered on from those of the kernel. A reference behind all of them is one to a larger kernel.
		own, highest, ok := btf.Refs(b, l.F.Big)
		if ok && highest >= l.T.BaseTypes+own {
			return l.badBTF(l.finding(diag.BTFBase, l.Mod, highest, own, highest+1-own, l.T.BaseTypes)), nil
		}
	}
	return 0, nil
}

// btfHead is the beginning of a section, padded with zeros to its size where that is small: all that the header's check looks at is the size.
func (l *Load) btfHead(off, size uint64) []byte {
	head := l.bytes(off, min(size, 64))
	if uint64(len(head)) < size && len(head) >= 24 {
		// The header's length may be anything up to the size.
		if n := uint64(u32(head[4:], l.F.Big)); n > uint64(len(head)) && n <= size {
			return l.bytes(off, size)
		}
	}
	return head
}

func u32(b []byte, big bool) uint32 {
	if big {
		return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	}
	return uint32(b[3])<<24 | uint32(b[2])<<16 | uint32(b[1])<<8 | uint32(b[0])
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
