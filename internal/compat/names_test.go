package compat

import (
	"testing"

	"kotool/internal/kver"
)

func TestStagesHaveTheNamesOfTheirKernel(t *testing.T) {
	for _, c := range []struct {
		stage, step, version, want string
	}{
		{"elf_validity_cache_copy", "a1", "5.4", "elf_header_check"},
		{"elf_validity_cache_copy", "a1", "5.10", "elf_validity_check"},
		{"elf_validity_cache_copy", "a1", "6.3", "elf_validity_check"},
		{"elf_validity_cache_copy", "a1", "6.4", "elf_validity_cache_copy"},
		{"elf_validity_cache_copy", "a1", "", "elf_validity_cache_copy"},
		{"elf_validity_cache_copy", "c2", "6.1", "setup_load_info"},
		{"elf_validity_cache_copy", "d1", "5.10", "setup_load_info"},
		{"elf_validity_cache_copy", "c2", "6.12", "elf_validity_cache_copy"},
		{"early_mod_check", "g1", "6.3", "load_module"},
		{"early_mod_check", "g1", "6.4", "early_mod_check"},
		{"check_export_symbol_versions", "i6", "6.1", "check_module_license_and_versions"},
		{"module_augment_kernel_taints", "i2", "6.1", "load_module"},
		{"simplify_symbols", "2.7", "5.10", "simplify_symbols"},
	} {
		target := &Target{}
		if c.version != "" {
			v, err := kver.Parse(c.version)
			if err != nil {
				t.Fatal(err)
			}
			target.Version = v
		}
		got := target.StageName(c.stage, c.step)
		if got != c.want {
			t.Errorf("%s %s in %q: got %s, want %s", c.stage, c.step, c.version, got, c.want)
		}
		if !SameStage(c.stage, got) || SameStage(c.stage, "no_such_function") {
			t.Errorf("%s: SameStage does not know %s by itself", c.stage, got)
		}
	}
	for i := range Stages {
		if len(Stages[i].Source) == 0 {
			t.Errorf("%s has no source", Stages[i].Name)
		}
	}
	for i := range oldNames {
		o := &oldNames[i]
		if o.in.Until.IsZero() {
			t.Errorf("%s: the newest kernel's name is that of the stage itself", o.name)
		}
	}
	old, now := Stages[1].For(&Target{Version: kver.V(5, 18)}), Stages[1].For(&Target{Version: kver.V(5, 19)})
	if old.Source != "kernel/module.c" || now.Source != "kernel/module/signing.c" {
		t.Errorf("files: got %s and %s", old.Source, now.Source)
	}
}
