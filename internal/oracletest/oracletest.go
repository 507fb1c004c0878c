// Package oracletest reads recordings of what real kernels did with modules. They hold a distribution's modules and are not part of the
// repository: KOTOOL_ORACLE names the folder that has them. It supports tests.
package oracletest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mikelolasagasti/xz"

	"kotool/internal/arch"
	"kotool/internal/compat"
	"kotool/internal/diag"
	"kotool/internal/elf"
	"kotool/internal/kver"
	"kotool/internal/module"
	"kotool/internal/oracledir"
	"kotool/internal/sig"
	"kotool/internal/source"
	"kotool/internal/symvers"
)

// Recorded is what a kernel did with one module.
type Recorded struct {
	ID     string
	What   string
	Base   string
	Errno  *int
	Dmesg  []string
	Taint  string
	SHA256 string
}

// Mutation is a module that was changed, and how it is loaded.
type Mutation struct {
	ID, File, Base, What string
	Params               string
	Flags                uint32
	Syscall              string
	Len                  *uint64
	Pre                  []string
	Boot                 string
}

// ReadFile returns a file's plain content.
func ReadFile(t *testing.T, path string) []byte {
	t.Helper()
	in, err := source.Open(path, source.Options{Any: true})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	b, err := in.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b)
}

// Oracle is the recording of one kernel's verdicts.
type Oracle struct {
	Kernel   string
	Results  []Recorded
	Manifest map[string]Mutation
	Files    map[string][]byte
	symvers  *symvers.Table
	config   map[string]string
	keys     []*sig.Certificate
	Carry    string            // a line without newline, which is seen with the next load's
	KO       map[string]string // modules of the kernel, by name
}

// Verdicts lists the recordings of damaged and odd modules.
func Verdicts(t *testing.T) []string {
	t.Helper()
	list, _ := filepath.Glob(filepath.Join(oracledir.Path(), "verdicts-amd64-*.json.gz"))
	if len(list) == 0 {
		t.Skipf("no recorded verdicts in %s: set KOTOOL_ORACLE to the folder that has them", oracledir.Path())
	}
	return list
}

// Read reads one of Verdicts, with its modules and its kernel.
func Read(t *testing.T, verdicts string) *Oracle {
	t.Helper()
	o := &Oracle{Manifest: map[string]Mutation{}, Files: map[string][]byte{}, KO: map[string]string{}}
	name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(verdicts), "verdicts-"), ".json.gz")
	var doc struct {
		Kernel  string
		Results []Recorded
	}
	f, err := os.Open(verdicts)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	o.Kernel, o.Results = doc.Kernel, doc.Results
	dir := filepath.Dir(verdicts)
	packed, err := os.Open(filepath.Join(dir, "mutants-"+name+".tar.xz"))
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	x, err := xz.NewReader(packed, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	tr := tar.NewReader(x)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(h.Name) == "manifest.json" {
			var m struct{ Mutations []Mutation }
			if err := json.Unmarshal(b, &m); err != nil {
				t.Fatal(err)
			}
			for _, x := range m.Mutations {
				o.Manifest[x.ID] = x
			}
			continue
		}
		o.Files[filepath.Base(h.Name)] = b
	}
	k := filepath.Join(dir, "kernel-"+name)
	if o.symvers, err = symvers.Parse(ReadFile(t, filepath.Join(k, "Module.symvers.xz"))); err != nil {
		t.Fatal(err)
	}
	o.config = map[string]string{}
	for line := range strings.Lines(string(ReadFile(t, filepath.Join(k, "config.xz")))) {
		line = strings.TrimSpace(line)
		if key, value, ok := strings.Cut(line, "="); ok && strings.HasPrefix(key, "CONFIG_") {
			o.config[key[7:]] = value
		}
	}
	if o.keys, err = sig.ParseCertificates(ReadFile(t, filepath.Join(k, "signing-key.der")), "signing-key.der"); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{filepath.Join(k, "ko"), filepath.Join(dir, "mini", name, "ko")} {
		list, _ := filepath.Glob(filepath.Join(d, "*.ko.xz"))
		for _, p := range list {
			o.KO[module.NameOfFile(p)] = p
		}
	}
	return o
}

// Decode decodes a module; nil for what is none.
func Decode(t *testing.T, b []byte) *module.Module {
	t.Helper()
	m, err := module.Decode(elf.Mem(b), module.Meta{})
	if err != nil {
		return nil
	}
	return m
}

// Target is that kernel.
func (o *Oracle) Target(t *testing.T) *compat.Target {
	base := Decode(t, o.Files["base.ko"])
	v, err := kver.Parse(o.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	this := base.This()
	tg := &compat.Target{Arch: arch.Named("amd64"), Release: o.Kernel, Version: v, Vermagic: base.InfoValue("vermagic"),
		Struct:  compat.StructModule{Size: this.Size, Init: this.Init.Off, Exit: this.Exit.Off},
		Symvers: []*symvers.Table{o.vmlinuxOnly(t)}, ModVersions: o.symvers.HasCRC, MissingCRC: compat.Yes, Keys: o.keys,
		Live: map[string]compat.Export{}, LiveModules: map[string]*compat.LiveModule{}, Enforce: compat.No,
		Config: func(name string) (string, bool) { return o.config[name], true }}
	return tg
}

// vmlinuxOnly leaves out what modules export: they are loaded or not.
func (o *Oracle) vmlinuxOnly(t *testing.T) *symvers.Table {
	var b bytes.Buffer
	for s := range o.symvers.All() {
		if s.InKernel() {
			fmt.Fprintf(&b, "0x%08x\t%s\t%s\t%s\t%s\n", s.CRC, s.Name, s.Module, s.Export, s.Namespace)
		}
	}
	tab, err := symvers.Parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// Live loads a module into the target.
func Live(t *testing.T, tg *compat.Target, b []byte) {
	m := Decode(t, b)
	name := m.Name()
	tg.LiveModules[name] = &compat.LiveModule{}
	for i := range m.Exports().Exports {
		e := &m.Exports().Exports[i]
		tg.Live[string(e.Name)] = compat.Export{CRC: e.CRC, HasCRC: e.HasCRC, GPL: e.License.GPL(), Namespace: string(e.Namespace), Owner: name}
	}
}

var (
	loc  = regexp.MustCompile(`(loc|val) \S+`)
	once = []string{"verification failed: signature and/or required key missing", "Disabling lock debugging", "loading out-of-tree module taints", "module license '",
		"module license taints kernel", "loading test module taints", "TAINT_LIVEPATCH", "Kernel module BTF mismatch", "bad vermagic: kernel tainted", "module_layout: kernel tainted", "no versions for exported symbols: kernel tainted"}
	// Lines of the modules' own code, and of ftrace about a site that is not the call it expects.
	others = regexp.MustCompile(`^(zram: |clocksource: |Tainted: |Error: Invalid bonding mode|Warning: (max_bonds|bad arp_ip_target)|null_blk: (disk|module)|loop: module loaded|tun: Universal|xor: automatically|` +
		`ftrace failed to modify|\[<[0-9a-f]+>\]|Initializing ftrace|ftrace record flags| \(0\))`)
	// Loads that the module's own init function ends.
	byInit = map[string]string{"dep-missing-libcrc32c": "crypto_alloc_shash in init", "param-bonding-10": "init", "param-bonding-12": "init", "param-zram-20": "init"}
	own    = regexp.MustCompile(`^(\S+: )?(scsi|RIP:|Code:|RAX:|RBX:|RDX:|RSP:|R\d\d|FS:|CS:|CR\d|DR\d|Call Trace| ?</?TASK| [a-z_?]|PGD|PUD|Oops|#PF|BUG:|CPU:|Hardware name|Modules linked|Workqueue|---\[|------|WARNING:|kobject_add|EIP|PKRU|RBP|R0|unable|general protection)`)
)

// Mask takes what differs from boot to boot out of a log.
func Mask(lines []string) []string {
	var out []string
	for _, l := range lines {
		if strings.HasPrefix(l, "<") {
			if i := strings.IndexByte(l, '>'); i > 0 {
				l = l[i+1:]
			}
		}
		skip := own.MatchString(l) || others.MatchString(l)
		for _, o := range once {
			skip = skip || strings.Contains(l, o)
		}
		if skip {
			continue
		}
		l = loc.ReplaceAllString(l, "$1 #")
		if strings.Contains(l, "attempted to be registered with empty name") {
			l = "kobject: empty name"
		}
		out = append(out, l)
	}
	return out
}

// Answer is what kotool says of a load.
type Answer struct {
	Errno     diag.Errno
	Log       []string
	Undefined error
	Stray     bool // names were read where the kernel keeps addresses
}

// Prepared is the target for one mutation: what is loaded before is there.
func (o *Oracle) Prepared(t *testing.T, m *Mutation) (*compat.Target, error) {
	t.Helper()
	tg := o.Target(t)
	if m.Boot == "enforce" {
		tg.Enforce = compat.Yes
	}
	for _, name := range m.Pre {
		p, ok := o.KO[strings.ReplaceAll(name, "-", "_")]
		if !ok {
			return nil, fmt.Errorf("no module %s", name)
		}
		Live(t, tg, ReadFile(t, p))
	}
	return tg, nil
}

// Compare compares a recorded load with an answer. why: they are equal but for a reason that is given. bad: they differ.
func (o *Oracle) Compare(r *Recorded, a *Answer) (why, bad string) {
	got := Mask(a.Log)
	want := Mask(r.Dmesg)
	if o.Carry != "" && len(want) > 0 && want[0] == o.Carry {
		want = want[1:]
	}
	o.Carry = ""
	if len(want) == 0 && len(got) == 1 && len(got[0]) > 900 {
		o.Carry, got = got[0], nil
	}
	if a.Undefined != nil {
		if r.Errno == nil || *r.Errno < 0 {
			return "the kernel crashed, kotool says undefined", ""
		}
		if strings.Contains(a.Undefined.Error(), "is not one of the kernel's standard types") {
			return "a parameter that the module's own code sets", ""
		}
		return "", fmt.Sprintf("undefined (%v), the kernel: %d %q", a.Undefined, *r.Errno, r.Dmesg)
	}
	if r.ID == "sh-BTF-offset-80000000" && strings.HasPrefix(o.Kernel, "6.12") {
		return "an artefact of the recording: the entry of an oops before it", ""
	}
	if r.Errno == nil || *r.Errno < 0 {
		if a.Errno == 0 {
			return "accepted, then the module's own code crashed", ""
		}
		return "", fmt.Sprintf("kotool: %v %q, the kernel crashed: %q", a.Errno, got, r.Dmesg)
	}
	if byInit[r.ID] != "" && a.Errno == 0 && len(got) == 0 && len(want) == 0 {
		return "the module's own init function refuses", ""
	}
	if diag.Errno(*r.Errno) == a.Errno && slices.Equal(got, want) {
		return "", ""
	}
	if a.Stray && diag.Errno(*r.Errno) == a.Errno && len(got) == len(want) {
		return "names read from the section headers, which hold addresses by then", ""
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return "", fmt.Sprintf("%d %d, lines %d %d, line %d:\n got %q\nwant %q", int(a.Errno), *r.Errno, len(got[i]), len(want[i]), i, got[i], want[i])
		}
	}
	return "", fmt.Sprintf("\n got %d %q\nwant %d %q", int(a.Errno), got, *r.Errno, want)
}
