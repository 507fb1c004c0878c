package sim

import (
	"cmp"
	"fmt"
	"slices"
)

// PlaceError says that addresses which were given for sections cannot be those of a kernel.
type PlaceError struct{ Conflicts []Conflict }

// Conflict is one section's address that does not fit. With is another section that was given, which it does not agree with; "" for none.
type Conflict struct{ Section, With, Text string }

func (e *PlaceError) Error() string { return e.Conflicts[0].Section + ": " + e.Conflicts[0].Text }

// placeable asks whether sections can lie at the addresses that are given for them, in the layout that has been made.
func (s *state) placeable(names map[string]uint64) error {
	c, l := s.Load, s.layout
	var bad []Conflict
	say := func(section, with, format string, args ...any) {
		bad = append(bad, Conflict{section, with, fmt.Sprintf(format, args...)})
	}
	byName := map[string][]int{}
	for i := 1; i < len(c.Hdr); i++ {
		byName[c.Hdr[i].Name] = append(byName[c.Hdr[i].Name], i)
	}
	limit := ^uint64(0)
	if l.word == 4 {
		limit = 0xffffffff
	}
	type given struct {
		name       string
		kind       Kind
		base, addr uint64
	}
	first := map[Kind]*given{}
	order := make([]string, 0, len(names))
	for n := range names {
		order = append(order, n)
	}
	slices.SortFunc(order, func(a, b string) int {
		return cmp.Or(cmp.Compare(names[a], names[b]), cmp.Compare(a, b))
	})
	for _, n := range order {
		at, list := names[n], byName[n]
		switch {
		case len(list) == 0:
			say(n, "", "the module has no such section")
			continue
		case len(list) > 1:
			say(n, "", "the module has %d sections of that name, and which is meant is not known", len(list))
			continue
		}
		i := list[0]
		p, h := &l.places[i], &c.Hdr[i]
		switch {
		case p.Region < 0 && i == c.Index.Pcpu && i != 0:
			say(n, "", "per-CPU data have no address of their own")
		case p.Region < 0:
			say(n, "", "the section is not loaded: it has no address")
		case at > limit:
			say(n, "", "%#x is no address of a machine of 32 bits", at)
		case h.Align > 1 && at&(h.Align-1) != 0:
			say(n, "", "%#x is not a multiple of its alignment, %d", at, h.Align)
		case at < p.Off:
			say(n, "", "the section lies %#x bytes into its region, which would begin below 0", p.Off)
		case first[Kind(p.Region)] == nil:
			g := &given{n, Kind(p.Region), at - p.Off, at}
			if g.base&(l.page-1) != 0 {
				say(n, "", "the section lies %#x bytes into its region, which would begin at %#x: at no page", p.Off, g.base)
				continue
			}
			first[g.kind] = g
		default:
			if g := first[Kind(p.Region)]; at-p.Off != g.base {
				say(n, g.name, "both lie in %s, and with %s at %#x the kernel has %s at %#x, not %#x; is it another build of the module, or another configuration of the kernel?",
					g.kind, g.name, g.addr, n, g.base+p.Off, at)
			}
		}
	}
	var list []*given
	for _, g := range first {
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b *given) int { return cmp.Or(cmp.Compare(a.base, b.base), cmp.Compare(a.kind, b.kind)) })
	for k, g := range list {
		end := g.base + l.pages(g.kind)
		if end < g.base || end-1 > limit {
			say(g.name, "", "its region of %#x bytes would end past the last address", l.pages(g.kind))
			continue
		}
		if k+1 < len(list) && list[k+1].base < end {
			n := list[k+1]
			say(n.name, g.name, "%s would have %#x to %#x, and %s %#x to %#x", g.kind, g.base, end-1, n.kind, n.base, n.base+l.pages(n.kind)-1)
		}
		for _, m := range s.k.live {
			for i := range m.Regions {
				// Init memory may lie where another module has been since: it was given back.
				if r := &m.Regions[i]; r.Base < end && g.base < r.Base+r.Size && !g.kind.IsInit() {
					say(g.name, "", "its region, %s, has %#x to %#x, where %s of module %s lies", g.kind, g.base, end-1, r.Kind, m.Name)
				}
			}
		}
	}
	if len(bad) > 0 {
		return &PlaceError{bad}
	}
	return nil
}
