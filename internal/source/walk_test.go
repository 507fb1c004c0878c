package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree makes the files, and the links of the form "link -> target", below a new directory, and goes there.
func tree(t *testing.T, names ...string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, n := range names {
		name, target, link := strings.Cut(n, " -> ")
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if link {
			if err := os.Symlink(target, name); err != nil {
				t.Skip(err)
			}
		} else if err := os.WriteFile(name, nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// expand collects what Expand yields; an error stands after its path.
func expand(recursive bool, paths ...string) []string {
	var got []string
	for p, err := range Expand(paths, recursive) {
		p = filepath.ToSlash(p)
		if err != nil {
			p += ": " + err.Error()
		}
		got = append(got, p)
	}
	return got
}

func TestExpand(t *testing.T) {
	tree(t, "k/fs/ext4.ko.xz", "k/fs/btrfs.ko", "k/fs/Makefile", "k/fs.ko.gz", "k/a/b/c/deep.ko.zst", "k/modules.dep", "k/x.ko.bz2", "k/.ko",
		"other/o.ko", "k/loop -> ..", "k/other.ko -> ../other", "k/again.ko -> fs/btrfs.ko", "k/gone.ko -> nowhere", "link -> k/fs", "one.ko")
	for _, tc := range []struct {
		name      string
		recursive bool
		paths     []string
		want      []string
	}{
		{"without -r all stay as they are", false, []string{"one.ko", "k", "none", "-"}, []string{"one.ko", "k", "none", "-"}},
		{"files stay as they are, whatever their names", true, []string{"none", "k/fs/Makefile", "-", "one.ko"}, []string{"none", "k/fs/Makefile", "-", "one.ko"}},
		{"a tree in sorted order, links to files but not to directories", true, []string{"k"},
			[]string{"k/.ko", "k/a/b/c/deep.ko.zst", "k/again.ko", "k/fs/btrfs.ko", "k/fs/ext4.ko.xz", "k/fs.ko.gz", "k/gone.ko"}},
		{"operands in their order", true, []string{"other", "k/fs", "one.ko"}, []string{"other/o.ko", "k/fs/btrfs.ko", "k/fs/ext4.ko.xz", "one.ko"}},
		{"a link that is named is followed", true, []string{"link"}, []string{"link/btrfs.ko", "link/ext4.ko.xz"}},
		{"no operands", true, nil, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, expand(tc.recursive, tc.paths...)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestExpandStopsWhenAsked(t *testing.T) {
	tree(t, "k/a.ko", "k/b.ko", "k/c.ko", "d.ko")
	for n := 1; n < 5; n++ {
		got := 0
		for range Expand([]string{"k", "d.ko", "k"}, true) {
			if got++; got == n {
				break
			}
		}
		if got != n {
			t.Errorf("got %d paths want %d", got, n)
		}
	}
}

func TestADirectoryThatCannotBeReadIsAnErrorAndTheRestFollows(t *testing.T) {
	tree(t, "k/a.ko", "k/m/b.ko", "k/z.ko")
	if err := os.Chmod("k/m", 0); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod("k/m", 0o777)
	if _, err := os.ReadDir("k/m"); err == nil {
		t.Skip("this user may read everything")
	}
	want := []string{"k/a.ko", "k/m: permission denied", "k/z.ko"}
	if diff := cmp.Diff(want, expand(true, "k")); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestIsModuleName(t *testing.T) {
	for name, want := range map[string]bool{
		"a.ko": true, "a.ko.gz": true, "a.ko.xz": true, "a.ko.zst": true, "a.ko.bz2": false, "a.kox": false, "a.xz": false, "ko": false, "a.ko.zstd": false,
	} {
		if got := IsModuleName(name); got != want {
			t.Errorf("%q: got %v want %v", name, got, want)
		}
	}
}
