//go:build !unix

package source

import "os"

// openFile opens for reading. A regular file comes back as plain with its size; anything else as other.
func openFile(path string) (plain file, size int64, other *os.File, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, nil, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, nil, err
	}
	if st.Mode().IsRegular() {
		return f, st.Size(), nil, nil
	}
	return nil, 0, f, nil
}
