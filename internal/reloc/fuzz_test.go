package reloc

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"testing"

	kelf "kotool/internal/elf"
)

// fuzzImage makes a module of what the fuzzer says: relocations of two sections, symbols and code.
func fuzzImage(mc *machine, data []byte) *memImage {
	img := mc.image()
	take := func(n int) []byte {
		b := make([]byte, n)
		data = data[copy(b, data):]
		return b
	}
	// A second section, of init code, and its relocations.
	img.secs = append(img.secs,
		memSection{Section: Section{Name: ".init.text", Type: elf.SHT_PROGBITS, Flags: img.secs[1].Flags, Size: 32, Align: 4}, data: make([]byte, 32)},
		memSection{Section: img.secs[2].Section})
	head := take(8)
	img.secs[12].Info = 11
	if head[0]&1 != 0 {
		img.secs[12].Info = uint32(head[1]) // any section, or none
	}
	if head[0]&2 != 0 {
		img.secs[head[2]%13].Name = ""
	}
	img.secs[1].Type = elf.SectionType(head[0] >> 6)
	copy(img.secs[1].data, take(64))
	copy(img.secs[11].data, take(32))
	names := []string{"sym", ".TOC.", "_GLOBAL_OFFSET_TABLE_", "_mcount", "$$x", "ftrace_caller"}
	for i := range 4 {
		b := take(8)
		v := uint64(binary.LittleEndian.Uint32(b))
		switch b[4] & 3 {
		case 1:
			v += mc.text
		case 2:
			v = -v
		case 3:
			v <<= 32
		}
		if mc.class == elf.ELFCLASS32 {
			v = uint64(uint32(v))
		}
		img.syms = append(img.syms, Symbol{Value: v, Shndx: uint16(b[5] % 4), Info: b[6], Other: b[7]})
		img.names = append(img.names, []byte(names[(i+int(head[3]))%len(names)]))
	}
	for i := 0; len(data) > 0 && i < 64; i++ {
		b := take(12)
		r := kelf.Rel{Off: uint64(b[0]), Sym: uint32(b[1] % 7), Type: uint32(binary.LittleEndian.Uint16(b[2:])) % 320,
			Addend: int64(int32(binary.LittleEndian.Uint32(b[4:])))}
		if b[8]&1 != 0 {
			r.Addend <<= 20
		}
		if b[8]&2 != 0 {
			r.Off = -r.Off
		}
		if b[8]&4 != 0 {
			r.Addend = 0
		}
		if list := rows(mc.m, mc.class); b[8]&8 == 0 { // mostly types that are taken
			r.Type = list[int(r.Type)%len(list)].typ
		}
		sec := 2
		if b[8]&16 != 0 {
			sec = 12
		}
		img.rels[sec] = append(img.rels[sec], r)
	}
	for _, name := range []string{"ftrace_caller", "ftrace_regs_caller", "__gnu_mcount_nc", ".TOC.", "$global$"} {
		img.kernel[name] = mc.text + uint64(len(name))<<28
	}
	return img
}

// load does all of a load that this package does, and returns the bytes that came out.
func load(t *testing.T, mc *machine, img *memImage, tr Traits) []byte {
	l, err := Begin(mc.m, mc.class, mc.big, img, tr)
	if err != nil {
		return nil
	}
	check := func(err error) bool {
		if _, ok := errors.AsType[*UndefinedError](err); err != nil && (!ok || err.Error() == "") {
			t.Errorf("%v: got an error of another kind: %v", mc.m, err)
		}
		return err == nil
	}
	if errno, err := l.Frob(); errno != 0 || !check(err) {
		return nil
	}
	if n := l.TextHead() + l.Prepend(1); n > 1<<16 {
		t.Fatalf("%v: %d bytes wanted for a few relocations", mc.m, n)
	}
	mc.layout(img, l)
	before := map[int][]byte{}
	const guard = 64
	for i := range img.secs { // guards around each section's memory
		s := &img.secs[i]
		if s.data == nil || len(s.data) > 1<<16 {
			continue
		}
		b := bytes.Repeat([]byte{0xa5}, len(s.data)+2*guard)
		copy(b[guard:], s.data)
		before[i] = b
		s.data = b[guard : guard+len(s.data) : guard+len(s.data)]
	}
	for i := range img.secs {
		if i != 2 && i != 12 {
			continue
		}
		errno, err := l.Apply(i)
		if errno != 0 || !check(err) {
			break
		}
	}
	_, err = l.Finalize()
	check(err)
	var out []byte
	for i := range img.secs {
		if b := before[i]; b != nil {
			for _, g := range [][]byte{b[:guard], b[len(b)-guard:]} {
				if !bytes.Equal(g, bytes.Repeat([]byte{0xa5}, guard)) {
					t.Fatalf("%v: section %d: something was written outside of it", mc.m, i)
				}
			}
			out = append(out, b...)
		}
	}
	return append(out, img.head...)
}

// FuzzLinker loads a module of any machine. Whatever its relocations are, nothing panics, nothing outside of the sections is
// written, errors are *UndefinedError, and a second load of the same input makes the same bytes.
func FuzzLinker(f *testing.F) {
	for i := range testMachines {
		f.Add(uint8(i), []byte("\x00\x00\x00\x00\x00\x00\x00\x00 some code and then symbols and relocations of all kinds, more than a few of them"))
		f.Add(uint8(i), bytes.Repeat([]byte{0x10, 0x01, 0x00, 0x83, 0x40, 0xff, 0x02, 0x11}, 40))
		all := make([]byte, 8+64+32+32)
		for k := range rows(testMachines[i].m, testMachines[i].class) {
			all = append(all, byte(k*4), 2, byte(k), 0, 16, 0, 0, 0, byte(k&16), 0, 0, 0)
		}
		f.Add(uint8(i), all)
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		mc := testMachines[int(which)%len(testMachines)]
		tr := mc.t
		switch which / 16 { // other kernels
		case 1:
			tr.ARM64.Erratum843419, tr.S390.Expoline, tr.PPC64.Terminator, tr.ARM.BE8 = true, true, true, true
		case 2:
			tr = Traits{}
		case 3:
			tr.RISCV.Accumulate, tr.RISCV.PLTPerModule, tr.LoongArch.Sort, tr.PPC64.ELFv1 = false, false, false, true
		}
		one := load(t, &mc, fuzzImage(&mc, data), tr)
		if two := load(t, &mc, fuzzImage(&mc, data), tr); !bytes.Equal(one, two) {
			t.Errorf("%v: two loads differ", mc.m)
		}
	})
}

func BenchmarkApply(b *testing.B) {
	for i := range testMachines {
		mc := &testMachines[i]
		if mc.m != elf.EM_X86_64 && mc.m != elf.EM_AARCH64 && mc.m != elf.EM_RISCV {
			continue
		}
		b.Run(mc.m.String(), func(b *testing.B) {
			rels := make([]kelf.Rel, 10000)
			for k := range rels {
				rels[k] = kelf.Rel{Off: uint64(8 * k), Sym: 1, Type: map[elf.Machine]uint32{elf.EM_X86_64: 2, elf.EM_AARCH64: 261, elf.EM_RISCV: 35}[mc.m], Addend: -4}
			}
			img := mc.image(rels...)
			img.secs[1].data = make([]byte, 8*len(rels))
			img.syms[1].Value = mc.text
			l, err := Begin(mc.m, mc.class, mc.big, img, mc.t)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				clear(img.secs[1].data)
				if errno, err := l.Apply(2); errno != 0 || err != nil {
					b.Fatal(errno, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(rels)), "ns/reloc")
		})
	}
}
