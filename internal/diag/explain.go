package diag

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"kotool/internal/kver"
)

// Arg is a piece of a line, by the name that the catalogue has for it.
type Arg struct{ Name, Value string }

// Hit is one meaning of a line of the kernel's log.
type Hit struct {
	Entry    *Entry
	Severity Severity   // of the line: some forms are milder than their row
	In       kver.Range // the kernels that write it
	Arch     []string   // the machines whose loader writes it, nil: any
	Errno    Errno      // named by the line, else the row's; 0: none
	Module   string     // "" where the line names none
	Symbol   string
	Args     []Arg
	// Follows says that the kernel writes the line after another one, which tells the reason: "Unknown symbol (err -22)" comes
	// after a CRC, a missing CRC or a namespace.
	Follows bool

	score int
}

// Message is the row's message, as far as the line has what it needs, else the row's title.
func (h *Hit) Message() string {
	if s, whole := fill(h.Entry.Message, h.Entry.Args, h.Args); whole {
		return s
	}
	return h.Entry.Title
}

// Hint is the row's hint with what the line has.
func (h *Hit) Hint() string {
	s, _ := fill(h.Entry.Hint, h.Entry.Args, h.Args)
	return s
}

// MaxLine is the longest line that Match looks at, in bytes: the kernel's own limit is 1024.
const MaxLine = 4096

// pattern is one line of one text, as a regular expression.
type pattern struct {
	entry    int // in Catalogue
	severity Severity
	errno    Errno
	in       kver.Range
	arch     []string
	names    []string // what each group captures
	numbers  []bool   // that it is a number
	module   bool     // "name: " begins it, and may be missing
	follows  bool
	need     string   // every line that matches holds it
	texts    []string // and these, in this order
	expr     string
	first    int // index of the first pattern with that expression
	literal  int // characters that have to be as they are
	re       func() *regexp.Regexp
}

// Of lines with arguments of these names the module or the symbol is known.
var (
	moduleArgs = []string{"module", "modinfo name", "name"}
	// archPrefixes stand before the lines of a machine's loader (pr_fmt). Lines and formats are compared without.
	archPrefixes = []string{"module: ", "Modules: ", "kmod: ", "module_64: ", "module_32: "}
	// nameless is what the kernel writes where a module has no name.
	nameless = "(missing .modinfo section or name field)"
	// unlike are texts that say more, or less, than their rows: the kernel goes on after the first; where it writes the second,
	// it was the one that had to decompress.
	unlike = []struct {
		begin    string
		severity Severity
		errno    Errno
	}{
		{"Kernel module BTF mismatch detected", Warning, 0},
		{"decompression failed", Error, EINVAL},
	}
)

// matcher finds the patterns that a line may match without trying all: each pattern has one gram, four bytes of its literal text that
// few others have.
type matcher struct {
	patterns []pattern
	filter   [1 << 12]bool // by hash: the gram is somebody's
	byGram   map[uint32][]int
}

// theMatcher is made once, when the first line is to be matched; each pattern is compiled when its literal text is met first.
var theMatcher = sync.OnceValue(func() *matcher {
	m := &matcher{patterns: makePatterns(), byGram: map[uint32][]int{}}
	first := map[string]int{}
	for i := range m.patterns {
		p := &m.patterns[i]
		k, ok := first[p.expr]
		if !ok {
			k, first[p.expr] = i, i
		}
		p.first = k
	}
	common := map[uint32]int{}
	for i := range m.patterns {
		need := m.patterns[i].need
		for k := range len(need) - 3 {
			common[gram(need, k)]++
		}
	}
	for i := range m.patterns {
		need, best := m.patterns[i].need, 0
		for k := range len(need) - 3 {
			if common[gram(need, k)] < common[gram(need, best)] {
				best = k
			}
		}
		g := gram(need, best)
		m.byGram[g] = append(m.byGram[g], i)
		m.filter[gramHash(g)] = true
	}
	return m
})

func gram(s string, i int) uint32 {
	return uint32(s[i]) | uint32(s[i+1])<<8 | uint32(s[i+2])<<16 | uint32(s[i+3])<<24
}

func gramHash(g uint32) uint32 { return g * 2654435761 >> 20 }

// candidates are the patterns whose literal text a line has, in order.
func (m *matcher) candidates(line string) []int {
	var list []int
	for i := range max(0, len(line)-3) {
		g := gram(line, i)
		if !m.filter[gramHash(g)] {
			continue
		}
		for _, k := range m.byGram[g] {
			if m.patterns[k].holds(line) {
				list = append(list, k)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// holds reports whether the pattern's texts are in the line, one after the other.
func (p *pattern) holds(line string) bool {
	for _, t := range p.texts {
		i := strings.Index(line, t)
		if i < 0 {
			return false
		}
		line = line[i+len(t):]
	}
	return true
}

func makePatterns() []pattern {
	var list []pattern
	for i := range Catalogue {
		e := &Catalogue[i]
		for _, t := range e.Dmesg {
			lines := strings.Split(t.Format, "\n")
			for n, f := range lines {
				p, ok := newPattern(f, e.Args)
				if !ok {
					continue
				}
				p.entry, p.severity, p.errno, p.in = i, e.Severity, e.Errno, t.In
				p.follows = n > 0
				for _, u := range unlike {
					if strings.HasPrefix(f, u.begin) {
						p.severity, p.errno = u.severity, u.errno
					}
				}
				list = append(list, p)
			}
		}
		for k := range Lines {
			l := &Lines[k]
			if l.Code != e.Code {
				continue
			}
			if p, ok := newPattern(l.Format, l.Args); ok {
				p.entry, p.severity, p.errno, p.in, p.arch = i, cmp.Or(l.Severity, e.Severity), cmp.Or(l.Errno, e.Errno), l.In, l.Arch
				if p.severity < Error {
					p.errno = 0
				}
				list = append(list, p)
			}
		}
	}
	return list
}

// newPattern makes a regular expression of one line's format; false for a format that has no text of its own.
func newPattern(format, args string) (pattern, bool) {
	for _, a := range archPrefixes {
		format = strings.TrimPrefix(format, a)
	}
	p := pattern{}
	list := pieces(format)
	args2 := names(args)
	var b strings.Builder
	b.WriteString("(?s)^")
	for i, c := range list {
		if c.arg == 0 {
			text := c.text
			if i == 1 && p.module {
				text = strings.TrimPrefix(text, ": ")
			}
			quote(&b, text)
			p.literal += letters(text)
			for _, part := range strings.FieldsFunc(text, unprintable) {
				p.texts = append(p.texts, part)
				if len(part) > len(p.need) {
					p.need = part
				}
			}
			continue
		}
		name := ""
		if c.arg <= len(args2) {
			name = args2[c.arg-1]
		}
		p.names = append(p.names, name)
		p.numbers = append(p.numbers, c.verb != 's' && c.verb != 'q')
		switch {
		case c.verb == 'd':
			b.WriteString(`(-?\d+)`)
		case c.verb == 'x' && c.hash:
			b.WriteString(`(0x[0-9a-fA-F]+|0)`)
		case c.verb == 'x':
			b.WriteString(`([0-9a-fA-F]+)`)
		case c.verb == 'q':
			b.WriteString(`"((?:[^"\\]|\\.)*)"`)
		case i == 0 && slices.Contains(moduleArgs, name) && len(list) > 1 && strings.HasPrefix(list[1].text, ": "):
			p.module = true // people leave the name out when they quote a line
			b.WriteString(`(?:(.*?): )?`)
		case i == len(list)-1:
			b.WriteString(`(.*)`)
		default:
			b.WriteString(`(.*?)`)
		}
	}
	b.WriteString(`[ \t]*$`)
	if len(p.need) < 4 {
		return p, false // the kernel's word alone
	}
	p.expr = b.String()
	p.re = lazily(p.expr)
	return p, true
}

func unprintable(r rune) bool { return r < ' ' || r >= 127 || r == '\\' }

// quote writes text as a regular expression; what /dev/kmsg gives as \xNN may stand as that, or raw.
func quote(b *strings.Builder, text string) {
	for i := range len(text) {
		c := text[i : i+1]
		if k := Kmsg(c); k != c {
			b.WriteString("(?:" + regexp.QuoteMeta(c) + "|" + regexp.QuoteMeta(k) + ")")
		} else {
			b.WriteString(regexp.QuoteMeta(c))
		}
	}
}

// letters counts what makes a text specific. Numbers do not: "(err -2)" is not more so than "(err %d)".
func letters(s string) int {
	n := 0
	for i := range len(s) {
		if c := s[i]; c != '-' && (c < '0' || c > '9') {
			n++
		}
	}
	return n
}

// Match says what a line of the kernel's log means. The first hit is the likeliest; there are others only where the kernel writes the
// same text for different reasons. A line may have the prefixes of dmesg, journalctl and syslog. No hits: nobody knows the line.
//
// It does not fail and takes any bytes.
func Match(line string) []Hit { return match(Unprefixed(line)) }

// match is Match for a line without prefixes.
func match(line string) []Hit {
	if len(line) > MaxLine {
		line = line[:MaxLine]
	}
	if strings.Contains(line, "nknown symbol in module") { // insmod's words
		return nil
	}
	for _, a := range archPrefixes {
		if rest, ok := strings.CutPrefix(line, a); ok {
			if hits := matchAll(rest, strings.TrimSuffix(a, ": ")); len(hits) > 0 {
				return hits
			}
		}
	}
	return matchAll(line, "")
}

// matchAll matches a line against all patterns. prefix was taken off the line: a module may be named so.
func matchAll(line, prefix string) []Hit {
	var hits []Hit
	all := theMatcher()
	done := map[int][]string{} // what an expression has captured: several rows have the same
	for _, i := range all.candidates(line) {
		p := &all.patterns[i]
		m, ok := done[p.first]
		if !ok {
			m = all.patterns[p.first].re().FindStringSubmatch(line)
			done[p.first] = m
		}
		if m != nil {
			hits = append(hits, p.hit(m[1:], prefix))
		}
	}
	if len(hits) < 2 {
		return hits
	}
	best := slices.MaxFunc(hits, func(a, b Hit) int { return cmp.Compare(a.score, b.score) }).score
	hits = slices.DeleteFunc(hits, func(h Hit) bool { return h.score < best })
	slices.SortStableFunc(hits, func(a, b Hit) int {
		switch {
		case a.Follows == b.Follows:
			return 0
		case b.Follows:
			return -1
		}
		return 1
	})
	// A row counts once: eras and machines may write the same.
	seen := hits[:0]
	for _, h := range hits {
		if same := slices.IndexFunc(seen, func(o Hit) bool { return o.Entry == h.Entry }); same >= 0 {
			seen[same].join(&h)
		} else {
			seen = append(seen, h)
		}
	}
	return seen
}

// join adds what another text of the same row allows.
func (h *Hit) join(o *Hit) {
	h.In = h.In.Union(o.In)
	switch {
	case h.Arch == nil || o.Arch == nil:
		h.Arch = nil
	default:
		h.Arch = slices.Clone(h.Arch)
		for _, a := range o.Arch {
			if !slices.Contains(h.Arch, a) {
				h.Arch = append(h.Arch, a)
			}
		}
	}
}

// hit makes a Hit of what the pattern's groups hold.
func (p *pattern) hit(groups []string, prefix string) Hit {
	h := Hit{Entry: &Catalogue[p.entry], Severity: p.severity, In: p.in, Arch: p.arch, Follows: p.follows, score: 2 * p.literal}
	h.Errno = p.errno
	for i, v := range groups {
		name := p.names[i]
		switch {
		case slices.Contains(moduleArgs, name):
			if i == 0 && p.module && v == "" {
				h.score--
				v = prefix
			}
			v = lastName(v)
			h.Module = v
		case name == "symbol" && !p.numbers[i]:
			h.Symbol = v
		case name == "errno":
			n, err := strconv.Atoi(v)
			if err != nil {
				n = 0
			}
			n = max(n, -n)
			if n != 0 && Errno(n) != h.Entry.Errno {
				h.score -= 1 << 20 // the same words with another number are another matter
			}
			h.Errno = cmp.Or(Errno(n), h.Entry.Errno)
		}
		if v != "" {
			h.Args = append(h.Args, Arg{name, v})
		}
	}
	return h
}

// lastName is a module's name without a prefix of the log that nobody knows.
func lastName(s string) string {
	if s == nameless {
		return ""
	}
	if i := strings.LastIndex(s, ": "); i >= 0 {
		s = s[i+2:]
	}
	if i := strings.LastIndex(s, "] "); i >= 0 {
		s = s[i+2:]
	}
	return s
}

// A prefix is what a program that shows the log puts before a line.
type prefix struct {
	first string // the bytes that it may begin with
	re    func() *regexp.Regexp
}

const (
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits = "0123456789"
)

// prefixes are in the order in which they stand; each may be missing.
var prefixes = []prefix{
	// /dev/kmsg
	{digits, lazily(`^\d{1,3},\d+,\d+,[-a-z,=0-9]*;`)},
	// dmesg -x
	{"kud", lazily(`^(?:kern|user|daemon) *:(?:emerg|alert|crit|err|warn|notice|info|debug) *: ?`)},
	// syslog and journalctl: a date, a time, a host and a program; dmesg --time-format iso has the first two only
	{upper + digits, lazily(`^(?:[A-Z][a-z]{2} )?(?:[A-Z][a-z]{2} +\d+|\d{4}-\d\d-\d\d)[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?` +
		`(?:Z|[-+]\d\d:?\d\d| [A-Z]{3,5})? (?:[^\s:]+ [^\s:]+: )?`)},
	// raw dmesg and the console
	{"<", lazily(`^<\d{1,3}>`)},
	// dmesg, with -T or -d too, and with the caller
	{"[", lazily(`^\[[^\]]*\d[^\]]*\](?:\[ *[TC]\d+\])? ?`)},
}

var colours = lazily(`\x1b\[[0-9;]*m`)

func lazily(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

// Unprefixed is a line of a log without what dmesg, journalctl, syslog and terminals put before it, and without its newline.
func Unprefixed(line string) string {
	line = strings.TrimRight(line, "\r\n")
	line = strings.TrimLeft(line, " \t")
	if len(line) > MaxLine+256 {
		line = line[:MaxLine+256]
	}
	if strings.Contains(line, "\x1b[") {
		line = colours().ReplaceAllString(line, "")
	}
	if rest, ok := timestamp(line); ok { // by far the most
		return rest
	}
	for i := range prefixes {
		p := &prefixes[i]
		if line == "" || strings.IndexByte(p.first, line[0]) < 0 {
			continue
		}
		if at := p.re().FindStringIndex(line); at != nil {
			line = strings.TrimLeft(line[at[1]:], " \t")
		}
	}
	return line
}

// timestamp takes "[   12.345678] " off.
func timestamp(line string) (rest string, ok bool) {
	if line == "" || line[0] != '[' {
		return line, false
	}
	for i := 1; i < len(line); i++ {
		switch c := line[i]; {
		case c >= '0' && c <= '9', c == '.', c == ' ':
		case c == ']' && i > 4 && i+1 < len(line) && line[i+1] == ' ' && line[i-1] != ' ':
			return strings.TrimLeft(line[i+2:], " \t"), true
		default:
			return line, false
		}
	}
	return line, false
}
