package kimage

import (
	"bytes"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"

	"kotool/internal/arch"
	"kotool/internal/bin"
)

// maxText bounds a line of text, and maxRelease a release, in bytes.
const (
	maxText    = 1024
	maxRelease = 64
)

// findBanner finds the line that the kernel begins its log with: "Linux version RELEASE (BUILDER) (COMPILER) #1 …".
//
// Source: init/version.c and init/version-timestamp.c: linux_banner.
func findBanner(b []byte) (release, banner string) {
	const start = "Linux version "
	for {
		i := bytes.Index(b, []byte(start))
		if i < 0 {
			return "", ""
		}
		b = b[i:]
		release, _, ok := bytes.Cut(b[len(start):min(len(b), len(start)+maxRelease+2)], []byte(" ("))
		// linux_proc_banner is a format: "%s version %s (…".
		if ok && isRelease(string(release)) {
			line := b[:min(len(b), maxText)]
			if end := bytes.IndexAny(line, "\n\x00"); end >= 0 {
				line = line[:end]
			}
			return string(release), string(line)
		}
		b = b[len(start):]
	}
}

// isRelease reports whether s could be what uname -r says.
func isRelease(s string) bool {
	if s == "" || len(s) > maxRelease || s[0] < '0' || s[0] > '9' {
		return false
	}
	for i := range len(s) {
		if !printable(s[i]) {
			return false
		}
	}
	return strings.Contains(s, ".")
}

// texts finds the banner and with it the release.
func (im *Image) texts(places []bin.View) {
	for _, v := range places {
		if im.Release, im.Banner = findBanner(v.Bytes()); im.Banner != "" {
			return
		}
	}
}

// vermagicWords are the words of a vermagic behind the release that every machine has, as far as they are configured.
//
// Source: include/linux/vermagic.h (5.10 to 7.2).
var vermagicWords = []string{"SMP", "preempt", "preempt_rt", "mod_unload", "modversions"}

// moduleWord reports whether the vermagic has that word.
func moduleWord(vermagic, word string) bool {
	for w := range strings.FieldsSeq(vermagic) {
		if w == word {
			return true
		}
	}
	return false
}

// vermagic finds the string that modules' vermagic is compared with: the release, and words.
func (im *Image) vermagic(places []bin.View) {
	if im.Release == "" {
		return
	}
	start := []byte(im.Release + " ")
	for _, v := range places {
		b, at := v.Bytes(), 0
		for {
			i := bytes.Index(b[at:], start)
			if i < 0 {
				break
			}
			at += i
			end := at + len(start)
			for end < len(b) && end < at+maxText && (b[end] == ' ' || printable(b[end])) {
				end++
			}
			begins := at == 0 || b[at-1] != ' ' && !printable(b[at-1])
			if begins && end < len(b) && b[end] == 0 && isVermagic(string(b[at+len(start):end])) {
				im.Vermagic = string(b[at:end])
				return
			}
			at = end
		}
	}
	im.note("no vermagic: no string begins with the release and has the words of one (CONFIG_MODULES may be off)")
}

// isVermagic reports whether words are those behind the release.
func isVermagic(words string) bool {
	known := false
	for w := range strings.FieldsSeq(words) {
		for i := range len(w) {
			if c := w[i]; c == '(' || c == '#' || c == '%' {
				return false
			}
		}
		for _, k := range vermagicWords {
			known = known || w == k
		}
	}
	return known
}

func printable(c byte) bool { return c > ' ' && c < 0x7f }

// archOfVermagic guesses the machine by the words that some have in their vermagic.
//
// Source: arch/*/include/asm/vermagic.h: MODULE_ARCH_VERMAGIC.
func archOfVermagic(vermagic string) *arch.Arch {
	for w := range strings.FieldsSeq(vermagic) {
		switch {
		case strings.HasPrefix(w, "ARMv"):
			return arch.Named("arm")
		case w == "aarch64":
			return arch.Named("arm64")
		case w == "riscv":
			return arch.Named("riscv64")
		case w == "LOONGARCH":
			return arch.Named("loongarch64")
		}
	}
	return nil
}

// config finds the embedded configuration.
//
// Source: kernel/configs.c: IKCFG_ST, gzip, IKCFG_ED.
func (im *Image) config(places []bin.View) {
	const start, end, most = "IKCFG_ST", "IKCFG_ED", 16 << 20
	for _, v := range places {
		b := v.Bytes()
		for {
			i := bytes.Index(b, []byte(start))
			if i < 0 {
				break
			}
			off := v.Len() - uint64(len(b)) + uint64(i) + v.Off()
			b = b[i+len(start):]
			if !bytes.HasPrefix(b, []byte("\x1f\x8b")) {
				continue
			}
			body := b
			if n := bytes.Index(b, []byte(end)); n >= 0 {
				body = b[:n]
			}
			r, err := gzip.NewReader(bytes.NewReader(body))
			if err == nil {
				r.Multistream(false)
				var text []byte
				if text, err = io.ReadAll(io.LimitReader(r, most)); err == nil {
					im.Config = text
					return
				}
			}
			im.note("the embedded configuration at offset %#x is damaged: %v", off, plainer(err))
			return
		}
	}
	im.note("no embedded configuration (CONFIG_IKCONFIG is off)")
}

// findBTF finds the kernel's type information in memory without section headers: the largest that is one.
//
// Source: Documentation/bpf/btf.rst.
func findBTF(b []byte, big bool) []byte {
	const header, longest = 24, 256
	magic := []byte{0x9f, 0xeb, 1, 0}
	if big {
		magic = []byte{0xeb, 0x9f, 1, 0}
	}
	var found []byte
	for {
		i := bytes.Index(b, magic)
		if i < 0 || len(b)-i < header {
			return found
		}
		b = b[i:]
		v := bin.New(b, 0, big)
		size, types, typesLen, strs, strsLen := uint64(v.U32(4)), uint64(v.U32(8)), uint64(v.U32(12)), uint64(v.U32(16)), uint64(v.U32(20))
		total := size + strs + strsLen
		if size >= header && size <= longest && types == 0 && strs >= typesLen && strs-typesLen < longest && strsLen > 0 && total <= uint64(len(b)) &&
			b[size+strs] == 0 && b[total-1] == 0 && total > uint64(len(found)) {
			found = b[:total:total]
			b = b[total:]
			continue
		}
		b = b[len(magic):]
	}
}
