package compat

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"kotool/internal/diag"
	"kotool/internal/elf"
	"kotool/internal/kver"
	"kotool/internal/source"
)

// xzStatus are the kernel decoder's answers. Source: include/linux/xz.h: enum xz_ret.
const (
	xzOK           = 0 // the stream ended too early
	xzOptionsError = 6
	xzDataError    = 7
)

// xzFilters are the filters of an xz block besides LZMA2, with the options that bring them into the kernel. Source: lib/xz/Kconfig.
var xzFilters = map[uint64]string{4: "XZ_DEC_X86", 5: "XZ_DEC_POWERPC", 7: "XZ_DEC_ARM", 8: "XZ_DEC_ARMTHUMB", 9: "XZ_DEC_SPARC", 10: "XZ_DEC_ARM64", 11: "XZ_DEC_RISCV"}

// CompressedFor judges a compressed file as the kernel's own decoder does, by its headers. It returns nil where there is nothing to say.
//
// Source: kernel/module/decompress.c; lib/xz/xz_dec_stream.c: dec_stream_header, dec_block_header; lib/zstd/decompress/zstd_decompress.c.
func CompressedFor(t *Target, head []byte) *diag.Finding {
	if t.Is("MODULE_DECOMPRESS") == No {
		return nil
	}
	if bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")) {
		return zstdFor(t, head)
	}
	if !bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")) || len(head) < 24 || !t.has(kver.Since(5, 17)) {
		return nil
	}
	got := ""
	switch check := head[7] & 15; check {
	case 0, 1: // none, CRC32
	case 4:
		got = "check CRC64"
	case 10:
		got = "check SHA-256"
	default:
		got = fmt.Sprintf("check number %d", check)
	}
	text := "the xz stream has " + got + ", the kernel's decoder takes none or CRC32"
	if got == "" {
		if got, text = xzBadFilter(t, head[12:]); got == "" {
			return nil
		}
	}
	f := diag.New(diag.Compress, t.Version, text, xzOptionsError)
	f.Step = "1.8"
	f.Certain = &yes
	f.Want, f.Got = "check none or CRC32, LZMA2", got
	return &f
}

// The zstd decoder's answers, and the largest window that it takes, in bytes. Source: include/linux/zstd_errors.h, lib/zstd/decompress.
const (
	zstdTooLarge   = 16
	zstdDictionary = 32
	zstdWindow     = 1 << 27
)

// zstdFor looks at the header of a zstd frame. Source: RFC 8878, 3.1.1.1.
func zstdFor(t *Target, head []byte) *diag.Finding {
	if !t.has(kver.Since(6, 2)) || len(head) < 18 {
		return nil
	}
	flags, b := head[4], head[5:]
	window := uint64(0)
	single := flags&0x20 != 0
	if !single {
		base := uint64(1) << (10 + b[0]>>3)
		window, b = base+base/8*uint64(b[0]&7), b[1:]
	}
	dict := uint64(0)
	for i := range [...]int{0, 1, 2, 4}[flags&3] {
		dict |= uint64(b[i]) << (8 * i)
	}
	b = b[[...]int{0, 1, 2, 4}[flags&3]:]
	if single {
		for i := range [...]int{1, 2, 4, 8}[flags>>6] {
			window |= uint64(b[i]) << (8 * i)
		}
		if flags>>6 == 1 {
			window += 256
		}
	}
	var f diag.Finding
	switch {
	case window > zstdWindow:
		f = diag.New(diag.Compress, t.Version, fmt.Sprintf("the zstd frame asks for a window of %d MiB, the kernel's decoder takes %d MiB", window>>20, zstdWindow>>20), zstdTooLarge)
		f.Dmesg = []string{fmt.Sprintf("ZSTD-decompression failed with status %d", zstdTooLarge)}
		f.Want, f.Got = fmt.Sprintf("a window of %d MiB at most", zstdWindow>>20), fmt.Sprintf("%d MiB", window>>20)
	case dict != 0:
		f = diag.New(diag.Compress, t.Version, fmt.Sprintf("the zstd frame was made with dictionary %d, and the kernel's decoder has none", dict), zstdDictionary)
		f.Dmesg = []string{fmt.Sprintf("ZSTD-decompression failed with status %d", zstdDictionary)}
		f.Want, f.Got = "no dictionary", fmt.Sprintf("dictionary %d", dict)
	default:
		return nil
	}
	f.Hint, f.Certain = "compress it as modules_install does: zstd -T0 --rm (no --long, no -D)", &yes
	f.Step = "1.8"
	return &f
}

// xzBadFilter looks at the first block's filters.
func xzBadFilter(t *Target, block []byte) (got, text string) {
	if len(block) < 8 || block[0] == 0 {
		return "", ""
	}
	flags := block[1]
	size := (int(block[0]) + 1) * 4
	b := block[2:min(len(block), size)]
	number := func() (v uint64) {
		for shift := 0; len(b) > 0 && shift < 63; shift += 7 {
			c := b[0]
			b = b[1:]
			v |= uint64(c&0x7f) << shift
			if c&0x80 == 0 {
				break
			}
		}
		return v
	}
	if flags&0x40 != 0 {
		number()
	}
	if flags&0x80 != 0 {
		number()
	}
	for range flags&3 + 1 {
		id, n := number(), number()
		if n > uint64(len(b)) {
			return "", ""
		}
		b = b[n:]
		switch option := xzFilters[id]; {
		case id == 0x21:
		case option == "":
			return fmt.Sprintf("filter %#x", id), fmt.Sprintf("the xz stream has filter %#x, which the kernel's decoder does not know", id)
		case t.Is(option) == No:
			return fmt.Sprintf("filter %#x", id), fmt.Sprintf("the xz stream has filter %#x, for which the kernel lacks CONFIG_%s", id, option)
		}
	}
	return "", ""
}

// decompress replaces the file by what is in it, as the kernel does for MODULE_INIT_COMPRESSED_FILE.
func (l *Load) decompress(name string) diag.Errno {
	head := l.bytes(0, 1024)
	if f := CompressedFor(l.T, head); f != nil {
		f.Severity, f.Errno = diag.Error, diag.EINVAL
		l.Append(f.Dmesg...)
		l.Findings = append(l.Findings, *f)
		return f.Errno
	}
	in, err := source.Open("-", source.Options{Stdin: bytes.NewReader(l.bytes(0, l.src.Size())), MaxSize: 1 << 30, Any: true})
	if err == nil {
		defer in.Close()
		err = in.Damage
	}
	var b []byte
	if err == nil {
		b, err = in.ReadAll()
	}
	if err != nil {
		status := xzDataError
		if !xzEnded(l.bytes(0, l.src.Size())) {
			status = xzOK
		}
		f := diag.New(diag.Compress, l.T.Version, "the "+name+" stream is damaged: "+err.Error(), status)
		if name == "zstd" {
			f.Dmesg = []string{fmt.Sprintf("ZSTD-decompression failed with status %d", status)}
		}
		f.Step, f.Severity, f.Errno, f.Hint = l.step, diag.Error, diag.EINVAL, ""
		l.Append(f.Dmesg...)
		l.Findings = append(l.Findings, f)
		return f.Errno
	}
	l.src = elf.Mem(bytes.Clone(b))
	l.Len = l.src.Size()
	return 0
}

// xzEnded reports whether a stream has its footer.
func xzEnded(b []byte) bool {
	b = bytes.TrimRight(b, "\x00")
	return len(b) > 12 && string(b[len(b)-2:]) == "YZ" && binary.LittleEndian.Uint32(b[len(b)-8:]) != 0
}
