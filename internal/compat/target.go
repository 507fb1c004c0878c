package compat

import (
	"bytes"
	"fmt"
	"strings"

	"kotool/internal/arch"
	"kotool/internal/btf"
	"kotool/internal/kver"
	"kotool/internal/sig"
	"kotool/internal/symvers"
)

// Answer is yes, no, or not known.
type Answer int8

// The answers.
const (
	Unknown Answer = iota
	No
	Yes
)

// AnswerOf is Yes for true.
func AnswerOf(b bool) Answer {
	if b {
		return Yes
	}
	return No
}

func (a Answer) String() string { return [...]string{"not known", "no", "yes"}[a] }

// Export is a symbol that the target provides.
type Export struct {
	CRC       uint32
	HasCRC    bool
	GPL       bool
	Namespace string
	Owner     string // module name; "" for the kernel itself
}

// OwnerName is the owner as the kernel prints it. Source: kernel/module/main.c: module_name.
func (e *Export) OwnerName() string {
	if e.Owner == "" {
		return "kernel"
	}
	return e.Owner
}

// StructModule is what is known of the kernel's struct module; 0: not known. Bytes.
type StructModule struct {
	Size       uint64
	Init, Exit uint64 // offsets of the two function pointers
	From       string // where that was learned
}

// Target is what a module is loaded into: the facts about a kernel.
type Target struct {
	Arch     *arch.Arch   // nil: the module's own
	Release  string       // uname -r
	Version  kver.Version // whose log texts and rules hold; zero: the newest
	Vermagic string       // "": not known
	Struct   StructModule

	// Config answers for a CONFIG_ option without its prefix; nil: nothing is known.
	Config func(name string) (value string, known bool)

	Symvers []*symvers.Table
	// NoExports says that what the kernel exports is not known: a missing symbol settles nothing.
	NoExports bool
	// Learned has the CRCs that modules of that kernel expect of symbols which none of them exports.
	Learned *symvers.Table
	// ModVersions says that the kernel compares CRCs: CONFIG_MODVERSIONS.
	ModVersions bool
	// MissingCRC is whether the kernel refuses a symbol that the module has no version of: Debian's do, others warn.
	MissingCRC Answer
	Live       map[string]Export // exports of modules that are given beside the module
	// OnlyLoaded says that what modules export is there only when they are loaded: rows about other modules do not count.
	OnlyLoaded bool
	// Granted says that the kernel is taken to export a name that nothing is known about, without a CRC; nil: it is not.
	Granted func(name []byte) bool
	// LeaveWeak says that Granted grants no weak symbol that the module has no version of.
	LeaveWeak bool
	// LiveModules are the modules that are loaded already, by name.
	LiveModules map[string]*LiveModule
	// Builtin names what is built in: the path that modules.builtin has for a module's name, "" for none.
	Builtin func(name string) string

	// Enforce says whether a module must be signed (module.sig_enforce, CONFIG_MODULE_SIG_FORCE).
	Enforce Answer
	// Keys are the certificates that the kernel trusts; nil: not known.
	Keys []*sig.Certificate
	// Base is what the types of modules count on from; nil: not known.
	Base      *btf.Base
	Blacklist []string // module_blacklist=
	// InSysfs names what /sys/module has besides loaded modules: built-in modules; nil: not known.
	InSysfs func(name string) bool
	// Taints are what the kernel has been tainted with already: lines that come with the first of a kind do not come again.
	Taints Taint
}

// LiveModule is a module that is loaded.
type LiveModule struct {
	Taints Taint
}

// Is answers for a boolean CONFIG_ option.
func (t *Target) Is(option string) Answer {
	if t.Config == nil {
		return Unknown
	}
	v, known := t.Config(option)
	if !known {
		return Unknown
	}
	return AnswerOf(v == "y" || v == "m")
}

// on is Is with what distributions configure where nothing is known.
func (t *Target) on(option string, usual bool) bool {
	if a := t.Is(option); a != Unknown {
		return a == Yes
	}
	return usual
}

// ForceLoad is CONFIG_MODULE_FORCE_LOAD.
func (t *Target) ForceLoad() Answer { return t.Is("MODULE_FORCE_LOAD") }

// hasVersions reports whether the kernel compares CRCs.
func (t *Target) hasVersions() bool { return t.ModVersions }

// DebianRelease reports whether a release string is one of Debian's kernels: "6.1.0-50-amd64", "6.12.107+deb13-amd64".
func DebianRelease(release string) bool {
	_, rest, ok := strings.Cut(release, "-")
	if strings.Contains(release, "+deb") {
		return true
	}
	if !ok {
		return false
	}
	abi, flavour, ok := strings.Cut(rest, "-")
	if !ok || abi == "" || strings.Trim(abi, "0123456789.bpo") != "" {
		return false
	}
	flavour = strings.TrimSuffix(strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(flavour, "rt-"), "cloud-"), "-unsigned"), "-dbg")
	switch flavour {
	case "amd64", "arm64", "686", "686-pae", "armmp", "armmp-lpae", "marvell", "rpi", "riscv64", "powerpc64le", "powerpc64", "s390x", "loong64",
		"4kc-malta", "5kc-malta", "octeon", "loongson-3", "mips64r2el", "mips32r2el", "arm64-16k", "powerpc64le-64k":
		return true
	}
	return false
}

// Find looks a symbol up as the kernel does: its own exports first, then those of modules. not is the module that
// asks: it does not see its own exports.
//
// Source: kernel/module/main.c: find_symbol.
func (t *Target) Find(name []byte, not string) (Export, bool) {
	e, _, ok := t.find(name, not)
	if !ok {
		return t.beyond(name, false)
	}
	return e, ok
}

// beyond is what is only taken to be exported: what other modules use, and what is granted. doubtful is a weak symbol without a version: it
// was not there when the module was built.
func (t *Target) beyond(name []byte, doubtful bool) (Export, bool) {
	if t.Learned != nil {
		if i := t.Learned.Row(name); i >= 0 {
			e := exportOf(t.Learned, i, "")
			e.HasCRC = e.CRC != 0
			return e, true
		}
	}
	if doubtful && t.LeaveWeak {
		return Export{}, false
	}
	// A copy, so that callers' names need not outlive the call.
	return Export{}, t.Granted != nil && t.Granted(bytes.Clone(name))
}

// find is Find without what is only granted. kernelRow is the row of Symvers[0] that it is, where that is the kernel's own; else -1.
func (t *Target) find(name []byte, not string) (found Export, kernelRow int, ok bool) {
	for k, tab := range t.Symvers {
		for i := tab.Row(name); i >= 0; i = tab.Following(i) {
			if tab.InKernel(i) {
				e := exportOf(tab, i, "")
				if k > 0 {
					i = -1
				}
				return e, i, true
			}
			if ok || t.OnlyLoaded {
				continue
			}
			if owner := tab.Owner(i); owner != not {
				found, ok = exportOf(tab, i, owner), true
			}
		}
	}
	if live, is := t.Live[string(name)]; is && live.Owner != not {
		// A module that is there in the flesh tells more than a row about it.
		if !ok || found.Owner == live.Owner {
			return live, -1, true
		}
	}
	return found, -1, ok
}

// exportOf is what row i of a table says.
func exportOf(tab *symvers.Table, i int, owner string) Export {
	return Export{CRC: tab.CRC(i), HasCRC: tab.HasCRC, GPL: tab.GPL(i), Namespace: string(tab.Namespace(i)), Owner: owner}
}

func hex(v uint64) string { return fmt.Sprintf("%#x", v) }

// Taint is a set of taint bits, of a module or of the kernel. Source: include/linux/panic.h.
type Taint uint32

// The taints that loading sets.
const (
	TaintProprietary Taint = 1 << 0
	TaintForced      Taint = 1 << 1
	TaintUser        Taint = 1 << 6
	TaintCrap        Taint = 1 << 10
	TaintOutOfTree   Taint = 1 << 12
	TaintUnsigned    Taint = 1 << 13
	TaintLivepatch   Taint = 1 << 15
	TaintTest        Taint = 1 << 18
)

// taintLetters are the letters by bit. Source: kernel/panic.c: taint_flags.
const taintLetters = "PFSRMBUDAWCIOELKXTNJ"

// Letters are the letters of the set, in the order of their bits.
func (t Taint) Letters() string {
	var b []byte
	for i := range len(taintLetters) {
		if t&(1<<i) != 0 {
			b = append(b, taintLetters[i])
		}
	}
	return string(b)
}
