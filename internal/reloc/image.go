package reloc

import (
	"debug/elf"
	"errors"
	"fmt"

	kelf "kotool/internal/elf"

	"kotool/internal/diag"
)

// Image is the module in memory as a Linker sees it. Section indices are those of the section headers. An Image decides
// what lies in reach: where it returns nil or false, the Linker stops with an *UndefinedError and writes nothing.
type Image interface {
	// Name is mod->name, for the log.
	Name() string
	// Sections is the number of section headers, the null section included.
	Sections() int
	// Section is a header as it is now. i is below Sections.
	Section(i int) Section
	// SetSection changes a header before layout: Frob makes room for PLTs with it.
	SetSection(i int, s Section)
	// Init reports whether layout puts the section into init memory (module_init_layout_section).
	Init(i int) bool
	// Relocs are the entries of a relocation section: this load's own copy, which Frob may sort in place. nil
	// for a section that holds none. An entry of SHT_REL has no addend.
	Relocs(relsec int) []kelf.Rel
	// Table is the same section as the file has it; nil once Relocs has made a copy, whose order counts, and for a section that holds none.
	Table(relsec int) *kelf.RelTable
	// Symbols is the number of whole entries in the symbol table.
	Symbols() int
	// Symbol is an entry as simplify_symbols left it. false: outside of what the kernel can read.
	Symbol(i uint32) (Symbol, bool)
	// SetSymbol changes an entry that exists.
	SetSymbol(i uint32, s Symbol)
	// Symtab is the table's bytes as they are now; nil where they are not in one piece.
	Symtab() []byte
	// SymbolName is for messages and for the few names that a machine treats specially.
	SymbolName(i uint32) []byte
	// Addr is a section's address after layout.
	Addr(section int) uint64
	// Bytes are n writable bytes of a section's memory; before layout, of the file's bytes. nil when they are out of reach.
	Bytes(section int, off, n uint64) []byte
	// Memory is the same by address, for what lies in no section: room reserved by TextHead and Prepend, code next to a place.
	Memory(addr, n uint64) []byte
	// TextStart is the address of the core text region after layout.
	TextStart() uint64
	// Kernel is the address of a kernel symbol that need not be exported ("ftrace_caller"). false: not known.
	Kernel(name string) (addr uint64, ok bool)
	// Printk takes a line of the kernel's log.
	Printk(Line)
	// Trace is told what is done; nil when nobody listens.
	Trace() Tracer
}

// Section is a section header during a load.
type Section struct {
	Name  string
	Type  elf.SectionType
	Flags elf.SectionFlag
	Size  uint64
	Align uint64
	Info  uint32
}

// Symbol is an entry of the symbol table during a load.
type Symbol struct {
	Value uint64
	Shndx uint16 // as in the table: 0 undefined, 0xfff1 absolute
	Info  uint8
	Other uint8
}

func (s Symbol) bind() elf.SymBind { return elf.SymBind(s.Info >> 4) }
func (s Symbol) typ() elf.SymType  { return elf.SymType(s.Info & 15) }

// Kind says what a line of the log is about.
type Kind uint8

// What can be wrong with a relocation.
const (
	Other          Kind = iota
	UnknownType         // the loader does not take the type
	Overflow            // the value does not fit the field
	NonZero             // x86: the place holds something already
	UnknownSymbol       // the symbol has no address
	MissingSection      // the module lacks a section that the machine needs for its PLT or GOT
	BadCall             // a call that cannot be made: no nop after it, wrong instruction set
	Form                // SHT_REL on a machine with addends, or the other way round
)

var kindNames = [...]string{"other", "unknown type", "overflow", "target not zero", "unknown symbol", "missing section", "bad call", "form"}

func (k Kind) String() string { return kindNames[k] }

// The levels of the kernel's log. Source: include/linux/kern_levels.h.
const (
	levelErr  = 3
	levelWarn = 4
)

// Line is one line of the kernel's log, with its machine's prefix and without a newline.
//
// A kernel pointer that is hashed (%p) reads "(____ptrval____)" on 64-bit machines and "(ptrval)" on 32-bit ones: the kernel's own
// text for a pointer that it cannot hash.
type Line struct {
	Level  uint8
	Text   string
	Kind   Kind
	Relsec int // 0: no relocation is concerned
	Entry  int // index in the relocation section, in the order of the load
}

// Tracer is told what a Linker does.
type Tracer interface {
	// Relocated is called for each entry that was applied.
	Relocated(Applied)
	// Emitted is called for each slot of a GOT, PLT or the like that was written.
	Emitted(Slot)
}

// Applied is one relocation that was applied.
type Applied struct {
	Relsec, Entry int
	Type          uint32
	Target        int    // section
	Off           uint64 // in the target section
	S             uint64
	A             int64 // of the entry; for SHT_REL 0
	P             uint64
	Before, After []byte // of what the type touches; valid during the call only
}

// Slot is an entry of a table that the Linker fills.
type Slot struct {
	Table  string // "plt", "got", "veneer", "stub"
	Addr   uint64
	Size   uint64
	Target uint64 // what it leads to
}

// Linker relocates one module, in the order the kernel does. An errno is the kernel's answer, and the log says why; an error is
// an *UndefinedError: what the kernel would do cannot be told.
type Linker interface {
	// Frob is module_frob_arch_sections: sizes of PLT and GOT, and on some machines another order of the relocations. Before layout.
	Frob() (diag.Errno, error)
	// TextHead is the number of bytes that Frob wants at the start of the core text region, before the first section.
	TextHead() uint64
	// Prepend is the number of bytes wanted in front of a section (arch_mod_section_prepend).
	Prepend(section int) uint64
	// Apply is apply_relocate or apply_relocate_add for one relocation section. After layout and simplify_symbols.
	Apply(relsec int) (diag.Errno, error)
	// Finalize is what module_finalize does to PLTs and stubs; patching of code is not in it.
	Finalize() (diag.Errno, error)
}

// Cause is why the outcome cannot be told.
type Cause uint8

// The causes.
const (
	PlaceOutside   Cause = iota // r_offset lies outside of the target section
	SymbolOutside               // the symbol index lies outside of the symbol table
	TableFull                   // a PLT or GOT has fewer slots than were used: BUG() or worse
	SectionOutside              // a section index in a header is past the table
	KernelBug                   // the kernel stops itself (BUG)
	KernelUnknown               // an address of the kernel is needed that was not given
)

var causeTexts = [...]string{
	"place outside of the section", "symbol index outside of the symbol table", "table of slots full",
	"section index outside of the section table", "the kernel calls BUG()", "address in the kernel not known",
}

func (c Cause) String() string { return causeTexts[c] }

// UndefinedError says that the kernel's behaviour is not defined by the input, or that it crashes.
type UndefinedError struct {
	Cause  Cause
	Relsec int // relocation section, 0 for none
	Entry  int
	Off    uint64 // r_offset or symbol index, as the cause has it
	What   string // more words: the name of a table or a symbol
}

func (e *UndefinedError) Error() string {
	what := ""
	if e.What != "" {
		what = " (" + e.What + ")"
	}
	if e.Relsec == 0 {
		return e.Cause.String() + what
	}
	return fmt.Sprintf("relocation section %d: entry %d: %v%s: %#x", e.Relsec, e.Entry, e.Cause, what, e.Off)
}

// ErrMachine says that the machine's module loader is not modelled.
var ErrMachine = errors.New("relocations of this machine are not modelled")
