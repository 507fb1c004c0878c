package reloc

import (
	"debug/elf"

	"kotool/internal/kver"
)

// Traits are the facts about the target kernel that decide how it relocates. DefaultTraits has those of a version's usual
// configuration; who knows more (a .config, the CPU) changes them before Begin.
type Traits struct {
	SortPairs bool // sort() takes two elements at once: see kernelSort
	X86       X86Traits
	ARM64     ARM64Traits
	ARM       ARMTraits
	RISCV     RISCVTraits
	PPC64     PPC64Traits
	S390      S390Traits
	LoongArch LoongArchTraits
	PPC32     PPC32Traits
}

// X86Traits are the traits of x86-64.
type X86Traits struct {
	// Text is the form of the messages: 0 up to 6.1 ("Skipping invalid relocation target"), 1 in
	// 6.12 ("Invalid relocation target"), 2 in 7.2 (with section, index and the real address).
	Text uint8
}

// ARM64Traits are the traits of arm64.
type ARM64Traits struct {
	// PLT says that branches out of reach go through a PLT entry (up to 6.1 CONFIG_ARM64_MODULE_PLTS, later always).
	PLT bool
	// CountBranches says that PLT entries of branches are counted, and relocations sorted (up to 6.1 only with CONFIG_RANDOMIZE_BASE).
	CountBranches bool
	// Erratum843419 says that ADRP at the end of a page is replaced: CONFIG_ARM64_ERRATUM_843419, and the CPU has it.
	Erratum843419 bool
	// Prefix is the log prefix, "Modules: " in 6.12 and later.
	Prefix string
	// FtracePLTs is the number of entries in a .text.ftrace_trampoline section: 1, up to 6.1 2; 0 without CONFIG_DYNAMIC_FTRACE.
	FtracePLTs int
	// InitTrampoline says that .init.text.ftrace_trampoline has entries too (6.12).
	InitTrampoline bool
}

// ARMTraits are the traits of arm (32 bits).
type ARMTraits struct {
	PLT       bool   // CONFIG_ARM_MODULE_PLTS
	L1Bytes   uint32 // L1_CACHE_BYTES: 64 for a kernel of many ARMv7 machines, else 32
	Fixed     bool   // CONFIG_DYNAMIC_FTRACE: two slots for ftrace at the start of each table (5.13)
	Thumb2    bool   // CONFIG_THUMB2_KERNEL
	PREL      bool   // REL32, MOVW_PREL and the group relocations are taken (6.1)
	BE8       bool   // code is little-endian in a big-endian kernel (CONFIG_CPU_ENDIAN_BE8)
	ExidxText bool   // exception tables are text (7.2 with CONFIG_ARM_UNWIND and not VMSPLIT_3G)
}

// RISCVTraits are the traits of riscv.
type RISCVTraits struct {
	Sections     bool // CONFIG_MODULE_SECTIONS: PLT and GOT
	PLTPerModule bool // slots are counted over the whole module (7.2), not by relocation section
	Accumulate   bool // ADD, SUB and SET are summed before they are stored, and more types exist (6.7)
	MedLow       bool // CONFIG_CMODEL_MEDLOW: HI20 is refused
}

// PPC64Traits are the traits of ppc64.
type PPC64Traits struct {
	ELFv1         bool   // a kernel of the first ABI: big-endian, not CONFIG_PPC64_BIG_ENDIAN_ELF_ABI_V2
	PCREL         bool   // CONFIG_PPC_KERNEL_PCREL: not modelled
	Terminator    bool   // stub counts have a terminator (6.12 and before)
	Ftrace        bool   // CONFIG_DYNAMIC_FTRACE
	FtraceRegs    bool   // CONFIG_DYNAMIC_FTRACE_WITH_REGS
	KernelStubs   bool   // calls of ftrace use the kernel's TOC (CONFIG_MPROFILE_KERNEL or patchable entries)
	PacaTOC       uint16 // offset of kernel_toc in the paca, bytes
	OutOfLine     bool   // CONFIG_PPC_FTRACE_OUT_OF_LINE (6.13)
	OutOfLineSize uint64 // bytes of an out-of-line stub: 16, with CONFIG_DYNAMIC_FTRACE_WITH_CALL_OPS 24
}

// S390Traits are the traits of s390.
type S390Traits struct {
	// Expoline says that PLT slots branch through a thunk (CONFIG_EXPOLINE, and not switched off by nospec).
	Expoline bool
	// EXRL says that the thunk is made of an EXRL (facility 35).
	EXRL bool
}

// LoongArchTraits are the traits of loongarch.
type LoongArchTraits struct {
	Sort       bool // relocations of code are sorted in place (6.12)
	PCREL      bool // 32_PCREL and 64_PCREL are taken (6.12)
	PCADD      bool // PCADD and GOT_PCADD are taken (7.2)
	NoPCALA    bool // B26, PCALA and GOT_PC are not taken (before 6.1)
	FtracePLTs int  // entries in .ftrace_trampoline
}

// PPC32Traits are the traits of ppc (32 bits).
type PPC32Traits struct {
	Ftrace bool // CONFIG_DYNAMIC_FTRACE
}

// change is one row of history: in the kernels of In, on that machine, Set holds.
type change struct {
	// m is EM_NONE for every machine.
	m   elf.Machine
	in  kver.Range
	set func(*Traits)
}

// history has the traits by version, of the configurations that distributions use. Ends between two trees that were read are
// placed at the later one.
var history = [...]change{
	{elf.EM_NONE, kver.Since(6, 11), func(t *Traits) { t.SortPairs = true }},

	{elf.EM_X86_64, kver.Since(6, 12), func(t *Traits) { t.X86.Text = 1 }},
	{elf.EM_X86_64, kver.Since(7, 2), func(t *Traits) { t.X86.Text = 2 }},

	{elf.EM_AARCH64, kver.All, func(t *Traits) {
		t.ARM64 = ARM64Traits{PLT: true, CountBranches: true, FtracePLTs: 1}
	}},
	{elf.EM_AARCH64, kver.Until(6, 2), func(t *Traits) { t.ARM64.FtracePLTs = 2 }},
	{elf.EM_AARCH64, kver.Since(6, 12), func(t *Traits) { t.ARM64.Prefix, t.ARM64.InitTrampoline = "Modules: ", true }},

	{elf.EM_ARM, kver.All, func(t *Traits) { t.ARM = ARMTraits{PLT: true, L1Bytes: 64} }},
	{elf.EM_ARM, kver.Since(5, 13), func(t *Traits) { t.ARM.Fixed = true }},
	{elf.EM_ARM, kver.Since(6, 1), func(t *Traits) { t.ARM.PREL = true }},

	{elf.EM_RISCV, kver.Until(6, 7), func(t *Traits) { t.RISCV.Sections = true }},
	{elf.EM_RISCV, kver.Since(6, 7), func(t *Traits) { t.RISCV.Accumulate = true }},
	{elf.EM_RISCV, kver.Since(7, 2), func(t *Traits) { t.RISCV.PLTPerModule = true }},

	{elf.EM_PPC64, kver.All, func(t *Traits) {
		t.PPC64 = PPC64Traits{Ftrace: true, FtraceRegs: true, KernelStubs: true, PacaTOC: 16}
	}},
	{elf.EM_PPC64, kver.Until(7, 0), func(t *Traits) { t.PPC64.Terminator = true }},
	{elf.EM_PPC64, kver.Since(6, 13), func(t *Traits) { t.PPC64.OutOfLine, t.PPC64.OutOfLineSize = true, 24 }},

	{elf.EM_S390, kver.All, func(t *Traits) { t.S390.EXRL = true }},

	{elf.EM_LOONGARCH, kver.All, func(t *Traits) { t.LoongArch.FtracePLTs = 2 }},
	{elf.EM_LOONGARCH, kver.Until(6, 1), func(t *Traits) { t.LoongArch.NoPCALA = true }},
	{elf.EM_LOONGARCH, kver.Since(6, 12), func(t *Traits) { t.LoongArch.Sort, t.LoongArch.PCREL = true, true }},
	{elf.EM_LOONGARCH, kver.Since(7, 2), func(t *Traits) { t.LoongArch.PCADD = true }},

	{elf.EM_PPC, kver.All, func(t *Traits) { t.PPC32.Ftrace = true }},
}

// DefaultTraits are the traits of a kernel version, in the configuration that distributions use. The zero version is the newest.
func DefaultTraits(m elf.Machine, v kver.Version) Traits {
	if m == em390Old {
		m = elf.EM_S390
	}
	var t Traits
	for i := range history {
		c := &history[i]
		if (c.m == m || c.m == elf.EM_NONE) && c.in.Holds(v) {
			c.set(&t)
		}
	}
	return t
}
