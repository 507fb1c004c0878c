package sim

import (
	stdelf "debug/elf"
	"fmt"

	"kotool/internal/diag"
	"kotool/internal/elf"
	"kotool/internal/reloc"
)

// blameRange says by how much a value misses its field, and whether other addresses would decide otherwise.
func (s *state) blameRange(f *diag.Finding, sec int, r *elf.Rel, where string) {
	c := s.Load
	y, ok := s.img.Symbol(r.Sym)
	if !ok {
		return
	}
	S, P := y.Value, c.Hdr[c.Hdr[sec].Info].Addr+r.Off
	how := reloc.Lookup(c.F.Header.Machine, c.F.Class, r.Type).Formula
	text := fmt.Sprintf("S %#x", S)
	rela := c.Hdr[sec].Type == stdelf.SHT_RELA
	if rela {
		text += fmt.Sprintf(", A %d", r.Addend)
	}
	text += fmt.Sprintf(", P %#x", P)
	value, relative := int64(0), false
	switch {
	case !rela:
		how = ""
	case how == "S + A":
		value = int64(S + uint64(r.Addend))
		text += fmt.Sprintf("; S + A = %#x", uint64(value))
	case how == "S + A - P":
		value, relative = int64(S+uint64(r.Addend)-P), true
		text += fmt.Sprintf("; S + A - P = %#x", value)
	case how == "Page(S + A) - Page(P)":
		value, relative = int64((S+uint64(r.Addend))&^0xfff-P&^0xfff), true
		text += fmt.Sprintf("; Page(S + A) - Page(P) = %#x", value)
	default:
		how = ""
	}
	f.Message = "the value of the relocation at " + where + " does not fit its field: " + text
	lo, hi, bounded := reloc.Reach(c.F.Header.Machine, c.F.Class, r.Type)
	if bounded {
		f.Want = fmt.Sprintf("%#x to %#x", lo, hi)
	}
	if name := string(s.img.SymbolName(r.Sym)); s.undefinedSymbol(r.Sym) && s.k.exports[name] == 0 && s.k.madeUp(name) && (s.req.Fixed == nil || s.req.Fixed.Symbol == nil) {
		f.Assumes = append(f.Assumes, "the address of "+name+" is made up (--system-map gives it)")
	}
	if f.Assumes == nil && bounded && relative && how != "" && s.req.Fixed == nil && s.undefinedSymbol(r.Sym) && s.elsewhere(sec, value, lo, hi) {
		f.Assumes = append(f.Assumes, "the module lies where it does: elsewhere in the place for modules the value fits (--place gives its address)")
	}
}

// undefinedSymbol reports whether a symbol lies outside of the module.
func (s *state) undefinedSymbol(i uint32) bool {
	y, ok := s.img.Symbol(i)
	return ok && y.Shndx == uint16(stdelf.SHN_UNDEF)
}

// elsewhere reports whether a distance that is out of range would be in range if the region with the place lay somewhere else.
func (s *state) elsewhere(sec int, value, lo, hi int64) bool {
	p := &s.layout.places[s.Load.Hdr[sec].Info]
	if p.Region < 0 {
		return false
	}
	g := &s.regions[p.Region]
	for _, w := range s.k.windowsOf(g.Kind, s.layout.page) {
		least, most := value+int64(g.Base-(w.end-g.Size)), value+int64(g.Base-w.start)
		if least <= hi && most >= lo {
			return true
		}
	}
	return false
}

// blameStruct says that a place in struct module is not zero since the kernel keeps something else there.
func (s *state) blameStruct(f *diag.Finding, sec int, r *elf.Rel, entry int, symbol string) {
	c := s.Load
	want := s.k.T.Struct
	if int(c.Hdr[sec].Info) != c.Index.Mod || want.Exit == 0 || r.Off == want.Exit || r.Off == want.Init {
		return
	}
	w := c.Word()
	lies := "what the kernel has filled in by then"
	switch {
	case r.Off >= want.Exit-2*w && r.Off < want.Exit:
		lies = "target_list, which the kernel has filled in by then"
	case r.Off >= want.Exit-4*w && r.Off < want.Exit-2*w:
		lies = "source_list, which the kernel has filled in by then"
	case r.Off >= w && r.Off < 3*w:
		lies = "list, which the kernel has filled in by then"
	}
	f.Message = fmt.Sprintf("relocation %d of %s (%s, %s) writes at %#x of struct module; in the kernel's, exit is at %#x, and at %#x lies %s",
		entry, c.Name(sec), reloc.Name(c.F.Header.Machine, r.Type), symbol, r.Off, want.Exit, r.Off, lies)
	f.Want, f.Got = fmt.Sprintf("%#x", want.Exit), fmt.Sprintf("%#x", r.Off)
	likely := false
	f.Hint, f.Certain = "the headers that it was built with do not match the kernel's .config: compare the two; "+diag.Rebuild, &likely
}
