package sim

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	stdelf "debug/elf"

	"kotool/internal/compat"
	"kotool/internal/elf"
	"kotool/internal/oracledir"
	"kotool/internal/oracletest"
	"kotool/internal/recording"
)

// TestReplayMakesTheBytesOfRealKernels repeats recordings: every section lies where the kernel had it, and has the kernel's bytes when relocation
// is done.
func TestReplayMakesTheBytesOfRealKernels(t *testing.T) {
	list, _ := filepath.Glob(filepath.Join(oracledir.Path(), "mini", "*", "modules.json"))
	if len(list) == 0 {
		t.Skipf("no recordings of real kernels in %s: set KOTOOL_ORACLE to the folder that has them", oracledir.Path())
	}
	for _, p := range list {
		dir := filepath.Dir(p)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			r, err := recording.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			k, err := Replayed(r, &compat.Target{})
			if err != nil {
				t.Fatal(err)
			}
			var total tally
			for i := range r.Modules {
				total.add(replay(t, k, r, &r.Modules[i]))
			}
			t.Logf("%d modules, %d sections, %d bytes equal, %d differ, %d at another address", total.modules, total.sections, total.equal, total.differ, total.moved)
			if total.modules == 0 || total.equal == 0 {
				t.Error("nothing was compared")
			}
		})
	}
}

type tally struct{ modules, sections, equal, differ, moved int }

func (a *tally) add(b tally) {
	a.modules, a.sections, a.equal, a.differ, a.moved = a.modules+b.modules, a.sections+b.sections, a.equal+b.equal, a.differ+b.differ, a.moved+b.moved
}

func replay(t *testing.T, k *Kernel, r *recording.Recording, m *recording.Module) (n tally) {
	t.Helper()
	path, err := r.File(m)
	if err != nil {
		t.Fatal(err)
	}
	req := RequestOf(elf.Mem(oracletest.ReadFile(t, path)))
	if err := req.Replay(r, m, k.T.Arch); err != nil {
		t.Fatal(err)
	}
	want, err := r.Image(m, "reloc")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	pre, _ := r.Image(m, "pre") // few have it
	req.Relocated = func(s *Snapshot) {
		n.modules++
		byIndex := map[int]*SnapshotSection{}
		for i := range s.Sections {
			byIndex[s.Sections[i].Index] = &s.Sections[i]
		}
		recorded := m.Reloc
		if m.PreAddr != 0 && len(pre) > 0 {
			recorded = append(recorded[:len(recorded):len(recorded)], recording.Section{Name: "(pre)", Index: -1, Addr: m.PreAddr, Size: uint64(len(pre)), Off: int64(len(want)), Flags: 2})
			want = append(want[:len(want):len(want)], pre...)
		}
		for i := range recorded {
			rs := &recorded[i]
			if rs.Off < 0 || rs.Size == 0 || rs.Name == thisModule || rs.Type == uint32(stdelf.SHT_SYMTAB) || rs.Name == ".strtab" {
				if rs.Flags&2 != 0 && rs.Size != 0 {
					if s := byIndex[rs.Index]; s != nil && (s.Addr != rs.Addr || s.Size != rs.Size) {
						n.moved++
						t.Errorf("%s: %s lies at %#x (%#x), recorded at %#x (%#x)", m.Name, rs.Name, s.Addr, s.Size, rs.Addr, rs.Size)
					}
				}
				continue
			}
			s := byIndex[rs.Index]
			if s == nil || s.Data == nil {
				t.Errorf("%s: %s: no memory", m.Name, rs.Name)
				continue
			}
			n.sections++
			if s.Addr != rs.Addr || s.Size != rs.Size {
				n.moved++
				t.Errorf("%s: %s lies at %#x (%#x), recorded at %#x (%#x)", m.Name, rs.Name, s.Addr, s.Size, rs.Addr, rs.Size)
			}
			w := want[rs.Off : uint64(rs.Off)+rs.Size]
			bad := 0
			for j := range w {
				if j >= len(s.Data) || s.Data[j] != w[j] {
					if bad++; bad == 1 {
						t.Errorf("%s: %s+%#x: got % x want % x", m.Name, rs.Name, j, s.Data[j:min(j+16, len(s.Data))], w[j:min(j+16, len(w))])
					}
				}
			}
			n.differ += bad
			n.equal += len(w) - bad
		}
	}
	k.T.Granted = Grants(r, req.Fixed)
	res := k.Load(req)
	if int(res.Errno) != m.Errno || res.Undefined != nil {
		t.Errorf("%s: got %v (%v) %v, the kernel %d", m.Name, res.Errno, res.Undefined, res.Log, m.Errno)
	}
	if w := strings.Fields(m.ProcModules); len(w) >= 6 && res.Module != nil {
		if size := strconv.FormatUint(res.Module.Size, 10); w[1] != size || w[5] != fmt.Sprintf("%#0*x", len(w[5])-2, res.Module.Addr) && w[5] != fmt.Sprintf("0x%0*x", len(w[5])-2, res.Module.Addr) {
			t.Errorf("%s: size %s at %#x, /proc/modules has %s at %s", m.Name, size, res.Module.Addr, w[1], w[5])
		}
	}
	return n
}

const thisModule = ".gnu.linkonce.this_module"
