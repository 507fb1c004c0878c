package diag

import (
	"slices"

	"kotool/internal/kver"
)

// Codes of findings. The first group is about the file itself, met while decoding.
const (
	DamagedELF       Code = "KT-ELF-DAMAGED"
	DamagedSection   Code = "KT-SECTION-DAMAGED"
	DamagedSymtab    Code = "KT-SYMTAB-DAMAGED"
	DamagedRelocs    Code = "KT-RELOCS-DAMAGED"
	DamagedModinfo   Code = "KT-MODINFO-DAMAGED"
	DamagedVersions  Code = "KT-VERSIONS-DAMAGED"
	DamagedExports   Code = "KT-EXPORTS-DAMAGED"
	DamagedParams    Code = "KT-PARAMS-DAMAGED"
	DamagedModule    Code = "KT-THIS-MODULE-DAMAGED"
	DamagedSignature Code = "KT-SIG-DAMAGED"

	SymMissing  Code = "KT-SYM-MISSING"
	SymWeak     Code = "KT-SYM-WEAK"
	SymCRC      Code = "KT-SYM-CRC"
	SymNoCRC    Code = "KT-SYM-NOCRC"
	SymGPL      Code = "KT-SYM-GPL"
	NoVersions  Code = "KT-NO-VERSIONS"
	LayoutCRC   Code = "KT-LAYOUT-CRC"
	LayoutNoCRC Code = "KT-LAYOUT-NOCRC"
	NotModule   Code = "KT-FORMAT"
	Namespace   Code = "KT-NS"
	DupExport   Code = "KT-DUP-EXPORT"
)

// Catalogue is every finding there is. New reads it; `kotool rules` and docs/findings.md are made of it.
var Catalogue = explained(slices.Concat(decoding, loading(), logged()))

// decoding are the rows of what is met while a file is decoded, and of symbols.
var decoding = []Entry{
	{Code: DamagedELF, Severity: Error, Errno: ENOEXEC, Source: "kernel/module/main.c: elf_validity_check",
		Title: "the ELF header or the section headers are damaged", Args: "text", Message: "%[1]s",
		Hint: "the file is cut short or not a kernel module; copy or build it again"},
	{Code: DamagedSection, Severity: Error, Errno: ENOEXEC, Source: "kernel/module/main.c: validate_section_offset",
		Title: "a section does not lie inside the file", Args: "text", Message: "%[1]s",
		Hint: "the file is cut short or not a kernel module; copy or build it again"},
	{Code: DamagedSymtab, Severity: Error, Errno: ENOEXEC, Source: "kernel/module/main.c: elf_validity_cache_strtab",
		Title: "the symbol table or its strings are damaged", Args: "text", Message: "%[1]s"},
	{Code: DamagedRelocs, Severity: Error, Errno: ENOEXEC, Source: "kernel/module/main.c: apply_relocations",
		Title: "a relocation table is damaged", Args: "text", Message: "%[1]s"},
	{Code: DamagedModinfo, Severity: Warning, Source: "kernel/module/main.c: get_next_modinfo",
		Title: "the .modinfo strings are damaged", Args: "text", Message: "%[1]s"},
	{Code: DamagedVersions, Severity: Warning, Source: "kernel/module/version.c: check_version",
		Title: "the symbol version tables are damaged", Args: "text", Message: "%[1]s"},
	{Code: DamagedExports, Severity: Warning, Source: "kernel/module/main.c: find_module_sections",
		Title: "the export tables are damaged", Args: "text", Message: "%[1]s"},
	{Code: DamagedParams, Severity: Warning, Source: "kernel/params.c: parse_args",
		Title: "the parameter table is damaged", Args: "text", Message: "%[1]s"},
	{Code: DamagedModule, Severity: Warning, Source: "kernel/module/main.c: setup_load_info",
		Title: ".gnu.linkonce.this_module is damaged", Args: "text", Message: "%[1]s"},
	{Code: DamagedSignature, Severity: Error, Errno: EBADMSG, Source: "kernel/module_signature.c: mod_check_sig",
		Title: "the appended signature is damaged", Args: "text", Message: "%[1]s"},

	{Code: SymMissing, Severity: Error, Errno: ENOENT, Stage: "simplify_symbols", Step: "2.7",
		Source: "kernel/module/main.c: simplify_symbols", Title: "a symbol that nothing exports",
		Args: "module, symbol, errno (negative)", Message: "nothing exports %[2]s",
		Dmesg: []Text{{kver.All, "%[1]s: Unknown symbol %[2]s (err %[3]d)"}},
		Hint:  "load the module that exports %[2]s first, or build against this kernel",
		Why:   "The kernel and its loaded modules do not export the name: a dependency is not loaded, the kernel was configured without it, or it was renamed or removed in this version."},
	{Code: SymWeak, Severity: Note, Source: "kernel/module/main.c: simplify_symbols",
		Title: "a weak symbol that nothing exports", Args: "module, symbol",
		Message: "nothing exports %[2]s; the reference is weak and stays 0"},
	{Code: SymCRC, Severity: Error, Errno: EINVAL, Stage: "simplify_symbols", Step: "2.7",
		Source: "kernel/module/version.c: check_version", Title: "a symbol's CRC differs",
		Args: "modinfo name, symbol, module", Message: "the CRC of %[2]s differs",
		Dmesg: []Text{{kver.All, "%[1]s: disagrees about version of symbol %[2]s\n%[3]s: Unknown symbol %[2]s (err -22)"}},
		Hint:  Rebuild,
		Why:   "The prototype of the symbol, or a structure that it reaches, is not the one the module was built with."},
	{Code: SymNoCRC, Severity: Error, Errno: EINVAL, Stage: "simplify_symbols", Step: "2.7",
		Source: "kernel/module/version.c: check_version", Title: "the module has no CRC for a symbol that it uses",
		Args: "modinfo name, symbol, module", Message: "the module carries no CRC for %[2]s",
		Dmesg: []Text{{kver.All, "%[1]s: no symbol version for %[2]s\n%[3]s: Unknown symbol %[2]s (err -22)"}},
		Hint:  "rebuild the module with the Module.symvers of all that it depends on (KBUILD_EXTRA_SYMBOLS)"},
	{Code: SymGPL, Severity: Error, Errno: ENOENT, Stage: "simplify_symbols", Step: "2.7",
		Source: "kernel/module/main.c: find_symbol", Title: "a GPL-only symbol used by a module that is not",
		Args: "module, symbol, license", Message: "%[2]s is exported for GPL modules only, and this module's license is %[3]q",
		Dmesg: []Text{{kver.All, "%[1]s: Unknown symbol %[2]s (err -2)"}},
		Hint:  "the kernel hides the symbol from this module; only a GPL-compatible license tag shows it"},
	{Code: LayoutCRC, Severity: Error, Errno: ENOEXEC, Stage: "check_modstruct_version", Step: "g3",
		Source: "kernel/module/version.c: check_modstruct_version", Title: "the CRC of module_layout differs",
		Args: "module", Message: "the CRC of module_layout differs: the module is for a kernel with another struct module",
		Dmesg: []Text{{kver.All, "%[1]s: disagrees about version of symbol module_layout"}},
		Hint:  Rebuild},
	{Code: LayoutNoCRC, Severity: Error, Errno: ENOEXEC, Stage: "check_modstruct_version", Step: "g3",
		Source: "kernel/module/version.c: check_modstruct_version", Title: "the module has no CRC for module_layout",
		Args: "modinfo name", Message: "the module carries no CRC for module_layout",
		Dmesg: []Text{{kver.All, "%[1]s: no symbol version for module_layout"}},
		Hint:  Rebuild},
	{Code: NoVersions, Severity: Error, Errno: ENOEXEC, Stage: "check_modstruct_version", Step: "g3",
		Source: "kernel/module/version.c: check_version", Title: "the module has no symbol versions, and the kernel wants them",
		Args: "modinfo name", Message: "the module carries no symbol versions (__versions), and the kernel compares them",
		Hint: "rebuild the module against headers with CONFIG_MODVERSIONS and a Module.symvers"},
	{Code: NotModule, Severity: Error, Errno: ENOEXEC, Stage: "elf_validity_check",
		Source: "kernel/module/main.c: elf_validity_check", Title: "the file is no ELF module",
		Args: "text", Message: "%[1]s", Hint: "the file is cut short or not a kernel module; copy or build it again"},
	{Code: Namespace, Severity: Error, Errno: EINVAL, Stage: "simplify_symbols", Step: "2.7",
		Source: "kernel/module/main.c: verify_namespace_is_imported", Title: "a namespace that is not imported",
		Args: "module, symbol, namespace", Message: "%[2]s is in namespace %[3]s, which the module does not import",
		Dmesg: []Text{{kver.Since(5, 4), "%[1]s: module uses symbol (%[2]s) from namespace %[3]s, but does not import it.\n%[1]s: Unknown symbol %[2]s (err -22)"}},
		Hint:  "add MODULE_IMPORT_NS(%[3]s) to the module's source"},
	{Code: DupExport, Severity: Error, Errno: ENOEXEC, Stage: "verify_exported_symbols", Step: "k5",
		Source: "kernel/module/main.c: verify_exported_symbols", Title: "an exported name exists already",
		Args: "module, symbol, owner", Message: "%[2]s is exported already by %[3]s",
		Dmesg: []Text{{kver.All, "%[1]s: exports duplicate symbol %[2]s (owned by %[3]s)"}},
		Hint:  "where %[3]s is a module, unload it first; where it is the kernel, the driver is built in and the file is not needed"},
}
