package e2e

import (
	"archive/tar"
	"bytes"
	"cmp"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// recordedMeta is meta.json.
type recordedMeta struct {
	Arch            string             `json:"arch"`
	Release         string             `json:"release"`
	Version         string             `json:"version"`
	KernelDir       string             `json:"kernel_dir"`
	Cmdline         string             `json:"cmdline"`
	QEMU            []string           `json:"qemu"`
	SMP             int                `json:"smp"`
	CPU             string             `json:"cpu"`
	Symbols         map[string]uint64  `json:"symbols"`
	Memory          map[string]string  `json:"memory"`
	Vulnerabilities map[string]string  `json:"vulnerabilities"`
	CPUInfo         string             `json:"cpuinfo"`
	Seconds         map[string]float64 `json:"seconds"`
	Transport       []struct{}         `json:"transport"` // modules that were loaded to get the results out: none
}

// recordedModule is an entry of modules.json.
type recordedModule struct {
	Name              string         `json:"name"`
	File              string         `json:"file"`
	Params            string         `json:"params"`
	Flags             int            `json:"load_flags,omitempty"`
	Syscall           string         `json:"syscall,omitempty"`
	What              string         `json:"what,omitempty"` // of a mutant: what was done
	Errno             int            `json:"errno"`
	Error             string         `json:"error"`
	Dmesg             []string       `json:"dmesg"`
	Taint             string         `json:"taint"`
	ModTaint          *string        `json:"mod_taint"`
	ProcModulesAtLoad string         `json:"proc_modules_at_load,omitempty"`
	ProcModules       string         `json:"proc_modules,omitempty"`
	MS                int64          `json:"ms"`
	ThisModule        uint64         `json:"this_module,omitempty"`
	HeadAddr          uint64         `json:"pre_addr,omitempty"`
	Reloc             []StateSection `json:"reloc,omitempty"`
	Ready             []StateSection `json:"ready,omitempty"`
	Live              []Section      `json:"live,omitempty"`
	Sysfs             *Sysfs         `json:"sysfs,omitempty"`
}

// watched are kernel symbols that a recording names in any case, where the kernel has them.
var watched = []string{
	symFinalize, symInit, "_text", "_stext", "_etext", "__per_cpu_offset", "__x86_return_thunk", "__x86_indirect_thunk_array",
	"ftrace_caller", "ftrace_regs_caller", // what PLTs lead to without a relocation
}

// symTOC is the TOC pointer, of which kallsyms has no line before 6.12.
const symTOC = ".TOC."

// Write writes a recording directory: meta.json, modules.json, kallsyms.gz, kvalues.json, modules/NAME.STATE.bin.gz, ko/NAME.ko.xz. Mutants
// that the kernel refused are entries of modules.json too, by their ID, behind the modules; those that it loaded, and those that it died of, are
// not: they were unloaded again, or nothing is known of the kernel after them.
func (rec *Recording) Write(dir string) error {
	for _, d := range []string{"ko", "modules"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	kallsyms, syms := rec.kallsyms()
	b, err := gzipped(kallsyms)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "kallsyms.gz"), b, 0o644); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(dir, "meta.json"), rec.meta(syms)); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(dir, "kvalues.json"), rec.values(syms)); err != nil {
		return err
	}
	list := []recordedModule{}
	for i := range rec.Job.Modules {
		m := &rec.Job.Modules[i]
		e, err := rec.module(dir, m)
		if err != nil {
			return fmt.Errorf("%s: %w", m.Name, err)
		}
		if e != nil {
			list = append(list, *e)
		}
	}
	for i := range rec.Job.Mutants {
		m := &rec.Job.Mutants[i]
		o := rec.Results[m.ID]
		if o == nil || o.Errno <= 0 {
			continue
		}
		e := entryOf(m.ID, "tries/"+m.ID+".ko", m.Params, o)
		e.Flags, e.Syscall, e.What = m.Flags, m.Syscall, m.What
		if err := writeModule(dir, m.ID, m.File); err != nil {
			return err
		}
		list = append(list, e)
	}
	return writeJSON(filepath.Join(dir, "modules.json"), list)
}

func entryOf(name, file, params string, o *Outcome) recordedModule {
	e := recordedModule{
		Name: name, File: file, Params: params, Errno: o.Errno, Error: o.Error, Dmesg: o.Dmesg, Taint: o.Taint, MS: o.MS,
		ProcModulesAtLoad: o.ProcModules, Sysfs: o.Sysfs,
	}
	if e.Dmesg == nil {
		e.Dmesg = []string{}
	}
	if o.Sysfs != nil && o.Sysfs.Taint != "" {
		e.ModTaint = &o.Sysfs.Taint
	}
	return e
}

// module writes the files of a module, and makes its entry.
func (rec *Recording) module(dir string, m *Module) (*recordedModule, error) {
	o := rec.Results[m.Name]
	if o == nil {
		return nil, nil
	}
	e := entryOf(m.Name, m.Path, m.Params, o)
	if err := writeModule(dir, m.Name, m.File); err != nil {
		return nil, err
	}
	if o.Errno != 0 {
		return &e, nil
	}
	for line := range strings.SplitSeq(rec.First.Modules, "\n") {
		if strings.HasPrefix(line, m.Name+" ") {
			e.ProcModules = line
		}
	}
	put := func(state string, b []byte) error {
		z, err := gzipped(b)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "modules", m.Name+"."+state+".bin.gz"), z, 0o644)
	}
	if s := rec.First.Reloc[m.Name]; s != nil {
		e.Reloc, e.ThisModule = s.Sections, s.Module
		if err := put("reloc", s.Bytes); err != nil {
			return nil, err
		}
		if rec.Job.Kernel.Machine.Head && s.Head != nil {
			s.trimHead(moduleBase(o.ProcModules))
			e.HeadAddr = s.HeadAddr
			if err := put("pre", s.Head); err != nil {
				return nil, err
			}
		}
	}
	if s := rec.First.Ready[m.Name]; s != nil {
		e.Ready = s.Sections
		if err := put("ready", s.Bytes); err != nil {
			return nil, err
		}
	}
	if l, ok := rec.First.Live[m.Name]; ok {
		e.Live = l.Sections
		if err := put("live", l.Bytes); err != nil {
			return nil, err
		}
	}
	return &e, nil
}

// moduleBase is the address in a line of /proc/modules.
func moduleBase(line string) uint64 {
	for _, w := range strings.Fields(line) {
		if digits, ok := strings.CutPrefix(w, "0x"); ok {
			a, _ := strconv.ParseUint(digits, 16, 64)
			return a
		}
	}
	return 0
}

func writeModule(dir, name string, file []byte) error {
	return os.WriteFile(filepath.Join(dir, "ko", name+".ko.xz"), xzStored(file), 0o644)
}

// kernelSymbol is a line of kallsyms.
type kernelSymbol struct {
	addr uint64
	kind byte
}

// kallsyms are the lines of the symbols that the modules and the mutants import, and of the modules' own; and those of the former that are the
// kernel's, by name.
func (rec *Recording) kallsyms() ([]byte, map[string]kernelSymbol) {
	want := map[string]bool{}
	for _, n := range watched {
		want[n] = true
	}
	for i := range rec.Job.Modules {
		for _, n := range undefined(rec.Job.Modules[i].File) {
			want[n] = true
			if key, ok := staticCallKey(n); ok {
				want[key] = true
			}
		}
	}
	for i := range rec.Job.Mutants {
		for _, n := range undefined(rec.Job.Mutants[i].File) {
			want[n] = true
		}
	}
	for n := range rec.Job.Kernel.Machine.Memory {
		want[n] = true
	}
	var out bytes.Buffer
	syms := map[string]kernelSymbol{}
	add := func(line []byte, only func(name string) bool) {
		w := bytes.Fields(line)
		if len(w) < 3 {
			return
		}
		name := string(w[2])
		switch a, err := strconv.ParseUint(string(w[0]), 16, 64); {
		case len(w) > 3: // of a module
		case err != nil || !want[name] || !only(name):
			return
		default:
			syms[name] = kernelSymbol{a, w[1][0]}
		}
		out.Write(line)
	}
	for line := range bytes.Lines(rec.First.Kallsyms) {
		add(line, func(string) bool { return true })
	}
	// Without KALLSYMS_ALL there are no data symbols, but the modules' resolved symbol tables have their values.
	values := rec.resolved()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if _, ok := syms[name]; !ok && want[name] {
			syms[name] = kernelSymbol{values[name], 'D'}
			fmt.Fprintf(&out, "%0*x D %s\n", rec.Job.Kernel.Machine.bits/4, values[name], name)
		}
	}
	if _, ok := syms[symTOC]; !ok && rec.First.TOC != 0 {
		fmt.Fprintf(&out, "%016x d %s\n", rec.First.TOC, symTOC)
	}
	return out.Bytes(), syms
}

// resolved are the values that the kernel has found for the imports of modules, without those that other modules export.
func (rec *Recording) resolved() map[string]uint64 {
	values := map[string]uint64{}
	own := map[string]bool{symTOC: true} // what is another thing in each module
	add := func(name string, file []byte) {
		state := rec.First.Reloc[name]
		if state == nil {
			return
		}
		x, err := parseObject(file)
		if err != nil {
			return
		}
		for _, sec := range state.Sections {
			if elf.SectionType(sec.Type) != elf.SHT_SYMTAB || sec.Off < 0 {
				continue
			}
			for n, v := range x.imports(state.Bytes[sec.Off:][:sec.Size]) {
				if old, ok := values[n]; ok && old != v {
					own[n] = true
				}
				values[n] = v
			}
		}
	}
	for i := range rec.Job.Modules {
		add(rec.Job.Modules[i].Name, rec.Job.Modules[i].File)
	}
	for i := range rec.Job.Mutants {
		if m := &rec.Job.Mutants[i]; m.watch {
			add(m.Name, m.File)
		}
	}
	for i := range rec.Job.Modules {
		for _, n := range defined(rec.Job.Modules[i].File) {
			own[n] = true
		}
	}
	for n := range own {
		delete(values, n)
	}
	return values
}

func (rec *Recording) meta(syms map[string]kernelSymbol) *recordedMeta {
	j, run := rec.Job, rec.First
	m := &recordedMeta{
		Arch: j.Kernel.Machine.Name, Release: rec.Guest.Release, Version: rec.Guest.Version, KernelDir: filepath.Base(j.Kernel.Dir),
		Cmdline: rec.Guest.Cmdline, QEMU: run.QEMU, SMP: cmp.Or(j.CPUs, j.Kernel.Machine.CPUs, defaultCPUs), CPU: cmp.Or(j.CPU, j.Kernel.Machine.CPU),
		Symbols: map[string]uint64{}, Memory: map[string]string{}, Vulnerabilities: rec.Guest.Vulnerabilities, CPUInfo: rec.Guest.CPUInfo,
		Seconds:   map[string]float64{"ready": tenths(run.Begin), "steps_done": tenths(run.Steps), "total": tenths(run.Total)},
		Transport: []struct{}{},
	}
	for _, n := range watched {
		if s, ok := syms[n]; ok {
			m.Symbols[n] = s.addr
		}
	}
	for n := range j.Kernel.Machine.Memory {
		if v, ok := run.Memory[n]; ok {
			m.Memory[n] = v
		}
	}
	return m
}

// values are addresses and first bytes of imported data, by name.
func (rec *Recording) values(syms map[string]kernelSymbol) map[string][2]string {
	m := map[string][2]string{}
	for n, v := range rec.First.Memory {
		if s, ok := syms[n]; ok && v != "" && strings.ContainsRune("BDRbdr", rune(s.kind)) {
			m[n] = [2]string{strconv.FormatUint(s.addr, 16), v[:min(len(v), 2*valueSize)]}
		}
	}
	return m
}

// verdict is an entry of the verdicts' results.
type verdict struct {
	ID          string   `json:"id"`
	What        string   `json:"what"`
	Base        string   `json:"base"`
	Errno       int      `json:"errno"`
	Error       string   `json:"error"`
	Dmesg       []string `json:"dmesg"`
	Taint       string   `json:"taint"`
	SHA256      string   `json:"sha256"`
	Syscall     string   `json:"syscall,omitempty"`
	ModTaint    string   `json:"mod_taint,omitempty"`
	ProcModules string   `json:"proc_modules,omitempty"`
}

// manifestEntry is an entry of the mutants' manifest.
type manifestEntry struct {
	ID      string   `json:"id"`
	File    string   `json:"file"`
	Base    string   `json:"base"`
	What    string   `json:"what"`
	SHA256  string   `json:"sha256"`
	Size    int      `json:"size"`
	Risky   bool     `json:"risky"`
	Params  string   `json:"params,omitempty"`
	Flags   int      `json:"flags,omitempty"`
	Syscall string   `json:"syscall,omitempty"`
	Pre     []string `json:"pre,omitempty"`
}

// WriteVerdicts writes verdicts-NAME.json.gz, and the mutated files with their manifest.json as mutants-NAME.tar.xz.
func (rec *Recording) WriteVerdicts(dir, name string) error {
	results := []verdict{}
	manifest := []manifestEntry{}
	files := map[string][]byte{}
	var order []string
	for i := range rec.Job.Mutants {
		m := &rec.Job.Mutants[i]
		o := rec.Results[m.ID]
		if o == nil {
			continue
		}
		hash := sha256.Sum256(m.File)
		sum := hex.EncodeToString(hash[:])
		v := verdict{
			ID: m.ID, What: m.What, Base: m.Base, Errno: o.Errno, Error: o.Error, Dmesg: o.Dmesg, Taint: o.Taint, SHA256: sum,
			Syscall: m.Syscall, ProcModules: o.ProcModules,
		}
		if v.Dmesg == nil {
			v.Dmesg = []string{}
		}
		if o.Sysfs != nil {
			v.ModTaint = o.Sysfs.Taint
		}
		results = append(results, v)
		file := m.ID + ".ko"
		files[file] = m.File
		order = append(order, file)
		manifest = append(manifest, manifestEntry{
			ID: m.ID, File: file, Base: m.Base, What: m.What, SHA256: sum, Size: len(m.File), Params: m.Params, Flags: m.Flags, Syscall: m.Syscall, Pre: m.Pre, Risky: m.Risky,
		})
	}
	doc, err := json.Marshal(map[string]any{"kernel": rec.Job.Kernel.Release, "arch": rec.Job.Kernel.Machine.Name, "boots": rec.Boots, "results": results})
	if err != nil {
		return err
	}
	z, err := gzipped(doc)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "verdicts-"+name+".json.gz"), z, 0o644); err != nil {
		return err
	}
	list, err := json.Marshal(map[string]any{"kernel": rec.Job.Kernel.Release, "mutations": manifest})
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	put := func(name string, b []byte) error {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(b))}); err != nil {
			return err
		}
		_, err := w.Write(b)
		return err
	}
	if err := put("manifest.json", list); err != nil {
		return err
	}
	for _, f := range order {
		if err := put(f, files[f]); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "mutants-"+name+".tar.xz"), xzStored(archive.Bytes()), 0o644)
}

func writeJSON(path string, v any) error {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}
