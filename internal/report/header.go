package report

import (
	"debug/elf"
	"fmt"
	"strconv"

	"kotool/internal/arch"
	kelf "kotool/internal/elf"
	"kotool/internal/render"
)

// Header is the ELF header, decoded and raw.
type Header struct{ f *kelf.File }

// NewHeader reports a file's ELF header.
func NewHeader(f *kelf.File) *Header { return &Header{f} }

// Schema implements Report.
func (*Header) Schema() string { return "kotool.header/1" }

// JSON implements Report.
func (r *Header) JSON(j *render.JSON) {
	h := &r.f.Header
	j.KInt("class", classBits(h.Ident[elf.EI_CLASS]))
	j.KStr("data", dataName(h.Ident[elf.EI_DATA]))
	j.KUint("ident_version", uint64(h.Ident[elf.EI_VERSION]))
	j.KUint("os_abi", uint64(h.Ident[elf.EI_OSABI]))
	j.KUint("abi_version", uint64(h.Ident[elf.EI_ABIVERSION]))
	j.KUint("type", uint64(h.Type))
	j.KStr("type_name", elfTypeName(h.Type))
	j.KUint("machine", uint64(h.Machine))
	j.KStr("machine_name", machineName(r.f))
	j.KUint("version", uint64(h.Version))
	j.KHex("entry", h.Entry)
	j.KUint("phoff", h.Phoff)
	j.KUint("shoff", h.Shoff)
	j.KHex("flags", uint64(h.Flags))
	j.KUint("ehsize", uint64(h.Ehsize))
	j.KUint("phentsize", uint64(h.Phentsize))
	j.KUint("phnum", uint64(h.Phnum))
	j.KUint("shentsize", uint64(h.Shentsize))
	j.KUint("shnum", uint64(h.Shnum))
	j.KUint("shstrndx", uint64(h.Shstrndx))
	j.KStr("ident", fmt.Sprintf("%x", h.Ident[:]))
	j.Key("flags_text")
	strs(j, flagWords(r.f))
	if r.f.Shnum != uint64(h.Shnum) {
		j.KUint("shnum_extended", r.f.Shnum)
	}
	if r.f.Shstrndx != uint32(h.Shstrndx) {
		j.KUint("shstrndx_extended", uint64(r.f.Shstrndx))
	}
}

// Tables implements Report.
func (r *Header) Tables() []*render.Table {
	h := &r.f.Header
	dec := func(v uint64) string { return strconv.FormatUint(v, 10) }
	raw := func(name string, v uint64) string { return fmt.Sprintf("%s (%d)", name, v) }
	shnum, shstrndx := dec(uint64(h.Shnum)), dec(uint64(h.Shstrndx))
	if r.f.Shnum != uint64(h.Shnum) {
		shnum += fmt.Sprintf(" (extended numbering: %d)", r.f.Shnum)
	}
	if r.f.Shstrndx != uint32(h.Shstrndx) {
		shstrndx += fmt.Sprintf(" (extended numbering: %d)", r.f.Shstrndx)
	} else if i := int(h.Shstrndx); i > 0 && i < len(r.f.Sections) {
		shstrndx += " " + r.f.Sections[i].Name
	}
	flags := fmt.Sprintf("%#x", h.Flags)
	for i, w := range flagWords(r.f) {
		if i == 0 {
			flags += " "
		} else {
			flags += ", "
		}
		flags += w
	}
	return []*render.Table{pairs("", []pair{
		{key: "e_ident", value: fmt.Sprintf("% x", h.Ident[:])},
		{key: "class", value: raw(className(h.Ident[elf.EI_CLASS]), uint64(h.Ident[elf.EI_CLASS]))},
		{key: "data", value: raw(dataName(h.Ident[elf.EI_DATA])+" endian", uint64(h.Ident[elf.EI_DATA]))},
		{key: "ident version", value: dec(uint64(h.Ident[elf.EI_VERSION]))},
		{key: "os abi", value: raw(osabiName(h.Ident[elf.EI_OSABI]), uint64(h.Ident[elf.EI_OSABI]))},
		{key: "abi version", value: dec(uint64(h.Ident[elf.EI_ABIVERSION]))},
		{key: "e_type", value: raw(elfTypeName(h.Type), uint64(h.Type))},
		{key: "e_machine", value: raw(machineName(r.f), uint64(h.Machine))},
		{key: "e_version", value: dec(uint64(h.Version))},
		{key: "e_entry", value: fmt.Sprintf("%#x", h.Entry)},
		{key: "e_phoff", value: dec(h.Phoff) + " bytes"},
		{key: "e_shoff", value: dec(h.Shoff) + " bytes"},
		{key: "e_flags", value: flags},
		{key: "e_ehsize", value: dec(uint64(h.Ehsize)) + " bytes"},
		{key: "e_phentsize", value: dec(uint64(h.Phentsize)) + " bytes"},
		{key: "e_phnum", value: dec(uint64(h.Phnum))},
		{key: "e_shentsize", value: dec(uint64(h.Shentsize)) + " bytes"},
		{key: "e_shnum", value: shnum},
		{key: "e_shstrndx", value: shstrndx},
	})}
}

func classBits(c byte) int64 {
	switch elf.Class(c) {
	case elf.ELFCLASS32:
		return 32
	case elf.ELFCLASS64:
		return 64
	}
	return 0
}

func className(c byte) string {
	if bits := classBits(c); bits != 0 {
		return "ELF" + strconv.FormatInt(bits, 10)
	}
	return "unknown"
}

func dataName(d byte) string {
	switch elf.Data(d) {
	case elf.ELFDATA2LSB:
		return "little"
	case elf.ELFDATA2MSB:
		return "big"
	}
	return "unknown"
}

func osabiName(a byte) string {
	switch elf.OSABI(a) {
	case elf.ELFOSABI_NONE:
		return "System V"
	case elf.ELFOSABI_LINUX:
		return "Linux"
	case elf.ELFOSABI_ARM:
		return "ARM"
	}
	return "other"
}

func elfTypeName(t elf.Type) string {
	switch t {
	case elf.ET_NONE:
		return "NONE"
	case elf.ET_REL:
		return "REL"
	case elf.ET_EXEC:
		return "EXEC"
	case elf.ET_DYN:
		return "DYN"
	case elf.ET_CORE:
		return "CORE"
	}
	return "unknown"
}

// machineName is the name of the file's row in the arch table; where class or byte order do not fit any row, that of the machine number.
func machineName(f *kelf.File) string {
	if f.Arch != nil {
		return f.Arch.Name
	}
	if a := arch.Guess(f.Header.Machine); a != nil {
		return a.Name
	}
	return "unknown"
}

// flagWords decodes e_flags as the machine's ABI has it.
func flagWords(f *kelf.File) []string {
	var words []string
	add := func(on bool, w string) {
		if on {
			words = append(words, w)
		}
	}
	v := f.Header.Flags
	switch f.Header.Machine {
	case elf.EM_ARM:
		if e := v >> 24; e != 0 {
			add(true, fmt.Sprintf("EABI version %d", e))
		}
		add(v&0x200 != 0, "soft-float ABI")
		add(v&0x400 != 0, "hard-float ABI")
		add(v&0x00800000 != 0, "BE8")
	case elf.EM_PPC64:
		if v&3 != 0 {
			add(true, fmt.Sprintf("ABI version %d", v&3))
		}
	case elf.EM_RISCV:
		add(v&1 != 0, "RVC")
		add(true, [...]string{"soft-float ABI", "single-float ABI", "double-float ABI", "quad-float ABI"}[v>>1&3])
		add(v&8 != 0, "RVE")
		add(v&16 != 0, "TSO")
	case elf.EM_MIPS:
		add(v&1 != 0, "noreorder")
		add(v&2 != 0, "pic")
		add(v&4 != 0, "cpic")
		add(v&0x20 != 0, "abi2")
		add(v&0x200 != 0, "fp64")
		switch v & 0xf000 {
		case 0x1000:
			add(true, "o32")
		case 0x2000:
			add(true, "o64")
		case 0x3000, 0x4000:
			add(true, "eabi")
		}
		if a := int(v >> 28); a < 11 {
			add(true, [...]string{"mips1", "mips2", "mips3", "mips4", "mips5", "mips32", "mips64", "mips32r2", "mips64r2", "mips32r6", "mips64r6"}[a])
		}
	case elf.EM_LOONGARCH:
		if m := int(v & 7); m >= 1 && m <= 3 {
			add(true, [...]string{"", "soft-float", "single-float", "double-float"}[m])
		}
		add(true, fmt.Sprintf("object ABI v%d", v>>6&3))
	case elf.EM_SPARCV9:
		if int(v&3) < 3 {
			add(true, [...]string{"tso", "pso", "rmo"}[v&3])
		}
	}
	return words
}
