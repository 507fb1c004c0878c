package target

import (
	"fmt"
	"strings"

	"kotool/internal/compat"
	"kotool/internal/kver"
	"kotool/internal/symvers"
)

// kinds are what evidence of a strength is, for people.
var kinds = map[Strength]string{
	Guessed: "a version number or a name", Derived: "modules and Module.symvers", Config: "headers and .config", Kernel: "the kernel image", Explicit: "a flag",
}

// clash notes that two sources disagree, who won, and why.
func (b *Builder) clash(what string, won, lost Fact) {
	why := "the first of two of a kind counts"
	if won.Strength != lost.Strength {
		why = fmt.Sprintf("%s counts before %s", kinds[won.Strength], kinds[lost.Strength])
	}
	b.conflict("%s: %q (from %s) wins over %q (from %s): %s", what, won.Value, won.From, lost.Value, lost.From, why)
}

func (b *Builder) conflict(format string, args ...any) {
	b.t.Conflicts = append(b.t.Conflicts, fmt.Sprintf(format, args...))
}

// exporter is a table of the kernel's exports, and where it is from.
type exporter struct {
	table *symvers.Table
	from  string
}

// addExports adds a table of what the kernel itself exports.
func (b *Builder) addExports(tab *symvers.Table, from string) {
	b.vmlinux, b.exporters = append(b.vmlinux, tab), append(b.exporters, exporter{tab, from})
	if b.t.ExportsFrom == "" {
		b.t.ExportsFrom = from
	}
}

// compareExports tells where two tables of the kernel's exports differ: the first counts.
func (b *Builder) compareExports() {
	if len(b.exporters) == 0 {
		return
	}
	first := b.exporters[0]
	for _, other := range b.exporters[1:] {
		if !first.table.HasCRC || !other.table.HasCRC {
			continue
		}
		both, differ := 0, 0
		for s := range other.table.All() {
			if !s.InKernel() {
				continue
			}
			if x, ok := first.table.Lookup(s.Name); ok && x.InKernel() {
				both++
				if x.CRC != s.CRC {
					differ++
				}
			}
		}
		if differ > 0 {
			b.conflict("exports: %d of the %d CRCs in both differ between %s and %s: the first counts; they are of two builds", differ, both, first.from, other.from)
		}
	}
}

// expected compares what a module was built with to what the kernel exports, as far as there are CRCs.
type expected struct{ both, differ int }

func (e *expected) add(crcs map[string]wanted, exports []exporter) {
	for name, w := range crcs {
		for _, x := range exports {
			s, ok := x.table.Lookup([]byte(name))
			if !ok || !s.InKernel() {
				continue
			}
			if w.hasCRC && !w.clash && x.table.HasCRC {
				e.both++
				if s.CRC != w.crc {
					e.differ++
				}
			}
			break
		}
	}
}

// tell says that modules of the kernel do not fit its exports.
func (e *expected) tell(b *Builder, modules string) {
	if e.differ == 0 || len(b.exporters) == 0 {
		return
	}
	from := b.exporters[0].from
	b.conflict("exports: %d of the %d CRCs that %s expects differ from those of %s, which counts: they are of two builds", e.differ, e.both, modules, from)
}

// compareVersion tells that a version number was given, and evidence says another.
func (b *Builder) compareVersion() {
	given, ok := b.value("version")
	if !ok || b.t.Release == "" {
		return
	}
	if v, err := kver.Parse(given); err == nil && differs(v, b.t.Version) {
		b.conflict("version: %s (release %s) wins over %s (from --kernel): evidence counts before a version number", b.t.Version, b.t.Release, given)
	}
}

// compareConfig tells where the .config is not that of the kernel whose vermagic is known, or has no CRCs where there are some.
func (b *Builder) compareConfig(made string) {
	if b.config == nil {
		return
	}
	if v := b.configVersion; b.t.Release != "" && differs(v, b.t.Version) {
		b.conflict("config: %s is of Linux %s, the kernel is %s (from %s): its options count all the same", b.configFrom, v, b.t.Release, b.t.Fact(release).From)
	}
	known := b.t.Fact(vermagic)
	if known != nil && made != "" && known.Value != made {
		_, words, _ := strings.Cut(made, " ")
		_, have, _ := strings.Cut(known.Value, " ")
		if strings.TrimSpace(words) != strings.TrimSpace(have) {
			b.conflict("vermagic: %q (from %s) wins over %q (which %s makes): it says what the configuration was", known.Value, known.From, made, b.configFrom)
		}
	}
	if b.t.Is("MODVERSIONS") == compat.No {
		for _, x := range b.exporters {
			if x.table.HasCRC {
				b.conflict("CRCs: %s says that CONFIG_MODVERSIONS is not set, and %s has CRCs: the .config counts, and none is compared", b.configFrom, x.from)
				break
			}
		}
	}
}

// differs reports whether two versions are of two series, as far as both are known.
func differs(a, b kver.Version) bool {
	return !a.IsZero() && !b.IsZero() && (a.Major != b.Major || a.Minor != b.Minor)
}

// versionOfConfig is the version that the head of a .config names: "# Linux/x86 6.1.176 Kernel Configuration".
func versionOfConfig(data []byte) kver.Version {
	head := string(data[:min(len(data), 512)])
	for line := range strings.Lines(head) {
		rest, ok := strings.CutPrefix(line, "# Linux/")
		if !ok {
			continue
		}
		if _, number, ok := strings.Cut(rest, " "); ok {
			number, _, _ = strings.Cut(number, " ")
			v, err := kver.Parse(number)
			if err == nil {
				return v
			}
		}
	}
	return kver.Version{}
}
