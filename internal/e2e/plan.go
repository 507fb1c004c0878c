// Package e2e boots real kernels in QEMU, without KVM, lets them load modules, good and damaged ones, and records what they do. KERNELS
// names the directories of unpacked kernels, as bench/fetch-kernel makes them; `go test -tags e2e -v ./internal/e2e` runs it. QEMU has to be
// installed.
//
// The init of the machine is ours: guest. It finds the plan and the modules in its initramfs, and writes what happened as a tar stream into a
// ring of its own memory. The machine's memory is a file of the host, so that the host reads along: that needs no device, no driver and no
// module, is the same on every machine, and loses nothing when the kernel dies. Boot is the host's side of it, Record boots until every
// module has been tried, and Recording.Write writes down the result.
package e2e

// Plan is what the guest is told to do.
type Plan struct {
	// Load is loaded in order and stays. Then the memory of its sections is dumped.
	Load []Step `json:"load"`
	// Try is loaded one by one, and unloaded again where it loads.
	Try  []Step `json:"try,omitempty"`
	Dump bool   `json:"dump"`
	// Await are kernel symbols whose addresses the host wants before anything is loaded. The guest sends them and waits for the host's
	// go.
	Await []string `json:"await,omitempty"`
	// Memory are kernel objects of which the first bytes are dumped: how many, by name.
	Memory map[string]int `json:"memory,omitempty"`
	// Patience is how long a load may take, in seconds.
	Patience int `json:"patience"`
}

// Step is one load.
type Step struct {
	ID      string `json:"id"`
	File    string `json:"file"` // in the initramfs
	Name    string `json:"name"` // what the kernel will call the module
	Params  string `json:"params"`
	Flags   int    `json:"flags"`             // of finit_module
	Syscall string `json:"syscall,omitempty"` // "init": init_module, else finit_module
	// Keep leaves a module of this name where it is, before the step and after it. Without it a step of Try unloads it.
	Keep bool `json:"keep,omitempty"`
	// Sizes are the sizes of the loaded sections, in bytes, which sysfs does not tell.
	Sizes map[string]uint64 `json:"sizes,omitempty"`
}

// What stands for an errno where there is none.
const (
	Oopsed = -1 // the kernel killed the thread that loaded, or died altogether
	Hung   = -2 // the load never returned
)

// Outcome is what came of a step. The fields behind MS are there when the module was loaded.
type Outcome struct {
	ID    string   `json:"id"`
	Errno int      `json:"errno"` // 0: loaded
	Error string   `json:"error"`
	Dmesg []string `json:"dmesg"` // with the level: "<3>text"
	Taint string   `json:"taint"` // of the kernel, after the load
	MS    int64    `json:"ms"`

	ProcModules string            `json:"proc_modules,omitempty"` // the line of /proc/modules
	Sections    map[string]uint64 `json:"sections,omitempty"`     // addresses, by name
	Sysfs       *Sysfs            `json:"sysfs,omitempty"`
}

// Sysfs is what /sys/module/NAME says, but for the sections.
type Sysfs struct {
	Coresize   string            `json:"coresize"`
	Holders    []string          `json:"holders"`
	Initsize   string            `json:"initsize"`
	Initstate  string            `json:"initstate"`
	Notes      map[string]int64  `json:"notes"`
	Parameters map[string]string `json:"parameters"`
	Refcnt     string            `json:"refcnt"`
	Srcversion string            `json:"srcversion,omitempty"`
	Taint      string            `json:"taint"`
	Version    string            `json:"version,omitempty"`
}

// Guest is what the guest says of its machine before it loads anything.
type Guest struct {
	Release         string            `json:"release"`
	Version         string            `json:"version"`
	Cmdline         string            `json:"cmdline"`
	CPUInfo         string            `json:"cpuinfo"`
	Vulnerabilities map[string]string `json:"vulnerabilities"`
	Symbols         map[string]uint64 `json:"symbols"` // of Plan.Await, those that there are
}

// Section is a section of a loaded module. Off is where its bytes are in the image, -1 where there are none.
type Section struct {
	Name string `json:"name"`
	Addr uint64 `json:"addr"`
	Size uint64 `json:"size"`
	Off  int64  `json:"off"`
}

// The entries of the guest's stream. Those of a step are followed by its ID, those of a dump by the module's name.
const (
	EntryGuest    = "guest"    // Guest
	EntryBegin    = "begin/"   // before a step
	EntryOutcome  = "outcome/" // Outcome
	EntryKallsyms = "kallsyms" // /proc/kallsyms
	EntryModules  = "modules"  // /proc/modules
	EntryMemory   = "memory"   // Plan.Memory: hexadecimal digits by name
	EntrySections = "live/"    // []Section
	EntryBytes    = "bytes/"   // what Section.Off points into
	EntryEnd      = "end"      // the plan was carried out
)

// The ring. Its first page is the header: numbers of 8 bytes, little-endian. The guest says on the console where that page is (Announcement, and
// the page frame number in hexadecimal) until the host has read from it.
const (
	Announcement = "guest: ring at frame "
	RingMagic    = 0x676e69722e6f746b // "kto.ring"

	RingMagicOff   = 0
	RingPageOff    = 8  // bytes of a page
	RingPagesOff   = 16 // how many pages of data there are
	RingWrittenOff = 24 // bytes of the stream that the guest has written
	RingReadOff    = 32 // and that the host has read
	RingGoOff      = 40 // not 0: the host says go
	RingFramesOff  = 48 // the frame numbers of the pages of data

	RingSize = 1 << 20 // bytes of data; the frame numbers fit in a page of 4096 bytes
)
