// Package deb reads Debian packages: an ar archive that holds a compressed tar, whose files come one after another. Nothing is unpacked but
// what is asked for, and nothing is kept.
//
// Source: deb(5), ar(5).
package deb

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"kotool/internal/source"
)

// Magic is how an ar archive begins.
const Magic = "!<arch>\n"

// The limits, beside that of a file.
const (
	headerSize  = 60
	mostControl = 1 << 20 // of what control.tar unpacks to, bytes
	mostEntries = 1 << 20 // of files in a package
	// totalFiles is how many times the limit of one file all of a package's may have, bytes.
	totalFiles = 16
)

// Error says where in a package something is wrong.
type Error struct {
	Member string // of the archive, "" for the archive itself
	Off    uint64 // in the file, bytes; in a member's plain bytes where Plain is set
	Plain  bool
	Err    error
}

func (e *Error) Error() string {
	where := fmt.Sprintf("offset %#x", e.Off)
	if e.Plain {
		where = fmt.Sprintf("after %#x plain bytes", e.Off)
	}
	if e.Member != "" {
		where = e.Member + ": " + where
	}
	return fmt.Sprintf("%s: %v", where, e.Err)
}

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// Package is an open package.
type Package struct {
	// Fields are those of its control file: Package, Version, Architecture, Depends, …; of a field that goes on for lines, the first.
	Fields map[string]string

	// Jobs is how many blocks of its files may be unpacked at once.
	Jobs int

	data  *member
	limit uint64
	taken uint64 // of files that were read, bytes: a sparse one takes few in the tar
}

// member is a part of the archive.
type member struct {
	name string
	off  uint64 // of its bytes, in the file
	r    *io.SectionReader
}

// Open reads the archive's headers and the control file. limit is how large a file in the package may be, bytes.
func Open(r io.ReaderAt, size, limit uint64) (*Package, error) {
	members, err := list(r, size)
	if err != nil {
		return nil, err
	}
	if len(members) == 0 || members[0].name != "debian-binary" {
		first := "no member"
		if len(members) > 0 {
			first = strconv.Quote(members[0].name)
		}
		return nil, fmt.Errorf("an ar archive, but no Debian package: want debian-binary as the first member, got %s", first)
	}
	version, err := io.ReadAll(io.LimitReader(members[0].r, 64))
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(version, []byte("2.")) {
		return nil, &Error{"debian-binary", members[0].off, false, fmt.Errorf("want format 2, got %q", version)}
	}
	p := &Package{limit: limit, Fields: map[string]string{}}
	for i := range members[1:] {
		m := &members[1+i]
		switch {
		case strings.HasPrefix(m.name, "control.tar"):
			if err := p.control(m); err != nil {
				return nil, err
			}
		case strings.HasPrefix(m.name, "data.tar") && p.data == nil:
			p.data = m
		}
	}
	if p.data == nil {
		return nil, fmt.Errorf("no data.tar in it: the package holds no files, or was cut short")
	}
	return p, nil
}

// list reads the headers of all members.
func list(r io.ReaderAt, size uint64) ([]member, error) {
	magic := make([]byte, len(Magic))
	if _, err := r.ReadAt(magic, 0); err != nil || string(magic) != Magic {
		return nil, errors.New("no ar archive")
	}
	var out []member
	for off := uint64(len(Magic)); off < size; {
		h := make([]byte, headerSize)
		if size-off < headerSize {
			return nil, &Error{"", off, false, fmt.Errorf("%d bytes are left, a header has %d: the file was cut short", size-off, headerSize)}
		}
		if _, err := r.ReadAt(h, int64(off)); err != nil {
			return nil, &Error{"", off, false, err}
		}
		if string(h[58:]) != "`\n" {
			return nil, &Error{"", off, false, errors.New("no header of an archive member: the file is damaged")}
		}
		name := strings.TrimSuffix(strings.TrimRight(string(h[:16]), " "), "/")
		n, err := strconv.ParseUint(strings.TrimRight(string(h[48:58]), " "), 10, 63)
		if err != nil {
			return nil, &Error{name, off + 48, false, fmt.Errorf("%q is no size", h[48:58])}
		}
		off += headerSize
		if n > size-off {
			return nil, &Error{name, off, false, fmt.Errorf("a member of %d bytes, of which the file has %d: it was cut short", n, size-off)}
		}
		out = append(out, member{name, off, io.NewSectionReader(r, int64(off), int64(n))})
		off += n + n&1
	}
	return out, nil
}

// plain is what the member's bytes are unpacked to, up to jobs blocks of it at once. It is to be closed.
func (m *member) plain(jobs int) (*counter, error) {
	head := make([]byte, 8)
	n, err := m.r.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return nil, &Error{m.name, m.off, false, err}
	}
	container := source.Container(head[:n])
	if container == "none" && strings.HasSuffix(m.name, ".lzma") {
		return nil, &Error{m.name, m.off, false, errors.New("compressed with lzma, which is not read here")}
	}
	r, err := source.NewReaderAt(container, m.r, m.r.Size(), jobs)
	if err != nil {
		return nil, &Error{m.name, m.off, false, err}
	}
	return &counter{ReadCloser: r}, nil
}

// counter counts what is read, up to a limit.
type counter struct {
	io.ReadCloser
	n     uint64
	limit uint64 // 0: none
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	c.n += uint64(n)
	if c.limit != 0 && c.n > c.limit {
		return n, &source.LimitError{Unpacked: true, Limit: c.limit}
	}
	return n, err
}

// fault places an error of reading a member's files.
func (m *member) fault(c *counter, err error) error {
	if s, ok := errors.AsType[*source.StreamError](err); ok {
		return &Error{m.name, uint64(s.Off), true, fmt.Errorf("%s: %w", s.Container, s.Err)}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = source.ErrCut
	}
	return &Error{m.name, c.n, true, err}
}

// control reads the control file.
func (p *Package) control(m *member) error {
	c, err := m.plain(1)
	if err != nil {
		return err
	}
	defer c.Close()
	c.limit = mostControl
	t := tar.NewReader(c)
	for {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return m.fault(c, err)
		}
		if path.Clean(h.Name) != "control" {
			continue
		}
		b, err := io.ReadAll(t)
		if err != nil {
			return m.fault(c, err)
		}
		for line := range strings.Lines(string(b)) {
			if key, value, ok := strings.Cut(line, ":"); ok && key != "" && key[0] != ' ' && key[0] != '\t' {
				p.Fields[key] = strings.TrimSpace(value)
			}
		}
		return nil
	}
}

// String is the package's name, version and machine.
func (p *Package) String() string {
	var words []string
	for _, key := range []string{"Package", "Version", "Architecture"} {
		if v := p.Fields[key]; v != "" {
			words = append(words, v)
		}
	}
	return strings.Join(words, " ")
}

// File is a regular file of the package. It can be read until the next one comes.
type File struct {
	Name string // without a slash before it
	Size uint64

	t *tar.Reader
	c *counter
	p *Package
}

// ReadTo reads the file into b, which is made larger where need be.
func (f *File) ReadTo(b []byte) ([]byte, error) {
	if f.Size > f.p.limit {
		return nil, &Error{f.p.data.name, f.c.n, true, fmt.Errorf("%s: %w", f.Name, &source.LimitError{Size: f.Size, Limit: f.p.limit})}
	}
	if f.p.taken += f.Size; f.p.taken > totalFiles*min(f.p.limit, 1<<40) {
		return nil, &Error{f.p.data.name, f.c.n, true, fmt.Errorf("%s: %w", f.Name, &source.LimitError{Unpacked: true, Limit: totalFiles * f.p.limit})}
	}
	// Memory grows with what comes, not with what a header promises.
	buf := bytes.NewBuffer(b[:0])
	if _, err := io.CopyN(buf, f.t, int64(f.Size)); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, f.p.data.fault(f.c, fmt.Errorf("%s: %w", f.Name, err))
	}
	return buf.Bytes(), nil
}

// Each calls use for each regular file, in the order of the package. An error of use ends it.
func (p *Package) Each(use func(f *File) error) error {
	c, err := p.data.plain(p.Jobs)
	if err != nil {
		return err
	}
	defer c.Close()
	c.limit = totalFiles * min(p.limit, 1<<40)
	t := tar.NewReader(c)
	for n := 0; ; n++ {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return p.data.fault(c, err)
		}
		if n >= mostEntries {
			return &Error{p.data.name, c.n, true, fmt.Errorf("more than %d files", mostEntries)}
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if h.Size < 0 {
			return &Error{p.data.name, c.n, true, fmt.Errorf("%q: a size of %d", h.Name, h.Size)}
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		if err := use(&File{name, uint64(h.Size), t, c, p}); err != nil {
			return err
		}
	}
}
