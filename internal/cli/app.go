// Package cli has the commands of kotool, one file each, and what they share: inputs, output
// formats, exit status. Nothing below it reads flags, the environment or the standard streams.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/term"
)

// App is the process as the commands see it.
type App struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string
	OutTTY   bool // standard output is a terminal
	ErrTTY   bool
	Width    int // of the terminal on standard output; 0: none, or unknown
	OS       string
	Release  func() string // of the running kernel; "" where there is none
}

// NewApp makes the App of this process.
func NewApp() *App {
	a := &App{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, OS: runtime.GOOS, Release: release}
	a.OutTTY, a.ErrTTY = term.IsTerminal(int(os.Stdout.Fd())), term.IsTerminal(int(os.Stderr.Fd()))
	if a.OutTTY {
		a.Width, _, _ = term.GetSize(int(os.Stdout.Fd()))
		if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
			a.Width = n
		}
	}
	return a
}

// The exit statuses. Of several inputs the worst wins, in the order 2, 1, 3, 0.
const (
	statusGood      = 0   // answered, and the answer is good
	statusBad       = 1   // answered, and the answer is bad
	statusTrouble   = 2   // not answered: usage, unreadable input, nothing in it to show
	statusUndecided = 3   // the evidence does not settle it
	statusInterrupt = 130 // by a signal
)

// worse returns the status that counts for both.
func worse(a, b int) int {
	rank := func(s int) int {
		switch s {
		case statusTrouble:
			return 3
		case statusBad:
			return 2
		case statusUndecided:
			return 1
		}
		return 0
	}
	if rank(b) > rank(a) {
		return b
	}
	return a
}

// statusError carries an exit status out of a command that has said everything itself.
type statusError int

func (e statusError) Error() string { return "exit status " + strconv.Itoa(int(e)) }

// workError marks what a command's RunE returned: all other errors are of usage.
type workError struct{ err error }

func (e *workError) Error() string { return e.err.Error() }
func (e *workError) Unwrap() error { return e.err }

// Run runs kotool with args and returns its exit status.
func Run(ctx context.Context, app *App, args []string) int {
	verb, args := verbOf(args)
	root := newRoot(app, verb)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return statusGood
	}
	if s, ok := errors.AsType[statusError](err); ok {
		return int(s)
	}
	if errors.Is(err, context.Canceled) {
		return statusInterrupt
	}
	name := "kotool"
	if cmd != nil && cmd != root {
		name += ": " + cmd.Name()
	}
	if _, ok := errors.AsType[*workError](err); ok {
		fmt.Fprintf(app.Err, "%s: %s\n", name, safe(err.Error()))
		return statusTrouble
	}
	fmt.Fprintf(app.Err, "%s: %s\n", name, safe(err.Error()))
	if cmd != nil {
		fmt.Fprintf(app.Err, "usage: %s\ntry '%s --help'\n", cmd.UseLine(), cmd.CommandPath())
	}
	return statusTrouble
}
