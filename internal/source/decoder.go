package source

import (
	"compress/bzip2"
	"io"
)

// Container tells what a stream is compressed with by its first bytes: "gzip", "xz", "zstd", "bzip2", or "none".
func Container(head []byte) string {
	if len(head) > 3 && string(head[:3]) == "BZh" && '1' <= head[3] && head[3] <= '9' {
		return "bzip2"
	}
	return compression(head)
}

// NewReader decompresses a stream of that container as it is read. What it keeps is no more than the largest window that this package takes.
// Its errors are *StreamError, or those of reading r.
func NewReader(container string, r io.Reader) (io.Reader, error) {
	d := &decoder{container: container, src: &remember{r: r}}
	var err error
	switch container {
	case "none":
		return r, nil
	case "bzip2":
		d.r = bzip2.NewReader(d.src)
	default:
		p := &Buffers{}
		d.r, err = p.decoder(container, p.buffered(d.src), false)
	}
	if err != nil {
		return nil, d.wrap(err)
	}
	return d, nil
}

// remember keeps the error that reading ended with, if it is none of the stream's.
type remember struct {
	r   io.Reader
	err error
}

func (m *remember) Read(b []byte) (int, error) {
	n, err := m.r.Read(b)
	if err != nil && err != io.EOF {
		m.err = err
	}
	return n, err
}

type decoder struct {
	container string
	r         io.Reader
	src       *remember
	n         int // plain bytes so far
}

func (d *decoder) Read(b []byte) (int, error) {
	n, err := d.r.Read(b)
	d.n += n
	if err != nil && err != io.EOF {
		err = d.wrap(err)
	}
	return n, err
}

func (d *decoder) wrap(err error) error {
	if d.src.err != nil {
		return d.src.err
	}
	return &StreamError{d.container, d.n, cause(err)}
}
