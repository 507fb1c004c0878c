package cli

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"

	"kotool/internal/diag"
	"kotool/internal/report"
)

// ignoreList are findings that somebody knows and has given a reason for.
type ignoreList struct {
	file    string
	entries []ignoreEntry
}

type ignoreEntry struct {
	line   int
	code   diag.Code
	module string // "*": any
	reason string
	used   bool
}

// readIgnore reads lines of a code, a module's name and the reason, separated by blanks; # begins a comment.
func readIgnore(path string) (*ignoreList, error) {
	l := &ignoreList{file: path}
	if path == "" {
		return l, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	sc := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; sc.Scan(); n++ {
		text := strings.TrimSpace(sc.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		f := strings.Fields(text)
		if len(f) < 3 {
			return nil, fmt.Errorf("%s: line %d: want a code, a module or * and a reason", path, n)
		}
		code := diag.Code(strings.ToUpper(f[0]))
		if diag.Lookup(code) == nil {
			return nil, fmt.Errorf("%s: line %d: %s is no code: kotool rules lists them", path, n, f[0])
		}
		l.entries = append(l.entries, ignoreEntry{line: n, code: code, module: strings.ReplaceAll(f[1], "-", "_"), reason: strings.Join(f[2:], " ")})
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

// apply takes the known findings out of a report. The verdict stays; a module that is refused for known reasons only does not count as bad.
func (l *ignoreList) apply(r *report.Check) {
	if len(l.entries) == 0 {
		return
	}
	r.Findings = slices.DeleteFunc(r.Findings, func(f diag.Finding) bool {
		for i := range l.entries {
			e := &l.entries[i]
			if e.code == f.Code && (e.module == "*" || e.module == r.Name) {
				e.used = true
				if !slices.Contains(r.Ignored, e.reason) {
					r.Ignored = append(r.Ignored, e.reason)
				}
				return true
			}
		}
		return false
	})
}

// unused are the entries that nothing was found for.
func (l *ignoreList) unused() []string {
	var out []string
	for i := range l.entries {
		if e := &l.entries[i]; !e.used {
			out = append(out, fmt.Sprintf("%s: line %d: %s %s", l.file, e.line, e.code, e.module))
		}
	}
	return out
}
