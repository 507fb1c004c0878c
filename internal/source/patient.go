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
	until time.Time // of the first byte; zero: no limit
	any   bool      // something has been read
}

func newPatient(f *os.File, mode fs.FileMode) *patient {
	p := &patient{f: f, fifo: mode&fs.ModeNamedPipe != 0}
	if !inherited(f.Name()) {
		p.until = time.Now().Add(stall)
	}
	return p
}

// inherited tells the names by which a process reaches the pipes that it was started with.
func inherited(name string) bool {
	return strings.HasPrefix(name, "/dev/fd/") || name == "/dev/stdin" ||
		strings.HasPrefix(name, "/proc/") && strings.Contains(name, "/fd/")
}

// ErrSilent says that a pipe or device gave nothing for a while.
var ErrSilent = errors.New("nothing to read (a pipe without a writer, or a silent device)")

func (p *patient) Read(b []byte) (int, error) {
	limited := !p.until.IsZero()
	for {
		// Where deadlines are not supported reading just waits.
		switch {
		case limited && p.any:
			_ = p.f.SetReadDeadline(time.Now().Add(stall))
		case limited:
			_ = p.f.SetReadDeadline(p.until)
		}
		n, err := p.f.Read(b)
		switch {
		case n > 0:
			p.any = true
			return n, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return 0, ErrSilent
		case err == io.EOF && p.fifo && !p.any && limited:
			// Nobody has opened it for writing yet: that reads as an end.
			if time.Now().After(p.until) {
				return 0, ErrSilent
			}
			time.Sleep(5 * time.Millisecond)
		default:
			return n, err
		}
	}
}
