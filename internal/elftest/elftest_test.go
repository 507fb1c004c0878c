package elftest_test

import (
	"bytes"
	"debug/elf"
	"testing"

	"github.com/google/go-cmp/cmp"

	kelf "kotool/internal/elf"
	"kotool/internal/elftest"
	"kotool/internal/ksymtab"
)

func TestAModuleOfEveryMachineIsReadByTheStandardReaderAndByOurs(t *testing.T) {
	for _, m := range elftest.Machines {
		t.Run(m.Name, func(t *testing.T) {
			b := elftest.Module(m, "sample").Bytes()
			f, err := elf.NewFile(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			if f.Machine != m.Machine || f.Class != m.Class || f.Type != elf.ET_REL || (f.Data == elf.ELFDATA2MSB) != m.Big {
				t.Errorf("header: got %+v", f.FileHeader)
			}
			syms, err := f.Symbols()
			if err != nil {
				t.Fatal(err)
			}
			names := []string{}
			for _, s := range syms {
				names = append(names, s.Name)
			}
			if diff := cmp.Diff([]string{"sample_init", "sample_exit", "__this_module", "init_module", "cleanup_module"}, names); diff != "" {
				t.Error(diff)
			}
			ours, err := kelf.Parse(kelf.Mem(b))
			if err != nil || len(ours.Problems) > 0 {
				t.Fatalf("%v, problems %v", err, ours.Problems)
			}
			sec := ours.Find(elftest.ThisModule)
			rels, err := ours.Targets(sec)
			if err != nil || rels.Len() != 2 || rels.Rela != m.Rela {
				t.Fatalf("relocations: got %d (%v)", rels.Len(), err)
			}
			rel, _ := rels.At(uint64(20 * ours.Word()))
			if p, ok := ours.Resolve(rel, rels.Rela, 0); !ok || string(p.Name) != "init_module" || p.Off != 16 || rel.Type != m.Abs {
				t.Errorf("init: got %+v by %+v", p, rel)
			}
		})
	}
}

func TestExportsAreWrittenInTheFormOfEachEra(t *testing.T) {
	for _, e := range []struct {
		name string
		era  elftest.Era
	}{{"3.10", elftest.Kernel3_10}, {"4.19", elftest.Kernel4_19}, {"5.10", elftest.Kernel5_10}, {"6.1", elftest.Kernel6_1}, {"7.2", elftest.Kernel7_2}} {
		for _, m := range elftest.Machines {
			t.Run(e.name+" "+m.Name, func(t *testing.T) {
				b := elftest.Module(m, "sample")
				b.Export(e.era, elftest.Export{Name: "alpha", CRC: 0x01020304, Sym: b.Named("init_module")})
				ns := ""
				if e.era.Namespaces {
					ns = "SOME"
				}
				b.Export(e.era, elftest.Export{Name: "beta", Namespace: ns, GPL: true, CRC: 0xfffefdfc, Sym: b.Named("cleanup_module")})
				f, err := kelf.Parse(kelf.Mem(b.Bytes()))
				if err != nil {
					t.Fatal(err)
				}
				tab, err := ksymtab.Read(f)
				if err != nil {
					t.Fatal(err)
				}
				type row struct {
					Name, NS string
					CRC      uint32
					GPL      bool
				}
				var got []row
				for _, x := range tab.Exports {
					got = append(got, row{string(x.Name), string(x.Namespace), x.CRC, x.License == ksymtab.GPLOnly})
				}
				if diff := cmp.Diff([]row{{"alpha", "", 0x01020304, false}, {"beta", ns, 0xfffefdfc, true}}, got); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
			})
		}
	}
}

func TestSectionIndicesThatNeedATableOfTheirOwn(t *testing.T) {
	b := elftest.Module(elftest.AMD64, "sample")
	b.Symbol(elftest.Symbol{Name: "far", XShndx: uint32(b.Find(".data"))})
	b.Extended = true
	f, err := kelf.Parse(kelf.Mem(b.Bytes()))
	if err != nil || len(f.Problems) > 0 {
		t.Fatalf("%v, problems %v", err, f.Problems)
	}
	if f.Header.Shnum != 0 || f.Shnum != uint64(len(f.Sections)) {
		t.Errorf("e_shnum %d, section 0 says %d, want %d", f.Header.Shnum, f.Shnum, len(f.Sections))
	}
	tab, err := f.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	s := tab.At(tab.Len() - 1)
	if got := f.SectionName(s.Shndx); string(tab.Name(s)) != "far" || got != ".data" || s.Reserved {
		t.Errorf("got %q in %q", tab.Name(s), got)
	}
}

func TestBreakingThings(t *testing.T) {
	for _, m := range []elftest.Machine{elftest.AMD64, elftest.I386, elftest.S390X} {
		b := elftest.Module(m, "sample")
		whole := b.Bytes()
		if again := b.Bytes(); !bytes.Equal(whole, again) {
			t.Errorf("%s: the second call gives other bytes", m.Name)
		}
		text := b.Find(".text")
		b.Edit = func(f []byte) []byte {
			b.Order().PutUint32(b.Header(f, text)[4:], uint32(elf.SHT_NOTE))
			return f
		}
		f, err := kelf.Parse(kelf.Mem(b.Bytes()))
		if err != nil || f.Sections[text].Name != ".text" || f.Sections[text].Type != elf.SHT_NOTE {
			t.Errorf("%s: got %+v (%v)", m.Name, f.Sections[text], err)
		}
		b.Edit = elftest.Cut(40)
		if got := b.Bytes(); len(got) != 40 {
			t.Errorf("%s: %d bytes are left", m.Name, len(got))
		}
	}
}

// Entries that are read several at once are those that are read one by one, whatever the machine's form of them.
func TestRelocationsReadAtOnceAreThoseReadOneByOne(t *testing.T) {
	for _, m := range elftest.Machines {
		t.Run(m.Name, func(t *testing.T) {
			for _, rela := range []bool{true, false} {
				b := elftest.For(m)
				text := b.Progbits(".text", elf.SHF_ALLOC, make([]byte, 8))
				var list []elftest.Rel
				for i := range 77 {
					list = append(list, elftest.Rel{Off: uint64(i) * 0x01020304, Sym: uint32(i) * 0x305, Type: uint32(i) * 3, Addend: int64(i%5-2) * 0x1234567})
				}
				i := b.Relocs(text, rela, list...)
				f, err := kelf.Parse(kelf.Mem(b.Bytes()))
				if err != nil {
					t.Fatal(err)
				}
				tab, err := f.Relocs(i)
				if err != nil || tab.Len() != len(list) {
					t.Fatalf("%d entries (%v)", tab.Len(), err)
				}
				var one, some []kelf.Rel
				for k := range tab.Len() {
					one = append(one, tab.At(k))
				}
				for k := 0; k < tab.Len(); k += 32 {
					some = append(some, tab.Read(make([]kelf.Rel, min(32, tab.Len()-k)), k)...)
				}
				for k, r := range one {
					if r.Sym != list[k].Sym || r.Type != list[k].Type || rela && m.Class == elf.ELFCLASS64 && (r.Addend != list[k].Addend || r.Off != list[k].Off) {
						t.Errorf("rela %v: entry %d is %+v, want %+v", rela, k, r, list[k])
					}
				}
				if diff := cmp.Diff(one, some); diff != "" {
					t.Errorf("rela %v: %s", rela, diff)
				}
			}
		})
	}
}
