package cli

import (
	"fmt"
	"strconv"
	"strings"

	"kotool/internal/render"
)

// The formats of -o.
const (
	formatTable  = "table"
	formatJSON   = "json"
	formatNDJSON = "ndjson"
	formatTSV    = "tsv"
)

// checkFlags looks at the flags with a fixed set of values.
func (g *global) checkFlags() error {
	switch g.output {
	case formatTable, formatJSON, formatNDJSON, formatTSV:
	default:
		return fmt.Errorf("-o %s: want table, json, ndjson or tsv", g.output)
	}
	switch g.color {
	case "auto", "always", "never":
	default:
		return fmt.Errorf("--color %s: want auto, always or never", g.color)
	}
	if g.jobs < 0 {
		return fmt.Errorf("-j %d: want a number of jobs from 1", g.jobs)
	}
	_, err := g.limit()
	return err
}

// limit is --max-size in bytes.
func (g *global) limit() (uint64, error) {
	n, err := parseSize(g.maxSize)
	if err != nil {
		return 0, fmt.Errorf("--max-size %s: want a size such as 64MiB or 1GiB", g.maxSize)
	}
	return n, nil
}

// parseSize reads "4096", "64K", "64KiB", "1G" and the like; the units are powers of 1024.
func parseSize(s string) (uint64, error) {
	digits := strings.TrimRight(s, "BbiKkMmGgTt")
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return 0, err
	}
	shift := 0
	switch unit := strings.ToUpper(s[len(digits):]); unit {
	case "", "B":
	case "K", "KB", "KIB":
		shift = 10
	case "M", "MB", "MIB":
		shift = 20
	case "G", "GB", "GIB":
		shift = 30
	case "T", "TB", "TIB":
		shift = 40
	default:
		return 0, fmt.Errorf("unknown unit %q", unit)
	}
	if n == 0 || n > 1<<62>>shift {
		return 0, fmt.Errorf("out of range")
	}
	return n << shift, nil
}

// coloured decides about colour on a stream: the flag, else NO_COLOR, CLICOLOR_FORCE, CLICOLOR=0, else whether it is a terminal.
func (g *global) coloured(tty bool) bool {
	switch {
	case g.color == "always":
		return true
	case g.color == "never":
		return false
	case g.Getenv("NO_COLOR") != "":
		return false
	case g.Getenv("CLICOLOR_FORCE") != "" && g.Getenv("CLICOLOR_FORCE") != "0":
		return true
	case g.Getenv("CLICOLOR") == "0", g.Getenv("TERM") == "dumb":
		return false
	}
	return tty
}

// style is how tables are set on standard output.
func (g *global) style() *render.Style {
	budget := 1000 // rows that tablewriter may set in one run
	st := &render.Style{NoHeader: g.noHead, Small: &budget}
	if g.coloured(g.OutTTY) {
		st.Palette = render.NewPalette()
	}
	if g.OutTTY {
		st.Width = g.Width
	}
	return st
}
