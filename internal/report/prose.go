package report

import (
	"strings"

	"kotool/internal/render"
)

// proseWidth is the width of our own sentences; the kernel's lines are never wrapped.
const proseWidth = 80

// prose writes a text in lines of at most width cells, each after indent blanks; first stands in the indent of the first line.
// A word that is too long has a line of its own. The text is made safe for terminals.
func prose(out *render.Out, st *render.Style, first string, indent int, text string) {
	width := proseWidth
	if st.Width > 0 && st.Width < width {
		width = max(st.Width, indent+20)
	}
	out.B = append(out.B, first...)
	for n := visible(first); n < indent; n++ {
		out.B = append(out.B, ' ')
	}
	at := indent
	for i, word := range strings.Fields(render.Text(text)) {
		n := render.Width([]byte(word))
		if i > 0 && at+1+n > width {
			out.B = append(out.B, '\n')
			for range indent {
				out.B = append(out.B, ' ')
			}
			at = indent
		} else if i > 0 {
			out.B = append(out.B, ' ')
			at++
		}
		out.B = append(out.B, word...)
		at += n
	}
	out.B = append(render.TrimRight(out.B, 0), '\n')
	out.Check()
}

// visible is the number of cells of a painted text.
func visible(s string) int {
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i] == 0x1b {
			for i < len(s) && s[i] != 'm' {
				i++
			}
			continue
		}
		n++
	}
	return n
}

// Nearest are the candidates that a misspelt name may stand for, the nearest first: at most three, none that is far from it.
func Nearest(name string, candidates []string) []string {
	name = strings.ToLower(name)
	const most = 3
	var list [most + 1][]string // by distance
	for _, c := range candidates {
		if d := distance(name, strings.ToLower(c)); d <= most && d <= max(1, len(name)/3) {
			list[d] = append(list[d], c)
		}
	}
	var near []string
	for _, l := range list {
		near = append(near, l...)
	}
	return near[:min(len(near), 3)]
}

// distance is the number of letters to insert, delete, replace or swap with the next, up to 64 letters.
func distance(a, b string) int {
	const limit = 64
	a, b = a[:min(len(a), limit)], b[:min(len(b), limit)]
	var rows [3][limit + 1]int
	last2, last, row := &rows[0], &rows[1], &rows[2]
	for k := range len(b) + 1 {
		last[k] = k
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for k := 1; k <= len(b); k++ {
			cost := 1
			if a[i-1] == b[k-1] {
				cost = 0
			}
			row[k] = min(last[k]+1, row[k-1]+1, last[k-1]+cost)
			if i > 1 && k > 1 && a[i-1] == b[k-2] && a[i-2] == b[k-1] {
				row[k] = min(row[k], last2[k-2]+1)
			}
		}
		last2, last, row = last, row, last2
	}
	return last[len(b)]
}
