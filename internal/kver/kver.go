// Package kver has kernel version numbers and half-open ranges of them.
package kver

import (
	"fmt"
	"strconv"
	"strings"
)

// Version is a kernel version: major, minor and, where it matters, stable patch level.
type Version struct{ Major, Minor, Patch uint16 }

// V is shorthand for a version without a patch level.
func V(major, minor uint16) Version { return Version{Major: major, Minor: minor} }

// Parse reads the leading "X.Y" or "X.Y.Z" of a release such as "6.1.0-50-amd64".
// The rest of a release is not part of the version.
func Parse(release string) (Version, error) {
	var n [3]uint16
	rest := release
	i := 0
	for ; i < 3; i++ {
		end := 0
		for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
			end++
		}
		if end == 0 {
			break
		}
		u, err := strconv.ParseUint(rest[:end], 10, 16)
		if err != nil {
			return Version{}, fmt.Errorf("kernel version %q: %w", release, err)
		}
		n[i] = uint16(u)
		rest = rest[end:]
		if !strings.HasPrefix(rest, ".") {
			i++
			break
		}
		rest = rest[1:]
	}
	if i < 2 {
		return Version{}, fmt.Errorf("kernel version %q: want X.Y or X.Y.Z", release)
	}
	return Version{n[0], n[1], n[2]}, nil
}

// IsZero reports whether no version is known.
func (v Version) IsZero() bool { return v == Version{} }

// Compare is negative, zero or positive as v is older than, equal to or newer than o.
func (v Version) Compare(o Version) int {
	if v.Major != o.Major {
		return int(v.Major) - int(o.Major)
	}
	if v.Minor != o.Minor {
		return int(v.Minor) - int(o.Minor)
	}
	return int(v.Patch) - int(o.Patch)
}

func (v Version) String() string {
	if v.Patch == 0 {
		return fmt.Sprintf("%d.%d", v.Major, v.Minor)
	}
	return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
}

// Range is half open: Since <= v < Until. A zero end is unbounded.
type Range struct{ Since, Until Version }

// All is the range that holds every version.
var All = Range{}

// Since is the range from version major.minor on.
func Since(major, minor uint16) Range { return Range{Since: V(major, minor)} }

// Until is the range of all versions before major.minor.
func Until(major, minor uint16) Range { return Range{Until: V(major, minor)} }

// Between is the range since <= v < until.
func Between(since, until Version) Range { return Range{since, until} }

// Has reports whether v lies in the range.
func (r Range) Has(v Version) bool {
	if !r.Since.IsZero() && v.Compare(r.Since) < 0 {
		return false
	}
	return r.Until.IsZero() || v.Compare(r.Until) < 0
}

// Holds is Has, for a version that may not be known: the zero one is the newest.
func (r Range) Holds(v Version) bool {
	if v.IsZero() {
		return r.Until.IsZero()
	}
	return r.Has(v)
}

// Union is the smallest range that holds both.
func (r Range) Union(o Range) Range {
	if o.Since.IsZero() || !r.Since.IsZero() && o.Since.Compare(r.Since) < 0 {
		r.Since = o.Since
	}
	if o.Until.IsZero() || !r.Until.IsZero() && o.Until.Compare(r.Until) > 0 {
		r.Until = o.Until
	}
	return r
}

func (r Range) String() string {
	switch {
	case r.Since.IsZero() && r.Until.IsZero():
		return "all"
	case r.Until.IsZero():
		return r.Since.String() + "+"
	case r.Since.IsZero():
		return "before " + r.Until.String()
	}
	return r.Since.String() + " to before " + r.Until.String()
}
