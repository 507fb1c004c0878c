package e2e

import (
	"bytes"
	"cmp"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// Mutant is a module that was damaged, or that is loaded in an odd way.
type Mutant struct {
	ID      string
	What    string // what was done
	Base    string // the module that it was
	Name    string // what the kernel calls it
	File    []byte
	Params  string
	Flags   int
	Syscall string
	Keep    bool     // like Step.Keep
	Pre     []string // modules that have to be there
	Risky   bool     // kernels have died of it

	watch bool // nothing is damaged: it tells what its imports are
}

// Flags of finit_module.
const (
	ignoreModversions = 1
	ignoreVermagic    = 2
	compressedFile    = 4
)

// mutation makes one mutant of a module without signature. It reports whether the module has what it changes.
type mutation struct {
	id, what string
	params   string
	flags    int
	syscall  string
	risky    bool
	do       func(x *object, m *Machine) bool
}

func nothing(*object, *Machine) bool { return true }

// modinfoKey makes an entry of .modinfo unreadable: its key gets another last letter.
func modinfoKey(key string) func(*object, *Machine) bool {
	return func(x *object, _ *Machine) bool {
		b := []byte(key)
		b[len(b)-1] ^= 1
		return x.replace(".modinfo", "\x00"+key+"=", "\x00"+string(b)+"=") || hasFirst(x, key, string(b))
	}
}

// hasFirst is for the entry that .modinfo begins with.
func hasFirst(x *object, key, other string) bool {
	i := x.find(".modinfo")
	return i >= 0 && bytes.HasPrefix(x.data(i), []byte(key+"=")) && copy(x.data(i), other) > 0
}

var mutations = []mutation{
	{id: "intact", what: "nothing but the signature cut off", do: nothing},
	{id: "init-module", what: "init_module()", syscall: "init", do: nothing},
	{id: "trailing", what: "a byte appended", do: func(x *object, _ *Machine) bool { x.b = append(x.b, 0); return true }},

	{id: "empty", what: "empty file", do: func(x *object, _ *Machine) bool { x.b = nil; return true }},
	{id: "cut-half", what: "the second half cut off", do: func(x *object, _ *Machine) bool { x.b = x.b[:len(x.b)/2]; return true }},
	{id: "cut-headers", what: "cut off within the last section header", do: func(x *object, _ *Machine) bool {
		x.b = x.b[:int(x.shoff)+x.shnum*shdrSize(x.bits)-1]
		return true
	}},
	{id: "elf-magic", what: "e_ident has no ELF magic", do: func(x *object, _ *Machine) bool { x.b[0]++; return true }},
	{id: "elf-type", what: "e_type is ET_DYN", do: func(x *object, _ *Machine) bool { x.o.PutUint16(x.b[16:], uint16(elf.ET_DYN)); return true }},
	{id: "elf-machine", what: "e_machine of another machine", do: func(x *object, m *Machine) bool { x.o.PutUint16(x.b[18:], uint16(m.Other)); return true }},
	{id: "section-offset", what: ".text begins at the end of the file", do: func(x *object, _ *Machine) bool {
		i := codeSection(x)
		if i >= 0 {
			x.setOffset(i, uint64(len(x.b)))
		}
		return i >= 0
	}},
	{id: "shstrtab-end", what: ".shstrtab does not end with a NUL", do: func(x *object, _ *Machine) bool {
		b := x.data(x.shstrndx)
		if len(b) > 0 {
			b[len(b)-1] = 'x'
		}
		return len(b) > 0
	}},
	{id: "symtab-stripped", what: ".symtab is SHT_PROGBITS", do: func(x *object, _ *Machine) bool {
		i := slices.IndexFunc(x.secs, func(s objSection) bool { return s.typ == elf.SHT_SYMTAB })
		if i >= 0 {
			x.setType(i, elf.SHT_PROGBITS)
		}
		return i >= 0
	}},
	{id: "this-module-missing", what: thisModule + " has another name", do: func(x *object, _ *Machine) bool {
		return x.find(".shstrtab") >= 0 && x.replace(".shstrtab", thisModule+"\x00", thisModule[:len(thisModule)-1]+"f\x00")
	}},
	{id: "modinfo-not-alloc", what: ".modinfo without SHF_ALLOC", do: func(x *object, _ *Machine) bool {
		i := x.find(".modinfo")
		if i >= 0 {
			x.setFlags(i, x.secs[i].flags&^elf.SHF_ALLOC)
		}
		return i >= 0
	}},
	{id: "section-wx", what: "a section of code has SHF_WRITE", do: func(x *object, _ *Machine) bool {
		i := codeSection(x)
		if i >= 0 {
			x.setFlags(i, x.secs[i].flags|elf.SHF_WRITE)
		}
		return i >= 0
	}},

	{id: "vermagic-flag", what: "vermagic: mod_unload is mod_unlaod", do: func(x *object, _ *Machine) bool {
		return x.replace(".modinfo", " mod_unload ", " mod_unlaod ")
	}},
	{id: "vermagic-ignored", what: "vermagic: mod_unload is mod_unlaod; MODULE_INIT_IGNORE_VERMAGIC", flags: ignoreVermagic, do: func(x *object, _ *Machine) bool {
		return x.replace(".modinfo", " mod_unload ", " mod_unlaod ")
	}},
	{id: "vermagic-release", what: "vermagic: another release", do: func(x *object, _ *Machine) bool {
		v, ok := modinfo(x.b, "vermagic")
		return ok && len(v) > 1 && x.replace(".modinfo", "vermagic="+v[:1], "vermagic=9")
	}},
	{id: "vermagic-missing", what: "no vermagic", do: modinfoKey("vermagic")},
	{id: "license-missing", what: "no license", do: modinfoKey("license")},
	{id: "namespace-missing", what: "no import_ns", do: modinfoKey("import_ns")},

	{id: "crc-layout", what: "another CRC of module_layout", do: crc(func(name string) bool { return name == "module_layout" })},
	{id: "crc-symbol", what: "another CRC of a symbol", do: crc(func(name string) bool { return name != "module_layout" && name != "" })},
	{id: "crc-ignored", what: "another CRC of a symbol; MODULE_INIT_IGNORE_MODVERSIONS", flags: ignoreModversions, do: crc(func(name string) bool { return name != "module_layout" && name != "" })},
	{id: "crc-missing", what: "a symbol is missing in __versions", do: func(x *object, _ *Machine) bool {
		at := x.versionOf(func(name string) bool { return name != "module_layout" && name != "" })
		if at < 0 {
			return false
		}
		if x.big {
			at -= x.bits/8 - 1
		}
		x.b[at+x.bits/8] ^= 1
		return true
	}},
	{id: "symbol-unknown", what: "imports a symbol that nobody has", do: func(x *object, _ *Machine) bool {
		s := lonelyImport(x)
		if s != nil {
			x.b[s.str] = 'Q'
		}
		return s != nil
	}},
	{id: "symbol-common", what: "an imported symbol is SHN_COMMON", do: func(x *object, _ *Machine) bool {
		s := lonelyImport(x)
		if s == nil {
			return false
		}
		at := s.at + 6
		if x.bits == 32 {
			at = s.at + 14
		}
		x.o.PutUint16(x.b[at:], uint16(elf.SHN_COMMON))
		return true
	}},

	{id: "reloc-type", what: "unknown relocation type 254", do: func(x *object, _ *Machine) bool {
		list := x.relocs()
		if len(list) > 0 {
			x.setReloc(list[0], 254)
		}
		return len(list) > 0
	}},
	{id: "reloc-overflow", what: "addend 2^40 in a relocation of 32 bits or less", do: func(x *object, m *Machine) bool {
		for _, typ := range m.Abs32 {
			for _, r := range x.relocs() {
				if r.typ == typ && r.addend && x.bits == 64 {
					x.setAddend(r, 1<<40)
					return true
				}
			}
		}
		return false
	}},
	{id: "reloc-target", what: "the target of a relocation is not zero", do: func(x *object, m *Machine) bool {
		for _, r := range x.relocs() {
			if slices.Contains(m.Zero, r.typ) && r.target >= 0 {
				x.b[r.target] = 1
				return true
			}
		}
		return false
	}},

	{id: "flag-unknown", what: "finit_module with the flag 0x10", flags: 0x10, do: nothing},
	{id: "flag-compressed", what: "a plain file with MODULE_INIT_COMPRESSED_FILE", flags: compressedFile, do: nothing},
	{id: "param-unknown", what: "a parameter that the module has not", params: "kotool_nobody=1", do: nothing},
	{id: "param-bad", what: "not a number for an int", params: "%s=abc", do: nothing},
	{id: "param-range", what: "a number too large for an int", params: "%s=99999999999", do: nothing},
	{id: "symbol-name", what: "a symbol's name lies behind .strtab", risky: true, do: func(x *object, _ *Machine) bool {
		s := lonelyImport(x)
		if s != nil {
			x.o.PutUint32(x.b[s.at:], 0x7fffffff)
		}
		return s != nil
	}},
	{id: "this-module-size", what: thisModule + " has 8 bytes", risky: true, do: func(x *object, _ *Machine) bool {
		i := x.find(thisModule)
		if i >= 0 {
			x.setSize(i, 8)
		}
		return i >= 0
	}},
	{id: "param-quote", what: "a quote that is not closed", params: "%s=\"1", do: nothing},
}

func crc(pick func(string) bool) func(*object, *Machine) bool {
	return func(x *object, _ *Machine) bool {
		at := x.versionOf(pick)
		if at >= 0 {
			x.b[at] ^= 1
		}
		return at >= 0
	}
}

// codeSection is the first section of code that stays.
func codeSection(x *object) int {
	return slices.IndexFunc(x.secs, func(s objSection) bool {
		return s.flags&elf.SHF_ALLOC != 0 && s.flags&elf.SHF_EXECINSTR != 0 && s.typ == elf.SHT_PROGBITS && s.size > 0 && !strings.HasPrefix(s.name, ".init")
	})
}

// lonelyImport is an imported symbol whose name begins at a byte that no other name has.
func lonelyImport(x *object) *objSymbol {
	for i := range x.syms {
		s := &x.syms[i]
		if s.shndx != uint16(elf.SHN_UNDEF) || s.name == "" || elf.ST_BIND(s.info) != elf.STB_GLOBAL || strings.HasPrefix(s.name, ".") {
			continue
		}
		shared := slices.ContainsFunc(x.syms, func(o objSymbol) bool { return o.at != s.at && o.str <= s.str && s.str < o.str+len(o.name) })
		if !shared {
			return s
		}
	}
	return nil
}

// Mutants damages a good module in every way that it has something for; those of which kernels have died come last. Nothing of its name may be
// loaded while they are tried.
func Mutants(base Module) ([]Mutant, error) {
	m, err := machineOf(base.File)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", base.Name, err)
	}
	plain := unsigned(base.File)
	var list []Mutant
	for _, mu := range mutations {
		x, err := parseObject(plain)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", base.Name, err)
		}
		params := mu.params
		if strings.Contains(params, "%s") {
			p := intParam(plain)
			if p == "" {
				continue
			}
			params = fmt.Sprintf(params, p)
		}
		if mu.do(x, m) {
			list = append(list, Mutant{
				ID: base.Name + "-" + mu.id, What: mu.what, Base: base.Name, Name: base.Name, File: x.b,
				Params: params, Flags: mu.flags, Syscall: mu.syscall, Risky: mu.risky,
				watch: mu.id == "intact",
			})
		}
	}
	if len(plain) != len(base.File) {
		x, err := parseObject(base.File)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", base.Name, err)
		}
		if i := codeSection(x); i >= 0 {
			x.data(i)[0] ^= 1
			list = append(list, Mutant{ID: base.Name + "-signed-changed", What: "a byte of code is not what was signed", Base: base.Name, Name: base.Name, File: x.b})
		}
	}
	list = append(list, Mutant{
		ID: base.Name + "-xz", What: "an xz file with MODULE_INIT_COMPRESSED_FILE", Base: base.Name, Name: base.Name,
		File: xzStored(plain), Flags: compressedFile,
	})
	slices.SortStableFunc(list, func(a, b Mutant) int { return cmp.Compare(risk(a), risk(b)) })
	return list, nil
}

func risk(m Mutant) int {
	if m.Risky {
		return 1
	}
	return 0
}

// Twins are mutants of a module that is loaded while they are tried: itself, and where it exports something, itself by another name.
func Twins(loaded Module) ([]Mutant, error) {
	m, err := machineOf(loaded.File)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", loaded.Name, err)
	}
	list := []Mutant{{
		ID: loaded.Name + "-again", What: "loaded already", Base: loaded.Name, Name: loaded.Name, File: loaded.File, Keep: true, Pre: []string{loaded.Name},
	}}
	x, err := parseObject(unsigned(loaded.File))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", loaded.Name, err)
	}
	exports := slices.ContainsFunc(x.secs, func(s objSection) bool { return strings.HasPrefix(s.name, "__ksymtab") && s.size > 0 })
	at := x.thisModuleName(m)
	if !exports || at < 0 || string(x.b[at:at+len(loaded.Name)]) != loaded.Name {
		return list, nil
	}
	other := loaded.Name[:len(loaded.Name)-1] + "Q"
	copy(x.b[at:], other)
	x.replace(".modinfo", "\x00name="+loaded.Name+"\x00", "\x00name="+other+"\x00")
	return append(list, Mutant{
		ID: loaded.Name + "-twin", What: "exports what a loaded module exports", Base: loaded.Name, Name: other, File: x.b, Pre: []string{loaded.Name},
	}), nil
}

const signatureMagic = "~Module signature appended~\n"

// unsigned is the file without the signature at its end.
func unsigned(file []byte) []byte {
	b, ok := bytes.CutSuffix(file, []byte(signatureMagic))
	if !ok || len(b) < 12 {
		return file
	}
	n := uint64(binary.BigEndian.Uint32(b[len(b)-4:]))
	b = b[:len(b)-12]
	if n > uint64(len(b)) {
		return file
	}
	return b[:uint64(len(b))-n]
}

// intParam is the name of a parameter of type int, if there is one.
func intParam(file []byte) string {
	x, err := parseObject(file)
	if err != nil {
		return ""
	}
	i := x.find(".modinfo")
	if i < 0 {
		return ""
	}
	for entry := range bytes.SplitSeq(x.data(i), []byte{0}) {
		if v, ok := bytes.CutPrefix(entry, []byte("parmtype=")); ok {
			if name, typ, _ := strings.Cut(string(v), ":"); typ == "int" {
				return name
			}
		}
	}
	return ""
}
