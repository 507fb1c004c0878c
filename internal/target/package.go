package target

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"kotool/internal/deb"
	"kotool/internal/source"
)

// archive is a package to be read.
type archive struct {
	path string
	r    io.ReaderAt
	size uint64
}

// packedTree are the modules of packages, which have been read.
type packedTree struct {
	path string
	list []*learned
}

func isDeb(head []byte) bool { return bytes.HasPrefix(head, []byte(deb.Magic)) }

// packages are the paths of the packages that an operand names, nil where it names none: one, several with commas between them, or by the prefix
// deb: all of a directory. st is nil where there is no file of that name.
func packages(kind, operand string, st fs.FileInfo) []string {
	switch {
	case kind != "deb" && (kind != "" || st != nil || !strings.Contains(operand, ".deb,")):
		return nil
	case st == nil:
		return strings.Split(operand, ",")
	case st.IsDir():
		list, _ := filepath.Glob(filepath.Join(operand, "*.deb"))
		if len(list) == 0 {
			return []string{operand}
		}
		return list
	case !st.Mode().IsRegular():
		return nil // it can be read once only
	}
	return []string{operand}
}

// IsPackage reports whether an operand of --against names packages.
func IsPackage(operand string) bool {
	return strings.HasPrefix(operand, "deb:") || strings.HasSuffix(operand, ".deb")
}

// packages adds Debian packages of one kernel.
func (b *Builder) packages(paths []string) error {
	var list []archive
	for _, p := range paths {
		a, done, err := b.openArchive(p)
		if err != nil {
			return err
		}
		defer done()
		list = append(list, a)
	}
	return b.packagesOf(list)
}

func (b *Builder) openArchive(p string) (a archive, done func(), err error) {
	f, err := os.Open(p)
	if err != nil {
		if pe, ok := errors.AsType[*fs.PathError](err); ok {
			err = pe.Err
		}
		return a, nil, fmt.Errorf("%s: %w", p, err)
	}
	st, err := f.Stat()
	switch {
	case err == nil && st.IsDir():
		err = errors.New("a directory in which no .deb is")
	case err == nil && !st.Mode().IsRegular():
		err = errors.New("no regular file")
	}
	if err != nil {
		f.Close()
		return a, nil, fmt.Errorf("%s: %w", p, err)
	}
	return archive{p, f, uint64(st.Size())}, func() { f.Close() }, nil
}

// found is what packages have of a kernel. Modules are learned of at once, the rest is small but for the image, and used when all is there.
type found struct {
	files   []foundFile
	release string // the directory of the modules
	modules []*learned
	seen    map[string]string // what must be there once, and where it was
}

type foundFile struct {
	rank int // the order of use
	path string
	data []byte
	use  func(b *Builder, path string, data []byte) error
}

// packageFiles are the files that are looked for in a package; of the rows that fit a name the first. The order is that of use.
var packageFiles = []struct {
	what string
	is   func(name string) bool
	use  func(b *Builder, path string, data []byte) error
}{
	{"Module.symvers", isSymvers, (*Builder).symversText},
	{"config of the image", func(n string) bool { return isConfig(n) && !below(n, ".config") }, (*Builder).configOf},
	{".config", isConfig, (*Builder).configOf},
	{"utsrelease.h", func(n string) bool { return below(n, "include/generated/utsrelease.h") }, func(b *Builder, p string, data []byte) error { b.utsReleaseOf(p, data); return nil }},
	{"kernel.release", func(n string) bool { return below(n, "include/config/kernel.release") }, func(b *Builder, p string, data []byte) error { b.releaseOf(p, data); return nil }},
	{"System.map", isSystemMap, (*Builder).packedMap},
	{"kernel image", func(n string) bool { return inBoot(n, "vmlinuz-", "vmlinux-") || inModules(n) == "vmlinuz" }, (*Builder).packedImage},
	{"modules.builtin", func(n string) bool { return inModules(n) == "modules.builtin" }, func(b *Builder, _ string, data []byte) error { b.builtinOf(data); return nil }},
}

func isSymvers(n string) bool {
	return below(n, "Module.symvers") || strings.HasPrefix(inModules(n), "symvers.")
}
func isConfig(n string) bool {
	return below(n, ".config") || inBoot(n, "config-") || inModules(n) == "config"
}
func isSystemMap(n string) bool {
	return inBoot(n, "System.map-") || strings.HasPrefix(n, "usr/lib/debug/boot/System.map-") || inModules(n) == "System.map"
}

// below reports whether name is a file of headers: anywhere below usr/src, or where distributions keep them else.
func below(name, file string) bool {
	return strings.HasSuffix(name, "/"+file) && (strings.HasPrefix(name, "usr/src/") || strings.HasPrefix(name, "usr/lib/") && !strings.HasPrefix(name, "usr/lib/debug/"))
}

func inBoot(name string, prefixes ...string) bool {
	rest, ok := strings.CutPrefix(name, "boot/")
	return ok && !strings.Contains(rest, "/") && slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(rest, p) })
}

// inModules is a file's name below the directory of modules, "" for others.
func inModules(name string) string {
	_, rest := splitModules(name)
	return rest
}

func splitModules(name string) (release, rest string) {
	name, ok := strings.CutPrefix(strings.TrimPrefix(name, "usr/"), "lib/modules/")
	if !ok {
		return "", ""
	}
	release, rest, _ = strings.Cut(name, "/")
	return release, rest
}

// mostStored is how many bytes of packages' modules are kept for loading them.
const mostStored = 1 << 30

// packagesOf reads packages, each once, and uses what is in them.
func (b *Builder) packagesOf(list []archive) error {
	b.left.Store(mostStored)
	f := &found{seen: map[string]string{}}
	type useless struct{ path, text string }
	var none []useless
	for _, a := range list {
		before := len(f.files) + len(f.modules)
		p, err := b.readPackage(a, f)
		if err != nil {
			return fmt.Errorf("%s: %w", a.path, err)
		}
		if len(f.files)+len(f.modules) == before {
			none = append(none, useless{a.path, nothingIn(p)})
		}
		if strings.Contains(p.Fields["Maintainer"], "debian-kernel@") {
			b.fact(vendorFact, "Debian", a.path, Derived)
		}
	}
	if len(none) == len(list) {
		return fmt.Errorf("%s: %s", none[0].path, none[0].text)
	}
	for _, u := range none {
		b.say("deb", u.path, "not used: %s", u.text)
	}
	slices.SortStableFunc(f.files, func(x, y foundFile) int { return x.rank - y.rank })
	for _, x := range f.files {
		data, err := b.unpacked(x.path, x.data)
		if err == nil {
			err = x.use(b, x.path, data)
		} else {
			err = fmt.Errorf("%s: %w", x.path, err)
		}
		if err != nil {
			return err
		}
	}
	if f.release != "" {
		b.fact(release, f.release, f.seen["modules"], Derived)
	}
	if len(f.modules) > 0 {
		b.t.Tree = &Tree{Dir: f.seen["modules"], Release: f.release}
		b.packed = append(b.packed, packedTree{f.seen["modules"], f.modules})
	}
	return nil
}

// nothingIn says why a package is no evidence, and which is.
func nothingIn(p *deb.Package) string {
	var others []string
	for d := range strings.SplitSeq(p.Fields["Depends"], ",") {
		name, _, _ := strings.Cut(strings.TrimSpace(d), " ")
		for _, prefix := range []string{"linux-image-", "linux-binary-", "linux-modules-", "linux-headers-"} {
			if strings.HasPrefix(name, prefix) && !strings.HasSuffix(name, "-common") {
				others = append(others, name)
			}
		}
	}
	text := fmt.Sprintf("nothing of a kernel's is in the package %s: no modules, image, configuration or Module.symvers", p.Fields["Package"])
	if len(others) > 0 {
		text += "; it depends on " + strings.Join(others, ", ") + ": give those (deb:A,B)"
	}
	return text
}

// once notes where something was, and refuses another of it.
func (f *found) once(what, where string) error {
	if was := f.seen[what]; was != "" && was != where {
		return fmt.Errorf("%s and %s: packages of one kernel are wanted", was, where)
	}
	f.seen[what] = where
	return nil
}

// readPackage reads one package. Its modules are decoded one at a time by each worker, and the reader waits for them.
func (b *Builder) readPackage(a archive, f *found) (*deb.Package, error) {
	p, err := deb.Open(a.r, a.size, b.Limit)
	if err != nil {
		return nil, err
	}
	p.Jobs = b.Jobs
	type job struct {
		at      *learned
		data    []byte
		offsets bool // its offsets and its signer are looked at
	}
	jobs, free := make(chan job), make(chan []byte, b.Jobs+1)
	for range b.Jobs + 1 {
		free <- nil
	}
	var wg sync.WaitGroup
	for range b.Jobs {
		wg.Go(func() {
			pool := &source.Buffers{}
			for j := range jobs {
				*j.at = *b.packedModule(j.at.path, j.data, pool, j.offsets)
				if b.Link {
					j.at.stored = bytes.Clone(j.data) // it may be loaded
				}
				free <- j.data
			}
		})
	}
	var says []string
	modules := 0
	err = p.Each(func(x *deb.File) error {
		release, rest := splitModules(x.Name)
		if source.IsModuleName(rest) {
			if f.release != "" && f.release != release {
				return fmt.Errorf("modules of %s and %s: packages of one kernel are wanted", f.release, release)
			}
			f.release = release
			if f.seen["modules"] == "" {
				f.seen["modules"] = a.path
			}
			data, err := x.ReadTo(<-free)
			if err != nil {
				return err
			}
			l := &learned{path: a.path + ": " + x.Name}
			if b.Link && b.left.Add(-int64(len(data))) < 0 {
				return fmt.Errorf("its modules have more than the %d MiB that are kept for loading them: unpack it (dpkg-deb -x) and give the directory", mostStored>>20)
			}
			f.modules = append(f.modules, l)
			jobs <- job{l, data, sampled(modules)}
			modules++
			return nil
		}
		for rank := range packageFiles {
			w := &packageFiles[rank]
			if !w.is(x.Name) {
				continue
			}
			data, err := x.ReadTo(nil)
			if err != nil {
				return err
			}
			if w.what == "System.map" && bytes.Count(data, []byte("\n")) < 100 {
				return nil // Debian's says where the real one is
			}
			where := a.path + ": " + x.Name
			if w.what == "Module.symvers" || w.what == "kernel image" {
				if err := f.once(w.what, where); err != nil {
					return err
				}
			}
			f.files = append(f.files, foundFile{rank, where, data, w.use})
			says = append(says, path.Base(x.Name))
			break
		}
		return nil
	})
	close(jobs)
	wg.Wait()
	if err != nil {
		return nil, err
	}
	if modules > 0 {
		says = append(says, fmt.Sprintf("%d modules", modules))
	}
	if len(says) > 0 {
		b.say("deb", a.path, "%s: %s", p, strings.Join(says, ", "))
	}
	return p, nil
}

// packedModule is what a module's bytes tell.
func (b *Builder) packedModule(path string, data []byte, pool *source.Buffers, offsets bool) *learned {
	src, err := source.OpenBytes(path, data, source.Options{MaxSize: b.Limit, Pool: pool})
	if err != nil {
		return &learned{path: path, err: err}
	}
	defer src.Close()
	return learnFrom(path, src, true, offsets, b.Link)
}

// unpacked is a file of a package that is compressed by itself, as it was before.
func (b *Builder) unpacked(path string, data []byte) ([]byte, error) {
	if !packed(data) || looksLikeImage(data[:min(len(data), 4096)]) {
		return data, nil
	}
	src, err := source.OpenBytes(path, data, source.Options{MaxSize: b.Limit, Any: true})
	if err != nil {
		return nil, err
	}
	if src.Damage != nil {
		return nil, src.Damage
	}
	return src.ReadAll()
}

// packedImage takes the facts of an image, and its exports where nothing else has the kernel's.
func (b *Builder) packedImage(path string, data []byte) error {
	return b.imageFacts(path, data, len(b.vmlinux) == 0)
}

// packedMap uses a System.map unless a flag named one.
func (b *Builder) packedMap(path string, data []byte) error {
	if b.t.Addresses != nil {
		return nil
	}
	return b.mapOf(path, data)
}

// settlePackages takes what the modules of packages say.
func (b *Builder) settlePackages() error {
	for _, p := range b.packed {
		if err := b.settle(p.path, p.list, true, true); err != nil {
			return err
		}
	}
	return nil
}

// errFound ends a walk through a package.
var errFound = errors.New("found")

// isPackage reports whether a file is a Debian package, by its name's prefix or by its content; of what is no regular file nothing is read.
func isPackage(path string) bool {
	if strings.HasPrefix(path, "deb:") {
		return true
	}
	if st, err := os.Stat(path); err != nil || !st.Mode().IsRegular() {
		return false
	}
	raw, err := head(path)
	return err == nil && isDeb(raw)
}

// readMember reads a file, or the one in a Debian package whose name fits. what is its name for people; from is where the bytes are.
func (b *Builder) readMember(path, what string, is func(name string) bool) (data []byte, from string, err error) {
	if !isPackage(path) {
		data, err = b.read(path)
		return data, path, err
	}
	path = strings.TrimPrefix(path, "deb:")
	a, done, err := b.openArchive(path)
	if err != nil {
		return nil, path, err
	}
	defer done()
	p, err := deb.Open(a.r, a.size, b.Limit)
	if err == nil {
		err = p.Each(func(x *deb.File) error {
			if !is(x.Name) {
				return nil
			}
			if data, err = x.ReadTo(nil); err == nil {
				from, err = path+": "+x.Name, errFound
			}
			return err
		})
	}
	switch {
	case err == nil:
		return nil, path, fmt.Errorf("%s: no %s is in the package %s", path, what, p.Fields["Package"])
	case err != errFound:
		return nil, path, fmt.Errorf("%s: %w", path, err)
	}
	if data, err = b.unpacked(from, data); err != nil {
		return nil, from, fmt.Errorf("%s: %w", from, err)
	}
	return data, from, nil
}

// withPackage adds a package's modules as providers of exports.
func (b *Builder) withPackage(p string) error {
	a, done, err := b.openArchive(strings.TrimPrefix(p, "deb:"))
	if err != nil {
		return err
	}
	defer done()
	f := &found{seen: map[string]string{}}
	if _, err := b.readPackage(a, f); err != nil {
		return fmt.Errorf("%s: %w", a.path, err)
	}
	return b.provide(a.path, f.modules)
}
