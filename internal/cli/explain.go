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
)

type explainOptions struct {
	inputs
	evidence
	modules []string
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

With --module and a kernel beside it, what those say is added: who exports the symbol, which
CRC was wanted, which relocation it was. --against takes any evidence about the kernel that
wrote the log, as check does, and so do the flags for single facts.

Exit status:
  0  explained
  1  a code or a line that nobody knows
  2  wrong usage, unreadable input`,
		Example: `  dmesg | kotool explain -
  kotool explain KT-SYM-CRC
  kotool explain "hello: Unknown symbol hello_add (err -2)" --symvers Module.symvers
  dmesg | kotool explain - --module 8812au.ko --against /lib/modules/6.1.0-50-amd64`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeCodes,
		RunE:              run(func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) }),
	}
	o.evidence.flags(cmd)
	cmd.Flags().StringArrayVar(&o.modules, "module", nil, "the module that the log speaks of (repeatable)")
	return cmd
}

func completeCodes(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var list []string
	for i := range diag.Catalogue {
		list = append(list, string(diag.Catalogue[i].Code)+"\t"+diag.Catalogue[i].Title)
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

func (o *explainOptions) run(cmd *cobra.Command, args []string) error {
	if err := o.checkFlags(); err != nil {
		return err
	}
	if slices.Contains(args, "-") && len(args) > 1 {
		return errors.New("- takes the whole log from standard input: give nothing beside it")
	}
	beside, done, err := o.beside(cmd)
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

// beside reads the modules and what there is of the kernel; nil without any.
func (o *explainOptions) beside(cmd *cobra.Command) (b *report.Beside, done func(), err error) {
	var opened []*source.Input
	done = func() {
		for _, src := range opened {
			src.Close()
		}
	}
	if len(o.modules) == 0 && len(o.against) == 0 && !o.single() {
		return nil, done, nil
	}
	limit, err := o.limit()
	if err != nil {
		return nil, done, err
	}
	if len(o.against) > 1 {
		return nil, done, errors.New("--against: a log is of one kernel: give it once")
	}
	b = &report.Beside{}
	if len(o.against) > 0 || o.single() {
		list, err := o.targets(limit, o.atOnce(), nil)
		if err != nil {
			return nil, done, err
		}
		b.Target = list[0]
		for _, w := range b.Target.Conflicts {
			if !o.quiet {
				fmt.Fprintf(o.Err, "kotool: explain: conflicting evidence: %s\n", safe(w))
			}
		}
	}
	for _, path := range o.modules {
		src, err := source.Open(path, source.Options{MaxSize: limit, Stdin: o.In})
		if err != nil {
			done()
			return nil, func() {}, fmt.Errorf("%s: %w", path, err)
		}
		opened = append(opened, src)
		m, err := module.Decode(src, module.Meta{Path: path, Compression: src.Compression, PackedSize: src.PackedSize, Damage: src.Damage})
		if err != nil {
			done()
			return nil, func() {}, fmt.Errorf("%s: %w", path, err)
		}
		b.Modules = append(b.Modules, report.BesideModule{Module: m, File: filepath.Base(path)})
	}
	return b, done, nil
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
		list := render.Objects{Out: out, Lines: g.output == formatNDJSON}
		r.Objects(list.Write)
		list.End()
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
