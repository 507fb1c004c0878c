package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"
)

// Job is what is to be recorded of one kernel. Zero fields have defaults.
type Job struct {
	Kernel   *Kernel
	Modules  []Module // loaded in this order
	Mutants  []Mutant // tried one by one when Modules are loaded
	NoStates bool     // verdicts and the memory at the end only
	CPU      string
	CPUs     int
	Append   string
	KASLR    bool
	Patience int    // seconds for one load; else 30
	Source   string // a directory of this Go module, to build the guest in; else the current one

	Log     func(format string, args ...any) // one line a boot
	Console io.Writer
}

// Recording is what a kernel did with the modules of a job.
type Recording struct {
	Job     *Job
	Guest   *Guest
	First   *Run                // the boot that loaded Modules
	Results map[string]*Outcome // by name of the module, or ID of the mutant
	Boots   []BootNote
}

// BootNote says how a boot went.
type BootNote struct {
	Seconds float64 `json:"seconds"`
	Ready   float64 `json:"ready"`
	Done    int     `json:"done"`
	Why     string  `json:"why"`
	Extra   string  `json:"extra"`
}

// Record boots until every module and every mutant has been tried: where the kernel dies of one, it boots again for the rest. All states are of
// one boot; a module that the kernel dies of is left out of it.
func Record(ctx context.Context, job *Job) (*Recording, error) {
	if len(job.Modules)+len(job.Mutants) == 0 {
		return nil, errors.New("nothing to record")
	}
	if err := job.check(); err != nil {
		return nil, err
	}
	dir := job.Source
	if dir == "" {
		dir = "."
	}
	init, err := BuildGuest(ctx, job.Kernel.Machine, dir)
	if err != nil {
		return nil, err
	}
	rec := &Recording{Job: job, Results: map[string]*Outcome{}}
	for {
		b := job.boot(init, rec)
		left := len(b.Plan.Try)
		if rec.First != nil && left == 0 {
			return rec, nil
		}
		run, err := b.Run(ctx)
		if err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		done, dead := rec.take(&b.Plan, run)
		rec.note(run, done)
		if run.Debug != nil {
			return nil, fmt.Errorf("%s: reading the states: %w", job.Kernel.Release, run.Debug)
		}
		// The states are whole when nothing that was loaded went wrong.
		if rec.First == nil && !dead {
			if run.Kallsyms == nil {
				return nil, fmt.Errorf("%s: %s before the dump was whole: %s", job.Kernel.Release, run.Why, lastLines(run.Console, 12))
			}
			rec.First, rec.Guest = run, run.Guest
		} else if done == 0 {
			return nil, fmt.Errorf("%s: %s, and nothing was tried: %s", job.Kernel.Release, run.Why, lastLines(run.Console, 12))
		}
	}
}

// check looks for names that would be taken for each other.
func (j *Job) check() error {
	seen := map[string]bool{}
	for _, n := range j.names() {
		if n == "" || seen[n] {
			return fmt.Errorf("module %q is there twice", n)
		}
		seen[n] = true
	}
	return nil
}

func (j *Job) names() []string {
	var list []string
	for i := range j.Modules {
		list = append(list, j.Modules[i].Name)
	}
	for i := range j.Mutants {
		list = append(list, j.Mutants[i].ID)
	}
	return list
}

// boot is what is still to be done. The first boot dumps; later ones load the modules only for the mutants' sake.
func (j *Job) boot(init []byte, rec *Recording) *Boot {
	b := &Boot{
		Kernel: j.Kernel, CPU: j.CPU, CPUs: j.CPUs, Append: j.Append, KASLR: j.KASLR, Init: init, Console: j.Console,
		Files: map[string][]byte{},
	}
	b.Plan.Patience = j.Patience
	if b.Plan.Patience == 0 {
		b.Plan.Patience = 30
	}
	if rec.First == nil {
		b.Plan.Dump = true
		b.Plan.Memory = j.memory()
		if !j.NoStates {
			for i := range j.Modules {
				if o := rec.Results[j.Modules[i].Name]; o == nil || o.Errno == 0 {
					b.States = append(b.States, j.Modules[i].Name)
				}
			}
			for i := range j.Mutants {
				if j.Mutants[i].watch {
					b.States = append(b.States, j.Mutants[i].Name)
				}
			}
			b.Plan.Await = []string{symFinalize, symInit}
		}
	}
	for i := range j.Modules {
		m := &j.Modules[i]
		if o := rec.Results[m.Name]; o != nil && o.Errno != 0 && (o.Errno < 0 || rec.First != nil) {
			continue
		}
		file := "mods/" + m.Name + ".ko"
		b.Files[file] = m.File
		b.Plan.Load = append(b.Plan.Load, Step{ID: m.Name, File: "/" + file, Name: m.Name, Params: m.Params, Sizes: loadedSizes(m.File)})
	}
	for i := range j.Mutants {
		m := &j.Mutants[i]
		if rec.Results[m.ID] != nil {
			continue
		}
		file := "tries/" + m.ID + ".ko"
		b.Files[file] = m.File
		b.Plan.Try = append(b.Plan.Try, Step{ID: m.ID, File: "/" + file, Name: m.Name, Params: m.Params, Flags: m.Flags, Syscall: m.Syscall, Keep: m.Keep})
	}
	return b
}

// memory are the kernel objects to dump: the machine's, and the first words of all that the modules import. Those of functions are not looked at.
func (j *Job) memory() map[string]int {
	m := map[string]int{}
	for i := range j.Modules {
		for _, n := range undefined(j.Modules[i].File) {
			m[n] = valueSize
			if key, ok := staticCallKey(n); ok {
				m[key] = valueSize
			}
		}
	}
	maps.Copy(m, j.Kernel.Machine.Memory)
	return m
}

// valueSize is how much of an imported object is dumped: a static key or a static call's key.
const valueSize = 16

// staticCallKey is the key that belongs to a static call's trampoline.
func staticCallKey(name string) (string, bool) {
	const tramp, key = "__SCT__", "__SCK__"
	if len(name) > len(tramp) && name[:len(tramp)] == tramp {
		return key + name[len(tramp):], true
	}
	return "", false
}

// take keeps the outcomes of a boot. It says how many are new, and whether the kernel died of a module that was to stay.
func (rec *Recording) take(p *Plan, run *Run) (done int, dead bool) {
	outcome := func(s Step) *Outcome {
		o := run.Outcomes[s.ID]
		if o == nil && run.Begun == s.ID {
			o = &Outcome{ID: s.ID, Errno: Oopsed, Error: "the machine died", Dmesg: []string{}}
			if run.Why == errSilent.Error() {
				o.Errno, o.Error = Hung, run.Why
			}
		}
		return o
	}
	keep := func(o *Outcome) {
		if rec.Results[o.ID] == nil {
			done++
		}
		rec.Results[o.ID] = o
	}
	for _, s := range p.Load {
		o := outcome(s)
		if o == nil {
			continue
		}
		dead = dead || o.Errno < 0
		if rec.First == nil || rec.Results[s.ID] == nil { // what a later boot says of a module that was loaded before is no news
			keep(o)
		}
	}
	for _, s := range p.Try {
		if o := outcome(s); o != nil {
			keep(o)
		}
	}
	return done, dead
}

func (rec *Recording) note(run *Run, done int) {
	n := BootNote{Seconds: tenths(run.Total), Ready: tenths(run.Begin), Done: done, Why: run.Why}
	rec.Boots = append(rec.Boots, n)
	if rec.Job.Log != nil {
		rec.Job.Log("%s: boot %d: guest after %.1f s, steps done after %.1f s, %.1f s in all: %d outcomes, %s",
			rec.Job.Kernel.Release, len(rec.Boots), n.Ready, tenths(run.Steps), n.Seconds, done, run.Why)
	}
}

func tenths(d time.Duration) float64 { return float64(d.Milliseconds()/100) / 10 }

// Names are those that have an outcome, in the order of the job.
func (rec *Recording) Names() []string {
	return slices.DeleteFunc(rec.Job.names(), func(n string) bool { return rec.Results[n] == nil })
}
