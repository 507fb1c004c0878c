package render

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sample(n int) *Table {
	return &Table{
		Columns: []Column{{Name: "Index", Right: true}, {Name: "sh_type"}, {Name: "name.x"}, {Name: "Last one"}},
		N:       n,
		Rows: func(r *Row) {
			for i := range n {
				r.Int(int64(i))
				r.Str([]string{"PROGBITS", "", "NOTE"}[i%3])
				r.TextStr([]string{"plain", "tab\there", "größe", "漢字", " lead", "esc\x1b[31m"}[i%6])
				if i%4 != 0 {
					r.TextStr(fmt.Sprintf("cell %d", i))
				} else {
					r.Str("")
				}
				if !r.Next() {
					return
				}
			}
		},
	}
}

func text(t *Table, st *Style) string {
	out := NewOut(nil)
	t.Text(out, st)
	return string(out.B)
}

func TestTablewriterAndTheFastWriterAgree(t *testing.T) {
	for _, p := range []*Palette{nil, NewPalette()} {
		for _, n := range []int{1, 2, 7, 60} {
			small := 1000
			slow := text(sample(n), &Style{Palette: p, Small: &small})
			if small == 1000 {
				t.Fatalf("n=%d: tablewriter was not used", n)
			}
			fast := text(sample(n), &Style{Palette: p})
			if d := cmp.Diff(fast, slow); d != "" {
				t.Errorf("n=%d (-fast +tablewriter):\n%s", n, d)
			}
		}
	}
}

func TestForeignTextIsMadeSafe(t *testing.T) {
	for in, want := range map[string]string{
		"plain":        "plain",
		"a\x1b[31mb":   `a\x1b[31mb`,
		"nl\n tab\t":   `nl\n tab\t`,
		"bad \xff utf": `bad \xff utf`,
		"c1 \u0085":    `c1 \xc2\x85`,
		"bidi \u202e":  `bidi \xe2\x80\xae`,
		"größe":        "größe",
	} {
		if got := Text(in); got != want {
			t.Errorf("Text(%q): got %q want %q", in, got, want)
		}
	}
}

func TestJSONStrings(t *testing.T) {
	for in, want := range map[string]string{
		"plain":      `"plain"`,
		"q\"b\\":     `"q\"b\\"`,
		"\x00\x1b\n": `"\u0000\u001b\n"`,
		"bad\xffx":   "\"bad\ufffdx\"",
		"größe":      "\"größe\"",
	} {
		if got := string(AppendJSONString(nil, in)); got != want {
			t.Errorf("%q: got %s want %s", in, got, want)
		}
	}
}

func TestJSONPutsCommasWhereTheyBelong(t *testing.T) {
	var j JSON
	j.Obj()
	j.KStr("a", "x")
	j.Key("list")
	j.Arr()
	j.Int(-1)
	j.Hex(0x12, 8)
	j.Obj()
	j.End()
	j.EndArr()
	j.KBool("b", true)
	j.KStrOrNull("c", "")
	j.End()
	if got, want := string(j.B), `{"a":"x","list":[-1,"0x00000012",{}],"b":true,"c":null}`; got != want {
		t.Errorf("got %s want %s", got, want)
	}
}
