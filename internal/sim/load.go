// Package sim is the kernel's load_module with memory: sections are laid out, symbols get addresses, relocations are applied to
// bytes, and what memory decides is decided as in the kernel.
package sim

import (
	"bytes"
	stdelf "debug/elf"
	"errors"
	"fmt"
	"strings"

	"kotool/internal/compat"
	"kotool/internal/diag"
	"kotool/internal/elf"
	"kotool/internal/kver"
	"kotool/internal/params"
	"kotool/internal/reloc"
)

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
	tr      Tracer
	did     string // what the stage does, in a few words
}

// mayLoad is may_init_module, the first thing that is asked.
var mayLoad = compat.Stage{ID: "1.1", Name: "may_init_module", Source: "kernel/module/main.c"}

// Load is init_module or finit_module.
func (k *Kernel) Load(req *Request) *Result {
	c := compat.NewLoad(k.T, req.Source, req.Flags)
	c.Raw = req.Raw
	if req.Module != nil && req.Flags&compat.CompressedFile == 0 {
		c.Use(req.Module.File)
	}
	s := &state{k: k, Load: c, req: req, tr: req.Trace, unload: k.T.Is("MODULE_UNLOAD") != compat.No, res: &Result{Load: c}}
	if k.Forbidden {
		s.enter(&mayLoad)
		s.leave(&mayLoad, diag.EPERM, nil)
	}
	for i := range compat.Stages {
		st := &compat.Stages[i]
		if s.res.Errno != 0 || s.res.Undefined != nil {
			break
		}
		if !k.has(st.In) {
			continue
		}
		s.enter(st)
		errno, err := s.run(st)
		s.leave(st, errno, err)
	}
	r := s.res
	r.Name = c.Mod
	r.Log, r.Findings, r.Regions = c.Log, c.Findings, s.regions
	r.Taints = c.Taints | s.taints
	k.T.Taints |= c.Taints // whatever came of the load
	if l := s.layout; l != nil {
		r.Places = l.places
		if l.model == coreInit {
			r.Layout = &Sizes{Core: l.counters[Core], Text: l.textSize, Ro: l.roSize, RoAfterInit: l.roAfter, Init: l.counters[Init], InitText: l.initText, InitRo: l.initRo}
		}
	}
	if r.Errno == 0 && r.Undefined == nil {
		r.Module = k.admit(s)
	}
	s.release()
	return r
}

func (s *state) enter(st *compat.Stage) {
	s.did = ""
	if s.tr != nil {
		s.tr.Enter(st)
	}
}

func (s *state) leave(st *compat.Stage, errno diag.Errno, err error) {
	r, c := s.res, s.Load
	r.Stages = append(r.Stages, StageResult{st.ID, st.Name, errno, s.did})
	if s.tr != nil {
		s.tr.Leave(st, errno)
	}
	if errno == 0 && err == nil {
		return
	}
	r.Errno, r.Stage, r.Step, r.Undefined = errno, st.Name, st.ID, err
	for i := len(c.Findings) - 1; i >= 0 && errno != 0; i-- {
		f := &c.Findings[i]
		if f.Errno != errno {
			continue
		}
		if f.Step != "" {
			r.Step = f.Step
		}
		if e := diag.Lookup(f.Code); e != nil && e.Stage != "" {
			r.Stage = e.Stage
		}
		break
	}
}

// note says in a few words what the stage does.
func (s *state) note(format string, args ...any) { s.did = fmt.Sprintf(format, args...) }

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
	s.copyOf = s.k.takeDirty((size + 4095) &^ 4095)
	clear(s.copyOf[copy(s.copyOf, b):])
	s.temp = usualOf(s.k.T.Arch).temp
	if f := s.req.Fixed; f != nil && f.Image != 0 {
		s.temp = f.Image
	}
	if err := s.mem.add(s.temp, s.copyOf); err != nil {
		return 0, err
	}
	for i := range c.Hdr {
		c.Name(i)
		c.Hdr[i].Addr = s.temp + c.Hdr[i].Off
	}
	s.img = &image{s: s, rels: map[int][]elf.Rel{}}
	if s.tr != nil {
		s.img.tr = s.tr
	}
	a := s.k.T.Arch
	s.link, err = reloc.Begin(c.F.Header.Machine, a.Class, a.BigEndian, s.img, s.traits())
	if err != nil {
		return 0, err
	}
	errno, err := s.link.Frob()
	s.flushLines()
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
	if s.k.Traits != nil {
		s.k.Traits(&t)
	}
	return t
}

// flushLines moves the Linker's lines to the log.
func (s *state) flushLines() {
	for _, l := range s.lines {
		s.Load.Print(l.Text)
	}
	s.lines = s.lines[:0]
}

func (s *state) layoutAndAllocate() (diag.Errno, error) {
	c := s.Load
	s.lay(s.link.TextHead(), s.link.Prepend)
	l := s.layout
	total := uint64(0)
	for k := range kinds {
		total += l.counters[k]
	}
	room := s.k.room(l.region(Text), l.page)
	if total > room || total > 64<<20+16*s.size {
		if total <= room {
			// More than is held in memory here for such a file, and possible: the answer is not made up.
			return 0, fmt.Errorf("the module takes %d bytes of memory, too many to be simulated", total)
		}
		return c.Fail(diag.Memory, fmt.Sprintf("the module takes %d bytes, there is room for %d", total, room)), nil
	}
	fixed := s.fixedBases()
	var base [kinds]int
	total = 0
	for k := range kinds {
		if l.counters[k] == 0 && !(l.model == coreInit && k == Core) {
			continue
		}
		size := (l.counters[k] + l.page - 1) &^ (l.page - 1)
		at, ok := fixed[k]
		if !ok {
			if at, ok = s.k.allocate(k, size, l.page); !ok {
				return c.Fail(diag.Memory, fmt.Sprintf("there are no %d bytes left for modules", size)), nil
			}
		}
		total += size
		b := s.k.take(size)
		s.regions = append(s.regions, Region{Kind: k, Base: at, Size: size, Used: l.counted(k, size), mem: b})
		base[k] = len(s.regions) - 1
		if err := s.mem.add(at, b); err != nil {
			return 0, err
		}
	}
	s.note("%d regions, %d bytes", len(s.regions), total)
	// move_module
	for i := range c.Hdr {
		h, p := &c.Hdr[i], &l.places[i]
		if p.Region < 0 || h.Flags&stdelf.SHF_ALLOC == 0 {
			continue
		}
		r := &s.regions[base[p.Region]]
		p.Region = base[p.Region]
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
		if s.tr != nil {
			s.tr.Placed(i, h.Name, r.Kind.String(), p.Addr, h.Size)
		}
	}
	for i := range l.places {
		if p := &l.places[i]; p.Addr == 0 {
			p.Region = -1
		}
	}
	s.writeHeaders()
	return 0, s.fillStruct()
}

// counted is a region's size as /proc/modules has it.
func (l *layout) counted(k Kind, size uint64) uint64 {
	if l.model == memTypes {
		return size
	}
	return l.counters[k]
}

// fixedBases are the regions' addresses that follow from those of sections.
func (s *state) fixedBases() map[Kind]uint64 {
	f := s.req.Fixed
	if f == nil {
		return nil
	}
	bases := map[Kind]uint64{}
	seen := map[string]int{}
	for i := range s.layout.places {
		seen[s.Load.Hdr[i].Name]++
	}
	for i := range s.layout.places {
		p := &s.layout.places[i]
		if p.Region < 0 {
			continue
		}
		k := Kind(p.Region)
		a, ok := f.Sections[i]
		if name := s.Load.Hdr[i].Name; !ok && seen[name] == 1 {
			a, ok = f.Names[name]
		}
		if _, have := bases[k]; ok && !have && a >= p.Off && s.Load.Hdr[i].Size > 0 {
			bases[k] = a - p.Off
		}
	}
	return bases
}

// percpuBase is what the address of a per-CPU symbol counts from.
func (s *state) percpuBase() uint64 {
	if f := s.req.Fixed; f != nil && f.Percpu != 0 {
		return f.Percpu
	}
	return usualOf(s.k.T.Arch).percpu
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
	resolved := 0
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
			a, ok := s.address(imp, o.Owner)
			if !ok {
				return 0, fmt.Errorf("the address of %s is not known", imp.Name)
			}
			resolved++
			if s.tr != nil {
				s.tr.Resolved(imp.Name, o.Export.OwnerName(), a, how(&o))
			}
			y.Value = a
			s.img.SetSymbol(uint32(i), y)
			continue
		}
		switch {
		case y.Shndx == uint16(stdelf.SHN_UNDEF), y.Shndx >= uint16(stdelf.SHN_LORESERVE), int(y.Shndx) >= len(c.Hdr):
			continue
		case int(y.Shndx) == c.Index.Pcpu && c.Index.Pcpu != 0 && s.smp():
			y.Value += s.percpuBase()
		default:
			y.Value += c.Hdr[y.Shndx].Addr
		}
		if c.Word() == 4 {
			y.Value = uint64(uint32(y.Value))
		}
		s.img.SetSymbol(uint32(i), y)
	}
	s.taints |= r.Taints()
	s.note("%d of %d undefined symbols resolved", resolved, len(im.Imports))
	if len(s.res.Uses) > 0 {
		s.did += ", some in " + strings.Join(s.res.Uses, " ")
	}
	return bad, nil
}

// address is where a symbol is that was found.
func (s *state) address(imp *compat.Import, owner string) (uint64, bool) {
	if a, ok := s.k.exports[imp.Name]; ok && owner != "" {
		return a, true
	}
	if f := s.req.Fixed; f != nil && f.Symbol != nil {
		if a, ok := f.Symbol(uint32(imp.Index), imp.Name); ok {
			return a, true
		}
	}
	return s.k.symbol(imp.Name)
}

// how says in a word or two on what grounds a symbol was taken.
func how(o *compat.Outcome) string {
	var w []string
	if o.Export.GPL {
		w = append(w, "GPL")
	}
	if o.Export.Namespace != "" {
		w = append(w, "namespace "+o.Export.Namespace)
	}
	if o.Checked {
		w = append(w, "CRC agrees")
	}
	return strings.Join(w, ", ")
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
		if errno == 0 && err == nil {
			s.count(i)
		}
		if errno != 0 || err != nil {
			s.relocFinding(i, errno)
			return errno, err
		}
	}
	s.note("%d relocations applied", s.res.Applied)
	return 0, nil
}

// count notes a relocation section that was applied.
func (s *state) count(sec int) {
	list := s.img.Relocs(sec)
	s.res.Applied += len(list)
	if !s.req.Count {
		return
	}
	if s.res.Relocs == nil {
		s.res.Relocs = map[uint32]int{}
	}
	var few [256]int
	for i := range list {
		if t := list[i].Type; t < uint32(len(few)) {
			few[t]++
		} else {
			s.res.Relocs[t]++
		}
	}
	for t, n := range few {
		if n > 0 {
			s.res.Relocs[uint32(t)] += n
		}
	}
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
	s.flushLines()
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
	if s.req.Relocated != nil {
		s.req.Relocated(s.snapshot())
	}
	return s.link.Finalize()
}

// snapshot shows the module's memory.
func (s *state) snapshot() *Snapshot {
	c := s.Load
	snap := &Snapshot{Name: c.Mod}
	first := map[int]uint64{} // the lowest section of a region
	for i := range c.Hdr {
		h := &c.Hdr[i]
		sec := SnapshotSection{Name: h.Name, Index: i, Addr: h.Addr, Size: h.Size}
		if p := &s.layout.places[i]; p.Region >= 0 && h.Flags&stdelf.SHF_ALLOC != 0 {
			sec.Data = s.mem.at(h.Addr, h.Size)
			if at, ok := first[p.Region]; !ok || h.Addr < at {
				first[p.Region] = h.Addr
			}
		} else if h.Flags&stdelf.SHF_ALLOC == 0 {
			sec.Addr = 0
		}
		snap.Sections = append(snap.Sections, sec)
	}
	for i := range s.regions {
		r := &s.regions[i]
		if at := first[i]; r.Kind == s.layout.region(Text) && at > r.Base {
			snap.Sections = append(snap.Sections, SnapshotSection{Name: "(pre)", Index: -1, Addr: r.Base, Size: at - r.Base, Data: s.mem.at(r.Base, at-r.Base)})
		}
	}
	return snap
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
	if r.Tainted {
		c.Taints |= compat.TaintUser
	}
	for i := range r.Stores {
		st := &r.Stores[i]
		if st.Var.Section <= 0 || st.Var.Section >= len(c.Hdr) || st.Data == nil {
			continue // outside of the module, or the address of a copy
		}
		copy(s.mem.at(c.Hdr[st.Var.Section].Addr+st.Var.Off, uint64(len(st.Data))), st.Data)
	}
	s.note("arguments: %d", len(r.Args))
	s.res.Values = values(r, s.req.Params, c.F.Big)
	for _, u := range r.Undecided {
		s.res.Assumes = append(s.res.Assumes, fmt.Sprintf("parameter %s takes its value: %s", u.Name, u.Why))
	}
	return r.Errno, nil
}

// suspicious are the texts about an init function that returns a positive number.
//
// Source: kernel/module/main.c: do_init_module.
var suspicious = []struct {
	in     kver.Range
	format string
}{
	{kver.Until(7, 0), "do_init_module: '%s'->init suspiciously returned %d, it should follow 0/-E convention\ndo_init_module: loading module anyway..."},
	{kver.Since(7, 0), "%s: init suspiciously returned %d, it should follow 0/-E convention"},
}

func (s *state) doInit() (diag.Errno, error) {
	n := s.req.Init
	switch {
	case !s.req.HasInit:
		s.note("there is no init function")
		return 0, nil
	case n == 0:
		s.note("init is taken to return 0; its memory is freed")
		return 0, nil
	case n > 0:
		for _, t := range suspicious {
			if s.k.has(t.in) {
				s.Load.Print(strings.Split(fmt.Sprintf(t.format, s.Load.Mod, n), "\n")...)
			}
		}
		s.note("init returns %d", n)
		return 0, nil
	}
	s.note("init returns %d", n)
	errno := diag.Errno(-n)
	if errno == diag.EEXIST && s.k.has(kver.Since(7, 0)) {
		errno = diag.EBUSY
	}
	return errno, nil
}

// release gives the memory of a load that failed back, and init memory of one that did not.
func (s *state) release() {
	for i := range s.regions {
		r := &s.regions[i]
		if s.res.Module == nil || r.Kind.IsInit() {
			s.k.free(r.Base)
		}
		s.k.give(r.mem)
		r.mem = nil
	}
	s.k.give(s.copyOf) // nobody reads the file through the Load any more
	s.copyOf = nil
}
