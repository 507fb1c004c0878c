package sim

import (
	"fmt"
	"strings"
	"testing"

	"kotool/internal/compat"
	"kotool/internal/elf"
	"kotool/internal/kver"
)

// partsOf is a module's memory, region by region: kind, permissions and size of each part.
func partsOf(t *testing.T, path string, v kver.Version, options string) string {
	t.Helper()
	b := fixtures(t)["../../testdata/ko/"+path]
	target := &compat.Target{OnlyLoaded: true, Granted: func([]byte) bool { return true }, Version: v}
	target.Config = func(name string) (string, bool) {
		for _, o := range strings.Fields(options) {
			if key, value, _ := strings.Cut(o, "="); key == name {
				return value, true
			}
		}
		return "", false
	}
	res := NewKernel(target).Load(RequestOf(elf.Mem(b)))
	if res.Errno != 0 || res.Undefined != nil {
		t.Fatalf("%s: %v %v %v", path, res.Errno, res.Undefined, res.Log)
	}
	var out []string
	for i := range res.Regions {
		end := uint64(0)
		for _, p := range res.Parts(i) {
			if p.Off != end {
				t.Errorf("%s: %s begins at %#x, not %#x", path, p.Kind, p.Off, end)
			}
			end = p.Off + p.Size
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %d %s", p.Kind, p.Perm, p.Size, p.Before)))
		}
		if g := &res.Regions[i]; end != g.Used {
			t.Errorf("%s: the parts of %s end at %#x, it at %#x", path, g.Kind, end, g.Used)
		}
	}
	return strings.Join(out, ", ")
}

func TestPartsHaveThePermissionsThatTheKernelSets(t *testing.T) {
	for _, c := range []struct {
		path    string
		v       kver.Version
		options string
		want    string
	}{
		{"amd64-6.1/hello.ko", kver.V(6, 1), "", "text r-x 4096, rodata r-- 4096, ro-after-init r-- 4096 rw-, data rw- 8192, init text r-x 4096, init data rw- 8192"},
		{"amd64-6.1/prop.ko", kver.V(6, 1), "", "text r-x 4096, rodata r-- 4096, data rw- 8192, init data rw- 4096"},
		{"amd64-6.12/hello.ko", kver.V(6, 12), "", "text r-x 4096, data rw- 4096, rodata r-- 4096, ro-after-init r-- 4096 rw-, init text r-x 4096, init data rw- 4096"},
		{"mipsel-6.1/paramkinds.ko", kver.V(6, 1), "STRICT_MODULE_RWX=n", "core rwx 2045, init rwx 4942"},
		{"mipsel-6.1/paramkinds.ko", kver.V(6, 12), "", "text rwx 4096, data rwx 4096, rodata rwx 4096, init text rwx 4096, init data rwx 8192"},
	} {
		if got := partsOf(t, c.path, c.v, c.options); got != c.want {
			t.Errorf("%s %s:\ngot  %s\nwant %s", c.path, c.options, got, c.want)
		}
	}
}
