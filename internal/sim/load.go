// Package sim is the kernel's load_module with memory: sections are laid out, symbols get addresses, relocations are applied to
// bytes, and what memory decides is decided as in the kernel.
package sim

import (
	"errors"
	"fmt"

	"kotool/internal/compat"
	"kotool/internal/diag"
	"kotool/internal/elf"
	"kotool/internal/reloc"
)

// state is one load.
type state struct {
	k        *Kernel
	Load     *compat.Load
	req      *Request
	layout   *layout
	regions  []Region
	mem      memory
	img      *image
	link     reloc.Linker
	lines    []reloc.Line
	unload   bool
	copyOf   []byte // the temporary copy of the file
	size     uint64 // of the file, bytes
	temp     uint64
	percpuAt uint64 // the piece of the reserve that it got; 0: none
	res      *Result
	taints   compat.Taint
	tr       Tracer
	did      string // what the stage does, in a few words
}

// Load is init_module or finit_module.
func (k *Kernel) Load(req *Request) *Result {
	c := compat.NewLoad(k.T, req.Source, req.Flags)
	c.Raw = req.Raw
	if req.Module != nil && req.Flags&compat.CompressedFile == 0 {
		c.Use(req.Module.File)
	}
	s := &state{k: k, Load: c, req: req, tr: req.Trace, unload: k.T.Is("MODULE_UNLOAD") != compat.No, res: &Result{Load: c}}
	if k.Forbidden {
		st := compat.MayLoad.For(k.T)
		s.enter(st)
		s.leave(st, diag.EPERM, nil)
	}
	for i := range compat.Stages {
		st := &compat.Stages[i]
		if s.res.Errno != 0 || s.res.Undefined != nil {
			break
		}
		if !k.has(st.In) {
			continue
		}
		named := st.For(k.T)
		s.enter(named)
		errno, err := s.run(st)
		s.leave(named, errno, err)
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
			r.Stage = s.k.T.StageName(e.Stage, r.Step)
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
	"percpu_modalloc":           (*state).allocPercpu,
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
	s.img = &image{s: s, rels: map[int][]elf.Rel{}, tabs: map[int]*elf.RelTable{}}
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
	s.arm(&t.ARM)
	set(&t.PPC64.OutOfLine, "PPC_FTRACE_OUT_OF_LINE")
	if c.Is("DYNAMIC_FTRACE_WITH_CALL_OPS") == compat.No {
		t.PPC64.OutOfLineSize = 16
	}
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
