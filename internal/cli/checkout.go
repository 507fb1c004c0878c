package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"kotool/internal/render"
	"kotool/internal/report"
)

// outputs are the forms in which answers are written, all at once.
type outputs struct{ list []output }

// output is one of them.
type output interface {
	// results are the answers about one module, one for each target. bad: they count against it.
	results(list []*report.Check, bad bool)
	trouble(path string, err error)
	// finish ends the document. summary is a line about a whole tree, "" for none.
	finish(summary string) error
	err() error
}

func (o *outputs) results(list []*report.Check, bad bool) {
	for _, x := range o.list {
		x.results(list, bad)
	}
}

func (o *outputs) trouble(path string, err error) {
	for _, x := range o.list {
		x.trouble(path, err)
	}
}

func (o *outputs) finish(summary string) error {
	var errs []error
	for _, x := range o.list {
		errs = append(errs, x.finish(summary))
	}
	return errors.Join(errs...)
}

func (o *outputs) err() error {
	for _, x := range o.list {
		if err := x.err(); err != nil {
			return err
		}
	}
	return nil
}

// openOutputs makes what -o asks for.
func (o *checkOptions) openOutputs() (*outputs, error) {
	all := &outputs{}
	stdout := 0
	for _, spec := range o.outputs {
		format, file, toFile := strings.Cut(spec, "=")
		known := slices.Concat([]string{formatTable, formatJSON, formatNDJSON, formatTSV}, report.CIFormats)
		if !slices.Contains(known, format) {
			return nil, fmt.Errorf("-o %s: want %s", format, strings.Join(known, ", "))
		}
		w := &sink{w: o.Out, quiet: o.quiet}
		if toFile {
			f, err := os.Create(file)
			if err != nil {
				return nil, err
			}
			w = &sink{w: f, f: f, b: bufio.NewWriter(f)}
			w.w = w.b
		} else if stdout++; stdout > 1 {
			return nil, fmt.Errorf("-o %s: only one format can go to standard output; give the others a file (-o %s=FILE)", spec, format)
		}
		st := o.style()
		if toFile {
			st = &render.Style{NoHeader: o.noHead, Small: st.Small}
		}
		base := checkOutput{sink: w, out: render.NewWriter(w.write), style: st, noHead: o.noHead}
		switch format {
		case formatTable:
			all.list = append(all.list, &checkText{checkOutput: base, audit: o.recursiveArgs()})
		case formatJSON, formatNDJSON:
			all.list = append(all.list, &checkJSON{base, render.Objects{Out: base.out, Lines: format == formatNDJSON}})
		case formatTSV:
			all.list = append(all.list, &checkTSV{checkOutput: base})
		default:
			all.list = append(all.list, &checkCI{checkOutput: base, doc: report.NewCI(format, Version)})
		}
	}
	return all, nil
}

// recursiveArgs reports whether a whole tree is looked at, which is known only when it is.
func (o *checkOptions) recursiveArgs() func() bool { return func() bool { return o.recursive } }

// sink is where one format goes.
type sink struct {
	w      io.Writer
	f      *os.File
	b      *bufio.Writer
	quiet  bool
	failed error
}

func (s *sink) write(p []byte) error {
	if s.quiet || s.failed != nil {
		return s.failed
	}
	_, s.failed = s.w.Write(p)
	return s.failed
}

func (s *sink) close() error {
	if s.f == nil {
		return s.failed
	}
	return errors.Join(s.failed, s.b.Flush(), s.f.Close())
}

// checkOutput is what all formats share.
type checkOutput struct {
	*sink
	out    *render.Out
	style  *render.Style
	noHead bool
	n      int
}

func (c *checkOutput) err() error { return c.out.Err() }

func (c *checkOutput) end() error {
	c.out.Flush()
	err, closed := c.out.Err(), c.close()
	if err != nil {
		return err // closing would only say it again
	}
	return closed
}

// checkText is for people.
type checkText struct {
	checkOutput
	audit  func() bool
	matrix *report.Matrix
	first  []*report.Check // the answers about the first module, for a matrix
}

func (c *checkText) results(list []*report.Check, bad bool) {
	if len(list) > 1 {
		if c.matrix == nil {
			c.matrix = report.NewMatrix(list)
		}
		c.matrix.Add(list)
		if c.n++; c.n == 1 {
			c.first = list
		}
		if !list[0].Verbose {
			return
		}
	}
	for _, r := range list {
		if c.audit() && !bad && !r.Verbose && !r.Warned() {
			continue
		}
		r.Text(c.out, c.style)
	}
	c.out.Check()
}

func (c *checkText) trouble(string, error) {}

func (c *checkText) finish(summary string) error {
	if c.matrix != nil {
		for _, t := range c.matrix.Tables() {
			t.Text(c.out, c.style)
		}
		// Of one module there is room for the reasons as well.
		for _, r := range c.first {
			if c.n == 1 && !r.Verbose && r.Verdict != report.Loads {
				c.out.Str("\n")
				r.TextFor(c.out, c.style)
			}
		}
	}
	c.out.Str(summary)
	return c.end()
}

// checkJSON is an array of objects, or objects a line.
type checkJSON struct {
	checkOutput
	list render.Objects
}

func (c *checkJSON) results(list []*report.Check, _ bool) {
	for _, r := range list {
		c.list.Object(func(j *render.JSON) {
			j.KStr("schema", r.Schema())
			j.KStr("file", r.File)
			r.JSON(j)
		})
	}
}

func (c *checkJSON) trouble(path string, err error) {
	c.list.Object(func(j *render.JSON) {
		j.KStr("file", path)
		j.KStr("error", err.Error())
	})
}

func (c *checkJSON) finish(string) error {
	c.list.End()
	return c.end()
}

// checkTSV is a row a finding.
type checkTSV struct{ checkOutput }

func (c *checkTSV) results(list []*report.Check, _ bool) {
	for _, r := range list {
		t := r.Tables()[0]
		if c.n++; c.n == 1 && !c.noHead {
			t.TSVHeader(c.out, "file")
		}
		t.TSV(c.out, render.AppendText(nil, r.File))
	}
	c.out.Check()
}

func (c *checkTSV) trouble(string, error) {}
func (c *checkTSV) finish(string) error   { return c.end() }

// checkCI is a document of the report package: junit, sarif, github.
type checkCI struct {
	checkOutput
	doc report.CI
}

func (c *checkCI) results(list []*report.Check, _ bool) {
	for _, r := range list {
		c.doc.Add(r)
	}
}

func (c *checkCI) trouble(path string, err error) { c.doc.Trouble(path, err) }

func (c *checkCI) finish(string) error {
	if err := c.doc.WriteTo(c.write); err != nil {
		return errors.Join(err, c.close())
	}
	return c.end()
}
