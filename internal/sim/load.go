// Package sim is the kernel's load_module with memory: sections are laid out, symbols get addresses, relocations are applied to
// bytes, and what memory decides is decided as in the kernel.
package sim

import (
	"bytes"
	stdelf "debug/elf"
	"errors"
	"fmt"

	"kotool/internal/arch"
	"kotool/internal/compat"
	"kotool/internal/diag"
	"kotool/internal/elf"
	"kotool/internal/ksymtab"
	"kotool/internal/kver"
	"kotool/internal/params"
	"kotool/internal/reloc"
)

// Kernel is a simulated running kernel.
type Kernel struct {
	T *compat.Target
	// Addr gives the address of a kernel symbol; nil: addresses are made up.
	Addr func(name string) (uint64, bool)
	// Window is where modules go; a zero window is the machine's usual one.
	window  window
	image   uint64 // where the temporary copy of a file lies
	made    map[string]uint64
	exports map[string]uint64 // addresses of what live modules export
	percpu  uint64
}

// NewKernel makes a kernel of the facts in t.
func NewKernel(t *compat.Target) *Kernel {
	return &Kernel{T: t, made: map[string]uint64{}, exports: map[string]uint64{}}
}

// usual are a machine's addresses: where modules go, where the kernel's own symbols are, where it keeps temporary copies, and per-CPU data.
type usual struct {
	start, end, kernel, temp, percpu uint64
}

// usualOf are addresses that a kernel of the machine could have. Those that decide anything lie within reach of each other, as in the real one.
//
// Source: arch/*/include/asm/pgtable*.h, arch/*/mm: MODULES_VADDR, MODULES_END (layout of 6.12).
func usualOf(a *arch.Arch) usual {
	switch a.Machine {
	case stdelf.EM_X86_64:
		return usual{0xffffffffc0000000, 0xffffffffff000000, 0xffffffff81000000, 0xffffc90000400000, 0x36018}
	case stdelf.EM_AARCH64:
		return usual{0xffff80007a000000, 0xffff800080000000, 0xffff800080010000, 0xffff800085000000, 0xffff800081e42000}
	case stdelf.EM_RISCV:
		if a.Class == stdelf.ELFCLASS32 {
			return usual{0xd0000000, 0xe0000000, 0xc0000000, 0xe1000000, 0xc0d00000}
		}
		return usual{0xffffffff01000000, 0xffffffff80000000, 0xffffffff80000000, 0xff20000000400000, 0xffffffff80d00000}
	case stdelf.EM_ARM:
		return usual{0xbf000000, 0xbfe00000, 0xc0108000, 0xe0a00000, 0xc0d00000}
	case stdelf.EM_386:
		return usual{0xf8000000, 0xff000000, 0xc1000000, 0xf7000000, 0xc1d00000}
	case stdelf.EM_S390:
		return usual{0x3ff80000000, 0x3ffffffe000, 0x3ffe0000000, 0x37ff0000000, 0x3ffe0d00000}
	case stdelf.EM_PPC64:
		return usual{0xc008000000000000, 0xc008000080000000, 0xc000000000010000, 0xc008000100000000, 0xc000000000d00000}
	case stdelf.EM_PPC:
		return usual{0xbe000000, 0xc0000000, 0xc0008000, 0xe1000000, 0xc0d00000}
	case stdelf.EM_MIPS:
		if a.Class == stdelf.ELFCLASS32 {
			return usual{0xc0000000, 0xc8000000, 0x80100000, 0xd0000000, 0x80d00000}
		}
		return usual{0xffffffffc0000000, 0xffffffffe0000000, 0xffffffff80100000, 0xc000000000400000, 0xffffffff80d00000}
	case stdelf.EM_LOONGARCH:
		return usual{0xffff800002008000, 0xffff800012008000, 0x9000000000200000, 0xffff800020000000, 0x9000000000d00000}
	case stdelf.EM_SPARCV9:
		return usual{0x10000000, 0xf0000000, 0x400000, 0x100000000, 0xd00000}
	case stdelf.EM_PARISC:
		return usual{0x10000000, 0x20000000, 0x10100000, 0x30000000, 0x10d00000}
	}
	return usual{0x40000000, 0x60000000, 0x10000000, 0x70000000, 0x20000000}
}

// kernelSymbol is a kernel symbol's address.
func (k *Kernel) kernelSymbol(name string) (uint64, bool) {
	if k.Addr != nil {
		if a, ok := k.Addr(name); ok {
			return a, true
		}
	}
	if a, ok := k.exports[name]; ok {
		return a, true
	}
	if k.T.Arch == nil {
		return 0, false
	}
	a, ok := k.made[name]
	if !ok {
		a = usualOf(k.T.Arch).kernel + 0x1000 + 16*uint64(len(k.made))
		k.made[name] = a
	}
	return a, true
}

// Request is one init_module or finit_module call.
type Request struct {
	Source elf.Source
	Args   []byte
	Flags  uint32
	Raw    bool // init_module
	// Exports are what the module exports.
	Exports []ksymtab.Export
	Params  []params.Param
	Init    diag.Errno // what the module's init function returns
}

// Result is how a load ended.
type Result struct {
	Errno    diag.Errno
	Stage    string // the kernel's function that refused
	Step     string
	Log      []compat.Line
	Findings []diag.Finding
	Load     *compat.Load
	Regions  []Region
	Places   []Place
	Params   *params.Result
	Taints   compat.Taint
	Uses     []string
	// Undefined is why it cannot be told; nil where it can.
	Undefined error
}

// state is one load.
type state struct {
	k       *Kernel
	Load    *compat.Load
	req     *Request
	layout  *layout
	regions []Region
	mem     memory
	img     *image
	link    reloc.Linker
	lines   []reloc.Line
	unload  bool
	copyOf  []byte // the temporary copy of the file
	size    uint64 // of the file, bytes
	temp    uint64
	res     *Result
	taints  compat.Taint
}

// Load is init_module or finit_module.
func (k *Kernel) Load(req *Request) *Result {
	c := compat.NewLoad(k.T, req.Source, req.Flags)
	c.Raw = req.Raw
	s := &state{k: k, Load: c, req: req, unload: k.T.Is("MODULE_UNLOAD") != compat.No, res: &Result{Load: c}}
	defer s.release()
	for i := range compat.Stages {
		st := &compat.Stages[i]
		if !k.has(st.In) {
			continue
		}
		errno, err := s.run(st)
		if err != nil || errno != 0 {
			s.res.Errno, s.res.Stage, s.res.Undefined = errno, st.Name, err
			if n := len(c.Findings); n > 0 && errno != 0 && c.Findings[n-1].Errno == errno {
				s.res.Step = c.Findings[n-1].Step
			}
			if s.res.Step == "" {
				s.res.Step = st.ID
			}
			break
		}
	}
	s.res.Log, s.res.Findings, s.res.Regions = c.Log, c.Findings, s.regions
	s.res.Taints = c.Taints | s.taints
	if s.layout != nil {
		s.res.Places = s.layout.places
	}
	return s.res
}

func (k *Kernel) has(r kver.Range) bool {
	if k.T.Version.IsZero() {
		return r.Until.IsZero()
	}
	return r.Has(k.T.Version)
}

func (s *state) run(st *compat.Stage) (diag.Errno, error) {
	var errno diag.Errno
	var err error
	if st.Judge != nil {
		errno, err = st.Judge(s.Load)
	}
	if errno != 0 || err != nil {
		return errno, err
	}
	if run := stages[st.Name]; run != nil {
		return run(s)
	}
	return 0, nil
}

// stages are what memory and the kernel's state add to the stages, by name.
var stages = map[string]func(*state) (diag.Errno, error){
	"module_frob_arch_sections": (*state).frob,
	"layout_and_allocate":       (*state).layoutAndAllocate,
	"simplify_symbols":          (*state).simplifySymbols,
	"apply_relocations":         (*state).applyRelocations,
	"post_relocation":           (*state).postRelocation,
	"complete_formation":        (*state).completeFormation,
	"parse_args":                (*state).parseArgs,
	"do_init_module":            (*state).doInit,
}

// settleArch takes the module's own machine where the target names none.
func (s *state) settleArch() error {
	if s.k.T.Arch == nil {
		if s.Load.F.Arch == nil {
			return errors.New("the machine is not known")
		}
		t := *s.k.T
		t.Arch = s.Load.F.Arch
		s.k.T, s.Load.T = &t, &t
	}
	return nil
}

func (s *state) frob() (diag.Errno, error) {
	if err := s.settleArch(); err != nil {
		return 0, err
	}
	c := s.Load
	// The temporary copy, which section addresses point into until layout: info->hdr.
	file := c.Source() // decompressed, if the kernel did so
	size := file.Size()
	b, err := file.Range(0, size)
	if err != nil {
		return 0, err
	}
	s.size = size
	s.copyOf = make([]byte, (size+4095)&^4095)
	copy(s.copyOf, b)
	s.temp = usualOf(s.k.T.Arch).temp
	if err := s.mem.add(s.temp, s.copyOf); err != nil {
		return 0, err
	}
	for i := range c.Hdr {
		c.Name(i)
		c.Hdr[i].Addr = s.temp + c.Hdr[i].Off
	}
	s.img = &image{s: s, rels: map[int][]elf.Rel{}}
	a := s.k.T.Arch
	s.link, err = reloc.Begin(c.F.Header.Machine, a.Class, a.BigEndian, s.img, s.traits())
	if err != nil {
		return 0, err
	}
	errno, err := s.link.Frob()
	s.flushLines(diag.ArchSections)
	return errno, err
}

// traits are the target's, with what its configuration says.
func (s *state) traits() reloc.Traits {
	t := reloc.DefaultTraits(s.Load.F.Header.Machine, s.k.T.Version)
	c := s.k.T
	set := func(p *bool, option string) {
		if a := c.Is(option); a != compat.Unknown {
			*p = a == compat.Yes
		}
	}
	set(&t.RISCV.MedLow, "CMODEL_MEDLOW")
	set(&t.ARM.Thumb2, "THUMB2_KERNEL")
	set(&t.S390.Expoline, "EXPOLINE")
	if c.Is("RELOCATABLE") == compat.No || c.Is("MODULE_SECTIONS") != compat.Unknown {
		t.RISCV.Sections = c.Is("MODULE_SECTIONS") == compat.Yes
	}
	return t
}

// flushLines moves the Linker's lines to the log.
func (s *state) flushLines(code diag.Code) {
	for _, l := range s.lines {
		s.Load.Print(l.Text)
	}
	s.lines = s.lines[:0]
	_ = code
}

// limit is the largest module that is laid out here, bytes; a kernel has less room for modules.
const limit = 1 << 31

func (s *state) layoutAndAllocate() (diag.Errno, error) {
	c := s.Load
	s.lay(s.link.TextHead(), s.link.Prepend)
	l := s.layout
	u := usualOf(s.k.T.Arch)
	w := &s.k.window
	if w.end == 0 {
		*w = window{start: u.start, end: u.end, guard: l.page}
	}
	total := uint64(0)
	for k := range kinds {
		total += l.counters[k]
	}
	room := w.end - w.start
	if total > room || total > 64<<20+16*s.size {
		if total <= room {
			// More than is held in memory here for such a file, and possible: the answer is not made up.
			return 0, fmt.Errorf("the module takes %d bytes of memory, too many to be simulated", total)
		}
		return c.Fail(diag.Memory, fmt.Sprintf("the module takes %d bytes, there is room for %d", total, room)), nil
	}
	base := map[Kind]int{}
	for k := range kinds {
		if l.counters[k] == 0 && !(l.model == coreInit && k == Core) {
			continue
		}
		size := (l.counters[k] + l.page - 1) &^ (l.page - 1)
		at, ok := w.alloc(size)
		if !ok {
			return c.Fail(diag.Memory, fmt.Sprintf("there are no %d bytes left for modules", size)), nil
		}
		b := make([]byte, size)
		s.regions = append(s.regions, Region{Kind: k, Base: at, Size: size, mem: b})
		base[k] = len(s.regions) - 1
		if err := s.mem.add(at, b); err != nil {
			return 0, err
		}
	}
	// move_module
	for i := range c.Hdr {
		h, p := &c.Hdr[i], &l.places[i]
		if p.Region < 0 || h.Flags&stdelf.SHF_ALLOC == 0 {
			continue
		}
		r := &s.regions[base[Kind(p.Region)]]
		p.Region = base[Kind(p.Region)]
		p.Addr = r.Base + p.Off
		if h.Type != stdelf.SHT_NOBITS && h.Size > 0 {
			dst := s.mem.at(p.Addr, h.Size)
			src := s.mem.at(h.Addr, h.Size)
			if dst == nil || src == nil {
				return 0, fmt.Errorf("section %d of %#x bytes is copied to %#x: past the end of its region", i, h.Size, p.Addr)
			}
			copy(dst, src)
		}
		h.Addr = p.Addr
	}
	for i := range l.places {
		if p := &l.places[i]; p.Addr == 0 {
			p.Region = -1
		}
	}
	s.writeHeaders()
	return 0, s.fillStruct()
}

// writeHeaders puts the changed headers into the temporary copy, where careless names are read.
func (s *state) writeHeaders() {
	c := s.Load
	n := c.F.ShentsizeWant()
	for i := range c.Hdr {
		at := c.F.Header.Shoff + uint64(i)*n
		if at+n > uint64(len(s.copyOf)) {
			return
		}
		b, o := s.copyOf[at:at+n], s.img.order()
		h := &c.Hdr[i]
		if n == 64 {
			o.PutUint64(b[8:], uint64(h.Flags))
			o.PutUint64(b[16:], h.Addr)
			o.PutUint64(b[32:], h.Size)
			o.PutUint64(b[56:], s.layout.places[i].Entry)
		}
	}
	c.Reread(s.copyOf[:s.size])
}

// fillStruct is what the kernel writes into struct module before it relocates, as far as its layout is known: the state, the list of modules,
// and the lists of module_unload_init, which stand before exit.
func (s *state) fillStruct() error {
	c := s.Load
	w := c.Word()
	at := c.Hdr[c.Index.Mod].Addr
	put := func(off uint64, n uint64) {
		b := s.mem.at(at+off, n)
		for i := range b {
			b[i] = 0xff
		}
	}
	put(0, 1)
	put(w, 2*w)
	if e := s.k.T.Struct.Exit; e > 4*w && s.unload {
		put(e-4*w, 4*w)
	}
	return nil
}

func (s *state) simplifySymbols() (diag.Errno, error) {
	c := s.Load
	im, err := c.Importer()
	if err != nil {
		return 0, err
	}
	r := compat.NewResolver(im, s.k.T)
	bad := diag.Errno(0)
	next := 0
	uses := map[string]bool{}
	n := s.img.Symbols()
	for i := 1; i < n; i++ {
		y, ok := s.img.Symbol(uint32(i))
		if !ok {
			return 0, fmt.Errorf("symbol %d lies outside of what is loaded", i)
		}
		if next < len(im.Imports) && im.Imports[next].Index == i {
			imp := &im.Imports[next]
			next++
			o := r.Resolve(imp)
			for _, f := range []*diag.Finding{o.Warning, o.Finding} {
				if f != nil {
					c.Findings = append(c.Findings, *f)
					c.Append(f.Dmesg...)
				}
			}
			if o.Errno != 0 {
				bad = o.Errno
				continue
			}
			if o.Missing || o.Finding != nil && o.Finding.Code == diag.SymWeak {
				continue
			}
			if o.Owner != "" && !uses[o.Owner] {
				uses[o.Owner] = true
				s.res.Uses = append(s.res.Uses, o.Owner)
			}
			a, ok := s.k.kernelSymbol(imp.Name)
			if !ok {
				return 0, fmt.Errorf("the address of %s is not known", imp.Name)
			}
			y.Value = a
			s.img.SetSymbol(uint32(i), y)
			continue
		}
		switch {
		case y.Shndx == uint16(stdelf.SHN_UNDEF), y.Shndx >= uint16(stdelf.SHN_LORESERVE), int(y.Shndx) >= len(c.Hdr):
			continue
		case int(y.Shndx) == c.Index.Pcpu && c.Index.Pcpu != 0 && s.smp():
			y.Value += usualOf(s.k.T.Arch).percpu
		default:
			y.Value += c.Hdr[y.Shndx].Addr
		}
		if c.Word() == 4 {
			y.Value = uint64(uint32(y.Value))
		}
		s.img.SetSymbol(uint32(i), y)
	}
	s.taints |= r.Taints()
	return bad, nil
}

func (s *state) applyRelocations() (diag.Errno, error) {
	c := s.Load
	for _, i := range c.Applied() {
		if c.Hdr[i].Flags&0x00100000 != 0 { // SHF_RELA_LIVEPATCH
			name, _ := c.NameOf(i)
			const prefix = ".klp.rela."
			if len(name) < len(prefix) || name[:len(prefix)] != prefix {
				f := diag.New(diag.RelocOther, c.T.Version, "section "+name+" holds relocations of a live patch, and is not named as one")
				f.Errno, f.Step, f.Dmesg = diag.EINVAL, "2.8", []string{"livepatch: section " + name + " has an incorrectly formatted name"}
				c.Findings = append(c.Findings, f)
				c.Append(f.Dmesg...)
				return f.Errno, nil
			}
			continue
		}
		errno, err := s.link.Apply(i)
		if errno != 0 || err != nil {
			s.relocFinding(i, errno)
			return errno, err
		}
	}
	return 0, nil
}

// relocFinding makes a finding of the Linker's last line.
func (s *state) relocFinding(sec int, errno diag.Errno) {
	if len(s.lines) == 0 {
		return
	}
	c := s.Load
	first := s.lines[0]
	code := diag.RelocOther
	switch first.Kind {
	case reloc.UnknownType:
		code = diag.RelocType
	case reloc.Overflow:
		code = diag.RelocRange
	case reloc.NonZero:
		code = diag.RelocNonZero
	case reloc.Form:
		code = diag.RelocForm
	case reloc.UnknownSymbol:
		code = diag.SymMissing
	}
	f := diag.Finding{Code: code, Severity: diag.Error, Errno: errno, Step: "2.8", Source: diag.Lookup(code).Source}
	for _, l := range s.lines {
		f.Dmesg = append(f.Dmesg, l.Text)
	}
	where := fmt.Sprintf("relocation %d of section %d", first.Entry, sec)
	if list := s.img.Relocs(sec); first.Entry < len(list) {
		r := &list[first.Entry]
		target := c.Hdr[c.Hdr[sec].Info].Name
		name := string(s.img.SymbolName(r.Sym))
		if t := c.Symbols(); int64(r.Sym) < int64(t.Len()) {
			name = string(c.F.DisplayName(t, t.At(int(r.Sym))))
		}
		where = fmt.Sprintf("%s+%#x (%s, %s)", target, r.Off, reloc.Name(c.F.Header.Machine, r.Type), name)
		f.Where = diag.In(target, int(c.Hdr[sec].Info)).EntryNo(first.Entry)
		f.Where.Symbol = name
	}
	switch code {
	case diag.RelocType:
		f.Message = "the loader does not take the relocation at " + where
		f.Hint = diag.Lookup(code).Hint
	case diag.RelocRange:
		f.Message = "the value of the relocation at " + where + " does not fit its field"
	case diag.RelocNonZero:
		f.Message = "the place of the relocation at " + where + " is not zero"
	default:
		f.Message = "the loader refuses the relocation at " + where
	}
	c.Findings = append(c.Findings, f)
	s.flushLines(code)
}

// postRelocation sorts the exception table. Source: kernel/module/main.c: post_relocation.
func (s *state) postRelocation() (diag.Errno, error) {
	c := s.Load
	if i := c.FindSec("__ex_table"); i != 0 && c.Hdr[i].Type != stdelf.SHT_NOBITS {
		h := &c.Hdr[i]
		if b := s.mem.at(h.Addr, h.Size); b != nil {
			reloc.SortExtable(b, h.Addr, reloc.ExtableOf(c.F.Header.Machine, c.F.Class, s.k.T.Version), c.F.Big, s.k.has(kver.Since(6, 11)))
		}
	}
	return s.link.Finalize()
}

func (s *state) completeFormation() (diag.Errno, error) {
	for i := range s.req.Exports {
		if f := compat.Duplicate(s.Load.Mod, string(s.req.Exports[i].Name), s.k.T); f != nil && f.Errno != 0 {
			f.Step = "k5"
			s.Load.Findings = append(s.Load.Findings, *f)
			s.Load.Append(f.Dmesg...)
			return f.Errno, nil
		}
	}
	return 0, nil
}

func (s *state) parseArgs() (diag.Errno, error) {
	if len(bytes.TrimSpace(s.req.Args)) == 0 {
		return 0, nil
	}
	c := s.Load
	r := params.ParseArgs(s.req.Args, s.req.Params, params.Options{Module: c.Mod, Version: s.k.T.Version, Word: c.F.Word(), Big: c.F.Big,
		NoDynamicDebug: s.k.T.Is("DYNAMIC_DEBUG") == compat.No})
	s.res.Params = r
	for _, l := range r.Log {
		c.Print(l.Text)
	}
	if len(r.Undecided) > 0 {
		return 0, fmt.Errorf("parameter %s: %s", r.Undecided[0].Name, r.Undecided[0].Why)
	}
	return r.Errno, nil
}

func (s *state) doInit() (diag.Errno, error) { return s.req.Init, nil }

// release gives the memory of a load that failed back, and init memory of one that did not.
func (s *state) release() {
	for i := range s.regions {
		if r := &s.regions[i]; s.res.Errno != 0 || s.res.Undefined != nil || r.Kind.IsInit() {
			s.k.window.free(r.Base)
		}
	}
}
