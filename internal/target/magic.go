package target

import (
	"strings"

	"kotool/internal/kver"
)

// machines are what a .config says of the machine: the first row whose options are all set.
var machines = []struct{ options, name string }{
	{"X86_64", "x86_64"}, {"X86_32", "i386"}, {"ARM64", "arm64"}, {"ARM", "arm"}, {"RISCV 64BIT", "riscv64"}, {"S390", "s390x"}, {"LOONGARCH 64BIT", "loongarch64"},
	{"PPC64 CPU_LITTLE_ENDIAN", "ppc64le"}, {"PPC64", "ppc64"}, {"PPC32", "ppc"},
}

// machineOf is the machine that a .config is for, "" where that is not clear.
func machineOf(config map[string]string) string {
	for _, m := range machines {
		all := true
		for o := range strings.FieldsSeq(m.options) {
			all = all && config[o] == "y"
		}
		if all {
			return m.name
		}
	}
	return ""
}

// archMagic are the machines' own words in the version magic, of those where no option decides them.
//
// Source: arch/*/include/asm/vermagic.h (5.10 to 7.2).
var archMagic = map[string]string{"x86_64": "", "s390x": "", "arm64": "aarch64", "riscv64": "riscv", "loongarch64": "LOONGARCH 64BIT "}

// magicOf is the version magic of a kernel of that release and configuration, "" where that is not clear.
//
// Source: include/linux/vermagic.h.
func magicOf(release, machine string, config map[string]string) string {
	words, ok := archMagic[machine]
	v, err := kver.Parse(release)
	if !ok || err != nil || release == "" || config["RANDSTRUCT"] == "y" || config["GCC_PLUGIN_RANDSTRUCT"] == "y" {
		return ""
	}
	on := func(o string) bool { return config[o] == "y" }
	preempt, rt := on("PREEMPT_BUILD"), on("PREEMPT_RT")
	switch {
	case kver.Until(5, 11).Has(v):
		preempt = on("PREEMPT")
	case kver.Until(6, 1).Has(v) && on("PREEMPT_DYNAMIC"), preempt && rt && kver.Between(kver.V(6, 13), kver.V(7, 2)).Has(v):
		return "" // which word it was then has not been looked up
	case preempt && rt && kver.Since(7, 2).Has(v):
		preempt = false
	}
	s := release + " "
	if on("SMP") {
		s += "SMP "
	}
	switch {
	case preempt:
		s += "preempt "
	case rt:
		s += "preempt_rt "
	}
	if on("MODULE_UNLOAD") {
		s += "mod_unload "
	}
	if on("MODVERSIONS") {
		s += "modversions "
	}
	return s + words
}
