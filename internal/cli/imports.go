package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"kotool/internal/modtree"
	"kotool/internal/module"
	"kotool/internal/report"
	"kotool/internal/source"
	"kotool/internal/symvers"
	"kotool/internal/target"
)

type importsOptions struct {
	inputs
	symvers    string
	root, kver string
}

func newImports(g *global) *cobra.Command {
	o := &importsOptions{inputs: inputs{global: g, partial: true}}
	cmd := &cobra.Command{
		Use: "imports FILE...", Short: "List the symbols that a module needs, with the CRCs expected", GroupID: groupInspect,
		Long: `Lists the undefined symbols of a module with the CRC that each had when the module was
built; weak ones may stay unresolved. With --symvers, or with -k and -b (a tree that depmod
has seen), also who provides each symbol, and what depends= should say.

` + exitStatusDoc,
		Example: `  kotool imports hello.ko
  kotool imports --symvers Module.symvers hello.ko
  kotool imports -k 6.1.0-50-amd64 -o json hello.ko`,
		Args: cobra.MinimumNArgs(1),
		RunE: run(func(cmd *cobra.Command, args []string) error {
			provider, err := o.provider()
			if err != nil {
				return err
			}
			return o.inspect(cmd, o.paths(args), whole(func(m *module.Module) report.Report { return report.NewImports(m, provider) }))
		}),
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.symvers, "symvers", "", "a Module.symvers that says who provides what")
	f.StringVarP(&o.root, "basedir", "b", "", "look for lib/modules below this directory, in place of /")
	f.StringVarP(&o.kver, "set-version", "k", "", "the release whose modules say who provides what")
	return cmd
}

// provider makes the look-up from the flags; nil without any.
func (o *importsOptions) provider() (report.Provider, error) {
	if o.symvers == "" && o.kver == "" && o.root == "" {
		return nil, nil
	}
	var table *symvers.Table
	var symbols func([]byte) string
	if o.symvers != "" {
		limit, err := o.limit()
		if err != nil {
			return nil, err
		}
		if table, err = target.ReadSymvers(o.symvers, source.Options{MaxSize: limit, Stdin: o.In}); err != nil {
			return nil, err
		}
	}
	if o.kver != "" || o.root != "" {
		kver := o.kver
		if kver == "" {
			kver = o.Release()
		}
		tree, err := modtree.Open(o.root, kver)
		if err != nil {
			return nil, fmt.Errorf("modules of that kernel: %w", err)
		}
		if _, err := tree.Provider(nil); err != nil { // reads the index, once for all workers
			return nil, err
		}
		symbols = func(name []byte) string {
			mod, _ := tree.Provider(name) // it has been read
			return mod
		}
	}
	return func(name []byte) (string, bool) {
		if table != nil {
			if s, ok := table.Lookup(name); ok {
				if s.InKernel() {
					return "vmlinux", true
				}
				return module.NameOfFile(string(s.Module)), true
			}
		}
		if symbols != nil {
			if mod := symbols(name); mod != "" {
				return mod, true
			}
		}
		return "", false
	}, nil
}
