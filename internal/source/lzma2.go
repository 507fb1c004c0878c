package source

// This file decodes the xz files that modules_install writes: one stream of LZMA2 blocks, whole in memory, straight into the
// output, which is the dictionary too. It is a fast path and no more: what it does not know, and everything that is wrong in
// any way, it leaves to the xz library, which has the last word on errors. Formats: The .xz File Format 1.2; LZMA
// specification (LZMA SDK); LZMA2 as in the first's section 5.3.1.

import (
	"encoding/binary"
	"hash/crc32"
	"hash/crc64"
	"sync"
)

// The numbers of the LZMA model.
const (
	lzmaStates  = 12
	lzmaTop     = 1 << 24
	lzmaBits    = 11 // of a probability
	lzmaMove    = 5
	lzmaInit    = 1 << (lzmaBits - 1)
	lzmaMinLen  = 2
	lzmaMaxLcLp = 4
	// lzmaAhead is more than the input that one symbol can take.
	lzmaAhead = 48
)

type lzmaLen struct {
	choice, choice2 uint16
	low, mid        [16][8]uint16
	high            [256]uint16
}

// lzma2 is the model of an LZMA2 stream.
type lzma2 struct {
	isMatch, isRep0Long              [lzmaStates][16]uint16
	isRep, isRepG0, isRepG1, isRepG2 [lzmaStates]uint16
	posSlot                          [4][64]uint16
	posSpecial                       [128]uint16
	align                            [16]uint16
	length, repLength                lzmaLen
	literal                          [0x300<<lzmaMaxLcLp + 0x100]uint16 // a little more, so that any 0x400 from a coder on are there
	state                            uint32
	rep0, rep1, rep2, rep3           uint32
	lc, lpMask, pbMask               uint32
	litProbs                         int
	pad                              []byte
}

func fill(p []uint16) {
	for i := range p {
		p[i] = lzmaInit
	}
}

func (l *lzmaLen) reset() {
	l.choice, l.choice2 = lzmaInit, lzmaInit
	for i := range l.low {
		fill(l.low[i][:])
		fill(l.mid[i][:])
	}
	fill(l.high[:])
}

// reset puts the state back, but not the dictionary.
func (d *lzma2) reset() {
	for i := range lzmaStates {
		fill(d.isMatch[i][:])
		fill(d.isRep0Long[i][:])
	}
	for _, p := range [][]uint16{d.isRep[:], d.isRepG0[:], d.isRepG1[:], d.isRepG2[:], d.posSpecial[:], d.align[:], d.literal[:d.litProbs]} {
		fill(p)
	}
	for i := range d.posSlot {
		fill(d.posSlot[i][:])
	}
	d.length.reset()
	d.repLength.reset()
	d.state, d.rep0, d.rep1, d.rep2, d.rep3 = 0, 0, 0, 0, 0
}

// props takes the byte of lc, lp and pb.
func (d *lzma2) props(b byte) bool {
	if b >= 9*5*5 {
		return false
	}
	v := uint32(b)
	d.lc = v % 9
	lp, pb := v/9%5, v/45
	d.lpMask, d.pbMask = 1<<lp-1, 1<<pb-1
	d.litProbs = 0x300 << (d.lc + lp)
	return d.lc+lp <= lzmaMaxLcLp
}

// rc is the range decoder. It is passed by value and returned, so that it lives in registers.
type rc struct {
	rng, code uint32
	pos       int
}

// bit decodes one bit by a probability.
func bit(p *uint16, in []byte, r rc) (uint32, rc) {
	if r.rng < lzmaTop {
		r.rng <<= 8
		r.code = r.code<<8 | uint32(in[r.pos])
		r.pos++
	}
	v := uint32(*p)
	bound := r.rng >> lzmaBits * v
	if r.code < bound {
		r.rng = bound
		*p = uint16(v + (1<<lzmaBits-v)>>lzmaMove)
		return 0, r
	}
	r.rng -= bound
	r.code -= bound
	*p = uint16(v - v>>lzmaMove)
	return 1, r
}

// bitTree decodes n bits, the highest first; the result has a leading 1.
func bitTree(p []uint16, n int, in []byte, r rc) (uint32, rc) {
	m := uint32(1)
	for range n {
		var b uint32
		b, r = bit(&p[m], in, r)
		m = m<<1 | b
	}
	return m, r
}

// reverse decodes n bits, the lowest first.
func reverse(p []uint16, n int, in []byte, r rc) (uint32, rc) {
	m, v := uint32(1), uint32(0)
	for i := range n {
		var b uint32
		b, r = bit(&p[m], in, r)
		m = m<<1 | b
		v |= b << i
	}
	return v, r
}

func (l *lzmaLen) decode(ps uint32, in []byte, r rc) (uint32, rc) {
	b, r := bit(&l.choice, in, r)
	if b == 0 {
		m, r := bitTree(l.low[ps][:], 3, in, r)
		return m - 8 + lzmaMinLen, r
	}
	b, r = bit(&l.choice2, in, r)
	if b == 0 {
		m, r := bitTree(l.mid[ps][:], 3, in, r)
		return m - 8 + lzmaMinLen + 8, r
	}
	m, r := bitTree(l.high[:], 8, in, r)
	return m - 256 + lzmaMinLen + 16, r
}

// chunk decodes one LZMA chunk, in[:n], into out[at:end]. The dictionary begins at out[start]. in is longer than n by lzmaAhead.
func (d *lzma2) chunk(out []byte, start, at, end int, in []byte, n int, dict uint32) bool {
	if n < 5 || in[0] != 0 {
		return false
	}
	r := rc{rng: ^uint32(0), code: binary.BigEndian.Uint32(in[1:]), pos: 5}
	state, rep0 := d.state, d.rep0
	out = out[:end]
	for at < end {
		if r.pos > n {
			return false
		}
		ps := uint32(at-start) & d.pbMask
		var b uint32
		if b, r = bit(&d.isMatch[state][ps], in, r); b == 0 {
			// A literal. The bits are decoded in place: most of the time is spent here.
			prev := uint32(0)
			if at > start {
				prev = uint32(out[at-1])
			}
			base := 0x300 * (uint32(at-start)&d.lpMask<<d.lc + prev>>(8-d.lc))
			probs := (*[0x400]uint16)(d.literal[base : base+0x400])
			rng, code, pos := r.rng, r.code, r.pos
			m := uint32(1)
			if state >= 7 {
				if uint32(at-start) <= rep0 {
					return false
				}
				match := uint32(out[at-1-int(rep0)])
				offs := uint32(0x100)
				for m < 0x100 {
					match <<= 1
					bit := match & offs
					p := &probs[(offs+bit+m)&0x3ff]
					if rng < lzmaTop {
						rng, code = rng<<8, code<<8|uint32(in[pos])
						pos++
					}
					v := uint32(*p)
					bound := rng >> lzmaBits * v
					if code < bound {
						rng = bound
						*p = uint16(v + (1<<lzmaBits-v)>>lzmaMove)
						m <<= 1
						offs &^= bit
					} else {
						rng -= bound
						code -= bound
						*p = uint16(v - v>>lzmaMove)
						m = m<<1 | 1
						offs &= bit
					}
				}
			} else {
				for m < 0x100 {
					p := &probs[m&0xff]
					if rng < lzmaTop {
						rng, code = rng<<8, code<<8|uint32(in[pos])
						pos++
					}
					v := uint32(*p)
					bound := rng >> lzmaBits * v
					if code < bound {
						rng = bound
						*p = uint16(v + (1<<lzmaBits-v)>>lzmaMove)
						m <<= 1
					} else {
						rng -= bound
						code -= bound
						*p = uint16(v - v>>lzmaMove)
						m = m<<1 | 1
					}
				}
			}
			r = rc{rng, code, pos}
			out[at] = byte(m)
			at++
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
		var length uint32
		if b, r = bit(&d.isRep[state], in, r); b == 0 {
			d.rep3, d.rep2, d.rep1 = d.rep2, d.rep1, rep0
			length, r = d.length.decode(ps, in, r)
			if state < 7 {
				state = 7
			} else {
				state = 10
			}
			var slot uint32
			slot, r = bitTree(d.posSlot[min(length-lzmaMinLen, 3)][:], 6, in, r)
			slot -= 64
			rep0 = slot
			if slot >= 4 {
				bits := int(slot>>1 - 1)
				rep0 = (2 | slot&1) << bits
				var low uint32
				if slot < 14 {
					low, r = reverse(d.posSpecial[rep0-slot:], bits, in, r)
					rep0 += low
				} else {
					// Bits of even chance, then four by probabilities.
					direct := uint32(0)
					for range bits - 4 {
						if r.rng < lzmaTop {
							r.rng <<= 8
							r.code = r.code<<8 | uint32(in[r.pos])
							r.pos++
						}
						r.rng >>= 1
						r.code -= r.rng
						mask := 0 - r.code>>31
						r.code += r.rng & mask
						direct = direct<<1 + mask + 1
					}
					rep0 += direct << 4
					low, r = reverse(d.align[:], 4, in, r)
					rep0 += low
				}
			}
		} else {
			if b, r = bit(&d.isRepG0[state], in, r); b == 0 {
				if b, r = bit(&d.isRep0Long[state][ps], in, r); b == 0 {
					if uint32(at-start) <= rep0 {
						return false
					}
					out[at] = out[at-1-int(rep0)]
					at++
					if state < 7 {
						state = 9
					} else {
						state = 11
					}
					continue
				}
			} else {
				if b, r = bit(&d.isRepG1[state], in, r); b == 0 {
					rep0, d.rep1 = d.rep1, rep0
				} else {
					var far uint32
					if b, r = bit(&d.isRepG2[state], in, r); b == 0 {
						far = d.rep2
					} else {
						far, d.rep3 = d.rep3, d.rep2
					}
					d.rep2, d.rep1, rep0 = d.rep1, rep0, far
				}
			}
			length, r = d.repLength.decode(ps, in, r)
			if state < 7 {
				state = 8
			} else {
				state = 11
			}
		}
		if uint32(at-start) <= rep0 || rep0 >= dict || int(length) > end-at {
			return false
		}
		from, n := at-1-int(rep0), int(length)
		if n <= int(rep0)+1 {
			copy(out[at:at+n], out[from:from+n])
		} else {
			for i := range n { // the match overlaps what it makes
				out[at+i] = out[from+i]
			}
		}
		at += n
	}
	if r.rng < lzmaTop {
		r.code = r.code<<8 | uint32(in[r.pos])
		r.pos++
	}
	d.state, d.rep0 = state, rep0
	return r.pos == n && r.code == 0
}

// block decodes LZMA2 chunks from in into out, which must come out exactly full. It returns how much of in they took; 0 when
// anything is wrong.
func (d *lzma2) block(out, in []byte, dict uint32) int {
	pos, at, start := 0, 0, 0
	needDict, needProps := true, true
	for {
		if pos >= len(in) {
			return 0
		}
		control := in[pos]
		switch {
		case control == 0:
			if at != len(out) {
				return 0
			}
			return pos + 1
		case control >= 0x80:
			if len(in)-pos < 6 {
				return 0
			}
			plain := int(control&0x1f)<<16 + int(binary.BigEndian.Uint16(in[pos+1:])) + 1
			packed := int(binary.BigEndian.Uint16(in[pos+3:])) + 1
			pos += 5
			reset := control >> 5 & 3
			if reset == 3 {
				start, needDict = at, false
			}
			if reset >= 2 {
				if !d.props(in[pos]) {
					return 0
				}
				pos++
				needProps = false
			}
			if needDict || needProps {
				return 0
			}
			if reset >= 1 {
				d.reset()
			}
			if plain > len(out)-at || packed > len(in)-pos {
				return 0
			}
			chunk := in[pos:]
			if len(chunk) < packed+lzmaAhead {
				d.pad = append(append(d.pad[:0], chunk[:packed]...), make([]byte, lzmaAhead)...)
				chunk = d.pad
			}
			if !d.chunk(out, start, at, at+plain, chunk, packed, dict) {
				return 0
			}
			at, pos = at+plain, pos+packed
		case control <= 2:
			if len(in)-pos < 3 {
				return 0
			}
			n := int(binary.BigEndian.Uint16(in[pos+1:])) + 1
			pos += 3
			if control == 1 {
				start, needDict, needProps = at, false, true
			}
			if needDict || n > len(in)-pos || n > len(out)-at {
				return 0
			}
			copy(out[at:], in[pos:pos+n])
			at, pos = at+n, pos+n
		default:
			return 0
		}
	}
}

var crc64Table = sync.OnceValue(func() *crc64.Table { return crc64.MakeTable(crc64.ECMA) })

// xzBlock is a block of an xz file, as the index has it.
type xzBlock struct {
	off      uint64 // in the file
	unpadded uint64 // bytes, without the padding to four
	plain    uint64 // bytes that it holds
}

func (x *xzBlock) padded() uint64 { return (x.unpadded + 3) &^ 3 }

// maxIndex is the largest index that is read, in bytes: of more blocks than any file here has.
const maxIndex = 1 << 20

// xzIndex lists the blocks of a file of that size that is one xz stream and nothing else, and says which check they have. get gives bytes of
// the file, nil where it cannot. false: it is not such a file, or damaged.
func xzIndex(size uint64, get func(off, n uint64) []byte) (list []xzBlock, check byte, ok bool) {
	const streamHeader, footer = 12, 12
	if size < streamHeader+footer+8 {
		return nil, 0, false
	}
	b, f := get(0, streamHeader), get(size-footer, footer)
	if len(b) != streamHeader || len(f) != footer || compression(b) != "xz" || b[6] != 0 || binary.LittleEndian.Uint32(b[8:]) != crc32.ChecksumIEEE(b[6:8]) {
		return nil, 0, false
	}
	check = b[7]
	// The footer says where the index is; all between the header and it are blocks.
	if f[10] != 'Y' || f[11] != 'Z' || f[8] != 0 || f[9] != check || binary.LittleEndian.Uint32(f) != crc32.ChecksumIEEE(f[4:10]) {
		return nil, 0, false
	}
	backward := (uint64(binary.LittleEndian.Uint32(f[4:])) + 1) * 4
	if backward > size-streamHeader-footer || backward < 8 || backward > maxIndex {
		return nil, 0, false
	}
	end := size - footer - backward
	index := get(end, backward)
	if uint64(len(index)) != backward || index[0] != 0 || binary.LittleEndian.Uint32(index[len(index)-4:]) != crc32.ChecksumIEEE(index[:len(index)-4]) {
		return nil, 0, false
	}
	records := index[1 : len(index)-4]
	next := func() (v uint64, ok bool) {
		v, n := binary.Uvarint(records)
		records = records[max(n, 0):]
		return v, n > 0
	}
	off := uint64(streamHeader)
	for n, _ := next(); n > 0; n-- {
		x := xzBlock{off: off}
		x.unpadded, _ = next()
		if x.plain, ok = next(); !ok || x.unpadded > end-off || x.padded() > end-off {
			return nil, 0, false
		}
		off += x.padded()
		list = append(list, x)
	}
	return list, check, off == end && len(records) < 4 && zero(records)
}

// plainXZ decodes b, a whole xz file, into out, whose length is what the index promised. false: not one stream of LZMA2 blocks, or
// damaged; the library must look at it.
func (d *lzma2) plainXZ(out, b []byte) bool {
	list, check, ok := xzIndex(uint64(len(b)), func(off, n uint64) []byte { return b[off : off+n] })
	for i := 0; ok && i < len(list); i++ {
		x := &list[i]
		if ok = x.plain <= uint64(len(out)); ok {
			ok = d.oneBlock(out[:x.plain], b[x.off:x.off+x.padded()], check) == x.unpadded
			out = out[x.plain:]
		}
	}
	return ok && len(out) == 0
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// oneBlock decodes a block: its header, the chunks, padding to four bytes, the check. It returns the size that the index has for
// it, which is without the padding; 0 when anything is wrong.
func (d *lzma2) oneBlock(out, b []byte, check byte) uint64 {
	sum := 0
	switch check {
	case 0:
	case 1:
		sum = 4
	case 4:
		sum = 8
	default:
		return 0
	}
	if len(b) < 8 || b[0] == 0 {
		return 0
	}
	size := (int(b[0]) + 1) * 4
	if size > len(b) || binary.LittleEndian.Uint32(b[size-4:]) != crc32.ChecksumIEEE(b[:size-4]) || b[1]&^0xc0 != 0 {
		return 0
	}
	h := b[2 : size-4]
	next := func() (uint64, bool) {
		v, n := binary.Uvarint(h)
		h = h[max(n, 0):]
		return v, n > 0
	}
	ok := true
	packedSize, plainSize := ^uint64(0), uint64(len(out))
	if b[1]&0x40 != 0 {
		if packedSize, ok = next(); !ok {
			return 0
		}
	}
	if b[1]&0x80 != 0 {
		if plainSize, ok = next(); !ok {
			return 0
		}
	}
	// One filter, LZMA2, with one byte of properties: the dictionary's size.
	if plainSize != uint64(len(out)) || len(h) < 3 || h[0] != 0x21 || h[1] != 1 || h[2] > 40 || !zero(h[3:]) {
		return 0
	}
	bits := h[2]
	dict := ^uint32(0)
	if bits < 40 {
		dict = (2 | uint32(bits)&1) << (bits/2 + 11)
	}
	if dict > maxWindow {
		return 0
	}
	body := b[size:]
	if len(body) < sum {
		return 0
	}
	n := d.block(out, body[:len(body)-sum], dict)
	padded := (n + 3) &^ 3
	if n == 0 || packedSize != ^uint64(0) && packedSize != uint64(n) || len(body) != padded+sum || !zero(body[n:padded]) {
		return 0
	}
	if check == 1 && binary.LittleEndian.Uint32(body[padded:]) != crc32.ChecksumIEEE(out) ||
		check == 4 && binary.LittleEndian.Uint64(body[padded:]) != crc64.Checksum(out, crc64Table()) {
		return 0
	}
	return uint64(size + n + sum)
}
