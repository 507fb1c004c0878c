// Package render turns rows and objects into what people and programs read: aligned
// tables, tab-separated values, JSON. It knows nothing of modules.
package render

import (
	"math/bits"
	"strconv"
	"unicode"
	"unicode/utf8"
)

const lowerHex = "0123456789abcdef"

// AppendText appends s so that a terminal can be trusted with it: printable UTF-8 passes,
// every other byte becomes \xNN (\t, \n, \r as such escapes). A backslash stays as it is.
func AppendText[T string | []byte](dst []byte, s T) []byte { return appendSafe(dst, s, false) }

// AppendLines is AppendText, but newlines and tabs pass: for values that are meant to be read as text.
func AppendLines[T string | []byte](dst []byte, s T) []byte { return appendSafe(dst, s, true) }

func appendSafe[T string | []byte](dst []byte, s T, lines bool) []byte {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c < 0x7f || lines && (c == '\n' || c == '\t') {
			continue
		}
		return appendEscaped(append(dst, s[:i]...), string(s[i:]), lines)
	}
	return append(dst, s...)
}

func appendEscaped(dst []byte, s string, lines bool) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c >= 0x20 && c < 0x7f, lines && (c == '\n' || c == '\t'):
			dst = append(dst, c)
			i++
			continue
		case c == '\n':
			dst, i = append(dst, `\n`...), i+1
			continue
		case c == '\t':
			dst, i = append(dst, `\t`...), i+1
			continue
		case c == '\r':
			dst, i = append(dst, `\r`...), i+1
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r != utf8.RuneError && unicode.IsPrint(r) {
			dst = append(dst, s[i:i+n]...)
		} else {
			for _, b := range []byte(s[i : i+n]) {
				dst = append(dst, '\\', 'x', lowerHex[b>>4], lowerHex[b&15])
			}
		}
		i += n
	}
	return dst
}

// Text is AppendText as a string.
func Text[T string | []byte](s T) string { return string(AppendText(nil, s)) }

// AppendHex appends v as 0x and at least digits hexadecimal digits.
func AppendHex(dst []byte, v uint64, digits int) []byte {
	return appendHexDigits(append(dst, '0', 'x'), v, digits)
}

func appendHexDigits(dst []byte, v uint64, digits int) []byte {
	n := max((bits.Len64(v)+3)/4, digits, 1)
	for ; n > 16; n-- {
		dst = append(dst, '0')
	}
	return AppendHexFixed(dst, v, n)
}

// AppendHexFixed appends the lowest digits hexadecimal digits of v, at most 16, without 0x.
func AppendHexFixed(dst []byte, v uint64, digits int) []byte {
	var b [16]byte
	for i := len(b) - 1; i >= len(b)-digits; i-- {
		b[i] = lowerHex[v&15]
		v >>= 4
	}
	return append(dst, b[len(b)-digits:]...)
}

// AppendPadded appends s and blanks up to width.
func AppendPadded(dst []byte, s string, width int) []byte {
	return appendBlanks(append(dst, s...), width-len(s))
}

// AppendUintRight appends v in decimal, aligned to the right in width.
func AppendUintRight(dst []byte, v uint64, width int) []byte {
	var b [20]byte
	i := len(b)
	for {
		i--
		b[i] = byte('0' + v%10)
		if v /= 10; v == 0 {
			break
		}
	}
	dst = appendBlanks(dst, width-(len(b)-i))
	return append(dst, b[i:]...)
}

// Hex is "0x…" with as many digits as v needs.
func Hex(v uint64) string { return string(AppendHex(nil, v, 1)) }

// CRC is "0x…" with eight digits.
func CRC(v uint32) string { return string(AppendHex(nil, uint64(v), 8)) }

// Itoa is strconv.Itoa for the integer types of tables.
func Itoa[T int | int64 | uint32 | uint64 | uint16 | uint8](v T) string {
	if v < 0 {
		return strconv.FormatInt(int64(v), 10)
	}
	return strconv.FormatUint(uint64(v), 10)
}
