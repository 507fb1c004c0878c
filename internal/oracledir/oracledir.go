// Package oracledir says where recordings of real kernels are. They hold a distribution's modules and are not part of the repository. It
// supports tests.
package oracledir

import (
	"os"
	"path/filepath"
)

// Path is the folder that KOTOOL_ORACLE names, or else the one beside the project, as a package two folders deep sees it.
func Path() string {
	if d := os.Getenv("KOTOOL_ORACLE"); d != "" {
		return d
	}
	return filepath.Join("..", "..", "..", "shared", "oracle")
}
