package target

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"

	"kotool/internal/elf"
	"kotool/internal/ksymtab"
	"kotool/internal/module"
	"kotool/internal/sig"
	"kotool/internal/source"
	"kotool/internal/symvers"
	"kotool/internal/versions"
)

// learned is what one module tells of its kernel.
type learned struct {
	path             string
	name             string
	err              error
	arch             string
	vermagic         string
	size, init, exit uint64
	signer, packed   string
	exports          []ksymtab.Export
	hasCRCs          bool
	crcs             map[string]wanted
	names            []byte // of what it uses, with NULs between
	plain            []byte // the file, unpacked, where it is kept
	stored           []byte // the file as it stands in a package, where it may be loaded
	packedSize       uint64
	intree           bool
}

// wanted is a symbol that a module expects of others.
type wanted struct {
	crc    uint32
	hasCRC bool
	clash  bool // modules differ
}

// learn reads what a module tells.
func learn(m *module.Module) *learned {
	l := &learned{path: m.Path, packed: m.Compression}
	l.quick(m)
	if t := m.This(); t != nil {
		if t.Init != nil {
			l.init = t.Init.Off
		}
		if t.Exit != nil {
			l.exit = t.Exit.Off
		}
	}
	l.wants(m)
	return l
}

// quick reads headers and .modinfo only.
func (l *learned) quick(m *module.Module) {
	l.name = m.Name()
	if m.File.Arch != nil {
		l.arch = m.File.Arch.Name
	}
	l.vermagic = m.InfoValue("vermagic")
	_, l.intree = m.Info().Get("intree")
	if i := m.File.Find(".gnu.linkonce.this_module"); i > 0 {
		l.size = m.File.Sections[i].Size
	}
}

// wants are the symbols that it uses, with their CRCs.
func (l *learned) wants(m *module.Module) {
	l.crcs = map[string]wanted{}
	tab := m.Versions()
	index := versions.NewIndex(tab.Effective())
	t := m.Symtab()
	for i := 1; i < t.Len(); i++ {
		s := t.At(i)
		if !s.Undefined() || s.Bind() == 2 {
			continue
		}
		name := t.Name(s)
		w := wanted{}
		if e := index.Find(name); e != nil && e.High == 0 {
			w.crc, w.hasCRC = e.CRC, true
		}
		l.crcs[string(name)] = w
	}
	if e := index.Find([]byte("module_layout")); e != nil {
		l.crcs["module_layout"] = wanted{crc: e.CRC, hasCRC: true}
	}
}

// uses notes the names of the symbols that it uses.
func (l *learned) uses(m *module.Module) {
	t := m.Symtab()
	raw := t.Raw()
	for i := 1; i < t.Len(); i++ {
		if raw != nil && elf.PlainShndx(raw[i*24:]) != 0 {
			continue
		}
		if s := t.At(i); s.Undefined() && s.Bind() != 2 {
			l.names = append(append(l.names, t.Name(s)...), 0)
		}
	}
	l.names = slices.Clip(l.names)
}

// into notes the facts of one module.
func (l *learned) into(b *Builder, from string) {
	b.fact(machine, l.arch, from, Derived)
	b.fact(vermagic, l.vermagic, from, Derived)
	number := func(what string, v uint64) {
		if v != 0 {
			b.fact(what, fmt.Sprintf("%#x", v), from, Derived)
		}
	}
	number(structSize, l.size)
	number(structInit, l.init)
	number(structExit, l.exit)
}

// scan reads the modules below a directory, in the order of the walk.
func (b *Builder) scan(dir string, wants bool) ([]*learned, error) {
	var paths []string
	for p, err := range source.Expand([]string{dir}, true) {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		paths = append(paths, p)
	}
	list := make([]*learned, len(paths))
	b.left.Store(b.Keep)
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(b.Jobs, max(1, len(paths))) {
		wg.Go(func() {
			buffers := &source.Buffers{}
			for i := range next {
				list[i] = b.one(paths[i], buffers, wants, sampled(i))
			}
		})
	}
	for i := range paths {
		next <- i
	}
	close(next)
	wg.Wait()
	return list, nil
}

func (b *Builder) one(path string, pool *source.Buffers, wants, offsets bool) *learned {
	src, err := source.Open(path, source.Options{MaxSize: b.Limit, Partial: true, Pool: pool})
	if err != nil {
		return &learned{path: path, err: err}
	}
	defer src.Close()
	l := learnFrom(path, src, wants, offsets, b.Link)
	if l.err == nil && src.Compression != "none" && b.left.Add(-int64(src.Size())) >= 0 {
		l.plain, l.packedSize = src.Keep(), src.PackedSize
	}
	return l
}

// sampled reports whether module number i is one of those of which more is read: the first, and some of the rest.
func sampled(i int) bool { return i < 16 || i%64 == 0 }

// learnFrom is what an open module tells to a tree. wants, offsets and names are parts that cost more and are not always asked for.
func learnFrom(path string, src *source.Input, wants, offsets, names bool) *learned {
	m, err := module.Decode(src, module.Meta{Path: path, Compression: src.Compression, Damage: src.Damage})
	if err == nil {
		err = m.NeedSections()
	}
	if err == nil {
		err = src.Damage
	}
	if err != nil {
		return &learned{path: path, err: err}
	}
	l := &learned{path: path, packed: src.Compression}
	l.quick(m)
	if offsets {
		if t := m.This(); t != nil {
			if t.Init != nil {
				l.init = t.Init.Off
			}
			if t.Exit != nil {
				l.exit = t.Exit.Off
			}
		}
		if s, err := sig.Read(m.File.Source()); err == nil && s != nil {
			l.signer = s.Signer()
		}
	}
	tab := m.Exports()
	l.hasCRCs = tab.HasCRCs
	for i := range tab.Exports {
		e := tab.Exports[i]
		e.Name, e.Namespace = bytes.Clone(e.Name), bytes.Clone(e.Namespace)
		l.exports = append(l.exports, e)
	}
	if wants || offsets {
		l.wants(m)
	}
	if names {
		l.uses(m)
	}
	return l
}

// fewExports is how many symbols a kernel exports at the least that was not trimmed.
const fewExports = 8000

// row appends a row of a Module.symvers; names that cannot stand in one are left out.
func row(b *bytes.Buffer, e *ksymtab.Export, owner string) bool {
	if len(e.Name) == 0 || bytes.ContainsAny(e.Name, "\t\n\r ") || bytes.ContainsAny(e.Namespace, "\t\n\r ") || strings.ContainsAny(owner, "\t\n\r ") {
		return false
	}
	kind := "EXPORT_SYMBOL"
	if e.License.GPL() {
		kind = "EXPORT_SYMBOL_GPL"
	}
	fmt.Fprintf(b, "0x%08x\t%s\t%s\t%s\t%s\n", e.CRC, e.Name, owner, kind, e.Namespace)
	return true
}

// exportTable makes a table of the exports of one owner.
func exportTable(list []ksymtab.Export, owner string) (*symvers.Table, error) {
	var b bytes.Buffer
	for i := range list {
		row(&b, &list[i], owner)
	}
	return symvers.Parse(b.Bytes())
}

// tableOf makes a table of what modules export; nil where they export nothing.
func tableOf(list []*learned) (*symvers.Table, int, error) {
	var b bytes.Buffer
	n := 0
	for _, l := range list {
		for i := range l.exports {
			if row(&b, &l.exports[i], l.name) {
				n++
			}
		}
	}
	if n == 0 {
		return nil, 0, nil
	}
	tab, err := symvers.Parse(b.Bytes())
	return tab, n, err
}

// learnAll makes a table of what the modules use and none of them exports: the kernel exports it, or they would not load.
func learnAll(list []*learned, own *symvers.Table) (*symvers.Table, int, error) {
	seen := map[string]wanted{}
	votes := map[string]map[uint32]int{} // of symbols about which modules differ
	// What a module from outside of the kernel's tree uses need not be there: the kernel's own modules vouch for it, where there are any.
	if slices.ContainsFunc(list, func(l *learned) bool { return l.intree }) {
		list = slices.DeleteFunc(slices.Clone(list), func(l *learned) bool { return !l.intree })
	}
	for _, l := range list {
		for name, w := range l.crcs {
			if own != nil {
				if _, ok := own.Lookup([]byte(name)); ok {
					continue
				}
			}
			have, ok := seen[name]
			switch {
			case !ok, !have.hasCRC && w.hasCRC:
				seen[name] = w
			case have.hasCRC && w.hasCRC && have.crc != w.crc:
				votes[name] = map[uint32]int{}
			}
		}
	}
	for _, l := range list {
		for name, w := range l.crcs {
			if v := votes[name]; v != nil && w.hasCRC {
				v[w.crc]++
			}
		}
	}
	for name, v := range votes {
		seen[name] = elect(v)
	}
	tab, err := learnedTable(seen, nil)
	return tab, len(seen), err
}

// elect is what most modules expect; where no CRC has more votes than each other, nothing is known.
func elect(votes map[uint32]int) wanted {
	w, most := wanted{hasCRC: true}, 0
	for crc, n := range votes {
		switch {
		case n > most:
			w.crc, w.clash, most = crc, false, n
		case n == most:
			w.clash = true
		}
	}
	return w
}

func learnedTable(a, more map[string]wanted) (*symvers.Table, error) {
	var names []string
	for _, m := range []map[string]wanted{a, more} {
		for name, w := range m {
			if !w.clash && name != "" && !strings.ContainsAny(name, "\t\n\r ") {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	var b bytes.Buffer
	for _, n := range names {
		w, ok := a[n]
		if !ok {
			w = more[n]
		}
		fmt.Fprintf(&b, "0x%08x\t%s\tvmlinux\tEXPORT_SYMBOL\t\n", w.crc, n)
	}
	if len(names) == 0 {
		return nil, nil
	}
	return symvers.Parse(b.Bytes())
}
