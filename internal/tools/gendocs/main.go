// Command gendocs writes what is generated of the commands and the catalogue: manual pages (internal/cli/man), a page a
// command (docs/commands) and the list of findings (docs/findings.md). `make docs` runs it in the repository's root.
package main

import (
	"bytes"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra/doc"

	"kotool/internal/cli"
	"kotool/internal/diag"
)

func main() {
	log.SetFlags(0)
	root := cli.Tree()
	man, pages := filepath.Join("internal", "cli", "man"), filepath.Join("docs", "commands")
	for _, dir := range []string{man, pages} {
		if err := os.RemoveAll(dir); err != nil {
			log.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			log.Fatal(err)
		}
	}
	date := time.Unix(1767225600, 0).UTC()
	header := &doc.GenManHeader{Section: "1", Source: "kotool", Manual: "kotool manual", Date: &date}
	if err := doc.GenManTree(root, header, man); err != nil {
		log.Fatal(err)
	}
	if err := doc.GenMarkdownTree(root, pages); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("docs", "findings.md"), findings(), 0o644); err != nil {
		log.Fatal(err)
	}
}

// findings is the catalogue as a page.
func findings() []byte {
	var b bytes.Buffer
	fmt.Fprint(&b, "# Findings\n\nWhat kotool can find in a module, by code. Codes are stable. This page is generated from the catalogue in `internal/diag`.\n")
	for i := range diag.Catalogue {
		e := &diag.Catalogue[i]
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n- severity: %s\n", e.Code, strings.ToUpper(e.Title[:1])+e.Title[1:], e.Severity)
		if e.Errno != 0 {
			fmt.Fprintf(&b, "- errno: %s (%d)\n", e.Errno.Name(), int(e.Errno))
		}
		if e.Source != "" {
			fmt.Fprintf(&b, "- kernel: `%s`", e.Source)
			if e.Step != "" {
				fmt.Fprintf(&b, ", step %s", e.Step)
			}
			b.WriteByte('\n')
		}
		for _, t := range e.Sayings() {
			where := t.In.String()
			if len(t.Arch) > 0 {
				where += "; " + strings.Join(t.Arch, ", ")
			}
			for i, line := range strings.Split(t.Format, "\n") {
				if i > 0 {
					where = "then"
				}
				fmt.Fprintf(&b, "- log (%s): ``%s``\n", where, diag.Kmsg(line))
			}
		}
		if e.Hint != "" {
			fmt.Fprintf(&b, "- what to do: %s\n", marked(e.Plain(e.Hint)))
		}
		if e.Why != "" {
			fmt.Fprintf(&b, "\n%s\n", marked(e.Why))
		}
	}
	fmt.Fprint(&b, "\n# Error numbers\n\nWhat insmod and modprobe make of the kernel's answer, and the checks that give it.\n\n| errno | insmod | modprobe | checks |\n|---|---|---|---|\n")
	for i := range diag.ErrnoTexts {
		t := &diag.ErrnoTexts[i]
		fmt.Fprintf(&b, "| %s (%d) | %s | %s | %s |\n", t.Errno.Name(), int(t.Errno), t.Insmod, t.Modprobe, marked(t.Why))
	}
	return b.Bytes()
}

// marked is text whose angle brackets Markdown does not take for HTML.
func marked(s string) string { return strings.NewReplacer("<", `\<`, "*", `\*`, "_", `\_`).Replace(s) }
