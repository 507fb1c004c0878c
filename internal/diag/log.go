package diag

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strings"
)

// Group is what a log says of one kind about one module.
type Group struct {
	Hit         // of the first line
	Tool *Tool  // of a line of user space; Hit is empty then
	Line string // the first line, without prefixes
	// First and Last are line numbers, from 1; Count is how many lines there are of it, without those that follow another one.
	First, Last, Count int
	Also               []*Entry // rows with the same text: the log does not tell them apart
	Symbols            []string // each once, in the order of the log
	More               int      // lines with symbols beyond those
	// Refused says that a line follows which says that the symbol was refused.
	Refused bool
	// WentOn says that other lines follow from which it shows that the kernel went on.
	WentOn bool

	seen       map[string]bool
	lastSymbol string
}

// The bounds of what a Log keeps, so that its memory does not depend on the log's length.
const (
	maxGroups  = 4096
	maxSymbols = 4096 // of a group
	maxNames   = 1 << 16
	maxUnknown = 64
	maxName    = 512 // bytes of a symbol: KSYM_NAME_LEN
	nearby     = 64  // lines between a reason and the "Unknown symbol" that follows it
)

// Log sorts lines of a log. The zero Log is ready.
type Log struct {
	Groups  []*Group // in the order of their first lines
	Unknown []string // the first lines that nobody knows, without prefixes
	Lines   int      // not blank
	Left    int      // not from the loader
	Dropped int      // lines beyond what is kept

	index map[groupKey]*Group
	// pending holds lines without a module's name: one with a name may follow and say whose they are.
	pending *Group
	names   int
	number  int
}

type groupKey struct {
	code   Code
	module string
	errno  Errno // of a line of user space
}

// Read reads a log line by line; long lines are cut.
func (l *Log) Read(r io.Reader) error {
	br := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := br.ReadSlice('\n')
		l.Add(string(line[:min(len(line), 2*MaxLine)]))
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = br.ReadSlice('\n')
		}
		if err != nil {
			l.Done()
			if err == io.EOF {
				return nil
			}
			return err
		}
	}
}

// Add takes one line.
func (l *Log) Add(line string) {
	l.number++
	line = Unprefixed(line)
	if line == "" {
		return
	}
	l.Lines++
	hits := match(line)
	if len(hits) == 0 {
		if t, ok := matchTool(line); ok {
			l.tool(line, &t)
			return
		}
		l.Left++
		if len(l.Unknown) < maxUnknown {
			l.Unknown = append(l.Unknown, strings.Clone(line))
		}
		return
	}
	h := l.choose(hits)
	g := &Group{Hit: *h, Line: line, First: l.number, Last: l.number, Count: 1}
	if h.Follows && l.find(h) != nil {
		g.Count = 0 // it has been counted with the line that tells the reason
	} else {
		for i := range hits {
			// What follows another line is not meant where that line is missing, unless nothing else is.
			if e := hits[i].Entry; e != h.Entry && hits[i].Follows == h.Follows {
				g.Also = append(g.Also, e)
			}
		}
	}
	switch {
	case h.Module != "":
		if p := l.pending; p != nil && p.Entry == h.Entry {
			l.pending = nil
			p.Module, p.Symbol = h.Module, h.Symbol
			l.put(p)
		}
		l.flush()
		l.put(g)
	case l.pending != nil && l.pending.Entry == h.Entry:
		l.pending.add(g)
	default:
		l.flush()
		l.pending = g
	}
}

// Done ends the log.
func (l *Log) Done() { l.flush() }

func (l *Log) flush() {
	if p := l.pending; p != nil {
		l.pending = nil
		l.put(p)
	}
}

// choose picks the meaning of a line that follows another one by what came before it.
func (l *Log) choose(hits []Hit) *Hit {
	for i := range hits {
		if hits[i].Follows && l.find(&hits[i]) != nil {
			return &hits[i]
		}
	}
	return &hits[0]
}

// find returns the group that a following line belongs to.
func (l *Log) find(h *Hit) *Group {
	g := l.index[groupKey{h.Entry.Code, h.Module, 0}]
	if p := l.pending; g == nil && p != nil && p.Entry == h.Entry {
		g = p
	}
	if g == nil || l.number-g.Last > nearby || g.lastSymbol != "" && h.Symbol != "" && g.lastSymbol != h.Symbol {
		return nil
	}
	return g
}

// put adds what is known of a line to its group.
func (l *Log) put(n *Group) {
	key := groupKey{module: n.Module}
	if n.Tool != nil {
		key.module = n.Tool.Module
		if n.Tool.Text != nil {
			key.errno = n.Tool.Text.Errno
		}
	} else {
		key.code = n.Entry.Code
	}
	g := l.index[key]
	if g == nil {
		if len(l.Groups) >= maxGroups {
			l.Dropped += n.Count
			return
		}
		g = n
		g.Line = strings.Clone(n.Line)
		if l.index == nil {
			l.index = map[groupKey]*Group{}
		}
		l.index[key] = g
		// The pieces of the line are kept, and with them the string that they are parts of: at most MaxLine bytes more than the line.
		l.Groups = append(l.Groups, g)
	} else {
		g.add(n)
	}
	if n.Follows {
		g.Refused = true
	}
	if v := l.index[groupKey{code: LayoutNoCRC, module: n.Module}]; v != nil && v != g && n.First-v.Last <= nearby {
		v.WentOn = true
	}
	g.lastSymbol = n.Symbol
	l.symbol(g, n.Symbol)
}

// add joins a later line of the group. The line that weighs most speaks for the group.
func (g *Group) add(n *Group) {
	if n.Severity > g.Severity {
		g.Hit, g.Line = n.Hit, n.Line
	}
	if g.Tool == nil && g.Entry.Code == BTF && n.Severity < g.Severity {
		g.WentOn = true
	}
	g.Last, g.Count = n.Last, g.Count+n.Count
	if len(n.Also) == 0 {
		g.Also = nil
	}
}

func (l *Log) symbol(g *Group, name string) {
	switch {
	case name == "", g.seen[name]:
		return
	case len(g.Symbols) >= maxSymbols || l.names >= maxNames:
		g.More++
		return
	}
	if g.seen == nil {
		g.seen = map[string]bool{}
	}
	name = strings.Clone(name[:min(len(name), maxName)])
	g.seen[name] = true
	g.Symbols = append(g.Symbols, name)
	l.names++
}

func (l *Log) tool(line string, t *Tool) {
	l.flush()
	l.put(&Group{Tool: t, Line: line, First: l.number, Last: l.number, Count: 1})
}

// Hint is the row's hint; of several symbols it speaks in the plural.
func (g *Group) Hint() string {
	h := g.Hit
	if len(g.Symbols)+g.More > 1 {
		h.Args = slices.Clone(h.Args)
		for i := range h.Args {
			if h.Args[i].Name == "symbol" {
				h.Args[i].Value = "them"
			}
		}
	}
	return h.Hint()
}

// Passed reports whether the kernel went on although the row is an error. Of a missing CRC and of a namespace it says so by not saying
// afterwards that the symbol is unknown; of a missing CRC of module_layout by what it asks next; of BTF in words.
func (g *Group) Passed() bool {
	if g.Tool != nil {
		return false
	}
	switch g.Entry.Code {
	case SymNoCRC, Namespace:
		return !g.Refused
	case LayoutNoCRC, BTF:
		return g.WentOn
	}
	return false
}
