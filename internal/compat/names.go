package compat

import (
	"slices"
	"strings"

	"kotool/internal/kver"
)

// oldNames are the functions that did a stage's work in other versions, by the stage's name of now. The first row that fits counts; a stage
// without a row has always had its name.
//
// Source: commits ec2a29593c83 "module: harden ELF info handling" (5.12, and 5.10.y, whose rules are those of 5.10 here: elf_header_check
// becomes elf_validity_check); 85e6f61c134f "module: move early sanity checks into a helper", 3d40bb903ed1 "module: merge remnants of
// setup_load_info() to elf validation" and their series (6.4).
var oldNames = []struct {
	stage string
	steps []string // only these rows of the load pipeline; nil: all
	in    kver.Range
	name  string
}{
	{"elf_validity_cache_copy", []string{"c1", "c2", "d1"}, before64, "setup_load_info"},
	{"elf_validity_cache_copy", nil, kver.Until(5, 10), "elf_header_check"},
	{"elf_validity_cache_copy", nil, kver.Between(kver.V(5, 10), kver.V(6, 4)), "elf_validity_check"},
	{"early_mod_check", nil, before64, "load_module"},
	{"module_patient_check_exists", nil, before64, "add_unformed_module"},
	{"module_augment_kernel_taints", nil, before64, "load_module"},
	{"check_export_symbol_versions", nil, before64, "check_module_license_and_versions"},
}

// oneFile are the kernels whose loader is kernel/module.c alone. Source: commit cfc1d277891e "module: Move all into module/" (5.19).
var oneFile = kver.Until(5, 19)

// StageName is what the target's kernel calls the function that does a stage's work, at that row of the load pipeline.
func (t *Target) StageName(stage, step string) string {
	for i := range oldNames {
		o := &oldNames[i]
		if o.stage == stage && t.has(o.in) && (o.steps == nil || slices.Contains(o.steps, step)) {
			return o.name
		}
	}
	return stage
}

// SameStage reports whether name is what some kernel calls the stage.
func SameStage(stage, name string) bool {
	if stage == name {
		return true
	}
	for i := range oldNames {
		if o := &oldNames[i]; o.stage == stage && o.name == name {
			return true
		}
	}
	return false
}

// For is the stage as the target's kernel has it: the name of its function, and its file.
func (s *Stage) For(t *Target) *Stage {
	name, source := t.StageName(s.Name, s.ID), s.Source
	if strings.HasPrefix(source, "kernel/module/") && t.has(oneFile) {
		source = "kernel/module.c"
	}
	if name == s.Name && source == s.Source {
		return s // as most are: a load asks for each of its stages
	}
	c := *s
	c.Name, c.Source = name, source
	return &c
}
