package kimage

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"

	"kotool/internal/arch"
)

// kernel is a small kernel to be built: memory with what Open looks for, as ELF or as it is.
type kernel struct {
	arch       *arch.Arch
	base       uint64
	release    string
	exports    int // of each of the tables
	oneTable   bool
	crcs       bool
	config     string
	kallsyms   kallsymsLayout
	relocated  bool // pointers stand only in relocations
	noSections bool
}

// kallsymsLayout is an era of scripts/kallsyms.c.
type kallsymsLayout int

const (
	noKallsyms     kallsymsLayout = iota
	kallsymsOld                   // up to 6.3: offsets, base, number, names, markers, tokens
	kallsymsSeqs                  // 6.2: with numbers of three bytes behind the markers
	kallsymsPercpu                // 6.4 to 6.14 on x86: offsets last, negative ones
	kallsymsPlace                 // 7.2: offsets from their own place
)

const banner = " (builder@example.org) (gcc 14, ld 2.44) #1 SMP PREEMPT_DYNAMIC\n"

// amd64 is a kernel like those of x86-64.
func amd64() *kernel {
	return &kernel{arch: arch.Named("x86_64"), base: 0xffffffff81000000, release: "6.12.9-test", exports: 300, crcs: true, config: "CONFIG_A=y\n", kallsyms: kallsymsPercpu}
}

// builder collects memory.
type builder struct {
	*kernel
	mem      []byte
	sections []section
	rela     []byte
	word     int
	order    interface {
		binary.ByteOrder
		binary.AppendByteOrder
	}
}

type section struct {
	name       string
	start, end int
}

func (b *builder) align(n int) {
	for len(b.mem)%n != 0 {
		b.mem = append(b.mem, 0)
	}
}

func (b *builder) section(name string, fill func()) {
	start := len(b.mem)
	fill()
	b.sections = append(b.sections, section{name, start, len(b.mem)})
}

func (b *builder) put32(v uint32) { b.mem = b.order.AppendUint32(b.mem, v) }

// putWord writes a number as wide as an unsigned long.
func (b *builder) putWord(v uint64) {
	if b.word == 4 {
		b.put32(uint32(v))
		return
	}
	b.mem = b.order.AppendUint64(b.mem, v)
}

// pointer writes a field of an export. A negative offset is the null pointer.
func (b *builder) pointer(off int) {
	switch {
	case b.arch.PREL32 && off < 0:
		b.put32(0)
	case b.arch.PREL32:
		b.put32(uint32(off - len(b.mem)))
	case off < 0:
		b.putWord(0)
	case b.relocated:
		types, _ := relocTypesOf(b.arch)
		b.rela = b.order.AppendUint64(b.rela, b.base+uint64(len(b.mem)))
		b.rela = b.order.AppendUint64(b.rela, uint64(types.relative))
		b.rela = b.order.AppendUint64(b.rela, b.base+uint64(off))
		b.putWord(0)
	default:
		b.putWord(b.base + uint64(off))
	}
}

// name and namespace of export i of table t.
func exportName(t, i int) string { return fmt.Sprintf("export_%04d", 2*i+t) }

func namespace(i int) string {
	if i%10 == 3 {
		return "module:kvm-intel,kvm"
	}
	return ""
}

func (k *kernel) crc(t, i int) uint32 { return uint32(t*k.exports+i+1) * 2654435761 }

// value is where export i of table t is, as an offset.
func (k *kernel) value(t, i int) int { return 0x100 + 16*(t*k.exports+i) }

// build lays memory out: a header, code, .rodata, the tables of exports and what belongs to them.
func (k *kernel) build() *builder {
	b := &builder{kernel: k, word: k.arch.WordSize(), order: binary.LittleEndian}
	if k.arch.BigEndian {
		b.order = binary.BigEndian
	}
	b.section(".text", func() {
		b.mem = append(b.mem, make([]byte, 0x40)...)
		if k.arch.Name == "arm64" {
			copy(b.mem[offMagic64:], "ARM\x64")
		}
		if k.arch.Name == "riscv64" {
			copy(b.mem[offMagic64:], "RSC\x05")
		}
		for len(b.mem) < 0x8000 {
			b.mem = append(b.mem, byte(len(b.mem)*7), byte(len(b.mem)>>5))
		}
	})
	b.section(".rodata", func() {
		for i := range 64 { // pointers, by which an image's base is found
			b.putWord(b.base + uint64(i)*64)
		}
		b.mem = append(b.mem, "%s version %s (x)\x00Linux version "...)
		b.mem = append(b.mem, k.release+banner+"\x00"...)
		b.mem = append(b.mem, k.release+" (no vermagic) SMP\x00\x00"...)
		b.mem = append(b.mem, k.release+" SMP preempt mod_unload modversions \x00"...)
		if k.config != "" {
			b.mem = append(append(append(b.mem, "IKCFG_ST"...), gzipped([]byte(k.config))...), "IKCFG_ED"...)
		}
		b.align(8)
		b.symbols()
		b.align(4096)
	})
	b.exportTables()
	b.align(8)
	b.section(".BTF", func() {
		magic := []byte{0x9f, 0xeb, 1, 0}
		if k.arch.BigEndian {
			magic = []byte{0xeb, 0x9f, 1, 0}
		}
		b.mem = append(b.mem, magic...)
		for _, v := range []uint32{24, 0, 16, 16, 8} {
			b.put32(v)
		}
		b.mem = append(b.mem, make([]byte, 16)...)
		b.mem = append(b.mem, "\x00int\x00ab\x00"...)
	})
	if len(b.rela) > 0 {
		b.align(8)
		b.section(".rela.dyn", func() { b.mem = append(b.mem, b.rela...) })
	}
	return b
}

// exportTables writes __ksymtab to __ksymtab_strings.
func (b *builder) exportTables() {
	tables, size := 2, 12
	if b.oneTable {
		tables = 1
	}
	if !b.arch.PREL32 {
		size = 3 * b.word
	}
	n := tables * b.exports
	strs := len(b.mem) + n*size
	if b.crcs {
		strs += 4 * n
	}
	if b.oneTable {
		strs += n
	}
	var text []byte
	places := map[string]int{}
	add := func(s string) {
		if _, ok := places[s]; !ok {
			places[s] = strs + len(text)
			text = append(text, s+"\x00"...)
		}
	}
	add("")
	for t := range tables {
		for i := range b.exports {
			add(exportName(t, i))
			add(namespace(i))
		}
	}
	for t := range tables {
		b.section([...]string{"__ksymtab", "__ksymtab_gpl"}[t], func() {
			for i := range b.exports {
				b.pointer(b.value(t, i))
				b.pointer(places[exportName(t, i)])
				ns := places[namespace(i)]
				if i%10 == 5 {
					ns = -1 // as exports of assembly have it
				}
				b.pointer(ns)
			}
		})
	}
	for t := 0; b.crcs && t < tables; t++ {
		b.section([...]string{"__kcrctab", "__kcrctab_gpl"}[t], func() {
			for i := range b.exports {
				b.put32(b.crc(t, i))
			}
		})
	}
	if b.oneTable {
		b.section("__kflagstab", func() {
			for i := range b.exports {
				b.mem = append(b.mem, byte(i%2))
			}
		})
	}
	b.section("__ksymtab_strings", func() { b.mem = append(b.mem, text...) })
}

// kallsymsCount is how many symbols the tables have: a few more than one marker's worth.
const kallsymsCount = 600

func kallsymsName(i int) string { return fmt.Sprintf("Tsym%d_end", i) }

func kallsymsValue(i int) int { return 0x100 + 8*i }

// symbols writes the kallsyms tables: every character is a token of its own, and token 1 is "sym".
func (b *builder) symbols() {
	if b.kallsyms == noKallsyms {
		return
	}
	var names []byte
	var markers []uint32
	for i := range kallsymsCount {
		if i%kallsymsGroup == 0 {
			markers = append(markers, uint32(len(names)))
		}
		name := "T\x01" + kallsymsName(i)[4:]
		if i == 5 {
			name += string(bytes.Repeat([]byte("x"), 0x90)) // a length of two bytes
			names = append(names, 0x80|byte(len(name)&0x7f), byte(len(name)>>7))
		} else {
			names = append(names, byte(len(name)))
		}
		names = append(names, name...)
	}
	align := func() { b.align(b.word) }
	offsets := func() {
		align()
		for i := range kallsymsCount {
			switch b.kallsyms {
			case kallsymsPercpu:
				if i == 0 {
					b.put32(0x40) // absolute
					continue
				}
				b.put32(uint32(-1 - kallsymsValue(i) + kallsymsValue(1)))
			case kallsymsPlace:
				b.put32(uint32(kallsymsValue(i) - len(b.mem)))
			default:
				b.put32(uint32(kallsymsValue(i) - kallsymsValue(0)))
			}
		}
		align()
		switch b.kallsyms {
		case kallsymsPlace:
		case kallsymsPercpu: // the base is the first address that is not absolute
			b.putWord(b.base + uint64(kallsymsValue(1)))
		default:
			b.putWord(b.base + uint64(kallsymsValue(0)))
		}
	}
	if b.kallsyms <= kallsymsSeqs {
		offsets()
	}
	align()
	b.put32(kallsymsCount)
	align()
	b.mem = append(b.mem, names...)
	align()
	for _, m := range markers {
		b.put32(m)
	}
	align()
	if b.kallsyms == kallsymsSeqs {
		for i := range kallsymsCount {
			b.mem = append(b.mem, byte(i>>16), byte(i>>8), byte(i*37))
		}
		align()
	}
	var index []uint16
	start := len(b.mem)
	for c := range 256 {
		index = append(index, uint16(len(b.mem)-start))
		if c == 1 {
			b.mem = append(b.mem, "sym"...)
		} else if c > 1 {
			b.mem = append(b.mem, byte(c))
		}
		b.mem = append(b.mem, 0)
	}
	align()
	for _, v := range index {
		b.mem = b.order.AppendUint16(b.mem, v)
	}
	if b.kallsyms > kallsymsSeqs {
		offsets()
	}
	align()
}

// raw is memory as it is: what objcopy -O binary leaves.
func (k *kernel) raw() []byte { return k.build().mem }

// elf is the kernel as vmlinux, without symbols.
func (k *kernel) elf() []byte {
	b := k.build()
	b.align(16)
	ehdr, phdr, shdr, class, off := 64, 56, 64, byte(2), 0x1000
	if b.word == 4 {
		ehdr, phdr, shdr, class = 52, 32, 40, 1
	}
	data := byte(1)
	if b.arch.BigEndian {
		data = 2
	}
	names := []byte{0}
	list := append(slices.Clone(b.sections), section{name: ".shstrtab"})
	body := b.mem
	var heads []byte
	put := func(dst []byte, v uint64) []byte {
		if b.word == 4 {
			return b.order.AppendUint32(dst, uint32(v))
		}
		return b.order.AppendUint64(dst, v)
	}
	for _, s := range list {
		at := len(names)
		names = append(names, s.name+"\x00"...)
		typ, flags, addr := elf.SHT_PROGBITS, elf.SHF_ALLOC, b.base+uint64(s.start)
		start, size := off+s.start, s.end-s.start
		switch s.name {
		case ".text":
			flags |= elf.SHF_EXECINSTR
		case ".rela.dyn":
			typ = elf.SHT_RELA
		case ".shstrtab":
			typ, flags, addr, start, size = elf.SHT_STRTAB, 0, 0, off+len(body), len(names)
		}
		heads = b.order.AppendUint32(b.order.AppendUint32(heads, uint32(at)), uint32(typ))
		heads = put(put(put(put(heads, uint64(flags)), addr), uint64(start)), uint64(size))
		heads = b.order.AppendUint32(b.order.AppendUint32(heads, 0), 0)
		heads = put(put(heads, 1), 0)
	}
	for len(names)%8 != 0 {
		names = append(names, 0)
	}
	shoff, shnum, shstrndx := off+len(body)+len(names), len(list)+1, len(list)
	if b.noSections {
		shoff, shnum, shstrndx, heads = 0, 0, 0, nil
	}
	out := append([]byte("\x7fELF"), class, data, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	out = b.order.AppendUint16(b.order.AppendUint16(out, uint16(elf.ET_EXEC)), uint16(b.arch.Machine))
	out = b.order.AppendUint32(out, 1)
	out = put(put(put(out, b.base), uint64(ehdr)), uint64(shoff))
	out = b.order.AppendUint32(out, 0)
	for _, v := range []int{ehdr, phdr, 1, shdr, shnum, shstrndx} {
		out = b.order.AppendUint16(out, uint16(v))
	}
	out = b.order.AppendUint32(out, uint32(elf.PT_LOAD))
	if b.word == 8 {
		out = b.order.AppendUint32(out, 5)
	}
	for _, v := range []uint64{uint64(off), b.base, b.base, uint64(len(body)), uint64(len(body))} {
		out = put(out, v)
	}
	if b.word == 4 {
		out = b.order.AppendUint32(out, 5)
	}
	out = put(out, 0x1000)
	out = append(out, make([]byte, off-len(out))...)
	out = append(append(out, body...), names...)
	if len(heads) > 0 {
		out = append(append(out, make([]byte, shdr)...), heads...)
	}
	return out
}

// packers make streams as the kernel's build does, by the packing's name.
var packers = map[string]func([]byte) []byte{
	"gzip": gzipped,
	"zstd": func(b []byte) []byte {
		w, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(true))
		if err != nil {
			panic(err)
		}
		return sized(w.EncodeAll(b, nil), b)
	},
	"xz":  func(b []byte) []byte { return sized(xzStored(b), b) },
	"lz4": func(b []byte) []byte { return sized(lz4Stored(b), b) },
	"lzo": func(b []byte) []byte { return sized(lzopStored(b), b) },
}

// sized appends the size of the plain bytes.
func sized(packed, plain []byte) []byte {
	return binary.LittleEndian.AppendUint32(packed, uint32(len(plain)))
}

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// xzStored is an xz file of one LZMA2 block whose chunks are not compressed.
func xzStored(b []byte) []byte {
	sum := func(p []byte) []byte { return binary.LittleEndian.AppendUint32(p, crc32.ChecksumIEEE(p)) }
	out := append([]byte("\xfd7zXZ\x00"), sum([]byte{0, 1})...)
	block := sum([]byte{2, 0, 0x21, 1, 20, 0, 0, 0})
	first := true
	for rest := b; len(rest) > 0; {
		n := min(len(rest), 1<<16)
		control := byte(2)
		if first {
			control, first = 1, false
		}
		block = append(block, control, byte((n-1)>>8), byte(n-1))
		block = append(block, rest[:n]...)
		rest = rest[n:]
	}
	block = append(block, 0)
	unpadded := len(block) + 4
	for len(block)%4 != 0 {
		block = append(block, 0)
	}
	block = binary.LittleEndian.AppendUint32(block, crc32.ChecksumIEEE(b))
	out = append(out, block...)
	index := binary.AppendUvarint(binary.AppendUvarint([]byte{0, 1}, uint64(unpadded)), uint64(len(b)))
	for len(index)%4 != 0 {
		index = append(index, 0)
	}
	index = sum(index)
	out = append(out, index...)
	foot := append(binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1)), 0, 1)
	out = binary.LittleEndian.AppendUint32(out, crc32.ChecksumIEEE(foot))
	return append(append(out, foot...), "YZ"...)
}

// lz4Stored is the old lz4 format with blocks of literals only.
func lz4Stored(b []byte) []byte {
	out := []byte{0x02, 0x21, 0x4c, 0x18}
	for len(b) > 0 {
		n := min(len(b), 1<<20)
		block := []byte{0xf0}
		rest := n - 15
		for ; rest >= 255; rest -= 255 {
			block = append(block, 255)
		}
		block = append(append(block, byte(rest)), b[:n]...)
		out = append(binary.LittleEndian.AppendUint32(out, uint32(len(block))), block...)
		b = b[n:]
	}
	return out
}

// lzopStored is what lzop writes for what cannot be compressed.
func lzopStored(b []byte) []byte {
	out := []byte("\x89LZO\x00\r\n\x1a\n\x10\x30\x20\xa0\x09\x40\x03\x09")
	out = append(out, make([]byte, 4+12+1+4)...) // flags, mode, times, no name, checksum
	for len(b) > 0 {
		n := min(len(b), 256<<10)
		out = binary.BigEndian.AppendUint32(out, uint32(n))
		out = binary.BigEndian.AppendUint32(out, uint32(n))
		out = append(out, b[:n]...)
		b = b[n:]
	}
	return append(out, 0, 0, 0, 0)
}

// bzImageOf puts a payload behind the boot header of x86.
func bzImageOf(payload []byte) []byte {
	const sects, unpacker = 3, 0x340
	b := make([]byte, (sects+1)*512+unpacker)
	copy(b, "MZ")
	b[offSetupSects] = sects
	copy(b[offBootFlag:], "\x55\xaa")
	copy(b[offHdrS:], "HdrS")
	le := binary.LittleEndian
	le.PutUint16(b[offBootProto:], 0x20f)
	le.PutUint16(b[offVersion:], 0x300)
	copy(b[0x500:], "6.12.9-test (builder@example.org) #1")
	b[offXLoad] = 1
	le.PutUint32(b[offPayload:], unpacker)
	le.PutUint32(b[offPayload+4:], uint32(len(payload)))
	return append(append(b, payload...), bytes.Repeat([]byte{0xcc}, 512)...)
}

// zbootOf makes an EFI zboot image.
func zbootOf(payload []byte, packing string, machine uint16) []byte {
	b := make([]byte, 0x400)
	copy(b, "MZ\x00\x00zimg")
	le := binary.LittleEndian
	le.PutUint32(b[8:], uint32(len(b)))
	le.PutUint32(b[12:], uint32(len(payload)))
	if packing != "gzip" {
		le.PutUint32(b[12:], uint32(len(payload)-4)) // the size behind it is not counted
	}
	copy(b[0x18:], packing)
	le.PutUint32(b[0x38:], linuxPEMagic)
	le.PutUint32(b[0x3c:], 0x40)
	copy(b[0x40:], "PE\x00\x00")
	le.PutUint16(b[0x44:], machine)
	return append(append(b, payload...), make([]byte, 64)...)
}

// zImageOf makes an image of arm, with the table that tells where the payload ends if it is to have one.
func zImageOf(payload []byte, table bool) []byte {
	b := make([]byte, 0x200)
	le := binary.LittleEndian
	le.PutUint32(b[offZImage:], zImageMagic)
	le.PutUint32(b[0x2c:], uint32(len(b)+len(payload)+16))
	if table {
		le.PutUint32(b[0x34:], zImageOffs)
		le.PutUint32(b[0x38:], 0x80)
		for i, v := range []uint32{6, zImageTable, uint32(len(b) + len(payload) - 4), 0, 0x8000} {
			le.PutUint32(b[0x80+4*i:], v)
		}
	}
	copy(b[0x100:], "\x1f\x8b\x08\x00 which is no stream")
	return append(append(b, payload...), make([]byte, 16)...)
}

// uImageOf makes an image of U-Boot.
func uImageOf(body []byte, machine, comp byte) []byte {
	h := make([]byte, uImageHeader)
	binary.BigEndian.PutUint32(h, uImageMagic)
	binary.BigEndian.PutUint32(h[12:], uint32(len(body)))
	h[28], h[29], h[30], h[31] = 5, machine, 2, comp
	return append(h, body...)
}

func open(t testing.TB, data []byte) *Image {
	t.Helper()
	im, err := Open(data, 0)
	if err != nil {
		t.Fatal(err)
	}
	return im
}
