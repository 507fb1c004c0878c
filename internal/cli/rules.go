package cli

import (
	"github.com/spf13/cobra"

	"kotool/internal/render"
	"kotool/internal/report"
)

func newRules(g *global) *cobra.Command {
	return &cobra.Command{
		Use: "rules", Short: "List the codes of all findings", Args: cobra.NoArgs, GroupID: groupDecide,
		Long: `Lists every finding that there is: code, severity, the kernel's error number, the kernel
function that asks, its row in the order of loading, and the kernels that log something.
With -v the message and the kernel's texts, a row each. kotool explain CODE says more.`,
		Example: `  kotool rules
  kotool rules -v -o tsv | grep 'Unknown symbol'
  kotool rules -o ndjson | jq -r 'select(.errno_name == "EPERM") | .code'`,
		RunE: run(func(*cobra.Command, []string) error {
			if err := g.checkFlags(); err != nil {
				return err
			}
			r := &report.Rules{Formats: g.verbose}
			return g.answer(r, func(out *render.Out) { r.Table().Text(out, g.style()) })
		}),
	}
}
