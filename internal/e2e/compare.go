package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Comparison is what came of comparing a simulation with a recording.
type Comparison struct {
	Equal  int      // bytes
	Differ int      // bytes
	Held   int      // verdicts that were compared
	Wrong  []string // what is not as it was recorded, a line each
	Left   []string // modules of which the simulation has no image
	Open   []string // modules of which it has no verdict: undecided
}

func (c *Comparison) wrong(format string, args ...any) {
	c.Wrong = append(c.Wrong, fmt.Sprintf(format, args...))
}

// notCompared are sections that the kernel changes beyond relocation, or that have no place of their own.
var notCompared = []string{thisModule, ".symtab", ".strtab"}

// simSection is a section in a simulator's NAME.json.
type simSection struct {
	Name string `json:"name"`
	Idx  *int   `json:"idx"`
	Addr uint64 `json:"addr"`
	Size uint64 `json:"size"`
	Off  int64  `json:"off"`
}

// CompareImages holds a simulator's images, NAME.json and NAME.bin, against a state of a recording: each section by its bytes and its address.
// Sections are the same by index, where both have one, else by name and address, else by name.
func CompareImages(recording, images, state string) (*Comparison, error) {
	var list []map[string]json.RawMessage
	if err := readJSON(filepath.Join(recording, "modules.json"), &list); err != nil {
		return nil, err
	}
	c := &Comparison{}
	for _, m := range list {
		var name string
		if err := json.Unmarshal(m["name"], &name); err != nil {
			return nil, fmt.Errorf("%s: modules.json: %w", recording, err)
		}
		if m[state] == nil {
			continue
		}
		var sections []StateSection
		if err := json.Unmarshal(m[state], &sections); err != nil {
			return nil, fmt.Errorf("%s: modules.json: %s: %w", recording, name, err)
		}
		want, err := readMaybeGzip(filepath.Join(recording, "modules", name+"."+state+".bin"))
		if err != nil {
			return nil, err
		}
		if head, err := readMaybeGzip(filepath.Join(recording, "modules", name+".pre.bin")); err == nil && len(head) > 0 && state == "reloc" && m["pre_addr"] != nil {
			s := StateSection{Name: "(pre)", Idx: -1, Size: uint64(len(head)), Off: int64(len(want))}
			if err := json.Unmarshal(m["pre_addr"], &s.Addr); err != nil {
				return nil, fmt.Errorf("%s: modules.json: %s: %w", recording, name, err)
			}
			sections, want = append(sections, s), append(want, head...)
		}
		if err := c.module(name, sections, want, images); err != nil {
			return nil, err
		}
	}
	if c.Equal+c.Differ == 0 {
		c.wrong("no byte was compared")
	}
	return c, nil
}

func (c *Comparison) module(name string, sections []StateSection, want []byte, images string) error {
	var sim struct{ Sections []simSection }
	err := readJSON(filepath.Join(images, name+".json"), &sim)
	if errors.Is(err, fs.ErrNotExist) {
		c.Left = append(c.Left, name)
		return nil
	} else if err != nil {
		return err
	}
	got, err := readMaybeGzip(filepath.Join(images, name+".bin"))
	if err != nil {
		return err
	}
	for _, s := range sections {
		if s.Off < 0 || s.Size == 0 || slices.Contains(notCompared, s.Name) {
			continue
		}
		w, ok := span(want, s.Off, s.Size)
		if !ok {
			return fmt.Errorf("%s %s: outside of the recorded image", name, s.Name)
		}
		x := match(sim.Sections, s)
		var g []byte
		if x != nil {
			g, ok = span(got, x.Off, x.Size)
		}
		if x == nil || !ok {
			c.wrong("%s %s: no image of %d bytes", name, s.Name, s.Size)
			continue
		}
		if x.Addr != s.Addr {
			c.wrong("%s %s: at %#x, recorded at %#x", name, s.Name, x.Addr, s.Addr)
		}
		n, at := differences(g, w)
		c.Differ += n
		c.Equal += len(w) - min(n, len(w))
		if n > 0 {
			c.wrong("%s %s: %d of %d bytes differ, first at %#x: % x, recorded % x", name, s.Name, n, len(w), at, around(g, at), around(w, at))
		}
	}
	return nil
}

// match finds the simulator's section for a recorded one.
func match(list []simSection, s StateSection) *simSection {
	for _, same := range []func(x *simSection) bool{
		func(x *simSection) bool { return x.Idx != nil && *x.Idx == s.Idx },
		func(x *simSection) bool { return x.Idx == nil && x.Name == s.Name && x.Addr == s.Addr },
		func(x *simSection) bool { return x.Idx == nil && x.Name == s.Name },
	} {
		for i := range list {
			if same(&list[i]) {
				return &list[i]
			}
		}
	}
	return nil
}

func span(b []byte, off int64, n uint64) ([]byte, bool) {
	if off < 0 || uint64(off) > uint64(len(b)) || n > uint64(len(b))-uint64(off) {
		return nil, false
	}
	return b[off:][:n], true
}

// differences counts bytes that differ; at is the first. What one side lacks differs.
func differences(a, b []byte) (n, at int) {
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			if n == 0 {
				at = i
			}
			n++
		}
	}
	return n, at
}

func around(b []byte, at int) []byte {
	return b[min(len(b), max(0, at-4)):min(len(b), at+12)]
}

// Verdict is a line of what `simulate-load -o ndjson` says.
type Verdict struct {
	File    string   `json:"file"`
	Name    string   `json:"name"`
	Verdict string   `json:"verdict"`
	Errno   *int     `json:"errno"` // nil: it was not refused
	Dmesg   []string `json:"dmesg"`
}

// rewrites take out of log lines what differs from boot to boot.
var rewrites = []struct {
	what *regexp.Regexp
	with string
	why  string
}{
	{regexp.MustCompile(`^<\d>`), "", "the level is not asked for"},
	{regexp.MustCompile(`\bloc [0-9a-fx]+`), "loc *", "a pointer, hashed or an address of the loader's own"},
	{regexp.MustCompile(`\bPC = [0-9a-fx]+`), "PC = *", "a pointer, hashed (riscv)"},
	{regexp.MustCompile(`\bval [0-9a-fx]+`), "val *", "hangs on addresses"},
	{regexp.MustCompile(`(0x)?\(ptrval\)|\(____ptrval____\)`), "*", "a pointer before hashing is set up"},
}

// leftOut are log lines that are not compared.
var leftOut = []struct {
	what *regexp.Regexp
	why  string
}{
	{regexp.MustCompile(`: module verification failed: signature and/or required key missing - tainting kernel$`), "once a boot"},
	{regexp.MustCompile(`: loading out-of-tree module taints kernel\.$`), "once a boot"},
	{regexp.MustCompile(`: module license ('.*' )?taints kernel\.$`), "once a boot"},
	{regexp.MustCompile(`: (bad vermagic|no symbol version|bad version): kernel tainted\.$`), "once a boot"},
	{regexp.MustCompile(`^Disabling lock debugging due to kernel taint$`), "once a boot"},
	{regexp.MustCompile(`^symbol name out of bounds in string table$`), "without a newline: it is seen with the next load's"},
	{regexp.MustCompile(`^Spectre V2 : System may be vulnerable to spectre v2$`), "of another subsystem"},
}

// logLines are the lines that are compared.
func logLines(list []string) []string {
	out := []string{}
	for _, s := range list {
		for _, r := range rewrites {
			s = r.what.ReplaceAllString(s, r.with)
		}
		if !slices.ContainsFunc(leftOut, func(l struct {
			what *regexp.Regexp
			why  string
		}) bool {
			return l.what.MatchString(s)
		}) {
			out = append(out, s)
		}
	}
	return out
}

// CompareVerdicts holds a simulator's verdicts, a JSON object a line, against a recording: errno, and the log. A refused module's log has to be
// the same line by line; of one that was loaded, the log also has what the module itself and others say, so that the simulation's lines have to be
// among the recorded ones, in their order.
func CompareVerdicts(recording string, ndjson io.Reader) (*Comparison, error) {
	var list []recordedModule
	if err := readJSON(filepath.Join(recording, "modules.json"), &list); err != nil {
		return nil, err
	}
	verdicts := map[string]*Verdict{}
	for dec := json.NewDecoder(ndjson); ; {
		var v Verdict
		if err := dec.Decode(&v); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("verdicts: %w", err)
		}
		verdicts[moduleName(v.File)] = &v // the file is the entry's own
		if verdicts[v.Name] == nil {
			verdicts[v.Name] = &v
		}
	}
	c := &Comparison{}
	for i := range list {
		m := &list[i]
		v := verdicts[moduleName(m.Name)]
		if v == nil {
			v = verdicts[moduleName(m.File)]
		}
		if v == nil {
			c.wrong("%s: no verdict, recorded errno %d", m.Name, m.Errno)
			continue
		}
		if v.Verdict == "undecided" {
			c.Open = append(c.Open, m.Name)
			continue
		}
		if v.Errno == nil {
			v.Errno = new(int)
		}
		c.Held++
		want, got := logLines(m.Dmesg), logLines(v.Dmesg)
		switch {
		case *v.Errno != m.Errno:
			c.wrong("%s: errno %d, recorded %d: %q, recorded %q", m.Name, *v.Errno, m.Errno, got, want)
		case m.Errno != 0 && !slices.Equal(got, want):
			c.wrong("%s: log %q, recorded %q", m.Name, got, want)
		case m.Errno == 0 && !among(got, want):
			c.wrong("%s: log %q is not in what was recorded: %q", m.Name, got, want)
		}
	}
	if c.Held == 0 {
		c.wrong("no verdict was compared")
	}
	return c, nil
}

// among reports whether the lines of part are in whole, in their order.
func among(part, whole []string) bool {
	for _, s := range part {
		i := slices.Index(whole, s)
		if i < 0 {
			return false
		}
		whole = whole[i+1:]
	}
	return true
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// readMaybeGzip reads a file, or the same with .gz.
func readMaybeGzip(path string) ([]byte, error) {
	if b, err := os.ReadFile(path); err == nil {
		return b, nil
	}
	b, err := os.ReadFile(path + ".gz")
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err == nil {
		b, err = io.ReadAll(z)
	}
	if err != nil {
		return nil, fmt.Errorf("%s.gz: %w", path, err)
	}
	return b, nil
}

// String is one line of figures.
func (c *Comparison) String() string {
	s := fmt.Sprintf("%d bytes equal, %d differ, %d verdicts held", c.Equal, c.Differ, c.Held)
	if len(c.Left) > 0 {
		s += ", no image of " + strings.Join(c.Left, " ")
	}
	if len(c.Open) > 0 {
		s += ", undecided: " + strings.Join(c.Open, " ")
	}
	return s
}
