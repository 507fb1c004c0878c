package target

import (
	"bufio"
	"bytes"
	stdelf "debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kotool/internal/module"
	"kotool/internal/source"
	"kotool/internal/symvers"
)

// The prefixes that say what a path is.
var prefixes = []string{"symvers", "headers", "tree", "image", "vmlinux", "module", "config", "map", "dir", "deb"}

// Against takes a path as evidence: what it is, its content says, or a prefix ("symvers:PATH").
func (b *Builder) Against(path string) error {
	kind := ""
	for _, p := range prefixes {
		if rest, ok := strings.CutPrefix(path, p+":"); ok {
			kind, path = p, rest
			break
		}
	}
	st, err := os.Stat(path)
	if list := packages(kind, path, st); list != nil {
		return b.packages(list)
	}
	if err != nil && kind == "" && !strings.Contains(path, "/") {
		// A release of this system.
		for _, root := range []string{"/lib/modules", "/usr/lib/modules"} {
			if s, serr := os.Stat(filepath.Join(root, path)); serr == nil && s.IsDir() {
				path, st, err = filepath.Join(root, path), s, nil
				break
			}
		}
	}
	if err != nil {
		if pe, ok := errors.AsType[*os.PathError](err); ok {
			return fmt.Errorf("%s: %w", path, pe.Err)
		}
		return err
	}
	if st.IsDir() {
		return b.dir(kind, path)
	}
	switch kind {
	case "symvers":
		return b.Symvers(path)
	case "config":
		return b.ConfigFile(path)
	case "map":
		return b.SystemMap(path)
	case "module":
		return b.module(path)
	case "headers", "tree", "dir":
		return fmt.Errorf("%s: not a directory", path)
	}
	if !st.Mode().IsRegular() {
		// It can be read once only.
		data, err := b.read(path)
		if err != nil {
			return err
		}
		return b.content(kind, path, data)
	}
	return b.file(kind, path)
}

// dir is a tree of modules, or headers.
func (b *Builder) dir(kind, path string) error {
	has := func(name string) bool {
		_, err := os.Stat(filepath.Join(path, name))
		return err == nil
	}
	switch {
	case kind == "tree":
		return b.tree(path)
	case kind == "headers":
		return b.headers(path)
	case has("modules.dep"), has("modules.builtin"), has("modules.order"), has("kernel") && !has("Kconfig") && !has("Makefile"):
		return b.tree(path)
	case has("Module.symvers"), has(".config"), has("include/config"), has("include/generated"):
		return b.headers(path)
	}
	for _, sub := range []string{"lib/modules", "usr/lib/modules"} {
		list, _ := filepath.Glob(filepath.Join(path, sub, "*"))
		switch len(list) {
		case 0:
			continue
		case 1:
			return b.dir(kind, list[0])
		}
		return fmt.Errorf("%s: several kernels are below %s: name one of them", path, sub)
	}
	if hasModules(path) {
		return b.tree(path)
	}
	return fmt.Errorf("%s: neither modules nor headers of a kernel are in this directory", path)
}

// hasModules reports whether there is any module below a directory.
func hasModules(path string) bool {
	for p, err := range source.Expand([]string{path}, true) {
		if err == nil && p != "" {
			return true
		}
	}
	return false
}

// read reads a file, which may be compressed.
func (b *Builder) read(path string) ([]byte, error) {
	return readAll(path, source.Options{MaxSize: b.Limit, Any: true})
}

// readAll reads a file. What it returns is the caller's to keep: the source is not closed, and its buffers are used by nobody else.
func readAll(path string, o source.Options) ([]byte, error) {
	src, err := source.Open(path, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if src.Damage != nil {
		return nil, fmt.Errorf("%s: %w", path, src.Damage)
	}
	data, err := src.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}

// ReadSymvers reads a Module.symvers, which may be compressed. Its errors name the file, and what to give instead.
func ReadSymvers(path string, o source.Options) (*symvers.Table, error) {
	o.Any, o.Partial = true, true
	src, err := source.Open(path, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	defer src.Close()
	if src.Damage != nil {
		return nil, fmt.Errorf("%s: %w", path, src.Damage)
	}
	return asSymvers(path)(symvers.Read(src.Size(), src.Pieces()))
}

// asSymvers names the file in errors.
func asSymvers(path string) func(*symvers.Table, error) (*symvers.Table, error) {
	return func(tab *symvers.Table, err error) (*symvers.Table, error) {
		if err == nil {
			return tab, nil
		}
		if le, ok := errors.AsType[*symvers.LineError](err); ok && le.Hint != "" {
			return nil, fmt.Errorf("%s: %w\nhint: %s", path, err, le.Hint)
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
}

// file looks at the content.
func (b *Builder) file(kind, path string) error {
	raw, err := head(path)
	if err != nil {
		return err
	}
	if isDeb(raw) && kind == "" {
		return b.packages([]string{path})
	}
	if kind == "" && bytes.HasPrefix(raw, []byte(stdelf.ELFMAG)) && len(raw) > 17 {
		if raw[16] == 1 || raw[17] == 1 && raw[5] == 2 { // ET_REL
			return b.module(path)
		}
		return b.image(path)
	}
	if kind == "image" || kind == "vmlinux" || looksLikeImage(raw) && !packed(raw) {
		return b.image(path)
	}
	if kind == "" && isRows(raw) {
		return b.Symvers(path)
	}
	data, err := b.read(path)
	if err != nil {
		if looksLikeImage(raw) {
			return b.image(path)
		}
		return err
	}
	return b.content(kind, path, data)
}

// isRows reports whether a file begins as a Module.symvers does.
func isRows(data []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("0x"))
}

// content looks at bytes that were read, and unpacked if they were compressed.
func (b *Builder) content(kind, path string, data []byte) error {
	switch {
	case kind == "deb", kind == "" && isDeb(data):
		return b.packagesOf([]archive{{path, bytes.NewReader(data), uint64(len(data))}})
	case bytes.HasPrefix(data, []byte(stdelf.ELFMAG)) && len(data) > 17 && (data[16] == 1 || data[17] == 1 && data[5] == 2):
		return b.moduleOf(path, source.Options{MaxSize: b.Limit, Stdin: bytes.NewReader(data)}, "-")
	case kind == "image", kind == "vmlinux", looksLikeImage(data[:min(len(data), 4096)]), bytes.HasPrefix(data, []byte(stdelf.ELFMAG)):
		return b.imageOf(path, data)
	}
	first := data[:min(len(data), 256<<10)]
	switch {
	case isRows(data):
		return b.symversText(path, data)
	case bytes.Contains(first, []byte("\nCONFIG_")) || bytes.HasPrefix(first, []byte("CONFIG_")) || bytes.Contains(first, []byte("\n# CONFIG_")):
		return b.configOf(path, data)
	case isMap(first):
		return b.mapOf(path, data)
	}
	return fmt.Errorf("%s: neither a Module.symvers, a .config, a System.map, a module, a kernel image nor a Debian package; a prefix says what it is (%s)", path, strings.Join(prefixes, ":, ")+":")
}

// packed reports whether a file is compressed as a whole, so that what is in it is to be looked at first.
func packed(b []byte) bool {
	for _, magic := range []string{"\x1f\x8b", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd"} {
		if bytes.HasPrefix(b, []byte(magic)) {
			return true
		}
	}
	return false
}

func head(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, 4096)
	n, err := bufio.NewReaderSize(f, 4096).Read(b)
	if n == 0 && err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b[:n], nil
}

// isMap reports whether the first line is one of a System.map: address, letter, name.
func isMap(b []byte) bool {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	w := bytes.Fields(line)
	if len(w) < 3 || len(w[1]) != 1 || len(w[0]) < 8 {
		return false
	}
	for _, c := range w[0] {
		if !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
			return false
		}
	}
	return true
}

// Symvers adds a Module.symvers, or that of a package of headers.
func (b *Builder) Symvers(path string) error {
	if isPackage(path) {
		data, from, err := b.readMember(path, "Module.symvers", isSymvers)
		if err != nil {
			return err
		}
		return b.symversText(from, data)
	}
	tab, err := ReadSymvers(path, source.Options{MaxSize: b.Limit})
	if err != nil {
		return err
	}
	return b.symversOf(path, tab)
}

// symversText adds a Module.symvers that was read.
func (b *Builder) symversText(path string, data []byte) error {
	tab, err := asSymvers(path)(symvers.Parse(data))
	if err != nil {
		return err
	}
	return b.symversOf(path, tab)
}

func (b *Builder) symversOf(path string, tab *symvers.Table) error {
	if tab.Len() == 0 {
		return fmt.Errorf("%s: no rows: this is no Module.symvers of a kernel", path)
	}
	kernel := false
	for s := range tab.All() {
		if kernel = s.InKernel(); kernel {
			break
		}
	}
	says := fmt.Sprintf("%d symbols", tab.Len())
	if !tab.HasCRC {
		says += ", all CRCs 0: a kernel without CONFIG_MODVERSIONS"
	}
	if kernel {
		b.addExports(tab, path)
	} else {
		b.modules = append(b.modules, tab)
		says += ", none of the kernel itself"
	}
	b.say("symvers", path, "%s", says)
	return nil
}

// ConfigFile adds a .config, or that of a package of a kernel or of headers.
func (b *Builder) ConfigFile(path string) error {
	data, path, err := b.readMember(path, ".config", isConfig)
	if err != nil {
		return err
	}
	return b.configOf(path, data)
}

func (b *Builder) configOf(path string, data []byte) error {
	values := map[string]string{}
	if i := bytes.IndexByte(data, 0); i >= 0 {
		return fmt.Errorf("%s: line %d: a NUL byte: this is no .config", path, 1+bytes.Count(data[:i], []byte("\n")))
	}
	n := 0
	for line := range bytes.Lines(data) {
		n++
		line = bytes.TrimSpace(line)
		if key, value, ok := bytes.Cut(line, []byte("=")); ok && bytes.HasPrefix(key, []byte("CONFIG_")) {
			values[string(key[7:])] = strings.Trim(string(value), `"`)
		} else if rest, ok := bytes.CutPrefix(line, []byte("# CONFIG_")); ok {
			if name, ok := bytes.CutSuffix(rest, []byte(" is not set")); ok {
				values[string(name)] = "n"
			}
		} else if len(line) > 0 && line[0] != '#' {
			return fmt.Errorf("%s: line %d: %q is neither an option nor a comment", path, n, line[:min(len(line), 60)])
		}
	}
	if len(values) == 0 {
		return fmt.Errorf("%s: no CONFIG_ line: this is no .config", path)
	}
	if len(data) > 0 && data[len(data)-1] != '\n' {
		return fmt.Errorf("%s: line %d: no newline at the end: the file may have been cut short, and options that it lacks would count as not set", path, n)
	}
	if b.config != nil {
		if differ := differences(b.config, values); differ != "" {
			b.t.Conflicts = append(b.t.Conflicts, fmt.Sprintf("config: %s wins over %s, which has %s", b.configFrom, path, differ))
		}
		return nil
	}
	b.configFrom = path
	b.config = values
	b.configVersion = versionOfConfig(data)
	b.say("config", path, "%d options", len(values))
	if strings.Contains(values["CC_VERSION_TEXT"], "Debian") {
		// Debian's kernels are built by Debian's compiler; so are others, and the release tells them apart.
		b.fact("compiler", values["CC_VERSION_TEXT"], path, Config)
	}
	if salt := values["BUILD_SALT"]; salt != "" {
		b.fact(release, salt, path, Guessed)
	}
	return nil
}

// apart are options in which the .config of a distribution's headers may differ from its kernel's: modules fit all the same.
var apart = []string{"BUILD_SALT", "MODULE_SIG_ALL", "MODULE_SIG_KEY", "SYSTEM_TRUSTED_KEYS", "SYSTEM_REVOCATION_KEYS"}

// differences says in what one .config differs from another, "" where it does not. An option that is not mentioned is not set.
func differences(a, b map[string]string) string {
	value := func(m map[string]string, key string) string {
		if v := m[key]; v != "" {
			return v
		}
		return "n"
	}
	var list []string
	for _, m := range []map[string]string{a, b} {
		for key := range m {
			if value(a, key) != value(b, key) && !slices.Contains(apart, key) {
				list = append(list, key)
			}
		}
	}
	slices.Sort(list)
	list = slices.Compact(list)
	if len(list) == 0 {
		return ""
	}
	var shown []string
	for _, key := range list[:min(len(list), 3)] {
		shown = append(shown, fmt.Sprintf("CONFIG_%s=%s (not %s)", key, value(b, key), value(a, key)))
	}
	text := strings.Join(shown, ", ")
	if len(list) > len(shown) {
		text += fmt.Sprintf(" and %d more that differ", len(list)-len(shown))
	}
	return text
}

// SystemMap adds the addresses of the kernel's symbols, by a System.map or that of a package.
func (b *Builder) SystemMap(path string) error {
	data, path, err := b.readMember(path, "System.map", isSystemMap)
	if err != nil {
		return err
	}
	return b.mapOf(path, data)
}

func (b *Builder) mapOf(path string, data []byte) error {
	m, err := symvers.ParseMap(data)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if m.Len() == 0 {
		return fmt.Errorf("%s: no symbols: this is no System.map", path)
	}
	b.t.Addresses, b.t.AddressFrom = m, path
	says := fmt.Sprintf("%d addresses", m.Len())
	if m.Zero {
		says += ", all 0: read it as root"
	}
	b.say("map", path, "%s", says)
	return b.fromMap(path, m)
}

// fromMap takes the names that __ksymtab_ symbols give away, where a map has them: the kernel's exports without CRCs.
func (b *Builder) fromMap(path string, m *symvers.Map) error {
	var rows bytes.Buffer
	n := 0
	for s := range m.All() {
		if name, ok := bytes.CutPrefix(s.Name, []byte("__ksymtab_")); ok && len(s.Module) == 0 && !bytes.HasPrefix(name, []byte("strings")) {
			fmt.Fprintf(&rows, "0x00000000\t%s\tvmlinux\tEXPORT_SYMBOL\t\n", name)
			n++
		}
	}
	if n < 100 || len(b.vmlinux) > 0 {
		return nil
	}
	tab, err := symvers.Parse(rows.Bytes())
	if err != nil {
		return nil //nolint:nilerr // the names are a bonus
	}
	b.addExports(tab, path)
	b.fromImage++
	return nil
}

// headers is what distributions ship to build modules with, or a build directory.
func (b *Builder) headers(path string) error {
	found := false
	try := func(name string, use func(string) error) error {
		p := filepath.Join(path, name)
		if _, err := os.Stat(p); err != nil {
			return nil //nolint:nilerr // one of several files that may be there
		}
		found = true
		return use(p)
	}
	before := len(b.t.Evidence)
	for _, f := range []struct {
		name string
		use  func(string) error
	}{{"Module.symvers", b.Symvers}, {".config", b.ConfigFile}, {"include/generated/utsrelease.h", b.utsRelease}, {"include/config/kernel.release", b.releaseFile}} {
		if err := try(f.name, f.use); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("%s: no Module.symvers, .config or include/config/kernel.release: these are no headers of a configured kernel", path)
	}
	if len(b.t.Evidence) == before {
		b.say("headers", path, "release only")
	}
	return nil
}

func (b *Builder) releaseFile(path string) error {
	data, err := b.read(path)
	if err != nil {
		return err
	}
	b.releaseOf(path, data)
	return nil
}

func (b *Builder) releaseOf(path string, data []byte) {
	// Where both are there, utsrelease.h has what uname -r and vermagic say; this one may have the version that was built.
	if _, ok := b.value(release); !ok {
		b.fact(release, strings.TrimSpace(string(data)), path, Config)
	}
}

func (b *Builder) utsRelease(path string) error {
	data, err := b.read(path)
	if err != nil {
		return err
	}
	b.utsReleaseOf(path, data)
	return nil
}

func (b *Builder) utsReleaseOf(path string, data []byte) {
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "#define UTS_RELEASE "); ok {
			b.fact(release, strings.Trim(strings.TrimSpace(rest), `"`), path, Config)
		}
	}
}

// module is another module of the kernel.
func (b *Builder) module(path string) error {
	return b.moduleOf(path, source.Options{MaxSize: b.Limit}, path)
}

func (b *Builder) moduleOf(path string, o source.Options, from string) error {
	src, err := source.Open(from, o)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer src.Close()
	m, err := module.Decode(src, module.Meta{Path: path, Compression: src.Compression, Damage: src.Damage})
	if err == nil {
		err = m.NeedSections()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	l := learn(m)
	if l.vermagic == "" && l.size == 0 {
		return fmt.Errorf("%s: neither vermagic nor struct module: this is no module of a kernel", path)
	}
	l.into(b, path)
	if len(l.crcs) > 0 {
		tab, err := learnedTable(map[string]wanted{}, l.crcs)
		if err != nil {
			return err
		}
		b.learned = append(b.learned, tab)
		b.expects = append(b.expects, l)
	}
	b.say("module", path, "%s, struct module of %#x bytes, %d CRCs", l.vermagic, l.size, len(l.crcs))
	return nil
}
