package compat

import (
	"kotool/internal/diag"
	"kotool/internal/kver"
)

// Stage is one step of load_module, named as the newest kernel names it. For has the names of others.
type Stage struct {
	ID     string // row of the load pipeline; "" for one that is itself a table of rows
	Name   string // the kernel's function
	Source string
	In     kver.Range // the kernels whose load_module has this step here
	// Judge answers what file and target decide. nil: memory or the kernel's state decide; the simulation has it.
	Judge func(*Load) (diag.Errno, error)
	// Hard says that nothing behind it can be judged once it has failed.
	Hard bool
}

// MayLoad is what is asked before load_module.
var MayLoad = Stage{ID: "1.1", Name: "may_init_module", Source: "kernel/module/main.c"}

// Stages is load_module in its order.
//
// Source: kernel/module/main.c: load_module (6.1 to 7.2); kernel/module.c (5.10).
var Stages = []Stage{
	{ID: "1.2", Name: "finit_module", Source: "kernel/module/main.c", Judge: (*Load).Entry, Hard: true},
	{ID: "2.1", Name: "module_sig_check", Source: "kernel/module/signing.c", Judge: (*Load).Signature},
	{Name: "elf_validity_cache_copy", Source: "kernel/module/main.c", Judge: (*Load).Validity, Hard: true},
	{Name: "early_mod_check", Source: "kernel/module/main.c", Judge: (*Load).Early},
	{ID: "h1", Name: "module_frob_arch_sections", Source: "arch/*/kernel/module*.c", Judge: (*Load).Frob},
	{ID: "h2", Name: "module_enforce_rwx_sections", Source: "kernel/module/strict_rwx.c", In: kver.Since(5, 8), Judge: (*Load).RWX},
	{ID: "h3", Name: "layout_and_allocate", Source: "kernel/module/main.c"},
	{ID: "i1", Name: "add_unformed_module", Source: "kernel/module/main.c", Judge: (*Load).Unformed},
	{ID: "i2", Name: "module_augment_kernel_taints", Source: "kernel/module/main.c", Judge: (*Load).KernelTaints},
	{ID: "i3", Name: "percpu_modalloc", Source: "kernel/module/main.c", Judge: (*Load).PercpuAlloc},
	{ID: "i4", Name: "find_module_sections", Source: "kernel/module/main.c", Judge: (*Load).FindSections},
	{ID: "2.7", Name: "simplify_symbols", Source: "kernel/module/main.c"},
	{ID: "2.8", Name: "apply_relocations", Source: "kernel/module/main.c"},
	{ID: "k1", Name: "post_relocation", Source: "kernel/module/main.c"},
	{ID: "k5", Name: "complete_formation", Source: "kernel/module/main.c"},
	{ID: "k7", Name: "prepare_coming_module", Source: "kernel/module/main.c", Judge: (*Load).BTF},
	{ID: "k8", Name: "parse_args", Source: "kernel/params.c"},
	{ID: "k9", Name: "mod_sysfs_setup", Source: "kernel/module/sysfs.c", Judge: (*Load).Sysfs},
	{ID: "k11", Name: "do_init_module", Source: "kernel/module/main.c"},
}
