package cli

import (
	"iter"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"kotool/internal/module"
	"kotool/internal/report"
)

// infoOptions are the flags of info: modinfo's letters.
type infoOptions struct {
	inputs
	fields                                    []string
	null                                      bool
	author, description, license, parm, fname bool
	root, kver                                string
}

func newInfo(g *global) *cobra.Command {
	o := &infoOptions{inputs: inputs{global: g, partial: true}}
	cmd := &cobra.Command{
		Use: "info FILE|NAME...", GroupID: groupInspect,
		Short: "Show what modinfo shows: description, licence, aliases, parameters, signature",
		Long: `Shows the strings of .modinfo, the parameters and the signature, in modinfo's words and
order. An operand without a slash that is not a file is a module's name or an alias, looked
up in lib/modules. A field that is not there is exit status 1.

On a terminal and in pipes control characters are shown as escapes; newlines and tabs
pass. With -0 every byte is as it is in the module.

` + exitStatusDoc,
		Example: `  kotool info hello.ko
  kotool info -F vermagic -F depends hello.ko
  kotool info -r -o ndjson /lib/modules/6.1.0-50-amd64`,
		Args: cobra.MinimumNArgs(1),
		RunE: run(func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) }),
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringSliceVarP(&o.fields, "field", "F", nil, "only the values of this field (repeatable, or a list with commas)")
	f.BoolVarP(&o.null, "null", "0", false, "end values with NUL in place of newline, and show them raw")
	f.BoolVarP(&o.author, "author", "a", false, "only the author: -F author")
	f.BoolVarP(&o.description, "description", "d", false, "only the description: -F description")
	f.BoolVarP(&o.license, "license", "l", false, "only the licence: -F license")
	f.BoolVarP(&o.parm, "parameters", "p", false, "only the parameters: -F parm")
	f.BoolVarP(&o.fname, "filename", "n", false, "only the file name: -F filename")
	f.StringVarP(&o.root, "basedir", "b", "", "look names up below this directory, in place of /")
	f.StringVarP(&o.kver, "set-version", "k", "", "look names up for this kernel release (default: the running one)")
	complete(cmd, "field", "filename", "license", "description", "author", "version", "srcversion", "alias", "depends", "vermagic",
		"intree", "retpoline", "name", "firmware", "softdep", "import_ns", "parm", "parmtype", "build_id", "signer", "sig_id", "sig_key", "sig_hashalgo", "signature")
	return cmd
}

func (o *infoOptions) run(cmd *cobra.Command, args []string) error {
	for _, f := range []struct {
		on   bool
		name string
	}{{o.author, "author"}, {o.description, "description"}, {o.license, "license"}, {o.parm, "parm"}, {o.fname, "filename"}} {
		if f.on {
			o.fields = append(o.fields, f.name)
		}
	}
	return o.inspect(cmd, o.list(args), func(m *module.Module) (report.Report, error) {
		if err := m.NeedSections(); err != nil {
			return nil, err
		}
		return report.NewInfo(m, o.options(m.Path)), nil
	})
}

func (o *infoOptions) options(path string) report.InfoOptions {
	if path == "-" {
		path = "(standard input)"
	} else if abs, err := filepath.Abs(path); err == nil && !filepath.IsAbs(path) {
		path = abs
	}
	return report.InfoOptions{Fields: o.fields, Null: o.null, Path: path}
}

// list makes the inputs: files, and what names stand for.
func (o *infoOptions) list(args []string) iter.Seq[input] {
	return func(yield func(input) bool) {
		names := &names{o: o}
		for _, a := range args {
			if isPath(a) {
				for in := range o.paths([]string{a}) {
					if !yield(in) {
						return
					}
				}
				continue
			}
			for _, in := range names.lookup(a) {
				if !yield(in) {
					return
				}
			}
		}
	}
}

// isPath tells a file from a module's name, as modinfo does: by a slash, the suffix, or by being there.
func isPath(a string) bool {
	return a == "-" || strings.ContainsRune(a, '/') || strings.Contains(a, ".ko") || exists(a)
}
