package recording

import (
	"strings"
	"testing"
)

func TestPlacesSayWhichLineIsWrong(t *testing.T) {
	got, err := Places([]byte("# a copy\n\nhello .text 0xffffffffc1230000\n  hello\t.data 0xffffffffc1232000\nhello .text 0xffffffffc1230000\n"))
	if err != nil || got["hello"][".text"] != (Place{0xffffffffc1230000, 3}) || got["hello"][".data"] != (Place{0xffffffffc1232000, 4}) {
		t.Errorf("got %v %v", got, err)
	}
	for text, want := range map[string]string{
		"hello .text\n":                          "line 1: want a module, a section and its address",
		"hello .text ffffffffc1230000":           `line 1: "ffffffffc1230000" is no address`,
		"\nhello .text 0x1zz":                    `line 2: "0x1zz" is no address`,
		"hello .text 0x10000000000000000":        "is no address",
		"hello .text 0x":                         "is no address",
		"hello .text 0x0":                        "line 1: hello .text is at 0",
		"hello .text 0x10\nhello .text 0x20":     "line 2: hello .text is at 0x20 here, and at 0x10 in line 1",
		"a .text 0x10\nb .text 0x20\na .text 0x": "line 3",
	} {
		if _, err := Places([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v want %s", text, err, want)
		}
	}
}

func TestPlacesOfARecording(t *testing.T) {
	got, err := Places([]byte(`[
{"name": "hello", "errno": 0, "reloc": [{"name": ".text", "idx": 1, "flags": 6, "addr": 4096, "size": 8},
  {"name": ".rela.text", "idx": 2, "flags": 64, "addr": 9, "size": 8}, {"name": ".x", "idx": 3, "flags": 2, "addr": 16, "size": 1}, {"name": ".x", "idx": 4, "flags": 2, "addr": 32, "size": 1}]},
{"name": "bad", "errno": 8, "reloc": []}]`))
	if err != nil || len(got) != 1 || len(got["hello"]) != 1 || got["hello"][".text"] != (Place{4096, 3}) {
		t.Errorf("got %v %v", got, err)
	}
	for text, want := range map[string]string{`[`: "line 1", "[\n{\"name\": 1}]": "line 2", `[{"name": "a"}`: "line 1"} {
		if _, err := Places([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v want %s", text, err, want)
		}
	}
}
