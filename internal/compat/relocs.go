package compat

import (
	stdelf "debug/elf"
	"encoding/binary"
	"fmt"
	"strings"

	"kotool/internal/diag"
	"kotool/internal/elf"
	"kotool/internal/kver"
	"kotool/internal/reloc"
)

// What can be told of relocations without a layout is told here. Where memory decides, the load is suspicious: the answer is a
// simulation's.

// shfRelaLivepatch is SHF_RELA_LIVEPATCH. Source: include/linux/livepatch.h.
const shfRelaLivepatch = 0x00100000

// Applied lists the relocation sections that the kernel applies, in its order. All sections but those of the file's own have been looked at.
//
// Source: kernel/module/main.c: apply_relocations.
func (l *Load) Applied() []int {
	var list []int
	for i := 1; i < len(l.Hdr); i++ {
		s := &l.Hdr[i]
		if s.Type != stdelf.SHT_REL && s.Type != stdelf.SHT_RELA || uint64(s.Info) >= uint64(len(l.Hdr)) {
			continue
		}
		target := int(s.Info)
		alloc := l.Hdr[target].Flags&stdelf.SHF_ALLOC != 0
		if target == l.Index.Pcpu && target != 0 {
			alloc = !l.T.has(kver.Until(7, 0)) || !l.T.on("SMP", true)
		}
		if target == l.Index.Sym || target == l.Index.Str {
			alloc = alloc || l.T.on("KALLSYMS", true)
		}
		if alloc {
			list = append(list, i)
		}
	}
	return list
}

func (l *Load) suspect(format string, args ...any) {
	if len(l.Suspicious) < 8 {
		l.Suspicious = append(l.Suspicious, fmt.Sprintf(format, args...))
	}
}

// strange is a size or an alignment that no module has and that changes the layout: the kernel reckons in 32 bits.
const strange = 1 << 30

// Relocs looks at the relocations: types that the loader does not take, places outside of their sections, places that are not zero where the
// machine wants that. What it finds makes the load suspicious. modelled is false for a machine whose relocations are not known here.
func (l *Load) Relocs() (modelled bool) {
	l.step = "2.8"
	for i := range l.Hdr {
		s := &l.Hdr[i]
		alloc := s.Flags&stdelf.SHF_ALLOC != 0 || i != 0 && (i == l.Index.Sym || i == l.Index.Str)
		if alloc && (s.Size > strange || s.Align > strange || s.Align&(s.Align-1) != 0) {
			l.suspect("section %d has a size of %#x and an alignment of %#x", i, s.Size, s.Align)
		}
	}
	m, class := l.F.Header.Machine, l.F.Class
	if !reloc.Modelled(m, class) {
		return false
	}
	x86 := m == stdelf.EM_X86_64
	syms := l.Symbols()
	state := l.symbolStates(syms)
	touch := touches{l: l, more: map[uint32]int8{}}
	bad, wrong := 0, 0 // relocations of types that are not taken, and the finding about them
	for _, i := range l.Applied() {
		s := &l.Hdr[i]
		if s.Flags&shfRelaLivepatch != 0 {
			l.suspect("section %d holds a live patch's relocations", i)
			continue
		}
		tab := l.F.RelocsOf(s)
		target := &l.Hdr[s.Info]
		var bytes []byte
		zero := x86 && target.Type != stdelf.SHT_NOBITS
		if zero {
			bytes = l.F.Bytes(*target).Bytes()
		}
		end, size, n := uint64(0), target.Size, tab.Len()
		entries := tab.Raw()
		for k := 0; k < n; k++ {
			if x86 && entries != nil && (!zero || uint64(len(bytes)) == size) {
				if k += touch.usual(entries[k*24:n*24], bytes, size, &end, state); k == n {
					break
				}
			}
			r := tab.At(k)
			w := touch.of(r.Type)
			if w < 0 {
				if bad++; bad == 1 {
					l.badType(i, k, r, syms)
					wrong = len(l.Findings) - 1
				}
				continue
			}
			if w == 0 {
				continue
			}
			if r.Off > size || uint64(w) > size-r.Off {
				l.suspect("relocation %d of section %d lies at %#x of a section of %#x bytes", k, i, r.Off, size)
				continue
			}
			if int64(r.Sym) >= int64(len(state)) {
				l.suspect("relocation %d of section %d names symbol %d of %d", k, i, r.Sym, len(state))
				continue
			}
			if st := state[r.Sym]; st != symGood {
				l.strangeSymbol(i, k, r, st, syms)
			}
			if !x86 {
				continue
			}
			if r.Type == uint32(stdelf.R_X86_64_32) && state[r.Sym] != symAbs {
				l.suspect("relocation %d of section %d holds 32 bits of an address", k, i)
			}
			if r.Addend > strange || r.Addend < -strange {
				l.suspect("relocation %d of section %d has the addend %#x", k, i, r.Addend)
			}
			if r.Off < end {
				l.suspect("relocation %d of section %d lies before the end of one before it", k, i)
			}
			end = r.Off + uint64(w)
			if zero && end <= uint64(len(bytes)) {
				at := bytes[r.Off:end]
				if w == 8 && at[7]|at[6]|at[5]|at[4] != 0 || at[3]|at[2]|at[1]|at[0] != 0 {
					l.suspect("the place of relocation %d of section %d, %#x, is not zero", k, i, r.Off)
				}
			}
		}
		form := s.Type == stdelf.SHT_RELA
		if a := l.F.Arch; a != nil && n > 0 && form != a.Rela && !(m == stdelf.EM_MIPS && class == stdelf.ELFCLASS64) {
			l.suspect("section %d holds relocations of the other form", i)
		}
		if len(l.Suspicious) >= 8 {
			break
		}
	}
	if bad > 1 {
		l.Findings[wrong].Message += fmt.Sprintf("; %d more are of types that it does not take", bad-1)
	}
	return true
}

// touches knows how many bytes each relocation type touches, -1 where the loader does not take it.
type touches struct {
	l     *Load
	small [512]int8 // by type, plus 2: 0 has not been looked up
	plain [64]uint8 // those of them that usual takes: 4 or 8
	more  map[uint32]int8
}

func (t *touches) of(typ uint32) int {
	if typ < uint32(len(t.small)) && t.small[typ] != 0 {
		return int(t.small[typ]) - 2
	}
	return t.lookup(typ)
}

// usual goes over plain entries of x86 as long as they are what nearly all are: inside the section of size bytes, one behind the other, where
// content is zero (it is empty where there is none), with a symbol and an addend that nobody need ask about. It returns how many there are.
func (t *touches) usual(entries, content []byte, size uint64, end *uint64, state []uint8) int {
	after, k := *end, 0
	for ; len(entries) >= 24; k++ {
		e := entries[:24:24]
		off, info := binary.LittleEndian.Uint64(e), binary.LittleEndian.Uint64(e[8:])
		typ, sym := uint32(info), info>>32
		if typ >= uint32(len(t.plain)) || sym >= uint64(len(state)) || state[sym] != symGood || off < after || off > size ||
			binary.LittleEndian.Uint64(e[16:])+strange > 2*strange {
			break
		}
		w := uint64(t.plain[typ])
		if w == 0 || w > size-off {
			break
		}
		if len(content) > 0 {
			held := uint64(0)
			if w == 8 {
				held = binary.LittleEndian.Uint64(content[off:])
			} else {
				held = uint64(binary.LittleEndian.Uint32(content[off:]))
			}
			if held != 0 {
				break
			}
		}
		after = off + w
		entries = entries[24:]
	}
	*end = after
	return k
}

func (t *touches) lookup(typ uint32) int {
	if n, ok := t.more[typ]; ok {
		return int(n)
	}
	l := t.l
	h := reloc.Lookup(l.F.Header.Machine, l.F.Class, typ)
	n := int8(h.Size)
	if !h.Loader || !h.Since.IsZero() && !l.T.Version.IsZero() && l.T.Version.Compare(h.Since) < 0 {
		n = -1
	}
	if typ < uint32(len(t.small)) {
		t.small[typ] = n + 2
		if typ < uint32(len(t.plain)) && typ != uint32(stdelf.R_X86_64_32) && (n == 4 || n == 8) {
			t.plain[typ] = uint8(n)
		}
	} else {
		t.more[typ] = n
	}
	return int(n)
}

// The states of a symbol that a relocation names.
const (
	symGood   = iota
	symUnseen // in a section that is not loaded
	symAbs
	symFar // a value far outside
)

// symbolStates looks at each symbol once.
func (l *Load) symbolStates(t *elf.Symtab) []uint8 {
	mem := l.borrowed()
	state := room(&mem.state, t.Len())
	raw := t.Raw()
	loaded := room(&mem.loaded, len(l.Hdr)) // what lies there is good
	for i := range l.Hdr {
		loaded[i] = i != 0 && (l.Hdr[i].Flags&stdelf.SHF_ALLOC != 0 || i == l.Index.Pcpu)
	}
	for i := range state {
		if raw != nil {
			b := raw[i*24 : i*24+24]
			if x := elf.PlainShndx(b); int(x) < len(loaded) && loaded[x] && x < uint16(stdelf.SHN_LORESERVE) && binary.LittleEndian.Uint64(b[8:]) <= strange {
				continue
			}
		}
		s := t.At(i)
		switch {
		case s.Shndx == uint32(stdelf.SHN_ABS):
			state[i] = symAbs
		case s.Reserved || int(s.Shndx) >= len(l.Hdr) || s.Undefined():
		case l.Hdr[s.Shndx].Flags&stdelf.SHF_ALLOC == 0 && int(s.Shndx) != l.Index.Pcpu:
			state[i] = symUnseen
		case s.Value > strange:
			state[i] = symFar
		}
	}
	return state
}

func (l *Load) strangeSymbol(sec, entry int, r elf.Rel, state uint8, t *elf.Symtab) {
	if state == symAbs {
		v := t.At(int(r.Sym)).Value + uint64(r.Addend)
		if l.F.Header.Machine != stdelf.EM_X86_64 || r.Type == 1 || r.Type == 24 || r.Type == 10 && v>>32 == 0 || r.Type == 11 && int64(v) == int64(int32(v)) {
			return
		}
	}
	l.suspect("relocation %d of section %d refers to a symbol outside of what is loaded", entry, sec)
}

// badType is a relocation that the loader does not take.
func (l *Load) badType(sec, entry int, r elf.Rel, t *elf.Symtab) {
	s := &l.Hdr[sec]
	m := l.F.Header.Machine
	name := reloc.Name(m, r.Type)
	where, _ := l.nameOf(int(s.Info))
	symbol := ""
	if int64(r.Sym) < int64(t.Len()) {
		symbol = string(l.F.DisplayName(t, t.At(int(r.Sym))))
	}
	f := diag.New(diag.RelocType, l.T.Version, strings.TrimSpace(fmt.Sprintf("%d %s", r.Type, name)), fmt.Sprintf("%s+%#x", where, r.Off), symbol, "", 0)
	f.Dmesg, f.Step = nil, "2.8"
	f.Where = diag.In(where, int(s.Info)).EntryNo(entry)
	f.Where.Symbol = symbol
	machine := "machine"
	if l.F.Arch != nil {
		machine = l.F.Arch.Name
	}
	f.Message = fmt.Sprintf("relocation of type %d %s at %s+%#x (%s): the %s loader does not take it", r.Type, dash(name), where, r.Off, dash(symbol), machine)
	h := reloc.Lookup(m, l.F.Class, r.Type)
	switch {
	case h.Loader && !h.Since.IsZero():
		f.Message = fmt.Sprintf("relocation of type %d %s at %s+%#x (%s): the %s loader takes it from %s on", r.Type, name, where, r.Off, dash(symbol), machine, h.Since)
		f.Want = "a kernel of " + h.Since.String() + " or later"
		f.Hint, f.Certain = "a newer toolchain emits it: build the module with the compiler and binutils that the kernel was built with", new(bool)
	case strings.Contains(name, "GOT"):
		f.Message = fmt.Sprintf("relocation of type %d %s at %s+%#x (%s): the %s loader takes no such GOT relocation", r.Type, name, where, r.Off, dash(symbol), machine)
		f.Hint, f.Certain = "the code was built with -fpic or -fpie: add -fno-pic (KCFLAGS), or use the kernel's own flags (kbuild)", &yes
	}
	f.Got = name
	l.Findings = append(l.Findings, f)
	l.suspect("relocation %d of section %d has type %d", entry, sec, r.Type)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// StructOffsets compares where the module's struct module has its init and exit with the kernel's.
func (l *Load) StructOffsets(initOff, exitOff uint64) {
	for _, c := range []struct {
		field     string
		got, want uint64
	}{{"init", initOff, l.T.Struct.Init}, {"exit", exitOff, l.T.Struct.Exit}} {
		if c.got == 0 || c.want == 0 || c.got == c.want {
			continue
		}
		f := diag.New(diag.StructOffset, l.T.Version, c.field, c.got, c.want)
		f.Step = "2.8"
		f.Want, f.Got = hex(c.want), hex(c.got)
		f.Where = diag.In(thisModule, l.Index.Mod)
		f.Assumes = []string{"the kernel runs into something there: it calls what stands at its own offset"}
		l.suspect("struct module has %s at %#x, the kernel's at %#x", c.field, c.got, c.want)
		l.Findings = append(l.Findings, f)
	}
}
