//go:build unix

package source

import (
	"io"
	"os"
	"syscall"
)

// openFile opens for reading without waiting for the writer of a named pipe, and without taking a terminal. A regular
// file comes back as plain with its size; anything else as other.
//
// A regular file is kept out of the runtime's poller, which could not wait for it anyway: that is a third of the system
// calls of showing a small module.
func openFile(path string) (plain file, size int64, other *os.File, err error) {
	fd, err := retry(func() (int, error) {
		return syscall.Open(path, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY|syscall.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, 0, nil, err
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		syscall.Close(fd)
		return nil, 0, nil, err
	}
	if st.Mode&syscall.S_IFMT == syscall.S_IFREG {
		return fdFile(fd), st.Size, nil, nil
	}
	return nil, 0, os.NewFile(uintptr(fd), path), nil
}

// retry calls f again as long as a signal interrupts it.
func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != syscall.EINTR {
			return n, err
		}
	}
}

// fdFile is a regular file by its descriptor.
type fdFile int

// ReadAt implements io.ReaderAt.
func (f fdFile) ReadAt(b []byte, off int64) (n int, err error) {
	for n < len(b) {
		k, err := retry(func() (int, error) { return syscall.Pread(int(f), b[n:], off+int64(n)) })
		if err != nil {
			return n, err
		}
		if k == 0 {
			return n, io.EOF
		}
		n += k
	}
	return n, nil
}

// Close implements io.Closer.
func (f fdFile) Close() error { return syscall.Close(int(f)) }
