package versions

import (
	stdelf "debug/elf"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kotool/internal/bin"
	"kotool/internal/elf"
)

// record is one struct modversion_info.
func record(word int, big bool, crc uint64, name string) []byte {
	b := make([]byte, recordSize)
	var order binary.ByteOrder = binary.LittleEndian
	if big {
		order = binary.BigEndian
	}
	if word == 4 {
		order.PutUint32(b, uint32(crc))
	} else {
		order.PutUint64(b, crc)
	}
	copy(b[word:], name)
	return b
}

func text(list []Entry) []string {
	var out []string
	for i := range list {
		out = append(out, fmt.Sprintf("%#x %s @%d", list[i].Raw(), list[i].Name, list[i].Off))
	}
	return out
}

func TestBasicRecordsAreReadInTheirOrder(t *testing.T) {
	long := strings.Repeat("n", 60)
	for _, c := range []struct {
		name string
		word int
		big  bool
		data []byte
		want []string
		err  string
	}{
		{"64 bit", 8, false, append(record(8, false, 0x89abcdef, "zebra"), record(8, false, 1, "apple")...), []string{"0x89abcdef zebra @100", "0x1 apple @164"}, ""},
		{"32 bit", 4, false, record(4, false, 0x89abcdef, "zebra"), []string{"0x89abcdef zebra @100"}, ""},
		{"64 bit, big-endian", 8, true, record(8, true, 0x89abcdef, "zebra"), []string{"0x89abcdef zebra @100"}, ""},
		{"32 bit, big-endian", 4, true, record(4, true, 0x89abcdef, "zebra"), []string{"0x89abcdef zebra @100"}, ""},
		{"a high half that is not 0", 8, false, record(8, false, 0x1_89abcdef, "zebra"), []string{"0x189abcdef zebra @100"}, ""},
		{"a name in dots, as on ppc64", 8, false, record(8, false, 1, ".zebra"), []string{"0x1 .zebra @100"}, ""},
		{"the longest name of 64 bit", 8, false, record(8, false, 1, long[:55]), []string{"0x1 " + long[:55] + " @100"}, ""},
		{"a name without a NUL", 8, false, append(record(8, false, 1, long), record(8, false, 2, "b")...), []string{"0x1 " + long[:56] + " @100", "0x2 b @164"}, "entry 0: offset 0x6c"},
		{"the longest name of 32 bit", 4, false, record(4, false, 1, long[:59]), []string{"0x1 " + long[:59] + " @100"}, ""},
		{"63 bytes", 8, false, record(8, false, 1, "a")[:63], nil, "63 bytes after"},
		{"no bytes", 8, false, nil, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(bin.New(c.data, 100, c.big), c.word)
			if diff := cmp.Diff(c.want, text(got)); diff != "" {
				t.Error(diff)
			}
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v want %q", err, c.err)
			}
		})
	}
}

func TestExtendedTablesAreReadTogether(t *testing.T) {
	for _, c := range []struct {
		name, crcs, names string
		want              []string
		err               string
	}{
		{"two", "\x01\x00\x00\x00\x02\x00\x00\x80", "first\x00second\x00", []string{"0x1 first @100", "0x80000002 second @104"}, ""},
		{"a NUL too many", "\x01\x00\x00\x00", "first\x00\x00", []string{"0x1 first @100"}, ""},
		{"fewer names than CRCs", "\x01\x00\x00\x00\x02\x00\x00\x00", "first\x00", []string{"0x1 first @100"}, "2 CRCs, but only 1 names"},
		{"the last name without a NUL", "\x01\x00\x00\x00\x02\x00\x00\x00", "first\x00second", []string{"0x1 first @100"}, "without a terminating NUL"},
		{"a part of a CRC", "\x01\x00\x00\x00\x02", "first\x00second\x00", []string{"0x1 first @100"}, "1 bytes after the last CRC"},
		{"a name of 100 bytes", "\x01\x00\x00\x00", strings.Repeat("n", 100) + "\x00", []string{"0x1 " + strings.Repeat("n", 100) + " @100"}, ""},
		{"nothing", "", "", nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseExtended(bin.New([]byte(c.crcs), 100, false), bin.New([]byte(c.names), 500, false))
			if diff := cmp.Diff(c.want, text(got)); diff != "" {
				t.Error(diff)
			}
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v want %q", err, c.err)
			}
		})
	}
}

func TestTheWholeLongIsCompared(t *testing.T) {
	for _, c := range []struct {
		raw  uint64
		crc  uint32
		want bool
	}{{0x89abcdef, 0x89abcdef, true}, {0x89abcdef, 0x89abcdee, false}, {0x1_89abcdef, 0x89abcdef, false}, {0xffffffff_89abcdef, 0x89abcdef, false}, {0, 0, true}} {
		list, err := Parse(bin.New(record(8, false, c.raw, "a"), 0, false), 8)
		if err != nil {
			t.Fatal(err)
		}
		if got := list[0].Matches(c.crc); got != c.want {
			t.Errorf("%#x against %#x: got %v want %v", c.raw, c.crc, got, c.want)
		}
	}
}

func TestTheFirstEntryOfANameIsFound(t *testing.T) {
	var data []byte
	for i := range 300 {
		data = append(data, record(8, false, uint64(i), fmt.Sprintf("sym%d", i%200))...)
	}
	data = append(data, record(8, false, 1000, strings.Repeat("n", 56))...)
	list, _ := Parse(bin.New(data, 0, false), 8)
	x := NewIndex(list)
	for i := range 200 {
		if e := x.Find(fmt.Appendf(nil, "sym%d", i)); e == nil || e.CRC != uint32(i) {
			t.Fatalf("sym%d: got %v", i, e)
		}
	}
	for _, name := range []string{"sym200", "", "sym", strings.Repeat("n", 56)} {
		if e := x.Find([]byte(name)); e != nil {
			t.Errorf("%q: got %v want none", name, e)
		}
	}
	if e := NewIndex(nil).Find([]byte("a")); e != nil {
		t.Errorf("an empty index: got %v", e)
	}
}

// part is a section of a built file.
type part struct {
	name  string
	flags stdelf.SectionFlag
	data  []byte
}

// build makes a little-endian ELF64 file with sections and nothing else.
func build(parts ...part) []byte {
	le := binary.LittleEndian
	names := []byte("\x00.shstrtab\x00")
	body := make([]byte, 64)
	heads := make([]byte, 64)
	head := func(name uint32, typ stdelf.SectionType, flags stdelf.SectionFlag, data []byte) {
		heads = le.AppendUint32(le.AppendUint32(heads, name), uint32(typ))
		for _, v := range []uint64{uint64(flags), 0, uint64(len(body)), uint64(len(data)), 0, 1, 0} {
			heads = le.AppendUint64(heads, v)
		}
		body = append(body, data...)
	}
	for _, p := range parts {
		name := uint32(len(names))
		names = append(append(names, p.name...), 0)
		head(name, stdelf.SHT_PROGBITS, p.flags, p.data)
	}
	head(1, stdelf.SHT_STRTAB, 0, names)
	copy(body, "\x7fELF\x02\x01\x01")
	le.PutUint16(body[16:], uint16(stdelf.ET_REL))
	le.PutUint16(body[18:], uint16(stdelf.EM_X86_64))
	le.PutUint64(body[40:], uint64(len(body)))
	le.PutUint16(body[58:], 64)
	le.PutUint16(body[60:], uint16(len(parts)+2))
	le.PutUint16(body[62:], uint16(len(parts)+1))
	return append(body, heads...)
}

func TestTheFormatIsThatOfTheSections(t *testing.T) {
	basic := part{"__versions", stdelf.SHF_ALLOC, record(8, false, 1, "a")}
	crcs := part{"__version_ext_crcs", stdelf.SHF_ALLOC, []byte{2, 0, 0, 0}}
	names := part{"__version_ext_names", stdelf.SHF_ALLOC, []byte("b\x00\x00")}
	for _, c := range []struct {
		name   string
		parts  []part
		format string
		want   string // the name that the kernel looks at
		err    string
	}{
		{"neither", nil, "none", "", ""},
		{"basic", []part{basic}, "basic", "a", ""},
		{"basic, without entries", []part{{"__versions", stdelf.SHF_ALLOC, nil}}, "basic", "", ""},
		{"extended", []part{crcs, names}, "extended", "b", ""},
		{"both: the extended count", []part{names, basic, crcs}, "both", "b", ""},
		{"CRCs without names", []part{basic, crcs}, "basic", "a", `section 2 "__version_ext_crcs": there is no __version_ext_names`},
		{"names without CRCs", []part{names}, "none", "", `section 1 "__version_ext_names": there is no __version_ext_crcs`},
		{"a section that is not loaded before that which is", []part{{"__versions", 0, record(8, false, 9, "decoy")}, basic}, "basic", "a", ""},
		{"damage names the section", []part{{"__versions", stdelf.SHF_ALLOC, make([]byte, 65)}}, "basic", "", `section 1 "__versions": 1 bytes after`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := elf.Parse(elf.Mem(build(c.parts...)))
			if err != nil || len(f.Problems) > 0 {
				t.Fatal(err, f.Problems)
			}
			got, err := Read(f)
			name := ""
			if list := got.Effective(); len(list) > 0 {
				name = string(list[0].Name)
			}
			if got.Format() != c.format || name != c.want {
				t.Errorf("got %s %q want %s %q", got.Format(), name, c.format, c.want)
			}
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v want %q", err, c.err)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	f.Add(build(part{"__versions", stdelf.SHF_ALLOC, record(8, false, 1, "a")}))
	f.Add(build(part{"__version_ext_crcs", stdelf.SHF_ALLOC, []byte{2, 0, 0, 0}}, part{"__version_ext_names", stdelf.SHF_ALLOC, []byte("b\x00\x00")}))
	// Contract: no panic; entries lie in the file; each name with its NUL is found, as its first entry.
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := elf.Parse(elf.Mem(data))
		if err != nil {
			return
		}
		got, _ := Read(file)
		for _, list := range [][]Entry{got.Basic, got.Extended} {
			x := NewIndex(list)
			for i := range list {
				e := &list[i]
				if e.Off >= file.Size() {
					t.Fatalf("entry %d is at %#x of %#x bytes", i, e.Off, file.Size())
				}
				if first := x.Find(e.Name); !e.NoNUL && (first == nil || string(first.Name) != string(e.Name)) {
					t.Fatalf("entry %d %q: found %v", i, e.Name, first)
				}
			}
		}
	})
}
