package kimage

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// lz4Block is what a block of the old frame format unpacks to at most, in bytes.
const lz4Block = 8 << 20

// lz4 decompresses the frame format that the kernel uses, the one that lz4 -l writes: blocks that do not know of each other, without an end.
//
// Source: lz4's doc/lz4_Frame_format.md (Legacy frame) and lz4_Block_format.md; lib/decompress_unlz4.c.
func (s *sink) lz4(b []byte) error {
	const magic = 0x184c2102
	pos := 4
	for pos < len(b) {
		if len(b)-pos < 4 {
			return errCut
		}
		n := binary.LittleEndian.Uint32(b[pos:])
		if n == magic {
			pos += 4
			continue
		}
		if uint64(n) == uint64(len(s.b)) && n != 0 || n == 0 {
			return nil // the size that follows the stream, or padding
		}
		pos += 4
		if uint64(n) > uint64(len(b)-pos) {
			return errCut
		}
		if err := s.lz4Block(b[pos : pos+int(n)]); err != nil {
			return fmt.Errorf("block at %#x: %w", pos, err)
		}
		pos += int(n)
	}
	return nil
}

var errDistance = errors.New("a match reaches back before the beginning")

// lz4Block decompresses one block behind what is there.
func (s *sink) lz4Block(b []byte) error {
	start := len(s.b)
	long := func(n int) (int, bool) {
		if n < 15 {
			return n, true
		}
		for {
			if len(b) == 0 {
				return 0, false
			}
			c := b[0]
			b = b[1:]
			if n += int(c); n > lz4Block {
				return 0, false
			}
			if c != 255 {
				return n, true
			}
		}
	}
	for len(b) > 0 {
		token := b[0]
		b = b[1:]
		n, ok := long(int(token >> 4))
		if !ok || n > len(b) {
			return errCut
		}
		if err := s.literals(b[:n]); err != nil {
			return err
		}
		if b = b[n:]; len(b) == 0 {
			break // the last sequence has no match
		}
		if len(b) < 2 {
			return errCut
		}
		distance := int(binary.LittleEndian.Uint16(b))
		b = b[2:]
		n, ok = long(int(token & 15))
		if !ok {
			return errCut
		}
		if err := s.match(start, distance, n+4); err != nil {
			return err
		}
		if len(s.b)-start > lz4Block {
			return fmt.Errorf("more than %d bytes come out", lz4Block)
		}
	}
	return nil
}

func (s *sink) literals(b []byte) error {
	if err := s.room(len(b)); err != nil {
		return err
	}
	s.b = append(s.b, b...)
	return nil
}

// match repeats n bytes from distance back, not from before start.
func (s *sink) match(start, distance, n int) error {
	if distance <= 0 || distance > len(s.b)-start {
		return errDistance
	}
	if err := s.room(n); err != nil {
		return err
	}
	at := len(s.b)
	s.b = s.b[:at+n]
	if n <= distance {
		copy(s.b[at:], s.b[at-distance:at-distance+n])
		return nil
	}
	for i := range n { // it overlaps what it makes
		s.b[at+i] = s.b[at-distance+i]
	}
	return nil
}
