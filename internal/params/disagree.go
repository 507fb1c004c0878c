package params

import (
	"fmt"
	"strings"
)

// Disagreement is where .modinfo and __param tell different things of a parameter. The kernel goes by __param alone; modinfo and those
// who complete command lines go by .modinfo.
type Disagreement struct{ Name, Text string }

// Disagreements compares what .modinfo says with what __param holds, in the list's order. A parameter that .modinfo says nothing of, or
// of the module's own type, is none.
func Disagreements(list []Param) []Disagreement {
	var out []Disagreement
	add := func(name, format string, args ...any) {
		out = append(out, Disagreement{name, fmt.Sprintf(format, args...)})
	}
	for i := range list {
		p := &list[i]
		switch rec := p.Record; {
		case rec == nil && p.Type != "":
			add(p.Name, "parmtype= says %q, but __param has no record of it: the kernel does not know the parameter", p.Type)
		case rec == nil:
			add(p.Name, "parm= describes it, but __param has no record of it: the kernel does not know the parameter")
		case p.Type == "" || rec.Kind == "" || rec.Kind == "array":
		case standardType(p.Type) && !sameType(p.Type, rec.Kind):
			add(p.Name, "parmtype= says %q, but %s makes it %q", p.Type, rec.Ops, rec.Kind)
		}
	}
	return out
}

// standardType reports whether a parmtype is one of those that the kernel's own types have; others are free text.
func standardType(text string) bool {
	text = strings.TrimPrefix(text, "array of ")
	return kindOf("param_ops_"+text) != ""
}

func sameType(text, kind string) bool {
	return text == kind || text == "bool" && kind == "bool_enable_only"
}
