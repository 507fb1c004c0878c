package e2e

import (
	"bytes"
	"debug/elf"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func fixtureModules(t *testing.T) map[string][]byte {
	t.Helper()
	found, err := filepath.Glob(filepath.Join("..", "..", "testdata", "ko", "*", "*.ko"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no modules: %v", err)
	}
	files := map[string][]byte{}
	for _, p := range found {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(filepath.Dir(p))+"/"+strings.TrimSuffix(filepath.Base(p), ".ko")] = b
	}
	return files
}

func TestMutantsOfEveryMachine(t *testing.T) {
	t.Parallel()
	machinesSeen := map[string]bool{}
	files := fixtureModules(t)
	files["armel-6.1/hello"] = bytes.ReplaceAll(files["armhf-6.1/hello"], []byte(" ARMv7 "), []byte(" ARMv6 "))
	for name, file := range files {
		m, err := machineOf(file)
		if err != nil {
			continue // a machine that is not booted
		}
		machinesSeen[m.Name] = true
		before := bytes.Clone(file)
		list, err := Mutants(Module{Name: filepath.Base(name), File: file})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !bytes.Equal(before, file) {
			t.Errorf("%s: the module itself was changed", name)
		}
		if len(list) < 25 {
			t.Errorf("%s: %d mutants", name, len(list))
		}
		ids := map[string]bool{}
		for _, x := range list {
			if ids[x.ID] || x.What == "" || x.Name == "" {
				t.Errorf("%s: %+v", name, x)
			}
			ids[x.ID] = true
			asItWas := bytes.Equal(x.File, unsigned(file))
			if odd := x.Params != "" || x.Flags != 0 || x.Syscall != "" || strings.HasSuffix(x.ID, "-intact"); asItWas != odd && !strings.HasSuffix(x.ID, "-ignored") && !strings.HasSuffix(x.ID, "-xz") {
				t.Errorf("%s: %s: is the file as it was: %t", name, x.ID, asItWas)
			}
		}
	}
	for i := range machines {
		if !machinesSeen[machines[i].Name] {
			t.Errorf("no module of %s was looked at", machines[i].Name)
		}
	}
}

func mutant(t *testing.T, list []Mutant, id string) []byte {
	t.Helper()
	i := slices.IndexFunc(list, func(m Mutant) bool { return m.ID == id })
	if i < 0 {
		t.Fatalf("no mutant %s", id)
	}
	return list[i].File
}

func TestMutantsAreWhatTheySay(t *testing.T) {
	t.Parallel()
	file := fixtureModules(t)["amd64-6.1/hello_user"]
	list, err := Mutants(Module{Name: "hello_user", File: file})
	if err != nil {
		t.Fatal(err)
	}
	open := func(id string) *elf.File {
		f, err := elf.NewFile(bytes.NewReader(mutant(t, list, "hello_user-"+id)))
		if err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		return f
	}
	if f := open("elf-machine"); f.Machine == elf.EM_X86_64 {
		t.Error("elf-machine: still x86-64")
	}
	if f := open("modinfo-not-alloc"); f.Section(".modinfo").Flags&elf.SHF_ALLOC != 0 {
		t.Error("modinfo-not-alloc: has SHF_ALLOC")
	}
	if f := open("section-wx"); !slices.ContainsFunc(f.Sections, func(s *elf.Section) bool {
		return s.Flags&(elf.SHF_WRITE|elf.SHF_EXECINSTR) == elf.SHF_WRITE|elf.SHF_EXECINSTR
	}) {
		t.Error("section-wx: no such section")
	}
	if f := open("this-module-missing"); f.Section(thisModule) != nil {
		t.Error("this-module-missing: is there")
	}
	if f := open("symtab-stripped"); f.SectionByType(elf.SHT_SYMTAB) != nil {
		t.Error("symtab-stripped: is there")
	}
	for id, key := range map[string]string{"vermagic-missing": "vermagic", "license-missing": "license", "namespace-missing": "import_ns"} {
		if v, ok := modinfo(mutant(t, list, "hello_user-"+id), key); ok {
			t.Errorf("%s: %s=%s", id, key, v)
		}
	}
	lost := slices.DeleteFunc(undefined(file), func(n string) bool {
		return slices.Contains(undefined(mutant(t, list, "hello_user-symbol-unknown")), n)
	})
	if len(lost) != 1 {
		t.Errorf("symbol-unknown: lacks %q, want one", lost)
	}
	x, err := parseObject(mutant(t, list, "hello_user-reloc-type"))
	if err != nil {
		t.Fatal(err)
	}
	if got := x.relocs()[0].typ; got != 254 {
		t.Errorf("reloc-type: %d", got)
	}
}

func TestRelocationsOfMIPS64AreFound(t *testing.T) {
	t.Parallel()
	x, err := parseObject(fixtureModules(t)["mips64el-6.1/hello"])
	if err != nil {
		t.Fatal(err)
	}
	before := bytes.Clone(x.b)
	seen := map[uint32]int{}
	list := x.relocs()
	for _, r := range list {
		seen[r.typ]++
		if int(r.sym) > len(x.syms) {
			t.Fatalf("symbol %d of %d", r.sym, len(x.syms))
		}
	}
	for _, typ := range []elf.R_MIPS{elf.R_MIPS_HI16, elf.R_MIPS_LO16, elf.R_MIPS_64} {
		if seen[uint32(typ)] == 0 {
			t.Errorf("no %v in %v", typ, seen)
		}
	}
	x.setReloc(list[0], 254)
	if got := x.relocs()[0]; got.typ != 254 || got.sym != list[0].sym {
		t.Errorf("got %+v, was %+v", got, list[0])
	}
	if n, _ := differences(x.b, before); n != 1 {
		t.Errorf("%d bytes were changed", n)
	}
}

func TestTwinsHaveAnotherName(t *testing.T) {
	t.Parallel()
	files := fixtureModules(t)
	for _, machine := range []string{"amd64-6.1", "armhf-6.1", "s390x-6.1"} {
		list, err := Twins(Module{Name: "hello", File: files[machine+"/hello"]})
		if err != nil {
			t.Fatal(err)
		}
		if len(list) != 2 || list[0].ID != "hello-again" || !list[0].Keep {
			t.Fatalf("%s: %+v", machine, list)
		}
		m, err := machineOf(list[1].File)
		if err != nil {
			t.Fatal(err)
		}
		x, err := parseObject(list[1].File)
		if err != nil {
			t.Fatal(err)
		}
		if name := cString(x.b[x.thisModuleName(m):]); name != "hellQ" || list[1].Name != name {
			t.Errorf("%s: struct module has %q, the mutant %q", machine, name, list[1].Name)
		}
	}
	list, err := Twins(Module{Name: "hello_user", File: files["amd64-6.1/hello_user"]})
	if err != nil || len(list) != 1 {
		t.Errorf("a module without exports: %d twins, %v", len(list), err)
	}
}

func TestSignatureIsCutOff(t *testing.T) {
	t.Parallel()
	files := fixtureModules(t)
	if got := unsigned(files["amd64-6.1/hello-signed"]); !bytes.Equal(got, files["amd64-6.1/hello"]) {
		t.Errorf("got %d bytes, want those of hello.ko: %d", len(got), len(files["amd64-6.1/hello"]))
	}
	odd := []byte("\xff\xff\xff\xff" + signatureMagic)
	if got := unsigned(odd); !bytes.Equal(got, odd) {
		t.Error("a signature longer than the file was cut off")
	}
}

func TestObjectsThatAreDamagedAreRefused(t *testing.T) {
	t.Parallel()
	file := fixtureModules(t)["amd64-6.1/hello"]
	for n := range len(file) {
		if n%97 == 0 {
			if _, err := parseObject(file[:n]); err == nil {
				t.Errorf("%d bytes: got no error", n)
			}
		}
	}
}
