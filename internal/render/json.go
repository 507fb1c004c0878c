package render

import (
	"strconv"
	"unicode/utf8"
)

// JSON appends one JSON value piece by piece, without reflection: tables of a module can
// have hundreds of thousands of rows. The zero JSON is ready; B is what has been written.
// Commas are put where they belong; nesting is the caller's to keep right.
type JSON struct {
	B     []byte
	comma bool
	out   *Out
}

// NewJSON makes a JSON that appends to out. Call Done at the end.
func NewJSON(out *Out) *JSON { return &JSON{B: out.B, out: out} }

// Spill hands over what has been written when it is much; false after a write error. Call it in loops over rows.
func (j *JSON) Spill() bool {
	if j.out == nil || len(j.B) < outChunk {
		return true
	}
	j.Done()
	ok := j.out.check()
	j.B = j.out.B
	return ok
}

// Done gives the text back to the Out.
func (j *JSON) Done() {
	if j.out != nil {
		j.out.B = j.B
	}
}

func (j *JSON) sep() {
	if j.comma {
		j.B = append(j.B, ',')
	}
	j.comma = true
}

// Obj opens an object; End closes it.
func (j *JSON) Obj() { j.sep(); j.B = append(j.B, '{'); j.comma = false }

// End closes an object.
func (j *JSON) End() { j.B = append(j.B, '}'); j.comma = true }

// Arr opens an array; EndArr closes it.
func (j *JSON) Arr() { j.sep(); j.B = append(j.B, '['); j.comma = false }

// EndArr closes an array.
func (j *JSON) EndArr() { j.B = append(j.B, ']'); j.comma = true }

// Key writes a member's name, which must need no escape; a value follows.
func (j *JSON) Key(k string) {
	j.sep()
	j.B = append(j.B, '"')
	j.B = append(j.B, k...)
	j.B = append(j.B, '"', ':')
	j.comma = false
}

// Str writes a string value. Bytes that are not UTF-8 become U+FFFD each.
func (j *JSON) Str(s string) { j.sep(); j.B = AppendJSONString(j.B, s) }

// Bytes is Str for bytes.
func (j *JSON) Bytes(s []byte) { j.sep(); j.B = AppendJSONString(j.B, s) }

// Int writes an integer.
func (j *JSON) Int(v int64) { j.sep(); j.B = strconv.AppendInt(j.B, v, 10) }

// Uint writes an unsigned integer.
func (j *JSON) Uint(v uint64) { j.sep(); j.B = strconv.AppendUint(j.B, v, 10) }

// Hex writes a "0x…" string.
func (j *JSON) Hex(v uint64, digits int) {
	j.sep()
	j.B = append(AppendHex(append(j.B, '"'), v, digits), '"')
}

// Bool writes true or false.
func (j *JSON) Bool(v bool) { j.sep(); j.B = strconv.AppendBool(j.B, v) }

// Null writes null.
func (j *JSON) Null() { j.sep(); j.B = append(j.B, "null"...) }

// Raw writes a value that is JSON already.
func (j *JSON) Raw(b []byte) { j.sep(); j.B = append(j.B, b...) }

// The members below write name and value in one call.

// KStr writes a string member.
func (j *JSON) KStr(k, v string) { j.Key(k); j.Str(v) }

// KBytes writes a string member.
func (j *JSON) KBytes(k string, v []byte) { j.Key(k); j.Bytes(v) }

// KInt writes an integer member.
func (j *JSON) KInt(k string, v int64) { j.Key(k); j.Int(v) }

// KUint writes an unsigned integer member.
func (j *JSON) KUint(k string, v uint64) { j.Key(k); j.Uint(v) }

// KHex writes a "0x…" member.
func (j *JSON) KHex(k string, v uint64) { j.Key(k); j.Hex(v, 1) }

// KCRC writes a "0x…" member of eight digits.
func (j *JSON) KCRC(k string, v uint32) { j.Key(k); j.Hex(uint64(v), 8) }

// KBool writes a boolean member.
func (j *JSON) KBool(k string, v bool) { j.Key(k); j.Bool(v) }

// KStrOrNull writes a string member, null for the empty string.
func (j *JSON) KStrOrNull(k, v string) {
	j.Key(k)
	if v == "" {
		j.Null()
		return
	}
	j.Str(v)
}

// AppendJSONString appends s as a JSON string.
func AppendJSONString[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		n := 1
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\t':
			dst = append(dst, '\\', 't')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c < 0x20 || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', lowerHex[c>>4], lowerHex[c&15])
		default:
			var r rune
			r, n = utf8.DecodeRune([]byte(s[i:min(i+utf8.UTFMax, len(s))]))
			switch {
			case r == utf8.RuneError && n <= 1:
				dst, n = append(dst, "\ufffd"...), 1
			case r >= 0x80 && r < 0xa0, r == 0x2028, r == 0x2029:
				dst = append(dst, '\\', 'u', lowerHex[r>>12&15], lowerHex[r>>8&15], lowerHex[r>>4&15], lowerHex[r&15])
			default:
				dst = append(dst, s[i:i+n]...)
			}
		}
		i += n
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// Objects writes JSON values one after another: as an array, or one a line.
type Objects struct {
	Out   *Out
	Lines bool
	n     int
}

// Write writes one value.
func (o *Objects) Write(value func(j *JSON)) {
	switch o.n++; {
	case o.Lines:
	case o.n == 1:
		o.Out.Str("[")
	default:
		o.Out.Str(",\n")
	}
	j := NewJSON(o.Out)
	value(j)
	j.Done()
	if o.Lines {
		o.Out.Str("\n")
	}
	o.Out.Check()
}

// Object is Write for an object's members.
func (o *Objects) Object(members func(j *JSON)) {
	o.Write(func(j *JSON) {
		j.Obj()
		members(j)
		j.End()
	})
}

// End closes the array.
func (o *Objects) End() {
	if o.Lines {
		return
	}
	if o.n == 0 {
		o.Out.Str("[")
	}
	o.Out.Str("]\n")
}
