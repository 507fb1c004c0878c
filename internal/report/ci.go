package report

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"kotool/internal/diag"
)

// CIFormats are the formats that systems of continuous integration read.
var CIFormats = []string{"junit", "sarif", "github"}

// CI is a document that is made of answers and written at the end.
type CI interface {
	Add(r *Check)
	Trouble(path string, err error)
	WriteTo(write func([]byte) error) error
}

// NewCI makes a document of one of CIFormats.
func NewCI(format, version string) CI {
	switch format {
	case "junit":
		return &junit{}
	case "sarif":
		return &sarif{version: version}
	case "github":
		return &github{}
	}
	panic("unreachable: format " + format)
}

// printable leaves out what XML 1.0 cannot hold.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' || r >= ' ' && r != 0xfffe && r != 0xffff {
			return r
		}
		return -1
	}, strings.ToValidUTF8(s, "�"))
}

// junit is the format of JUnit's reports as GitLab and Jenkins read it: a test case a module and target.
type junit struct {
	suites []*junitSuite
}

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string     `xml:"classname,attr"`
	Name    string     `xml:"name,attr"`
	Failure *junitText `xml:"failure"`
	Error   *junitText `xml:"error"`
	Skipped *junitText `xml:"skipped"`
}

type junitText struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

func (j *junit) suite(name string) *junitSuite {
	for _, s := range j.suites {
		if s.Name == name {
			return s
		}
	}
	s := &junitSuite{Name: name}
	j.suites = append(j.suites, s)
	return s
}

func targetName(r *Check) string {
	switch t := r.Target; {
	case t == nil:
	case t.Release != "":
		return t.Release
	case t.Name != "":
		return t.Name
	}
	return "kernel"
}

func (j *junit) Add(r *Check) {
	s := j.suite("kotool check " + printable(targetName(r)))
	s.Tests++
	c := junitCase{Class: printable(targetName(r)), Name: printable(r.File)}
	if r.Verdict != Loads && !r.Excused() {
		var text strings.Builder
		for i := range r.Findings {
			f := &r.Findings[i]
			if f.Severity >= diag.Warning {
				fmt.Fprintf(&text, "%s %s: %s\n", f.Severity, f.Code, f.Message)
				for _, a := range f.Assumes {
					fmt.Fprintf(&text, "  assumes: %s\n", a)
				}
			}
		}
		message := r.Headline()
		if last := r.lastLine(); last != "" {
			message = last
		}
		t := &junitText{Message: printable(message), Type: r.Errno.Name(), Text: printable(text.String())}
		if r.Verdict == Refused {
			c.Failure, s.Failures = t, s.Failures+1
		} else {
			c.Skipped, s.Skipped = t, s.Skipped+1
		}
	}
	s.Cases = append(s.Cases, c)
}

// lastLine is the line of the log that tells why.
func (r *Check) lastLine() string {
	for _, l := range r.Dmesg {
		if r.failing(l) {
			return l
		}
	}
	return ""
}

func (j *junit) Trouble(path string, err error) {
	s := j.suite("kotool check")
	s.Tests++
	s.Errors++
	s.Cases = append(s.Cases, junitCase{Class: "kotool", Name: printable(path), Error: &junitText{Message: printable(err.Error())}})
}

func (j *junit) WriteTo(write func([]byte) error) error {
	doc := struct {
		XMLName xml.Name `xml:"testsuites"`
		Suites  []*junitSuite
	}{Suites: j.suites}
	b, err := xml.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	return write(append([]byte(xml.Header), append(b, '\n')...))
}

// github are workflow commands of GitHub Actions: an annotation a finding.
type github struct{ b strings.Builder }

var githubData = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
var githubProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")

func (g *github) line(kind, file, title, text string) {
	fmt.Fprintf(&g.b, "::%s file=%s,title=%s::%s\n", kind, githubProperty.Replace(printable(file)), githubProperty.Replace(printable(title)), githubData.Replace(printable(text)))
}

func (g *github) Add(r *Check) {
	if r.Verdict == Undecided && !r.Excused() {
		g.line("warning", r.File, "undecided", "the evidence does not settle whether "+r.Name+" loads on "+targetName(r))
	}
	for _, grp := range grouped(r) {
		kind := map[diag.Severity]string{diag.Error: "error", diag.Warning: "warning", diag.Note: "notice"}[grp.severity]
		text := grp.message
		if grp.hint != "" {
			text += "\nhint: " + grp.hint
		}
		for _, d := range grp.dmesg {
			text += "\ndmesg: " + d
		}
		g.line(kind, r.File, string(grp.code), text)
	}
}

func (g *github) Trouble(path string, err error) { g.line("error", path, "kotool", err.Error()) }

func (g *github) WriteTo(write func([]byte) error) error { return write([]byte(g.b.String())) }

// group is the findings of one code: two hundred annotations are read by nobody.
type group struct {
	code     diag.Code
	severity diag.Severity
	message  string
	hint     string
	dmesg    []string
	names    []string
	n        int
	where    diag.Location
}

func grouped(r *Check) []group {
	var list []group
	for i := range r.Findings {
		f := &r.Findings[i]
		k := slices.IndexFunc(list, func(g group) bool { return g.code == f.Code && g.severity == f.Severity })
		if k < 0 {
			list = append(list, group{code: f.Code, severity: f.Severity, message: f.Message, hint: f.Hint, where: f.Where})
			k = len(list) - 1
		}
		g := &list[k]
		g.n++
		if f.Where.Symbol != "" && len(g.names) < 20 {
			g.names = append(g.names, f.Where.Symbol)
		}
		if len(g.dmesg) < 5 {
			g.dmesg = append(g.dmesg, f.Dmesg...)
		}
	}
	for i := range list {
		if g := &list[i]; g.n > 1 {
			g.message = fmt.Sprintf("%s (and %d more: %s)", g.message, g.n-1, strings.Join(g.names[min(1, len(g.names)):], ", "))
		}
	}
	return list
}

// sarif is the Static Analysis Results Interchange Format 2.1.0.
type sarif struct {
	version string
	results []sarifResult
	notes   []sarifNote
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifRule struct {
	ID      string     `json:"id"`
	Short   sarifText  `json:"shortDescription"`
	Full    *sarifText `json:"fullDescription,omitempty"`
	Help    *sarifText `json:"help,omitempty"`
	Default struct {
		Level string `json:"level"`
	} `json:"defaultConfiguration"`
}

type sarifLocation struct {
	Physical struct {
		Artifact struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
	} `json:"physicalLocation"`
	Logical []sarifLogical `json:"logicalLocations,omitempty"`
}

type sarifLogical struct {
	Name string `json:"name"`
	Kind string `json:"kind,omitempty"`
}

type sarifResult struct {
	RuleID       string            `json:"ruleId"`
	RuleIndex    int               `json:"ruleIndex"`
	Level        string            `json:"level"`
	Message      sarifText         `json:"message"`
	Locations    []sarifLocation   `json:"locations"`
	Fingerprints map[string]string `json:"partialFingerprints"`
	Properties   map[string]any    `json:"properties,omitempty"`
}

type sarifNote struct {
	Level     string          `json:"level"`
	Message   sarifText       `json:"message"`
	Locations []sarifLocation `json:"locations"`
}

func level(s diag.Severity) string {
	switch s {
	case diag.Error:
		return "error"
	case diag.Warning:
		return "warning"
	}
	return "note"
}

func sarifAt(file string) sarifLocation {
	var l sarifLocation
	l.Physical.Artifact.URI = uri(file)
	return l
}

// uri is a path as a relative reference.
func uri(path string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/+@"
	var b strings.Builder
	p := filepath.ToSlash(path)
	for i := range len(p) {
		if strings.IndexByte(plain, p[i]) >= 0 {
			b.WriteByte(p[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", p[i])
		}
	}
	return b.String()
}

func ruleIndex(c diag.Code) int {
	return slices.IndexFunc(diag.Catalogue, func(e diag.Entry) bool { return e.Code == c })
}

func (s *sarif) Add(r *Check) {
	for _, g := range grouped(r) {
		loc := sarifAt(r.File)
		for _, n := range g.names {
			loc.Logical = append(loc.Logical, sarifLogical{Name: n, Kind: "member"})
		}
		if len(g.names) == 0 && g.where.Section != "" {
			loc.Logical = []sarifLogical{{Name: g.where.Section, Kind: "module"}}
		}
		sum := sha256.Sum256([]byte(string(g.code) + "\x00" + r.Name + "\x00" + strings.Join(g.names, "\x00")))
		text := g.message
		if len(g.dmesg) > 0 {
			text += ". The kernel logs: " + strings.Join(g.dmesg, " / ")
		}
		s.results = append(s.results, sarifResult{RuleID: string(g.code), RuleIndex: ruleIndex(g.code), Level: level(g.severity), Message: sarifText{printable(text)},
			Locations: []sarifLocation{loc}, Fingerprints: map[string]string{"kotool/1": hex.EncodeToString(sum[:16])},
			Properties: map[string]any{"module": printable(r.Name), "kernel": printable(targetName(r)), "verdict": string(r.Verdict)}})
	}
}

func (s *sarif) Trouble(path string, err error) {
	s.notes = append(s.notes, sarifNote{"error", sarifText{printable(err.Error())}, []sarifLocation{sarifAt(path)}})
}

func (s *sarif) WriteTo(write func([]byte) error) error {
	rules := make([]sarifRule, len(diag.Catalogue))
	for i := range diag.Catalogue {
		e := &diag.Catalogue[i]
		r := sarifRule{ID: string(e.Code), Short: sarifText{e.Title}}
		if e.Why != "" {
			r.Full = &sarifText{e.Why}
		}
		r.Help = &sarifText{"kotool explain " + string(e.Code)}
		r.Default.Level = level(e.Severity)
		rules[i] = r
	}
	if s.results == nil {
		s.results = []sarifResult{}
	}
	type invocation struct {
		OK    bool        `json:"executionSuccessful"`
		Notes []sarifNote `json:"toolExecutionNotifications,omitempty"`
	}
	doc := map[string]any{
		"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
		"runs": []any{map[string]any{
			"tool":        map[string]any{"driver": map[string]any{"name": "kotool", "version": s.version, "rules": rules}},
			"invocations": []invocation{{len(s.notes) == 0, s.notes}},
			"results":     s.results,
		}},
	}
	b, err := json.MarshalIndent(doc, "", " ")
	if err != nil {
		return err
	}
	return write(append(b, '\n'))
}
