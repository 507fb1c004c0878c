package kimage

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"strings"

	"kotool/internal/arch"
	"kotool/internal/bin"
)

// Offsets and magic numbers of the headers.
//
// Source: Documentation/arch/x86/boot.rst; Documentation/arch/arm64/booting.rst; Documentation/arch/riscv/boot-image-header.rst;
// arch/arm/boot/compressed/head.S; drivers/firmware/efi/libstub/zboot-header.S; arch/s390/boot/head.S; U-Boot's include/image.h.
const (
	offSetupSects = 0x1f1
	offBootFlag   = 0x1fe
	offHdrS       = 0x202
	offBootProto  = 0x206
	offVersion    = 0x20e // of the text, less 0x200
	offXLoad      = 0x236
	offPayload    = 0x248
	setupHeader   = 0x268 // bytes up to the end of what is read

	offMagic64   = 0x38 // of arm64, riscv and the PE header's offset's neighbour on loongarch
	offZImage    = 0x24
	zImageMagic  = 0x016f2818
	zImageTable  = 0x5a534c4b
	zImageOffs   = 0x45454545
	offS390      = 0x10008
	uImageMagic  = 0x27051956
	uImageHeader = 64
	linuxPEMagic = 0x818223cd
)

// wrapping is one layer around a kernel, or the kernel itself (content).
type wrapping struct {
	kind    string // empty: compression only
	facts   facts
	content bool
	elf     bool

	body    bin.View // what is in it
	packing string   // of body; empty: see search
	search  bool     // body has a compressed kernel somewhere
	sized   bool     // body ends with four bytes, little-endian, of the plain size
	last    bool     // those of sized are the last bytes of what is searched
}

// Looks reports whether the first bytes of a file, 4096 are enough, are those of a kernel image; of vmlinux, which is ELF, they are not.
func Looks(head []byte) bool {
	if bytes.HasPrefix(head, []byte(elf.ELFMAG)) {
		return false
	}
	return packingOf(head) != "" || headerOf(head) != ""
}

// headerOf names the boot header at the beginning of b; empty: none.
func headerOf(b []byte) string {
	le := func(off int) uint32 {
		if len(b) < off+4 {
			return 0
		}
		return binary.LittleEndian.Uint32(b[off:])
	}
	has := func(off int, s string) bool { return len(b) >= off+len(s) && string(b[off:off+len(s)]) == s }
	switch {
	case has(0, "MZ") && has(4, "zimg"):
		return "EFI zboot"
	case has(offHdrS, "HdrS") && has(offBootFlag, "\x55\xaa"):
		return "bzImage"
	case has(offMagic64, "ARM\x64"):
		return "arm64"
	case has(offMagic64, "RSC\x05") || has(0x30, "RISCV\x00\x00\x00"):
		return "riscv"
	case le(offZImage) == zImageMagic || le(offZImage) == 0x18286f01:
		return "zImage"
	case has(0, "\x27\x05\x19\x56"):
		return "uImage"
	case has(offS390, "S390EP") || has(0, "\x00\x08\x00\x00\x80\x00\x02\x00") && has(0x20, strings.Repeat("\x40", 16)):
		return "s390"
	case has(0, "MZ") && le(offMagic64) == linuxPEMagic && peMachine(b) == 0x6264:
		return "loongarch"
	}
	return ""
}

// recognise looks at the beginning of data.
func recognise(data []byte) (w wrapping, err error) {
	v := bin.New(data, 0, false)
	if bytes.HasPrefix(data, []byte(elf.ELFMAG)) {
		return wrapping{kind: "vmlinux", content: true, elf: true}, nil
	}
	switch headerOf(data) {
	case "bzImage":
		return bzImage(v)
	case "EFI zboot":
		return zboot(v)
	case "zImage":
		return zImage(v)
	case "uImage":
		return uImage(v)
	case "s390":
		w = wrapping{kind: "bzImage", body: v, search: true, sized: true}
		w.facts.arch = arch.Named("s390x")
		w.facts.release, _ = findBanner(data)
		return w, nil
	case "arm64":
		w = wrapping{kind: "Image", content: true}
		w.facts.arch = arch.Named("arm64")
		if flags, err := v.Slice(0x18, 8); err == nil && flags.U64(0)&1 != 0 {
			w.facts.arch = arch.Named("arm64be")
		}
		return w, whole(v)
	case "riscv":
		w = wrapping{kind: "Image", content: true}
		w.facts.arch = arch.Named("riscv64")
		if pe := peMachine(data); pe == 0x5032 {
			w.facts.arch = arch.Named("riscv32")
		}
		return w, whole(v)
	case "loongarch":
		w = wrapping{kind: "Image", content: true}
		w.facts.arch = arch.Named("loongarch64")
		return w, whole(v)
	}
	if p := packingOf(data); p != "" {
		return wrapping{body: v, packing: p}, nil
	}
	// Memory of a kernel without a header: arm, s390, mips.
	return wrapping{content: true}, nil
}

// bzImage is that of x86: a real-mode part of sectors, then the code that unpacks, with the payload in it.
func bzImage(v bin.View) (wrapping, error) {
	w := wrapping{kind: "bzImage"}
	h, err := v.Slice(0, setupHeader)
	if err != nil {
		return w, fmt.Errorf("bzImage: setup header: %w", err)
	}
	sects := uint64(h.U8(offSetupSects))
	if sects == 0 {
		sects = 4
	}
	if text, err := v.Clip(0x200+uint64(h.U16(offVersion)), 256).CString(0); err == nil && h.U16(offVersion) != 0 {
		w.facts.release, _, _ = strings.Cut(string(text), " ")
	}
	w.facts.arch = arch.Named("i386")
	if h.U16(offXLoad)&1 != 0 {
		w.facts.arch = arch.Named("x86_64")
	}
	if proto := h.U16(offBootProto); proto < 0x208 {
		// Before 2.6.24 the header does not say where the payload is.
		w.body, w.search = v, true
		return w, nil
	}
	start := (sects + 1) * 512
	w.body, err = v.Slice(start+uint64(h.U32(offPayload)), uint64(h.U32(offPayload+4)))
	if err != nil {
		return w, fmt.Errorf("bzImage: payload: %w", err)
	}
	if w.packing = packingOf(w.body.Bytes()); w.packing == "" {
		if w.body.Len() < 4 || !bytes.HasPrefix(w.body.Bytes(), []byte(elf.ELFMAG)) {
			return w, fmt.Errorf("bzImage: payload: offset %#x: neither ELF nor compressed in a known way", w.body.Off())
		}
		w.packing = "none"
	}
	w.sized = true
	return w, nil
}

// zboot is an EFI application that unpacks the kernel. The payload does not count the four bytes of size that follow it.
func zboot(v bin.View) (wrapping, error) {
	w := wrapping{kind: "EFI zboot"}
	h, err := v.Slice(0, 0x40)
	if err != nil {
		return w, fmt.Errorf("EFI zboot: header: %w", err)
	}
	w.facts.arch = archOfPE(v.Bytes())
	off, size := uint64(h.U32(8)), uint64(h.U32(12))
	w.body, err = v.Slice(off, size)
	if err != nil {
		return w, fmt.Errorf("EFI zboot: payload: %w", err)
	}
	if w.packing = packingOf(w.body.Bytes()); w.packing == "" {
		name, _ := h.Clip(0x18, 32).CString(0)
		return w, fmt.Errorf("EFI zboot: payload: offset %#x: not compressed in a known way; the header says %q", off, name)
	}
	return w, nil
}

// zImage is that of arm. The table that newer ones have says where the payload ends, but not where it begins.
func zImage(v bin.View) (wrapping, error) {
	w := wrapping{kind: "zImage", body: v, search: true, sized: true}
	w.facts.arch = arch.Named("arm")
	v = bin.New(v.Bytes(), 0, v.Bytes()[offZImage] == 0x01)
	h, err := v.Slice(0, 0x3c)
	if err != nil {
		return w, fmt.Errorf("zImage: header: %w", err)
	}
	if v.Big() {
		w.facts.arch = arch.Named("armeb")
	}
	start, end := h.U32(0x28), h.U32(0x2c)
	if end > start && uint64(end-start) > v.Len() {
		return w, fmt.Errorf("zImage: %w", &bin.RangeError{Off: v.Len(), Want: uint64(end-start) - v.Len(), Have: 0})
	}
	if h.U32(0x34) != zImageOffs {
		return w, nil
	}
	table := uint64(h.U32(0x38))
	t, err := v.Slice(table, 16)
	if err != nil || t.U32(4) != zImageTable {
		return w, nil //nolint:nilerr // the table is a help and no more
	}
	if sizeAt := uint64(t.U32(8)); sizeAt > table && sizeAt <= v.Len()-4 {
		w.body, w.last = v.Clip(0, sizeAt+4), true
	}
	if t.U32(0) >= 5 {
		if more, err := v.Slice(table, 20); err == nil {
			w.facts.textOffset = uint64(more.U32(16))
		}
	}
	return w, nil
}

// uImage is U-Boot's.
func uImage(v bin.View) (wrapping, error) {
	w := wrapping{kind: "uImage"}
	v = bin.New(v.Bytes(), 0, true)
	h, err := v.Slice(0, uImageHeader)
	if err != nil {
		return w, fmt.Errorf("uImage: header: %w", err)
	}
	size := uint64(h.U32(12))
	w.body, err = v.Slice(uImageHeader, size)
	if err != nil {
		return w, fmt.Errorf("uImage: payload: %w", err)
	}
	switch machine := h.U8(29); machine { // IH_ARCH_*
	case 2:
		w.facts.arch = arch.Named("arm")
	case 3:
		w.facts.arch = arch.Named("i386")
	case 5:
		w.facts.arch = arch.Named("mips")
	case 7:
		w.facts.arch = arch.Named("ppc")
	case 22:
		w.facts.arch = arch.Named("arm64")
	case 24:
		w.facts.arch = arch.Named("x86_64")
	case 26:
		w.facts.arch = arch.Named("riscv64")
	}
	const multi = 4 // IH_TYPE_MULTI: sizes of the parts, a 0, the parts
	if h.U8(30) == multi {
		n, first := uint64(0), uint64(0)
		for size := range w.body.All(4) {
			if n += 4; size.U32(0) == 0 {
				break
			}
			if n == 4 {
				first = uint64(size.U32(0))
			}
		}
		w.body, err = w.body.Slice(n, first)
		if err != nil {
			return w, fmt.Errorf("uImage: first part: %w", err)
		}
	}
	w.packing = "none"
	if comp := h.U8(31); comp != 0 {
		if w.packing = packingOf(w.body.Bytes()); w.packing == "" {
			return w, fmt.Errorf("uImage: payload: offset %#x: not compressed in a known way; the header says %d", w.body.Off(), comp)
		}
	}
	return w, nil
}

// peHeader is the COFF header of an EFI application; empty: none.
func peHeader(b []byte) bin.View {
	v := bin.New(b, 0, false)
	h, err := v.Slice(0, 0x40)
	if err != nil || h.U16(0) != 0x5a4d {
		return bin.View{}
	}
	at := uint64(h.U32(0x3c))
	sig, err := v.Slice(at, 24)
	if err != nil || sig.U32(0) != 0x4550 {
		return bin.View{}
	}
	return v.Clip(at+4, v.Len())
}

// peMachine is IMAGE_FILE_HEADER.Machine; 0: no PE header.
func peMachine(b []byte) uint16 {
	h := peHeader(b)
	if h.Len() < 20 {
		return 0
	}
	return h.U16(0)
}

func archOfPE(b []byte) *arch.Arch {
	switch peMachine(b) {
	case 0xaa64:
		return arch.Named("arm64")
	case 0x5064:
		return arch.Named("riscv64")
	case 0x5032:
		return arch.Named("riscv32")
	case 0x6264:
		return arch.Named("loongarch64")
	case 0x6232:
		return arch.Named("loongarch32")
	case 0x8664:
		return arch.Named("x86_64")
	case 0x14c:
		return arch.Named("i386")
	case 0x1c0, 0x1c2, 0x1c4:
		return arch.Named("arm")
	}
	return nil
}

// whole says whether an image that is an EFI application has all of its sections.
func whole(v bin.View) error {
	h := peHeader(v.Bytes())
	if h.Len() < 20 {
		return nil // without EFI nothing tells
	}
	n, optional := uint64(h.U16(2)), uint64(h.U16(16))
	list, err := h.Slice(20+optional, n*40)
	if err != nil {
		return fmt.Errorf("Image: sections of the PE header: %w", err)
	}
	for s := range list.All(40) {
		size, at := uint64(s.U32(16)), uint64(s.U32(20))
		if _, err := v.Slice(at, size); err != nil {
			name := bytes.TrimRight(s.Bytes()[:8], "\x00")
			return fmt.Errorf("Image: section %q: %w", name, err)
		}
	}
	return nil
}
