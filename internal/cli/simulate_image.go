package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"kotool/internal/compat"
	"kotool/internal/kver"
	"kotool/internal/module"
	"kotool/internal/sim"
)

// relocate loads a module into a kernel that grants its own word, and shows its memory.
func relocate(m *module.Module, show func(*sim.Snapshot)) error {
	t := &compat.Target{OnlyLoaded: true, Granted: func([]byte) bool { return true }, LeaveWeak: true}
	if v, err := kver.Parse(m.InfoValue("vermagic")); err == nil {
		t.Version = v
	}
	req := sim.RequestOf(m.File.Source())
	shown := false
	req.Relocated = func(s *sim.Snapshot) {
		shown = true
		show(s)
	}
	res := sim.NewKernel(t).Load(req)
	switch {
	case shown:
		return nil
	case res.Undefined != nil:
		return fmt.Errorf("%s: %w", res.Stage, res.Undefined)
	}
	return fmt.Errorf("%s: refused with %s before it is relocated", res.Stage, res.Errno.Name())
}

// writeImage writes NAME.json, the section table, and NAME.bin, the bytes.
func writeImage(dir, name string, snap *sim.Snapshot) error {
	if name == "" || name != filepath.Base(name) || name == "." || name == ".." {
		return fmt.Errorf("%q is no name for a file", name)
	}
	type section struct {
		Name string `json:"name"`
		Idx  int    `json:"idx"`
		Addr uint64 `json:"addr"`
		Size uint64 `json:"size"`
		Off  int64  `json:"off"`
	}
	var list []section
	var image []byte
	for i := range snap.Sections {
		x := &snap.Sections[i]
		e := section{x.Name, x.Index, x.Addr, x.Size, -1}
		if x.Data != nil {
			e.Off = int64(len(image))
			image = append(image, x.Data...)
		}
		list = append(list, e)
	}
	b, err := json.MarshalIndent(map[string]any{"name": name, "sections": list}, "", " ")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".json"), append(b, '\n'), 0o644)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".bin"), image, 0o644)
	}
	return err
}
