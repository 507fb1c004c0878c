//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// toolDir is what buildTool has made.
var toolDir string

// buildTool builds kotool once.
var buildTool = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "e2e")
	if err != nil {
		return "", err
	}
	toolDir = dir
	out := filepath.Join(dir, "kotool")
	if runtime.GOOS == "windows" {
		out += ".exe"
	}
	cmd := exec.Command("go", "build", "-o", out, "./cmd/kotool")
	cmd.Dir = filepath.Join("..", "..")
	if b, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(err, errors.New(string(b)))
	}
	return out, nil
})

// compareWithSimulation lets kotool replay a recording, and holds its images and verdicts against what the kernel did.
// evidence says what the kernel is; without it only what the recording itself tells is known.
func compareWithSimulation(t *testing.T, recording string, evidence ...string) {
	t.Helper()
	tool, err := buildTool()
	if err != nil {
		t.Fatalf("build kotool: %v", err)
	}
	images := t.TempDir()
	var out, log bytes.Buffer
	args := append([]string{"simulate-load", "--replay", recording, "--image", images, "-o", "ndjson"}, evidence...)
	cmd := exec.CommandContext(t.Context(), tool, args...)
	cmd.Stdout, cmd.Stderr = &out, &log
	err = cmd.Run()
	// 1: a module is refused, as some have to be. 3: what came of a module is undecided.
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1 && exit.ExitCode() != 3) {
		t.Fatalf("%s: %v: %s", cmd, err, log.Bytes())
	}
	c, err := CompareImages(recording, images, "reloc")
	if err != nil {
		t.Fatal(err)
	}
	v, err := CompareVerdicts(recording, &out)
	if err != nil {
		t.Fatal(err)
	}
	c.Held, c.Wrong, c.Open = v.Held, append(c.Wrong, v.Wrong...), v.Open
	t.Logf("%s: %s", filepath.Base(recording), c)
	for _, w := range c.Wrong {
		if strings.Contains(w, "-signed-changed: ") {
			t.Logf("needs the kernel's own key: %s", w)
			continue
		}
		t.Error(w)
	}
	if len(c.Left) > 0 {
		t.Errorf("no image of %q", c.Left)
	}
	for _, name := range c.Open {
		if mayBeOpen[name] == "" {
			t.Errorf("%s: undecided", name)
		}
	}
}

// mayBeOpen are modules whose verdict a simulation cannot know, and why.
var mayBeOpen = map[string]string{
	"loop": "max_loop has a set function of its own",
}

func TestRecordingsThatAreThere(t *testing.T) {
	list := filepath.SplitList(os.Getenv("RECORDINGS"))
	if len(list) == 0 {
		t.Skip("RECORDINGS names no directories of recordings")
	}
	for _, dir := range list {
		t.Run(filepath.Base(dir), func(t *testing.T) { compareWithSimulation(t, dir, evidenceFor(t, dir)...) })
	}
}

// evidenceFor is that of the kernel of the recording's release, if KERNELS has it.
func evidenceFor(t *testing.T, recording string) []string {
	t.Helper()
	var meta struct{ Release string }
	if err := readJSON(filepath.Join(recording, "meta.json"), &meta); err != nil {
		t.Fatal(err)
	}
	for _, dir := range filepath.SplitList(os.Getenv("KERNELS")) {
		if k, err := OpenKernel(dir); err == nil && k.Release == meta.Release {
			return k.Evidence()
		}
	}
	return nil
}

func TestMain(m *testing.M) {
	code := m.Run()
	if toolDir != "" {
		_ = os.RemoveAll(toolDir)
	}
	os.Exit(code)
}
