package diag

import "slices"

// The usual causes, and what to do, of rows that are not prose themselves. init puts them into the catalogue.
const (
	whyDamaged = "The file was cut short by a full disk or a broken download, or overwritten by a tool that edits ELF files; or it is no module at all."
	whyTable   = "A tool that edits ELF files (strip, objcopy, a packer) left it in disorder, or the file is damaged. The kernel reads what it can and does not complain."
	whyTaint   = "It is a note, not the reason why a module fails: the kernel goes on. Bug reports to the kernel's maintainers may be refused with it."
	whyEdited  = "No compiler or linker writes this: the file was edited by hand or by a tool, or it is damaged."
	whyParam   = "Numbers are decimal, 0x… or 0…; booleans y, n, 1, 0, on, off; lists are parted by commas without blanks. The line shows the value as the kernel read it, of a list the first element. "
)

var prose = []struct {
	code      Code
	why, hint string
}{
	{DamagedELF, whyDamaged, ""},
	{DamagedSection, whyDamaged, ""},
	{DamagedSymtab, whyDamaged, copyIt},
	{DamagedRelocs, whyDamaged, copyIt},
	{DamagedModinfo, whyTable, copyIt},
	{DamagedVersions, whyTable, copyIt},
	{DamagedExports, whyTable, copyIt},
	{DamagedParams, whyTable, copyIt},
	{DamagedModule, whyTable, copyIt},
	{DamagedSignature, "The file was cut inside its signature, or something was appended or patched after signing.", "cut the signature off (strip does) and sign again"},
	{NotModule, "It is not ELF at all: compressed, a text, a page that a download brought in its place, or empty. Before 5.15 the kernel says no more than this of any damaged file.", ""},

	{SymWeak, "Weak references are made to be missing: the code asks at run time whether the symbol is there.", ""},
	{SymNoCRC, "The module was built without the Module.symvers of what exports the symbol, so that modpost had no CRC to write down. " +
		"Kernels of kernel.org have only warned since 4.9; Debian's refuse.", ""},
	{SymGPL, "The module's license tag is not one of: GPL, GPL v2, GPL and additional rights, Dual BSD/GPL, Dual MIT/GPL, Dual MPL/GPL (exact words, the first tag counts; no tag is proprietary too). " +
		"To such a module the kernel does not show symbols that were exported by EXPORT_SYMBOL_GPL: the log says the same as of a symbol that is not there. " +
		"It often appears with a debug kernel only, whose inline functions call GPL-only helpers.", ""},
	{LayoutCRC, "It is the first comparison of all, before the version magic, so that a module for any other kernel fails here. Where the release is the same, the build is not: " +
		"a Module.symvers of another build, another .config, another compiler.", ""},
	{LayoutNoCRC, "The module was built in a tree without a Module.symvers (modules_prepare alone makes none). Kernels of kernel.org have only warned since 4.9; Debian's refuse.", ""},
	{NoVersions, "The module was built against a tree without CONFIG_MODVERSIONS, or one that was never built in full. Only a kernel with CONFIG_MODULE_FORCE_LOAD takes it, with taint F.", ""},
	{Namespace, "The module uses symbols of a namespace that its source does not name. Its own subsystem's headers usually say which. From 6.13 on the name stands in quotes. " +
		"Namespaces that begin with module: are for the modules that they name, and cannot be imported. With CONFIG_MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS it is a warning only.", ""},
	{DupExport, "The driver is built into the kernel, or another build of it is loaded under another name, and exports the same names.", ""},

	{Flags, "The program that loads the module is newer than the kernel: flag 4 (a compressed file) is known from 5.17 on.", "use a kmod that suits the kernel, or load the plain file"},
	{Empty, "A full disk, or a build that was interrupted.", ""},
	{CompressOff, "The kernel was built without CONFIG_MODULE_DECOMPRESS, and was handed a compressed file all the same. kmod looks at /sys/module/compression before it does that.", ""},
	{CompressMagic, "The kernel's own decompressor knows one format, the one that its modules are compressed with (/sys/module/compression). kmod decompresses the others itself.",
		"load it with kmod's modprobe or insmod, or decompress it first"},
	{SigCrypto, "The signature uses a digest or a public-key algorithm that is not built into this kernel, or is of a kind from before 4.3. From 7.0 on kernels do not sign with SHA-1 any more.", ""},
	{SigMalformed, "The file was patched or cut after signing, or signed by a tool for something else.", ""},
	{SigPlace, "Something was appended after signing. The kernel looks for the magic at the very end only.", ""},
	{TaintUnsigned, "People take this line for the reason, because it is the first of a failed load. It is not: signatures are not enforced, and the kernel goes on. The reason stands below. " +
		"It is logged once a boot.", ""},

	{ELFLen, whyDamaged, ""},
	{ELFMagic, "Mostly a compressed file that was handed to the kernel as it is (busybox insmod, a kmod without that compression), or a page that a download brought in place of the file.",
		"decompress the file, or load it with a kmod that knows the compression; file NAME says what it is"},
	{ELFType, "It is a program, a shared library or a core, or ld was told to link the module completely. Modules are linked with ld -r.", ""},
	{ELFArch, "The module was built for another machine: for the one that it was built on and not for the board, or for 64 bits and not for 32.", ""},
	{ELFModArch, "Big-endian ppc64 kernels come with both ABIs; the module was built with the other -mabi=elfv1 or elfv2.", "build it with the kernel's own flags (kbuild)"},
	{ELFShentsize, whyEdited, ""},
	{ELFShtable, "The section headers are at the end of the file: this is what a file that was cut short looks like.", ""},
	{ELFSection0, whyEdited, ""},
	{ELFBounds, whyDamaged, ""},
	{ELFShstrndx, whyEdited, ""},
	{ELFShstrtab, whyEdited, ""},
	{ELFShstrType, whyEdited, ""},
	{ELFShstrEmpty, whyEdited, ""},
	{ELFShstrNUL, whyEdited, ""},
	{ELFShname, whyEdited, ""},
	{ModinfoTwice, "Objects were linked without the kernel's module linker script, which joins the sections of one name.", "build it with kbuild"},
	{StructNone, "The object was not finished by modpost: NAME.o was loaded in place of NAME.ko, or it was linked by hand without NAME.mod.o.", "load the .ko that kbuild makes"},
	{StructCount, "Two finished modules were linked into one, or the object was not finished by modpost.", "load the .ko that kbuild makes"},
	{StructNobits, whyEdited, ""},
	{StructAlloc, whyEdited, ""},
	{Stripped, "strip -s, strip without options, or sstrip took .symtab away, which the loader needs. strip --strip-debug is the furthest one may go.",
		"build or copy the module again, and strip it with --strip-debug (or --strip-unneeded) only"},
	{SymtabLink, whyEdited, ""},
	{StrtabType, whyEdited, ""},
	{VersionsExt, whyEdited, Rebuild},
	{VersionsNames, whyEdited, Rebuild},
	{StrtabEmpty, whyEdited, ""},
	{StrtabLead, whyEdited, ""},
	{StrtabNUL, whyEdited, ""},
	{SymName, whyEdited, ""},

	{Blacklisted, "The boot command line has module_blacklist= with the module's name. That is the kernel's own list, which modprobe.d has no influence on.", "take the name out of module_blacklist= and boot again"},
	{VermagicMissing, "modpost did not finish the module, or modprobe --force-vermagic took the string out. Only a kernel with CONFIG_MODULE_FORCE_LOAD takes it, with taint F.", ""},
	{Livepatch, "kpatch or another tool built it for a kernel with CONFIG_LIVEPATCH.", "use a kernel with CONFIG_LIVEPATCH"},
	{Loaded, "It was loaded before, by hand, at boot or from the initramfs. The kernel logs nothing about it.", ""},
	{Builtin, "The option is =y in this kernel, and a file of another build lies around.", ""},

	{TaintLicense, whyTaint + " The kernel hides GPL-only symbols from the module, though: see KT-SYM-GPL.", ""},
	{TaintOOT, whyTaint, ""},
	{TaintStaging, whyTaint, ""},
	{TaintTest, whyTaint, ""},
	{TaintLivepatch, whyTaint, ""},
	{TaintForced, "Somebody asked for it (modprobe --force, --force-vermagic, --force-modversion), or the module lacks what is compared and the kernel has CONFIG_MODULE_FORCE_LOAD. " +
		"The check that was passed over was there for a reason: the module may crash the kernel.", Rebuild},
	{TaintLegacy, whyTaint, ""},
	{TaintParam, whyTaint, ""},
	{Retpoline, "The compiler or its flags were not the kernel's. The kernel goes on; the module's indirect branches are open to Spectre v2.", ""},

	{ArchSections, "The module was linked without the kernel's module linker script, or built by headers of a kernel that needed no such section.", ""},
	{WriteExec, "Assembly code opened a section with the flags \"awx\", or a tool set the flags. Kernels with CONFIG_STRICT_MODULE_RWX take no such section.", ""},
	{Memory, "The area for modules is limited, and all modules share it: a huge .bss, or a very large module on a machine with a small area (arm), does not fit.", "make the static data smaller, or allocate it at run time"},
	{Percpu, "All modules together share a small reserve for static per-CPU variables.", ""},
	{PercpuAlign, "The kernel aligns per-CPU data to a page at most.", "ask for no more than a page"},
	{Ctors, "Objects of two compilers, or of two settings of one, were linked together (gcov, KASAN).", "build all of it with one compiler"},
	{ObsParm, "MODULE_PARM is of 2.4: the kernel does not see these parameters.", "use module_param"},
	{ObsGPL, "Headers from before 7.1 built it: its GPL-only exports are not seen by this kernel.", ""},
	{ExportNoCRC, "Only a kernel with CONFIG_MODULE_FORCE_LOAD takes it, with taint F.", ""},
	{NSModule, "Symbols exported by EXPORT_SYMBOL_FOR_MODULES are for the modules named there; MODULE_IMPORT_NS cannot open them.", "take MODULE_IMPORT_NS of that namespace out: a module named in it needs none"},

	{SymCommon, "GCC before 10 puts uninitialised globals into common blocks unless told otherwise; kbuild does that.", ""},
	{SymIndex, whyEdited, ""},
	{SymTaint, "A module that takes symbols of a proprietary one becomes proprietary, and must not use GPL-only symbols besides. From 5.9 on the kernel enforces that.", "the module has to do without one of the two"},
	{SymInherit, "From 5.9 on a module that uses a proprietary one is taken for proprietary itself.", ""},

	{RelocForm, "Each machine's loader knows one form, with addends (RELA) or without (REL). The kernel's line says REL for either.", "build it with the kernel's own toolchain and flags (kbuild)"},
	{RelocPlace, whyEdited, ""},
	{RelocOther, "Mostly objects of another code model, or assembly that the machine's loader has no answer for.", "build it with the kernel's own flags (kbuild)"},

	{BTF, "The .BTF section was damaged or cut by a tool; or the module was built against another vmlinux, in whose strings its names lie elsewhere, which shows as an invalid name. Where CONFIG_MODULE_ALLOW_BTF_MISMATCH is set the kernel says so and goes on.", ""},
	{Param, whyParam + "Besides EINVAL the answer may be ERANGE (a number too large) or ENOSPC (a text too long).", "see kotool params FILE for the types; options stand in /etc/modprobe.d and on the kernel's command line too"},
	{ParamUnknown, "A misspelt name, or one that another version of the module has. It comes from the command line, from /etc/modprobe.d, or as NAME.parameter= from the kernel's own. " +
		"From 3.12 on the kernel ignores it; before, it refused the module with ENOENT.", "see kotool params FILE for the names"},
	{SysfsName, "The driver is built into this kernel, or another one of that name is; built-in drivers with parameters have a directory there too.", "the file is not needed, or needs another name"},
	{SysfsSection, "Objects were linked without the kernel's module linker script, which joins the sections of one name. Kernels up to 6.1 log it and go on.", "build it with kbuild"},
	{NameEmpty, whyEdited, ""},
}

// explained gives rows their causes and hints, where they have none of their own.
func explained(list []Entry) []Entry {
	for i := range prose {
		p := &prose[i]
		k := slices.IndexFunc(list, func(e Entry) bool { return e.Code == p.code })
		if k < 0 {
			panic("diag: prose of " + string(p.code) + ", which is in no catalogue")
		}
		e := &list[k]
		if e.Why == "" {
			e.Why = p.why
		}
		if e.Hint == "" {
			e.Hint = p.hint
		}
	}
	return list
}
