package compat

import (
	"bytes"
	stdelf "debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

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
	filters, bad, text := xzFiltersOf(t, head[12:])
	switch {
	case got != "":
		text = "the xz stream has " + got + ", the kernel's decoder takes none or CRC32"
		if filters != "" {
			got += ", " + filters
		}
	case bad:
		got = filters
	default:
		return nil
	}
	f := diag.New(diag.Compress, t.Version, text, xzOptionsError)
	f.Step = "1.8"
	f.Certain = &yes
	f.Want, f.Got = "check none or CRC32, LZMA2", got
	return &f
}

// The zstd decoder's answers. Source: include/linux/zstd_errors.h: ZSTD_ErrorCode; those of the kernel's copy are zstd's own.
const (
	zstdWindowTooLarge  = 16 // frameParameter_windowTooLarge
	zstdCorrupt         = 20 // corruption_detected
	zstdChecksumWrong   = 22 // checksum_wrong
	zstdDictionaryWrong = 32 // dictionary_wrong
)

// zlib's answers. Source: include/linux/zlib.h.
const (
	zlibDataError = -3
	zlibBufError  = -5 // no input is left
)

// zstdWindow is the largest window of a stream, bytes: zstd_init_dstream leaves maxWindowSize as ZSTD_initStaticDStream sets it.
//
// Source: lib/zstd/decompress/zstd_decompress.c: ZSTD_MAXWINDOWSIZE_DEFAULT.
const zstdWindow = 1<<27 + 1

// zstdFor judges the header of a zstd frame. The dictionary is looked at before the window.
//
// Source: RFC 8878, 3.1.1.1; kernel/module/decompress.c: module_zstd_decompress (6.2 to 7.0); lib/zstd/decompress/zstd_decompress.c:
// ZSTD_getFrameHeader_advanced, ZSTD_decodeFrameHeader, ZSTD_decompressStream.
func zstdFor(t *Target, head []byte) *diag.Finding {
	if !t.has(kver.Since(6, 2)) || len(head) < 18 {
		return nil
	}
	flags, b := head[4], head[5:]
	window, log := uint64(0), 0
	single := flags&0x20 != 0
	if !single {
		log = 10 + int(b[0]>>3)
		base := uint64(1) << log
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
	narrow := t.Arch != nil && t.Arch.Class == stdelf.ELFCLASS32
	maxLog := 31 // ZSTD_WINDOWLOG_MAX
	if narrow {
		maxLog = 30
	}
	finding := func(status int, line, text, want, got string) *diag.Finding {
		f := diag.New(diag.Compress, t.Version, text, status)
		f.Dmesg, f.Want, f.Got, f.Step = []string{line}, want, got, "1.8"
		f.Hint, f.Certain = "compress it as modules_install does: zstd -T0 --rm (no --long, no -D)", &yes
		return &f
	}
	failed := func(status int) string { return fmt.Sprintf("ZSTD-decompression failed with status %d", status) }
	const incomplete = "ZSTD-compressed data has an incomplete frame header" // for every error that the header's parser returns
	small, large := fmt.Sprintf("a window of %d MiB at most", zstdWindow>>20), fmt.Sprintf("%d MiB", window>>20)
	tooLarge := fmt.Sprintf("the zstd frame asks for a window of %d MiB, the kernel's decoder takes %d MiB", window>>20, zstdWindow>>20)
	switch {
	case flags&8 != 0:
		return finding(0, incomplete, "the zstd frame's header has the reserved bit set", "a frame as RFC 8878 has it", "a reserved bit")
	case log > maxLog:
		return finding(0, incomplete, tooLarge, small, large)
	case narrow && window > 1<<maxLog: // with 64 bits the comparison is one with a negative int, and never true
		return finding(0, "ZSTD-compressed data has too large a window size", tooLarge, small, large)
	case dict != 0:
		return finding(zstdDictionaryWrong, failed(zstdDictionaryWrong), fmt.Sprintf("the zstd frame was made with dictionary %d, and the kernel's decoder has none", dict),
			"no dictionary", fmt.Sprintf("dictionary %d", dict))
	case window > zstdWindow:
		return finding(zstdWindowTooLarge, failed(zstdWindowTooLarge), tooLarge, small, large)
	}
	return nil
}

// xzFiltersOf names the first block's filters, "" where they are not there; bad: the decoder does not take them, and text says why.
//
// Source: lib/xz/xz_dec_stream.c: dec_block_header; lib/xz/xz_dec_lzma2.c: xz_dec_lzma2_reset.
func xzFiltersOf(t *Target, block []byte) (names string, bad bool, text string) {
	if len(block) < 8 || block[0] == 0 {
		return "", false, ""
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
	if flags&0x3e != 0 { // more than two filters, or reserved bits
		return fmt.Sprintf("block flags %#x", flags), true, "the xz stream has more than one filter before LZMA2, or reserved flags: the kernel's decoder takes LZMA2 and one branch filter"
	}
	if flags&0x40 != 0 {
		number()
	}
	if flags&0x80 != 0 {
		number()
	}
	var list []string
	for range flags&3 + 1 {
		id, n := number(), number()
		if n > uint64(len(b)) {
			return "", false, ""
		}
		properties := b[:n]
		b = b[n:]
		name := fmt.Sprintf("filter %#x", id)
		switch option := xzFilters[id]; {
		case id == 0x21 && n == 1:
			name = "filter LZMA2, dictionary " + xzDictionary(properties[0])
			if properties[0] > 39 {
				return name, true, "the xz stream asks for a dictionary of " + xzDictionary(properties[0]) + ", the kernel's decoder takes 3 GiB at most"
			}
		case id == 0x21:
		case option == "":
			return name, true, fmt.Sprintf("the xz stream has filter %#x, which the kernel's decoder does not know", id)
		case t.Is(option) == No:
			return name, true, fmt.Sprintf("the xz stream has filter %#x, for which the kernel lacks CONFIG_%s", id, option)
		}
		list = append(list, name)
	}
	return strings.Join(list, ", "), false, ""
}

// xzDictionary is the size that LZMA2's property byte stands for. Source: the .xz file format 1.2.1, 5.3.1.
func xzDictionary(property byte) string {
	if property >= 40 {
		return "4 GiB"
	}
	size := (2 | uint64(property&1)) << (property/2 + 11)
	if size < 1<<20 {
		return fmt.Sprintf("%d KiB", size>>10)
	}
	if size%(1<<20) != 0 {
		return fmt.Sprintf("%.1f MiB", float64(size)/(1<<20))
	}
	return fmt.Sprintf("%d MiB", size>>20)
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
	in, err := source.OpenBytes("-", l.bytes(0, l.src.Size()), source.Options{MaxSize: 1 << 30, Any: true})
	if err == nil {
		defer in.Close()
		err = in.Damage
	}
	var b []byte
	if in != nil {
		b, _ = in.ReadAll() // what came out before it broke
	}
	if text := l.streamError(name, err); text != "" {
		status := streamStatus(name, err, xzEnded(l.bytes(0, l.src.Size())))
		f := diag.New(diag.Compress, l.T.Version, "the "+name+" stream is damaged: "+text, status)
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

// streamError is what the kernel finds wrong with a stream, "" for nothing: zstd's loop ends with the input, complete or not, and gzip's
// checksum is behind what zlib_inflate is given.
func (l *Load) streamError(name string, err error) string {
	switch {
	case err == nil, name == "zstd" && errors.Is(err, source.ErrCut), name == "gzip" && errors.Is(err, gzip.ErrChecksum):
		return ""
	}
	return err.Error()
}

// streamStatus is the decoder's number for a damaged stream. ended: an xz stream has its footer.
func streamStatus(name string, err error, ended bool) int {
	switch name {
	case "gzip":
		if errors.Is(err, source.ErrCut) {
			return zlibBufError
		}
		return zlibDataError
	case "zstd":
		if errors.Is(err, zstd.ErrCRCMismatch) {
			return zstdChecksumWrong
		}
		return zstdCorrupt
	}
	if ended {
		return xzDataError
	}
	return xzOK
}

// xzEnded reports whether a stream has its footer.
func xzEnded(b []byte) bool {
	b = bytes.TrimRight(b, "\x00")
	return len(b) > 12 && string(b[len(b)-2:]) == "YZ" && binary.LittleEndian.Uint32(b[len(b)-8:]) != 0
}
