package params

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	kelf "kotool/internal/elf"
	"kotool/internal/modinfo"
)

func read(t testing.TB, b []byte) ([]Param, error) {
	t.Helper()
	f, err := kelf.Parse(kelf.Mem(b))
	if err != nil {
		t.Fatal(err)
	}
	_, v, _ := f.ByName(".modinfo")
	info, _ := modinfo.Parse(v)
	return Read(f, func(yield func(k, v []byte) bool) {
		for i := range info.Entries {
			if !yield(info.Entries[i].Key, info.Entries[i].Value) {
				return
			}
		}
	})
}

// want is what testdata/src/paramkinds.c says: name, type, permission, flags, default.
const want = `byte byte 444 [] 200
p_short short 644 [] -3
p_ushort ushort 0 [] 65535
p_int int 600 [] -123456
p_uint uint 444 [] 4000000000
p_ullong ullong 444 [] 81985529216486895
p_hexint hexint 444 [] 0x0000beef
p_bool bool 444 [] Y
p_invbool invbool 444 [] N
p_bint bint 444 [] 1
p_charp charp 444 [] first "value"
p_null charp 0 [] (null)
p_string string 644 [] sixteen at most
p_ints array of int 444 [] 1,-2,3
p_words array of charp 0 [] a,b,c
p_all array of ushort 444 [] 8,9
outside int 444 [] 5
p_zero int 444 [] 0
p_custom int 644 [unsafe] 17
even even number 644 [] set by even_ops
p_port int 444 [hwparam] 1016
only_described - no record
`

func TestEveryKindOfParameterOnEveryMachine(t *testing.T) {
	files, err := filepath.Glob("../../testdata/ko/*/paramkinds.ko")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d fixtures (%v)", len(files), err)
	}
	for _, path := range files {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			list, err := read(t, b)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, p := range list {
				r := p.Record
				switch {
				case r == nil:
					got[p.Name] = p.Name + " - no record"
				case r.Default == nil:
					got[p.Name] = fmt.Sprintf("%s %s %o %v set by %s", p.Name, p.Type, r.Perm, r.FlagNames(), r.Ops)
				default:
					got[p.Name] = fmt.Sprintf("%s %s %o %v %s", p.Name, p.Type, r.Perm, r.FlagNames(), *r.Default)
				}
			}
			for line := range strings.SplitSeq(strings.TrimSpace(want), "\n") {
				name, _, _ := strings.Cut(line, " ")
				if got[name] != line {
					t.Errorf("got  %s\nwant %s", got[name], line)
				}
			}
			if len(list) != 24 { // the two longs differ by machine
				t.Errorf("%d parameters, want 24", len(list))
			}
		})
	}
}

// FuzzRead: no panic, whatever __param, its relocations and the data are.
func FuzzRead(f *testing.F) {
	for _, m := range []string{"amd64-6.1", "i386-6.1", "s390x-6.1"} {
		b, err := os.ReadFile("../../testdata/ko/" + m + "/paramkinds.ko")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := kelf.Parse(kelf.Mem(b)); err != nil {
			return
		}
		list, _ := read(t, b)
		for i := range list {
			if r := list[i].Record; r != nil && r.Default != nil && len(*r.Default) > len(b)*300 {
				t.Fatalf("a default of %d bytes", len(*r.Default))
			}
		}
	})
}
