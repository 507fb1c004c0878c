package target

import (
	"fmt"
	"os"
	"strings"

	"kotool/internal/btf"
	"kotool/internal/kimage"
	"kotool/internal/source"
)

func looksLikeImage(b []byte) bool { return kimage.Looks(b) }

// image is a kernel image.
func (b *Builder) image(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	if uint64(st.Size()) > b.Limit {
		return fmt.Errorf("%s: %w", path, &source.LimitError{Size: uint64(st.Size()), Limit: b.Limit})
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return b.imageOf(path, data)
}

func (b *Builder) imageOf(path string, data []byte) error { return b.imageFacts(path, data, true) }

// imageFacts takes what an image says; its exports only where they are wanted.
func (b *Builder) imageFacts(path string, data []byte, exports bool) error {
	img, err := kimage.Open(data, b.Limit)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	b.fact(release, img.Release, path, Kernel)
	b.fact(vermagic, img.Vermagic, path, Kernel)
	if img.Arch != nil {
		b.fact(machine, img.Arch.Name, path, Kernel)
	}
	if strings.Contains(img.Banner, "debian-kernel@") {
		b.fact(vendorFact, "Debian", path, Kernel)
	} else if img.Banner != "" {
		b.fact(vendorFact, "other", path, Kernel)
	}
	if len(img.Config) > 0 {
		if err := b.configOf(path+" (embedded)", img.Config); err != nil {
			return err
		}
	}
	if base := btf.ReadBase(img.BTF, img.Arch != nil && img.Arch.BigEndian); base != nil {
		b.fact(baseTypes, fmt.Sprintf("%#x", base.Types), path, Kernel)
		b.bases = append(b.bases, base)
	}
	says := []string{img.Kind}
	if img.Packing != "" && img.Packing != "none" {
		says = append(says, img.Packing)
	}
	if img.Release != "" {
		says = append(says, img.Release)
	}
	if len(img.Exports) > 0 && exports {
		tab, err := exportTable(img.Exports, "vmlinux")
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		b.addExports(tab, path)
		b.fromImage++
		says = append(says, fmt.Sprintf("%d symbols", len(img.Exports)))
	}
	says = append(says, img.Notes...)
	if b.t.Address == nil && b.t.Addresses == nil {
		b.t.Address, b.t.AddressFrom = img.Address, path
	}
	b.say("image", path, "%s", strings.Join(says, ", "))
	return nil
}
