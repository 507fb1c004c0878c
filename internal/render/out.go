package render

// Out collects output and hands it on in pieces. Append to B and call Check now and then; Flush at the end.
type Out struct {
	B    []byte
	sink func([]byte) ([]byte, error)
	err  error
}

// NewOut makes an Out whose pieces go to sink. The sink may keep the slice; it returns another one to go on with.
func NewOut(sink func([]byte) (next []byte, err error)) *Out { return &Out{sink: sink} }

// NewWriter makes an Out that writes its pieces to w, which must not keep them.
func NewWriter(w func([]byte) error) *Out {
	return &Out{sink: func(p []byte) ([]byte, error) { return p, w(p) }}
}

const outChunk = 64 << 10

func (o *Out) check() bool {
	if len(o.B) >= outChunk && o.sink != nil {
		o.Flush()
	}
	return o.err == nil
}

// Check flushes when enough has been collected; false after a write error.
func (o *Out) Check() bool { return o.check() }

// Flush writes what has been collected.
func (o *Out) Flush() {
	if len(o.B) > 0 && o.err == nil && o.sink != nil {
		o.B, o.err = o.sink(o.B)
	}
	o.B = o.B[:0]
}

// Err is the first error of writing.
func (o *Out) Err() error { return o.err }

// Str appends a string of ours.
func (o *Out) Str(s string) { o.B = append(o.B, s...) }
