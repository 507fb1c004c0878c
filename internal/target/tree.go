package target

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"kotool/internal/modtree"
	"kotool/internal/module"
	"kotool/internal/source"
	"kotool/internal/symvers"
)

// Tree is a directory of modules.
type Tree struct {
	Dir     string
	Release string
	Modules int
	Damaged int // files that are none

	paths map[string]string   // of files by module name
	list  []string            // all files, in the order of the walk
	needs map[string][]string // by path: the files whose symbols a module uses
	owner map[string]string   // by symbol: the file that exports it
	kept  map[string]*learned // by path: those whose bytes are kept
}

// Open opens a file as source.Open does. For one of the tree, bytes that were kept serve the first time, those of a package always.
func (t *Tree) Open(path string, o source.Options) (*source.Input, error) {
	if t == nil || t.kept[path] == nil {
		return source.Open(path, o)
	}
	l := t.kept[path]
	if l.stored != nil {
		return source.OpenBytes(path, l.stored, o)
	}
	delete(t.kept, path)
	return source.Kept(path, l.packed, l.packedSize, l.plain), nil
}

// Path is the file of a module by its name, "" where the tree has none.
func (t *Tree) Path(name string) string { return t.paths[strings.ReplaceAll(name, "-", "_")] }

// Names are the names of the tree's modules, in no order.
func (t *Tree) Names() []string { return slices.Collect(maps.Keys(t.paths)) }

// Before are the files that have to be loaded before one, by symbols, each after what it needs itself. The file need not be one of the tree:
// then it is read, limit bytes at the most; where that fails, nothing is known.
func (t *Tree) Before(path string, limit uint64) []string {
	if !slices.Contains(t.list, path) && path != "-" {
		src, err := source.Open(path, source.Options{MaxSize: limit, Partial: true})
		if err != nil {
			return nil // loading it says why
		}
		defer src.Close()
		t.needs[path] = t.owners(learnFrom(path, src, false, false, true))
	}
	list := postorder(nil, path, map[string]bool{}, t.direct)
	return list[:len(list)-1] // without itself
}

func (t *Tree) direct(path string) []string { return t.needs[path] }

// Order are all files, each behind what it needs.
func (t *Tree) Order() []string {
	var list []string
	seen := map[string]bool{}
	for _, p := range t.list {
		list = postorder(list, p, seen, t.direct)
	}
	return list
}

// postorder appends what a module needs, each behind what it needs itself, and then the module.
func postorder(list []string, at string, seen map[string]bool, direct func(string) []string) []string {
	if seen[at] {
		return list
	}
	seen[at] = true
	for _, d := range direct(at) {
		list = postorder(list, d, seen, direct)
	}
	return append(list, at)
}

// link finds out which modules need which.
func (t *Tree) link(list []*learned) {
	t.paths, t.needs, t.kept, t.owner = map[string]string{}, map[string][]string{}, map[string]*learned{}, map[string]string{}
	for _, l := range list {
		t.list = append(t.list, l.path)
		if l.plain != nil || l.stored != nil {
			t.kept[l.path] = l
		}
		if _, ok := t.paths[l.name]; !ok {
			t.paths[l.name] = l.path
		}
		for i := range l.exports {
			if n := string(l.exports[i].Name); t.owner[n] == "" {
				t.owner[n] = l.path
			}
		}
	}
	for _, l := range list {
		if needs := t.owners(l); len(needs) > 0 {
			t.needs[l.path] = needs
		}
	}
}

// owners are the files whose symbols a module uses, sorted.
func (t *Tree) owners(l *learned) []string {
	var needs []string
	for name := range bytes.SplitSeq(l.names, []byte{0}) {
		if o := t.owner[string(name)]; o != "" && o != l.path && !slices.Contains(needs, o) {
			needs = append(needs, o)
		}
	}
	slices.Sort(needs)
	return needs
}

// tree notes a directory of modules; what its modules say is read when all other evidence is in.
func (b *Builder) tree(path string) error {
	b.trees = append(b.trees, path)
	rel := ""
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if base := filepath.Base(abs); base != "" && base[0] >= '0' && base[0] <= '9' && strings.Contains(base, ".") {
		rel = base
		b.fact(release, rel, path, Derived)
	}
	b.t.Tree = &Tree{Dir: path, Release: rel}
	if _, err := os.Stat(filepath.Join(path, "modules.dep")); err == nil {
		b.t.Deps = sync.OnceValue(func() func(string) []string { return readDeps(path) })
	}
	if err := b.readBuiltin(path); err != nil {
		return err
	}
	// The root that it belongs to, in the words in which the tree was named where those have it.
	up := filepath.Dir(filepath.Dir(path))
	if !strings.HasSuffix(filepath.ToSlash(filepath.Dir(filepath.Clean(path))), "lib/modules") {
		up = filepath.Dir(filepath.Dir(abs))
	}
	root := strings.TrimSuffix(strings.TrimSuffix(up, "lib"), "/")
	root = strings.TrimSuffix(strings.TrimSuffix(root, "usr"), "/")
	if root == "" && filepath.IsAbs(up) {
		root = "/"
	}
	linked := func(p string) error { return b.linked(p, root) }
	// What lies beside the modules: some distributions keep the kernel's own files here.
	for _, f := range []struct {
		name string
		use  func(string) error
	}{{"config", b.ConfigFile}, {"symvers.xz", b.Symvers}, {"symvers.gz", b.Symvers}, {"symvers.zst", b.Symvers}, {"build", linked}, {"source", linked}, {"vmlinuz", b.imageIfNeeded}} {
		p := filepath.Join(path, f.name)
		if _, err := os.Lstat(p); err == nil {
			if err := f.use(p); err != nil {
				return err
			}
		}
	}
	if rel == "" {
		return nil
	}
	// And in /boot of the same root.
	for _, f := range []struct {
		name string
		use  func(string) error
	}{{"config-" + rel, b.configIfNeeded}, {"vmlinuz-" + rel, b.imageIfNeeded}, {"vmlinux-" + rel, b.imageIfNeeded}} {
		p := filepath.Join(root, "boot", f.name)
		if _, err := os.Stat(p); err == nil {
			if err := f.use(p); err != nil {
				b.say("image", p, "%v: not used", err)
			}
		}
	}
	return nil
}

// readDeps reads modules.dep of a tree.
func readDeps(dir string) func(name string) []string {
	deps := map[string][]string{}
	data, _ := os.ReadFile(filepath.Join(dir, "modules.dep")) // a tree without it has no order
	for line := range bytes.Lines(data) {
		if path, rest, ok := bytes.Cut(line, []byte(":")); ok {
			if f := strings.Fields(string(rest)); len(f) > 0 {
				deps[module.NameOfFile(string(path))] = f
			}
		}
	}
	return func(name string) []string { return deps[name] }
}

// deps finds out what modules need by what they use, where a tree has no modules.dep: files are read when they are asked for.
type deps struct {
	paths map[string]string // of files by module name
	own   *symvers.Table    // what the modules export
	limit uint64
	needs map[string][]string
}

// of is what readDeps says: files, the nearest first.
func (d *deps) of(name string) []string {
	var list []string
	for _, n := range postorder(nil, name, map[string]bool{}, d.direct) {
		if path := d.paths[n]; path != "" && n != name {
			list = append(list, path)
		}
	}
	slices.Reverse(list)
	return list
}

func (d *deps) direct(name string) []string {
	path := d.paths[name]
	if needs, ok := d.needs[name]; ok || path == "" {
		return needs
	}
	var needs []string
	d.needs[name] = nil
	src, err := source.Open(path, source.Options{MaxSize: d.limit, Partial: true})
	if err != nil {
		return nil // it was there a moment ago
	}
	defer src.Close()
	m, err := module.Decode(src, module.Meta{Path: path, Compression: src.Compression, Damage: src.Damage})
	if err != nil {
		return nil
	}
	t := m.Symtab()
	needs = d.owners(name, func(yield func(string) bool) {
		for i := 1; i < t.Len(); i++ {
			if s := t.At(i); s.Undefined() && !yield(string(t.Name(s))) {
				return
			}
		}
	})
	d.needs[name] = needs
	return needs
}

// owners are the other modules that export symbols.
func (d *deps) owners(name string, symbols iter.Seq[string]) (needs []string) {
	for s := range symbols {
		if x, ok := d.own.Lookup([]byte(s)); ok {
			if n := module.NameOfFile(string(x.Module)); n != name && !slices.Contains(needs, n) {
				needs = append(needs, n)
			}
		}
	}
	slices.Sort(needs)
	return needs
}

// linked is the tree's link to the headers. An absolute link is one below the tree's own root.
func (b *Builder) linked(path, root string) error {
	if len(b.vmlinux) > 0 && b.config != nil {
		return nil
	}
	if to, err := os.Readlink(path); err == nil && filepath.IsAbs(to) {
		path = filepath.Join(root, to)
	}
	for _, name := range []string{"Module.symvers", ".config"} {
		if _, err := os.Stat(filepath.Join(path, name)); err == nil {
			return b.headers(path)
		}
	}
	return nil
}

func (b *Builder) configIfNeeded(path string) error {
	if b.config != nil {
		return nil
	}
	return b.ConfigFile(path)
}

// imageIfNeeded reads an image only where nothing else has the kernel's exports.
func (b *Builder) imageIfNeeded(path string) error {
	if len(b.vmlinux) > 0 {
		return nil
	}
	return b.image(path)
}

func (b *Builder) readBuiltin(path string) error {
	data, err := os.ReadFile(filepath.Join(path, "modules.builtin"))
	if err != nil {
		return nil //nolint:nilerr // not every tree has it
	}
	b.builtinOf(data)
	return nil
}

func (b *Builder) builtinOf(data []byte) {
	if b.builtin == nil {
		b.builtin = map[string]string{}
	}
	b.hasBuilt = true
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" {
			b.builtin[module.NameOfFile(line)] = line
		}
	}
}

// With adds the modules below a directory, or in a Debian package, as providers of exports.
func (b *Builder) With(path string) error {
	if raw, err := head(strings.TrimPrefix(path, "deb:")); err == nil && isDeb(raw) {
		return b.withPackage(path)
	}
	list, err := b.scan(path, false)
	if err != nil {
		return err
	}
	return b.provide(path, list)
}

func (b *Builder) provide(path string, list []*learned) error {
	tab, n, err := tableOf(list)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return fmt.Errorf("%s: no modules are in it", path)
	}
	if tab != nil {
		b.modules = append(b.modules, tab)
	}
	b.say("modules", path, "%d modules, %d symbols", len(list), n)
	return nil
}

// readTrees reads the modules of the trees that were given.
func (b *Builder) readTrees() error {
	for _, dir := range b.trees {
		wants := len(b.vmlinux) == 0 || len(b.vmlinux) == 1 && b.vmlinux[0].Len() < fewExports
		list, err := b.scan(dir, wants)
		if err != nil {
			return err
		}
		if err := b.settle(dir, list, wants, false); err != nil {
			return err
		}
	}
	return b.settlePackages()
}

// settle takes what the modules of a tree say. packed: they are no files that can be read again.
func (b *Builder) settle(dir string, list []*learned, wants, packed bool) error {
	good := list[:0:0]
	for _, l := range list {
		if l.err == nil {
			good = append(good, l)
		} else if _, missing := errors.AsType[*os.PathError](l.err); missing {
			b.conflict("%s: %v", l.path, l.err)
		}
	}
	if len(good) == 0 {
		return fmt.Errorf("%s: no modules are in this directory", dir)
	}
	b.t.Tree.Modules, b.t.Tree.Damaged = len(good), len(list)-len(good)
	b.majority(dir, good)
	e := &expected{}
	for _, l := range good {
		if l.intree { // those from outside may be of another kernel, and are judged themselves
			e.add(l.crcs, b.exporters)
		}
	}
	e.tell(b, "the modules of "+dir)
	if b.Link {
		b.t.Tree.link(good)
	}
	tab, n, err := tableOf(good)
	if err != nil {
		return err
	}
	if tab != nil {
		b.modules = append(b.modules, tab)
		if b.t.Deps == nil {
			d := &deps{paths: map[string]string{}, own: tab, limit: b.Limit, needs: map[string][]string{}}
			for _, l := range good {
				d.paths[l.name] = l.path
				if packed {
					d.needs[l.name] = d.owners(l.name, maps.Keys(l.crcs))
				}
			}
			b.t.Deps = sync.OnceValue(func() func(string) []string { return d.of })
		}
	}
	says := fmt.Sprintf("%d modules, %d symbols", len(good), n)
	if len(b.vmlinux) > 0 && wants {
		b.used = map[string]wanted{}
		for _, l := range good {
			maps.Copy(b.used, l.crcs)
		}
	} else if wants {
		lt, k, err := learnAll(good, tab)
		if err != nil {
			return err
		}
		if lt != nil {
			b.learned = append(b.learned, lt)
		}
		says += fmt.Sprintf(", which use %d of the kernel", k)
		if b.t.ExportsFrom == "" {
			b.t.ExportsFrom = "what the modules of " + dir + " use"
		}
	}
	b.say("tree", dir, "%s", says)
	return nil
}

// majority takes the facts that most modules agree on.
func (b *Builder) majority(dir string, list []*learned) {
	vote := func(what string, of func(*learned) string) {
		count := map[string]int{}
		total := 0
		for _, l := range list {
			if v := of(l); v != "" {
				count[v]++
				total++
			}
		}
		best := ""
		for v, n := range count {
			if n > count[best] || n == count[best] && v < best {
				best = v
			}
		}
		from := fmt.Sprintf("%d of %d modules of %s", count[best], total, dir)
		b.fact(what, best, from, Derived)
	}
	number := func(v uint64) string {
		if v == 0 {
			return ""
		}
		return fmt.Sprintf("%#x", v)
	}
	vote(machine, func(l *learned) string { return l.arch })
	vote(vermagic, func(l *learned) string { return l.vermagic })
	vote(structSize, func(l *learned) string { return number(l.size) })
	vote(structInit, func(l *learned) string { return number(l.init) })
	vote(structExit, func(l *learned) string { return number(l.exit) })
	for _, l := range list {
		b.t.Packed[l.packed]++
		if l.signer != "" {
			b.t.Signers[l.signer]++
		}
	}
	vote(compression, func(l *learned) string { return l.packed })
}

// Running adds the running system's kernel, if this is Linux and its modules are there. ok is false where they are not.
func (b *Builder) Running() (ok bool, err error) {
	data, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return false, nil //nolint:nilerr // no Linux
	}
	t, err := modtree.Open("", strings.TrimSpace(string(data)))
	if err != nil {
		return false, nil //nolint:nilerr // no modules of it here
	}
	return true, b.tree(t.Dir)
}
