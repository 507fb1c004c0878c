package source

import (
	"path"
	"strings"
)

// ModuleName is the name of the module that a file name stands for: kbuild writes dashes and commas as underscores.
//
// Source: scripts/Makefile.lib: name-fix-token.
func ModuleName(p string) string {
	name := path.Base(p)
	for _, suffix := range []string{".gz", ".xz", ".zst"} {
		name = strings.TrimSuffix(name, suffix)
	}
	name = strings.TrimSuffix(name, ".ko")
	return strings.ReplaceAll(strings.ReplaceAll(name, "-", "_"), ",", "_")
}
