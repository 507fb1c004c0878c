package diag

import (
	"regexp"
	"slices"
	"strings"
)

// ErrnoText is what user space makes of an error number that the kernel answers a module with.
type ErrnoText struct {
	Errno    Errno
	Insmod   string   // kmod's insmod
	Modprobe string   // kmod's modprobe
	Others   []string // other programs, and kmod of other times
	Why      string   // the checks that answer so, most usual first
	Usual    []Code   // their rows
}

// ErrnoTexts are the error numbers of the loader, the usual first.
//
// Source: kmod: tools/insmod.c, tools/modprobe.c: mod_strerror; busybox: modutils/modutils.c: moderror; the C library's strerror.
var ErrnoTexts = []ErrnoText{
	{Errno: ENOEXEC, Insmod: "Invalid module format", Modprobe: "Exec format error", Others: []string{"invalid module format"},
		Why: "the module is for another kernel, another configuration or another machine, or the file is damaged. More checks answer so than with any other " +
			"number, and only the kernel's log tells them apart",
		Usual: []Code{LayoutCRC, Vermagic, StructSize, LayoutNoCRC, NoVersions, ELFArch, ELFMagic, RelocType, RelocNonZero, RelocRange, Stripped, DupExport, NoFlags}},
	{Errno: ENOENT, Insmod: "Unknown symbol in module", Modprobe: "Unknown symbol in module, or unknown parameter (see dmesg)",
		Others: []string{"unknown symbol in module, or unknown parameter", "unknown symbol in module"},
		Why:    "nothing exports a symbol that the module needs, or it is exported to GPL modules only. The log names each symbol",
		Usual:  []Code{SymMissing, SymGPL, SymTaint}},
	{Errno: EINVAL, Insmod: "Invalid parameters", Modprobe: "Invalid argument", Others: []string{"invalid parameter"},
		Why:   "the CRC of an imported symbol differs, a namespace is not imported, a parameter's value is refused, or the kernel could not decompress the file or read its BTF; or the module's own init function answered so",
		Usual: []Code{SymCRC, SymNoCRC, Namespace, Param, CompressMagic, Compress, BTFBase, BTF, SysfsName}},
	{Errno: EEXIST, Insmod: "File exists", Modprobe: "File exists", Others: []string{"Module already in kernel"},
		Why:   "a module of that name is loaded already. modprobe keeps silent about it, unless --first-time was given. The kernel logs nothing",
		Usual: []Code{Loaded, SysfsSection}},
	{Errno: ENOKEY, Insmod: "Required key not available", Modprobe: "Required key not available",
		Why:   "the module is not signed, or signed by a key that the kernel does not trust, and signatures are enforced. From 5.4 on the kernel answers EKEYREJECTED in its place, and logs the reason",
		Usual: []Code{SigUnsigned, SigKey}},
	{Errno: EKEYREJECTED, Insmod: "Key was rejected by service", Modprobe: "Key was rejected by service",
		Why: "signatures are enforced and the module has none, or one by a key that the kernel does not trust; or, enforced or not, the signature does not fit the file: " +
			"it was stripped or changed after signing",
		Usual: []Code{SigUnsigned, SigKey, SigBad, SigCrypto, SigHash}},
	{Errno: EPERM, Insmod: "Operation not permitted", Modprobe: "Operation not permitted",
		Why: "not root (CAP_SYS_MODULE), kernel.modules_disabled is 1, the kernel is locked down (secure boot), a security module (SELinux, LoadPin, IMA) says no, " +
			"or the module is on the boot command line's blacklist",
		Usual: []Code{Lockdown, Blacklisted, NSModule}},
	{Errno: EACCES, Insmod: "Permission denied", Modprobe: "Permission denied",
		Why: "a security module (SELinux, IMA appraisal, LoadPin) refuses the file, or the file cannot be read"},
	{Errno: EBADMSG, Insmod: "Bad message", Modprobe: "Bad message", Why: "the appended signature is malformed", Usual: []Code{SigMalformed}},
	{Errno: ENOPKG, Insmod: "Package not installed", Modprobe: "Package not installed",
		Why: "the signature needs a digest or a cipher that this kernel does not have", Usual: []Code{SigCrypto}},
	{Errno: EBUSY, Insmod: "Device or resource busy", Modprobe: "Device or resource busy",
		Why:   "a module that this one needs, or one of the same name, is still being loaded; or the module's init function found its device in use",
		Usual: []Code{SymBusy}},
	{Errno: EAGAIN, Insmod: "Resource temporarily unavailable", Modprobe: "Resource temporarily unavailable",
		Why: "rmmod: another module uses this one, or it is in use (EWOULDBLOCK)"},
	{Errno: ENOMEM, Insmod: "Cannot allocate memory", Modprobe: "Cannot allocate memory", Others: []string{"Out of memory"},
		Why: "no room for the module, or for its per-CPU data", Usual: []Code{Percpu, Memory}},
	{Errno: EOPNOTSUPP, Insmod: "Operation not supported", Modprobe: "Operation not supported", Others: []string{"Not supported"},
		Why: "the kernel decompresses no modules, and was asked to", Usual: []Code{CompressOff}},
	{Errno: ERANGE, Insmod: "Numerical result out of range", Modprobe: "Numerical result out of range", Others: []string{"Result not representable"},
		Why: "a parameter's number does not fit its type", Usual: []Code{Param}},
	{Errno: ENOSPC, Insmod: "No space left on device", Modprobe: "No space left on device",
		Why: "a parameter's text is too long", Usual: []Code{Param}},
	{Errno: EFBIG, Insmod: "File too large", Modprobe: "File too large", Why: "the file is larger than 2 GiB"},
	{Errno: ENODEV, Insmod: "No such device", Modprobe: "No such device",
		Why: "the module's own init function found none of its devices. The loader took the module"},
	{Errno: ETIMEDOUT, Insmod: "Connection timed out", Modprobe: "Connection timed out", Others: []string{"Operation timed out"},
		Why: "the module's own init function answered so. The loader took the module"},
}

// TextOf is the row of an error number, or nil.
func TextOf(e Errno) *ErrnoText {
	for i := range ErrnoTexts {
		if ErrnoTexts[i].Errno == e {
			return &ErrnoTexts[i]
		}
	}
	return nil
}

// Returning are the rows of the catalogue with that error number.
func Returning(e Errno) []*Entry {
	var list []*Entry
	for i := range Catalogue {
		if c := &Catalogue[i]; c.Severity == Error && c.Errno == e && c.Stage != "" {
			list = append(list, c)
		}
	}
	return list
}

// Tool is a line of insmod, modprobe or another program that loads modules.
type Tool struct {
	Module string
	Text   *ErrnoText // nil: the kernel was not asked
	Why    string     // for those
}

// toolLines are the forms of a refusal: the first group is the module, the second the words. In each stands one of the words before it.
var toolLines = []struct {
	words []string
	re    func() *regexp.Regexp
}{
	{[]string{"nsert", "load module"}, lazily(`(?i)(?:could not insert|can't insert|can't load module|error inserting|failed to insert)(?: module)?` +
		` ['"‘’“]?([^'"‘’“”:\s]+)['"’”]?(?: \([^)]*\))?(?: into kernel)?: *(?:-1 )?(.+)$`)},
	{[]string{"init_module("}, lazily(`init_module(\().*= -1 E[A-Z]+ \((.+)\)`)},
}

var notFound = lazily(`(?i)modprobe: .*module ['"]?([^'"\s]+)['"]? not found in (?:directory |modules\.dep)`)

// MatchTool says what a line of insmod, modprobe, busybox, systemd or strace means; also the bare words, such as "Exec format error",
// and the name of an error number. false: it is no such line.
func MatchTool(line string) (Tool, bool) {
	line = strings.TrimSpace(Unprefixed(line))
	if e := ErrnoNamed(strings.ToUpper(line)); e != 0 && TextOf(e) != nil {
		return Tool{Text: TextOf(e)}, true
	}
	if t := wordsOf(line, true); t != nil {
		return Tool{Text: t}, true
	}
	return matchTool(line)
}

// matchTool is MatchTool for a whole line without prefixes.
func matchTool(line string) (Tool, bool) {
	if len(line) > MaxLine {
		return Tool{}, false
	}
	for i := range toolLines {
		f := &toolLines[i]
		if !slices.ContainsFunc(f.words, func(w string) bool { return strings.Contains(line, w) }) {
			continue
		}
		m := f.re().FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if t := wordsOf(m[2], false); t != nil {
			return Tool{Module: nameOf(strings.Trim(m[1], "(")), Text: t}, true
		}
	}
	if !strings.Contains(line, "not found") {
		return Tool{}, false
	}
	if m := notFound().FindStringSubmatch(line); m != nil {
		return Tool{Module: nameOf(m[1]), Why: "modprobe did not ask the kernel: the module tree of this release has no module of that name. " +
			"Either it is not installed there, depmod was not run after it was, or it is built into the kernel"}, true
	}
	return Tool{}, false
}

// nameOf is the module's name that a program's words or a path stand for.
func nameOf(s string) string {
	s = s[strings.LastIndexByte(s, '/')+1:]
	if i := strings.Index(s, ".ko"); i > 0 {
		s = s[:i]
	}
	return strings.ReplaceAll(s, "-", "_")
}

// wordsOf finds the error number by its words, in any case; whole: the line has nothing else.
func wordsOf(s string, whole bool) *ErrnoText {
	s = strings.TrimRight(s, ". ")
	for i := range ErrnoTexts {
		t := &ErrnoTexts[i]
		for k := range 2 + len(t.Others) {
			w := t.Insmod
			switch {
			case k == 1:
				w = t.Modprobe
			case k > 1:
				w = t.Others[k-2]
			}
			if strings.EqualFold(s, w) || !whole && len(s) > len(w) && strings.EqualFold(s[:len(w)], w) && strings.IndexByte(" ,(", s[len(w)]) >= 0 {
				return t
			}
		}
	}
	return nil
}
