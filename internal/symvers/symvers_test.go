package symvers

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestEveryHistoricFormIsRead(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"two columns", "0x12345678\tfoo\n", "foo 12345678   "},
		{"three columns", "0x12345678\tfoo\tvmlinux\n", "foo 12345678 vmlinux  "},
		{"four columns", "0x12345678\tfoo\tdrivers/a\tEXPORT_SYMBOL_GPL\n", "foo 12345678 drivers/a EXPORT_SYMBOL_GPL "},
		{"namespace third", "0x12345678\tfoo\tNS\tvmlinux\tEXPORT_SYMBOL\n", "foo 12345678 vmlinux EXPORT_SYMBOL NS"},
		{"empty namespace third", "0x12345678\tfoo\t\tvmlinux\tEXPORT_SYMBOL\n", "foo 12345678 vmlinux EXPORT_SYMBOL "},
		{"namespace last", "0x12345678\tfoo\tvmlinux\tEXPORT_SYMBOL\tNS\n", "foo 12345678 vmlinux EXPORT_SYMBOL NS"},
		{"empty namespace last", "0x12345678\tfoo\tvmlinux\tEXPORT_SYMBOL\t\n", "foo 12345678 vmlinux EXPORT_SYMBOL "},
		{"spaces", "0x00000001 foo vmlinux EXPORT_SYMBOL NS", "foo 00000001 vmlinux EXPORT_SYMBOL NS"},
		{"spaces without a namespace", "0x1  foo   vmlinux EXPORT_SYMBOL\r\n", "foo 00000001 vmlinux EXPORT_SYMBOL "},
		{"unused", "0x1\tfoo\tvmlinux\tEXPORT_UNUSED_SYMBOL_GPL\t\n", "foo 00000001 vmlinux EXPORT_UNUSED_SYMBOL_GPL "},
	} {
		t.Run(c.name, func(t *testing.T) {
			tab, err := Parse([]byte("\n" + c.in + "\n"))
			if err != nil {
				t.Fatal(err)
			}
			s, ok := tab.Lookup([]byte("foo"))
			if got := fmt.Sprintf("%s %08x %s %s %s", s.Name, s.CRC, s.Module, s.Export, s.Namespace); !ok || got != c.want {
				t.Errorf("got %q want %q", got, c.want)
			}
		})
	}
}

func TestARowThatIsNoneOfTheFormsSaysItsLine(t *testing.T) {
	good := "0x1\ta\tvmlinux\tEXPORT_SYMBOL\t\n"
	for _, c := range []struct{ name, in, want string }{
		{"one column", "0x1\n", "line 2: want 2 to 5 columns, got 1"},
		{"six columns", "0x1\tb\tc\tEXPORT_SYMBOL\te\tf\n", "line 2: want 2 to 5 columns, got more"},
		{"no CRC", "b\tc\td\tEXPORT_SYMBOL\t\n", `line 2: "b" is no CRC`},
		{"a CRC of nine digits", "0x123456789\tc\n", "is no CRC"},
		{"a CRC without digits", "0x\tc\n", "is no CRC"},
		{"no kind of export", "0x1\tb\tc\td\n", "is no kind of export"},
		{"five columns without a kind of export", "0x1\tb\tc\td\te\n", "is a kind of export"},
		{"binary", "0x1\tb\x00\tc\n", "NUL byte"},
		{"no name", "0x1\t\tc\tEXPORT_SYMBOL\t\n", "name is empty"},
		{"three columns among five", "0x1\tb\tc\n", "line 2: want 5 columns, got 3"},
		{"two columns among five", "0x1\tb\n", "line 2: want 5 columns, got 2"},
		{"a very long column that is no CRC", strings.Repeat("f", 1000) + "\tb\n", "…"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(good + c.in + good))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v want %q", err, c.want)
			}
			if e, ok := errors.AsType[*LineError](err); ok && e.Line != 2 {
				t.Errorf("got line %d want 2", e.Line)
			}
		})
	}
}

func TestAnEmptyNamespaceMayBeLeftOutWithItsTab(t *testing.T) {
	for _, in := range []string{
		"0x1\ta\tvmlinux\tEXPORT_SYMBOL\t\n0x2\tb\tvmlinux\tEXPORT_SYMBOL_GPL\n",
		"0x1\ta\tvmlinux\tEXPORT_SYMBOL\n0x2\tb\tvmlinux\tEXPORT_SYMBOL_GPL\tNS\n",
	} {
		tab, err := Parse([]byte(in))
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if s, ok := tab.Lookup([]byte("b")); !ok || !s.GPL() {
			t.Errorf("%q: got %v, GPL %v", in, ok, s.GPL())
		}
	}
}

func TestAFileThatIsCutInItsLastLineIsNotTaken(t *testing.T) {
	for _, c := range []struct{ name, last, want string }{
		{"in the name", "0x2\tsom", "want 5 columns, got 2"},
		{"in the module", "0x2\tsome\tdrivers/n", "want 5 columns, got 3"},
		{"in the kind of export", "0x2\tsome\tdrivers/net\tEXPORT_SYMB", "is no kind of export"},
		{"in the CRC", "0x", "want 2 to 5 columns, got 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte("0x1\ta\tvmlinux\tEXPORT_SYMBOL\t\n" + c.last))
			e, ok := errors.AsType[*LineError](err)
			if !ok || e.Line != 2 || !strings.Contains(e.Text, c.want) || !strings.Contains(e.Hint, "newline") {
				t.Errorf("got %v want line 2 %q with a hint", err, c.want)
			}
		})
	}
}

func TestANamespaceThatLooksLikeAKindOfExportIsANamespace(t *testing.T) {
	tab, err := Parse([]byte("0x1\ta\tvmlinux\tEXPORT_SYMBOL_GPL\tEXPORT_MINE\n"))
	if err != nil {
		t.Fatal(err)
	}
	if s := tab.At(0); !s.GPL() || string(s.Namespace) != "EXPORT_MINE" || string(s.Module) != "vmlinux" {
		t.Errorf("got %+v", s)
	}
}

func TestOtherKindsOfFileAreRecognised(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"an ELF file", "\x7fELF\x02\x01\x01", "line 1: this is an ELF file"},
		{"a kernel image", "MZ\xea\n\x00\x00", "line 2: a NUL byte"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(c.in))
			e, ok := errors.AsType[*LineError](err)
			if !ok || !strings.Contains(err.Error(), c.want) || e.Hint == "" {
				t.Errorf("got %v want %q with a hint", err, c.want)
			}
		})
	}
}

func TestATableWithoutCRCsSaysSo(t *testing.T) {
	for in, want := range map[string]bool{"0x00000000\ta\tb\n0x00000000\tc\td\n": false, "0x00000000\ta\tb\n0x00000001\tc\td\n": true, "": false} {
		tab, err := Parse([]byte(in))
		if err != nil || tab.HasCRC != want {
			t.Errorf("%q: got %v, %v want %v", in, tab.HasCRC, err, want)
		}
	}
}

func TestASystemMapGivenByMistakeIsRecognised(t *testing.T) {
	_, err := Parse([]byte("ffffffff81000000 T _stext\n"))
	if e, ok := errors.AsType[*LineError](err); !ok || !strings.Contains(e.Hint, "System.map") {
		t.Errorf("got %v", err)
	}
}

func TestTheFirstRowOfANameIsFoundAndAllAreKept(t *testing.T) {
	tab, err := Parse([]byte("0x1\tfoo\ta\n0x2\tbar\tb\n0x3\tfoo\tc\n0x4\tfoo\td\n"))
	if err != nil {
		t.Fatal(err)
	}
	s, _ := tab.Lookup([]byte("foo"))
	var crcs []uint32
	for s := range tab.Same([]byte("foo")) {
		crcs = append(crcs, s.CRC)
	}
	if s.CRC != 1 || fmt.Sprint(crcs) != "[1 3 4]" || tab.Len() != 4 {
		t.Errorf("got %d, %v, %d rows", s.CRC, crcs, tab.Len())
	}
	if _, ok := tab.Lookup([]byte("fo")); ok {
		t.Error("found a name that is not there")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("0x12345678\tfoo\tvmlinux\tEXPORT_SYMBOL_GPL\tNS\n0x1 a b EXPORT_SYMBOL"))
	f.Add([]byte("\t\t\t\t\n \n0x"))
	// Contract: no panic; what is in the table can be looked up again; it does not matter in which pieces a file comes.
	f.Fuzz(func(t *testing.T, data []byte) {
		tab, err := Parse(data)
		other, oerr := Read(uint64(len(data)), func(yield func([]byte, error) bool) {
			for i := range data {
				if !yield([]byte{data[i]}, nil) {
					return
				}
			}
		})
		if err != nil {
			if oerr == nil {
				t.Fatalf("got %v at once, nothing byte by byte", err)
			}
			return
		}
		if oerr != nil || other.Len() != tab.Len() {
			t.Fatalf("byte by byte: got %v, %d rows want %d", oerr, other.Len(), tab.Len())
		}
		for i := range tab.Len() {
			s := tab.At(i)
			if first, ok := tab.Lookup(s.Name); !ok || string(first.Name) != string(s.Name) {
				t.Fatalf("lost %q", s.Name)
			}
			if o := other.At(i); fmt.Sprint(o) != fmt.Sprint(s) || other.Owner(i) != tab.Owner(i) {
				t.Fatalf("row %d: got %v byte by byte, %v at once", i, o, s)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	var text []byte
	for i := range 25000 {
		text = fmt.Appendf(text, "0x%08x\tsome_symbol_name_%d\tdrivers/net/ethernet/vendor%d/driver\tEXPORT_SYMBOL_GPL\t\n", uint32(i)*2654435761, i, i%97)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}

// Rows whose columns behind the name repeat are read the short way: all that a row says must be what it says alone in a file.
func TestARowSaysTheSameAmongOthersLikeIt(t *testing.T) {
	tails := []string{
		"\tvmlinux\tEXPORT_SYMBOL\t", "\tvmlinux\tEXPORT_SYMBOL_GPL\t", "\tvmlinux\tEXPORT_SYMBOL_GPL", "\tdrivers/a/b\tEXPORT_SYMBOL\tNS", "\tdrivers/a/b\tEXPORT_SYMBOL\tNS\r",
		"\tvmlinux\tEXPORT_SYMBOL\tEXPORT_SYMBOL_GPL", "\tNS\tdrivers/a/b\tEXPORT_SYMBOL", "\t\tvmlinux\tEXPORT_SYMBOL_GPL", " vmlinux EXPORT_SYMBOL", " vmlinux EXPORT_SYMBOL NS",
		"\t" + strings.Repeat("long/", maxTail) + "\tEXPORT_SYMBOL\t",
	}
	var rows []string
	for i := range 200 {
		sep := "\t"
		if strings.HasPrefix(tails[i*7%len(tails)], " ") {
			sep = " "
		}
		rows = append(rows, fmt.Sprintf("0x%x%ssymbol_%d%s\n", uint32(i)*0x9e3779b1, sep, i, tails[i*7%len(tails)]))
	}
	all, err := Parse([]byte(strings.Join(rows, "")))
	if err != nil {
		t.Fatal(err)
	}
	for i, row := range rows {
		alone, err := Parse([]byte(row))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(all.At(i)), fmt.Sprint(alone.At(0)); got != want {
			t.Errorf("row %d: got %s want %s", i, got, want)
		}
	}
	for _, c := range []string{"0x123456789\tb\tvmlinux\tEXPORT_SYMBOL\t\n", "0x1\t\tvmlinux\tEXPORT_SYMBOL\t\n", "0xg\tb\tvmlinux\tEXPORT_SYMBOL\t\n", "0x1\t" + strings.Repeat("b", 70000) + "\tvmlinux\tEXPORT_SYMBOL\t\n"} {
		if _, err := Parse([]byte(strings.Join(rows, "") + c)); err == nil {
			t.Errorf("%.20q was taken behind rows like it", c)
		} else if e, ok := errors.AsType[*LineError](err); !ok || e.Line != 201 {
			t.Errorf("%.20q: %v", c, err)
		}
	}
}
