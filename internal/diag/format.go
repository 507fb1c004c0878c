package diag

import (
	"fmt"
	"strings"
)

// piece is a part of a format: literal text, or an argument.
type piece struct {
	text string // literal; empty for an argument
	arg  int    // 1 is the first
	verb byte   // 's', 'd', 'x', 'q'
	hash bool   // '#': the number has its 0x
}

// pieces takes a format of the catalogue apart: %[n]s, %[n]d, %[n]x, %#[n]x, %[n]q and %%.
func pieces(format string) []piece {
	var list []piece
	text := func(s string) {
		if n := len(list); n > 0 && list[n-1].arg == 0 {
			list[n-1].text += s
		} else if s != "" {
			list = append(list, piece{text: s})
		}
	}
	for {
		i := strings.IndexByte(format, '%')
		if i < 0 {
			text(format)
			return list
		}
		text(format[:i])
		format = format[i+1:]
		p := piece{}
	verb:
		for format != "" {
			c := format[0]
			format = format[1:]
			switch {
			case c == '%':
				text("%")
				break verb
			case c == '#':
				p.hash = true
			case c == '[':
				for format != "" && format[0] >= '0' && format[0] <= '9' {
					p.arg = p.arg*10 + int(format[0]-'0')
					format = format[1:]
				}
				format = strings.TrimPrefix(format, "]")
			case c >= 'a' && c <= 'z':
				p.verb = c
				list = append(list, p)
				break verb
			}
		}
	}
}

// names are the arguments of a row or a line, in order, without the remarks in parentheses.
func names(args string) []string {
	if args == "" {
		return nil
	}
	list := strings.Split(args, ",")
	for i, s := range list {
		s, _, _ = strings.Cut(s, "(")
		list[i] = strings.TrimSpace(s)
	}
	return list
}

// fill puts what is known into a format; what is not stands as <name>, and whole is false.
func fill(format, args string, known []Arg) (text string, whole bool) {
	list, whole := names(args), true
	var b strings.Builder
	for _, p := range pieces(format) {
		if p.arg == 0 {
			b.WriteString(p.text)
			continue
		}
		name := "?"
		if p.arg <= len(list) {
			name = list[p.arg-1]
		}
		v, ok := find(known, name)
		switch {
		case !ok:
			whole = false
			b.WriteString("<" + name + ">")
		case p.verb == 'q':
			fmt.Fprintf(&b, "%q", v)
		default:
			b.WriteString(v)
		}
	}
	return b.String(), whole
}

func find(known []Arg, name string) (string, bool) {
	for i := range known {
		if known[i].Name == name {
			return known[i].Value, true
		}
	}
	return "", false
}

// Plain is one of the row's formats for people: its arguments by name, as in "<module>: Unknown symbol <symbol> (err <errno>)".
func (e *Entry) Plain(format string) string {
	s, _ := fill(format, e.Args, nil)
	return s
}

// Saying is a text of the kernel's log, its arguments by name.
type Saying struct {
	Text
	Arch []string // the machines whose loader says it; nil: any
}

// Sayings are all texts of a row, of all eras and machines. Those with a newline are several lines.
func (e *Entry) Sayings() []Saying {
	var list []Saying
	for _, t := range e.Dmesg {
		t.Format = e.Plain(t.Format)
		list = append(list, Saying{Text: t})
	}
	for i := range Lines {
		if l := &Lines[i]; l.Code == e.Code {
			s, _ := fill(l.Format, l.Args, nil)
			list = append(list, Saying{Text{l.In, s}, l.Arch})
		}
	}
	return list
}

// Kernels are the versions that log something for the row, as one range in words; "" where none does.
func (e *Entry) Kernels() string {
	list := e.Sayings()
	if len(list) == 0 {
		return ""
	}
	r := list[0].In
	for _, t := range list[1:] {
		r = r.Union(t.In)
	}
	return r.String()
}
