package cli

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	stdelf "debug/elf"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/testscript"

	"kotool/internal/debtest"
	"kotool/internal/elftest"
)

// mutateModule is mutate IN OUT CHANGE...: a copy of a module with changes.
//
//	modinfo KEY=VALUE      set a tag of .modinfo
//	tag KEY=VALUE          add one
//	untag KEY              take one out
//	crc SYMBOL=0xCRC       in __versions
//	symbol OLD=NEW         another name for a symbol
//	import NAME,...        undefined symbols more
//	drop SECTION           a section that is not there
//	rename OLD=NEW         another name for a section
//	size SECTION=BYTES     another size
//	flags SECTION=FLAGS    other flags
//	reloc SECTION:I=TYPE   another relocation type
//	byte OFFSET=VALUE      a byte of the file; a negative offset counts from the end
//	data SECTION=FILE      other bytes
//	btf OWN:REF            a .BTF of OWN types, the last of which points to type REF
//	etype TYPE             another e_type: 2 makes it look like a vmlinux
//	cut BYTES              the beginning of the file only
func mutateModule(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args)%2 != 0 {
		ts.Fatalf("usage: mutate IN OUT [CHANGE ARGUMENT]...")
	}
	b := []byte(ts.ReadFile(args[0]))
	o := elftest.Edit(b)
	defer func() {
		if r := recover(); r != nil {
			if _, runtime := r.(error); runtime {
				panic(r)
			}
			ts.Fatalf("mutate: %v", r) // a section or symbol that is not there
		}
	}()
	number := func(s string) uint64 {
		n, err := strconv.ParseUint(s, 0, 64)
		ts.Check(err)
		return n
	}
	for i := 2; i < len(args); i += 2 {
		what, arg := args[i], args[i+1]
		key, value, _ := strings.Cut(arg, "=")
		switch what {
		case "modinfo":
			o.Modinfo(key, value)
		case "tag":
			o.AddTag(key, value)
		case "untag":
			o.Untag(key)
		case "crc":
			o.CRC(key, uint32(number(value)))
		case "symbol":
			o.Symbol(key, value)
		case "import":
			o.Import(strings.Split(arg, ",")...)
		case "drop":
			o.Drop(arg)
		case "rename":
			o.Rename(key, value)
		case "size":
			o.SetSize(key, number(value))
		case "flags":
			o.SetFlags(key, stdelf.SectionFlag(number(value)))
		case "reloc":
			section, entry, _ := strings.Cut(key, ":")
			o.Reloc(section, int(number(entry)), uint32(number(value)))
		case "byte":
			at, err := strconv.Atoi(key)
			ts.Check(err)
			if at < 0 {
				at += len(o.B)
			}
			o.B[at] = byte(number(value))
		case "data":
			o.SetData(key, []byte(ts.ReadFile(value)))
		case "btf":
			own, ref, _ := strings.Cut(arg, ":")
			o.BTF(int(number(own)), uint32(number(ref)))
		case "etype":
			o.SetFileType(stdelf.Type(number(arg)))
		case "cut":
			o.B = o.B[:number(arg)]
		default:
			ts.Fatalf("mutate: %s: no such change", what)
		}
	}
	ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[1])), 0o777))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), o.B, 0o666))
}

// pack FORM IN OUT: IN compressed as users do it: xz-crc64, xz-crc32 or zstd-long.
func pack(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: pack FORM IN OUT")
	}
	in, out := []byte(ts.ReadFile(args[1])), []byte(nil)
	switch args[0] {
	case "xz-crc64":
		out = debtest.XZ(in, 4)
	case "xz-crc32":
		out = debtest.XZ(in, 1)
	case "zstd-long":
		var b bytes.Buffer
		e, err := zstd.NewWriter(&b, zstd.WithWindowSize(256<<20), zstd.WithEncoderConcurrency(1), zstd.WithSingleSegment(false))
		ts.Check(err)
		_, err = e.Write(in)
		ts.Check(err)
		ts.Check(e.Flush()) // the size is not known when the header is written: the window stays
		ts.Check(e.Close())
		out = b.Bytes()
	default:
		ts.Fatalf("pack: %s: no such form", args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), out, 0o666))
}

// certificate OUT: a certificate that has signed nothing, PEM.
func certificate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: certificate OUT")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	t := &x509.Certificate{SerialNumber: big.NewInt(42), Subject: pkix.Name{CommonName: "nobody's key"}}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o666))
}

// debPackage is deb OUT CONTAINER NAME=FILE...: a Debian package of those files, compressed with none, gzip, xz or zstd. A NAME that begins
// with a capital letter is a field of the control file.
func debPackage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: deb OUT CONTAINER NAME=FILE...")
	}
	control, fields := "", []string{"Package=linux-test", "Version=6.1-1", "Architecture=amd64", "Maintainer=nobody"}
	var files []debtest.File
	for _, a := range append(fields, args[2:]...) {
		name, value, _ := strings.Cut(a, "=")
		if 'A' <= name[0] && name[0] <= 'Z' {
			control += name + ": " + value + "\n"
		} else {
			files = append(files, debtest.File{Name: "./" + name, Data: []byte(ts.ReadFile(value))})
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), debtest.Deb(args[1], control, files...), 0o666))
}
