package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// images writes what a simulator would for the synthetic recording.
func images(t *testing.T, json, bin string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"hello.json": json, "hello.bin": bin} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestImagesAreCompared(t *testing.T) {
	t.Parallel()
	rec := t.TempDir()
	if err := synthetic(t).Write(rec); err != nil {
		t.Fatal(err)
	}
	const at = `"addr":18446744072635809792`
	for _, c := range []struct{ name, json, bin, wrong string }{
		{name: "equal by index", json: `{"sections":[{"name":"x","idx":1,` + at + `,"size":4,"off":2}]}`, bin: "..abcd"},
		{name: "equal by name", json: `{"sections":[{"name":".text",` + at + `,"size":4,"off":0}]}`, bin: "abcd"},
		{name: "another byte", json: `{"sections":[{"idx":1,` + at + `,"size":4,"off":0}]}`, bin: "abXd", wrong: "1 of 4 bytes differ, first at 0x2"},
		{name: "too short", json: `{"sections":[{"idx":1,` + at + `,"size":3,"off":0}]}`, bin: "abc", wrong: "1 of 4 bytes differ"},
		{name: "too long", json: `{"sections":[{"idx":1,` + at + `,"size":5,"off":0}]}`, bin: "abcde", wrong: "1 of 4 bytes differ"},
		{name: "another address", json: `{"sections":[{"idx":1,"addr":1,"size":4,"off":0}]}`, bin: "abcd", wrong: "at 0x1, recorded at"},
		{name: "no bytes", json: `{"sections":[{"idx":1,` + at + `,"size":4,"off":-1}]}`, bin: "", wrong: "no image"},
		{name: "outside of the file", json: `{"sections":[{"idx":1,` + at + `,"size":4,"off":1}]}`, bin: "abcd", wrong: "no image"},
		{name: "no section", json: `{"sections":[]}`, bin: "", wrong: "no image"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := CompareImages(rec, images(t, c.json, c.bin), "reloc")
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Join(got.Wrong, "\n")
			if (c.wrong == "") != (all == "") || !strings.Contains(all, c.wrong) {
				t.Errorf("got %q, want %q", all, c.wrong)
			}
		})
	}
	got, err := CompareImages(rec, t.TempDir(), "reloc")
	if err != nil || len(got.Left) != 1 || len(got.Wrong) == 0 {
		t.Errorf("nothing to compare: %+v, %v", got, err)
	}
}

func TestVerdictsAreCompared(t *testing.T) {
	t.Parallel()
	rec := t.TempDir()
	r := synthetic(t)
	delete(r.Results, "bad")
	r.Results["hello-crc"].Dmesg = []string{"<3>module: loc 0000000012345678, val ffff", "<4>hello: loading out-of-tree module taints kernel."}
	if err := r.Write(rec); err != nil {
		t.Fatal(err)
	}
	const good = `{"file":"x/hello.ko.xz","name":"hello","errno":0,"dmesg":[]}` + "\n"
	for _, c := range []struct{ name, said, wrong string }{
		{name: "equal", said: good + `{"file":"hello-crc.ko.xz","name":"hello","errno":8,"dmesg":["module: loc 00000000abcdef00, val 1"]}`},
		{name: "another errno", said: good + `{"file":"hello-crc.ko","errno":2}`, wrong: "errno 2, recorded 8"},
		{name: "another line", said: good + `{"file":"hello-crc.ko","errno":8,"dmesg":["other"]}`, wrong: "recorded"},
		{name: "a line of its own", said: `{"file":"hello.ko","errno":0,"dmesg":["invented"]}{"file":"hello-crc.ko","errno":8,"dmesg":["module: loc 1, val 1"]}`, wrong: "not in what was recorded"},
		{name: "none", said: good, wrong: "no verdict"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := CompareVerdicts(rec, strings.NewReader(c.said))
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Join(got.Wrong, "\n")
			if (c.wrong == "") != (all == "") || !strings.Contains(all, c.wrong) {
				t.Errorf("got %q, want %q", all, c.wrong)
			}
		})
	}
	if _, err := CompareVerdicts(rec, strings.NewReader("no json")); err == nil {
		t.Error("no JSON: got no error")
	}
}
