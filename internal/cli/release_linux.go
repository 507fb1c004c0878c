package cli

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// release is the running kernel's, as uname -r prints it.
func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	b := u.Release[:]
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
