package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"kotool/internal/report"
	"kotool/internal/sim"
)

// misplaced says which lines of --place do not fit a module.
func (s *simulation) misplaced(name string, e *sim.PlaceError) error {
	at := func(section string) int { return s.places[name][section].Line }
	list := slices.Clone(e.Conflicts)
	for i := range list {
		if c := &list[i]; c.With != "" && at(c.With) > at(c.Section) {
			c.Section, c.With = c.With, c.Section // the later line is the one that does not fit
		}
	}
	slices.SortStableFunc(list, func(a, b sim.Conflict) int { return cmp.Compare(at(a.Section), at(b.Section)) })
	c := &list[0]
	text := fmt.Sprintf("%s: line %d: %s %s", s.o.place, at(c.Section), name, c.Section)
	if c.With != "" {
		text += fmt.Sprintf(" does not agree with %s in line %d", c.With, at(c.With))
	}
	text += ": " + c.Text
	switch n := len(list) - 1; {
	case n == 1:
		text += " (and one more line)"
	case n > 1:
		text += fmt.Sprintf(" (and %d more lines)", n)
	}
	return fmt.Errorf("%s", text)
}

// unplaced says which modules of --place were not loaded. None at all is an error.
func (s *simulation) unplaced() error {
	var list []string
	first := 0
	for _, name := range slices.Sorted(maps.Keys(s.places)) {
		if s.placed[name] {
			continue
		}
		list = append(list, name)
		for _, p := range s.places[name] {
			if first == 0 || p.Line < first {
				first = p.Line
			}
		}
	}
	if len(list) == 0 {
		return nil
	}
	err := fmt.Errorf("%s: line %d: not loaded here: %s", s.o.place, first, report.Few(list, len(list)))
	if len(s.placed) == 0 {
		return err
	}
	fmt.Fprintf(s.o.Err, "kotool: simulate-load: %s\n", safe(err.Error()))
	return nil
}
