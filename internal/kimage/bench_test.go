package kimage

import (
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkOpen reads real kernels: what is over the time of the reference tool (xz -dc, zstd -dc) is ours.
func BenchmarkOpen(b *testing.B) {
	for path := range kernels(b) {
		b.Run(filepath.Base(filepath.Dir(path))+"/"+filepath.Base(path), func(b *testing.B) {
			data, err := os.ReadFile(path)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Open(data, 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
