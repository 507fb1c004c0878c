// Package target makes the facts about a kernel out of whatever evidence there is: a Module.symvers, headers, a tree of modules, an
// image, another module, single flags. Each fact knows where it came from; where two disagree the stronger wins, and that is told.
package target

import (
	"bytes"
	stdelf "debug/elf"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"kotool/internal/arch"
	"kotool/internal/btf"
	"kotool/internal/compat"
	"kotool/internal/kimage"
	"kotool/internal/kver"
	"kotool/internal/sig"
	"kotool/internal/symvers"
)

// Strength orders evidence: what stands nearer to the kernel itself wins.
type Strength int8

// The strengths.
const (
	Guessed  Strength = iota + 1 // from a version number or a name
	Derived                      // from modules and Module.symvers
	Config                       // from the .config
	Kernel                       // from the kernel image
	Explicit                     // from a flag
)

// Fact is something known of the target.
type Fact struct {
	What     string // "release", "vermagic", "struct module size", …
	Value    string
	From     string // a path, or a flag
	Strength Strength
	Also     []string // who says the same
}

// Evidence is one source of facts.
type Evidence struct {
	Kind string // "symvers", "headers", "tree", "vmlinux", "bzImage", "module", "config", "map", "flag"
	Path string
	Says string
}

// Target is a kernel, with where each fact about it came from.
type Target struct {
	compat.Target
	Name      string // as it was given
	Evidence  []Evidence
	Facts     []Fact
	Conflicts []string
	Tree      *Tree
	Addresses *symvers.Map // of the kernel's symbols; nil: not known
	// Address is a kernel symbol's address, by whatever evidence; nil: none is known.
	Address func(name string) (uint64, bool)
	// AddressFrom says where addresses come from.
	AddressFrom string
	Signers     map[string]int
	Packed      map[string]int // modules by compression
	// Trimmed is the number of the kernel's exports where its own modules use each of them; 0: not so, or not known.
	Trimmed int
	// Deps are the modules that a module needs, by modules.dep, the nearest first; nil: not known.
	Deps func() func(name string) []string
	// ExportsFrom says where the kernel's exports come from; "" not known.
	ExportsFrom string
	// ModulesUnknown says that what the kernel itself exports is known, and of its modules nothing: a kernel image alone.
	ModulesUnknown bool
	// Version of the target is only assumed: nothing says it.
	Assumed bool
}

// Builder collects evidence.
type Builder struct {
	Limit uint64 // of what is read from one file, bytes
	Jobs  int
	Link  bool // find out which modules of a tree need which
	// Keep is how many plain bytes of compressed modules of a tree may be kept, so that Tree.Open need not unpack them a second time.
	Keep int64

	left   atomic.Int64 // of Keep
	t      *Target
	config map[string]string
	// configFrom is where config was read.
	configFrom string
	// configVersion is the kernel's version that the .config's head names; zero: none.
	configVersion kver.Version
	builtin       map[string]string
	hasBuilt      bool
	vmlinux       []*symvers.Table // the kernel's exports
	modules       []*symvers.Table // those of its modules
	learned       []*symvers.Table
	fromImage     int // how many of vmlinux are from images
	trees         []string
	packed        []packedTree // modules that were read out of packages
	exporters     []exporter   // of vmlinux, with where they are from
	expects       []*learned   // modules that are evidence by themselves
	keys          []*sig.Certificate
	hasKeys       bool
	enforce       bool
	bases         []*btf.Base       // of the images
	used          map[string]wanted // of a tree whose kernel's exports are known: what its modules use
}

// New begins a target of that name.
func New(name string, limit uint64, jobs int) *Builder {
	return &Builder{Limit: limit, Jobs: max(1, jobs), t: &Target{Name: name, Signers: map[string]int{}, Packed: map[string]int{}}}
}

func (b *Builder) say(kind, path, format string, args ...any) {
	b.t.Evidence = append(b.t.Evidence, Evidence{kind, path, fmt.Sprintf(format, args...)})
}

// fact notes a fact; a stronger one wins, and a disagreement is told.
func (b *Builder) fact(what, value, from string, s Strength) {
	if value == "" {
		return
	}
	for i := range b.t.Facts {
		f := &b.t.Facts[i]
		if f.What != what {
			continue
		}
		if f.Value == value {
			if s > f.Strength {
				f.From, f.Strength, from = from, s, f.From
			}
			if from != f.From && !slices.Contains(f.Also, from) {
				f.Also = append(f.Also, from)
			}
			return
		}
		won, lost := *f, Fact{what, value, from, s, nil}
		if s > f.Strength {
			won, lost = lost, won
			*f = won
		}
		if lost.Strength > Guessed {
			b.clash(what, won, lost)
		}
		return
	}
	b.t.Facts = append(b.t.Facts, Fact{what, value, from, s, nil})
}

// value is what is known of a fact.
func (b *Builder) value(what string) (string, bool) {
	for i := range b.t.Facts {
		if f := &b.t.Facts[i]; f.What == what {
			return f.Value, true
		}
	}
	return "", false
}

// The names of facts.
const (
	release     = "release"
	vermagic    = "vermagic"
	machine     = "machine"
	structSize  = "struct module size"
	structInit  = "struct module init"
	structExit  = "struct module exit"
	vendorFact  = "vendor"
	baseTypes   = "BTF types"
	compression = "compression"
)

// Kernel says which version's rules apply where no evidence tells.
func (b *Builder) Kernel(version string) error {
	if _, err := kver.Parse(version); err != nil {
		return fmt.Errorf("--kernel: %w", err)
	}
	b.fact("version", version, "--kernel", Guessed)
	return nil
}

// Vermagic sets the kernel's version magic.
func (b *Builder) Vermagic(s string) {
	b.fact(vermagic, s, "--vermagic", Explicit)
}

// Arch sets the machine.
func (b *Builder) Arch(name string) error {
	a := arch.Named(name)
	if a == nil {
		return fmt.Errorf("--arch %s: no such machine", name)
	}
	b.fact(machine, a.Name, "--arch", Explicit)
	return nil
}

// Cert adds certificates that the kernel trusts: DER or PEM, or those that are built into a kernel image.
func (b *Builder) Cert(path string) error {
	data, err := b.read(path)
	if err != nil {
		return err
	}
	var list []*sig.Certificate
	if bytes.HasPrefix(data, []byte(stdelf.ELFMAG)) || looksLikeImage(data[:min(len(data), 4096)]) {
		var img *kimage.Image
		if img, err = kimage.Open(data, b.Limit); err == nil {
			list, err = sig.FindCertificates(img.Plain, path)
		}
	} else {
		list, err = sig.ParseCertificates(data, path)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	b.keys, b.hasKeys = append(b.keys, list...), true
	for _, c := range list {
		b.say("certificate", path, "%s, key %s", c.Subject.CommonName, sig.Colons(c.SerialNumber.Bytes()))
	}
	return nil
}

// SigEnforce says that the kernel refuses what is not signed by a key it trusts: module.sig_enforce.
func (b *Builder) SigEnforce() {
	b.enforce = true
	b.say("flag", "--sig-enforce", "signatures are enforced")
}

// findTrimmed tells whether the kernel exports nothing but what its own modules use.
func (b *Builder) findTrimmed() {
	if len(b.vmlinux) != 1 || b.used == nil {
		return
	}
	n := 0
	for s := range b.vmlinux[0].All() {
		if !s.InKernel() {
			continue
		}
		if _, ok := b.used[string(s.Name)]; !ok {
			return
		}
		n++
	}
	b.t.Trimmed = n
}

// Target puts it all together.
func (b *Builder) Target() (*Target, error) {
	t := b.t
	if err := b.readTrees(); err != nil {
		return nil, err
	}
	made := ""
	if b.config != nil {
		b.fact(machine, machineOf(b.config), b.configFrom, Config)
		rel, _ := b.value(release)
		m, _ := b.value(machine)
		made = magicOf(rel, m, b.config)
		b.fact(vermagic, made, "the release and "+b.configFrom, Guessed)
	}
	if f := t.Fact(vermagic); f != nil {
		t.Vermagic = f.Value
		word, _, _ := strings.Cut(f.Value, " ")
		from, strength := "the vermagic", Derived
		if f.Strength == Explicit {
			from, strength = f.From, Explicit
		}
		b.fact(release, word, from, strength)
	}
	t.Release, _ = b.value(release)
	if t.Release != "" {
		if v, err := kver.Parse(t.Release); err == nil {
			t.Version = v
		}
	}
	if v, ok := b.value("version"); ok && t.Version.IsZero() {
		t.Version, _ = kver.Parse(v)
	}
	t.Assumed = t.Version.IsZero()
	if v, ok := b.value(machine); ok {
		t.Arch = arch.Named(v)
	}
	number := func(what string) (n uint64) {
		if v, ok := b.value(what); ok {
			fmt.Sscanf(v, "0x%x", &n)
		}
		return n
	}
	t.Struct = compat.StructModule{Size: number(structSize), Init: number(structInit), Exit: number(structExit)}
	if i := slices.IndexFunc(b.bases, func(x *btf.Base) bool { return uint64(x.Types) == number(baseTypes) }); i >= 0 {
		t.Base = b.bases[i]
	}
	b.settleConfig()
	b.compareVersion()
	b.compareConfig(made)
	b.compareExports()
	for _, l := range b.expects {
		e := &expected{}
		e.add(l.crcs, b.exporters)
		e.tell(b, l.path)
	}
	t.Symvers = append(append([]*symvers.Table{}, b.vmlinux...), b.modules...)
	t.NoExports = len(b.vmlinux) == 0
	t.ModulesUnknown = b.fromImage > 0 && b.fromImage == len(b.vmlinux) && len(b.modules) == 0 && len(b.trees) == 0
	if len(b.learned) > 0 && len(b.vmlinux) == 0 {
		t.Learned = b.learned[0]
	}
	t.ModVersions = b.modVersions()
	t.MissingCRC = b.missingCRC()
	if b.hasKeys {
		t.Keys = b.keys
	}
	if b.hasBuilt {
		built := b.builtin
		t.Builtin = func(name string) string { return built[name] }
		t.InSysfs = func(string) bool { return false } // not all built-in modules have a directory there
	}
	if m := t.Addresses; m != nil && !m.Zero {
		t.Address = func(name string) (uint64, bool) {
			a, ok := m.Lookup([]byte(name))
			return a.Addr, ok && len(a.Module) == 0
		}
	}
	switch {
	case b.enforce, t.Is("MODULE_SIG_FORCE") == compat.Yes:
		t.Enforce = compat.Yes
	case t.Config != nil && b.config != nil:
		t.Enforce = compat.No // but for the boot's module.sig_enforce
	}
	b.findTrimmed()
	t.Live = map[string]compat.Export{}
	t.LiveModules = map[string]*compat.LiveModule{}
	return t, nil
}

// settleConfig makes options out of the .config, and of the words in the vermagic where there is none.
func (b *Builder) settleConfig() {
	t := b.t
	values := b.config
	if values != nil {
		t.Config = func(name string) (string, bool) { return values[name], true }
		return
	}
	if t.Vermagic == "" {
		return
	}
	words := strings.Fields(t.Vermagic)
	said := map[string]string{}
	for word, option := range map[string]string{"SMP": "SMP", "mod_unload": "MODULE_UNLOAD", "modversions": "MODVERSIONS"} {
		said[option] = "n"
		if slices.Contains(words[min(1, len(words)):], word) {
			said[option] = "y"
		}
	}
	t.Config = func(name string) (string, bool) {
		v, ok := said[name]
		return v, ok
	}
}

// modVersions tells whether the kernel compares CRCs.
func (b *Builder) modVersions() bool {
	if a := b.t.Is("MODVERSIONS"); a != compat.Unknown {
		return a == compat.Yes
	}
	for _, list := range [][]*symvers.Table{b.vmlinux, b.modules, b.learned} {
		for _, tab := range list {
			if tab.HasCRC {
				return true
			}
		}
	}
	return false
}

// missingCRC tells whether the kernel has Debian's patch that refuses symbols without a version.
func (b *Builder) missingCRC() compat.Answer {
	if b.t.Version.IsZero() && b.t.Release == "" {
		return compat.Unknown
	}
	vendor, _ := b.value(vendorFact)
	switch {
	case compat.DebianRelease(b.t.Release), strings.Contains(vendor, "Debian"):
		return compat.Yes
	case vendor != "" && b.t.Release != "":
		return compat.No
	}
	return compat.Unknown
}

// Fact returns what is known under a name.
func (t *Target) Fact(what string) *Fact {
	for i := range t.Facts {
		if t.Facts[i].What == what {
			return &t.Facts[i]
		}
	}
	return nil
}
