package params

import (
	"kotool/internal/diag"
	"kotool/internal/kver"
)

// Number reads an integer as the kernel's kstrto* functions do with base 0: "0x" and a hex digit make base 16, a leading 0 makes
// base 8, a "+" may stand before it, a "-" only before a signed one, one newline may follow. bits is the width of the type.
// The result is the value in two's complement of 64 bits. The errno is EINVAL for text that is no number, ERANGE for one that the type
// does not hold, also where text that is no number follows it in digits past 64 bits.
//
// Source: lib/kstrtox.c: kstrtoull, kstrtoll, _kstrtoull, _parse_integer_fixup_radix, _parse_integer.
func Number(text []byte, bits int, signed bool) (uint64, diag.Errno) {
	negative := signed && len(text) > 0 && text[0] == '-'
	if negative || len(text) > 0 && text[0] == '+' {
		text = text[1:]
	}
	v, errno := magnitude(text)
	if errno != 0 {
		return 0, errno
	}
	limit := uint64(1)<<(bits-1) - 1 // of a signed type
	switch {
	case negative && v > limit+1, signed && !negative && v > limit:
		return 0, diag.ERANGE
	case negative:
		return -v, 0
	case !signed && bits < 64 && v>>bits != 0:
		return 0, diag.ERANGE
	}
	return v, 0
}

// magnitude reads digits, and a newline that may follow.
func magnitude(text []byte) (uint64, diag.Errno) {
	at := func(i int) byte {
		if i < len(text) {
			return text[i]
		}
		return 0
	}
	base := uint64(10)
	if at(0) == '0' {
		base = 8
		if at(1)|0x20 == 'x' && digit(at(2)) < 16 {
			base, text = 16, text[2:]
		}
	}
	var v uint64
	n, over := 0, false
	for ; n < len(text); n++ {
		d := digit(text[n])
		if d >= base {
			break
		}
		if v > (^uint64(0)-d)/base {
			over = true
		}
		v = v*base + d
	}
	rest := text[n:]
	if len(rest) > 0 && rest[0] == '\n' {
		rest = rest[1:]
	}
	switch {
	case over: // seen before what follows is looked at
		return 0, diag.ERANGE
	case n == 0 || len(rest) > 0:
		return 0, diag.EINVAL
	}
	return v, 0
}

// digit is the value of a hexadecimal digit; 99 for any other character.
func digit(c byte) uint64 {
	switch l := c | 0x20; {
	case c >= '0' && c <= '9':
		return uint64(c - '0')
	case l >= 'a' && l <= 'f':
		return uint64(l-'a') + 10
	}
	return 99
}

// The kernels that changed what a boolean is. 5.10 has the first row, 6.1 and 6.12 the first two, 7.2 all (read and seen in images).
var (
	boolOnOff     = kver.Since(4, 6)  // "on", "off" (≈)
	boolTrueFalse = kver.Since(5, 19) // "true", "false" (≈)
	boolEnable    = kver.Since(7, 0)  // "enable", "disable" (≈: after 6.12, not after 7.2)
)

// Bool reads a boolean as kernel v does (the zero version: the newest). Only the first character counts, of "on" and "off" the
// first two. The errno is EINVAL or 0.
//
// Source: lib/kstrtox.c: kstrtobool.
func Bool(text []byte, v kver.Version) (bool, diag.Errno) {
	if len(text) == 0 {
		return false, diag.EINVAL
	}
	switch text[0] {
	case 'y', 'Y', '1':
		return true, 0
	case 'n', 'N', '0':
		return false, 0
	case 't', 'T', 'f', 'F':
		if boolTrueFalse.Holds(v) {
			return text[0]|0x20 == 't', 0
		}
	case 'e', 'E', 'd', 'D':
		if boolEnable.Holds(v) {
			return text[0]|0x20 == 'e', 0
		}
	case 'o', 'O':
		if len(text) < 2 || !boolOnOff.Holds(v) {
			break
		}
		switch text[1] {
		case 'n', 'N':
			return true, 0
		case 'f', 'F':
			return false, 0
		}
	}
	return false, diag.EINVAL
}

// numeric is the width in bits of a number type, and whether it has a sign; 0 for a type that is no number.
func numeric(kind string, word int) (bits int, signed bool) {
	switch kind {
	case "byte":
		return 8, false
	case "short":
		return 16, true
	case "ushort":
		return 16, false
	case "int":
		return 32, true
	case "uint", "hexint":
		return 32, false
	case "long":
		return 8 * word, true
	case "ulong":
		return 8 * word, false
	case "ullong":
		return 64, false
	}
	return 0, false
}

// optional reports whether a standard type takes a parameter without a value (KERNEL_PARAM_OPS_FL_NOARG).
// invbool does not: its operations lack the flag.
func optional(kind string) bool {
	return kind == "bool" || kind == "bool_enable_only" || kind == "bint"
}

// Set gives the bytes that setting a parameter of a scalar type stores, in the order of o. value is nil where the argument has no "=";
// the errno is what the kernel returns. ok is false for types that store something else (charp, string, arrays), and for those of
// modules. A bool_enable_only that holds 1 refuses 0 besides (ParseArgs knows).
//
// Source: kernel/params.c: param_set_*.
func Set(kind string, value []byte, o *Options) (data []byte, errno diag.Errno, ok bool) {
	if value == nil && !optional(kind) {
		if bits, _ := numeric(kind, o.word()); bits == 0 && kind != "invbool" {
			return nil, 0, false
		}
		return nil, diag.EINVAL, true
	}
	if value == nil {
		value = []byte("1")
	}
	switch kind {
	case "bool", "bool_enable_only", "invbool", "bint":
		b, errno := Bool(value, o.Version)
		if errno != 0 {
			return nil, errno, true
		}
		n := uint64(0)
		if b != (kind == "invbool") {
			n = 1
		}
		if kind == "bint" {
			return o.bytes(n, 4), 0, true
		}
		return o.bytes(n, 1), 0, true
	}
	bits, signed := numeric(kind, o.word())
	if bits == 0 {
		return nil, 0, false
	}
	n, errno := Number(value, bits, signed)
	if errno != 0 {
		return nil, errno, true
	}
	return o.bytes(n, bits/8), 0, true
}

// bytes are the n low bytes of v as they stand in the kernel's memory.
func (o *Options) bytes(v uint64, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		at := i
		if o.Big {
			at = n - 1 - i
		}
		b[at] = byte(v >> (8 * i))
	}
	return b
}
