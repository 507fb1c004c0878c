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

// Expand yields the operands in their order. With recursive, a directory is replaced by the modules below it, in sorted
// order; symbolic links to directories in it are not followed. An error belongs to the path beside it, and the rest follows.
func Expand(paths []string, recursive bool) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, p := range paths {
			// What cannot be opened says so when it is opened.
			ok := false
			if recursive && p != "-" && isDir(p) {
				ok = walk(p, yield)
			} else {
				ok = yield(p, nil)
			}
			if !ok {
				return
			}
		}
	}
}

// isDir reports whether path is a directory, or a link to one.
func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// walk yields the modules below root; false: yield wants no more.
func walk(root string, yield func(string, error) bool) bool {
	if st, err := os.Lstat(root); err == nil && st.Mode()&fs.ModeSymlink != 0 {
		root += string(filepath.Separator) // a link that was named is followed
	}
	more := true
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			more = yield(path, bare(err))
		case d.IsDir() || !IsModuleName(d.Name()) || d.Type()&fs.ModeSymlink != 0 && isDir(path):
		default:
			more = yield(path, nil)
		}
		switch {
		case !more:
			return fs.SkipAll
		case err != nil && d != nil && d.IsDir():
			return fs.SkipDir
		}
		return nil
	})
	return more
}
