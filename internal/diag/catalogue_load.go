package diag

import "kotool/internal/kver"

// Codes of what load_module refuses, in its order.
const (
	Flags         Code = "KT-FLAGS"
	Empty         Code = "KT-EMPTY"
	Compress      Code = "KT-COMPRESS"
	CompressOff   Code = "KT-COMPRESS-OFF"
	CompressMagic Code = "KT-COMPRESS-MAGIC"

	SigUnsigned   Code = "KT-SIG-UNSIGNED"
	SigCrypto     Code = "KT-SIG-UNSUPPORTED"
	SigKey        Code = "KT-SIG-UNKNOWN-KEY"
	SigBad        Code = "KT-SIG-BAD"
	SigMalformed  Code = "KT-SIG-MALFORMED"
	SigPlace      Code = "KT-SIG-PLACE"
	TaintUnsigned Code = "KT-TAINT-UNSIGNED"

	ELFLen        Code = "KT-ELF-LEN"
	ELFMagic      Code = "KT-ELF-MAGIC"
	ELFType       Code = "KT-ELF-TYPE"
	ELFArch       Code = "KT-ELF-ARCH"
	ELFModArch    Code = "KT-ELF-MODARCH"
	ELFShentsize  Code = "KT-ELF-SHENTSIZE"
	ELFShtable    Code = "KT-ELF-SHTABLE"
	ELFSection0   Code = "KT-ELF-SECTION0"
	ELFBounds     Code = "KT-ELF-BOUNDS"
	ELFShstrndx   Code = "KT-ELF-SHSTRNDX"
	ELFShstrtab   Code = "KT-ELF-SHSTRTAB"
	ELFShstrType  Code = "KT-ELF-SHSTRTAB-TYPE"
	ELFShstrEmpty Code = "KT-ELF-SHSTRTAB-EMPTY"
	ELFShstrNUL   Code = "KT-ELF-SHSTRTAB-NUL"
	ELFShname     Code = "KT-ELF-SHNAME"
	ModinfoTwice  Code = "KT-MODINFO-TWICE"
	StructNone    Code = "KT-STRUCT-MISSING"
	StructCount   Code = "KT-STRUCT-COUNT"
	StructNobits  Code = "KT-STRUCT-NOBITS"
	StructAlloc   Code = "KT-STRUCT-ALLOC"
	StructSize    Code = "KT-STRUCT-SIZE"
	StructOffset  Code = "KT-STRUCT-OFFSET"
	Stripped      Code = "KT-STRIPPED"
	SymtabLink    Code = "KT-SYMTAB-LINK"
	StrtabType    Code = "KT-STRTAB-TYPE"
	VersionsExt   Code = "KT-VERSIONS-EXT"
	VersionsNames Code = "KT-VERSIONS-EXT-NAMES"
	StrtabEmpty   Code = "KT-STRTAB-EMPTY"
	StrtabLead    Code = "KT-STRTAB-LEAD"
	StrtabNUL     Code = "KT-STRTAB-NUL"
	SymName       Code = "KT-SYM-NAME"

	Blacklisted     Code = "KT-BLACKLIST"
	VermagicMissing Code = "KT-VERMAGIC-MISSING"
	Vermagic        Code = "KT-VERMAGIC"
	VermagicDir     Code = "KT-VERMAGIC-DIR"
	Livepatch       Code = "KT-LIVEPATCH"
	Loaded          Code = "KT-LOADED"
	Builtin         Code = "KT-BUILTIN"

	TaintLicense   Code = "KT-TAINT-LICENSE"
	TaintOOT       Code = "KT-TAINT-OOT"
	TaintStaging   Code = "KT-TAINT-STAGING"
	TaintTest      Code = "KT-TAINT-TEST"
	TaintLivepatch Code = "KT-TAINT-LIVEPATCH"
	TaintForced    Code = "KT-TAINT-FORCED"
	TaintLegacy    Code = "KT-TAINT-LEGACY"
	Retpoline      Code = "KT-RETPOLINE"

	ArchSections Code = "KT-ARCH-SECTIONS"
	WriteExec    Code = "KT-WX"
	Memory       Code = "KT-MEMORY"
	Percpu       Code = "KT-PERCPU"
	PercpuAlign  Code = "KT-PERCPU-ALIGN"
	Ctors        Code = "KT-CTORS"
	ObsParm      Code = "KT-OBSPARM"
	ObsGPL       Code = "KT-FORMAT-71-GPL"
	NoFlags      Code = "KT-FORMAT-71"
	ExportNoCRC  Code = "KT-EXPORT-NOCRC"
	NSModule     Code = "KT-NS-MODULE"

	SymCommon  Code = "KT-SYM-COMMON"
	SymIndex   Code = "KT-SYM-INDEX"
	SymTaint   Code = "KT-SYM-TAINT"
	SymInherit Code = "KT-SYM-INHERIT"

	RelocType    Code = "KT-RELOC-TYPE"
	RelocForm    Code = "KT-RELOC-FORM"
	RelocNonZero Code = "KT-RELOC-NONZERO"
	RelocRange   Code = "KT-RELOC-RANGE"
	RelocPlace   Code = "KT-RELOC-PLACE"
	RelocOther   Code = "KT-RELOC-OTHER"

	SysfsName    Code = "KT-SYSFS-NAME"
	SysfsSection Code = "KT-SYSFS-SECTION"
	NameEmpty    Code = "KT-NAME-EMPTY"
	BTF          Code = "KT-BTF"
	BTFBase      Code = "KT-BTF-BASE"
	Param        Code = "KT-PARAM"
	ParamUnknown Code = "KT-PARAM-UNKNOWN"
	Undefined    Code = "KT-UNDEFINED"
)

// Rebuild is what to do about a module that was built for another kernel.
const Rebuild = "rebuild the module against the headers of exactly this kernel"

const (
	validity = "elf_validity_cache_copy"
	copyIt   = "the file is damaged, cut short or no kernel module; copy or build it again"
	whySize  = "sizeof(struct module) depends on the configuration: BTF, tracing, livepatch, KUnit and sanitizers add or remove members. " +
		"In headers that were cross-built it is mostly BTF: without pahole, or with another compiler, CONFIG_DEBUG_INFO_BTF_MODULES goes off and its members go away."
)

func always(format string) []Text { return []Text{{In: kver.All, Format: format}} }

// detailed is a text of the ELF checks that commit 7fd982f394c4 brought (5.16, and 5.15.y); before, they were silent.
func detailed(format string) []Text { return []Text{{In: kver.Since(5, 15), Format: format}} }

// loading are the rows of what load_module refuses, in its order.
func loading() []Entry {
	main := func(f string) string { return "kernel/module/main.c: " + f }
	elf := func(code Code, step, title, args, message string, dmesg []Text) Entry {
		return Entry{Code: code, Severity: Error, Errno: ENOEXEC, Stage: validity, Step: step, Source: main("elf_validity_*"),
			Title: title, Args: args, Message: message, Dmesg: dmesg, Hint: copyIt}
	}
	taint := func(code Code, letter, title, args, message string, dmesg []Text) Entry {
		return Entry{Code: code, Severity: Note, Source: main("module_augment_kernel_taints"), Stage: "module_augment_kernel_taints", Step: "i2", Title: title + " (taint " + letter + ")",
			Args: args, Message: message, Dmesg: dmesg}
	}
	return []Entry{
		{Code: Flags, Severity: Error, Errno: EINVAL, Stage: "finit_module", Step: "1.2", Source: main("finit_module"),
			Title: "flags that finit_module does not know", Args: "flags", Message: "flags %#[1]x are not all known to this kernel"},
		{Code: Empty, Severity: Error, Errno: EINVAL, Stage: "kernel_read_file", Step: "1.4", Source: "fs/kernel_read_file.c: kernel_read_file",
			Title: "the file is empty", Args: "none", Message: "the file is empty", Hint: copyIt},
		{Code: CompressOff, Severity: Error, Errno: EOPNOTSUPP, Stage: "module_decompress", Step: "1.8", Source: "kernel/module/decompress.c",
			Title: "the kernel decompresses no modules", Args: "compression", Message: "this kernel has no decompressor for %[1]s modules (CONFIG_MODULE_DECOMPRESS)",
			Hint: "decompress the file first; kmod does so by itself"},
		{Code: CompressMagic, Severity: Error, Errno: EINVAL, Stage: "module_decompress", Step: "1.8", Source: "kernel/module/decompress.c",
			Title: "the file is not compressed in the way that the kernel decompresses", Args: "a format",
			Message: "the kernel decompresses only what is %[1]s file, and this is none", Dmesg: always("not %[1]s compressed module")},
		{Code: Compress, Severity: Warning, Stage: "module_decompress", Step: "1.8", Source: "kernel/module/decompress.c; lib/xz/xz_dec_stream.c; lib/zstd/decompress/zstd_decompress.c",
			Title: "a compressed file that the kernel's own decompressor refuses", Args: "text, status", Message: "%[1]s",
			Dmesg: always("decompression failed with status %[2]d"),
			Hint:  "compress it as modules_install does: xz --check=crc32 --lzma2=dict=1MiB",
			Why: "With CONFIG_MODULE_DECOMPRESS kmod hands the compressed file to the kernel (EINVAL, \"decompression failed with status 6\"): the decoder in the kernel takes no check or CRC32, LZMA2, " +
				"only the BCJ filters that are configured, no dictionary above 3 GiB, and of zstd no window above 128 MiB and no dictionary. Plain `xz file.ko` writes CRC64. Where kmod decompresses itself, the file loads."},

		{Code: SigUnsigned, Severity: Error, Errno: EKEYREJECTED, Stage: "module_sig_check", Step: "2.1", Source: "kernel/module/signing.c: module_sig_check",
			Title: "an unsigned module, where signatures are enforced", Args: "none", Message: "the module is not signed, and the kernel takes signed modules only",
			Dmesg: []Text{{kver.Since(5, 4), "Loading of unsigned module is rejected"}}, Hint: "sign it with a key that the kernel trusts (scripts/sign-file, kmodsign), or enrol the key (mokutil --import)",
			Why: "CONFIG_MODULE_SIG_FORCE, module.sig_enforce=1 or secure boot wants a signature. strip and objcopy remove it; modules_install signs after stripping."},
		{Code: SigCrypto, Severity: Error, Errno: EKEYREJECTED, Stage: "module_sig_check", Step: "2.1", Source: "kernel/module/signing.c: module_sig_check",
			Title: "a signature of a kind that the kernel does not know", Args: "text", Message: "the signature is of a kind that the kernel cannot verify: %[1]s",
			Dmesg: []Text{{kver.Since(5, 4), "Loading of module with unsupported crypto is rejected"}}, Hint: "sign it again with a digest and key type that this kernel has"},
		{Code: SigKey, Severity: Error, Errno: EKEYREJECTED, Stage: "module_sig_check", Step: "2.1", Source: "kernel/module/signing.c: module_sig_check",
			Title: "signed by a key that the kernel does not trust", Args: "signer, key id", Message: "signed by %[1]q with key %[2]s, which is none of the trusted ones",
			Dmesg: []Text{{kver.Since(5, 4), "Loading of module with unavailable key is rejected"}}, Hint: "enrol the signer's certificate (mokutil --import), or sign with a key that the kernel trusts",
			Why: "The key is in none of the kernel's keyrings: built in, secondary, platform (secure boot), machine (MOK). DKMS makes a key of its own, which has to be enrolled once."},
		{Code: SigBad, Severity: Error, Errno: EKEYREJECTED, Stage: "module_sig_check", Step: "2.1", Source: "crypto/asymmetric_keys/pkcs7_verify.c",
			Title: "the signature does not fit the file", Args: "text", Message: "the signature does not fit the file: %[1]s",
			Hint: "the module was changed after it was signed (strip, objcopy, a patch): sign it again as the last step",
			Why:  "The key is known, but the digest of the file is not the signed one. The kernel refuses it even where signatures are not enforced."},
		{Code: SigMalformed, Severity: Error, Errno: EBADMSG, Stage: "module_sig_check", Step: "2.1", Source: "kernel/module_signature.c: mod_check_sig",
			Title: "the signature's trailer or message is malformed", Args: "text, kernel's line", Message: "%[1]s", Dmesg: always("%[2]s"),
			Hint: "cut the signature off (strip does) and sign again"},
		{Code: SigPlace, Severity: Warning, Source: "kernel/module/signing.c: module_sig_check",
			Title: "a signature that is not at the end of the file", Args: "bytes", Message: "%[1]d bytes follow the signature's magic: the kernel takes the module for unsigned",
			Hint: "cut the file after the magic"},
		{Code: TaintUnsigned, Severity: Note, Source: main("load_module"), Stage: "module_augment_kernel_taints", Step: "i2", Title: "not signed by a trusted key (taint E)",
			Args: "module", Message: "the module is not signed by a key known here; the kernel notes it and goes on",
			Dmesg: always("%[1]s: module verification failed: signature and/or required key missing - tainting kernel"), Hint: "harmless, unless signatures are enforced"},

		elf(ELFLen, "a1", "the file is shorter than an ELF header", "length", "the file has %[1]d bytes, less than an ELF header", detailed("Invalid ELF header len %[1]d")),
		elf(ELFMagic, "a2", "the file does not begin as an ELF file", "magic", "the file does not begin with the ELF magic", detailed("Invalid ELF header magic: != \x7fELF")),
		elf(ELFType, "a3", "the ELF file is not relocatable", "type", "e_type is %[1]d, a module's is 1 (ET_REL)", detailed("Invalid ELF header type: %[1]d != 1")),
		{Code: ELFArch, Severity: Error, Errno: ENOEXEC, Stage: validity, Step: "a4", Source: "arch/*/include/asm/elf.h: elf_check_arch", Title: "the module is for another machine",
			Args: "e_machine, machine, kernel's machine", Message: "the module is for %[2]s, the kernel for %[3]s", Dmesg: detailed("Invalid architecture in ELF header: %[1]d"),
			Hint: "build the module for %[3]s (ARCH= and CROSS_COMPILE=)"},
		{Code: ELFModArch, Severity: Error, Errno: ENOEXEC, Stage: validity, Step: "a5", Source: "arch/powerpc/kernel/module_64.c: module_elf_check_arch", Title: "the module is for another ABI of ppc64",
			Args: "e_machine", Message: "e_flags name the other ELF ABI of ppc64", Dmesg: []Text{{kver.Since(6, 2), "Invalid module architecture in ELF header: %[1]d"}}},
		elf(ELFShentsize, "a6", "section headers of a wrong size", "size, wanted", "e_shentsize is %[1]d, the kernel wants %[2]d", detailed("Invalid ELF section header size")),
		elf(ELFShtable, "a7", "the section header table does not lie inside the file", "offset, entries, file size",
			"the section headers (%[2]d at offset %#[1]x) do not lie inside the file of %[3]d bytes", detailed("Invalid ELF section header overflow")),
		elf(ELFSection0, "a8", "section 0 is not empty", "type", "section 0 has type %[1]d, a size or an address", detailed("ELF Spec violation: section 0 type(%[1]d)!=SH_NULL or non-zero len or addr")),
		elf(ELFBounds, "a9", "a section does not lie inside the file", "section, type, name, file size", "section %[1]d %[3]s does not lie inside the file",
			[]Text{{kver.Until(5, 0), "Module len %[4]d truncated"}, {kver.Since(5, 0), "Invalid ELF section in module (section %[1]d type %[2]d)"}}),
		elf(ELFShstrndx, "b1", "the section names' index names no section", "e_shstrndx, e_shnum", "e_shstrndx is %[1]d, the file has %[2]d sections",
			detailed("Invalid ELF section name index: %[1]d || e_shstrndx (%[1]d) >= e_shnum (%[2]d)")),
		elf(ELFShstrtab, "b1", "the section names do not lie inside the file", "type", "the section name table does not lie inside the file", detailed("Invalid ELF section hdr(type %[1]d)")),
		elf(ELFShstrType, "b2", "the section names are in no string table", "type", "the section name table has type %[1]d, not STRTAB", detailed("Invalid ELF section name table type: %[1]d")),
		elf(ELFShstrEmpty, "b3", "the section name table is empty", "none", "the section name table is empty", detailed("empty section name table")),
		elf(ELFShstrNUL, "b4", "the section name table has no NUL at its end", "none", "the section name table does not end in a NUL",
			detailed("ELF Spec violation: section name table isn't null terminated")),
		elf(ELFShname, "b5", "a section's name is not in the name table", "section, type", "the name of section %[1]d is not in the name table",
			always("Invalid ELF section name in module (section %[1]d type %[2]d)")),
		elf(ModinfoTwice, "c1", "more than one .modinfo", "count", "there are %[1]d sections .modinfo", always("Only one .modinfo section must exist.")),
		elf(StructNone, "c2", "no .gnu.linkonce.this_module", "name", "there is no loaded section .gnu.linkonce.this_module: this is no module",
			[]Text{{kver.Until(4, 12), "No module found in object"}, {kver.Since(4, 12), "%[1]s: No module found in object"}}),
		elf(StructCount, "c2", "not one .gnu.linkonce.this_module", "name, count", "there are %[2]d sections .gnu.linkonce.this_module, not one",
			[]Text{{kver.Between(kver.Version{}, kver.Version{Major: 6, Minor: 12, Patch: 112}), "module %[1]s: Only one .gnu.linkonce.this_module section must exist."},
				// Measured: 6.12.107 has the text above, 6.12.117 this one.
				{kver.Between(kver.Version{Major: 6, Minor: 12, Patch: 112}, kver.Version{}), "module %[1]s: Exactly one .gnu.linkonce.this_module section must exist."}}),
		elf(StructNobits, "c3", ".gnu.linkonce.this_module has no bytes", "name", ".gnu.linkonce.this_module is NOBITS", always("module %[1]s: .gnu.linkonce.this_module section must have a size set")),
		elf(StructAlloc, "c4", ".gnu.linkonce.this_module is not loaded", "name", ".gnu.linkonce.this_module lacks SHF_ALLOC",
			always("module %[1]s: .gnu.linkonce.this_module must occupy memory during process execution")),
		{Code: StructSize, Severity: Error, Errno: ENOEXEC, Stage: validity, Step: "c5", Source: main("elf_validity_cache_index_mod"), Title: "struct module has another size",
			Args: "name, size, kernel's size", Message: "struct module has %#[2]x bytes in this module, %#[3]x in the kernel",
			Dmesg: always("module %[1]s: .gnu.linkonce.this_module section size must match the kernel's built struct module size at run time"),
			Hint:  "compare the .config of the headers with the kernel's own: the module was built with another configuration", Why: whySize},
		{Code: StructOffset, Severity: Error, Errno: ENOEXEC, Stage: "apply_relocations", Step: "2.8", Source: "include/linux/module.h: struct module", Title: "struct module has another layout",
			Args: "field, offset, kernel's offset", Message: "%[1]s is at %#[2]x of struct module in this module, at %#[3]x in the kernel",
			Hint: "compare the .config of the headers with the kernel's own: the module was built with another configuration", Why: whySize +
				" On x86 the relocation of the field then falls on a place that is not zero any more (\"existing value is nonzero\"); elsewhere the kernel jumps to where no function is."},
		elf(Stripped, "d1", "the symbol table is missing", "name", "there is no symbol table, or more than one: the module was stripped", always("%[1]s: module has no symbols (stripped?)")),
		elf(SymtabLink, "d2", "the symbol table names no string table", "sh_link, e_shnum", "sh_link of the symbol table is %[1]d, the file has %[2]d sections",
			detailed("Invalid ELF sh_link!=SHN_UNDEF(%[1]d) or (sh_link(%[1]d) >= hdr->e_shnum(%[2]d)")),
		elf(StrtabType, "d3", "the symbols' names are in no string table", "type", "the symbols' string table has type %[1]d, not STRTAB", always("Invalid ELF symbol string table type: %[1]d")),
		elf(VersionsExt, "e1", "extended versions are not whole", "none", "only one of __version_ext_crcs and __version_ext_names is there", always("extended version crc+name presence does not match")),
		elf(VersionsNames, "e2", "extended versions lack names", "none", "__version_ext_names has fewer names than there are CRCs", always("more extended version crcs than names")),
		elf(StrtabEmpty, "f1", "the symbols' string table is empty", "none", "the symbols' string table is empty", always("empty symbol string table")),
		elf(StrtabLead, "f1", "the symbols' string table does not begin with a NUL", "none", "the symbols' string table does not begin with a NUL", always("symbol string table missing leading NUL")),
		elf(StrtabNUL, "f1", "the symbols' string table does not end in a NUL", "none", "the symbols' string table does not end in a NUL", always("symbol string table isn't NUL terminated")),
		elf(SymName, "f2", "a symbol's name is not in the string table", "symbol", "the name of symbol %[1]d is not in the string table", always("symbol name out of bounds in string table")),

		{Code: Blacklisted, Severity: Error, Errno: EPERM, Stage: "early_mod_check", Step: "g1", Source: main("blacklisted"), Title: "the module is on the boot command line's blacklist",
			Args: "name", Message: "module_blacklist= names the module", Dmesg: always("Module %[1]s is blacklisted")},
		{Code: VermagicMissing, Severity: Error, Errno: ENOEXEC, Stage: "check_modinfo", Step: "g4", Source: main("check_modinfo"), Title: "the module has no vermagic",
			Args: "module", Message: "the module has no vermagic= in .modinfo", Hint: Rebuild},
		{Code: Vermagic, Severity: Error, Errno: ENOEXEC, Stage: "check_modinfo", Step: "g5", Source: main("check_modinfo") + "; kernel/module/version.c: same_magic", Title: "the version magic differs",
			Args: "name, module's, kernel's", Message: "the version magic differs", Dmesg: always("%[1]s: version magic '%[2]s' should be '%[3]s'"), Hint: Rebuild,
			Why: "The module was built for another release or another configuration. Where both have symbol versions the release, up to the first space, is not compared; without them every word is. " +
				"modprobe --force-vermagic passes over it: the kernel is tainted (F), and the next check may refuse."},
		{Code: VermagicDir, Severity: Warning, Stage: "check_modinfo", Step: "g5", Source: main("check_modinfo"), Title: "the module lies in the directory of another release",
			Args: "release of the module, directory's", Message: "built for %[1]s, lies in %[2]s",
			Hint: "build it for %[2]s (KDIR or KERNELRELEASE, not uname -r), or move it", Why: "Makefiles and DKMS in containers and image builds take `uname -r` of the machine that builds for the kernel that is meant."},
		{Code: Livepatch, Severity: Error, Errno: ENOEXEC, Stage: "check_modinfo_livepatch", Step: "g7", Source: main("check_modinfo_livepatch"), Title: "a live patch for a kernel without them",
			Args: "module", Message: "the module is a live patch, and the kernel has no CONFIG_LIVEPATCH", Dmesg: always("%[1]s: module is marked as livepatch module, but livepatch support is disabled")},
		{Code: Loaded, Severity: Error, Errno: EEXIST, Stage: "module_patient_check_exists", Step: "g9", Source: main("module_patient_check_exists"), Title: "a module of that name is loaded",
			Args: "module", Message: "a module named %[1]s is loaded already", Hint: "rmmod %[1]s first"},
		{Code: Builtin, Severity: Warning, Source: "modules.builtin", Title: "the module is built into the kernel", Args: "module, why",
			Message: "%[1]s is built into this kernel: %[2]s", Hint: "the file is not needed; remove it"},

		taint(TaintLicense, "P", "the licence is not GPL-compatible", "module, license", "the licence %[2]q is not GPL-compatible", always("%[1]s: module license '%[2]s' taints kernel.")),
		taint(TaintOOT, "O", "built outside the kernel's tree", "module", "the module was built out of tree", []Text{{kver.Since(4, 2), "%[1]s: loading out-of-tree module taints kernel."}}),
		taint(TaintStaging, "C", "from the staging directory", "module", "the module is from drivers/staging",
			always("%[1]s: module is from the staging directory, the quality is unknown, you have been warned.")),
		taint(TaintTest, "N", "a test module", "module", "the module is a test", []Text{{kver.Since(6, 0), "%[1]s: loading test module taints kernel."}}),
		taint(TaintLivepatch, "K", "a live patch", "module", "the module is a live patch", always("%[1]s: tainting kernel with TAINT_LIVEPATCH")),
		taint(TaintForced, "F", "loaded by force", "module, reason", "a check is passed over: %[2]s", always("%[1]s: %[2]s: kernel tainted.")),
		taint(TaintLegacy, "P", "a name that the kernel knows for proprietary code", "module", "the kernel knows this name for proprietary code", always("%[1]s: module license taints kernel.")),
		{Code: Retpoline, Severity: Note, Stage: "check_modinfo_retpoline", Step: "g6", Source: "kernel/module/main.c: check_modinfo_retpoline; arch/x86/kernel/cpu/bugs.c: retpoline_module_ok",
			Title: "compiled without retpolines", Args: "module", Message: "the module was compiled without retpolines (no retpoline= in .modinfo)",
			Dmesg: always("Spectre V2 : System may be vulnerable to spectre v2\n%[1]s: loading module not compiled with retpoline compiler."), Hint: "build it with the kernel's own flags and a compiler that has -mindirect-branch"},

		{Code: ArchSections, Severity: Error, Errno: ENOEXEC, Stage: "module_frob_arch_sections", Step: "h1", Source: "arch/*/kernel/module*.c: module_frob_arch_sections", Title: "a section that the machine needs is missing",
			Args: "text, kernel's line", Message: "%[1]s", Dmesg: always("%[2]s"), Hint: "link it with the kernel's module linker script (scripts/module.lds); older headers lack the section"},
		{Code: WriteExec, Severity: Error, Errno: ENOEXEC, Stage: "module_enforce_rwx_sections", Step: "h2", Source: "kernel/module/strict_rwx.c: module_enforce_rwx_sections", Title: "a section that is writable and executable",
			Args: "module, section, index", Message: "section %[2]s is writable and executable", Dmesg: []Text{{kver.Since(5, 8), "%[1]s: section %[2]s (index %[3]d) has invalid WRITE|EXEC flags"}},
			Hint: "give code and data sections of their own"},
		{Code: Memory, Severity: Error, Errno: ENOMEM, Stage: "move_module", Step: "h3", Source: main("move_module"), Title: "the module is larger than there is room for modules",
			Args: "text", Message: "%[1]s", Dmesg: []Text{{kver.Since(6, 10), "execmem: unable to allocate memory"}}},
		{Code: Percpu, Severity: Error, Errno: ENOMEM, Stage: "percpu_modalloc", Step: "i3", Source: main("percpu_modalloc"), Title: "too much per-CPU data",
			Args: "module, size, align, allocator's line", Message: "the module wants %[2]d bytes of per-CPU memory, the reserve for modules has 8 KiB", Dmesg: always("%[4]s\n%[1]s: Could not allocate %[2]d bytes percpu data"),
			Hint: "allocate it with alloc_percpu() at run time"},
		{Code: PercpuAlign, Severity: Warning, Stage: "percpu_modalloc", Step: "i3", Source: main("percpu_modalloc"), Title: "per-CPU data aligned above a page",
			Args: "module, align, page", Message: "the per-CPU data want an alignment of %[2]d bytes and get %[3]d", Dmesg: always("%[1]s: per-cpu alignment %[2]d > %[3]d")},
		{Code: Ctors, Severity: Error, Errno: EINVAL, Stage: "find_module_sections", Step: "i4", Source: main("find_module_sections"), Title: "constructors in two forms",
			Args: "module", Message: "the module has both .ctors and .init_array", Dmesg: always("%[1]s: has both .ctors and .init_array.")},
		{Code: ObsParm, Severity: Warning, Stage: "find_module_sections", Step: "i4", Source: main("find_module_sections"), Title: "parameters in the form of 2.4",
			Args: "module", Message: "__obsparm is ignored", Dmesg: always("%[1]s: Ignoring obsolete parameters")},
		{Code: ObsGPL, Severity: Warning, Stage: "find_module_sections", Step: "i4", Source: main("find_module_sections"), Title: "GPL-only exports in the form of kernels before 7.1",
			Args: "module, section", Message: "%[2]s is ignored by this kernel", Dmesg: always("%[1]s: ignoring obsolete section %[2]s"), Hint: Rebuild},
		{Code: NoFlags, Severity: Error, Errno: ENOEXEC, Stage: "check_export_symbol_sections", Step: "i5", Source: main("check_export_symbol_sections"), Title: "exports without flags (7.1 and later)",
			Args: "module, count", Message: "the module exports %[2]d symbols and has no __kflagstab", Dmesg: always("%[1]s: no flags for exported symbols"),
			Hint: Rebuild, Why: "7.1 replaced the __ksymtab_gpl section by flags in __kflagstab; a module that was built by older headers exports in the old form."},
		{Code: ExportNoCRC, Severity: Error, Errno: ENOEXEC, Stage: "check_export_symbol_versions", Step: "i6", Source: main("check_export_symbol_versions"), Title: "exports without CRCs",
			Args: "module", Message: "the module exports symbols without CRCs, and the kernel compares them", Hint: "build the module with CONFIG_MODVERSIONS"},
		{Code: NSModule, Severity: Error, Errno: EPERM, Stage: "setup_modinfo", Step: "i7", Source: main("setup_modinfo"), Title: "a namespace that cannot be imported",
			Args: "module, namespace", Message: "the module imports %[2]s: namespaces that name modules cannot be imported", Dmesg: []Text{{kver.Since(6, 16), "%[1]s: module tries to import module namespace: %[2]s"}}},

		{Code: SymCommon, Severity: Error, Errno: ENOEXEC, Stage: "simplify_symbols", Step: "2.7", Source: main("simplify_symbols"), Title: "a common symbol",
			Args: "module, symbol", Message: "%[2]s is a common symbol", Dmesg: always("%[1]s: please compile with -fno-common"), Hint: "compile with -fno-common"},
		{Code: SymIndex, Severity: Error, Errno: ENOEXEC, Stage: "simplify_symbols", Step: "2.7", Source: main("simplify_symbols"), Title: "a symbol in a section that is not there",
			Args: "module, symbol, index, highest", Message: "symbol %[2]s names section %[3]d, the last one is %[4]d",
			Dmesg: []Text{{kver.Since(5, 11), "%[1]s: Symbol %[2]s has an invalid section index %[3]d (max %[4]d)"}}, Hint: copyIt},
		{Code: SymTaint, Severity: Error, Errno: ENOENT, Stage: "simplify_symbols", Step: "2.7", Source: main("inherit_taint"), Title: "GPL-only and proprietary symbols together",
			Args: "module, symbol, owner", Message: "the module uses GPL-only symbols, and %[2]s of %[3]s, which is proprietary",
			Dmesg: []Text{{kver.Until(6, 0), "%[1]s: module using GPL-only symbols uses symbols from proprietary module %[3]s.\n%[1]s: Unknown symbol %[2]s (err -2)"},
				{kver.Since(6, 0), "%[1]s: module using GPL-only symbols uses symbols %[2]s from proprietary module %[3]s.\n%[1]s: Unknown symbol %[2]s (err -2)"}}},
		{Code: SymInherit, Severity: Warning, Stage: "simplify_symbols", Step: "2.7", Source: main("inherit_taint"), Title: "a taint that comes with a symbol (taint P)",
			Args: "module, symbol, owner", Message: "the module uses %[2]s of the proprietary module %[3]s: it becomes proprietary itself",
			Dmesg: []Text{{kver.Until(6, 0), "%[1]s: module uses symbols from proprietary module %[3]s, inheriting taint."}, {kver.Since(6, 0), "%[1]s: module uses symbols %[2]s from proprietary module %[3]s, inheriting taint."}}},

		{Code: RelocType, Severity: Error, Errno: ENOEXEC, Stage: "apply_relocations", Step: "2.8", Source: "arch/*/kernel/module*.c: apply_relocate_add", Title: "a relocation type that the loader does not take",
			Args: "type, place, symbol", Message: "the loader does not take relocation %[1]s at %[2]s (%[3]s)", Hint: "build with the kernel's own flags (kbuild): position-independent code or a newer toolchain emits it",
			Why: "GOT types mean that -fpic or -fpie leaked in (add -fno-pic in KCFLAGS). R_X86_64_PLT32 is taken from 4.16 on, R_RISCV_32_PCREL from 6.7 on; arm64 kernels with CONFIG_ARM64_ERRATUM_843419 once took no R_AARCH64_ADR_PREL_PG_HI21."},
		{Code: RelocForm, Severity: Error, Errno: ENOEXEC, Stage: "apply_relocations", Step: "2.8", Source: "include/linux/moduleloader.h", Title: "relocations in a form that the machine does not have",
			Args: "module", Message: "the machine's loader takes relocations in the other form only (REL or RELA)", Dmesg: always("module %[1]s: REL relocation unsupported")},
		{Code: RelocNonZero, Severity: Error, Errno: ENOEXEC, Stage: "apply_relocations", Step: "2.8", Source: "arch/x86/kernel/module.c: __write_relocate_add", Title: "a place to be relocated is not zero (x86)",
			Args: "place, type, symbol", Message: "the place %[1]s of a relocation of type %[2]s (%[3]s) is not zero", Hint: "headers that do not match the kernel's .config, or a damaged file; " + Rebuild,
			Why: "x86 wants the bytes to be zero before it relocates. They are not when struct module has another layout (the kernel has filled a list head there already), when two relocations have one place, or when the module was linked twice."},
		{Code: RelocRange, Severity: Error, Errno: ENOEXEC, Stage: "apply_relocations", Step: "2.8", Source: "arch/*/kernel/module*.c: apply_relocate_add", Title: "a relocated value does not fit its field",
			Args: "text", Message: "%[1]s", Hint: "build with the kernel's own code model (kbuild)",
			Why: "The distance from the module to what it refers to is larger than the instruction can hold, or the code was compiled for another code model, or the section is not loaded at all."},
		{Code: RelocPlace, Severity: Error, Errno: ENOEXEC, Stage: "apply_relocations", Step: "2.8", Source: "arch/*/kernel/module*.c: apply_relocate_add", Title: "a relocation outside of its section",
			Args: "place", Message: "the relocation's place %[1]s does not lie inside its section", Hint: copyIt},
		{Code: RelocOther, Severity: Error, Errno: ENOEXEC, Stage: "apply_relocations", Step: "2.8", Source: "arch/*/kernel/module*.c: apply_relocate_add", Title: "a relocation that the loader refuses", Args: "text", Message: "%[1]s"},

		{Code: BTF, Severity: Error, Errno: EINVAL, Stage: "prepare_coming_module", Step: "k7", Source: "kernel/bpf/btf.c: btf_module_notify", Title: "the module's BTF is damaged",
			Args: "module, kernel's word, errno (negative)", Message: "the module's BTF is damaged: %[2]s",
			Dmesg: always("BPF: %[2]s\nfailed to validate module [%[1]s] BTF: %[3]d"),
			Hint:  "strip the section (objcopy -R .BTF), or build against the vmlinux of this kernel"},
		{Code: BTFBase, Severity: Error, Errno: EINVAL, Stage: "prepare_coming_module", Step: "k7", Source: "kernel/bpf/btf.c: btf_parse_module", Title: "the module's BTF was built against another vmlinux",
			Args:    "module, highest type it refers to, own types, base types it needs, the kernel's types",
			Message: "the BTF names types up to %[2]d, and has %[3]d of its own: its base had %[4]d types at least, this vmlinux has %[5]d: it was built against another vmlinux",
			Dmesg:   always("failed to validate module [%[1]s] BTF: -22"), Hint: "strip the section (objcopy -R .BTF), or build against the vmlinux of this kernel",
			Why: "Module BTF is split: it counts on from the types and strings of the vmlinux it was built with. What does not fit the kernel notices by names that are none and, from 5.19 on, " +
				"by a typedef or qualifier of a type that is not there; then it refuses the module, unless CONFIG_MODULE_ALLOW_BTF_MISMATCH is set. What else refers to missing types it lets pass."},
		{Code: Param, Severity: Error, Errno: EINVAL, Stage: "parse_args", Step: "k8", Source: "kernel/params.c: parse_args", Title: "a parameter's value is refused",
			Args: "text, module, value, parameter", Message: "%[1]s", Dmesg: always("%[2]s: `%[3]s' invalid for parameter `%[4]s'")},
		{Code: ParamUnknown, Severity: Warning, Stage: "parse_args", Step: "k8", Source: main("unknown_module_param_cb"), Title: "a parameter that the module does not have", Args: "module, parameter",
			Message: "the module has no parameter %[2]s: the kernel ignores it", Dmesg: always("%[1]s: unknown parameter '%[2]s' ignored")},
		{Code: SysfsName, Severity: Error, Errno: EINVAL, Stage: "mod_sysfs_setup", Step: "k9", Source: "kernel/module/sysfs.c: mod_sysfs_init", Title: "the name is taken in /sys/module",
			Args: "module", Message: "/sys/module/%[1]s exists already: the kernel or a built-in module has that name", Dmesg: always("%[1]s: module is already loaded")},
		{Code: SysfsSection, Severity: Error, Errno: EEXIST, Stage: "mod_sysfs_setup", Step: "k9", Source: "kernel/module/sysfs.c: add_sect_attrs", Title: "two loaded sections of one name",
			Args: "module, section", Message: "two loaded sections are named %[2]s", Dmesg: always("sysfs: cannot create duplicate filename '/module/%[1]s/sections/%[2]s'")},
		{Code: NameEmpty, Severity: Error, Errno: EINVAL, Stage: "mod_sysfs_setup", Step: "k9", Source: "lib/kobject.c: kobject_add_internal", Title: "the module has an empty name",
			Args: "none", Message: "the name in struct module is empty", Dmesg: always("kobject: (____ptrval____): attempted to be registered with empty name!")},
		{Code: Undefined, Severity: Error, Errno: ENOEXEC, Stage: "load_module", Source: main("load_module"), Title: "the kernel's behaviour is undefined", Args: "text",
			Message: "what the kernel does is undefined here: %[1]s", Hint: copyIt,
			Why: "The loader trusts the module in many places: it reads and writes where the file says. It may crash, corrupt memory, or load."},
	}
}
