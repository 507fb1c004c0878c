package report

import (
	"debug/elf"
	"fmt"
	"strings"

	kelf "kotool/internal/elf"
	"kotool/internal/render"
)

// Sections is the section table.
type Sections struct{ f *kelf.File }

// NewSections reports a file's section headers, index 0 included.
func NewSections(f *kelf.File) *Sections { return &Sections{f} }

// Schema implements Report.
func (*Sections) Schema() string { return "kotool.sections/1" }

// JSON implements Report.
func (r *Sections) JSON(j *render.JSON) {
	j.Key("sections")
	j.Arr()
	for i := range r.f.Sections {
		s := &r.f.Sections[i]
		j.Obj()
		j.KInt("index", int64(i))
		j.KStr("name", s.Name)
		j.KUint("type", uint64(s.Type))
		j.KStr("type_name", SectionType(r.f, s.Type))
		j.KHex("flags", uint64(s.Flags))
		j.KHex("addr", s.Addr)
		j.KUint("offset", s.Off)
		j.KUint("size", s.Size)
		j.KUint("link", uint64(s.Link))
		j.KUint("info", uint64(s.Info))
		j.KUint("align", s.Align)
		j.KUint("entsize", s.Entsize)
		j.KStr("flags_text", FlagLetters(r.f, s.Flags))
		j.KStrOrNull("holds", Holds(r.f, s))
		j.End()
		if !j.Spill() {
			return
		}
	}
	j.EndArr()
}

// Tables implements Report.
func (r *Sections) Tables() []*render.Table {
	return []*render.Table{{
		N: len(r.f.Sections),
		Columns: []render.Column{{Name: "Nr", Right: true}, {Name: "Name", Role: render.RoleName}, {Name: "Type"}, {Name: "Addr", Right: true},
			{Name: "Off", Right: true}, {Name: "Size", Right: true}, {Name: "ES", Right: true}, {Name: "Flg"}, {Name: "Lk", Right: true},
			{Name: "Inf", Right: true}, {Name: "Al", Right: true}, {Name: "Holds", Role: render.RoleDim, Cut: true}},
		Rows: func(row *render.Row) {
			for i := range r.f.Sections {
				s := &r.f.Sections[i]
				row.Int(int64(i))
				row.TextStr(s.Name)
				row.Str(SectionType(r.f, s.Type))
				row.Hex(s.Addr, 1)
				row.Hex(s.Off, 1)
				row.Hex(s.Size, 1)
				row.Uint(s.Entsize)
				row.Str(FlagLetters(r.f, s.Flags))
				row.Uint(uint64(s.Link))
				row.Uint(uint64(s.Info))
				row.Uint(s.Align)
				row.Str(Holds(r.f, s))
				if !row.Next() {
					return
				}
			}
		},
	}}
}

// FlagLetters spells section flags as readelf does.
func FlagLetters(f *kelf.File, flags elf.SectionFlag) string {
	var b [32]byte
	dst := b[:0]
	add := func(bit elf.SectionFlag, c byte) {
		if flags&bit != 0 {
			dst = append(dst, c)
			flags &^= bit
		}
	}
	add(elf.SHF_WRITE, 'W')
	add(elf.SHF_ALLOC, 'A')
	add(elf.SHF_EXECINSTR, 'X')
	add(elf.SHF_MERGE, 'M')
	add(elf.SHF_STRINGS, 'S')
	add(elf.SHF_INFO_LINK, 'I')
	add(elf.SHF_LINK_ORDER, 'L')
	add(elf.SHF_OS_NONCONFORMING, 'O')
	add(elf.SHF_GROUP, 'G')
	add(elf.SHF_TLS, 'T')
	add(elf.SHF_COMPRESSED, 'C')
	add(0x01000000, 'D') // SHF_GNU_MBIND
	add(0x00200000, 'R') // SHF_GNU_RETAIN
	switch f.Header.Machine {
	case elf.EM_X86_64:
		add(0x10000000, 'l') // SHF_X86_64_LARGE
	case elf.EM_ARM:
		add(0x20000000, 'y') // SHF_ARM_PURECODE
	case elf.EM_PPC:
		add(0x10000000, 'v') // SHF_PPC_VLE
	}
	add(0x80000000, 'E') // SHF_EXCLUDE
	if flags&elf.SHF_MASKOS != 0 {
		dst = append(dst, 'o')
		flags &^= elf.SHF_MASKOS
	}
	if flags&elf.SHF_MASKPROC != 0 {
		dst = append(dst, 'p')
		flags &^= elf.SHF_MASKPROC
	}
	if flags != 0 {
		dst = append(dst, 'x')
	}
	return string(dst)
}

// SectionType is the standard name of a section type, without the prefix SHT_; the number where there is none.
func SectionType(f *kelf.File, t elf.SectionType) string {
	switch t {
	case elf.SHT_NULL:
		return "NULL"
	case elf.SHT_PROGBITS:
		return "PROGBITS"
	case elf.SHT_SYMTAB:
		return "SYMTAB"
	case elf.SHT_STRTAB:
		return "STRTAB"
	case elf.SHT_RELA:
		return "RELA"
	case elf.SHT_REL:
		return "REL"
	case elf.SHT_NOBITS:
		return "NOBITS"
	case elf.SHT_NOTE:
		return "NOTE"
	case elf.SHT_HASH:
		return "HASH"
	case elf.SHT_DYNAMIC:
		return "DYNAMIC"
	case elf.SHT_SHLIB:
		return "SHLIB"
	case elf.SHT_DYNSYM:
		return "DYNSYM"
	case elf.SHT_INIT_ARRAY:
		return "INIT_ARRAY"
	case elf.SHT_FINI_ARRAY:
		return "FINI_ARRAY"
	case elf.SHT_PREINIT_ARRAY:
		return "PREINIT_ARRAY"
	case elf.SHT_GROUP:
		return "GROUP"
	case elf.SHT_SYMTAB_SHNDX:
		return "SYMTAB SECTION INDICES"
	case 19:
		return "RELR"
	case elf.SHT_GNU_ATTRIBUTES:
		return "GNU_ATTRIBUTES"
	case elf.SHT_GNU_HASH:
		return "GNU_HASH"
	case elf.SHT_GNU_LIBLIST:
		return "GNU_LIBLIST"
	case elf.SHT_GNU_VERDEF:
		return "VERDEF"
	case elf.SHT_GNU_VERNEED:
		return "VERNEED"
	case elf.SHT_GNU_VERSYM:
		return "VERSYM"
	}
	if name := procSectionType(f.Header.Machine, t); name != "" {
		return name
	}
	switch {
	case t >= elf.SHT_LOPROC && t <= elf.SHT_HIPROC:
		return fmt.Sprintf("LOPROC+%#x", uint32(t-elf.SHT_LOPROC))
	case t >= elf.SHT_LOOS && t <= elf.SHT_HIOS:
		return fmt.Sprintf("LOOS+%#x", uint32(t-elf.SHT_LOOS))
	case t >= elf.SHT_LOUSER && t <= elf.SHT_HIUSER:
		return fmt.Sprintf("LOUSER+%#x", uint32(t-elf.SHT_LOUSER))
	}
	return fmt.Sprintf("%#x", uint32(t))
}

// procSectionType names the section types that belong to one machine.
func procSectionType(m elf.Machine, t elf.SectionType) string {
	switch {
	case m == elf.EM_X86_64 && t == 0x70000001:
		return "X86_64_UNWIND"
	case m == elf.EM_ARM:
		switch t {
		case 0x70000001:
			return "ARM_EXIDX"
		case 0x70000002:
			return "ARM_PREEMPTMAP"
		case 0x70000003:
			return "ARM_ATTRIBUTES"
		}
	case m == elf.EM_AARCH64 && t == 0x70000003:
		return "AARCH64_ATTRIBUTES"
	case m == elf.EM_RISCV && t == 0x70000003:
		return "RISCV_ATTRIBUTES"
	case m == elf.EM_MIPS:
		switch t {
		case 0x70000005:
			return "MIPS_DEBUG"
		case 0x70000006:
			return "MIPS_REGINFO"
		case 0x7000000d:
			return "MIPS_OPTIONS"
		case 0x7000001e:
			return "MIPS_DWARF"
		case 0x7000002a:
			return "MIPS_ABIFLAGS"
		}
	}
	return ""
}

// holdings says what the kernel keeps in sections of these names. Patterns end in * for any rest.
var holdings = [...]struct{ name, holds string }{
	{".text", "code"},
	{".text.unlikely", "code that seldom runs"},
	{".text.ftrace_trampoline", "room for ftrace's trampoline"},
	{".init.text.ftrace_trampoline", "room for ftrace's trampoline"},
	{".init.text", "code, freed after init"},
	{".exit.text", "code for unloading"},
	{".init.data", "data, freed after init"},
	{".init.rodata", "constants, freed after init"},
	{".exit.data", "data for unloading"},
	{".init.plt", "PLT entries of init code"},
	{".plt", "PLT entries (veneers)"},
	{".plt.idx", "PLT index"},
	{".got", "global offset table"},
	{".got.plt", "global offset table"},
	{".stubs", "call stubs (ppc64)"},
	{".toc", "table of contents (ppc64)"},
	{".data", "variables"},
	{".bss", "zeroed variables"},
	{".sbss", "zeroed small variables"},
	{".rodata*", "constants"},
	{".data..percpu", "per-CPU variables"},
	{".data..ro_after_init", "variables, read-only after init"},
	{".data..read_mostly", "variables that are seldom written"},
	{".data..cacheline_aligned", "variables on their own cache lines"},
	{".data..once", "once-only flags"},
	{".data.once", "once-only flags"},
	{".modinfo", "key=value strings"},
	{".gnu.linkonce.this_module", "struct module"},
	{"__versions", "CRCs of imported symbols"},
	{"__version_ext_crcs", "CRCs of imported symbols, extended"},
	{"__version_ext_names", "names of imported symbols, extended"},
	{"__ksymtab", "exports"},
	{"__ksymtab_gpl", "GPL-only exports"},
	{"__ksymtab_gpl_future", "exports, GPL-only in future"},
	{"__ksymtab_unused", "exports that nobody uses"},
	{"__ksymtab_unused_gpl", "GPL-only exports that nobody uses"},
	{"__ksymtab_strings", "names and namespaces of exports"},
	{"__kflagstab", "flags of exports"},
	{"__kcrctab*", "CRCs of exports"},
	{"__param", "parameters"},
	{"__modver", "MODULE_VERSION attributes"},
	{"__ex_table", "exception table"},
	{"__extable", "exception table"},
	{"__bug_table", "places of BUG and WARN"},
	{"__mcount_loc", "places that ftrace patches"},
	{"__patchable_function_entries", "places that ftrace patches"},
	{"__jump_table", "static keys' branches"},
	{"__dyndbg", "dynamic debug messages"},
	{"__dyndbg_classes", "dynamic debug classes"},
	{"__tracepoints", "tracepoints"},
	{"__tracepoints_ptrs", "tracepoints"},
	{"__tracepoints_strings", "names of tracepoints"},
	{"__bpf_raw_tp_map", "raw tracepoints for BPF"},
	{"_ftrace_events", "trace events"},
	{"_ftrace_eval_map", "enum names of trace events"},
	{".static_call_sites", "static call sites"},
	{".static_call.text", "static call trampolines"},
	{".altinstructions", "alternatives by CPU feature"},
	{".altinstr_replacement", "alternatives' code"},
	{".alternative", "alternatives by CPU feature"},
	{".parainstructions", "paravirt call sites"},
	{".retpoline_sites", "indirect branches"},
	{".return_sites", "return instructions"},
	{".call_sites", "call instructions"},
	{".ibt_endbr_seal", "endbr instructions to seal"},
	{".smp_locks", "lock prefixes"},
	{".orc_unwind", "stack unwinding (ORC)"},
	{".orc_unwind_ip", "stack unwinding (ORC)"},
	{".orc_header", "stack unwinding (ORC)"},
	{".ARM.exidx*", "stack unwinding"},
	{".ARM.extab*", "stack unwinding"},
	{".pv_table", "physical/virtual patch places"},
	{".alt.smp.init", "SMP alternatives"},
	{".BTF", "type information"},
	{".BTF.base", "type information of the base"},
	{".BTF_ids", "ids for BTF"},
	{".note.gnu.build-id", "build id"},
	{".note.Linux", "Linux notes"},
	{".note.gnu.property", "features of the code"},
	{".note.GNU-stack", "no executable stack"},
	{".symtab", "symbols"},
	{".strtab", "names of symbols"},
	{".shstrtab", "names of sections"},
	{".comment", "compiler"},
	{".ctors", "constructors"},
	{".init_array", "constructors"},
	{".codetag*", "allocation tags"},
	{"alloc_tags", "allocation tags"},
	{".klp.rela.*", "relocations of live patches"},
	{".gnu_debuglink", "name of the debug file"},
	{".debug_*", "debug information"},
	{".noinstr.text", "code that must not be traced"},
	{"__kprobe_blacklist", "functions that kprobes must leave alone"},
	{"_error_injection_whitelist", "functions that may be made to fail"},
	{"__obsparm", "obsolete parameters"},
	{"___srcu_struct_ptrs", "SRCU structures"},
}

// Holds says in a few words what the kernel keeps in a section; "" for one that it does not know.
func Holds(f *kelf.File, s *kelf.Section) string {
	if s.Type == elf.SHT_REL || s.Type == elf.SHT_RELA {
		if uint64(s.Info) < uint64(len(f.Sections)) && s.Info != 0 {
			return "relocations of section " + fmt.Sprint(s.Info)
		}
		return "relocations"
	}
	for i := range holdings {
		h := &holdings[i]
		if h.name == s.Name {
			return h.holds
		}
		if p, ok := strings.CutSuffix(h.name, "*"); ok && strings.HasPrefix(s.Name, p) {
			return h.holds
		}
	}
	return ""
}
