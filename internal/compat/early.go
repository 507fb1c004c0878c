package compat

import (
	stdelf "debug/elf"
	"fmt"
	"slices"
	"strings"

	"kotool/internal/diag"
	"kotool/internal/kver"
	"kotool/internal/sig"
	"kotool/internal/versions"
)

// entryFlags are the flags that a kernel knows. Source: kernel/module/main.c: finit_module.
func (t *Target) entryFlags() uint32 {
	if t.has(kver.Since(5, 17)) {
		return IgnoreModVersions | IgnoreVermagic | CompressedFile
	}
	return IgnoreModVersions | IgnoreVermagic
}

// decompressors are what the kernel can be configured to unpack, with the words of its messages.
var decompressors = []struct{ option, magic, name, words string }{
	{"MODULE_COMPRESS_GZIP", "\x1f\x8b\x08", "gzip", "a gzip"},
	{"MODULE_COMPRESS_XZ", "\xfd7zXZ\x00", "xz", "an xz"},
	{"MODULE_COMPRESS_ZSTD", "\x28\xb5\x2f\xfd", "zstd", "a zstd"},
}

// Entry is the system call: flags, an empty file, decompression. The file is what is handed to the kernel.
//
// Source: kernel/module/main.c: init_module, finit_module; kernel/module/decompress.c: module_decompress.
func (l *Load) Entry() (diag.Errno, error) {
	size := l.src.Size()
	if l.Raw {
		class, _ := l.kernelForm()
		if size < ehdrSize(class) {
			l.step = "1.5"
			f := diag.New(diag.ELFLen, kver.V(3, 0), size) // silent
			f.Step = l.step
			l.Findings = append(l.Findings, f)
			return f.Errno, nil
		}
		return 0, nil
	}
	l.step = "1.2"
	if l.Flags&^l.T.entryFlags() != 0 {
		return l.fail(diag.Flags, l.Flags), nil
	}
	l.step = "1.4"
	if size == 0 {
		return l.fail(diag.Empty), nil
	}
	if l.Flags&CompressedFile == 0 {
		return 0, nil
	}
	l.step = "1.8"
	if l.T.Is("MODULE_DECOMPRESS") != Yes {
		name := "compressed"
		for _, d := range decompressors {
			if string(l.bytes(0, uint64(len(d.magic)))) == d.magic {
				name = d.name
			}
		}
		return l.fail(diag.CompressOff, name), nil
	}
	for _, d := range decompressors {
		if l.T.Is(d.option) != Yes {
			continue
		}
		if string(l.bytes(0, uint64(len(d.magic)))) != d.magic {
			return l.fail(diag.CompressMagic, d.words), nil
		}
		return l.decompress(d.name), nil
	}
	return 0, nil
}

// Signature is module_sig_check.
//
// Source: kernel/module/signing.c: module_sig_check; kernel/module_signature.c: mod_check_sig.
func (l *Load) Signature() (diag.Errno, error) {
	l.step = "2.1"
	l.Len = l.src.Size()
	ignore := uint32(IgnoreModVersions | IgnoreVermagic)
	if l.T.has(kver.Until(6, 0)) { // 5.10: any flag
		ignore = ^uint32(0)
	}
	if l.T.Is("MODULE_SIG") == No {
		return 0, nil
	}
	reason := diag.SigUnsigned
	var args []any
	if l.Flags&ignore == 0 {
		s, err := sig.Read(l.src)
		l.Signed = err == nil && s != nil
		if err != nil && s == nil {
			return 0, err
		}
		if s != nil {
			l.Len -= uint64(len(sig.Magic))
			if errno, line := s.Check(); errno != 0 {
				if errno == diag.EBADMSG {
					return l.fail(diag.SigMalformed, "the signature's trailer is malformed", line), nil
				}
				l.printk(line)
				reason, args = diag.SigCrypto, []any{line}
			} else {
				l.Len = s.DataLen
				errno, code, a, err := l.verify(s)
				switch {
				case err != nil:
					return 0, err
				case errno == 0 && code == "":
					l.SigOK = true
					return 0, nil
				case errno != 0:
					return errno, nil
				}
				reason, args = code, a
			}
		} else if n := sig.Hidden(l.src); n > 0 {
			l.finding(diag.SigPlace, n)
		}
	}
	if reason == "" {
		return 0, nil // there is a signature, and no keys to judge it by
	}
	if l.T.Enforce == Yes {
		f := l.finding(reason, args...)
		l.trusted(f)
		if l.T.has(kver.Until(5, 4)) {
			f.Errno = diag.ENOKEY
		}
		return f.Errno, nil
	}
	if l.T.Keys != nil { // asked for, and harmless
		f := diag.New(reason, l.T.Version, args...)
		f.Severity, f.Errno, f.Dmesg, f.Step = diag.Note, 0, nil, l.step
		f.Message += "; signatures are not enforced"
		l.trusted(&f)
		l.Findings = append(l.Findings, f)
	}
	return 0, nil
}

// trusted adds to a finding about an unknown key which keys are known.
func (l *Load) trusted(f *diag.Finding) {
	if f.Code != diag.SigKey || len(l.T.Keys) == 0 {
		return
	}
	const most = 4
	var names []string
	for _, c := range l.T.Keys[:min(len(l.T.Keys), most)] {
		names = append(names, fmt.Sprintf("%q (%s)", c.Subject.CommonName, sig.Colons(c.SerialNumber.Bytes())))
	}
	f.Want = "one of " + strings.Join(names, ", ")
	if n := len(l.T.Keys) - most; n > 0 {
		f.Want += fmt.Sprintf(" and %d more", n)
	}
}

// verify looks at the message. errno: the kernel refuses the module whatever the policy is. code: a soft error, with its arguments;
// empty: the signature is good, or taken for good where no keys are known.
func (l *Load) verify(s *sig.Signature) (errno diag.Errno, code diag.Code, args []any, err error) {
	if errno, line := s.CheckMessage(); errno != 0 {
		if errno == diag.EBADMSG {
			return l.fail(diag.SigMalformed, "the signature's PKCS#7 message is malformed", line), "", nil, nil
		}
		l.printk(line)
		f := l.finding(diag.SigBad, line)
		return f.Errno, "", nil, nil
	}
	if l.T.Keys == nil {
		if l.T.Enforce == Yes {
			f := l.finding(diag.SigKey, s.Signer(), s.KeyID())
			f.Message = "signed by " + s.Signer() + " with key " + s.KeyID() + "; which keys the kernel trusts is not known"
			f.Assumes = []string{"the key is none of those that the kernel trusts (--cert gives them)"}
			return f.Errno, "", nil, nil
		}
		return 0, "", nil, nil
	}
	v, err := s.Verify(l.src, l.T.Keys)
	if err != nil {
		return 0, "", nil, err
	}
	switch v.Errno {
	case 0:
		return 0, "", nil, nil
	case diag.ENOKEY:
		return 0, diag.SigKey, []any{s.Signer(), s.KeyID()}, nil
	case diag.ENOPKG:
		return 0, diag.SigCrypto, []any{v.Text}, nil
	}
	f := l.finding(diag.SigBad, v.Text)
	return f.Errno, "", nil, nil
}

// Unsettled are the options that a judgement hangs on, in words for "assumes".
const (
	assumesForceLoad = "CONFIG_MODULE_FORCE_LOAD is not set; with it the module loads and taints the kernel (F)"
	assumesLivepatch = "CONFIG_LIVEPATCH is not set"
)

// forced is try_to_force_load: it returns false, and the finding stands, where the kernel does not load by force.
//
// Source: kernel/module/main.c: try_to_force_load.
func (l *Load) forced(reason string, refuse func() *diag.Finding) diag.Errno {
	switch l.T.ForceLoad() {
	case Yes:
		if (l.T.Taints|l.Taints)&TaintForced == 0 {
			l.finding(diag.TaintForced, l.Mod, reason)
			l.lockDebugging()
		} else {
			f := diag.New(diag.TaintForced, l.T.Version, l.Mod, reason)
			f.Dmesg, f.Step = nil, l.step
			l.Findings = append(l.Findings, f)
		}
		l.Taints |= TaintForced
		return 0
	case Unknown:
		f := refuse()
		f.Assumes = append(f.Assumes, assumesForceLoad)
		return f.Errno
	}
	return refuse().Errno
}

// lockDebugging is the line that comes with the first taint which makes lockdep worthless: P and F.
func (l *Load) lockDebugging() { l.printkOnce("Disabling lock debugging due to kernel taint") }

// modName reads the name in struct module.
func (l *Load) modName() {
	if l.Index.Mod == 0 {
		return
	}
	off := uint64(24)
	if l.Word() == 4 {
		off = 12
	}
	s := &l.Hdr[l.Index.Mod]
	if s.Type != stdelf.SHT_NOBITS {
		l.Mod, _ = l.cstring(s.Off + off)
	}
	if !l.tags.hasName {
		l.Info = l.Mod
	}
}

// earlySteps are what follows the blacklist and the rewriting of the headers.
var earlySteps = []struct {
	id, name string
	in       kver.Range
	run      func(*Load) diag.Errno
}{
	{"g3", "check_modstruct_version", kver.All, (*Load).layoutCRC},
	{"g5", "check_modinfo: vermagic", kver.All, (*Load).vermagic},
	{"g6", "check_modinfo: intree, retpoline, staging", before64, (*Load).originTaints},
	{"g7", "check_modinfo_livepatch", kver.All, (*Load).livepatch},
	{"g8", "check_modinfo: license, test", before64, (*Load).licenseTaints},
	{"g9", "module_patient_check_exists", kver.Since(6, 4), (*Load).exists},
}

// Early is what is asked before any memory is taken: the blacklist, module_layout, vermagic, live patches; up to 6.3 the taints too.
//
// Source: kernel/module/main.c: early_mod_check, check_modinfo.
func (l *Load) Early() (diag.Errno, error) {
	l.modName()
	l.step = "g1"
	if slices.Contains(l.T.Blacklist, l.Info) {
		return l.fail(diag.Blacklisted, l.Info), nil
	}
	// rewrite_section_headers: find_sec sees them before they lose SHF_ALLOC.
	if l.Flags&IgnoreModVersions == 0 {
		l.Index.Vers = l.findSec("__versions")
	}
	l.readVersions()
	l.Index.Pcpu = l.findSec(".data..percpu")
	for i := range l.Hdr {
		switch name, _ := l.nameOf(i); name {
		case ".modinfo":
			if i == l.Index.Info {
				l.Hdr[i].Flags &^= stdelf.SHF_ALLOC
			}
		case "__versions", "__version_ext_crcs", "__version_ext_names":
			if i == l.Index.Vers || i == l.Index.VersExtCRC || i == l.Index.VersExtName {
				l.Hdr[i].Flags &^= stdelf.SHF_ALLOC
			}
		}
	}
	first := diag.Errno(0)
	for i := range earlySteps {
		st := &earlySteps[i]
		if !l.T.has(st.in) {
			continue
		}
		errno := st.run(l)
		if errno == 0 {
			continue
		}
		if first == 0 {
			first = errno
		}
		if l.refuse() {
			break
		}
	}
	return first, nil
}

func (l *Load) readVersions() {
	word, mem := l.F.Word(), l.borrowed()
	var list []versions.Entry
	switch {
	case l.Index.VersExtCRC != 0:
		list, _ = versions.ParseExtended(l.F.Bytes(l.Hdr[l.Index.VersExtCRC]), l.F.Bytes(l.Hdr[l.Index.VersExtName]))
	case l.Index.Vers != 0:
		list, _ = versions.ParseTo(mem.entries[:0], l.F.Bytes(l.Hdr[l.Index.Vers]), word)
		mem.entries = list[:0]
	}
	slots := versions.Slots(len(list))
	l.vers = versions.IndexIn(room(&mem.slots, slots), list)
}

// VersionOf is what the module's version tables say of a symbol.
func (l *Load) VersionOf(name string) Version { return l.versionOf([]byte(name)) }

func (l *Load) versionOf(name []byte) Version {
	e := l.vers.Find(name)
	if e == nil {
		return Version{}
	}
	return Version{e.CRC, e.High, true}
}

// VersionsFormat is which tables the kernel looks at: "extended", "basic", "none".
func (l *Load) VersionsFormat() string {
	switch {
	case l.Index.VersExtCRC != 0:
		return "extended"
	case l.Index.Vers != 0:
		return "basic"
	}
	return "none"
}

// layoutCRC is check_modstruct_version.
func (l *Load) layoutCRC() diag.Errno {
	l.step = "g3"
	if !l.T.hasVersions() {
		return 0
	}
	e, ok := l.T.Find([]byte("module_layout"), l.Mod)
	if !ok || !e.HasCRC {
		return 0
	}
	v := l.VersionOf("module_layout")
	switch format := l.VersionsFormat(); {
	case format == "none":
		return l.forced("module_layout", func() *diag.Finding {
			f := l.finding(diag.NoVersions, l.infoName())
			if l.Flags&IgnoreModVersions != 0 {
				f.Message = "symbol versions are not to be looked at, and the kernel wants them"
				f.Hint = "only a kernel with CONFIG_MODULE_FORCE_LOAD passes over them"
			}
			return f
		})
	case !v.Found && format == "basic":
		f := l.finding(diag.LayoutNoCRC, l.infoName())
		f.Assumes = l.T.missingAssumes()
		if l.T.MissingCRC == No {
			f.Severity, f.Errno = diag.Warning, 0
			return 0
		}
		return f.Errno
	case v.Found && (v.High != 0 || v.CRC != e.CRC):
		f := l.finding(diag.LayoutCRC, l.infoName())
		f.Want, f.Got = crc(e.CRC), v.text()
		f.Where = diag.Sym("module_layout")
		return f.Errno
	}
	return 0
}

func (t *Target) missingAssumes() []string {
	if t.MissingCRC != Unknown {
		return nil
	}
	return []string{missingRule}
}

// SameMagic is same_magic: with symbol versions on both sides the release is left out.
//
// Source: kernel/module/version.c: same_magic.
func SameMagic(module, kernel string, crcs bool) bool {
	if crcs {
		module, kernel = fromSpace(module), fromSpace(kernel)
	}
	return module == kernel
}

func fromSpace(s string) string {
	if i := strings.IndexByte(s, ' '); i >= 0 {
		return s[i:]
	}
	return ""
}

// vermagic is check_modinfo's first part.
func (l *Load) vermagic() diag.Errno {
	l.step = "g4"
	if !l.tags.hasVermagic || l.Flags&IgnoreVermagic != 0 {
		return l.forced("bad vermagic", func() *diag.Finding { return l.finding(diag.VermagicMissing, l.Mod) })
	}
	l.step = "g5"
	if l.T.Vermagic == "" {
		return 0
	}
	if SameMagic(l.tags.vermagic, l.T.Vermagic, l.T.hasVersions() && l.Index.Vers != 0) {
		return 0
	}
	f := l.finding(diag.Vermagic, l.infoName(), l.tags.vermagic, l.T.Vermagic)
	f.Want, f.Got = l.T.Vermagic, l.tags.vermagic
	f.Message = "the version magic differs: " + magicWords(l.tags.vermagic, l.T.Vermagic, l.T.hasVersions() && l.Index.Vers != 0)
	return f.Errno
}

// magicWords says which words of two vermagics differ.
func magicWords(module, kernel string, crcs bool) string {
	m, k := strings.Fields(module), strings.Fields(kernel)
	var parts []string
	if len(m) > 0 && len(k) > 0 && m[0] != k[0] && !crcs {
		parts = append(parts, "release "+m[0]+", the kernel's is "+k[0]+" (it counts: no symbol versions are compared)")
	}
	if len(m) > 0 && len(k) > 0 {
		m, k = m[1:], k[1:]
	}
	lacks, has := minus(k, m), minus(m, k)
	if len(lacks) > 0 {
		parts = append(parts, "the module lacks "+strings.Join(lacks, " "))
	}
	if len(has) > 0 {
		parts = append(parts, "the kernel lacks "+strings.Join(has, " "))
	}
	if len(parts) == 0 {
		return "spaces or the order of words"
	}
	return strings.Join(parts, "; ")
}

func minus(a, b []string) []string {
	var out []string
	for _, s := range a {
		if !slices.Contains(b, s) {
			out = append(out, s)
		}
	}
	return out
}

// originTaints are O, retpoline and C.
func (l *Load) originTaints() diag.Errno {
	l.step = "g6"
	if !l.T.has(before64) {
		l.step = "i2"
	}
	if !l.tags.intree {
		l.taint(diag.TaintOOT, TaintOutOfTree, true, l.Mod)
	}
	if l.x86() && !l.tags.retpoline && l.T.retpoline() && l.T.has(kver.Since(4, 15)) {
		l.finding(diag.Retpoline, l.Mod)
	}
	if l.tags.staging {
		l.taint(diag.TaintStaging, TaintCrap, false, l.Mod)
	}
	return 0
}

func (l *Load) x86() bool {
	return l.F.Header.Machine == stdelf.EM_X86_64 || l.F.Header.Machine == stdelf.EM_386
}

// retpoline reports whether the kernel complains of modules without retpolines: it was built with them, and the mitigation is on.
func (t *Target) retpoline() bool {
	return t.on("MITIGATION_RETPOLINE", false) || t.on("RETPOLINE", t.Is("MITIGATION_RETPOLINE") == Unknown)
}

// taint sets a taint and notes it; first says that the line comes with the first of its kind only.
func (l *Load) taint(code diag.Code, bit Taint, first bool, args ...any) {
	f := diag.New(code, l.T.Version, args...)
	f.Step = l.step
	if first && l.T.Taints&bit != 0 {
		f.Dmesg = nil
	}
	for _, s := range f.Dmesg {
		l.Log = append(l.Log, Line{Text: s, Once: first})
	}
	l.Findings = append(l.Findings, f)
	l.Taints |= bit
}

func (l *Load) livepatch() diag.Errno {
	if !l.tags.live {
		return 0
	}
	l.step = "g7"
	switch l.T.Is("LIVEPATCH") {
	case No:
		return l.fail(diag.Livepatch, l.Mod)
	case Unknown:
		f := l.finding(diag.Livepatch, l.Mod)
		f.Assumes = []string{assumesLivepatch}
		return 0
	}
	if l.T.has(before64) {
		l.taint(diag.TaintLivepatch, TaintLivepatch, true, l.Mod)
	}
	return 0
}

// licenseTaints are P and N.
func (l *Load) licenseTaints() diag.Errno {
	l.step = "g8"
	if !l.T.has(before64) {
		l.step = "i2"
	}
	if lic := l.License(); !GPLCompatible(lic) {
		l.taint(diag.TaintLicense, TaintProprietary, true, l.Mod, lic)
		if l.T.Taints&TaintProprietary == 0 {
			l.lockDebugging()
		}
	}
	if l.tags.test && l.T.has(kver.Since(6, 0)) {
		l.taint(diag.TaintTest, TaintTest, true, l.Mod)
	}
	return 0
}

// exists is module_patient_check_exists: a module of that name.
func (l *Load) exists() diag.Errno {
	l.step = "g9"
	if l.T.has(before64) {
		l.step = "i1"
	}
	if _, ok := l.T.LiveModules[l.Mod]; ok {
		return l.fail(diag.Loaded, l.Mod)
	}
	return 0
}
