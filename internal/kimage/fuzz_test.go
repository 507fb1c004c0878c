package kimage

import (
	"runtime"
	"testing"
)

// FuzzOpen's contract: no panic; what is returned lies within the limit; memory stays bounded by the limit and the size of the input.
func FuzzOpen(f *testing.F) {
	k := amd64()
	k.exports = 40
	arm := machines()["arm"]
	arm.exports = 40
	s390x := machines()["s390x, which is to be relocated"]
	s390x.exports = 40
	small, arm64 := k.elf(), machines()["arm64"].raw()
	f.Add(small)
	f.Add(arm64)
	f.Add(s390x.elf())
	for packing, pack := range packers {
		f.Add(bzImageOf(pack(small)))
		f.Add(zbootOf(pack(arm64), packing, 0xaa64))
		f.Add(zImageOf(pack(arm.raw()), packing != "xz"))
		f.Add(uImageOf(pack(arm64), 22, 1))
	}
	for _, b := range streams(f) {
		f.Add(b)
	}
	const limit = 8 << 20
	f.Fuzz(func(t *testing.T, data []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		im, err := Open(data, limit)
		runtime.ReadMemStats(&after)
		// The window of a stream may be 128 MiB; everything else comes from what is there and what may come out.
		if used := after.TotalAlloc - before.TotalAlloc; used > 2*maxWindow+16*limit+64*uint64(len(data)) {
			t.Errorf("%d bytes of input took %d of memory", len(data), used)
		}
		if err != nil {
			return
		}
		if len(im.Plain) > max(limit, len(data)) || im.Kind == "" || im.Packing == "" {
			t.Errorf("got %q, %q, %d bytes", im.Kind, im.Packing, len(im.Plain))
		}
		n := 0
		for s := range im.Symbols() {
			if n++; s.Name == "" {
				t.Error("a symbol without a name")
			}
		}
		im.Address("init_task")
	})
}
