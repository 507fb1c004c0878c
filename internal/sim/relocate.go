package sim

import (
	stdelf "debug/elf"
	"fmt"

	"kotool/internal/diag"
	"kotool/internal/elf"
	"kotool/internal/kver"
	"kotool/internal/reloc"
)

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
	list := reloc.EntriesOf(s.img, sec)
	s.res.Applied += list.Len()
	if !s.req.Count {
		return
	}
	if s.res.Relocs == nil {
		s.res.Relocs = map[uint32]int{}
	}
	var few [256]int
	for i := range list.Len() {
		if t := list.At(i).Type; t < uint32(len(few)) {
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
	var r elf.Rel
	list := reloc.EntriesOf(s.img, sec)
	known := first.Entry < list.Len()
	if known {
		r = list.At(first.Entry)
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
		f.Hint = diag.Lookup(code).Hint
	case diag.RelocNonZero:
		f.Message = "the place of the relocation at " + where + " is not zero"
		f.Hint = diag.Lookup(code).Hint
	default:
		f.Message = "the loader refuses the relocation at " + where
	}
	switch {
	case known && code == diag.RelocRange:
		s.blameRange(&f, sec, &r, where)
	case known && code == diag.RelocNonZero:
		s.blameStruct(&f, sec, &r, first.Entry, f.Where.Symbol)
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
