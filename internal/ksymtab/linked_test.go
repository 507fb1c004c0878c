package ksymtab

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"kotool/internal/bin"
)

// image is a linked image of one piece at an address.
type image struct {
	base uint64
	mem  []byte
	big  bool
}

func (im *image) order() byteOrder {
	if im.big {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

func (im *image) at(addr uint64) bin.View {
	if addr < im.base || addr-im.base >= uint64(len(im.mem)) {
		return bin.View{}
	}
	return bin.New(im.mem[addr-im.base:], addr-im.base, im.big)
}

// layout of the image: the table at its beginning, CRCs at 0x4000, what they point to at 0x5000, strings from 0x6000 on.
const (
	imCRCs, imRO, imStrings, imSize = 0x4000, 0x5000, 0x6000, 0x10000
	imCode                          = 0x100 // the value of export i is 0x100*i after the image
)

// linkedTable makes an image with n exports named sym000, …; every third one in namespace NS.
func linkedTable(base uint64, word int, form Form, big, relCRC bool, n int) (*image, LinkedTable) {
	im := &image{base: base, mem: make([]byte, imSize), big: big}
	next := uint64(imStrings + 1) // the empty string is at its beginning
	field := func(off, addr uint64) {
		switch {
		case form.Prel:
			im.order().PutUint32(im.mem[off:], uint32(addr-(base+off)))
		case word == 4:
			im.order().PutUint32(im.mem[off:], uint32(addr))
		default:
			im.order().PutUint64(im.mem[off:], addr)
		}
	}
	str := func(s string) uint64 {
		addr := base + next
		next += uint64(copy(im.mem[next:], s)) + 1
		return addr
	}
	for i := range n {
		off := uint64(i) * form.Size
		field(off, base+imSize+uint64(i)*imCode)
		field(off+form.Name, str(fmt.Sprintf("sym%03d", i)))
		if form.NS {
			ns := base + imStrings
			if i%3 == 0 {
				ns = str("NS")
			}
			field(off+form.NSOff, ns)
		}
		crc := im.mem[imCRCs+4*i:]
		if relCRC {
			im.order().PutUint32(im.mem[imRO+4*i:], uint32(i)*2654435761)
			im.order().PutUint32(crc, imRO-imCRCs)
		} else {
			im.order().PutUint32(crc, uint32(i)*2654435761)
		}
	}
	return im, LinkedTable{Name: "__ksymtab", Data: im.at(base).Clip(0, uint64(n)*form.Size), Addr: base,
		CRCs: im.at(base+imCRCs).Clip(0, 4*uint64(n)), CRCAddr: base + imCRCs}
}

func TestALinkedTableIsReadInEveryForm(t *testing.T) {
	for _, c := range []struct {
		name        string
		base        uint64
		word        int
		prel32, big bool
		form        int // of forms(word, prel32)
		relCRC      bool
	}{
		{"x86_64", 0xffffffff81000000, 8, true, false, 0, false},
		{"x86_64 4.19", 0xffffffff81000000, 8, true, false, 1, false},
		{"x86_64 4.18", 0xffffffff81000000, 8, true, false, 3, false},
		{"i386", 0xc1000000, 4, true, false, 0, false},
		{"i386 at the end of the address space", 0xffff0000, 4, true, false, 1, false},
		{"s390x 5.10", 0x100000, 8, false, true, 0, true},
		{"riscv64", 0xffffffff80000000, 8, false, false, 0, false},
		{"arm 5.3", 0xc0008000, 4, false, false, 1, false},
	} {
		for _, n := range []int{1, 7, 100} {
			if c.relCRC && n < 8 {
				continue // cannot be told
			}
			t.Run(fmt.Sprintf("%s, %d", c.name, n), func(t *testing.T) {
				form := forms(uint64(c.word), c.prel32)[c.form]
				im, lt := linkedTable(c.base, c.word, form, c.big, c.relCRC, n)
				got, err := ReadLinked([]LinkedTable{lt}, c.word, c.prel32, im.at)
				if err != nil || len(got.Exports) != n {
					t.Fatalf("got %d exports of form %+v, %v want %d of %+v", len(got.Exports), got.Form, err, n, form)
				}
				for i, e := range got.Exports {
					ns := ""
					if form.NS && i%3 == 0 {
						ns = "NS"
					}
					value := c.base + imSize + uint64(i)*imCode
					if c.word == 4 {
						value = uint64(uint32(value))
					}
					want := fmt.Sprintf("sym%03d %08x %q %x", i, uint32(i)*2654435761, ns, value)
					if s := fmt.Sprintf("%s %08x %q %x", e.Name, e.CRC, e.Namespace, e.Value.Off); s != want || !e.HasCRC || !e.HasValue || !e.Value.Abs {
						t.Fatalf("got %s want %s", s, want)
					}
				}
			})
		}
	}
}

func TestALinkedTableUsesItsFlags(t *testing.T) {
	im, lt := linkedTable(0xffffffff81000000, 8, forms(8, true)[0], false, false, 3)
	lt.CRCs, lt.Flags = bin.View{}, bin.New([]byte{0, 1, 0}, 0, false)
	got, err := ReadLinked([]LinkedTable{lt}, 8, true, im.at)
	if err != nil || got.HasCRCs || !got.HasFlags || len(got.Exports) != 3 || got.Exports[1].License != GPLOnly || got.Exports[2].License != Any {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestDamagedLinkedTablesSayWhatIsWrong(t *testing.T) {
	form := forms(8, true)[0]
	for _, c := range []struct {
		name   string
		damage func(*image, *LinkedTable)
		want   string
	}{
		{"not a table of exports", func(_ *image, lt *LinkedTable) { lt.Name = "__ex_table" }, `"__ex_table" is no table`},
		{"too few CRCs", func(_ *image, lt *LinkedTable) { lt.CRCs = lt.CRCs.Clip(0, 8) }, "8 bytes for 30 symbols"},
		{"the strings are nowhere", func(im *image, _ *LinkedTable) { im.mem = im.mem[:imStrings] }, "the name cannot be read (30 such of 30)"},
		{"too few flags", func(_ *image, lt *LinkedTable) { lt.Flags = bin.New([]byte{1}, 0, false) }, "1 flags for 30 symbols"},
	} {
		t.Run(c.name, func(t *testing.T) {
			im, lt := linkedTable(0xffffffff81000000, 8, form, false, false, 30)
			c.damage(im, &lt)
			if _, err := ReadLinked([]LinkedTable{lt}, 8, true, im.at); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v want %q", err, c.want)
			}
		})
	}
}

func FuzzReadLinked(f *testing.F) {
	for i := range 4 {
		im, _ := linkedTable(0xffffffff81000000, 8, forms(8, true)[i], i%2 == 1, i == 0, 20)
		f.Add(im.mem[:0x800], uint16(20*forms(8, true)[i].Size), uint16(imCRCs), i%2 == 1)
	}
	// Contract: no panic; an export has a name, or something is said to be damaged.
	f.Fuzz(func(t *testing.T, mem []byte, size, crcs uint16, big bool) {
		im := &image{base: 0xffffffff81000000, mem: mem, big: big}
		lt := LinkedTable{Name: "__ksymtab", Addr: im.base, Data: im.at(im.base).Clip(0, uint64(size)),
			CRCs: im.at(im.base).Clip(uint64(crcs), 1<<16), CRCAddr: im.base + uint64(crcs)}
		got, err := ReadLinked([]LinkedTable{lt}, 8, true, im.at)
		for i := range got.Exports {
			if len(got.Exports[i].Name) == 0 && err == nil {
				t.Fatalf("export %d has no name, and nothing is damaged", i)
			}
		}
	})
}
