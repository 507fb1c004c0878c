package source

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

// stall is how long a named pipe or a device may keep silent before it is given up.
const stall = 1500 * time.Millisecond

// patient reads a file that is not a regular one. A named pipe without a writer must not hang kotool; a pipe that
// the shell made (/dev/fd/63) has its writer and may take its time.
type patient struct {
	f     *os.File
	fifo  bool
	until time.Time // zero: no limit
	any   bool      // something has been read
}

func newPatient(f *os.File, mode fs.FileMode) *patient {
	p := &patient{f: f, fifo: mode&fs.ModeNamedPipe != 0}
	if name := f.Name(); !strings.HasPrefix(name, "/dev/fd/") && !strings.HasPrefix(name, "/proc/") && name != "/dev/stdin" {
		p.until = time.Now().Add(stall)
	}
	return p
}

var errSilent = errors.New("nothing to read (a pipe without a writer, or a silent device)")

func (p *patient) Read(b []byte) (int, error) {
	for {
		if !p.until.IsZero() {
			// Where deadlines are not supported reading just waits.
			_ = p.f.SetReadDeadline(time.Now().Add(stall))
		}
		n, err := p.f.Read(b)
		switch {
		case n > 0:
			p.any = true
			return n, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return 0, errSilent
		case err == io.EOF && p.fifo && !p.any && !p.until.IsZero():
			// Opened before its writer: that reads as an end.
			if time.Now().After(p.until) {
				return 0, errSilent
			}
			time.Sleep(5 * time.Millisecond)
		default:
			return n, err
		}
	}
}
