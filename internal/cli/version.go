package cli

import (
	"embed"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"kotool/internal/render"
)

// Version is set by the linker: -X kotool/internal/cli.Version=v1.2.3.
var Version = "devel"

// rulesUpTo is the newest kernel whose source the rules were read from.
const rulesUpTo = "7.2"

func newVersion(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs, GroupID: groupAbout,
		Long:    "Prints kotool's version, its commit, the Go release that built it, and the newest kernel whose rules it has.",
		Example: "  kotool version\n  kotool version -o json\n  kotool version -q",
		RunE: run(func(cmd *cobra.Command, _ []string) error {
			if err := g.checkFlags(); err != nil {
				return err
			}
			if g.quiet {
				return nil
			}
			commit := ""
			if bi, ok := debug.ReadBuildInfo(); ok {
				for _, s := range bi.Settings {
					if s.Key == "vcs.revision" {
						commit = s.Value
					}
				}
			}
			var j render.JSON
			switch g.output {
			case formatJSON, formatNDJSON:
				j.Obj()
				j.KStr("schema", "kotool.version/1")
				j.KStr("version", Version)
				j.KStr("commit", commit)
				j.KStr("go", runtime.Version())
				j.KStr("rules_up_to", rulesUpTo)
				j.End()
				j.B = append(j.B, '\n')
			case formatTSV:
				j.B = fmt.Appendf(nil, "version\tcommit\tgo\trules_up_to\n%s\t%s\t%s\t%s\n", Version, commit, runtime.Version(), rulesUpTo)
			default:
				if len(commit) > 12 {
					commit = commit[:12]
				}
				j.B = fmt.Appendf(nil, "kotool %s %s(%s, kernel rules up to %s)\n", Version, strings.TrimPrefix(commit+" ", " "), runtime.Version(), rulesUpTo)
			}
			_, err := g.Out.Write(j.B)
			return err
		}),
	}
}

// pages are the manual pages; `make docs` writes them with cobra's generator, which stays out of this binary.
//
//go:embed man/*.1
var pages embed.FS

func newMan(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "man [COMMAND]", Short: "Print a manual page", Args: cobra.MaximumNArgs(1), GroupID: groupAbout,
		Long:    "Prints the manual page of kotool or of one of its commands, in roff for man(1).",
		Example: "  kotool man | man -l -\n  kotool man info | man -l -\n  kotool man check > kotool-check.1",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, c := range cmd.Root().Commands() {
				names = append(names, c.Name())
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: run(func(cmd *cobra.Command, args []string) error {
			name := "kotool"
			if len(args) > 0 {
				name += "-" + args[0]
			}
			b, err := pages.ReadFile("man/" + name + ".1")
			if err != nil {
				return fmt.Errorf("no manual page %q", name)
			}
			_, err = g.Out.Write(b)
			return err
		}),
	}
}
