package cli

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"kotool/internal/diag"
	"kotool/internal/recording"
	"kotool/internal/report"
	"kotool/internal/source"
)

// action is one thing that is done to the kernel.
type action struct {
	verb   string // "load", "unload", "lsmod", "expect"
	path   string
	name   string
	params []string
	force  bool
	errno  diag.Errno
	line   int
	m      *recording.Module // of a replay
}

// bare reports whether an operand can be a module's name.
func bare(a string) bool {
	return !source.IsModuleName(a) && !strings.ContainsAny(a, "=/")
}

// actions are what the command line asks for.
func (s *simulation) actions(args []string) ([]action, error) {
	o := s.o
	if o.withDeps && s.t.Tree == nil {
		return nil, errors.New("--with-deps: no tree of modules: --against lib/modules/RELEASE names it")
	}
	var list []action
	switch {
	case s.rec != nil:
		want := map[string]bool{}
		for _, a := range args {
			want[a] = true
		}
		for i := range s.rec.Modules {
			m := &s.rec.Modules[i]
			if len(want) > 0 && !want[m.Name] {
				continue
			}
			path, err := s.rec.File(m)
			if err != nil {
				return nil, err
			}
			list = append(list, action{verb: "load", path: path, name: m.Name, m: m})
		}
	case o.script != "":
		var err error
		if list, err = s.readScript(o.script); err != nil {
			return nil, err
		}
	case o.all:
		if s.t.Tree == nil {
			return nil, errors.New("--all: no tree of modules: --against lib/modules/RELEASE names it")
		}
		for _, p := range s.t.Tree.Order() {
			list = append(list, action{verb: "load", path: p})
		}
	}
	for _, a := range args {
		switch {
		case s.rec != nil:
		case len(list) > 0 && strings.Contains(a, "=") && !source.IsModuleName(a):
			list[len(list)-1].params = append(list[len(list)-1].params, a)
		case len(list) == 0 && strings.Contains(a, "=") && !source.IsModuleName(a):
			return nil, fmt.Errorf("%s: a parameter, and no module before it", a)
		default:
			path, err := s.find(a)
			if err != nil {
				if len(list) > 0 && list[len(list)-1].verb == "load" && !strings.ContainsAny(a, "/") && !source.IsModuleName(a) {
					list[len(list)-1].params = append(list[len(list)-1].params, a) // a parameter without a value
					continue
				}
				return nil, err
			}
			if o.withDeps {
				list = append(list, s.dependencies(path, list)...)
			}
			list = append(list, action{verb: "load", path: path})
		}
	}
	for _, name := range o.unload {
		list = append(list, action{verb: "unload", name: name})
	}
	return list, nil
}

// find is the file of an operand: a path, or a module's name in the tree.
func (s *simulation) find(a string) (string, error) {
	if a == "-" || source.IsModuleName(a) || strings.ContainsRune(a, os.PathSeparator) {
		return a, nil
	}
	if s.t.Tree != nil {
		if p := s.t.Tree.Path(a); p != "" {
			return p, nil
		}
	}
	if _, err := os.Stat(a); err == nil {
		return a, nil
	}
	if s.t.Tree == nil {
		return "", fmt.Errorf("%s: no such file; a module's name needs a tree (--against lib/modules/RELEASE)", a)
	}
	hint := ""
	if near := report.Nearest(a, s.t.Tree.Names()); len(near) > 0 {
		slices.Sort(near)
		hint = "; did you mean " + strings.Join(near, ", ") + "?"
	}
	return "", fmt.Errorf("%s: no such file, and no module of that name in %s%s", a, s.t.Tree.Dir, hint)
}

// dependencies are the modules to load before a file, those that are on the list already left out.
func (s *simulation) dependencies(path string, have []action) []action {
	var list []action
	if s.t.Tree == nil {
		return nil
	}
	for _, p := range s.t.Tree.Before(path, s.limit) {
		known := false
		for _, a := range append(have, list...) {
			known = known || a.path == p
		}
		if !known {
			list = append(list, action{verb: "load", path: p})
		}
	}
	return list
}

// uncomment takes a comment off a line: from a # that begins a word, and stands in no quotes.
func uncomment(line string) string {
	quoted, word := false, false
	for i, c := range line {
		switch {
		case c == '"':
			quoted, word = !quoted, true
		case quoted:
		case c == '#' && !word:
			return line[:i]
		default:
			word = !unicode.IsSpace(c)
		}
	}
	return line
}

// after is a line without its first n words, as it stands there.
func after(line string, n int) string {
	for range n {
		line = strings.TrimSpace(line)
		i := strings.IndexFunc(line, unicode.IsSpace)
		if i < 0 {
			return ""
		}
		line = line[i:]
	}
	return strings.TrimSpace(line)
}

// readScript reads a verb a line.
func (s *simulation) readScript(path string) ([]action, error) {
	in := s.o.In
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("--script: %w", err)
		}
		defer f.Close()
		in = f
	}
	var list []action
	sc := bufio.NewScanner(in)
	for n := 1; sc.Scan(); n++ {
		line := uncomment(sc.Text())
		w := strings.Fields(line)
		if len(w) == 0 {
			continue
		}
		bad := func(text string) error { return fmt.Errorf("%s: line %d: %s", path, n, text) }
		a := action{verb: w[0], line: n}
		switch w[0] {
		case "load":
			if len(w) < 2 {
				return nil, bad("load what?")
			}
			p, err := s.find(w[1])
			if err != nil {
				return nil, bad(err.Error())
			}
			a.path = p
			if args := after(line, 2); args != "" {
				a.params = []string{args}
			}
			if s.o.withDeps {
				list = append(list, s.dependencies(p, list)...)
			}
		case "unload":
			if len(w) < 2 || len(w) > 3 || len(w) == 3 && w[2] != "force" {
				return nil, bad("want: unload NAME [force]")
			}
			a.name, a.force = w[1], len(w) == 3
		case "lsmod":
		case "expect":
			if len(w) != 2 {
				return nil, bad("want: expect ERRNO")
			}
			e := diag.ErrnoNamed(strings.TrimPrefix(w[1], "-"))
			if num, err := strconv.Atoi(strings.TrimPrefix(w[1], "-")); err == nil {
				e = diag.Errno(num)
			} else if e == 0 && w[1] != "ok" {
				return nil, bad(w[1] + " is no errno")
			}
			a.errno = e
		default:
			return nil, bad(w[0] + ": want load, unload, lsmod or expect")
		}
		list = append(list, a)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return list, nil
}
