package kimage

import (
	"encoding/binary"
	"errors"
)

// The numbers of the LZMA model.
const (
	lzmaStates = 12
	lzmaHalf   = 1 << 10 // a probability of one half
)

type lzmaLen struct {
	choice, choice2 uint16
	low, mid        [16][8]uint16
	high            [256]uint16
}

// lzmaDecoder decodes the format of one stream with a header of 13 bytes: what lzma(1) writes, "LZMA alone".
//
// Source: LZMA specification (LZMA SDK); lib/decompress_unlzma.c.
type lzmaDecoder struct {
	*sink
	in        []byte
	pos       int
	rng, code uint32
	cut       bool // in was read past its end

	isMatch, isRep0Long              [lzmaStates][16]uint16
	isRep, isRepG0, isRepG1, isRepG2 [lzmaStates]uint16
	posSlot                          [4][64]uint16
	posSpecial                       [128]uint16
	align                            [16]uint16
	length, repLength                lzmaLen
	literal                          []uint16
}

// lzma decompresses one stream.
func (s *sink) lzma(b []byte) error {
	const header = 13
	if len(b) < header+5 {
		return errCut
	}
	props := int(b[0])
	if props >= 9*5*5 {
		return errors.New("the header's properties are impossible")
	}
	lc, lp, pb := props%9, props/9%5, props/45
	if lc+lp > 4 {
		return errors.New("the header's properties are those of no packer")
	}
	size := binary.LittleEndian.Uint64(b[5:])
	if size != ^uint64(0) {
		if size > s.max {
			return s.errMuch()
		}
		if s.expect == 0 {
			s.expect = min(size, expand*uint64(len(b)))
		}
	}
	d := &lzmaDecoder{sink: s, in: b, pos: header + 5, rng: ^uint32(0), code: binary.BigEndian.Uint32(b[header+1:])}
	if b[header] != 0 {
		return errors.New("the range coder's first byte is not 0")
	}
	d.reset(lc + lp)
	return d.run(size, lc, uint32(1)<<lp-1, uint32(1)<<pb-1)
}

func half(lists ...[]uint16) {
	for _, p := range lists {
		for i := range p {
			p[i] = lzmaHalf
		}
	}
}

func (l *lzmaLen) reset() {
	l.choice, l.choice2 = lzmaHalf, lzmaHalf
	for i := range l.low {
		half(l.low[i][:], l.mid[i][:])
	}
	half(l.high[:])
}

func (d *lzmaDecoder) reset(literalBits int) {
	d.literal = make([]uint16, 0x300<<literalBits)
	half(d.literal, d.isRep[:], d.isRepG0[:], d.isRepG1[:], d.isRepG2[:], d.posSpecial[:], d.align[:])
	for i := range d.isMatch {
		half(d.isMatch[i][:], d.isRep0Long[i][:])
	}
	for i := range d.posSlot {
		half(d.posSlot[i][:])
	}
	d.length.reset()
	d.repLength.reset()
}

// shift takes a byte of input when the range has become small.
func (d *lzmaDecoder) shift() {
	if d.rng >= 1<<24 {
		return
	}
	d.rng <<= 8
	d.code <<= 8
	if d.pos < len(d.in) {
		d.code |= uint32(d.in[d.pos])
	} else {
		d.cut = true
	}
	d.pos++
}

// bit decodes one bit by a probability.
func (d *lzmaDecoder) bit(p *uint16) uint32 {
	d.shift()
	v := uint32(*p)
	bound := d.rng >> 11 * v
	if d.code < bound {
		d.rng = bound
		*p = uint16(v + (1<<11-v)>>5)
		return 0
	}
	d.rng -= bound
	d.code -= bound
	*p = uint16(v - v>>5)
	return 1
}

// tree decodes n bits, the highest first.
func (d *lzmaDecoder) tree(p []uint16, n int) uint32 {
	m := uint32(1)
	for range n {
		m = m<<1 | d.bit(&p[m])
	}
	return m - 1<<n
}

// reverse decodes n bits, the lowest first.
func (d *lzmaDecoder) reverse(p []uint16, n int) uint32 {
	m, v := uint32(1), uint32(0)
	for i := range n {
		b := d.bit(&p[m])
		m = m<<1 | b
		v |= b << i
	}
	return v
}

func (d *lzmaDecoder) lengthOf(l *lzmaLen, ps uint32) int {
	switch {
	case d.bit(&l.choice) == 0:
		return int(2 + d.tree(l.low[ps][:], 3))
	case d.bit(&l.choice2) == 0:
		return int(10 + d.tree(l.mid[ps][:], 3))
	}
	return int(18 + d.tree(l.high[:], 8))
}

// distance decodes how far back a match is, less 1.
func (d *lzmaDecoder) distance(length int) uint32 {
	slot := d.tree(d.posSlot[min(length-2, 3)][:], 6)
	if slot < 4 {
		return slot
	}
	bits := int(slot>>1 - 1)
	v := (2 | slot&1) << bits
	if slot < 14 {
		return v + d.reverse(d.posSpecial[v-slot:], bits)
	}
	direct := uint32(0)
	for range bits - 4 {
		d.shift()
		d.rng >>= 1
		b := uint32(0)
		if d.code >= d.rng {
			d.code -= d.rng
			b = 1
		}
		direct = direct<<1 | b
	}
	return v + direct<<4 + d.reverse(d.align[:], 4)
}

// byte decodes a literal. match is the byte at the last distance, or -1 where it does not count.
func (d *lzmaDecoder) byte(probs []uint16, match int) byte {
	m := uint32(1)
	for match >= 0 && m < 0x100 {
		match <<= 1
		want := uint32(match) >> 8 & 1
		b := d.bit(&probs[(1+want)<<8+m])
		m = m<<1 | b
		if b != want {
			break
		}
	}
	for m < 0x100 {
		m = m<<1 | d.bit(&probs[m])
	}
	return byte(m)
}

// run decodes until size bytes came out, or until the mark at the end.
func (d *lzmaDecoder) run(size uint64, lc int, lpMask, pbMask uint32) error {
	var state int
	var rep0, rep1, rep2, rep3 uint32
	for uint64(len(d.b)) < size {
		if d.cut {
			return errCut
		}
		if err := d.room(1); err != nil {
			return err
		}
		at := len(d.b)
		ps := uint32(at) & pbMask
		if d.bit(&d.isMatch[state][ps]) == 0 {
			prev, match := uint32(0), -1
			if at > 0 {
				prev = uint32(d.b[at-1])
			}
			if state >= 7 {
				if uint64(rep0) >= uint64(at) {
					return errDistance
				}
				match = int(d.b[at-1-int(rep0)])
			}
			base := 0x300 * (uint32(at)&lpMask<<lc + prev>>(8-lc))
			d.b = append(d.b, d.byte(d.literal[base:base+0x300], match))
			switch {
			case state < 4:
				state = 0
			case state < 10:
				state -= 3
			default:
				state -= 6
			}
			continue
		}
		later := 0 // what is added to the state behind literals
		if state >= 7 {
			later = 3
		}
		var n int
		if d.bit(&d.isRep[state]) == 0 {
			n = d.lengthOf(&d.length, ps)
			rep0, rep1, rep2, rep3 = d.distance(n), rep0, rep1, rep2
			state = 7 + later
			if rep0 == ^uint32(0) {
				if d.cut {
					return errCut
				}
				if size != ^uint64(0) {
					return errors.New("the mark of the end comes before the size that the header says")
				}
				return nil
			}
		} else {
			short := false
			switch {
			case d.bit(&d.isRepG0[state]) == 0:
				short = d.bit(&d.isRep0Long[state][ps]) == 0
			case d.bit(&d.isRepG1[state]) == 0:
				rep0, rep1 = rep1, rep0
			case d.bit(&d.isRepG2[state]) == 0:
				rep0, rep1, rep2 = rep2, rep0, rep1
			default:
				rep0, rep1, rep2, rep3 = rep3, rep0, rep1, rep2
			}
			if short {
				n, state = 1, min(9+later, 11)
			} else {
				n, state = d.lengthOf(&d.repLength, ps), min(8+later, 11)
			}
		}
		if uint64(rep0) >= uint64(at) {
			return errDistance
		}
		if uint64(n) > size-uint64(at) {
			return errors.New("more comes out than the header says")
		}
		if err := d.match(0, int(rep0)+1, n); err != nil {
			return err
		}
	}
	if d.cut {
		return errCut
	}
	return nil
}
