package sim

import (
	"fmt"
	"slices"

	"kotool/internal/compat"
	"kotool/internal/diag"
	"kotool/internal/elf"
	"kotool/internal/ksymtab"
	"kotool/internal/kver"
	"kotool/internal/module"
	"kotool/internal/params"
	"kotool/internal/reloc"
)

// Kernel is a simulated running kernel: what insmod and rmmod change. It is not for concurrent use.
type Kernel struct {
	T *compat.Target
	// Addr gives the address of a kernel symbol; nil, or false: an address is made up.
	Addr func(name string) (uint64, bool)
	// Traits changes what the machine's Linker takes for given; nil: it is the usual.
	Traits func(*reloc.Traits)
	// Forbidden says that nobody may load modules: no CAP_SYS_MODULE, or kernel.modules_disabled.
	Forbidden bool
	// Seed other than 0 begins the module area at another page.
	Seed uint64
	// PercpuApart says that each module has the reserve of per-CPU memory for itself: more are loaded than any real kernel has at once, or
	// a real kernel has found room for them.
	PercpuApart bool

	windows []*window // the first is the machine's own, then one for each row of more
	made    map[string]uint64
	rows    []rowAddr         // of the kernel's exports, by the row of T.Symvers[0]
	exports map[string]uint64 // addresses of what live modules export
	live    []*Module         // oldest first
	byName  map[string]*Module
	spare   [][]byte // memory of regions that was given back
	percpu  *reserve // nil: nobody has asked yet
}

// NewKernel makes a kernel of the facts in t, which belong to it from then on.
func NewKernel(t *compat.Target) *Kernel {
	if t.Live == nil {
		t.Live = map[string]compat.Export{}
	}
	if t.LiveModules == nil {
		t.LiveModules = map[string]*compat.LiveModule{}
	}
	return &Kernel{T: t, made: map[string]uint64{}, exports: map[string]uint64{}, byName: map[string]*Module{}}
}

// Module is a loaded module, as far as loading can see it.
type Module struct {
	Name    string
	Size    uint64 // as /proc/modules has it, bytes
	Addr    uint64 // likewise
	Refs    int    // of other modules; what lsmod shows
	Uses    []string
	UsedBy  []string // newest first
	Taints  compat.Taint
	Regions []Region
	HasInit bool
	HasExit bool
	Exports []string
	percpu  uint64 // its piece of the reserve; 0: none
}

// Modules are the loaded modules, the newest first.
func (k *Kernel) Modules() []*Module {
	list := slices.Clone(k.live)
	slices.Reverse(list)
	return list
}

// Module finds a loaded module; nil: it is not loaded.
func (k *Kernel) Module(name string) *Module { return k.byName[name] }

// Taints are what the kernel is tainted with.
func (k *Kernel) Taints() compat.Taint { return k.T.Taints }

// symbol is a symbol's address: that of a live module's export, of the kernel, or one that is made up.
func (k *Kernel) symbol(name string) (addr uint64, known bool) {
	if a, ok := k.exports[name]; ok {
		return a, true
	}
	return k.kernelSymbol(name)
}

// kernelSymbol is a kernel symbol's address. Addresses that are made up lie one behind the other, sixteen bytes apart.
func (k *Kernel) kernelSymbol(name string) (uint64, bool) {
	if k.Addr != nil {
		if a, ok := k.Addr(name); ok {
			return a, true
		}
	}
	if k.T.Arch == nil {
		return 0, false
	}
	a, ok := k.made[name]
	if !ok {
		a = usualOf(k.T.Arch).kernel + 0x1000 + 16*uint64(len(k.made))
		k.made[name] = a
	}
	return a, true
}

// madeUp reports whether a kernel symbol's address was made up.
func (k *Kernel) madeUp(name string) bool {
	if k.Addr == nil {
		return true
	}
	_, ok := k.made[name]
	return ok
}

// fewNames is how many symbols a result names.
const fewNames = 5

// rowAddr is the address of a kernel symbol; 0: it has not been asked for.
type rowAddr struct {
	addr uint64
	made bool // up
}

// rowSymbol is kernelSymbol for a row of the kernel's own exports, which remembers it.
func (k *Kernel) rowSymbol(row int, name string) (rowAddr, bool) {
	if row >= len(k.rows) {
		k.rows = append(k.rows, make([]rowAddr, max(row+1, k.T.Symvers[0].Len())-len(k.rows))...)
	}
	r := &k.rows[row]
	if r.addr != 0 {
		return *r, true
	}
	a, ok := k.kernelSymbol(name)
	if ok {
		*r = rowAddr{a, k.madeUp(name)}
	}
	return *r, ok
}

// Fixed are addresses of a real load, to be repeated.
type Fixed struct {
	Sections map[int]uint64    // by section header
	Names    map[string]uint64 // by name, for what Sections lacks
	Percpu   uint64            // base of the per-CPU section; 0: not known
	Image    uint64            // of the temporary copy of the file; 0: not known
	// Strict refuses addresses that do not agree with the layout or with each other: people have written them, no kernel.
	Strict bool
	// Missing are names that the kernel did not find.
	Missing map[string]bool
	// Symbol is the address of an undefined symbol, by its index and name; nil: not known.
	Symbol func(index uint32, name string) (uint64, bool)
}

// Request is one init_module or finit_module call.
type Request struct {
	Source elf.Source
	Module *module.Module // Source, decoded; nil: it is no module, or nobody has
	Args   []byte
	Flags  uint32
	Raw    bool // init_module
	// Exports are what the module exports, in entries of Form.
	Exports []ksymtab.Export
	Form    ksymtab.Form
	Params  []params.Param
	HasInit bool
	HasExit bool
	Init    int // what the module's init function returns
	Fixed   *Fixed
	Trace   Tracer // nil: nobody listens
	// Relocated is called with the memory when relocation is done, before code is patched; nil: nobody looks.
	Relocated func(*Snapshot)
	// Count counts relocations by type.
	Count bool
}

// Snapshot is a module's memory. It may be looked at only during the call.
type Snapshot struct {
	Name     string
	Sections []SnapshotSection
}

// SnapshotSection is a section in memory. Data is nil for one that is not loaded.
type SnapshotSection struct {
	Name  string
	Index int // -1: what lies before the first section of code
	Addr  uint64
	Size  uint64
	Data  []byte
}

// StageResult is what one stage did.
type StageResult struct {
	ID, Name string
	Errno    diag.Errno
	Did      string // a few words
}

// Result is how a load ended.
type Result struct {
	Name     string
	Errno    diag.Errno
	Stage    string // the kernel's function that refused
	Step     string
	Log      []compat.Line
	Findings []diag.Finding
	Load     *compat.Load
	Regions  []Region
	Places   []Place
	Layout   *Sizes
	Params   *params.Result
	Values   []Value // of the parameters that were set
	// ParamNames are the parameters that the module has; only where an argument names none of them.
	ParamNames []string
	Taints     compat.Taint
	Uses       []string
	Provided   map[string]int // symbols that each of Uses provides
	Stages     []StageResult
	Imports    int            // undefined symbols; of those:
	CRCs       int            //   compared by their CRC
	Differ     int            //   with another CRC
	Kernel     int            //   whose address is the kernel's
	Weak       []string       //   left 0, nothing provides them
	Asked      int            // more symbols of the kernel that the Linker used
	Made       int            // addresses of the kernel's symbols that were made up
	MadeUp     []string       // the first few of these
	Exported   int            // symbols that the module exports
	Percpu     *Percpu        // nil: it has no per-CPU data
	Relocs     map[uint32]int // applied, by type
	Applied    int
	Module     *Module // nil where it was not loaded
	// Assumes are what the module's own code decides, and was taken to go well.
	Assumes []string
	// Undefined is why it cannot be told; nil where it can.
	Undefined error
}

// Sizes are the sums of a layout of kernels to 6.3, bytes.
type Sizes struct {
	Core, Text, Ro, RoAfterInit uint64
	Init, InitText, InitRo      uint64
}

// Tracer is told of each step as it happens.
type Tracer interface {
	Enter(stage *compat.Stage)
	Leave(stage *compat.Stage, errno diag.Errno)
	Placed(section int, name, region string, addr, size uint64)
	Resolved(symbol, owner string, addr uint64, how string)
	reloc.Tracer
}

func (k *Kernel) has(r kver.Range) bool { return r.Holds(k.T.Version) }

// admit puts a module that was loaded into the kernel's list.
func (k *Kernel) admit(s *state) *Module {
	m := &Module{Name: s.Load.Mod, Uses: s.res.Uses, Taints: s.res.Taints, HasInit: s.req.HasInit, HasExit: s.req.HasExit, percpu: s.percpuAt}
	for i := range s.regions {
		r := &s.regions[i]
		if r.Kind.IsInit() {
			continue
		}
		m.Regions = append(m.Regions, Region{Kind: r.Kind, Base: r.Base, Size: r.Size, Used: r.Used, apart: r.apart})
		m.Size += r.Used
		if r.Kind == s.layout.region(Text) {
			m.Addr = r.Base
		}
	}
	for i := range s.req.Exports {
		e := &s.req.Exports[i]
		name := string(e.Name)
		addr, ok := s.exportValue(e)
		if !ok {
			continue
		}
		m.Exports = append(m.Exports, name)
		k.exports[name] = addr
		k.T.Live[name] = compat.Export{CRC: e.CRC, HasCRC: e.HasCRC, GPL: e.License.GPL(), Namespace: string(e.Namespace), Owner: m.Name}
	}
	k.T.LiveModules[m.Name] = &compat.LiveModule{Taints: m.Taints}
	for _, n := range m.Uses {
		if o := k.Module(n); o != nil {
			o.Refs++
			o.UsedBy = slices.Insert(o.UsedBy, 0, m.Name)
		}
	}
	k.live = append(k.live, m)
	k.byName[m.Name] = m
	return m
}

// exportValue is kernel_symbol_value: the field of the relocated table.
//
// Source: include/linux/module_symbol.h.
func (s *state) exportValue(e *ksymtab.Export) (uint64, bool) {
	f, c := &s.req.Form, s.Load
	if f.Size == 0 || e.Section <= 0 || e.Section >= len(c.Hdr) {
		return 0, false
	}
	addr := c.Hdr[e.Section].Addr + uint64(e.Index)*f.Size
	o := s.img.order()
	if f.Prel {
		b := s.mem.at(addr, 4)
		if b == nil {
			return 0, false
		}
		v := addr + uint64(int64(int32(o.Uint32(b))))
		if c.Word() == 4 {
			v = uint64(uint32(v))
		}
		return v, true
	}
	b := s.mem.at(addr, c.Word())
	switch len(b) {
	case 4:
		return uint64(o.Uint32(b)), true
	case 8:
		return o.Uint64(b), true
	}
	return 0, false
}

// Unload is delete_module. force is O_TRUNC.
//
// Source: kernel/module/main.c: delete_module, try_stop_module, free_module.
func (k *Kernel) Unload(name string, force bool) (diag.Errno, string) {
	m := k.Module(name)
	may := force && k.T.Is("MODULE_FORCE_UNLOAD") == compat.Yes
	switch {
	case k.Forbidden:
		return diag.EPERM, "modules may not be unloaded"
	case k.T.Is("MODULE_UNLOAD") == compat.No:
		return diag.ENOSYS, "the kernel has no delete_module (CONFIG_MODULE_UNLOAD)"
	case m == nil:
		return diag.ENOENT, "no module of that name is loaded"
	case len(m.UsedBy) > 0:
		return diag.EAGAIN, fmt.Sprintf("%s uses it", m.UsedBy[0])
	case m.HasInit && !m.HasExit && !may:
		return diag.EBUSY, "it has no exit function: it is permanent"
	case m.Refs > 0 && !may:
		return diag.EAGAIN, "it is in use"
	}
	if m.HasInit && !m.HasExit {
		k.T.Taints |= 1 << 3 // TAINT_FORCED_RMMOD
	}
	k.Forget(m)
	return 0, ""
}

// Forget takes a module out of the kernel whatever the rules say.
func (k *Kernel) Forget(m *Module) {
	for i := range m.Regions {
		if !m.Regions[i].apart {
			k.free(m.Regions[i].Base)
		}
	}
	k.percpu.free(m.percpu)
	for _, e := range m.Exports {
		delete(k.exports, e)
		delete(k.T.Live, e)
	}
	for _, n := range m.Uses {
		if o := k.Module(n); o != nil {
			o.Refs--
			o.UsedBy = slices.DeleteFunc(o.UsedBy, func(s string) bool { return s == m.Name })
		}
	}
	delete(k.T.LiveModules, m.Name)
	k.live = slices.DeleteFunc(k.live, func(x *Module) bool { return x == m })
	delete(k.byName, m.Name)
}
