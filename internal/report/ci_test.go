package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	gosarif "github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
	"github.com/xeipuuv/gojsonschema"

	"kotool/internal/diag"
	"kotool/internal/kver"
)

// answers are one of each verdict, with what is awkward to write down.
func answers() []*Check {
	v := kver.V(6, 1)
	target := &CheckTarget{Name: "a", Release: "6.1.0-50-amd64"}
	missing := func(name string) diag.Finding {
		f := diag.New(diag.SymMissing, v, "mod", name, -2)
		f.Where = diag.Sym(name)
		return f
	}
	wx := diag.New(diag.WriteExec, v, "mod", ".wx", 3)
	wx.Where = diag.In(".wx", 3)
	assumed := diag.New(diag.SymNoCRC, v, "mod", "f", "mod")
	assumed.Assumes = []string{"it's <not> known & \"quoted\""}
	return []*Check{
		{File: "dir/good.ko", Name: "good", Target: target, Verdict: Loads, Findings: []diag.Finding{diag.New(diag.TaintOOT, v, "good")}},
		{File: "dir/with space,colon:100%\n.ko", Name: "mod", Target: target, Verdict: Refused, Errno: diag.ENOENT, Stage: "simplify_symbols",
			Dmesg: []string{"mod: Unknown symbol a (err -2)"}, Findings: []diag.Finding{missing("a"), missing("b<&>"), missing("c\x01\xff"), wx}},
		{File: "ünï.ko", Name: "uni", Target: target, Verdict: Undecided, Findings: []diag.Finding{assumed}},
		{File: "known.ko", Name: "known", Target: target, Verdict: Refused, Errno: diag.ENOENT, Ignored: []string{"ticket"}},
		{File: "other.ko", Name: "other", Target: &CheckTarget{Name: "Module.symvers"}, Verdict: Loads},
		{File: "bare.ko", Name: "bare", Verdict: Loads},
	}
}

func document(t *testing.T, format string, list []*Check) []byte {
	t.Helper()
	doc := NewCI(format, "1.2.3")
	for _, r := range list {
		doc.Add(r)
	}
	if len(list) > 0 {
		doc.Trouble("lost & found.ko", errors.New("no such file <or> directory"))
	}
	var b bytes.Buffer
	if err := doc.WriteTo(func(p []byte) error { _, err := b.Write(p); return err }); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sarifSchema is the schema of SARIF 2.1.0 that a module of the tests' dependencies carries.
func sarifSchema(t *testing.T) string {
	t.Helper()
	dir, err := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), "schema.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST {
			for _, s := range g.Specs {
				if v := s.(*ast.ValueSpec); v.Names[0].Name == "schema" {
					text, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
					if err != nil {
						t.Fatal(err)
					}
					return text
				}
			}
		}
	}
	t.Fatal("the module has no schema")
	return ""
}

func TestSARIFIsValidByItsSchema(t *testing.T) {
	schema, err := gojsonschema.NewSchema(gojsonschema.NewStringLoader(sarifSchema(t)))
	if err != nil {
		t.Fatal(err)
	}
	valid := func(b []byte) []gojsonschema.ResultError {
		t.Helper()
		r, err := schema.Validate(gojsonschema.NewBytesLoader(b))
		if err != nil {
			t.Fatal(err)
		}
		return r.Errors()
	}
	for name, list := range map[string][]*Check{"empty": nil, "all": answers()} {
		b := document(t, "sarif", list)
		for _, e := range valid(b) {
			t.Errorf("%s: %v", name, e)
		}
		var r gosarif.Report // and another reader takes it
		if err := json.Unmarshal(b, &r); err != nil || len(r.Runs) != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The schema is one that finds something.
	for _, change := range [][2]string{{`"ruleId"`, `"ruleID"`}, {`"level": "error"`, `"level": "fatal"`}, {`"version": "2.1.0"`, `"version": "2.1"`}} {
		if len(valid(bytes.ReplaceAll(document(t, "sarif", answers()), []byte(change[0]), []byte(change[1])))) == 0 {
			t.Errorf("%s in place of %s is taken", change[1], change[0])
		}
	}
}

func TestSARIFResultsNameRulesAndStayTheSame(t *testing.T) {
	type result struct {
		RuleID       string            `json:"ruleId"`
		RuleIndex    int               `json:"ruleIndex"`
		Level        string            `json:"level"`
		Fingerprints map[string]string `json:"partialFingerprints"`
		Locations    []struct {
			Physical struct {
				Artifact struct{ URI string } `json:"artifactLocation"`
			} `json:"physicalLocation"`
			Logical []struct{ Name string } `json:"logicalLocations"`
		} `json:"locations"`
	}
	var doc struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct {
					Version string
					Rules   []struct{ ID string }
				}
			}
			Results     []result
			Invocations []struct {
				OK    bool `json:"executionSuccessful"`
				Notes []struct {
					Message struct{ Text string }
				} `json:"toolExecutionNotifications"`
			}
		}
	}
	parse := func(b []byte) []result {
		t.Helper()
		if err := json.Unmarshal(b, &doc); err != nil {
			t.Fatal(err)
		}
		return doc.Runs[0].Results
	}
	first := parse(document(t, "sarif", answers()))
	run := doc.Runs[0]
	if doc.Version != "2.1.0" || run.Tool.Driver.Version != "1.2.3" || len(run.Tool.Driver.Rules) != len(diag.Catalogue) {
		t.Errorf("got version %s, %s, %d rules", doc.Version, run.Tool.Driver.Version, len(run.Tool.Driver.Rules))
	}
	if len(run.Invocations) != 1 || run.Invocations[0].OK || len(run.Invocations[0].Notes) != 1 {
		t.Errorf("trouble is not told: %+v", run.Invocations)
	}
	seen := map[string]bool{}
	var got []string
	for _, r := range first {
		if run.Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID {
			t.Errorf("%s has index %d, which is %s", r.RuleID, r.RuleIndex, run.Tool.Driver.Rules[r.RuleIndex].ID)
		}
		if print := r.Fingerprints["kotool/1"]; len(print) != 32 || seen[print] {
			t.Errorf("%s: fingerprint %q", r.RuleID, print)
		} else {
			seen[print] = true
		}
		got = append(got, r.Level+" "+r.RuleID+" "+r.Locations[0].Physical.Artifact.URI)
	}
	want := []string{"note KT-TAINT-OOT dir/good.ko", "error KT-SYM-MISSING dir/with%20space%2Ccolon%3A100%25%0A.ko", "error KT-WX dir/with%20space%2Ccolon%3A100%25%0A.ko",
		"error KT-SYM-NOCRC %C3%BCn%C3%AF.ko"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	// The file may lie elsewhere: it is the same finding.
	moved := answers()
	for _, r := range moved {
		r.File = "/another/place/" + r.Name + ".ko"
	}
	prints := func(list []result) (out []string) {
		for _, r := range list {
			out = append(out, r.Fingerprints["kotool/1"])
		}
		return out
	}
	if diff := cmp.Diff(prints(first), prints(parse(document(t, "sarif", moved)))); diff != "" {
		t.Errorf("fingerprints hang on the path (-want +got)\n%s", diff)
	}
}

func TestJUnitIsReadBack(t *testing.T) {
	type text struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
	type suite struct {
		Name     string `xml:"name,attr"`
		Tests    int    `xml:"tests,attr"`
		Failures int    `xml:"failures,attr"`
		Errors   int    `xml:"errors,attr"`
		Skipped  int    `xml:"skipped,attr"`
		Cases    []struct {
			Class   string `xml:"classname,attr"`
			Name    string `xml:"name,attr"`
			Failure *text  `xml:"failure"`
			Error   *text  `xml:"error"`
			Skipped *text  `xml:"skipped"`
		} `xml:"testcase"`
	}
	var doc struct {
		XMLName xml.Name `xml:"testsuites"`
		Suites  []suite  `xml:"testsuite"`
	}
	b := document(t, "junit", answers())
	if err := xml.Unmarshal(b, &doc); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	var got []string
	for _, s := range doc.Suites {
		failures, errs, skipped := 0, 0, 0
		for _, c := range s.Cases {
			switch {
			case c.Failure != nil:
				failures++
			case c.Error != nil:
				errs++
			case c.Skipped != nil:
				skipped++
			}
		}
		if s.Tests != len(s.Cases) || s.Failures != failures || s.Errors != errs || s.Skipped != skipped {
			t.Errorf("%s counts %d, %d, %d, %d and has %d, %d, %d, %d", s.Name, s.Tests, s.Failures, s.Errors, s.Skipped, len(s.Cases), failures, errs, skipped)
		}
		got = append(got, s.Name)
	}
	if diff := cmp.Diff([]string{"kotool check 6.1.0-50-amd64", "kotool check Module.symvers", "kotool check kernel", "kotool check"}, got); diff != "" {
		t.Errorf("suites (-want +got)\n%s", diff)
	}
	cases := doc.Suites[0].Cases
	bad, unsure, known := cases[1], cases[2], cases[3]
	if bad.Failure == nil || bad.Failure.Message != "mod: Unknown symbol a (err -2)" || bad.Failure.Type != "ENOENT" || bad.Name != "dir/with space,colon:100%\n.ko" ||
		!strings.Contains(bad.Failure.Text, "nothing exports b<&>") || !strings.Contains(bad.Failure.Text, "nothing exports c�") {
		t.Errorf("got %+v", bad.Failure)
	}
	if unsure.Skipped == nil || !strings.Contains(unsure.Skipped.Text, `assumes: it's <not> known & "quoted"`) {
		t.Errorf("got %+v", unsure.Skipped)
	}
	if known.Failure != nil || known.Skipped != nil {
		t.Error("what is known counts as a failure")
	}
	if last := doc.Suites[3].Cases[0]; last.Error == nil || last.Error.Message != "no such file <or> directory" || last.Name != "lost & found.ko" {
		t.Errorf("got %+v", last)
	}
}

func TestGitHubAnnotationsAreEscaped(t *testing.T) {
	out := string(document(t, "github", answers()))
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	want := []string{
		"::notice file=dir/good.ko,title=KT-TAINT-OOT::",
		"::error file=dir/with space%2Ccolon%3A100%25%0A.ko,title=KT-SYM-MISSING::nothing exports a (and 2 more: b<&>, c�)%0Ahint: ",
		"::error file=dir/with space%2Ccolon%3A100%25%0A.ko,title=KT-WX::",
		"::warning file=ünï.ko,title=undecided::",
		"::error file=ünï.ko,title=KT-SYM-NOCRC::",
		"::error file=lost & found.ko,title=kotool::no such file <or> directory",
	}
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), out)
	}
	for i := range want {
		if !strings.HasPrefix(lines[i], want[i]) {
			t.Errorf("got %q want %q", lines[i], want[i])
		}
	}
	if strings.ContainsAny(out, "\x01\r") {
		t.Error("control characters are left")
	}
}
