// Package render turns rows and objects into what people and programs read: aligned
// tables, tab-separated values, JSON. It knows nothing of modules.
package render

import (
	"strconv"
	"unicode"
	"unicode/utf8"
)

const lowerHex = "0123456789abcdef"

// AppendText appends s so that a terminal can be trusted with it: printable UTF-8 passes,
// every other byte becomes \xNN (\t, \n, \r as such escapes). A backslash stays as it is.
func AppendText[T string | []byte](dst []byte, s T) []byte {
	plain := true
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= 0x7f {
			plain = false
			break
		}
	}
	if plain {
		return append(dst, s...)
	}
	return appendEscaped(dst, string(s), false)
}

// AppendLines is AppendText, but newlines and tabs pass: for values that are meant to be read as text.
func AppendLines(dst []byte, s []byte) []byte { return appendEscaped(dst, string(s), true) }

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
	n := 1
	for x := v >> 4; x != 0; x >>= 4 {
		n++
	}
	n = max(n, digits)
	for i := n - 1; i >= 0; i-- {
		if i >= 16 {
			dst = append(dst, '0')
			continue
		}
		dst = append(dst, lowerHex[v>>(4*uint(i))&15])
	}
	return dst
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
