package compat

import (
	stdelf "debug/elf"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kotool/internal/arch"
	"kotool/internal/diag"
	"kotool/internal/elf"
	"kotool/internal/elftest"
	"kotool/internal/kver"
)

// eras are kernels whose load_module differ.
var eras = []kver.Version{kver.V(5, 10), kver.V(6, 1), kver.V(6, 12), kver.V(7, 2)}

// kernel is a target of a version that compares no CRCs and wants nothing that a module of elftest lacks.
func kernel(v kver.Version) *Target {
	return &Target{Version: v, Live: map[string]Export{}, LiveModules: map[string]*LiveModule{}}
}

// config makes a target answer for options: "A=y B=n".
func config(t *Target, options string) *Target {
	values := map[string]string{}
	for f := range strings.FieldsSeq(options) {
		k, v, _ := strings.Cut(f, "=")
		values[k] = v
	}
	t.Config = func(name string) (string, bool) { v, ok := values[name]; return v, ok }
	return t
}

// verdict is the code that ends the load, or that would by what is assumed; "" where the stages let the module through.
func verdict(t *testing.T, tg *Target, b []byte) (code diag.Code, part Part) {
	t.Helper()
	l := NewLoad(tg, elf.Mem(b), 0)
	for _, run := range []func() (Part, error){l.Before, l.After} {
		p, err := run()
		if err != nil {
			t.Fatal(err)
		}
		if p.Errno != 0 || p.Doubt {
			for i := range p.Findings {
				if f := &p.Findings[i]; f.Severity == diag.Error && (p.Errno == 0 || f.Step == p.Step) {
					return f.Code, p
				}
			}
			t.Fatalf("errno %v without a finding", p.Errno)
		}
		if p.Undefined != nil {
			return diag.Undefined, p
		}
		if !l.Whole() {
			break
		}
		if part = p; run == nil {
			break
		}
	}
	return "", part
}

func sample() *elftest.Builder { return elftest.Module(elftest.AMD64, "sample") }

// on edits the finished bytes.
func on(edit func(o *elftest.Object)) func(*elftest.Builder) {
	return func(b *elftest.Builder) {
		b.Edit = func(f []byte) []byte {
			o := elftest.Edit(f)
			edit(o)
			return o.B
		}
	}
}

// header edits the header of section name.
func header(name string, edit func(o *elftest.Object, h []byte)) func(*elftest.Builder) {
	return func(b *elftest.Builder) {
		b.Edit = func(f []byte) []byte {
			o := elftest.Edit(f)
			at := int(b.Order().Uint64(o.B[40:])) + 64*o.Find(name)
			edit(o, o.B[at:at+64])
			return o.B
		}
	}
}

func put16(at int, v uint16) func(*elftest.Builder) {
	return func(b *elftest.Builder) {
		b.Edit = func(f []byte) []byte { b.Order().PutUint16(f[at:], v); return f }
	}
}

// codes are what the eras say, in their order.
type codes [4]diag.Code

func all(c diag.Code) codes { return codes{c, c, c, c} }

func TestValidityByEra(t *testing.T) {
	le := elftest.For(elftest.AMD64).Order()
	for _, c := range []struct {
		name  string
		spoil func(*elftest.Builder)
		want  codes
	}{
		{"untouched", func(*elftest.Builder) {}, codes{}},
		{"shorter than a header", func(b *elftest.Builder) { b.Edit = elftest.Cut(40) }, all(diag.ELFLen)},
		{"no magic", func(b *elftest.Builder) { b.Edit = func(f []byte) []byte { f[1] = 'X'; return f } }, all(diag.ELFMagic)},
		{"an executable", put16(16, 2), all(diag.ELFType)},
		{"of arm64", put16(18, uint16(stdelf.EM_AARCH64)), all(diag.ELFArch)},
		{"section headers of another size", put16(58, 56), all(diag.ELFShentsize)},
		{"more section headers than the file has", put16(60, 5000), all(diag.ELFShtable)},
		{"no name table", put16(62, 0), all(diag.ELFShstrndx)},
		{"a name table past the sections", put16(62, 400), all(diag.ELFShstrndx)},
		{"the name table is no string table", header(".shstrtab", func(o *elftest.Object, h []byte) { le.PutUint32(h[4:], uint32(stdelf.SHT_PROGBITS)) }),
			codes{3: diag.ELFShstrType}},
		{"the name table does not end in NUL", header(".shstrtab", func(o *elftest.Object, h []byte) { le.PutUint64(h[32:], le.Uint64(h[32:])-1) }), all(diag.ELFShstrNUL)},
		{"a section past the end of the file", header(".data", func(_ *elftest.Object, h []byte) { le.PutUint64(h[24:], 1<<40) }), all(diag.ELFBounds)}, // although it is empty
		{"two .modinfo", func(b *elftest.Builder) { b.Progbits(".modinfo", stdelf.SHF_ALLOC, []byte("a=b\x00")) }, codes{2: diag.ModinfoTwice, 3: diag.ModinfoTwice}},
		{"no struct module", on(func(o *elftest.Object) { o.Rename(elftest.ThisModule, ".other") }), codes{diag.StructNone, diag.StructNone, diag.StructCount, diag.StructCount}},
		{"struct module without bytes", on(func(o *elftest.Object) { o.SetType(elftest.ThisModule, stdelf.SHT_NOBITS) }),
			codes{diag.Undefined, diag.Undefined, diag.StructCount, diag.StructNobits}},
		{"struct module that is not loaded", on(func(o *elftest.Object) { o.SetFlags(elftest.ThisModule, stdelf.SHF_WRITE) }),
			codes{diag.StructNone, diag.StructNone, diag.StructAlloc, diag.StructAlloc}},
		{"no symbol table", on(func(o *elftest.Object) { o.Drop(".symtab") }), all(diag.Stripped)},
		{"a symbol table without strings", header(".symtab", func(_ *elftest.Object, h []byte) { le.PutUint32(h[40:], 0) }), all(diag.SymtabLink)},
		{"symbols' strings of another type", on(func(o *elftest.Object) { o.SetType(".strtab", stdelf.SHT_PROGBITS) }), codes{3: diag.StrtabType}},
		{"symbols' strings without NUL at the end", header(".strtab", func(_ *elftest.Object, h []byte) { le.PutUint64(h[32:], le.Uint64(h[32:])-1) }), codes{3: diag.StrtabNUL}},
		{"a symbol's name past the strings", on(func(o *elftest.Object) { le.PutUint32(o.Data(".symtab")[24:], 1<<20) }), codes{3: diag.SymName}},
		{"extended CRCs without names", func(b *elftest.Builder) { b.Progbits("__version_ext_crcs", stdelf.SHF_ALLOC, make([]byte, 8)) }, codes{3: diag.VersionsExt}},
		{"fewer extended names than CRCs", func(b *elftest.Builder) {
			b.Progbits("__version_ext_crcs", stdelf.SHF_ALLOC, make([]byte, 8))
			b.Progbits("__version_ext_names", stdelf.SHF_ALLOC, []byte("one\x00"))
		}, codes{3: diag.VersionsNames}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := sample()
			c.spoil(b)
			file := b.Bytes()
			for i, v := range eras {
				tg := kernel(v)
				tg.Arch = arch.Named("x86_64")
				if got, _ := verdict(t, tg, file); got != c.want[i] {
					t.Errorf("%v: got %q want %q", v, got, c.want[i])
				}
			}
		})
	}
}

func TestStructModuleOfAnotherSizeCountsFrom64On(t *testing.T) {
	b := sample().Bytes()
	for i, v := range eras {
		tg := kernel(v)
		tg.Struct.Size = 384
		want := [...]diag.Code{"", "", diag.StructSize, diag.StructSize}[i]
		if got, p := verdict(t, tg, b); got != want {
			t.Errorf("%v: got %q want %q (%+v)", v, got, want, p.Findings)
		}
		tg.Struct.Size = 320
		if got, _ := verdict(t, tg, b); got != "" {
			t.Errorf("%v: the right size: %q", v, got)
		}
	}
}

func TestBefore511TheELFTestsAreSilentButForOneLine(t *testing.T) {
	b := sample()
	put16(16, 2)(b)
	for i, v := range eras {
		_, p := verdict(t, kernel(v), b.Bytes())
		var lines []string
		for _, l := range p.Log {
			lines = append(lines, l.Text)
		}
		want := []string{"Invalid ELF header type: 2 != 1"}
		if i == 0 {
			want = []string{"Module has invalid ELF structures"}
		}
		if diff := cmp.Diff(want, lines); diff != "" {
			t.Errorf("%v: (-want +got)\n%s", v, diff)
		}
	}
}

func TestEveryMachineIsTakenByItsOwnKernelAndByNoOther(t *testing.T) {
	for _, m := range elftest.Machines {
		own := arch.Find(m.Machine, m.Class, m.Big)
		if own == nil {
			t.Fatalf("%s: no such machine", m.Name)
		}
		b := elftest.Module(m, "sample")
		for _, sec := range []string{".plt", ".init.plt", ".got", ".got.plt", ".plt.idx", ".stubs"} {
			b.Progbits(sec, stdelf.SHF_ALLOC, []byte{0})
		}
		elfv2(b)
		file := b.Bytes()
		for _, v := range eras {
			tg := kernel(v)
			tg.Arch = own
			if got, p := verdict(t, tg, file); got != "" {
				t.Errorf("%s on %v: %q: %+v", m.Name, v, got, p.Findings)
			}
			for _, other := range elftest.Machines {
				if other.Machine == m.Machine {
					continue
				}
				tg.Arch = arch.Find(other.Machine, other.Class, other.Big)
				if got, _ := verdict(t, tg, file); got == "" {
					t.Errorf("%s is taken by %s of %v", m.Name, other.Name, v)
				}
			}
		}
	}
}

// elfv2 says in e_flags that a little-endian ppc64 module is of the ABI that its kernel wants.
func elfv2(b *elftest.Builder) {
	if b.Machine == stdelf.EM_PPC64 && !b.Big {
		b.Edit = func(f []byte) []byte { b.Order().PutUint32(f[48:], 2); return f }
	}
}

func TestSectionsThatAMachineNeeds(t *testing.T) {
	for _, c := range []struct {
		machine elftest.Machine
		option  string
		has     []string
		missing codes
	}{
		{elftest.ARM64, "", nil, all(diag.ArchSections)},
		{elftest.ARM64, "ARM64_MODULE_PLTS=n", nil, codes{2: diag.ArchSections, 3: diag.ArchSections}},
		{elftest.ARM64, "", []string{".plt", ".init.plt"}, codes{}},
		{elftest.ARM, "ARM_MODULE_PLTS=n", nil, codes{}},
		{elftest.ARM, "ARM_MODULE_PLTS=y", []string{".plt"}, all(diag.ArchSections)},
		{elftest.RISCV64, "MODULE_SECTIONS=y", []string{".plt", ".got"}, all(diag.ArchSections)},
		{elftest.RISCV64, "MODULE_SECTIONS=n", nil, codes{}},
		{elftest.LOONG64, "", []string{".got", ".plt"}, all(diag.ArchSections)},
		{elftest.PPC64LE, "", nil, all(diag.ArchSections)},
		{elftest.PPC, "", []string{".plt"}, all(diag.ArchSections)},
		{elftest.S390X, "", nil, codes{}},
		{elftest.AMD64, "", nil, codes{}},
	} {
		b := elftest.Module(c.machine, "sample")
		elfv2(b)
		for _, sec := range c.has {
			b.Progbits(sec, stdelf.SHF_ALLOC, []byte{0})
		}
		for i, v := range eras {
			if got, _ := verdict(t, config(kernel(v), c.option), b.Bytes()); got != c.missing[i] {
				t.Errorf("%s %s with %v on %v: got %q want %q", c.machine.Name, c.option, c.has, v, got, c.missing[i])
			}
		}
	}
}

func TestSameMagic(t *testing.T) {
	for _, c := range []struct {
		module, kernel string
		crcs, want     bool
	}{
		{"6.1.0 SMP mod_unload ", "6.1.0 SMP mod_unload ", false, true},
		{"6.1.0 SMP mod_unload ", "6.1.1 SMP mod_unload ", false, false},
		{"6.1.0 SMP mod_unload ", "6.1.1 SMP mod_unload ", true, true},
		{"6.1.0 SMP mod_unload", "6.1.1 SMP mod_unload ", true, false}, // blanks at the end count
		{"6.1.0 SMP preempt ", "6.1.1 SMP ", true, false},
		{"6.1.0", "6.1.1", true, true}, // no blank: nothing is left to compare
		{"", "", false, true},
	} {
		if got := SameMagic(c.module, c.kernel, c.crcs); got != c.want {
			t.Errorf("%q, %q, CRCs %v: got %v", c.module, c.kernel, c.crcs, got)
		}
	}
}

func TestVermagic(t *testing.T) {
	const ours = "6.1.0 SMP preempt mod_unload modversions "
	without := on(func(o *elftest.Object) { o.Drop("__versions") })
	for _, c := range []struct {
		name    string
		edit    func(*elftest.Builder)
		magic   string
		options string
		want    diag.Code
		words   string
	}{
		{"equal", func(*elftest.Builder) {}, ours, "", "", ""},
		{"another release, versions on both sides", func(*elftest.Builder) {}, "6.1.9 SMP preempt mod_unload modversions ", "", "", ""},
		{"another release, none in the module", without, "6.1.9 SMP preempt mod_unload modversions ", "MODULE_FORCE_LOAD=y", diag.Vermagic, "it counts"},
		{"a word less", func(*elftest.Builder) {}, "6.1.0 SMP preempt preempt_rt mod_unload modversions ", "", diag.Vermagic, "the module lacks preempt_rt"},
		{"a word more", func(*elftest.Builder) {}, "6.1.0 SMP mod_unload modversions ", "", diag.Vermagic, "the kernel lacks preempt"},
		{"words in another order", func(*elftest.Builder) {}, "6.1.0 preempt SMP mod_unload modversions ", "", diag.Vermagic, "the order of words"},
		{"none", on(func(o *elftest.Object) { o.Untag("vermagic") }), ours, "MODULE_FORCE_LOAD=n", diag.VermagicMissing, ""},
		{"none, forced", on(func(o *elftest.Object) { o.Untag("vermagic") }), ours, "MODULE_FORCE_LOAD=y", "", ""},
		{"not known", func(*elftest.Builder) {}, "", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := sample()
			c.edit(b)
			for _, v := range eras {
				tg := config(kernel(v), c.options)
				tg.Vermagic, tg.ModVersions = c.magic, true
				got, p := verdict(t, tg, b.Bytes())
				if got != c.want {
					t.Fatalf("%v: got %q want %q", v, got, c.want)
				}
				if c.words != "" && !strings.Contains(p.Findings[len(p.Findings)-1].Message+p.Findings[0].Message, c.words) {
					t.Errorf("%v: %q is not in %q", v, c.words, p.Findings[0].Message)
				}
			}
		})
	}
}

func TestTheRestOfTheStages(t *testing.T) {
	const wx = stdelf.SHF_ALLOC | stdelf.SHF_WRITE | stdelf.SHF_EXECINSTR
	section := func(name string, flags stdelf.SectionFlag, size int) func(*elftest.Builder) {
		return func(b *elftest.Builder) { b.Progbits(name, flags, make([]byte, size)) }
	}
	both := func(list ...func(*elftest.Builder)) func(*elftest.Builder) {
		return func(b *elftest.Builder) {
			for _, f := range list {
				f(b)
			}
		}
	}
	tag := func(text string) func(*elftest.Builder) { return func(b *elftest.Builder) { b.Info(text) } }
	aligned := func(b *elftest.Builder) {
		b.Add(elftest.Section{Name: ".data..percpu", Type: stdelf.SHT_PROGBITS, Flags: stdelf.SHF_ALLOC | stdelf.SHF_WRITE, Data: make([]byte, 8), Align: 8192})
	}
	export := func(e elftest.Era) func(*elftest.Builder) {
		return func(b *elftest.Builder) {
			b.Export(e, elftest.Export{Name: "alpha", CRC: 1, Sym: b.Named("init_module")})
		}
	}
	gplExport := func(b *elftest.Builder) {
		b.Export(elftest.Kernel6_1, elftest.Export{Name: "alpha", CRC: 1, GPL: true, Sym: b.Named("init_module")})
	}
	for _, c := range []struct {
		name    string
		edit    func(*elftest.Builder)
		target  func(*Target)
		options string
		want    codes
	}{
		{"writable and executable", section(".wx", wx, 4), nil, "", all(diag.WriteExec)},
		{"the same, not loaded", section(".wx", wx&^stdelf.SHF_ALLOC, 4), nil, "", all(diag.WriteExec)},
		{"the same, and the kernel does not mind", section(".wx", wx, 4), nil, "STRICT_MODULE_RWX=n", codes{}},
		{"per-CPU data that fit", section(".data..percpu", stdelf.SHF_ALLOC|stdelf.SHF_WRITE, 8192), nil, "", codes{}},
		{"per-CPU data that do not fit", section(".data..percpu", stdelf.SHF_ALLOC|stdelf.SHF_WRITE, 8193), nil, "", all(diag.Percpu)},
		{"per-CPU data aligned to no power of two", func(b *elftest.Builder) {
			b.Add(elftest.Section{Name: ".data..percpu", Type: stdelf.SHT_PROGBITS, Flags: stdelf.SHF_ALLOC | stdelf.SHF_WRITE, Data: make([]byte, 8), Align: 24})
		}, nil, "", all(diag.Percpu)},
		{"more, where allocations are profiled", section(".data..percpu", stdelf.SHF_ALLOC|stdelf.SHF_WRITE, 16384), nil, "MEM_ALLOC_PROFILING=y", codes{0: diag.Percpu, 1: diag.Percpu}},
		{"per-CPU data of a kernel for one processor", section(".data..percpu", stdelf.SHF_ALLOC|stdelf.SHF_WRITE, 90000), nil, "SMP=n", codes{}},
		{"per-CPU data aligned above a page", aligned, nil, "", codes{}},
		{"both kinds of constructors", both(section(".ctors", stdelf.SHF_ALLOC, 8), section(".init_array", stdelf.SHF_ALLOC, 8)), nil, "CONSTRUCTORS=y", all(diag.Ctors)},
		{"both kinds, and the kernel has none", both(section(".ctors", stdelf.SHF_ALLOC, 8), section(".init_array", stdelf.SHF_ALLOC, 8)), nil, "CONSTRUCTORS=n", codes{}},
		{"exports in the form before 7.1", export(elftest.Kernel6_1), nil, "", codes{3: diag.NoFlags}},
		{"GPL-only exports in the form before 7.1", gplExport, nil, "", codes{}},
		{"exports in the form of 7.1", export(elftest.Kernel7_2), nil, "", codes{}},
		{"exports without CRCs", both(export(elftest.Kernel7_2), on(func(o *elftest.Object) { o.Drop("__kcrctab") })), func(t *Target) { t.ModVersions = true },
			"MODULE_FORCE_LOAD=n", all(diag.ExportNoCRC)},
		{"exports without CRCs, forced", both(export(elftest.Kernel7_2), on(func(o *elftest.Object) { o.Drop("__kcrctab") })), func(t *Target) { t.ModVersions = true },
			"MODULE_FORCE_LOAD=y", codes{}},
		{"a namespace of modules is imported", tag("import_ns=module:kvm"), nil, "", codes{3: diag.NSModule}},
		{"a live patch", tag("livepatch=Y"), nil, "LIVEPATCH=n", all(diag.Livepatch)},
		{"a live patch for a kernel that takes them", tag("livepatch=Y"), nil, "LIVEPATCH=y", codes{}},
		{"on the blacklist", func(*elftest.Builder) {}, func(t *Target) { t.Blacklist = []string{"other", "sample"} }, "", all(diag.Blacklisted)},
		{"the blacklist does not fold dashes", func(*elftest.Builder) {}, func(t *Target) { t.Blacklist = []string{"sam-ple"} }, "", codes{}},
		{"loaded already", func(*elftest.Builder) {}, func(t *Target) { t.LiveModules["sample"] = &LiveModule{} }, "", all(diag.Loaded)},
		{"a built-in module has the name in sysfs", func(*elftest.Builder) {}, func(t *Target) { t.InSysfs = func(n string) bool { return n == "sample" } }, "", all(diag.SysfsName)},
		{"no name", on(func(o *elftest.Object) { clear(o.Data(elftest.ThisModule)[24:64]) }), nil, "", all(diag.NameEmpty)},
		{"two loaded sections of one name", both(section(".call_sites", stdelf.SHF_ALLOC, 8), section(".call_sites", stdelf.SHF_ALLOC, 8)), nil, "", codes{2: diag.SysfsSection, 3: diag.SysfsSection}},
		{"two empty ones", both(section(".call_sites", stdelf.SHF_ALLOC, 0), section(".call_sites", stdelf.SHF_ALLOC, 0)), nil, "", codes{}},
		{"unsigned, and signatures are enforced", func(*elftest.Builder) {}, func(t *Target) { t.Enforce = Yes }, "", all(diag.SigUnsigned)},
		{"unsigned, and the kernel looks at none", func(*elftest.Builder) {}, func(t *Target) { t.Enforce = Yes }, "MODULE_SIG=n", codes{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := sample()
			c.edit(b)
			for i, v := range eras {
				tg := config(kernel(v), c.options)
				if c.target != nil {
					c.target(tg)
				}
				if c.options == "" {
					tg.Config = nil
				}
				if got, p := verdict(t, tg, b.Bytes()); got != c.want[i] {
					t.Errorf("%v: got %q want %q (%+v)", v, got, c.want[i], p.Findings)
				}
			}
		})
	}
}

func TestTaintsAndTheirLines(t *testing.T) {
	b := sample()
	for _, tag := range []string{"staging=Y", "test=Y"} {
		b.Info(tag)
	}
	on(func(o *elftest.Object) { o.Modinfo("license", "Nobody's") })(b)
	for i, v := range eras {
		l := NewLoad(config(kernel(v), "MODULE_SIG=y"), elf.Mem(b.Bytes()), 0)
		p, err := l.Before()
		if err != nil || p.Errno != 0 {
			t.Fatal(err, p.Errno)
		}
		want := "PCOE"
		if i > 0 { // test modules are told from 6.0 on
			want = "PCOEN"
		}
		if got := l.Taints.Letters(); got != want {
			t.Errorf("%v: got %q want %q", v, got, want)
		}
		lines := map[string]bool{}
		for _, x := range p.Log {
			lines[x.Text] = true
		}
		for _, want := range []string{"sample: loading out-of-tree module taints kernel.", "sample: module license 'Nobody's' taints kernel.",
			"sample: module is from the staging directory, the quality is unknown, you have been warned.",
			"sample: module verification failed: signature and/or required key missing - tainting kernel", "Disabling lock debugging due to kernel taint"} {
			if !lines[want] {
				t.Errorf("%v: no line %q", v, want)
			}
		}
	}
}
