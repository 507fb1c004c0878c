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
// Source: kernel/module/decompress.c; lib/xz/xz_dec_stream.c: dec_stream_header, dec_block_header.
func CompressedFor(t *Target, head []byte) *diag.Finding {
	if !bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")) || len(head) < 24 || !t.has(kver.Since(5, 17)) || t.Is("MODULE_DECOMPRESS") == No {
		return nil
	}
	text := ""
	switch check := head[7] & 15; check {
	case 0, 1: // none, CRC32
	case 4:
		text = "CRC64"
	case 10:
		text = "SHA-256"
	default:
		text = fmt.Sprintf("number %d", check)
	}
	if text != "" {
		text = "the xz stream has check " + text + ", the kernel's decoder takes none or CRC32"
	} else if bad := xzBadFilter(t, head[12:]); bad != "" {
		text = bad
	}
	if text == "" {
		return nil
	}
	f := diag.New(diag.Compress, t.Version, text, xzOptionsError)
	f.Step = "1.8"
	f.Certain = &yes
	f.Want, f.Got = "check none or CRC32, LZMA2", text[len("the xz stream has "):]
	return &f
}

// xzBadFilter looks at the first block's filters.
func xzBadFilter(t *Target, block []byte) string {
	if len(block) < 8 || block[0] == 0 {
		return ""
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
			return ""
		}
		b = b[n:]
		switch option := xzFilters[id]; {
		case id == 0x21:
		case option == "":
			return fmt.Sprintf("the xz stream has filter %#x, which the kernel's decoder does not know", id)
		case t.Is(option) == No:
			return fmt.Sprintf("the xz stream has filter %#x, for which the kernel lacks CONFIG_%s", id, option)
		}
	}
	return ""
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
