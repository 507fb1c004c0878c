//go:build unix

package source

import (
	"os"
	"syscall"
)

// openFile opens for reading without waiting for the writer of a named pipe.
func openFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}
