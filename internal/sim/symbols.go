package sim

import (
	stdelf "debug/elf"
	"encoding/binary"
	"fmt"
	"strings"

	"kotool/internal/compat"
	"kotool/internal/diag"
	"kotool/internal/elf"
)

func (s *state) simplifySymbols() (diag.Errno, error) {
	c := s.Load
	im, err := c.Importer()
	if err != nil {
		return 0, err
	}
	r := compat.NewResolver(im, s.k.T)
	bad := diag.Errno(0)
	next := 0
	s.res.Provided = map[string]int{}
	resolved := 0
	s.res.Imports = len(im.Imports)
	n := s.img.Symbols()
	raw, simple := s.img.Symtab(), s.simpleBases()
	if c.Word() != 8 || c.F.Big {
		raw = nil
	}
	for i := 1; i < n; i++ {
		if at := i * 24; at+24 <= len(raw) {
			if x := elf.PlainShndx(raw[at:]); int(x) < len(simple) && simple[x].ok {
				v := raw[at+8 : at+16]
				binary.LittleEndian.PutUint64(v, binary.LittleEndian.Uint64(v)+simple[x].base)
				continue
			}
		}
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
			if o.Checked {
				s.res.CRCs++
			}
			if o.Errno != 0 {
				bad = o.Errno
				if o.Checked {
					s.res.Differ++
				}
				continue
			}
			if o.Missing || o.Finding != nil && o.Finding.Code == diag.SymWeak {
				s.res.Weak = append(s.res.Weak, imp.Name)
				continue
			}
			if o.Owner != "" {
				if s.res.Provided[o.Owner]++; s.res.Provided[o.Owner] == 1 {
					s.res.Uses = append(s.res.Uses, o.Owner)
				}
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

// simpleBase is what is added to the value of each symbol of a section.
type simpleBase struct {
	base uint64
	ok   bool
}

// simpleBases are those of the sections with nothing special about them, by section.
func (s *state) simpleBases() []simpleBase {
	c := s.Load
	list := make([]simpleBase, min(len(c.Hdr), int(stdelf.SHN_LORESERVE)))
	for i := 1; i < len(list); i++ {
		list[i] = simpleBase{c.Hdr[i].Addr, i != c.Index.Pcpu}
	}
	return list
}

// address is where a symbol is that was found.
func (s *state) address(imp *compat.Import, owner string) (uint64, bool) {
	if row := imp.Row(); row >= 0 && s.req.Fixed == nil {
		a, ok := s.k.rowSymbol(row, imp.Name)
		if ok {
			s.res.Kernel++
			s.noteMade(imp.Name, a.made)
		}
		return a.addr, ok
	}
	if a, ok := s.k.exports[imp.Name]; ok && owner != "" {
		return a, true
	}
	if f := s.req.Fixed; f != nil && f.Symbol != nil {
		if a, ok := f.Symbol(uint32(imp.Index), imp.Name); ok {
			if owner == "" {
				s.res.Kernel++
			}
			return a, true
		}
	}
	a, ok := s.k.symbol(imp.Name)
	if owner == "" && ok {
		s.res.Kernel++
		s.noteMade(imp.Name, s.k.madeUp(imp.Name))
	}
	return a, ok
}

// noteMade counts a symbol of the kernel if its address was made up.
func (s *state) noteMade(name string, made bool) {
	if made {
		if s.res.Made++; s.res.Made <= fewNames {
			s.res.MadeUp = append(s.res.MadeUp, name)
		}
	}
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
