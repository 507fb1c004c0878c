package diag

import "kotool/internal/kver"

// What only the log of a running kernel tells: no look at a file finds these.
const (
	TaintLocking Code = "KT-TAINT-LOCKING"
	TaintParam   Code = "KT-TAINT-PARAM"
	ParamDashes  Code = "KT-PARAM-DASHES"
	SymBusy      Code = "KT-SYM-BUSY"
	Lockdown     Code = "KT-LOCKDOWN"
	SigHash      Code = "KT-SIG-HASH"
)

// BTFMismatch is what a kernel says once a boot of BTF that it goes on without.
const BTFMismatch = "Kernel module BTF mismatch detected, BTF debug info may be unavailable for some modules"

// Line is a further text of the log that means a row of the catalogue: a machine's own, an older kernel's, or one that stands
// beside the row's text. New does not use them; Match does.
type Line struct {
	Code     Code
	In       kver.Range
	Format   string
	Args     string   // what the format's arguments are, by index, in the words of Entry.Args
	Arch     []string // the machines whose loader says it, as package arch names them; nil: any
	Severity Severity // where it is not the row's
	Errno    Errno    // where it is not the row's
}

// Lines are the further texts.
var Lines = []Line{
	{Code: SymMissing, In: kver.Until(3, 0), Format: "%[1]s: Unknown symbol %[2]s", Args: "module, symbol"},
	{Code: SymMissing, Format: "%[1]s: Unknown symbol %[2]s", Args: "module, symbol", Arch: []string{"mips", "riscv64", "loongarch64", "parisc"}},

	// Source: kernel/module.c: load_module, to 5.14.
	{Code: NotModule, In: kver.Until(5, 15), Format: "Module has invalid ELF structures"},

	// Source: kernel/module_signature.c: mod_check_sig; crypto/asymmetric_keys/pkcs7_verify.c; certs/system_keyring.c.
	{Code: SigCrypto, Format: "module: not signed with expected PKCS#7 message", Severity: Warning},
	{Code: SigMalformed, Format: "module: PKCS#7 signature info has unexpected non-zero params"},
	{Code: SigMalformed, Format: "PKCS#7 signature with non-detached data"},
	{Code: SigBad, Format: "PKCS7: Invalid module sig (not pkcs7-data)"},
	{Code: SigBad, Format: "PKCS7: Invalid module sig (has authattrs)"},

	{Code: Compress, Format: "ZSTD-decompression failed with status %[1]d", Args: "status", Severity: Error, Errno: EINVAL},
	{Code: Compress, Format: "ZSTD-compressed data has an incomplete frame header", Severity: Error, Errno: EINVAL},
	{Code: Compress, Format: "ZSTD-compressed data has too large a window size", Severity: Error, Errno: EINVAL},

	// Source: kernel/module/version.c: check_version (extended versions).
	{Code: SymNoCRC, In: kver.Since(6, 14), Format: "%[1]s: no extended symbol version for %[2]s", Args: "modinfo name, symbol", Severity: Warning},

	// Source: mm/percpu.c: pcpu_alloc.
	{Code: Percpu, Format: "percpu: allocation failed, size=%[1]d align=%[2]d atomic=0, alloc from reserved chunk failed", Args: "size, align"},
	{Code: Percpu, Format: "illegal size (%[1]d) or align (%[2]d) for percpu allocation", Args: "size, align"},

	{Code: Lockdown, In: kver.Since(5, 4), Format: "Lockdown: %[1]s: unsafe module parameters is restricted; see man kernel_lockdown.7", Args: "program"},

	// Source: kernel/params.c.
	{Code: Param, Format: "%[1]s: `%[2]s' too large for parameter `%[3]s'", Args: "module, value, parameter", Errno: ENOSPC},
	{Code: Param, Format: "%[1]s: string doesn't fit in %[2]d chars.", Args: "parameter, room", Errno: ENOSPC},
	{Code: Param, Format: "%[1]s: string parameter too long", Args: "parameter", Errno: ENOSPC},
	{Code: Param, Format: "%[1]s: can only take %[2]d arguments", Args: "parameter, most"},
	{Code: ParamUnknown, In: kver.Until(3, 12), Format: "%[1]s: Unknown parameter `%[2]s'", Args: "module, parameter", Severity: Error, Errno: ENOENT},
	{Code: ParamUnknown, Format: "%[1]s: Unknown parameter '%[2]s'", Args: "module, parameter", Severity: Error, Errno: ENOENT, In: kver.Until(3, 12)},

	// Source: lib/kobject.c: kobject_add_internal; the kernel hashes the address.
	{Code: NameEmpty, Format: "kobject: (%[1]s): attempted to be registered with empty name!", Args: "address"},

	// Source: kernel/bpf/btf.c: __btf_verifier_log_type.
	{Code: BTF, Format: "BPF:%[1]s", Args: "kernel's word"},
	// Where CONFIG_MODULE_ALLOW_BTF_MISMATCH is set: commit 9cb61e50bf6b (6.3).
	{Code: BTF, In: kver.Since(6, 3), Format: BTFMismatch, Severity: Warning},

	// Source: arch/*/kernel/module*.c: module_frob_arch_sections.
	{Code: ArchSections, Format: "%[1]s: module PLT section(s) missing", Args: "module", Arch: []string{"arm", "arm64"}},
	{Code: ArchSections, Format: "%[1]s: module %[2]s section(s) missing", Args: "module, section", Arch: []string{"riscv64", "loongarch64"}},
	{Code: ArchSections, Format: "%[1]s: module symtab section missing", Args: "module", Arch: []string{"arm", "arm64"}},
	{Code: ArchSections, Format: "module_64: %[1]s: doesn't contain .stubs.", Args: "module", Arch: []string{"ppc64le"}},
	{Code: ArchSections, Format: "module_32: Module doesn't contain .plt or .init.plt sections.", Arch: []string{"ppc"}},
	{Code: ArchSections, Format: "module %[1]s: no symbol table", Args: "module", Arch: []string{"s390x"}},
	{Code: ArchSections, Format: "%[1]s: no symtab found.", Args: "module", Arch: []string{"sparc64"}},

	// Types that the loaders do not take. Source: arch/*/kernel/module*.c: apply_relocate, apply_relocate_add.
	{Code: RelocType, Format: "module: %[1]s: Unknown rela relocation: %[2]d", Args: "module, type", Arch: []string{"x86_64"}},
	{Code: RelocType, Format: "%[1]s: Unknown relocation: %[2]d", Args: "module, type", Arch: []string{"i386"}},
	{Code: RelocType, Format: "module %[1]s: unsupported RELA relocation: %[2]d", Args: "module, type", Arch: []string{"arm64"}},
	{Code: RelocType, Format: "%[1]s: unknown relocation: %[2]d", Args: "module, type", Arch: []string{"arm", "arc"}},
	{Code: RelocType, Format: "module %[1]s: unknown relocation: %[2]d", Args: "module, type", Arch: []string{"s390x"}},
	{Code: RelocType, Format: "%[1]s: Unknown relocation type %[2]d", Args: "module, type", Arch: []string{"riscv64", "mips", "loongarch64"}},
	{Code: RelocType, Format: "%[1]s: unknown relocation type %[2]d", Args: "module, type", Arch: []string{"riscv64", "mips", "loongarch64"}},
	{Code: RelocType, Format: "%[1]s: Unknown ADD relocation: %[2]d", Args: "module, type", Arch: []string{"ppc64le"}},
	{Code: RelocType, Format: "%[1]s: unknown ADD relocation: %[2]d", Args: "module, type", Arch: []string{"ppc"}},
	{Code: RelocType, Format: "module %[1]s: Unknown relocation: 0x%[2]x", Args: "module, type (hexadecimal)", Arch: []string{"sparc64"}},
	{Code: RelocType, Format: "module %[1]s: Unknown relocation: %[2]d", Args: "module, type", Arch: []string{"parisc"}},
	{Code: RelocType, Format: "%[1]s: Unsupport relocation type %[2]d, please add its support.", Args: "module, type", Arch: []string{"loongarch64"}},
	{Code: RelocType, Format: "%[1]s: The unexpected relocation type 'R_RISCV_ALIGN' from PC = %[2]s", Args: "module, place", Arch: []string{"riscv64"}},
	{Code: RelocType, Format: "%[1]s: Dynamic linking not supported in kernel modules PC = %[2]s", Args: "module, place", Arch: []string{"riscv64"}},
	{Code: RelocType, Format: "%[1]s: Thread local storage not supported in kernel modules PC = %[2]s", Args: "module, place", Arch: []string{"riscv64"}},

	{Code: RelocNonZero, Format: "module: x86/modules: Skipping invalid relocation target, existing value is nonzero for type %[1]d, loc %[2]s, val %[3]s",
		Args: "type, address, value", Arch: []string{"x86_64"}},
	{Code: RelocNonZero, Format: "module: x86/modules: Invalid relocation target, existing value is nonzero for type %[1]d, loc %[2]s, val %[3]s",
		Args: "type, address, value", Arch: []string{"x86_64"}},
	{Code: RelocNonZero, Format: "module: x86/modules: Invalid relocation target, existing value is nonzero for sec %[4]d, idx %[5]d, type %[1]d, loc %[2]s, val %[3]s",
		Args: "type, address, value, relocation section, relocation", Arch: []string{"x86_64"}},

	// Values that do not fit.
	{Code: RelocRange, Format: "module: overflow in relocation type %[1]d val %[2]s", Args: "type, value", Arch: []string{"x86_64"}},
	{Code: RelocRange, Format: "module: overflow in relocation type %[1]d val %[2]s sec %[3]d idx %[4]d", Args: "type, value, relocation section, relocation", Arch: []string{"x86_64"}},
	{Code: RelocRange, Format: "module: `%[1]s' likely not compiled with -mcmodel=kernel", Args: "module", Arch: []string{"x86_64"}},
	{Code: RelocRange, Format: "module %[1]s: overflow in relocation type %[2]d val %[3]s", Args: "module, type, value", Arch: []string{"arm64"}},
	{Code: RelocRange, Format: "%[1]s: section %[2]d reloc %[3]d sym '%[4]s': relocation %[5]d out of range (%[6]s -> %[7]s)",
		Args: "module, relocation section, relocation, symbol, type, place, target", Arch: []string{"arm"}},
	{Code: RelocRange, Format: "%[1]s: value %[2]s out of range for 32-bit field", Args: "module, value", Arch: []string{"riscv64"}},
	{Code: RelocRange, Format: "%[1]s: value %[2]s out of range for %[3]d-bit relocation.", Args: "module, value, bits", Arch: []string{"riscv64"}},
	{Code: RelocRange, Format: "%[1]s: target %[2]s can not be addressed by the 32-bit offset from PC = %[3]s", Args: "module, value, place", Arch: []string{"riscv64"}},
	{Code: RelocRange, Format: "module_64: %[1]s: REL24 %[2]d out of range!", Args: "module, value", Arch: []string{"ppc64le"}},
	{Code: RelocRange, Format: "module_64: %[1]s: REL32 %[2]d out of range!", Args: "module, value", Arch: []string{"ppc64le"}},
	{Code: RelocRange, Format: "module_64: %[1]s: bad %[2]s relocation (%[3]s)", Args: "module, what, value", Arch: []string{"ppc64le"}},
	{Code: RelocRange, Format: "module_64: %[1]s: Address of %[2]s out of range of kernel_toc.", Args: "module, symbol", Arch: []string{"ppc64le"}},
	{Code: RelocRange, Format: "module %[1]s: relocation error for symbol %[2]s (r_type %[3]d, value %[4]s)", Args: "module, symbol, type, value", Arch: []string{"s390x"}},
	{Code: RelocRange, Format: "module %[1]s: relocation overflow", Args: "module", Arch: []string{"mips"}},
	{Code: RelocRange, Format: "module %[1]s relocation of symbol %[2]s is out of range (%[3]s in %[4]d bits)", Args: "module, symbol, value, bits", Arch: []string{"parisc"}},
	{Code: RelocRange, Format: "module %[1]s: jump offset = %[2]s overflow! dangerous R_LARCH_B26 (%[3]d) relocation", Args: "module, value, type", Arch: []string{"loongarch64"}},
	{Code: RelocRange, Format: "module %[1]s: opr1 = %[2]s overflow! dangerous %[3]s (%[4]d) relocation", Args: "module, value, what, type", Arch: []string{"loongarch64"}},

	{Code: RelocOther, Format: "%[1]s: section %[2]d reloc %[3]d: bad relocation sym offset", Args: "module, relocation section, relocation", Arch: []string{"arm"}},
	{Code: RelocOther, Format: "%[1]s: section %[2]d reloc %[3]d sym '%[4]s': out of bounds relocation, offset %[5]d size %[6]d",
		Args: "module, relocation section, relocation, symbol, offset, size", Arch: []string{"arm"}},
	{Code: RelocOther, Format: "%[1]s: section %[2]d reloc %[3]d sym '%[4]s': unsupported interworking call (%[5]s)",
		Args: "module, relocation section, relocation, symbol, kind", Arch: []string{"arm"}},
	{Code: RelocOther, Format: "%[1]s: Can not find HI20 relocation information", Args: "module", Arch: []string{"riscv64", "loongarch64"}},
	{Code: RelocOther, Format: "module_64: %[1]s: Expected nop after call, got %[2]s at %[3]s", Args: "module, instruction, place", Arch: []string{"ppc64le"}},
	{Code: RelocOther, Format: "module %[1]s: dangerous %[2]s relocation", Args: "module, type", Arch: []string{"mips"}},
	{Code: RelocOther, Format: "livepatch: section %[1]s has an incorrectly formatted name", Args: "section", Errno: EINVAL},
}

// logged are the rows of what only the log tells.
func logged() []Entry {
	return []Entry{
		{Code: TaintLocking, Severity: Note, Source: "kernel/panic.c: add_taint", Title: "lock debugging goes off with the first taint P or F", Args: "none",
			Message: "the kernel stops its lock debugging: the taint before this line may confuse it", Dmesg: always("Disabling lock debugging due to kernel taint"),
			Why: "It follows the first licence or forced-load taint of a boot. Only kernels with lockdep lose anything."},
		{Code: TaintParam, Severity: Note, Stage: "param_check_unsafe", Step: "k8", Source: "kernel/params.c: param_check_unsafe", Title: "a parameter marked unsafe was set (taint U)",
			Args: "parameter", Message: "the parameter %[1]s is marked unsafe: setting it taints the kernel", Dmesg: always("Setting dangerous option %[1]s - tainting kernel")},
		{Code: ParamDashes, Severity: Warning, Stage: "parse_args", Step: "k8", Source: "kernel/module/main.c: load_module", Title: "parameters after --",
			Args: "module, text", Message: "what follows -- is not read: %[2]q", Dmesg: always("%[1]s: parameters '%[2]s' after `--' ignored"),
			Hint: "leave the -- out: the kernel reads parameters up to it only"},
		{Code: SymBusy, Severity: Error, Errno: EBUSY, Stage: "resolve_symbol_wait", Step: "2.7", Source: "kernel/module/main.c: resolve_symbol_wait",
			Title: "the module that exports the symbol is still being loaded", Args: "module, symbol, owner",
			Message: "%[3]s, which exports a symbol that the module needs, did not become ready in 30 seconds",
			Dmesg:   always("%[1]s: gave up waiting for init of module %[3]s.\n%[1]s: Unknown symbol %[2]s (err -16)"),
			Hint:    "see what %[3]s waits for, or load it earlier",
			Why: "The exporter's init function runs for long, hangs, or itself waits for this module (request_module in an init function); " +
				"the kernel waits 30 seconds for it and then gives up."},
		{Code: Lockdown, Severity: Error, Errno: EPERM, Stage: "security_locked_down", Step: "2.1", Source: "security/lockdown/lockdown.c: lockdown_is_locked_down",
			Title: "lockdown forbids it", Args: "program", Message: "the kernel is locked down: it takes no unsigned modules",
			Dmesg: []Text{{kver.Since(5, 4), "Lockdown: %[1]s: unsigned module loading is restricted; see man kernel_lockdown.7"}},
			Hint:  "sign the module with an enrolled key (mokutil --import), or switch lockdown off (lockdown=, secure boot)",
			Why: "With secure boot, most distributions lock the kernel down: it takes only modules signed by a key that it trusts, and no unsafe module parameters. " +
				"cat /sys/kernel/security/lockdown says which level is on."},
		{Code: SigHash, Severity: Error, Errno: EKEYREJECTED, Stage: "module_sig_check", Step: "2.1", Source: "kernel/module/signing.c (Debian's patch): module_sig_check",
			Title: "the file's hash is blacklisted", Args: "hash", Message: "the SHA-256 of the file is in the kernel's blacklist keyring", Dmesg: always("Module hash %[1]s is blacklisted"),
			Hint: "use another build of the module",
			Why:  "Kernels of Debian look the hash of a signed module up among the revoked ones (the dbx of secure boot, and those built in). Other kernels do not."},
	}
}
