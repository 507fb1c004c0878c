package modtree

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func tree(t *testing.T, files map[string]string) *Tree {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		p := filepath.Join(root, "lib/modules/1.2.3", name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tr, err := Open(root, "1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func names(hits []Hit) string {
	var list []string
	for _, h := range hits {
		n := h.Name
		if h.Builtin {
			n += " (builtin)"
		} else {
			n += "=" + filepath.Base(h.Path)
		}
		list = append(list, n)
	}
	return strings.Join(list, ", ")
}

func TestLookupFollowsKmodsOrder(t *testing.T) {
	tr := tree(t, map[string]string{
		"modules.dep":             "kernel/a/snd-one.ko.xz: kernel/b/two.ko\nkernel/b/two.ko:\n",
		"modules.alias":           "# comment\nalias pci:v00008086d*sv* snd_one\nalias pci:v*d000010D3* two\nalias fs-[a-c]* two\nalias gone* nowhere\n",
		"modules.builtin":         "kernel/c/in-image.ko\n",
		"modules.builtin.modinfo": "in_image.license=GPL\x00in_image.alias=img:*\x00other.license=X\x00",
		"modules.symbols":         "alias symbol:two_func two\n",
	})
	for in, want := range map[string]string{
		"snd-one": "snd_one=snd-one.ko.xz", "snd_one": "snd_one=snd-one.ko.xz", "two": "two=two.ko",
		"pci:v00008086d000010D3sv0": "snd_one=snd-one.ko.xz, two=two.ko", "fs-b": "two=two.ko", "fs-x": "",
		"in-image": "in_image (builtin)", "img:7": "in_image (builtin)", "gone": "", "nobody": "",
	} {
		hits, err := tr.Lookup(in)
		if err != nil || names(hits) != want {
			t.Errorf("%s: got %q, %v want %q", in, names(hits), err, want)
		}
	}
	if d, err := tr.Deps("snd_one"); err != nil || strings.Join(d, " ") != "kernel/b/two.ko" {
		t.Errorf("deps: got %v, %v", d, err)
	}
	if m, _ := tr.Provider([]byte("two_func")); m != "two" {
		t.Errorf("provider: got %q", m)
	}
	info, err := tr.BuiltinInfo("in_image")
	if err != nil || len(info) != 3 || string(info[0].Value) != "in_image" || string(info[1].Key) != "license" {
		t.Errorf("builtin: got %q, %v", info, err)
	}
}

func TestATreeThatDepmodHasNotSeenIsWalked(t *testing.T) {
	tr := tree(t, map[string]string{"kernel/x/some-thing.ko.zst": ""})
	if hits, err := tr.Lookup("some_thing"); err != nil || names(hits) != "some_thing=some-thing.ko.zst" {
		t.Errorf("got %q, %v", names(hits), err)
	}
}

func TestMatchIsFnmatch(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"a*b*c", "aXXbYYc", true}, {"a*b*c", "aXXbYY", false}, {"?", "", false}, {"?x", "yx", true}, {"[!a]", "b", true}, {"[!a]", "a", false},
		{"[a-c]1", "b1", true}, {"[]]", "]", true}, {"[a", "[a", true}, {`\*`, "*", true}, {`\*`, "x", false}, {"", "", true}, {"*", "", true}, {"a", "ab", false},
	} {
		if got := Match(c.pattern, c.s); got != c.want {
			t.Errorf("Match(%q, %q): got %v", c.pattern, c.s, got)
		}
	}
}

func TestMatchDoesNotExplode(t *testing.T) {
	start := time.Now()
	if Match(strings.Repeat("*a", 2000)+"b", strings.Repeat("a", 4000)) {
		t.Error("matched")
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("took %v", d)
	}
}

func TestOpenRefusesWhatIsNoRelease(t *testing.T) {
	for _, r := range []string{"", "../x", "a/b"} {
		if _, err := Open(t.TempDir(), r); err == nil {
			t.Errorf("%q was taken", r)
		}
	}
}

// FuzzMatch: no panic, and a pattern without specials matches only itself.
func FuzzMatch(f *testing.F) {
	f.Add("pci:v*d[0-9]?", "pci:v1d2x")
	f.Add("[", "[")
	f.Fuzz(func(t *testing.T, p, s string) {
		got := Match(p, s)
		if !strings.ContainsAny(p, `*?[\`) && got != (p == s) {
			t.Fatalf("Match(%q, %q) = %v", p, s, got)
		}
	})
}
