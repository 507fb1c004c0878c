package diag

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// realLines are lines of real logs, one or more for each text of the catalogue: recordings of Debian's 6.1 and 6.12, reports of
// users; those marked 7.2 and the machines' loaders are that kernel's format with values.
var realLines = []struct {
	code           Code
	module, symbol string
	line           string
}{
	{Compress, "", "", "decompression failed with status 6"},
	{Compress, "", "", "module: decompression failed with status 6"},
	{Compress, "", "", "ZSTD-decompression failed with status 20"},
	{Compress, "", "", "ZSTD-compressed data has an incomplete frame header"},
	{Compress, "", "", "ZSTD-compressed data has too large a window size"},
	{CompressMagic, "", "", "not an xz compressed module"},

	{SigUnsigned, "", "", "Loading of unsigned module is rejected"},
	{SigCrypto, "", "", "Loading of module with unsupported crypto is rejected"},
	{SigCrypto, "", "", "module: not signed with expected PKCS#7 message"},
	{SigKey, "", "", "Loading of module with unavailable key is rejected"},
	{SigMalformed, "", "", "module: PKCS#7 signature info has unexpected non-zero params"},
	{SigMalformed, "", "", "PKCS#7 signature with non-detached data"},
	{SigBad, "", "", "PKCS7: Invalid module sig (not pkcs7-data)"},
	{SigBad, "", "", "PKCS7: Invalid module sig (has authattrs)"},
	{SigHash, "", "", "Module hash 3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d is blacklisted"},
	{TaintUnsigned, "dummy", "", "dummy: module verification failed: signature and/or required key missing - tainting kernel"},
	{TaintUnsigned, "sp ace", "", "sp ace: module verification failed: signature and/or required key missing - tainting kernel"},
	{Lockdown, "", "", "Lockdown: insmod: unsigned module loading is restricted; see man kernel_lockdown.7"},
	{Lockdown, "", "", "Lockdown: modprobe: unsafe module parameters is restricted; see man kernel_lockdown.7"},

	{NotModule, "", "", "Module has invalid ELF structures"},
	{ELFLen, "", "", "Invalid ELF header len 1"},
	{ELFMagic, "", "", `Invalid ELF header magic: != \x7fELF`},
	{ELFMagic, "", "", "Invalid ELF header magic: != \x7fELF"},
	{ELFType, "", "", "Invalid ELF header type: 0 != 1"},
	{ELFArch, "", "", "Invalid architecture in ELF header: 0"},
	{ELFModArch, "", "", "Invalid module architecture in ELF header: 21"},
	{ELFShentsize, "", "", "Invalid ELF section header size"},
	{ELFShtable, "", "", "Invalid ELF section header overflow"},
	{ELFSection0, "", "", "ELF Spec violation: section 0 type(1)!=SH_NULL or non-zero len or addr"},
	{ELFBounds, "", "", "Invalid ELF section in module (section 12 type 1)"},
	{ELFBounds, "", "", "Module len 61440 truncated"},
	{ELFShstrndx, "", "", "Invalid ELF section name index: 40 || e_shstrndx (40) >= e_shnum (0)"},
	{ELFShstrtab, "", "", "Invalid ELF section hdr(type 3)"},
	{ELFShstrType, "", "", "Invalid ELF section name table type: 1"}, // 7.2
	{ELFShstrEmpty, "", "", "empty section name table"},
	{ELFShstrNUL, "", "", "ELF Spec violation: section name table isn't null terminated"},
	{ELFShname, "", "", "Invalid ELF section name in module (section 3 type 1)"},
	{ModinfoTwice, "", "", "Only one .modinfo section must exist."},
	{StructNone, "dummy", "", "dummy: No module found in object"},
	{StructNone, "", "", "(missing .modinfo section or name field): No module found in object"},
	{StructNone, "", "", "No module found in object"},
	{StructCount, "dummy", "", "module dummy: Only one .gnu.linkonce.this_module section must exist."},
	{StructCount, "", "", "module (missing .modinfo section or name field): Only one .gnu.linkonce.this_module section must exist."},
	{StructCount, "dummy", "", "module dummy: Exactly one .gnu.linkonce.this_module section must exist."}, // 7.2
	{StructNobits, "dummy", "", "module dummy: .gnu.linkonce.this_module section must have a size set"},   // 7.2
	{StructAlloc, "dummy", "", "module dummy: .gnu.linkonce.this_module must occupy memory during process execution"},
	{StructSize, "ms912x", "", "module ms912x: .gnu.linkonce.this_module section size must match the kernel's built struct module size at run time"},
	{Stripped, "dummy", "", "dummy: module has no symbols (stripped?)"},
	{SymtabLink, "", "", "Invalid ELF sh_link!=SHN_UNDEF(0) or (sh_link(0) >= hdr->e_shnum(41)"},
	{SymtabLink, "", "", "Invalid ELF sh_link!=SHN_UNDEF(-1) or (sh_link(-1) >= hdr->e_shnum(47)"},
	{StrtabType, "", "", "Invalid ELF symbol string table type: 1"},            // 7.2
	{VersionsExt, "", "", "extended version crc+name presence does not match"}, // 7.2
	{VersionsNames, "", "", "more extended version crcs than names"},           // 7.2
	{StrtabEmpty, "", "", "empty symbol string table"},                         // 7.2
	{StrtabLead, "", "", "symbol string table missing leading NUL"},            // 7.2
	{StrtabNUL, "", "", "symbol string table isn't NUL terminated"},            // 7.2
	{SymName, "", "", "symbol name out of bounds in string table"},             // 7.2

	{Blacklisted, "pcspkr", "", "Module pcspkr is blacklisted"},
	{LayoutCRC, "8812au", "", "8812au: disagrees about version of symbol module_layout"},
	{LayoutNoCRC, "fbtft_device", "", "fbtft_device: no symbol version for module_layout"},
	{Vermagic, "vmnet", "", "vmnet: version magic '5.0.0-25-generic SMP mod_unload ' should be '5.3.0-18-generic SMP mod_unload '"},
	{Vermagic, "dummy", "", "dummy: version magic '' should be '6.1.0-50-amd64 SMP preempt mod_unload modversions '"},
	{Livepatch, "dummy", "", "dummy: module is marked as livepatch module, but livepatch support is disabled"},

	{TaintLicense, "dummy", "", "dummy: module license 'unspecified' taints kernel."},
	{TaintOOT, "dummy", "", "dummy: loading out-of-tree module taints kernel."},
	{TaintStaging, "dummy", "", "dummy: module is from the staging directory, the quality is unknown, you have been warned."},
	{TaintTest, "dummy", "", "dummy: loading test module taints kernel."},
	{TaintLivepatch, "dummy", "", "dummy: tainting kernel with TAINT_LIVEPATCH"},
	{TaintForced, "dummy", "", "dummy: bad vermagic: kernel tainted."},
	{TaintForced, "fat", "", "fat: no versions for exported symbols: kernel tainted."},
	{TaintForced, "dummy", "", "dummy: module_layout: kernel tainted."},
	{TaintLegacy, "fat", "", "fat: module license taints kernel."},
	{TaintLocking, "", "", "Disabling lock debugging due to kernel taint"},
	{TaintParam, "", "", "Setting dangerous option enable_guc - tainting kernel"},
	{Retpoline, "", "", "Spectre V2 : System may be vulnerable to spectre v2"},
	{Retpoline, "dummy", "", "dummy: loading module not compiled with retpoline compiler."},

	{ArchSections, "lime", "", "Modules: lime: module PLT section(s) missing"},
	{ArchSections, "lime", "", "lime: module symtab section missing"},
	{ArchSections, "hello", "", "hello: module .got.plt section(s) missing"},
	{ArchSections, "hello", "", "module_64: hello: doesn't contain .stubs."},
	{ArchSections, "", "", "module_32: Module doesn't contain .plt or .init.plt sections."},
	{ArchSections, "hello", "", "module hello: no symbol table"},
	{ArchSections, "hello", "", "hello: no symtab found."},
	{WriteExec, "dummy", "", "dummy: section .modinfo (index 12) has invalid WRITE|EXEC flags"},
	{Memory, "", "", "execmem: unable to allocate memory"},
	{Percpu, "", "", "percpu: allocation failed, size=16384 align=64 atomic=0, alloc from reserved chunk failed"},
	{Percpu, "", "", "illegal size (1048576) or align (64) for percpu allocation"},
	{Percpu, "dummy", "", "dummy: Could not allocate 1048576 bytes percpu data"},
	{PercpuAlign, "dummy", "", "dummy: per-cpu alignment 8192 > 4096"},
	{Ctors, "dummy", "", "dummy: has both .ctors and .init_array."},
	{ObsParm, "dummy", "", "dummy: Ignoring obsolete parameters"},
	{ObsGPL, "hello", "", "hello: ignoring obsolete section __ksymtab_gpl"}, // 7.2
	{NoFlags, "hello", "", "hello: no flags for exported symbols"},          // 7.2
	{NSModule, "hello", "", "hello: module tries to import module namespace: module:kvm"},

	{SymMissing, "sd_mod", "t10_pi_type1_crc", "sd_mod: Unknown symbol t10_pi_type1_crc (err -2)"},
	{SymMissing, "dm_writeboost", "crc32c", "dm_writeboost: Unknown symbol crc32c (err 0)"},
	{SymMissing, "toa", "kallsyms_lookup_name", "toa: Unknown symbol kallsyms_lookup_name"},
	{SymMissing, "dummy", `\x01H\xc7\x83 \x01`, `dummy: Unknown symbol \x01H\xc7\x83 \x01 (err -2)`},
	{SymMissing, "dummy", "", "dummy: Unknown symbol  (err -2)"},
	{SymCRC, "hv_storvsc", "vmbus_driver_unregister", "hv_storvsc: disagrees about version of symbol vmbus_driver_unregister"},
	{SymNoCRC, "dummy", "ether_setup", "dummy: no symbol version for ether_setup"},
	{SymNoCRC, "hello", "printk", "hello: no extended symbol version for printk"}, // 7.2
	{Namespace, "virtio_dma_buf", "dma_buf_export", "virtio_dma_buf: module uses symbol (dma_buf_export) from namespace DMA_BUF, but does not import it."},
	{DupExport, "cfg80211", "__cfg80211_alloc_event_skb", "cfg80211: exports duplicate symbol __cfg80211_alloc_event_skb (owned by kernel)"},
	{SymCommon, "dummy", "", "dummy: please compile with -fno-common"},
	{SymIndex, "dummy", "dev_lstats_read", "dummy: Symbol dev_lstats_read has an invalid section index 41 (max 40)"},
	{SymTaint, "wl", "", "wl: module using GPL-only symbols uses symbols from proprietary module nvidia."},
	{SymTaint, "wl", "nvidia_get", "wl: module using GPL-only symbols uses symbols nvidia_get from proprietary module nvidia."},
	{SymInherit, "nvidia_drm", "", "nvidia_drm: module uses symbols from proprietary module nvidia, inheriting taint."},
	{SymInherit, "nvidia_drm", "nvKmsKapiGetFunctionsTable", "nvidia_drm: module uses symbols nvKmsKapiGetFunctionsTable from proprietary module nvidia_modeset, inheriting taint."},
	{SymBusy, "hello_user", "", "hello_user: gave up waiting for init of module hello."},
	{SymBusy, "hello_user", "hello_add", "hello_user: Unknown symbol hello_add (err -16)"},

	{RelocType, "lime", "", "module lime: unsupported RELA relocation: 311"},
	{RelocType, "lime", "", "Modules: module lime: unsupported RELA relocation: 275"},
	{RelocType, "dummy", "", "module: dummy: Unknown rela relocation: 3"},
	{RelocType, "redpill", "", "redpill: Unknown rela relocation: 4"},
	{RelocType, "dummy", "", "module: dummy: Unknown relocation: 0"},
	{RelocType, "driver", "", "driver: unknown relocation type 57"},
	{RelocType, "driver", "", "driver: Unknown relocation type 57"},
	{RelocType, "hello", "", "kmod: hello: Unknown relocation type 110"},
	{RelocType, "hello", "", "kmod: hello: Unsupport relocation type 68, please add its support."},
	{RelocType, "ipv6", "", "ipv6: unknown relocation: 82"},
	{RelocType, "hello", "", "module hello: unknown relocation: 55"},
	{RelocType, "hello", "", "module_64: hello: Unknown ADD relocation: 103"},
	{RelocType, "hello", "", "module_32: hello: unknown ADD relocation: 18"},
	{RelocType, "hello", "", "module hello: Unknown relocation: 0x1f"},
	{RelocType, "hello", "", "module hello: Unknown relocation: 19"},
	{RelocType, "hello", "", "hello: The unexpected relocation type 'R_RISCV_ALIGN' from PC = 00000000f2a3c1d4"},
	{RelocType, "hello", "", "hello: Dynamic linking not supported in kernel modules PC = 00000000f2a3c1d4"},
	{RelocType, "hello", "", "hello: Thread local storage not supported in kernel modules PC = 00000000f2a3c1d4"},
	{RelocForm, "dummy", "", "module dummy: REL relocation unsupported"},
	{RelocNonZero, "", "", "module: x86/modules: Skipping invalid relocation target, existing value is nonzero for type 4, loc 000000003dfbe0ec, val ffffffff8107655c"},
	{RelocNonZero, "", "", "x86/modules: Skipping invalid relocation target, existing value is nonzero for type 1, loc 000000006d33bbf3, val ffffffffc1ca8ccc"},
	{RelocNonZero, "", "", "module: x86/modules: Invalid relocation target, existing value is nonzero for type 2, loc 00000000ca2c83c3, val 661c"},
	{RelocNonZero, "", "", "module: x86/modules: Invalid relocation target, existing value is nonzero for sec 33, idx 1, type 1, loc ffffffffc0213498, val ffffffffc0211010"}, // 7.2
	{RelocRange, "", "", "module: overflow in relocation type 11 val 455551494e555f67"},
	{RelocRange, "", "", "module: overflow in relocation type 11 val 455551494e555f67 sec 3 idx 12"}, // 7.2
	{RelocRange, "dummy", "", "module: `dummy' likely not compiled with -mcmodel=kernel"},
	{RelocRange, "lime", "", "Modules: module lime: overflow in relocation type 261 val ffff800080a1b2c3"},
	{RelocRange, "optee", "printk", "optee: section 3 reloc 12 sym 'printk': relocation 28 out of range (0xbf000010 -> 0xc0a01234)"},
	{RelocRange, "hello", "", "hello: value ffffffff80001234 out of range for 32-bit field"},
	{RelocRange, "hello", "", "hello: value 300 out of range for 8-bit relocation."},
	{RelocRange, "hello", "", "hello: target ffffffff80001234 can not be addressed by the 32-bit offset from PC = 00000000f2a3c1d4"},
	{RelocRange, "hello", "", "module_64: hello: REL24 -4611686018427387904 out of range!"},
	{RelocRange, "hello", "", "module_64: hello: REL32 4294967296 out of range!"},
	{RelocRange, "hello", "", "module_64: hello: bad TOC16_DS relocation (0x12345)"},
	{RelocRange, "hello", "hello_add", "module_64: hello: Address of hello_add out of range of kernel_toc."},
	{RelocRange, "hello", "hello_add", "module hello: relocation error for symbol hello_add (r_type 19, value 0x1)"},
	{RelocRange, "hello", "", "module hello: relocation overflow"},
	{RelocRange, "hello", "hello_add", "module hello relocation of symbol hello_add is out of range (0x1234567 in 17 bits)"},
	{RelocRange, "hello", "", "kmod: module hello: jump offset = 0x10000000 overflow! dangerous R_LARCH_B26 (66) relocation"},
	{RelocRange, "hello", "", "kmod: module hello: opr1 = 0x1000 overflow! dangerous apply_r_larch_sop_imm_field (40) relocation"},
	{RelocOther, "hello", "", "hello: section 3 reloc 12: bad relocation sym offset"},
	{RelocOther, "hello", "foo", "hello: section 3 reloc 12 sym 'foo': out of bounds relocation, offset 4660 size 128"},
	{RelocOther, "hello", "foo", "hello: section 3 reloc 12 sym 'foo': unsupported interworking call (ARM -> Thumb)"},
	{RelocOther, "hello", "", "hello: Can not find HI20 relocation information"},
	{RelocOther, "hello", "", "module_64: hello: Expected nop after call, got 48000001 at hello_init+0x10/0x20"},
	{RelocOther, "hello", "", "module hello: dangerous R_MIPS_26 relocation"},
	{RelocOther, "", "", "livepatch: section .rela.text has an incorrectly formatted name"},

	{BTF, "", "", "BPF: hdr_len not found"},
	{BTF, "", "", "BPF:[154274] STRUCT task_struct"},
	{BTF, "", "", "Kernel module BTF mismatch detected, BTF debug info may be unavailable for some modules"},
	{BTFBase, "i2c_nvidia_gpu", "", "failed to validate module [i2c_nvidia_gpu] BTF: -22"},
	{Param, "dummy", "", "dummy: `99999999999' invalid for parameter `numdummies'"},
	{Param, "dummy", "", "dummy: `' invalid for parameter `numdummies'"},
	{Param, "scsi_debug", "", "scsi_debug: `ABCDEFGHIJKLMNOP' too large for parameter `inq_vendor'"},
	{Param, "", "", "inq_vendor: string doesn't fit in 8 chars."},
	{Param, "", "", "firmware: string parameter too long"},
	{Param, "", "", "arp_ip_target: can only take 16 arguments"},
	{ParamUnknown, "dummy", "", "dummy: unknown parameter 'num-dummies' ignored"},
	{ParamUnknown, "dummy", "", "dummy: Unknown parameter `foo'"},
	{ParamUnknown, "dummy", "", "dummy: Unknown parameter 'foo'"},
	{ParamDashes, "dummy", "", "dummy: parameters 'foo' after `--' ignored"},
	{SysfsName, "kernel", "", "kernel: module is already loaded"},
	{SysfsSection, "dummy", "", "sysfs: cannot create duplicate filename '/module/dummy/sections/.call_sites'"},
	{NameEmpty, "", "", "kobject: (000000008096adb3): attempted to be registered with empty name!"},
	{NameEmpty, "", "", "kobject: (____ptrval____): attempted to be registered with empty name!"},
}

// alike are the rows that the kernel itself does not tell apart: the first is the likelier.
var alike = map[Code][]Code{
	SymMissing: {SymGPL, SymTaint},
	BTFBase:    {BTF},
}

func TestRealLinesAreRecognised(t *testing.T) {
	for _, c := range realLines {
		hits := Match("[   12.345678] " + c.line + "\n")
		if len(hits) == 0 {
			t.Errorf("%q: nobody knows it, want %s", c.line, c.code)
			continue
		}
		h := hits[0]
		if h.Entry.Code != c.code || h.Module != c.module || h.Symbol != c.symbol {
			t.Errorf("%q: got %s, module %q, symbol %q; want %s, %q, %q", c.line, h.Entry.Code, h.Module, h.Symbol, c.code, c.module, c.symbol)
		}
		var others []Code
		for _, o := range hits[1:] {
			others = append(others, o.Entry.Code)
		}
		want := alike[c.code]
		if c.code == SymMissing && !strings.Contains(c.line, "-2") {
			want = nil
		}
		if d := cmp.Diff(want, others); d != "" {
			t.Errorf("%q: rows beside %s (-want +got):\n%s", c.line, c.code, d)
		}
	}
}

func TestEveryTextOfTheCatalogueHasARealLine(t *testing.T) {
	all := theMatcher().patterns
	met := make([]bool, len(all))
	for _, c := range realLines {
		line := Unprefixed(c.line)
		for _, a := range append([]string{""}, archPrefixes...) {
			rest, ok := strings.CutPrefix(line, a)
			for i := range all {
				if ok && Catalogue[all[i].entry].Code == c.code && all[i].re().MatchString(rest) {
					met[i] = true
				}
			}
		}
	}
	for i := range all {
		if p := &all[i]; !met[i] && !p.follows && Catalogue[p.entry].Code != SymGPL {
			t.Errorf("%s: no real line is tried with %s", Catalogue[p.entry].Code, p.re())
		}
	}
}

// The line comes after another one, which says why: alone it has several meanings, and the log sorts them out.
func TestALineThatFollowsBelongsToTheOneBefore(t *testing.T) {
	const follow = "x: Unknown symbol foo (err -22)"
	var got []Code
	for _, h := range Match(follow) {
		got = append(got, h.Entry.Code)
		if !h.Follows {
			t.Errorf("%s: is said to stand alone", h.Entry.Code)
		}
	}
	if d := cmp.Diff([]Code{SymCRC, SymNoCRC, Namespace}, got); d != "" {
		t.Errorf("alone (-want +got):\n%s", d)
	}
	for line, want := range map[string]Code{
		"x: disagrees about version of symbol foo":                                                                     SymCRC,
		"x: no symbol version for foo":                                                                                 SymNoCRC,
		"x: module uses symbol (foo) from namespace NS, but does not import it.":                                       Namespace,
		"y: module uses symbol (foo) from namespace NS, but does not import it.":                                       SymCRC,
		"x: module uses symbol (bar) from namespace NS, but does not import it.":                                       SymCRC,
		"x: gave up waiting for init of module y.\nx: Unknown symbol foo (err -16)":                                    SymBusy,
		"x: module using GPL-only symbols uses symbols foo from proprietary module y.\nx: Unknown symbol foo (err -2)": SymTaint,
	} {
		var l Log
		if !strings.Contains(line, "\n") {
			line += "\n" + follow
		}
		for s := range strings.SplitSeq(line, "\n") {
			l.Add(s)
		}
		l.Done()
		g := l.Groups[len(l.Groups)-1]
		if g.Entry.Code != want || g.Count != 1 || len(l.Groups) == 1 && (!g.Refused || len(g.Also) > 0) {
			t.Errorf("%q: got %s, %d times, refused %v, or %d others; want %s", line, g.Entry.Code, g.Count, g.Refused, len(g.Also), want)
		}
	}
}

// Kernels of kernel.org only warn of a missing CRC; the log shows it by what follows.
func TestWhatTheKernelLetsPassIsSeen(t *testing.T) {
	for log, want := range map[string]bool{
		"x: no symbol version for module_layout":                                                                  false,
		"x: no symbol version for module_layout\ny: loading out-of-tree module taints kernel.":                    false,
		"x: no symbol version for module_layout\nx: loading out-of-tree module taints kernel.":                    true,
		"x: no symbol version for foo":                                                                            true,
		"x: no symbol version for foo\nx: Unknown symbol foo (err -22)":                                           false,
		"x: module uses symbol (foo) from namespace NS, but does not import it.":                                  true,
		"x: module uses symbol (foo) from namespace NS, but does not import it.\nx: Unknown symbol foo (err -22)": false,
		"BPF: hdr_len not found": false,
		"BPF: hdr_len not found\nfailed to validate module [x] BTF: -22":                                                   false,
		"BPF: hdr_len not found\nKernel module BTF mismatch detected, BTF debug info may be unavailable for some modules":  true,
		"x: disagrees about version of symbol foo":                                                                         false,
		"insmod: ERROR: could not insert module x.ko: Invalid module format\nx: loading out-of-tree module taints kernel.": false,
	} {
		var l Log
		if err := l.Read(strings.NewReader(log)); err != nil {
			t.Fatal(err)
		}
		if got := l.Groups[0].Passed(); got != want {
			t.Errorf("%q: got %v", log, got)
		}
	}
}

func TestPrefixesOfLogsAreTakenOff(t *testing.T) {
	const line = "dummy: Unknown symbol foo (err -2)"
	for _, p := range []string{"", "  ", "[   12.345678] ", "[   12.345678][ T1234] ", "[    1.0] ", "<4>", "<4>[   12.345678] ", "[Wed Nov 12 10:00:00 2025] ",
		"[Nov12 10:00] ", "[  +0.000012] ", "Nov 12 10:00:00 host kernel: ", "Nov  2 10:00:00 host kernel: [   12.345678] ", "2025-11-12T10:00:00.123456+01:00 host kernel: ",
		"2025-11-12T10:00:00,123456+01:00 ", "2025-11-12 10:00:00 host kernel: ", "Wed 2025-11-12 10:00:00 CET host kernel: ", "kern  :warn  : [   12.345678] ",
		"4,1234,12345678,-;", "\x1b[32m[   12.345678] \x1b[0m\x1b[33m", "Nov 12 10:00:00 my-host.example kernel: "} {
		if got := Unprefixed(p + line + "\r\n"); got != line {
			t.Errorf("%q: got %q", p, got)
		}
	}
	for _, s := range []string{"kernel: module is already loaded", "x: module_layout: kernel tainted.", "scsi_debug:sdebug: trim"} {
		if got := Unprefixed(s); got != s {
			t.Errorf("%q: got %q", s, got)
		}
	}
	if h := Match("build@ci 17:03 dmesg: hello: Unknown symbol foo (err -2)"); len(h) == 0 || h[0].Module != "hello" {
		t.Errorf("a prefix that nobody knows: got %+v", h)
	}
}

func TestOtherLinesAreNobodys(t *testing.T) {
	for _, s := range []string{"", " ", "\n", "usb 1-1: new high-speed USB device number 4 using xhci_hcd", "loop: module loaded", "Unknown symbol", ": ", "(err -2)",
		"e1000e: Intel(R) PRO/1000 Network Driver", " load_module+0xba7/0x21a0", "BUG: kernel NULL pointer dereference, address: 0000000000000000", "\xff\xfe\x00"} {
		if h := Match(s); len(h) > 0 {
			t.Errorf("%q: got %s", s, h[0].Entry.Code)
		}
	}
}

func TestMessagesAreFilledFromTheLine(t *testing.T) {
	for line, want := range map[string][2]string{
		"hello: Unknown symbol foo (err -2)":                                     {"nothing exports foo", "load the module that exports foo first, or build against this kernel"},
		"8812au: disagrees about version of symbol module_layout":                {"the CRC of module_layout differs: the module is for a kernel with another struct module", ""},
		"module lime: unsupported RELA relocation: 311":                          {"a relocation type that the loader does not take", ""},
		"x: module uses symbol (foo) from namespace NS, but does not import it.": {"foo is in namespace NS, which the module does not import", "add MODULE_IMPORT_NS(NS) to the module's source"},
	} {
		h := Match(line)[0]
		if got := h.Message(); got != want[0] {
			t.Errorf("%q: got %q want %q", line, got, want[0])
		}
		if got := h.Hint(); want[1] != "" && got != want[1] {
			t.Errorf("%q: got %q want %q", line, got, want[1])
		}
	}
	if got := Lookup(SymMissing).Plain(Lookup(SymMissing).Dmesg[0].Format); got != "<module>: Unknown symbol <symbol> (err <errno>)" {
		t.Errorf("got %q", got)
	}
}

func TestKernelsAreOneRange(t *testing.T) {
	for code, want := range map[Code]string{SymMissing: "all", ELFMagic: "5.15+", Loaded: "", SigUnsigned: "5.4+", StructNone: "all", ELFModArch: "6.2+", NotModule: "before 5.15"} {
		if got := Lookup(code).Kernels(); got != want {
			t.Errorf("%s: got %q want %q", code, got, want)
		}
	}
}

func TestLinesOfUserSpace(t *testing.T) {
	for line, want := range map[string]string{
		"modprobe: ERROR: could not insert '8812au': Exec format error":                                              "ENOEXEC 8812au",
		"insmod: ERROR: could not insert module ./my-driver.ko: Invalid module format":                               "ENOEXEC my_driver",
		"insmod: ERROR: could not insert module hello.ko: Unknown symbol in module":                                  "ENOENT hello",
		"modprobe: ERROR: could not insert 'x': Unknown symbol in module, or unknown parameter (see dmesg)":          "ENOENT x",
		"modprobe: ERROR: could not insert 'hv_storvsc': Invalid argument":                                           "EINVAL hv_storvsc",
		"insmod: ERROR: could not insert module x.ko: Invalid parameters":                                            "EINVAL x",
		"modprobe: ERROR: could not insert 'nvidia': Required key not available":                                     "ENOKEY nvidia",
		"modprobe: ERROR: could not insert 'nvidia': Key was rejected by service":                                    "EKEYREJECTED nvidia",
		"modprobe: ERROR: could not insert 'vboxdrv': Operation not permitted":                                       "EPERM vboxdrv",
		"insmod: ERROR: could not insert module a.ko: File exists":                                                   "EEXIST a",
		"modprobe: ERROR: could not insert 'a': Module already in kernel":                                            "EEXIST a",
		"insmod: can't insert 'foo.ko': invalid module format":                                                       "ENOEXEC foo",
		"modprobe: can't load module foo (kernel/drivers/foo.ko): unknown symbol in module, or unknown parameter":    "ENOENT foo",
		"insmod: error inserting 'foo.ko': -1 Invalid module format":                                                 "ENOEXEC foo",
		"FATAL: Error inserting foo (/lib/modules/2.6.32/foo.ko): Invalid argument":                                  "EINVAL foo",
		"Nov 12 10:00:00 host systemd-modules-load[312]: Failed to insert module 'zfs': Key was rejected by service": "EKEYREJECTED zfs",
		`finit_module(3, "", 0)                  = -1 ENOEXEC (Exec format error)`:                                   "ENOEXEC ",
		"modprobe: FATAL: Module facetimehd not found in directory /lib/modules/6.8.0-31-generic":                    "- facetimehd",
		"Exec format error":                      "ENOEXEC ",
		"exec format error":                      "ENOEXEC ",
		"ENOEXEC":                                "ENOEXEC ",
		"enokey":                                 "ENOKEY ",
		"hello world":                            "",
		"could not insert 'x': the moon is full": "",
		"":                                       "",
	} {
		tool, ok := MatchTool(line)
		got := ""
		switch {
		case ok && tool.Text == nil:
			got = "- " + tool.Module
		case ok:
			got = tool.Text.Errno.Name() + " " + tool.Module
		}
		if got != want {
			t.Errorf("%q: got %q want %q", line, got, want)
		}
		if ok && len(Match(line)) > 0 {
			t.Errorf("%q: is a line of the kernel's log too", line)
		}
	}
}

func TestErrnoTextsNameRowsOfTheirNumber(t *testing.T) {
	for i := range ErrnoTexts {
		x := &ErrnoTexts[i]
		if x.Errno == 0 || x.Insmod == "" || x.Modprobe == "" || x.Why == "" {
			t.Errorf("%s: incomplete", x.Errno)
		}
		for _, c := range x.Usual {
			if Lookup(c) == nil {
				t.Errorf("%s: no row %s", x.Errno, c)
			}
		}
	}
}

// A log of any length is read in bounded memory: what is kept is bounded.
func TestALongLogIsCut(t *testing.T) {
	var b strings.Builder
	for i := range maxSymbols + 100 {
		fmt.Fprintf(&b, "<4>x: Unknown symbol sym_%d (err -2)\n", i)
	}
	for i := range maxGroups + 100 {
		fmt.Fprintf(&b, "m%d: loading out-of-tree module taints kernel.\n", i)
	}
	b.WriteString("z: Unknown symbol " + strings.Repeat("y", 1<<20) + " (err -2)\nusb 1-1: hello\n\x00\xff\n")
	var l Log
	if err := l.Read(strings.NewReader(b.String())); err != nil {
		t.Fatal(err)
	}
	g := l.Groups[0]
	if len(g.Symbols) != maxSymbols || g.More != 100 || g.Count != maxSymbols+100 || len(l.Groups) != maxGroups || l.Dropped == 0 || l.Lines != maxSymbols+maxGroups+203 {
		t.Errorf("got %d symbols and %d more of %d, %d groups, %d dropped, %d lines", len(g.Symbols), g.More, g.Count, len(l.Groups), l.Dropped, l.Lines)
	}
}

// FuzzMatch: no input makes the matcher panic; a hit has a row, and what it captured is part of the line.
func FuzzMatch(f *testing.F) {
	for _, c := range realLines {
		f.Add(c.line)
	}
	f.Add("Nov 12 10:00:00 host kernel: [   12.3] <4>x: y")
	f.Add("\x1b[31m[1]\xff: Unknown symbol \x00 (err -99999999999999999999)")
	f.Fuzz(func(t *testing.T, s string) {
		for _, h := range Match(s) {
			if h.Entry == nil || h.Severity == 0 {
				t.Fatalf("%q: an empty hit", s)
			}
			if !strings.Contains(s, h.Module) && !strings.Contains(s, "\x1b") && h.Module != "module" && h.Module != "kmod" {
				t.Fatalf("%q: module %q is not in it", s, h.Module)
			}
			_, _ = h.Message(), h.Hint()
		}
		MatchTool(s)
		var l Log
		l.Add(s)
		l.Add(s)
		l.Done()
	})
}

func BenchmarkMatch(b *testing.B) {
	for _, c := range []struct{ name, line string }{
		{"foreign", "[   12.345678] usb 1-1: new high-speed USB device number 4 using xhci_hcd"},
		{"missing symbol", "[   12.345678] dummy: Unknown symbol ether_setup (err -2)"},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				Match(c.line)
			}
		})
	}
}

func BenchmarkLog(b *testing.B) {
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "[   12.345678] usb 1-%d: new high-speed USB device number %d using xhci_hcd\n", i, i)
	}
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		var l Log
		if err := l.Read(strings.NewReader(text.String())); err != nil {
			b.Fatal(err)
		}
	}
}

func TestEveryLineOfTheCatalogueIsWhole(t *testing.T) {
	for i := range Lines {
		l := &Lines[i]
		if Lookup(l.Code) == nil {
			t.Errorf("%q: no row %s", l.Format, l.Code)
			continue
		}
		for _, p := range pieces(l.Format) {
			if p.arg > len(names(l.Args)) {
				t.Errorf("%s: %q wants argument %d of %q", l.Code, l.Format, p.arg, l.Args)
			}
		}
		if _, ok := newPattern(l.Format, l.Args); !ok {
			t.Errorf("%s: %q has no text of its own", l.Code, l.Format)
		}
	}
}

// The short cut to the patterns finds what a look at each finds.
func TestCandidatesMissNothing(t *testing.T) {
	m := theMatcher()
	for _, c := range realLines {
		var want, got []string
		line := Unprefixed(c.line)
		for i := range m.patterns {
			if p := &m.patterns[i]; p.re().MatchString(line) {
				want = append(want, p.expr)
			}
		}
		for _, i := range m.candidates(line) {
			if p := &m.patterns[i]; p.re().MatchString(line) {
				got = append(got, p.expr)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q (-want +got):\n%s", line, d)
		}
	}
}

func TestTheLineThatWeighsMostSpeaks(t *testing.T) {
	var l Log
	for _, s := range []string{"module: not signed with expected PKCS#7 message", "Loading of module with unsupported crypto is rejected"} {
		l.Add(s)
	}
	l.Done()
	if g := l.Groups[0]; len(l.Groups) != 1 || g.Severity != Error || g.Errno != EKEYREJECTED || !strings.HasPrefix(g.Line, "Loading") || g.Count != 2 {
		t.Errorf("got %d groups, %s %s %q", len(l.Groups), g.Severity, g.Errno, g.Line)
	}
}
