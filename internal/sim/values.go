package sim

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"kotool/internal/params"
)

// Value is what a parameter holds after its arguments, as sysfs shows it.
type Value struct {
	Name, Text string
	Type       string // "int", "array of int"; "" where the module's own code sets it
}

// values are the parameters that were set, in the order of their first argument.
func values(r *params.Result, list []params.Param, big bool) []Value {
	kinds, types := map[string]string{}, map[string]string{}
	for i := range list {
		if rec := list[i].Record; rec != nil {
			types[list[i].Name] = rec.SetKind()
			kinds[list[i].Name] = strings.TrimPrefix(rec.SetKind(), "array of ")
		}
	}
	var out []Value
	at := map[string]int{}
	last := map[string]int{}
	for i := range r.Stores {
		s := &r.Stores[i]
		if s.Count {
			continue
		}
		text := value(s, kinds[s.Name], big)
		k, ok := at[s.Name]
		switch {
		case !ok:
			at[s.Name] = len(out)
			out = append(out, Value{s.Name, text, types[s.Name]})
		case s.Element > last[s.Name]:
			out[k].Text += "," + text
		default:
			out[k].Text = text // given again
		}
		last[s.Name] = s.Element
	}
	return out
}

// value is one store in words. Source: kernel/params.c: param_get_*.
func value(s *params.Store, kind string, big bool) string {
	if s.Pointer {
		return string(s.Text)
	}
	b := make([]byte, 8)
	n := min(len(s.Data), 8)
	if big {
		copy(b[8-n:], s.Data)
	} else {
		for i := range n {
			b[7-i] = s.Data[i]
		}
	}
	v := binary.BigEndian.Uint64(b)
	switch kind {
	case "string":
		return strings.TrimRight(string(s.Data), "\x00")
	case "bool", "bool_enable_only":
		return map[bool]string{true: "Y", false: "N"}[v != 0]
	case "invbool": // shown the other way round than it is stored
		return map[bool]string{true: "N", false: "Y"}[v != 0]
	case "hexint":
		return fmt.Sprintf("%#08x", v)
	case "short", "int", "long", "bint":
		return strconv.FormatInt(int64(v<<(64-8*n))>>(64-8*n), 10)
	}
	return strconv.FormatUint(v, 10)
}
