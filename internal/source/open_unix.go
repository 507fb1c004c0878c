//go:build unix

package source

import (
	"os"
	"syscall"
)

// openFile opens for reading without waiting for the writer of a named pipe, and without taking a terminal.
func openFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
}
