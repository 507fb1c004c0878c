package compat

import "kotool/internal/kver"

// Step is one row of the pipeline of a version, as `kotool simulate-load --steps` shows it.
type Step struct {
	ID, Name, Source string
	Depth            int // 1: a test inside the stage before it
}

// validityNames say what the tests of the ELF file look at, by step.
var validityNames = map[string]string{
	"a1": "length of the ELF header", "a2": "ELF magic", "a3": "e_type", "a4": "elf_check_arch", "a5": "module_elf_check_arch", "a6": "e_shentsize",
	"a7": "section header table inside the file", "a8": "section 0 is empty", "a9": "sections inside the file", "b1": "e_shstrndx, section name table",
	"b2": "type of the section name table", "b3": "section name table not empty", "b4": "section name table ends in NUL", "b5": "section names inside the table",
	"c1": "one .modinfo", "c2": "one .gnu.linkonce.this_module", "c3": "this_module has bytes", "c4": "this_module is loaded", "c5": "size of struct module",
	"d1": "one symbol table", "d2": "sh_link of the symbol table", "d3": "type of the string table", "e1": "both extended version tables", "e2": "extended version names",
	"f1": "string table begins and ends in NUL", "f2": "symbol names inside the string table",
}

// Steps lists what load_module does in a version, in its order. The zero version is the newest.
func Steps(v kver.Version) []Step {
	t := &Target{Version: v}
	first := MayLoad.For(t)
	list := []Step{{ID: first.ID, Name: first.Name, Source: first.Source}}
	for i := range Stages {
		st := &Stages[i]
		if !t.has(st.In) {
			continue
		}
		named := st.For(t)
		list = append(list, Step{ID: st.ID, Name: named.Name, Source: named.Source})
		switch st.Name {
		case "elf_validity_cache_copy":
			list = append(list, validitySteps(t)...)
		case "early_mod_check":
			list = append(list, Step{ID: "g1", Name: "blacklisted", Depth: 1}, Step{ID: "g2", Name: "rewrite_section_headers", Depth: 1})
			for k := range earlySteps {
				if e := &earlySteps[k]; t.has(e.in) {
					list = append(list, Step{ID: e.id, Name: e.name, Depth: 1})
				}
			}
		case "module_augment_kernel_taints":
			if !t.has(before64) {
				list = append(list, Step{ID: "i2", Name: "intree, retpoline, staging, livepatch, license, test, signature", Depth: 1})
			} else {
				list = append(list, Step{ID: "i2", Name: "signature", Depth: 1})
			}
		case "find_module_sections":
			if t.has(oneTable) {
				list = append(list, Step{ID: "i5", Name: "check_export_symbol_sections", Depth: 1})
			}
			list = append(list, Step{ID: "i6", Name: t.StageName("check_export_symbol_versions", "i6"), Depth: 1})
			if t.has(kver.Since(6, 16)) {
				list = append(list, Step{ID: "i7", Name: "setup_modinfo: import_ns", Depth: 1})
			}
		}
	}
	return list
}

func validitySteps(t *Target) []Step {
	var list []Step
	for i := range validity {
		c := &validity[i]
		switch {
		case !t.has(c.in), c.id != "" && len(list) > 0 && list[len(list)-1].ID == c.id:
		case c.id != "":
			list = append(list, Step{ID: c.id, Name: validityNames[c.id], Depth: 1})
		case t.has(before64) && i > 0 && validity[i-1].id != "a8":
			list = append(list, Step{ID: "c1", Name: "setup_load_info: .modinfo, symbol table, this_module", Depth: 1})
		default:
			list = append(list, Step{ID: "a9", Name: "each section: link of symbol tables, inside the file, name inside the table", Depth: 1})
		}
	}
	return list
}
