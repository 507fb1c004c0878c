package check

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kotool/internal/compat"
	"kotool/internal/elftest"
	"kotool/internal/kver"
	"kotool/internal/report"
	"kotool/internal/source"
	"kotool/internal/symvers"
	"kotool/internal/target"
)

// FuzzLoad: whatever a file holds, each kernel has an answer to it: no panic, no endless loop, and one of the three verdicts, with an errno if
// and only if it is refused.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"amd64-*/hello*.ko", "*-6.1/hello.ko", "*-7.2/prop.ko"} {
		list, err := filepath.Glob(filepath.Join("..", "..", "testdata", "ko", pattern))
		if err != nil || len(list) == 0 {
			f.Fatalf("%s: %v", pattern, err)
		}
		for _, p := range list {
			b, err := os.ReadFile(p)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b, byte(len(p)))
		}
	}
	for _, m := range elftest.Machines {
		f.Add(elftest.Module(m, "sample").Bytes(), byte(3))
	}
	f.Add([]byte("\x7fELF"), byte(0))
	rows, err := symvers.Parse([]byte("0xbce1a965\tmodule_layout\tvmlinux\tEXPORT_SYMBOL\t\n0x92997ed8\t_printk\tvmlinux\tEXPORT_SYMBOL\tNS\n0x00000001\ttestexport\thello\tEXPORT_SYMBOL_GPL\t\n"))
	if err != nil {
		f.Fatal(err)
	}
	versions := []kver.Version{{}, kver.V(5, 10), kver.V(6, 1), kver.V(6, 12), kver.V(7, 2)}
	mem := &compat.Scratch{}
	f.Fuzz(func(t *testing.T, b []byte, how byte) {
		defer time.AfterFunc(20*time.Second, func() { panic("no answer after 20 s") }).Stop()
		tg := compat.Target{Version: versions[int(how)%len(versions)], Vermagic: "6.1.0-50-amd64 SMP preempt mod_unload modversions ", Symvers: []*symvers.Table{rows},
			ModVersions: how&16 != 0, Struct: compat.StructModule{Size: 0x380, Init: 0x138, Exit: 0x350}, Live: map[string]compat.Export{}, LiveModules: map[string]*compat.LiveModule{}}
		if how&32 != 0 {
			tg.NoExports, tg.Symvers = true, nil
		}
		open := func(string) (*source.Input, error) {
			return source.Open("-", source.Options{Stdin: bytes.NewReader(b), MaxSize: 8 << 20})
		}
		s := &Session{T: &target.Target{Target: tg}, Info: &report.CheckTarget{}, Open: open}
		src, err := open("")
		if err != nil {
			return // too large, or a broken stream: the command says so
		}
		defer src.Close()
		d, err := NewDraft(s.Frozen(), "-", src, b[:min(len(b), 64)], mem)
		if err != nil {
			t.Fatal(err) // the bytes are in memory: nothing can go wrong with reading
		}
		s.Register(d)
		s.Complete(d)
		r, err := s.Answer(d)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case r.Verdict == report.Refused && r.Errno != 0 && r.Stage != "":
		case (r.Verdict == report.Loads || r.Verdict == report.Undecided) && r.Errno == 0:
		default:
			t.Errorf("verdict %s, errno %v, stage %q: %+v", r.Verdict, r.Errno, r.Stage, r.Findings)
		}
	})
}
