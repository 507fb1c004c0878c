package e2e

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"math"
)

// State is a module's memory at one moment.
type State struct {
	Sections []StateSection
	Bytes    []byte
	Module   uint64 // struct module
	// Head is what lies before .text, from HeadAddr, where Machine.Head says that there is something.
	Head     []byte
	HeadAddr uint64
}

// StateSection is a section header in the kernel's memory. Off is where its bytes are in State.Bytes, -1 where there are none.
type StateSection struct {
	Name  string `json:"name"`
	Idx   int    `json:"idx"`
	Type  uint32 `json:"type"`
	Flags uint64 `json:"flags"`
	Addr  uint64 `json:"addr"`
	Size  uint64 `json:"size"`
	Off   int64  `json:"off"`
}

// Limits of what is believed of the guest's memory.
const (
	maxNames   = 16 << 20
	maxSection = 64 << 20
	maxHead    = 1 << 20
	pageSize   = 4096
)

// watcher reads the states of modules at breakpoints.
type watcher struct {
	d        *debugger
	m        *Machine
	finalize uint64 // where module_finalize(hdr, sechdrs, mod) begins
	init     uint64 // and do_init_module(mod)
	headers  map[uint64][]StateSection
	want     map[string]bool
	Reloc    map[string]*State
	Ready    map[string]*State
	toc      uint64
	at       uint64 // the breakpoint where the machine is stopped
	under    []byte // what was where touch has put its code; nil: it has not
}

func newWatcher(d *debugger, m *Machine, symbols map[string]uint64, names []string) (*watcher, error) {
	w := &watcher{
		d: d, m: m, finalize: symbols[symFinalize], init: symbols[symInit],
		headers: map[uint64][]StateSection{}, want: map[string]bool{}, Reloc: map[string]*State{}, Ready: map[string]*State{},
	}
	if w.finalize == 0 || w.init == 0 {
		return nil, fmt.Errorf("kallsyms has no address of %s or %s", symFinalize, symInit)
	}
	d.word = m.bits / 8
	w.finalize += m.Entry
	w.init += m.Entry
	for _, n := range names {
		w.want[n] = true
	}
	for _, a := range []uint64{w.finalize, w.init} {
		if err := d.setBreak(a); err != nil {
			return nil, err
		}
	}
	return w, nil
}

const (
	symFinalize = "module_finalize"
	symInit     = "do_init_module"
)

// run reads states until the wanted modules have been seen, or until the machine is gone.
func (w *watcher) run() error {
	for len(w.want) > 0 {
		switch err := w.d.cont(); {
		case errors.Is(err, errExited):
			return nil
		case err != nil:
			return err
		}
		at, err := w.stop()
		if err != nil {
			return err
		}
		if err := w.untouch(); err != nil {
			return err
		}
		if at == 0 { // a stop that is not ours
			continue
		}
		// The breakpoint would hit again: the instruction there is executed without it.
		if err := w.d.clearBreak(at); err != nil {
			return err
		}
		if err := w.d.step(); err != nil {
			return err
		}
		if err := w.d.setBreak(at); err != nil {
			return err
		}
	}
	for _, a := range []uint64{w.finalize, w.init} {
		if err := w.d.clearBreak(a); err != nil {
			return err
		}
	}
	return w.d.detach()
}

// stop reads what there is to read where the machine stopped. It returns the breakpoint, 0 when there is none.
func (w *watcher) stop() (uint64, error) {
	pc, err := w.register(w.m.PC)
	if err != nil {
		return 0, err
	}
	var args [3]uint64
	for i, n := range w.m.Args3 {
		if args[i], err = w.register(n); err != nil {
			return 0, err
		}
	}
	w.at = pc
	switch pc {
	case w.finalize:
		if w.m.TOC != 0 {
			if w.toc, err = w.register(w.m.TOC); err != nil {
				return 0, err
			}
		}
		return pc, w.finalizing(args[0], args[1], args[2])
	case w.init:
		return pc, w.initializing(args[0])
	}
	return 0, nil
}

func (w *watcher) register(n int) (uint64, error) {
	b, err := w.d.register(n)
	if err != nil {
		return 0, err
	}
	if len(b) < w.m.bits/8 {
		return 0, fmt.Errorf("gdb stub: register %d has %d bytes", n, len(b))
	}
	if w.m.Big { // the low word of a wider register comes last
		b = b[len(b)-w.m.bits/8:]
	}
	return w.m.word(b), nil
}

// read reads memory at a virtual address. Where the stub knows only the TLB, a page that is not in it is touched first.
func (w *watcher) read(addr, n uint64) ([]byte, error) {
	b, err := w.d.read(addr, n)
	if !w.m.TLB || !errors.Is(err, errRemote) {
		return b, err
	}
	b = b[:0]
	for n > 0 {
		part, err := w.readPage(addr, min(n, pageSize-addr%pageSize))
		b = append(b, part...)
		if err != nil {
			return b, err
		}
		addr += uint64(len(part))
		n -= uint64(len(part))
	}
	return b, nil
}

func (w *watcher) readPage(addr, n uint64) (b []byte, err error) {
	for range 4 { // an interrupt may have taken the entry of the TLB
		if b, err = w.d.read(addr, n); !errors.Is(err, errRemote) {
			break
		}
		if err := w.touch(addr); err != nil {
			return nil, fmt.Errorf("touch %#x: %w", addr, err)
		}
	}
	return b, err
}

// What touch lets a mips execute: lbu $8, 0($8); nop. The function that begins at the breakpoint has not used $8 yet, and nobody else executes it.
var touchCode = [2]uint32{0x91080000, 0}

const (
	touchOff = 8 // where that is, behind the breakpoint
	touchReg = 8
)

// touch lets the machine load a byte, so that the page gets into the TLB.
func (w *watcher) touch(addr uint64) error {
	code := w.at + touchOff
	if w.under == nil {
		under, err := w.d.read(code, 8)
		if err != nil {
			return err
		}
		b := w.m.order().AppendUint32(w.m.order().AppendUint32(nil, touchCode[0]), touchCode[1])
		if err := w.d.write(code, b); err != nil {
			return err
		}
		w.under = under
		if err := w.d.setBreak(code + 4); err != nil {
			return err
		}
	}
	if err := w.setRegister(touchReg, addr); err != nil {
		return err
	}
	if err := w.setRegister(w.m.PC, code); err != nil {
		return err
	}
	if err := w.d.cont(); err != nil {
		return err
	}
	pc, err := w.register(w.m.PC)
	if err == nil && pc != code+4 {
		err = fmt.Errorf("the machine stopped at %#x, not at %#x", pc, code+4)
	}
	return err
}

// untouch puts back what touch has changed.
func (w *watcher) untouch() error {
	if w.under == nil {
		return nil
	}
	code := w.at + touchOff
	if err := w.d.clearBreak(code + 4); err != nil {
		return err
	}
	if err := w.d.write(code, w.under); err != nil {
		return err
	}
	w.under = nil
	return w.setRegister(w.m.PC, w.at)
}

func (w *watcher) setRegister(n int, v uint64) error {
	if w.m.bits == 32 {
		return w.d.setRegister(n, w.m.order().AppendUint32(nil, uint32(v)))
	}
	return w.d.setRegister(n, w.m.order().AppendUint64(nil, v))
}

// finalizing is module_finalize(hdr, sechdrs, mod): relocated, nothing patched.
func (w *watcher) finalizing(hdr, sechdrs, mod uint64) error {
	list, err := w.sectionHeaders(hdr, sechdrs)
	if err != nil {
		return err
	}
	s, err := w.image(list, mod)
	if err != nil {
		return err
	}
	name := w.nameOf(s)
	if !w.want[name] {
		return nil
	}
	if w.m.Head {
		if s.HeadAddr, s.Head, err = w.head(s); err != nil {
			return err
		}
	}
	w.headers[mod] = list
	w.Reloc[name] = s
	return nil
}

// initializing is do_init_module(mod). The copies of the section headers are freed by now; sections are where they were.
func (w *watcher) initializing(mod uint64) error {
	list, ok := w.headers[mod]
	if !ok {
		return nil
	}
	delete(w.headers, mod)
	s, err := w.image(list, mod)
	if err != nil {
		return err
	}
	if name := w.nameOf(s); w.want[name] {
		delete(w.want, name)
		w.Ready[name] = s
	}
	return nil
}

// sectionHeaders reads the kernel's copies of the section headers.
func (w *watcher) sectionHeaders(hdr, sechdrs uint64) ([]StateSection, error) {
	size, nOff := uint64(64), 60
	if w.m.bits == 32 {
		size, nOff = 52, 48
	}
	ehdr, err := w.read(hdr, size)
	if err != nil {
		return nil, fmt.Errorf("ELF header: %w", err)
	}
	if !bytes.HasPrefix(ehdr, []byte(elf.ELFMAG)) {
		return nil, fmt.Errorf("no ELF header at %#x", hdr)
	}
	o := w.m.order()
	n, names := int(o.Uint16(ehdr[nOff:])), int(o.Uint16(ehdr[nOff+2:]))
	one := uint64(shdrSize(w.m.bits))
	table, err := w.read(sechdrs, uint64(n)*one)
	if err != nil {
		return nil, fmt.Errorf("section headers: %w", err)
	}
	list := make([]StateSection, n)
	offs := make([]uint32, n)
	for i := range list {
		s, b := &list[i], table[uint64(i)*one:]
		s.Idx, s.Off, s.Type = i, -1, o.Uint32(b[4:])
		offs[i] = o.Uint32(b)
		if w.m.bits == 32 {
			s.Flags, s.Addr, s.Size = uint64(o.Uint32(b[8:])), uint64(o.Uint32(b[12:])), uint64(o.Uint32(b[20:]))
		} else {
			s.Flags, s.Addr, s.Size = o.Uint64(b[8:]), o.Uint64(b[16:]), o.Uint64(b[32:])
		}
	}
	if names >= n || list[names].Size > maxNames {
		return nil, fmt.Errorf("section names: section %d of %d", names, n)
	}
	text, err := w.read(list[names].Addr, list[names].Size)
	if err != nil {
		return nil, fmt.Errorf("section names: %w", err)
	}
	for i := range list {
		if int(offs[i]) < len(text) {
			name, _, _ := bytes.Cut(text[offs[i]:], []byte{0})
			list[i].Name = string(name)
		}
	}
	return list, nil
}

// image reads the sections that are loaded. Where the machine's memory cannot be read there are no bytes.
func (w *watcher) image(list []StateSection, mod uint64) (*State, error) {
	s := &State{Module: mod, Sections: make([]StateSection, len(list))}
	copy(s.Sections, list)
	for i := range s.Sections {
		sec := &s.Sections[i]
		if elf.SectionFlag(sec.Flags)&elf.SHF_ALLOC == 0 || sec.Size == 0 || sec.Size > maxSection {
			continue
		}
		b, err := w.read(sec.Addr, sec.Size)
		if errors.Is(err, errRemote) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("section %d %q: %w", i, sec.Name, err)
		}
		sec.Off = int64(len(s.Bytes))
		s.Bytes = append(s.Bytes, b...)
	}
	return s, nil
}

// nameOf is the name in struct module.
func (w *watcher) nameOf(s *State) string {
	for _, sec := range s.Sections {
		if sec.Name != thisModule || sec.Off < 0 {
			continue
		}
		b := s.Bytes[sec.Off:][:sec.Size]
		if off := w.m.nameOff(); off < len(b) {
			name, _, _ := bytes.Cut(b[off:], []byte{0})
			return string(name)
		}
	}
	return ""
}

const thisModule = ".gnu.linkonce.this_module"

// head reads backwards from the first section of code that stays, to the beginning of the region. A page without memory is before that.
func (w *watcher) head(s *State) (uint64, []byte, error) {
	first := uint64(math.MaxUint64)
	for _, sec := range s.Sections {
		f := elf.SectionFlag(sec.Flags)
		if f&elf.SHF_ALLOC != 0 && f&elf.SHF_EXECINSTR != 0 && sec.Size > 0 && !bytes.HasPrefix([]byte(sec.Name), []byte(".init")) {
			first = min(first, sec.Addr)
		}
	}
	if first == math.MaxUint64 {
		return 0, nil, nil
	}
	start := first &^ (pageSize - 1)
	for start >= pageSize && first-start < maxHead {
		if _, err := w.d.read(start-pageSize, 1); errors.Is(err, errRemote) {
			break
		} else if err != nil {
			return 0, nil, err
		}
		start -= pageSize
	}
	b, err := w.d.read(start, first-start)
	if err != nil && errors.Is(err, errRemote) {
		return 0, nil, nil
	}
	return start, b, err
}

// trimHead cuts Head to what lies behind the beginning of the module, which is known once /proc/modules has it.
func (s *State) trimHead(base uint64) {
	if s.Head == nil || base < s.HeadAddr || base-s.HeadAddr > uint64(len(s.Head)) {
		return
	}
	s.Head = s.Head[base-s.HeadAddr:]
	s.HeadAddr = base
}

func shdrSize(bits int) int {
	if bits == 32 {
		return 40
	}
	return 64
}
