// Package diag has findings: facts about a module that somebody should know, with a stable
// code, the kernel's errno and its own log line. The catalogue of them is data (catalogue.go).
//
// A finding is never a Go error: an error says that kotool could not do its work.
package diag

import (
	"fmt"
	"strconv"
	"strings"

	"kotool/internal/kver"
)

// Code names a kind of finding: "KT-SYM-MISSING". Codes are stable for ever.
type Code string

// Severity orders findings.
type Severity uint8

// The severities: a note is for information, after a warning the kernel goes on, with an error it refuses.
const (
	Note Severity = iota + 1
	Warning
	Error
)

func (s Severity) String() string {
	switch s {
	case Note:
		return "note"
	case Warning:
		return "warning"
	case Error:
		return "error"
	}
	return "none"
}

// MarshalText implements encoding.TextMarshaler.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Errno is a Linux error number of the generic table, positive. It does not depend on the machine that kotool runs on.
type Errno int

// The error numbers that module loading gives. Source: include/uapi/asm-generic/errno*.h.
const (
	EPERM        Errno = 1
	ENOENT       Errno = 2
	EINTR        Errno = 4
	E2BIG        Errno = 7
	ENOEXEC      Errno = 8
	EBADF        Errno = 9
	EAGAIN       Errno = 11 // EWOULDBLOCK
	ENOMEM       Errno = 12
	EACCES       Errno = 13
	EFAULT       Errno = 14
	EBUSY        Errno = 16
	EEXIST       Errno = 17
	ENODEV       Errno = 19
	EINVAL       Errno = 22
	EFBIG        Errno = 27
	ENOSPC       Errno = 28
	EROFS        Errno = 30
	ERANGE       Errno = 34
	ENOSYS       Errno = 38
	ELOOP        Errno = 40
	ENODATA      Errno = 61
	ENOPKG       Errno = 65
	EBADMSG      Errno = 74
	EOPNOTSUPP   Errno = 95
	ETIMEDOUT    Errno = 110
	ENOKEY       Errno = 126
	EKEYREJECTED Errno = 129
	ENOTSUPP     Errno = 524 // the kernel's own: programs have no name for it
)

var errnoNames = map[Errno]string{
	EPERM: "EPERM", ENOENT: "ENOENT", EINTR: "EINTR", ENOEXEC: "ENOEXEC", EBADF: "EBADF", EAGAIN: "EAGAIN",
	ENOMEM: "ENOMEM", EACCES: "EACCES", EFAULT: "EFAULT", EBUSY: "EBUSY", EEXIST: "EEXIST", ENODEV: "ENODEV",
	EINVAL: "EINVAL", EFBIG: "EFBIG", ENOSPC: "ENOSPC", EROFS: "EROFS", ERANGE: "ERANGE", ENOSYS: "ENOSYS",
	ENODATA: "ENODATA", ENOPKG: "ENOPKG", EBADMSG: "EBADMSG", EOPNOTSUPP: "EOPNOTSUPP", ETIMEDOUT: "ETIMEDOUT",
	ENOKEY: "ENOKEY", EKEYREJECTED: "EKEYREJECTED", E2BIG: "E2BIG", ELOOP: "ELOOP", ENOTSUPP: "ENOTSUPP",
}

// Name is "ENOEXEC" for 8; "errno N" for a number that loading never gives; "" for 0.
func (e Errno) Name() string {
	if e == 0 {
		return ""
	}
	if n := errnoNames[e]; n != "" {
		return n
	}
	return "errno " + strconv.Itoa(int(e))
}

func (e Errno) String() string { return e.Name() }

// ErrnoNamed returns the error number of a name such as "ENOEXEC", 0 for none.
func ErrnoNamed(name string) Errno {
	if name == "EWOULDBLOCK" {
		return EAGAIN
	}
	for e, n := range errnoNames {
		if n == name {
			return e
		}
	}
	return 0
}

// Location says where in a module, as far as it is known.
type Location struct {
	File    string `json:"file,omitempty"`
	Section string `json:"section,omitempty"`
	Index   *int   `json:"section_index,omitempty"`
	Offset  *int64 `json:"offset,omitempty"` // in the plain file, bytes
	Entry   *int   `json:"entry,omitempty"`  // of a table
	Symbol  string `json:"symbol,omitempty"`
}

// Empty reports whether nothing is known.
func (l Location) Empty() bool { return l == Location{} }

// In is a location in a section of a file.
func In(name string, index int) Location {
	return Location{Section: name, Index: &index}
}

// At adds a file offset.
func (l Location) At(off uint64) Location {
	o := int64(off)
	l.Offset = &o
	return l
}

// EntryNo adds the index of a table's entry.
func (l Location) EntryNo(i int) Location {
	l.Entry = &i
	return l
}

// Sym is the location of a symbol.
func Sym(name string) Location { return Location{Symbol: name} }

// Finding is one fact about a module.
type Finding struct {
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	Errno    Errno    `json:"errno,omitempty"`   // positive: ENOEXEC is 8
	Message  string   `json:"message"`           // one sentence, ours
	Want     string   `json:"want,omitempty"`    // what the kernel asks for
	Got      string   `json:"got,omitempty"`     // what the module has
	Dmesg    []string `json:"dmesg,omitempty"`   // the kernel's lines, to the letter, for this era
	Hint     string   `json:"hint,omitempty"`    // what to do about it
	Certain  *bool    `json:"certain,omitempty"` // of the hint: follows from the evidence, or is only likely
	Where    Location `json:"where"`             // section, offset, entry, symbol
	Source   string   `json:"source,omitempty"`  // "kernel/module/main.c: simplify_symbols"
	Assumes  []string `json:"assumes,omitempty"` // facts about the target that had to be guessed
	Step     string   `json:"step,omitempty"`    // row of the load pipeline: "g3"
}

// Text is a kernel log line in the kernels of a range. Format takes the finding's arguments by index.
type Text struct {
	In     kver.Range
	Format string
}

// Entry is one row of the catalogue.
type Entry struct {
	Code     Code
	Severity Severity
	Errno    Errno  // the usual one; a finding may carry another (machines differ)
	Stage    string // the kernel function that refuses: "simplify_symbols"; "" for what is not the loader's
	Step     string // row of the load pipeline: "j1"
	Source   string // "kernel/module/main.c: simplify_symbols"
	Title    string // what it means, in a few words
	Message  string // format; arguments by index
	Dmesg    []Text
	Hint     string // format; one line, what to do
	Why      string // for explain: usual causes, a paragraph
	Args     string // what the arguments are, by index, for the reader of this table
}

// Lookup returns the catalogue's row for a code, or nil.
func Lookup(c Code) *Entry {
	for i := range Catalogue {
		if Catalogue[i].Code == c {
			return &Catalogue[i]
		}
	}
	return nil
}

// New makes a finding of the catalogue's row, with the log line of kernel version v (the zero
// version: of the newest). args fill the row's formats by index.
// It panics for a code that the catalogue does not have: that is a fault of ours.
func New(c Code, v kver.Version, args ...any) Finding {
	e := Lookup(c)
	if e == nil {
		panic(fmt.Sprintf("diag: no catalogue entry %s", c))
	}
	f := Finding{Code: c, Severity: e.Severity, Errno: e.Errno, Source: e.Source, Step: e.Step,
		Message: format(e.Message, args), Hint: format(e.Hint, args)}
	if t, ok := e.Text(v); ok && t != "" {
		for text := range strings.SplitSeq(t, "\n") { // an argument's own newline ends no line
			if line := format(text, args); line != "" {
				f.Dmesg = append(f.Dmesg, Kmsg(line))
			}
		}
	}
	return f
}

// Kmsg is a line of the log as /dev/kmsg gives it: bytes that cannot be printed, and backslashes, as \xNN.
//
// Source: kernel/printk/printk.c: msg_add_ext_text.
func Kmsg(line string) string {
	plain := true
	for i := range len(line) {
		if c := line[i]; c < ' ' || c >= 127 || c == '\\' {
			plain = false
			break
		}
	}
	if plain {
		return line
	}
	var b []byte
	for i := range len(line) {
		if c := line[i]; c < ' ' || c >= 127 || c == '\\' {
			b = fmt.Appendf(b, "\\x%02x", c)
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

// Text is the row's log format in kernel version v; ok is false where that kernel says nothing.
func (e *Entry) Text(v kver.Version) (string, bool) {
	for i := len(e.Dmesg) - 1; i >= 0; i-- {
		t := e.Dmesg[i]
		if t.In.Holds(v) {
			return t.Format, true
		}
	}
	return "", false
}

// format is fmt.Sprintf for formats that use their arguments by index, or not at all.
func format(f string, args []any) string {
	if !strings.Contains(f, "%") {
		return f
	}
	s := fmt.Sprintf(f, args...)
	if i := strings.Index(s, "%!(EXTRA"); i >= 0 {
		s = s[:i]
	}
	return s
}

// Worst is the highest severity among findings, 0 for none.
func Worst(list []Finding) Severity {
	var w Severity
	for i := range list {
		w = max(w, list[i].Severity)
	}
	return w
}
