package internal

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// layers holds docs/architecture.md's table: a package imports only packages of a lower layer.
var layers = map[string]int{
	"bin": 0, "kver": 0, "render": 0, "arch": 0,
	"btf": 1, "diag": 1, "source": 1, "elf": 1,
	"ksymtab": 2, "versions": 2, "modinfo": 2, "params": 2, "sig": 2, "symvers": 2, "recording": 3, "reloc": 2, "thismod": 2, "modtree": 2, "deb": 2,
	"kimage": 3, "module": 3,
	"compat": 4,
	"target": 5, "sim": 5, "scan": 5,
	"report": 6,
	"check":  7,
	"cli":    8,
	// Support of tests and tools, imported by nobody above.
	"elftest": 2, "debtest": 0, "oracledir": 0, "oracletest": 5, "difftest": 9, "tools/gendocs": 9, "e2e": 2, "e2e/guest": 3,
}

func TestPackagesImportOnlyLowerLayers(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	n := 0
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name, ok := strings.CutPrefix(p.ImportPath, "kotool/internal/")
		if !ok {
			continue
		}
		layer, ok := layers[name]
		if !ok {
			t.Errorf("%s is in no layer", name)
		}
		n++
		for _, i := range p.Imports {
			dep, ok := strings.CutPrefix(i, "kotool/internal/")
			if ok && layers[dep] >= layer {
				t.Errorf("%s (layer %d) imports %s (layer %d)", name, layer, dep, layers[dep])
			}
		}
	}
	if n < 10 {
		t.Errorf("looked at %d packages only", n)
	}
}
