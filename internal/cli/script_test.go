package cli

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite the golden parts of the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"kotool": func() { os.Exit(Run(context.Background(), NewApp(), os.Args[1:])) },
	})
}

func TestScripts(t *testing.T) {
	ko, err := filepath.Abs("../../testdata/ko")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("KO", ko)
			e.Setenv("NO_COLOR", "")
			e.Setenv("COLUMNS", "100")
			e.Setenv("TZ", "UTC")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"certificate": certificate,
			"deb":         debPackage,
			"mutate":      mutateModule,
			// cut IN OUT N: the first N bytes.
			"cut": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) != 3 {
					ts.Fatalf("usage: cut IN OUT N")
				}
				n, err := strconv.Atoi(args[2])
				ts.Check(err)
				ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(ts.ReadFile(args[0]))[:n], 0o666))
			},
			"pack": pack,
			// status N prog args...: the exit status must be N; stdout and stderr are kept as by exec.
			"status": func(ts *testscript.TestScript, neg bool, args []string) {
				if neg || len(args) < 2 {
					ts.Fatalf("usage: status N program args...")
				}
				want, err := strconv.Atoi(args[0])
				ts.Check(err)
				got := 0
				if err := ts.Exec(args[1], args[2:]...); err != nil {
					ee, ok := errors.AsType[*exec.ExitError](err)
					if !ok {
						ts.Fatalf("%s: %v", args[1], err)
					}
					got = ee.ExitCode()
				}
				if got != want {
					ts.Fatalf("%v: exit status %d, want %d", args[1:], got, want)
				}
			},
		},
	})
}
