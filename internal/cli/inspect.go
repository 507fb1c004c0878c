package cli

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"iter"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"kotool/internal/diag"
	"kotool/internal/module"
	"kotool/internal/render"
	"kotool/internal/report"
	"kotool/internal/scan"
	"kotool/internal/source"
)

// inputs holds the flags of commands that read modules.
type inputs struct {
	*global
	recursive bool
	// partial says that only small parts of a module are read: headers, names, one section.
	partial bool
	// many says that there may be several inputs: tables then say whose they are.
	many bool
}

func (in *inputs) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&in.recursive, "recursive", "r", false, "walk directories for modules")
	cmd.ValidArgsFunction = completeModules
}

// workers is how many modules are worked on at once: no more than there are operands, unless those may be directories.
func (in *inputs) workers(cmd *cobra.Command) int {
	n := in.atOnce()
	if !in.recursive {
		n = min(n, max(1, cmd.Flags().NArg()))
	}
	return n
}

// atOnce is how many things may be worked on at once, however many operands there are: one may be a tree.
func (in *inputs) atOnce() int {
	if in.jobs > 0 {
		return in.jobs
	}
	return runtime.GOMAXPROCS(0)
}

// input is one module to read, or the error of finding it.
type input struct {
	path string
	err  error
	// made, when set, is answered in place of a file.
	made func() (report.Report, error)
}

// paths makes the inputs of a command's operands.
func (in *inputs) paths(args []string) iter.Seq[input] {
	return func(yield func(input) bool) {
		for p, err := range source.Expand(args, in.recursive) {
			if !yield(input{path: p, err: err}) {
				return
			}
		}
	}
}

// worker is the state of one of the goroutines that read modules.
type worker struct {
	buffers *source.Buffers
	style   *render.Style
	out     *render.Out
}

// answer is what became of one input.
type answer struct {
	status   int
	err      error
	findings []diag.Finding
	note     string // for -v
}

// loud reports whether tell has anything to say.
func (a *answer) loud(in *inputs) bool {
	return a.err != nil || in.verbose || len(a.findings) > 0
}

// view is what a command makes of a module.
type view func(*module.Module) (report.Report, error)

// inspect shows each input by way of view, in the chosen format, and returns the exit status as an error.
func (in *inputs) inspect(cmd *cobra.Command, list iter.Seq[input], show view) error {
	if err := in.checkFlags(); err != nil {
		return err
	}
	limit, err := in.limit()
	if err != nil {
		return err
	}
	jobs := in.workers(cmd)
	in.many = in.recursive || cmd.Flags().NArg() > 1
	if in.recursive || cmd.Flags().NArg() > manyModules {
		// Little of what is allocated lives long: a larger heap saves collections.
		defer debug.SetGCPercent(debug.SetGCPercent(400))
	}
	status, n := statusGood, 0 // n: inputs that have written something
	progress := in.progress(cmd.Name())
	defer progress.stop()
	sink := func(p []byte) error {
		if in.quiet {
			return nil
		}
		progress.hide()
		_, err := in.Out.Write(p)
		return err
	}
	if in.output == formatJSON {
		if err := sink([]byte("[")); err != nil {
			return err
		}
	}
	head := true       // the tsv heading is still to come
	fresh := true      // nothing of the current input has been written
	var used sync.Pool // pieces of output that have been written
	work := func(_ context.Context, w *worker, it input, write func([]byte) error) answer {
		w.out = render.NewOut(func(p []byte) ([]byte, error) {
			if err := write(p); err != nil {
				return p, err
			}
			if jobs == 1 {
				return p, nil
			}
			next, _ := used.Get().(*[]byte)
			if next == nil {
				return make([]byte, 0, pieceSize), nil
			}
			return *next, nil
		})
		return in.one(w, it, limit, show)
	}
	err = scan.Stream(cmd.Context(), jobs, list, func() *worker {
		return &worker{buffers: &source.Buffers{}, style: in.style()}
	}, work, func(p []byte) error {
		// Only this goroutine knows what came before: it writes the separators and the one heading.
		first := fresh
		fresh = false
		switch {
		case first && in.output == formatJSON && n > 0:
			if err := sink([]byte(",\n")); err != nil {
				return err
			}
		case first && in.output == formatTSV && p[0] == headingMark:
			end := bytes.IndexByte(p, '\n') + 1
			if head && !in.noHead {
				if err := sink(p[1:end]); err != nil {
					return err
				}
			}
			head = false
			p = p[end:]
		}
		err := sink(p)
		if jobs > 1 {
			p = p[:0]
			used.Put(&p)
		}
		return err
	}, func(it input, a answer) error {
		if !fresh {
			n++
		}
		fresh = true
		status = worse(status, a.status)
		if a.loud(in) {
			progress.hide()
			in.tell(cmd.Name(), it, a)
		}
		progress.step()
		return nil
	})
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return err
		}
		return fmt.Errorf("writing: %w", err)
	}
	if in.output == formatJSON {
		if err := sink([]byte("]\n")); err != nil {
			return fmt.Errorf("writing: %w", err)
		}
	}
	if status != statusGood {
		return statusError(status)
	}
	return nil
}

// manyModules is from how many operands on a run is worth preparing for.
const manyModules = 16

// pieceSize is the capacity of a new piece of output, in bytes: a little more than what is handed over at once.
const pieceSize = 72 << 10

// headingMark stands before a tsv heading in a worker's output; the reader lets the first through.
const headingMark = '\x01'

// one answers one input.
func (in *inputs) one(w *worker, it input, limit uint64, show view) answer {
	if it.err != nil {
		return in.failed(w, it, it.err)
	}
	if it.made != nil {
		r, err := it.made()
		if err != nil {
			return in.failed(w, it, err)
		}
		in.render(w, it, r, nil)
		return answer{status: resultOf(r, nil), err: errOf(r)}
	}
	src, err := source.Open(it.path, source.Options{MaxSize: limit, Partial: in.partial, Stdin: in.In, Pool: w.buffers})
	if errors.Is(err, source.ErrDirectory) {
		err = fmt.Errorf("%w (use -r to walk it)", err)
	}
	if err != nil {
		return in.failed(w, it, err)
	}
	defer src.Close()
	m, err := module.Decode(src, module.Meta{Path: it.path, Compression: src.Compression, PackedSize: src.PackedSize, Damage: src.Damage})
	if err != nil {
		return in.failed(w, it, err)
	}
	r, err := show(m)
	if err != nil {
		return in.failed(w, it, err)
	}
	in.render(w, it, r, m.Findings)
	return answer{status: resultOf(r, m.Findings), err: errOf(r), findings: m.Findings,
		note: fmt.Sprintf("%s, %d bytes, %d unpacked", src.Compression, src.PackedSize, src.Size())}
}

// failer is a report that says itself that the answer is bad: an unknown field, say.
type failer interface{ Failed() error }

func errOf(r report.Report) error {
	if f, ok := r.(failer); ok {
		return f.Failed()
	}
	return nil
}

// resultOf is the exit status of a module that was shown.
func resultOf(r report.Report, findings []diag.Finding) int {
	if diag.Worst(findings) >= diag.Error || errOf(r) != nil {
		return statusBad
	}
	return statusGood
}

func (in *inputs) failed(w *worker, it input, err error) answer {
	switch in.output {
	case formatJSON, formatNDJSON:
		j := render.NewJSON(w.out)
		j.Obj()
		j.KStr("file", it.path)
		j.KStr("error", err.Error())
		j.End()
		j.Done()
		if in.output == formatNDJSON {
			w.out.Str("\n")
		}
		w.out.Flush()
	}
	if _, ok := errors.AsType[*notFoundError](err); ok {
		return answer{status: statusBad, err: err}
	}
	return answer{status: statusTrouble, err: err}
}

// render writes one report in the chosen format.
func (in *inputs) render(w *worker, it input, r report.Report, findings []diag.Finding) {
	if in.quiet {
		return
	}
	switch in.output {
	case formatJSON, formatNDJSON:
		j := render.NewJSON(w.out)
		j.Obj()
		j.KStr("schema", r.Schema())
		j.KStr("file", it.path)
		r.JSON(j)
		if len(findings) > 0 {
			report.FindingsJSON(j, findings, elf.EM_NONE)
		}
		j.End()
		j.Done()
		if in.output == formatNDJSON {
			w.out.Str("\n")
		}
	case formatTSV:
		prefix := append(render.AppendText(nil, it.path), '\t')
		for i, t := range report.TSV(r) {
			if i == 0 {
				w.out.B = append(w.out.B, headingMark)
				t.TSVHeader(w.out, "file")
			}
			t.TSV(w.out, prefix[:len(prefix)-1])
		}
	default:
		_, named := r.(*report.Info) // names its file itself
		if in.many && !named {
			w.out.B = w.style.Palette.Paint(w.out.B, render.RoleTitle, render.Text(it.path)+":")
			w.out.Str("\n")
		}
		if x, ok := r.(report.Texter); ok {
			x.Text(w.out, w.style)
			if in.many && !named {
				w.out.Str("\n")
			}
			break
		}
		for i, t := range r.Tables() {
			if i > 0 {
				w.out.Str("\n")
			}
			t.Text(w.out, w.style)
		}
		if in.many && !named {
			w.out.Str("\n")
		}
	}
	w.out.Flush()
}

// tell says on standard error what is wrong with an input; standard output has the answers only.
func (in *inputs) tell(cmd string, it input, a answer) {
	if a.err != nil {
		fmt.Fprintf(in.Err, "kotool: %s: %s: %s\n", cmd, safe(it.path), safe(trimPath(a.err, it.path)))
	}
	if in.verbose && a.note != "" {
		fmt.Fprintf(in.Err, "kotool: %s: %s: %s\n", cmd, safe(it.path), a.note)
	}
	if in.quiet {
		return
	}
	for i := range a.findings {
		f := &a.findings[i]
		if f.Severity >= diag.Warning || in.verbose {
			fmt.Fprintf(in.Err, "kotool: %s: %s: %s: %s\n", cmd, safe(it.path), f.Severity, safe(f.Message))
		}
	}
}

// trimPath leaves out the path that an error of the os package repeats.
func trimPath(err error, p string) string {
	if pe, ok := errors.AsType[*os.PathError](err); ok && pe.Path == p {
		if err == error(pe) {
			return pe.Err.Error()
		}
	}
	return strings.TrimPrefix(err.Error(), p+": ")
}

// progress is a line on the terminal's standard error, shown when a run takes longer than a second.
type progress struct {
	app   *App
	name  string
	start time.Time
	last  time.Time
	n     int
	shown bool
	on    bool
}

func (g *global) progress(name string) *progress {
	return &progress{app: g.App, name: name, start: time.Now(), on: g.ErrTTY && !g.quiet && !(g.OutTTY && g.output == formatTable)}
}

func (p *progress) step() {
	p.n++
	if !p.on {
		return
	}
	now := time.Now()
	if now.Sub(p.start) < time.Second || now.Sub(p.last) < 200*time.Millisecond {
		return
	}
	p.last, p.shown = now, true
	fmt.Fprintf(p.app.Err, "\r\x1b[Kkotool: %s: %d modules", p.name, p.n)
}

func (p *progress) hide() {
	if p.shown {
		fmt.Fprint(p.app.Err, "\r\x1b[K")
		p.shown = false
	}
}

func (p *progress) stop() { p.hide() }
