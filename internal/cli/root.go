package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kotool/internal/render"
)

// Groups of commands in the help.
const (
	groupInspect  = "inspect"
	groupDecide   = "decide"
	groupAbout    = "about"
	exitStatusDoc = `Exit status:
  0  answered, and the answer is good
  1  answered, and the answer is bad: damaged (the rest was shown), refused, not found
  2  not answered: wrong usage, unreadable input, nothing in it to show
  3  undecided: the evidence given does not settle it
With several inputs the worst wins, in the order 2, 1, 3, 0.`
)

// global holds the flags that mean the same in every command.
type global struct {
	*App
	output  string
	color   string
	quiet   bool
	verbose bool
	jobs    int
	maxSize string
	noHead  bool
}

// newRoot makes the root command, with the command of that name or, where none has it, with all.
func newRoot(app *App, verb string) *cobra.Command {
	g := &global{App: app}
	root := &cobra.Command{
		Use:   "kotool",
		Short: "Look into Linux kernel modules, and tell whether a kernel will load them",
		Long: `kotool answers, offline and for any machine, three questions about Linux kernel
modules (.ko, .ko.gz, .ko.xz, .ko.zst): what is in it; will it load on that
kernel, and if not, why; and what exactly would loading do.

A file alone is shown as by 'kotool info'. FILE may be - for standard input.

` + exitStatusDoc,
		Example: `  kotool hello.ko
  kotool exports -o json hello.ko
  kotool check --symvers Module.symvers hello.ko`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		Args:              cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("which command, or which file?")
			}
			msg := fmt.Sprintf("unknown command %q", args[0])
			if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
				msg += fmt.Sprintf("; did you mean %s?", strings.Join(s, ", "))
			}
			return fmt.Errorf("%s", msg)
		},
	}
	root.SuggestionsMinimumDistance = 2
	root.SetIn(app.In)
	root.SetOut(app.Out)
	root.SetErr(app.Err)
	root.CompletionOptions.HiddenDefaultCmd = false
	p := root.PersistentFlags()
	p.StringVarP(&g.output, "output", "o", "table", "format: table, json, ndjson, tsv")
	p.StringVar(&g.color, "color", "auto", "colour: auto, always, never")
	p.BoolVarP(&g.quiet, "quiet", "q", false, "print nothing; the exit status is the answer")
	p.BoolVarP(&g.verbose, "verbose", "v", false, "say on standard error what was read and chosen")
	p.IntVarP(&g.jobs, "jobs", "j", 0, "modules to work on at once (default: the number of processors)")
	p.StringVar(&g.maxSize, "max-size", "1GiB", "refuse a module that is larger than this unpacked")
	p.BoolVar(&g.noHead, "no-header", false, "tables and tsv without headings")
	complete(root, "output", "table", "json", "ndjson", "tsv")
	complete(root, "color", "auto", "always", "never")
	root.AddGroup(
		&cobra.Group{ID: groupInspect, Title: "What is in it:"},
		&cobra.Group{ID: groupDecide, Title: "Will it load:"},
		&cobra.Group{ID: groupAbout, Title: "About kotool:"},
	)
	root.SetHelpCommandGroupID(groupAbout)
	root.SetCompletionCommandGroupID(groupAbout)
	root.AddCommand(commands(g, verb)...)
	return root
}

// Tree is the root command with all others, for those who write their documentation.
func Tree() *cobra.Command {
	root := newRoot(&App{Getenv: func(string) string { return "" }, Release: func() string { return "" }}, "")
	root.InitDefaultCompletionCmd()
	return root
}

func complete(cmd *cobra.Command, flag string, values ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // a flag that does not exist: our fault
	}
}

// completeModules completes file names that look like modules.
func completeModules(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"ko", "gz", "xz", "zst"}, cobra.ShellCompDirectiveFilterFileExt
}

// run marks the errors of a command's work, so that all others are known to be of usage.
func run(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := f(cmd, args); err != nil {
			return &workError{err}
		}
		return nil
	}
}

// valued are the flags of every command that take a value, which must not be mistaken for the verb.
var valued = []string{"-o", "-j", "--output", "--color", "--jobs", "--max-size"}

// verbOf finds the command's name among the arguments; where a file stands in its place it puts "info" before them.
func verbOf(args []string) (verb string, full []string) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			return "", args
		case slices.Contains(valued, a):
			i++
			continue
		case strings.HasPrefix(a, "-") && a != "-":
			continue
		case isCommand(a):
			return a, args
		case strings.HasPrefix(a, "__complete"):
			return "", args
		case a == "-" || strings.ContainsRune(a, os.PathSeparator) || strings.Contains(a, ".ko"):
			return "info", append([]string{"info"}, args...)
		}
		return "", args
	}
	return "", args
}

// safe makes foreign text in a message fit for a terminal.
func safe(s string) string { return string(render.AppendLines(nil, []byte(s))) }
