package render

import (
	"bytes"
	"io"

	"github.com/fatih/color"
	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"
)

// Role is what a piece of text means; the palette gives it a colour.
type Role uint8

// The roles. Colour is never the only carrier of a meaning.
const (
	RoleNone Role = iota
	RoleTitle
	RoleHeader
	RoleKey
	RoleName
	RoleDim
	RoleGood
	RoleWarn
	RoleBad
	roles
)

// Palette holds the colours of the roles. A nil palette writes no colour.
type Palette struct{ open, shut [roles]string }

// NewPalette makes the palette; it does not ask whether colour is wanted.
func NewPalette() *Palette {
	p := &Palette{}
	for role, attrs := range map[Role][]color.Attribute{
		RoleTitle:  {color.Bold},
		RoleHeader: {color.Bold},
		RoleKey:    {color.FgCyan},
		RoleName:   {color.FgGreen},
		RoleDim:    {color.Faint},
		RoleGood:   {color.FgGreen, color.Bold},
		RoleWarn:   {color.FgYellow, color.Bold},
		RoleBad:    {color.FgRed, color.Bold},
	} {
		c := color.New(attrs...)
		c.EnableColor()
		const mark = "|"
		s := c.Sprint(mark)
		for i := 0; i < len(s); i++ {
			if s[i] == mark[0] {
				p.open[role], p.shut[role] = s[:i], s[i+1:]
				break
			}
		}
	}
	return p
}

func (p *Palette) append(dst []byte, role Role, text []byte) []byte {
	if p == nil || role == RoleNone || p.open[role] == "" || len(text) == 0 {
		return append(dst, text...)
	}
	dst = append(append(dst, p.open[role]...), text...)
	return append(dst, p.shut[role]...)
}

// Paint appends text in a role's colour.
func (p *Palette) Paint(dst []byte, role Role, text string) []byte {
	return p.append(dst, role, []byte(text))
}

// tablewriter sets the table with the tablewriter library. Its output is that of the fast writer, byte for byte.
func (t *Table) tablewriter(out *Out, st *Style) {
	align := make([]tw.Align, len(t.Columns))
	for i := range t.Columns {
		align[i] = tw.AlignLeft
		if t.Columns[i].Right {
			align[i] = tw.AlignRight
		}
	}
	cfg := tablewriter.Config{
		Header: tw.CellConfig{
			Formatting: tw.CellFormatting{AutoFormat: tw.Off, AutoWrap: tw.WrapNone},
			Alignment:  tw.CellAlignment{PerColumn: align},
			Padding:    tw.CellPadding{Global: tw.Padding{Left: "", Right: gap, Overwrite: true}},
		},
		Row: tw.CellConfig{
			Formatting: tw.CellFormatting{AutoFormat: tw.Off, AutoWrap: tw.WrapNone},
			Alignment:  tw.CellAlignment{PerColumn: align},
			Padding:    tw.CellPadding{Global: tw.Padding{Left: "", Right: gap, Overwrite: true}},
		},
		Behavior: tw.Behavior{TrimSpace: tw.Off},
	}
	lines := &trimmer{out: out}
	table := tablewriter.NewTable(lines,
		tablewriter.WithRenderer(renderer.NewBlueprint(tw.Rendition{
			Borders:  tw.BorderNone,
			Symbols:  tw.NewSymbols(tw.StyleNone),
			Settings: tw.Settings{Lines: tw.LinesNone, Separators: tw.SeparatorsNone},
		})),
		tablewriter.WithConfig(cfg))
	cells := func(r *Row) []string {
		list := make([]string, len(t.Columns))
		for i := range list {
			if i >= r.Cells() {
				continue
			}
			role := t.Columns[i].Role
			if r.roles[i] != RoleNone {
				role = r.roles[i]
			}
			list[i] = string(st.Palette.append(nil, role, r.Cell(i)))
		}
		return list
	}
	if !t.NoHeader && !st.NoHeader {
		head := &Row{}
		for i := range t.Columns {
			head.Mark(RoleHeader).Str(t.Columns[i].Name)
		}
		table.Header(cells(head))
	}
	row := &Row{}
	row.emit = func(r *Row) bool {
		return table.Append(cells(r)) == nil
	}
	t.Rows(row)
	if err := table.Render(); err != nil && out.err == nil {
		out.err = err
	}
	out.check()
}

// trimmer takes the blanks from line ends, and the resets that tablewriter puts after coloured cells: the
// palette closes each colour itself.
type trimmer struct{ out *Out }

const reset = "\x1b[0m"

var _ io.Writer = (*trimmer)(nil)

func (w *trimmer) Write(p []byte) (int, error) {
	for _, c := range p {
		if c == '\n' {
			b := w.out.B
			for len(b) > 0 && b[len(b)-1] == ' ' {
				b = b[:len(b)-1]
			}
			w.out.B = b
		}
		w.out.B = append(w.out.B, c)
		if c == 'm' && bytes.HasSuffix(w.out.B, []byte(reset)) {
			w.out.B = w.out.B[:len(w.out.B)-len(reset)]
		}
	}
	return len(p), nil
}
