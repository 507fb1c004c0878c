package source

import (
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
)

// suffixes are how modules' names end.
var suffixes = [...]string{".ko", ".ko.gz", ".ko.xz", ".ko.zst"}

// IsModuleName reports whether a file name ends as modules' names do.
func IsModuleName(name string) bool {
	for _, s := range suffixes {
		if strings.HasSuffix(name, s) {
			return true
		}
	}
	return false
}

// Expand yields the operands. With recursive, a directory is replaced by the modules below it, in sorted order;
// symbolic links to directories in it are not followed. An error belongs to the path beside it, and the rest follows.
func Expand(paths []string, recursive bool) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, p := range paths {
			if st, err := os.Stat(p); p == "-" || err != nil || !st.IsDir() || !recursive {
				// What cannot be opened says so when it is opened.
				if !yield(p, nil) {
					return
				}
				continue
			}
			stop := false
			root := p
			if st, err := os.Lstat(p); err == nil && st.Mode()&fs.ModeSymlink != 0 {
				root = p + string(filepath.Separator) // a link that was named is followed
			}
			_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
				switch {
				case err != nil:
					if stop = !yield(path, bare(err)); stop {
						return fs.SkipAll
					}
					if d != nil && d.IsDir() {
						return fs.SkipDir
					}
				case !d.IsDir() && IsModuleName(d.Name()):
					if stop = !yield(path, nil); stop {
						return fs.SkipAll
					}
				}
				return nil
			})
			if stop {
				return
			}
		}
	}
}
