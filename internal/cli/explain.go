package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kotool/internal/diag"
	"kotool/internal/module"
	"kotool/internal/render"
	"kotool/internal/report"
	"kotool/internal/source"
	"kotool/internal/target"
)

type explainOptions struct {
	inputs
	module, symvers string
}

func newExplain(g *global) *cobra.Command {
	o := &explainOptions{inputs: inputs{global: g}}
	cmd := &cobra.Command{
		Use: "explain CODE|LINE...|-", GroupID: groupDecide,
		Short: "Say what a code, a line of the kernel's log or a whole log means",
		Long: `Says which check of the kernel a code or a line of its log comes from, the usual causes,
and what to do. CODE is a finding's code (KT- may be left out), or the name of an error
number. LINE is a line as dmesg, journalctl, insmod or modprobe prints it. With - a whole
log is read and sorted: what is harmless, what is a warning, and why it failed.

With --module and --symvers beside it, what those say is added: who exports the symbol,
which CRC was wanted, which relocation it was.

Exit status:
  0  explained
  1  a code or a line that nobody knows
  2  wrong usage, unreadable input`,
		Example: `  dmesg | kotool explain -
  kotool explain KT-SYM-CRC
  kotool explain "hello: Unknown symbol hello_add (err -2)" --symvers Module.symvers`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeCodes,
		RunE:              run(func(cmd *cobra.Command, args []string) error { return o.run(args) }),
	}
	f := cmd.Flags()
	f.StringVar(&o.module, "module", "", "the module that the log speaks of")
	f.StringVar(&o.symvers, "symvers", "", "the Module.symvers of the kernel that wrote the log")
	return cmd
}

func completeCodes(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var list []string
	for i := range diag.Catalogue {
		list = append(list, string(diag.Catalogue[i].Code)+"\t"+diag.Catalogue[i].Title)
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

func (o *explainOptions) run(args []string) error {
	if err := o.checkFlags(); err != nil {
		return err
	}
	if slices.Contains(args, "-") && len(args) > 1 {
		return errors.New("- takes the whole log from standard input: give nothing beside it")
	}
	beside, done, err := o.beside()
	if err != nil {
		return err
	}
	defer done()
	r := &report.Explain{All: o.verbose, Beside: beside}
	bad := false
	if args[0] == "-" {
		r.Whole, r.Log = true, &diag.Log{}
		if err := r.Log.Read(o.In); err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
	} else {
		bad = !o.operands(r, args)
	}
	if err := o.write(r); err != nil {
		return err
	}
	some, all := r.Known()
	if bad || !some || !all {
		return statusError(statusBad)
	}
	return nil
}

// operands sorts codes from lines; false: a code that nobody knows.
func (o *explainOptions) operands(r *report.Explain, args []string) bool {
	good := true
	for _, a := range args {
		if !strings.ContainsAny(a, " \t\n") {
			switch e := diag.Lookup(codeOf(a)); {
			case e != nil:
				r.Codes = append(r.Codes, e)
				continue
			case o.errno(r, a):
				continue
			}
			fmt.Fprintf(o.Err, "kotool: explain: %s: unknown code%s\n", safe(a), didYouMean(a))
			good = false
			continue
		}
		for line := range strings.SplitSeq(a, "\n") {
			if t, ok := diag.MatchTool(line); ok && t.Text != nil && t.Module == "" {
				r.Errnos = append(r.Errnos, &t)
				continue
			}
			if r.Log == nil {
				r.Log = &diag.Log{}
			}
			r.Log.Add(line)
		}
	}
	if r.Log != nil {
		r.Log.Done()
	}
	return good
}

// errno takes the name of an error number.
func (o *explainOptions) errno(r *report.Explain, a string) bool {
	t, ok := diag.MatchTool(a)
	if ok {
		r.Errnos = append(r.Errnos, &t)
	}
	return ok
}

// codeOf is a code as people type it: in any case, with or without KT-.
func codeOf(s string) diag.Code {
	s = strings.ToUpper(s)
	if !strings.HasPrefix(s, "KT-") {
		s = "KT-" + s
	}
	return diag.Code(s)
}

func didYouMean(s string) string {
	want := string(codeOf(s))
	var all, begin []string
	for i := range diag.Catalogue {
		c := string(diag.Catalogue[i].Code)
		all = append(all, c)
		if strings.HasPrefix(c, want) {
			begin = append(begin, c)
		}
	}
	near := report.Nearest(want, all)
	if len(begin) > 0 && len(want) > len("KT-") {
		near = begin
	}
	if len(near) == 0 {
		return "; kotool rules lists them"
	}
	return "; did you mean " + strings.Join(near, ", ") + "?"
}

// beside reads the module and the Module.symvers; nil without any.
func (o *explainOptions) beside() (b *report.Beside, done func(), err error) {
	done = func() {}
	if o.module == "" && o.symvers == "" {
		return nil, done, nil
	}
	limit, err := o.limit()
	if err != nil {
		return nil, done, err
	}
	b = &report.Beside{}
	if o.symvers != "" {
		b.Table = filepath.Base(o.symvers)
		if b.Symvers, err = target.ReadSymvers(o.symvers, source.Options{MaxSize: limit, Stdin: o.In}); err != nil {
			return nil, done, err
		}
	}
	if o.module == "" {
		return b, done, nil
	}
	src, err := source.Open(o.module, source.Options{MaxSize: limit})
	if err != nil {
		return nil, done, err
	}
	b.File = filepath.Base(o.module)
	b.Module, err = module.Decode(src, module.Meta{Path: o.module, Compression: src.Compression, PackedSize: src.PackedSize, Damage: src.Damage})
	if err != nil {
		src.Close()
		return nil, done, fmt.Errorf("%s: %w", o.module, err)
	}
	return b, func() { src.Close() }, nil
}

// objects is an answer that is a list of objects.
type objects interface {
	Objects(each func(write func(*render.JSON)))
	Table() *render.Table
}

func (o *explainOptions) write(r *report.Explain) error {
	return o.answer(r, func(out *render.Out) { r.Text(out, o.style()) })
}

// answer writes such an answer in the chosen format; text does it for people.
func (g *global) answer(r objects, text func(*render.Out)) error {
	if g.quiet {
		return nil
	}
	out := render.NewWriter(func(p []byte) error {
		_, err := g.Out.Write(p)
		return err
	})
	switch g.output {
	case formatJSON, formatNDJSON:
		before, after := "[", ""
		if g.output == formatNDJSON {
			before, after = "", "\n"
		}
		r.Objects(func(write func(*render.JSON)) {
			out.Str(before)
			if g.output == formatJSON {
				before = ",\n"
			}
			j := render.NewJSON(out)
			write(j)
			j.Done()
			out.Str(after)
			out.Check()
		})
		if g.output == formatJSON {
			if before == "[" {
				out.Str(before)
			}
			out.Str("]\n")
		}
	case formatTSV:
		t := r.Table()
		if !g.noHead {
			t.TSVHeader(out, "")
		}
		t.TSV(out, nil)
	default:
		text(out)
	}
	out.Flush()
	if err := out.Err(); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}
