package kimage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/adler32"
	"hash/crc32"

	"kotool/internal/bin"
)

// lzop decompresses what lzop writes.
//
// Source: lib/decompress_unlzo.c; the layout of the header is that of lzop 1.0x.
func (s *sink) lzop(b []byte) error {
	const (
		magic                   = 9
		adlerPlain, adlerPacked = 0x1, 0x2
		extra                   = 0x40
		crcPlain, crcPacked     = 0x100, 0x200
		filter                  = 0x800
		maxBlock                = 64 << 20
		versionOfFilter         = 0x940
	)
	v := bin.New(b, 0, true)
	pos := uint64(magic)
	take := func(n uint64) (bin.View, bool) {
		f, err := v.Slice(pos, n)
		pos += n
		return f, err == nil
	}
	h, ok := take(4)
	if !ok {
		return errCut
	}
	newer := h.U16(0) >= versionOfFilter
	if newer {
		take(2) // version needed
	}
	if h, ok = take(1); !ok {
		return errCut
	}
	if method := h.U8(0); method < 1 || method > 3 {
		return fmt.Errorf("method %d is not LZO1X", method)
	}
	if newer {
		take(1) // level
	}
	h, ok = take(4)
	if !ok {
		return errCut
	}
	flags := h.U32(0)
	if flags&filter != 0 {
		return errors.New("filters are not known")
	}
	skip := uint64(8) // mode, time
	if newer {
		skip += 4
	}
	if _, ok = take(skip); !ok {
		return errCut
	}
	if h, ok = take(1); !ok {
		return errCut
	}
	if _, ok = take(uint64(h.U8(0)) + 4); !ok { // name, checksum
		return errCut
	}
	if flags&extra != 0 {
		if h, ok = take(4); !ok {
			return errCut
		}
		if _, ok = take(uint64(h.U32(0)) + 4); !ok {
			return errCut
		}
	}
	for {
		if h, ok = take(4); !ok {
			return errCut
		}
		plain := h.U32(0)
		if plain == 0 {
			return nil
		}
		if h, ok = take(4); !ok {
			return errCut
		}
		packed := h.U32(0)
		if plain > maxBlock || packed > plain {
			return fmt.Errorf("block at %#x: impossible sizes", pos-8)
		}
		sums := uint64(0)
		for _, f := range [...]uint32{adlerPlain, crcPlain, adlerPacked, crcPacked} {
			if flags&f != 0 && (packed < plain || f == adlerPlain || f == crcPlain) {
				sums += 4
			}
		}
		sum, ok := take(sums)
		if !ok {
			return errCut
		}
		at, from := pos, len(s.b)
		body, ok := take(uint64(packed))
		if !ok {
			return errCut
		}
		var err error
		if packed == plain {
			err = s.literals(body.Bytes())
		} else {
			err = s.lzo1x(body.Bytes(), int(plain))
		}
		if err != nil {
			return fmt.Errorf("block at %#x: %w", at, err)
		}
		if flags&adlerPlain != 0 && sum.U32(0) != adler32.Checksum(s.b[from:]) || flags&(adlerPlain|crcPlain) == crcPlain && sum.U32(0) != crc32.ChecksumIEEE(s.b[from:]) {
			return fmt.Errorf("block at %#x: another checksum", at)
		}
	}
}

// lzo1x decompresses one block of exactly plain bytes behind what is there.
//
// An instruction is a match of M2 (64 to 255), M3 (32 to 63), M4 (16 to 31) or M1 (0 to 15), the last being a run of literals where none
// stood before. The low two bits of what a match takes say how many literals follow it.
//
// Source: Documentation/staging/lzo.rst.
func (s *sink) lzo1x(b []byte, plain int) error {
	start := len(s.b)
	d := lzoBlock{sink: s, b: b, start: start, end: start + plain}
	if err := d.run(); err != nil {
		return err
	}
	if got := len(s.b) - start; got != plain {
		return fmt.Errorf("%d bytes come out, the header says %d", got, plain)
	}
	return nil
}

type lzoBlock struct {
	*sink
	b          []byte
	start, end int
}

var errLonger = errors.New("more comes out than the header says")

// long reads a length that did not fit into its bits: zero bytes count 255 each.
func (d *lzoBlock) long(base int) (int, error) {
	n := base
	for {
		if len(d.b) == 0 {
			return 0, errCut
		}
		c := d.b[0]
		d.b = d.b[1:]
		if c != 0 {
			return n + int(c), nil
		}
		if n += 255; n > d.end-d.start {
			return 0, errLonger
		}
	}
}

// copyIn takes n literals from the input.
func (d *lzoBlock) copyIn(n int) error {
	switch {
	case n > len(d.b):
		return errCut
	case n > d.end-len(d.sink.b):
		return errLonger
	}
	lit := d.b[:n]
	d.b = d.b[n:]
	return d.literals(lit)
}

func (d *lzoBlock) run() error {
	if len(d.b) == 0 {
		return errCut
	}
	// state is how many literals came before the next instruction: 0 to 3 behind a match, 4: a run of them.
	state := 0
	if first := int(d.b[0]); first > 17 {
		d.b = d.b[1:]
		if err := d.copyIn(first - 17); err != nil {
			return err
		}
		state = min(first-17, 4)
	}
	for {
		if len(d.b) == 0 {
			return errCut
		}
		op := int(d.b[0])
		d.b = d.b[1:]
		var n, distance, next int
		var err error
		switch {
		case op < 16 && state == 0:
			if n = op + 3; op == 0 {
				if n, err = d.long(15 + 3); err != nil {
					return err
				}
			}
			if err := d.copyIn(n); err != nil {
				return err
			}
			state = 4
			continue
		case op < 16:
			if len(d.b) < 1 {
				return errCut
			}
			next = op & 3
			distance = op>>2 + int(d.b[0])<<2 + 1
			d.b = d.b[1:]
			if n = 2; state == 4 {
				n, distance = 3, distance+2048
			}
		case op < 64:
			mask, far := 31, 1
			if op < 32 {
				mask, far = 7, 1<<14+op&8<<11
			}
			if n = op&mask + 2; op&mask == 0 {
				if n, err = d.long(mask + 2); err != nil {
					return err
				}
			}
			if len(d.b) < 2 {
				return errCut
			}
			tail := int(binary.LittleEndian.Uint16(d.b))
			d.b = d.b[2:]
			next, distance = tail&3, tail>>2+far
			if op < 32 && distance == 1<<14 {
				return nil // the end
			}
		default:
			if len(d.b) < 1 {
				return errCut
			}
			next = op & 3
			distance = op>>2&7 + int(d.b[0])<<3 + 1
			d.b = d.b[1:]
			if n = op>>5 + 1; op < 128 {
				n = 3 + op>>5&1
			}
		}
		if n > d.end-len(d.sink.b) {
			return errLonger
		}
		if err := d.match(d.start, distance, n); err != nil {
			return err
		}
		if err := d.copyIn(next); err != nil {
			return err
		}
		state = next
	}
}
