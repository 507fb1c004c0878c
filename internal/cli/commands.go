package cli

import (
	"slices"

	"github.com/spf13/cobra"

	"kotool/internal/module"
	"kotool/internal/report"
)

// constructors make the commands, by name. One run needs one of them, and making all of them is felt in a run over one small
// module: newRoot makes the one that was named, and all for help, completion and what is not a command's name.
var constructors = []struct {
	names []string // the first is the name, the others are aliases
	make  func(*global) *cobra.Command
}{
	{[]string{"info", "modinfo"}, newInfo},
	{[]string{"header"}, newHeader},
	{[]string{"sections"}, newSections},
	{[]string{"symbols"}, newSymbols},
	{[]string{"relocs"}, newRelocs},
	{[]string{"dump"}, newDump},
	{[]string{"exports"}, newExports},
	{[]string{"imports"}, newImports},
	{[]string{"versions", "modversions"}, newVersions},
	{[]string{"params"}, newParams},
	{[]string{"module"}, newModule},
	{[]string{"signature"}, newSignature},
	{[]string{"check"}, newCheck},
	{[]string{"simulate-load"}, newSimulate},
	{[]string{"explain"}, newExplain},
	{[]string{"rules"}, newRules},
	{[]string{"version"}, newVersion},
	{[]string{"man"}, newMan},
}

// isCommand reports whether a command has that name or alias.
func isCommand(name string) bool {
	for i := range constructors {
		if slices.Contains(constructors[i].names, name) {
			return true
		}
	}
	return false
}

// commands makes the command of that name, or all commands where none has it.
func commands(g *global, verb string) []*cobra.Command {
	var list []*cobra.Command
	for i := range constructors {
		c := &constructors[i]
		if !isCommand(verb) || slices.Contains(c.names, verb) {
			cmd := c.make(g)
			cmd.Aliases = c.names[1:]
			list = append(list, cmd)
		}
	}
	return list
}

// simple makes a command that shows one thing of each module.
func simple(g *global, use, short, long, example string, show view) *cobra.Command {
	// All of these read tables, which are parts of a file.
	in := &inputs{global: g, partial: true}
	cmd := &cobra.Command{
		Use: use + " FILE...", Short: short, Long: long + "\n\n" + exitStatusDoc, Example: example, GroupID: groupInspect,
		Args: cobra.MinimumNArgs(1),
		RunE: run(func(cmd *cobra.Command, args []string) error {
			return in.inspect(cmd, in.paths(args), show)
		}),
	}
	in.flags(cmd)
	return cmd
}

// whole wraps a view that needs the section table.
func whole(f func(*module.Module) report.Report) view {
	return func(m *module.Module) (report.Report, error) {
		if err := m.NeedSections(); err != nil {
			return nil, err
		}
		return f(m), nil
	}
}

func newHeader(g *global) *cobra.Command {
	return simple(g, "header", "Show the ELF header, decoded and raw",
		"Shows every field of the ELF header: its value, and what it means.",
		`  kotool header hello.ko
  kotool header -o json hello.ko.xz
  kotool header - < hello.ko`,
		func(m *module.Module) (report.Report, error) { return report.NewHeader(m.File), nil })
}

func newSections(g *global) *cobra.Command {
	return simple(g, "sections", "List the sections, and what the kernel keeps in them",
		"Lists every section header, index 0 included. Flags are spelled as readelf spells them:\n"+
			"W write, A alloc, X execute, M merge, S strings, I info link, L link order, O OS specific,\n"+
			"G group, T TLS, C compressed, E exclude, o OS, p processor, x unknown.",
		`  kotool sections hello.ko
  kotool sections -o tsv hello.ko | cut -f3,7
  kotool sections -r -o ndjson /lib/modules/6.1.0-50-amd64`,
		whole(func(m *module.Module) report.Report { return report.NewSections(m.File) }))
}

func newSymbols(g *global) *cobra.Command {
	var filter report.SymbolFilter
	cmd := simple(g, "symbols", "List the symbol table",
		"Lists the symbol table. A symbol that the module exports is shown with its CRC, GPL for GPL-only,\nand its namespace.",
		`  kotool symbols hello.ko
  kotool symbols --undefined hello.ko
  kotool symbols --exported -o json hello.ko`,
		func(m *module.Module) (report.Report, error) {
			if err := m.NeedSections(); err != nil {
				return nil, err
			}
			t := m.Symtab()
			return report.NewSymbols(m.File, t, filter, report.ExportIndex(m.Exports())), nil
		})
	f := cmd.Flags()
	f.BoolVarP(&filter.Undefined, "undefined", "u", false, "only symbols that the module needs")
	f.BoolVar(&filter.Defined, "defined", false, "only symbols that the module has")
	f.BoolVar(&filter.Exported, "exported", false, "only symbols that the module exports")
	cmd.MarkFlagsMutuallyExclusive("undefined", "defined", "exported")
	return cmd
}

func newRelocs(g *global) *cobra.Command {
	return simple(g, "relocs", "List the relocations",
		"Lists every relocation with its standard name, symbol and addend. Where the addend stands at the place\nitself (REL: i386, arm, mips) it is shown in parentheses.",
		`  kotool relocs hello.ko
  kotool relocs -o tsv hello.ko | cut -f6 | sort | uniq -c
  kotool relocs -o json hello.ko`,
		whole(func(m *module.Module) report.Report {
			return report.NewRelocs(m.File, m.Symtab(), m.Relocs())
		}))
}

func newDump(g *global) *cobra.Command {
	var names, relocated []string
	cmd := simple(g, "dump", "Dump a section in hexadecimal, with the relocations beside it",
		"Dumps sections as readelf -x does. Beside each line stand the relocations that touch it: the\n__ksymtab of an unlinked module is all zeros, and this says what will be there. --relocated shows\n"+
			"what is there once a kernel has relocated the module: simulate-load's default kernel, with addresses\nthat are made up.",
		`  kotool dump -x __ksymtab hello.ko
  kotool dump -x .modinfo -x .rodata hello.ko
  kotool dump --relocated __ksymtab hello.ko`,
		func(m *module.Module) (report.Report, error) {
			if err := m.NeedSections(); err != nil {
				return nil, err
			}
			if len(relocated) == 0 {
				return report.NewDump(m, names), nil
			}
			r := report.NewDump(m, relocated)
			if err := relocate(m, r.Relocated); err != nil {
				return nil, err
			}
			return r, nil
		})
	cmd.Flags().StringArrayVarP(&names, "section", "x", nil, "the section, by name or index (repeatable)")
	cmd.Flags().StringArrayVar(&relocated, "relocated", nil, "the same, as it is in memory after relocation (repeatable)")
	cmd.MarkFlagsOneRequired("section", "relocated")
	cmd.MarkFlagsMutuallyExclusive("section", "relocated")
	return cmd
}

func newExports(g *global) *cobra.Command {
	cmd := simple(g, "exports", "List the symbols that a module exports",
		"Lists what a module exports, with CRC, licence and namespace: from __ksymtab and its GPL-only, unused and\nfuture relatives, __kflagstab, and __kcrctab in each of its forms.",
		`  kotool exports hello.ko
  kotool exports -o tsv hello.ko
  kotool exports -r -o ndjson /lib/modules/6.1.0-50-amd64/kernel/net`,
		whole(func(m *module.Module) report.Report { return report.NewExports(m) }))
	return cmd
}

func newVersions(g *global) *cobra.Command {
	cmd := simple(g, "versions", "List the CRCs that a module was built against",
		"Lists __versions, and the extended tables __version_ext_crcs and __version_ext_names: the CRC of each symbol\nthat the module was built against, as modprobe --dump-modversions does.",
		`  kotool versions hello.ko
  kotool versions -o tsv --no-header hello.ko | cut -f3,4
  kotool versions -o json hello.ko`,
		whole(func(m *module.Module) report.Report { return report.NewVersions(m) }))
	return cmd
}

func newParams(g *global) *cobra.Command {
	return simple(g, "params", "List the parameters, with permissions and defaults",
		"Lists a module's parameters: what .modinfo says of them, and what __param holds: permission bits of the file\nin sysfs, flags, the variable, and the value that it starts with.",
		`  kotool params hello.ko
  kotool params -o json hello.ko
  kotool params -o tsv hello.ko | cut -f2,3,6`,
		whole(func(m *module.Module) report.Report { return report.NewParams(m) }))
}

func newModule(g *global) *cobra.Command {
	asC := false
	cmd := simple(g, "module", "Show struct module: size, name, init and exit",
		"Shows .gnu.linkonce.this_module, the struct module that a module brings along. Its size is that of the kernel it\nwas built for. With --as-c, the C file that modpost wrote for this module (NAME.mod.c).",
		`  kotool module hello.ko
  kotool module --as-c hello.ko
  kotool module -o json hello.ko`,
		func(m *module.Module) (report.Report, error) {
			if err := m.NeedSections(); err != nil {
				return nil, err
			}
			if asC {
				return report.NewModC(m), nil
			}
			return report.NewThisModule(m), nil
		})
	cmd.Flags().BoolVar(&asC, "as-c", false, "print the .mod.c that modpost must have written")
	return cmd
}

func newSignature(g *global) *cobra.Command {
	cmd := simple(g, "signature", "Show the appended signature",
		"Shows the signature at the end of a module: its trailer, and the signer, key, digest and algorithm of the PKCS#7\nmessage in it. Nothing is verified.",
		`  kotool signature hello.ko
  kotool signature -o json hello.ko
  kotool signature - < hello.ko`,
		func(m *module.Module) (report.Report, error) { return report.NewSignature(m), nil })
	return cmd
}
