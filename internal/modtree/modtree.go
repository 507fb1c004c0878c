// Package modtree reads a lib/modules/RELEASE directory as kmod does: which file a module's name or an
// alias stands for, what is built in, who depends on whom.
package modtree

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Tree is the modules of one kernel release. Its index files are read when they are first needed.
type Tree struct {
	Dir     string // of the release: ROOT/lib/modules/RELEASE
	Release string

	dep, alias, builtin, builtinInfo *index
	walked                           map[string]string
	symbols                          map[string]string // of modules.symbols: name to module
}

// index is a file of the tree. The zero index is an empty file.
type index struct{ text []byte }

// Open finds ROOT/lib/modules/RELEASE, or ROOT/usr/lib/modules/RELEASE. An empty root is "/".
func Open(root, release string) (*Tree, error) {
	if release == "" || strings.ContainsRune(release, '/') {
		return nil, fmt.Errorf("%q is no kernel release", release)
	}
	if root == "" {
		root = "/"
	}
	var first error
	for _, lib := range []string{"lib/modules", "usr/lib/modules"} {
		dir := filepath.Join(root, lib, release)
		st, err := os.Stat(dir)
		if err == nil && st.IsDir() {
			return &Tree{Dir: dir, Release: release}, nil
		}
		if err == nil {
			err = fmt.Errorf("%s: not a directory", dir)
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// OpenDir takes a release's directory itself.
func OpenDir(dir string) (*Tree, error) {
	st, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return nil, fmt.Errorf("%s: not a directory", dir)
	}
	return &Tree{Dir: dir, Release: filepath.Base(dir)}, nil
}

// read reads a file of the tree; one that is not there is empty.
func (t *Tree) read(name string) (*index, error) {
	b, err := os.ReadFile(filepath.Join(t.Dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &index{}, err
	}
	return &index{b}, nil
}

// lines calls f for each line, until it returns false.
func (x *index) lines(f func(line []byte) bool) {
	for b := x.text; len(b) > 0; {
		line := b
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			line, b = b[:i], b[i+1:]
		} else {
			b = nil
		}
		if len(line) > 0 && line[0] != '#' && !f(line) {
			return
		}
	}
}

// Hit is a module that a name or an alias stands for.
type Hit struct {
	Name    string // as the kernel spells it: with underscores
	Path    string // of the file; empty for a built-in module
	Builtin bool
}

// fold makes dashes underscores: the two mean the same in a module's name.
func fold(name string) string { return strings.ReplaceAll(name, "-", "_") }

// moduleName is the name of the module in a file.
func moduleName(path []byte) string {
	name := path
	if i := bytes.LastIndexByte(name, '/'); i >= 0 {
		name = name[i+1:]
	}
	if i := bytes.Index(name, []byte(".ko")); i >= 0 {
		name = name[:i]
	}
	return fold(string(name))
}

// Lookup returns what name stands for: the module of that name, else the modules with an alias that matches it (in
// the file's order), else a built-in one. Nothing found is no error.
//
// Source: kmod: libkmod-module.c, the order of look-ups in kmod_module_new_from_lookup.
func (t *Tree) Lookup(name string) ([]Hit, error) {
	want := fold(name)
	if path, err := t.file(want); err != nil || path != "" {
		return []Hit{{Name: want, Path: path}}[:min(1, len(path))], err
	}
	if hits, err := t.byAlias("modules.alias", &t.alias, name); err != nil || len(hits) > 0 {
		return hits, err
	}
	if ok, err := t.isBuiltin(want); err != nil || ok {
		if !ok {
			return nil, err
		}
		return []Hit{{Name: want, Builtin: true}}, err
	}
	// A built-in module's aliases are only in its modinfo.
	info, err := t.builtins()
	if err != nil {
		return nil, err
	}
	var hits []Hit
	info.strings(func(mod, key, value []byte) bool {
		if string(key) == "alias" && Match(foldAlias(string(value)), foldAlias(name)) {
			hits = append(hits, Hit{Name: string(mod), Builtin: true})
			return false
		}
		return true
	})
	return hits, nil
}

// file is the path of a module's file by modules.dep or, where depmod has not run, by looking through the tree.
func (t *Tree) file(want string) (string, error) {
	if t.dep == nil {
		x, err := t.read("modules.dep")
		if err != nil {
			return "", err
		}
		t.dep = x
	}
	found := ""
	t.dep.lines(func(line []byte) bool {
		path, _, ok := bytes.Cut(line, []byte(":"))
		if ok && moduleName(path) == want {
			found = t.path(string(path))
			return false
		}
		return true
	})
	if found != "" || len(t.dep.text) > 0 {
		return found, nil
	}
	if t.walked == nil {
		t.walked = map[string]string{}
		_ = filepath.WalkDir(t.Dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.Contains(d.Name(), ".ko") {
				if n := moduleName([]byte(d.Name())); t.walked[n] == "" {
					t.walked[n] = path
				}
			}
			return nil
		})
	}
	return t.walked[want], nil
}

func (t *Tree) path(rel string) string {
	if filepath.IsAbs(rel) {
		return rel
	}
	return filepath.Join(t.Dir, rel)
}

// byAlias looks through a file of lines "alias PATTERN MODULE".
func (t *Tree) byAlias(file string, x **index, name string) ([]Hit, error) {
	if *x == nil {
		r, err := t.read(file)
		if err != nil {
			return nil, err
		}
		*x = r
	}
	want := foldAlias(name)
	var mods []string
	(*x).lines(func(line []byte) bool {
		rest, ok := bytes.CutPrefix(line, []byte("alias "))
		i := bytes.LastIndexByte(rest, ' ')
		if !ok || i < 0 {
			return true
		}
		pattern := rest[:i]
		// Most patterns begin with letters that the name lacks.
		if pattern[0] != want[0] && pattern[0] != '*' && pattern[0] != '?' && pattern[0] != '[' && pattern[0] != '-' {
			return true
		}
		if Match(foldAlias(string(pattern)), want) {
			mods = append(mods, fold(string(rest[i+1:])))
		}
		return true
	})
	var hits []Hit
	for _, m := range mods {
		path, err := t.file(m)
		if err != nil {
			return hits, err
		}
		if path != "" {
			hits = append(hits, Hit{Name: m, Path: path})
		}
	}
	return hits, nil
}

// foldAlias makes dashes underscores outside of brackets.
func foldAlias(s string) string {
	if strings.IndexByte(s, '-') < 0 {
		return s
	}
	b := []byte(s)
	in := false
	for i, c := range b {
		switch {
		case c == '[':
			in = true
		case c == ']':
			in = false
		case c == '-' && !in:
			b[i] = '_'
		}
	}
	return string(b)
}

// Match is fnmatch(3) without flags: * ? and [...]. Time is bounded by the product of the lengths.
func Match(pattern, s string) bool {
	p, i := 0, 0
	star, mark := -1, 0
	for i < len(s) {
		if p < len(pattern) {
			switch c := pattern[p]; c {
			case '*':
				star, mark = p, i
				p++
				continue
			case '?':
				p, i = p+1, i+1
				continue
			case '[':
				if n, ok := class(pattern[p:], s[i]); n > 0 {
					if ok {
						p, i = p+n, i+1
						continue
					}
					break
				}
				if s[i] == c {
					p, i = p+1, i+1
					continue
				}
			case '\\':
				if p+1 < len(pattern) && pattern[p+1] == s[i] {
					p, i = p+2, i+1
					continue
				}
			default:
				if c == s[i] {
					p, i = p+1, i+1
					continue
				}
			}
		}
		if star < 0 {
			return false
		}
		mark++
		p, i = star+1, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// class matches one bracket expression; n is its length, 0 where it has no end.
func class(p string, c byte) (n int, ok bool) {
	i, not := 1, false
	if i < len(p) && (p[i] == '!' || p[i] == '^') {
		not, i = true, i+1
	}
	for first := true; i < len(p); first = false {
		if p[i] == ']' && !first {
			return i + 1, ok != not
		}
		lo, hi := p[i], p[i]
		if i+2 < len(p) && p[i+1] == '-' && p[i+2] != ']' {
			hi = p[i+2]
			i += 2
		}
		if lo <= c && c <= hi {
			ok = true
		}
		i++
	}
	return 0, false
}

func (t *Tree) isBuiltin(want string) (bool, error) {
	if t.builtin == nil {
		x, err := t.read("modules.builtin")
		if err != nil {
			return false, err
		}
		t.builtin = x
	}
	found := false
	t.builtin.lines(func(line []byte) bool {
		found = moduleName(line) == want
		return !found
	})
	return found, nil
}

func (t *Tree) builtins() (*index, error) {
	if t.builtinInfo == nil {
		x, err := t.read("modules.builtin.modinfo")
		if err != nil {
			return nil, err
		}
		t.builtinInfo = x
	}
	return t.builtinInfo, nil
}

// strings calls f for each "module.key=value" of modules.builtin.modinfo.
func (x *index) strings(f func(mod, key, value []byte) bool) {
	for b := x.text; len(b) > 0; {
		s := b
		if i := bytes.IndexByte(b, 0); i >= 0 {
			s, b = b[:i], b[i+1:]
		} else {
			b = nil
		}
		name, value, ok := bytes.Cut(s, []byte("="))
		mod, key, ok2 := bytes.Cut(name, []byte("."))
		if ok && ok2 && !f(mod, key, value) {
			return
		}
	}
}

// Entry is a key and value of a built-in module.
type Entry struct{ Key, Value []byte }

// BuiltinInfo is what the kernel's build kept of a built-in module's .modinfo, its name first.
func (t *Tree) BuiltinInfo(name string) ([]Entry, error) {
	x, err := t.builtins()
	if err != nil {
		return nil, err
	}
	list := []Entry{{[]byte("name"), []byte(name)}}
	x.strings(func(mod, key, value []byte) bool {
		if fold(string(mod)) == name {
			list = append(list, Entry{key, value})
		}
		return true
	})
	return list, nil
}

// Provider is the module that exports a symbol, by modules.symbols; "" where no module does.
func (t *Tree) Provider(symbol []byte) (string, error) {
	if t.symbols == nil {
		x, err := t.read("modules.symbols")
		if err != nil {
			return "", err
		}
		t.symbols = make(map[string]string)
		x.lines(func(line []byte) bool {
			if rest, ok := bytes.CutPrefix(line, []byte("alias symbol:")); ok {
				if name, mod, ok := bytes.Cut(rest, []byte(" ")); ok {
					t.symbols[string(name)] = string(mod)
				}
			}
			return true
		})
	}
	return t.symbols[string(symbol)], nil
}

// Deps are the modules that a module needs, as modules.dep has them: paths below Dir, the nearest first.
func (t *Tree) Deps(name string) ([]string, error) {
	if _, err := t.file(fold(name)); err != nil {
		return nil, err
	}
	var deps []string
	t.dep.lines(func(line []byte) bool {
		path, rest, ok := bytes.Cut(line, []byte(":"))
		if !ok || moduleName(path) != fold(name) {
			return true
		}
		for _, d := range bytes.Fields(rest) {
			deps = append(deps, string(d))
		}
		return false
	})
	return deps, nil
}
