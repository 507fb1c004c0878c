package sig

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"kotool/internal/diag"
	"kotool/internal/elf"
)

func signed(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("../../testdata/ko/amd64-6.1/hello-signed.ko")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestASignatureIsReadWhole(t *testing.T) {
	b := signed(t)
	s, err := Read(elf.Mem(b))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := os.ReadFile("../../testdata/ko/amd64-6.1/hello.ko")
	if err != nil {
		t.Fatal(err)
	}
	if s.DataLen != uint64(len(plain)) || !bytes.Equal(b[:s.DataLen], plain) || s.DataLen+s.TotalLen != uint64(len(b)) {
		t.Errorf("signed bytes: got %d want %d; appended %d", s.DataLen, len(plain), s.TotalLen)
	}
	m := s.Message
	if s.Signer() != "kotool test key" || s.HashAlgo() != "sha256" || m.SigAlgo != "rsaEncryption" || len(s.Value()) != 256 || m.Version != 1 ||
		m.IssuerName() != "O=kotool, CN=kotool test key" || m.Signers != 1 || m.AuthAttrs || m.HasContent || m.ContentType != "pkcs7-data" {
		t.Errorf("got %+v", m)
	}
	if k := s.KeyID(); len(strings.Split(k, ":")) != 20 {
		t.Errorf("key id %q", k)
	}
}

func TestAnUnsignedFileIsNoError(t *testing.T) {
	b := signed(t)
	for _, in := range [][]byte{nil, b[:len(b)-1], b[:8208], []byte("x")} {
		if s, err := Read(elf.Mem(in)); s != nil || err != nil {
			t.Errorf("%d bytes: got %v, %v", len(in), s, err)
		}
	}
}

// The kernel's answers. Source: kernel/module_signature.c: mod_check_sig.
func TestATrailerThatTheKernelRefusesHasItsErrno(t *testing.T) {
	at := len(signed(t)) - len(Magic) - trailerSize
	for _, c := range []struct {
		name  string
		edit  func(b []byte)
		errno diag.Errno
		dmesg string
	}{
		{"length as large as the file", func(b []byte) { copy(b[at+8:], "\x00\x10\x00\x00") }, diag.EBADMSG, ""},
		{"absurd length", func(b []byte) { copy(b[at+8:], "\xff\xff\xff\xff") }, diag.EBADMSG, ""},
		{"not PKCS#7", func(b []byte) { b[at+2] = 0 }, diag.ENOPKG, "not signed with expected PKCS#7 message"},
		{"a field that must be 0", func(b []byte) { b[at] = 1 }, diag.EBADMSG, "PKCS#7 signature info has unexpected non-zero params"},
		{"padding that must be 0", func(b []byte) { b[at+7] = 1 }, diag.EBADMSG, "PKCS#7 signature info has unexpected non-zero params"},
		{"no DER", func(b []byte) { b[8208] = 0 }, diag.EBADMSG, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := signed(t)
			c.edit(b)
			s, err := Read(elf.Mem(b))
			e, ok := errors.AsType[*Error](err)
			if !ok || s == nil || e.Errno != c.errno || e.Dmesg != c.dmesg {
				t.Errorf("got %v want %v %q", err, c.errno, c.dmesg)
			}
		})
	}
	if _, err := Read(elf.Mem(Magic)); err == nil {
		t.Error("the magic alone is taken")
	}
}

func TestObjectIdentifiers(t *testing.T) {
	for in, want := range map[string]string{"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01": "1.2.840.113549.1.1.1", "\x55\x04\x03": "2.5.4.3", "\x60\x86\x48\x01\x65\x03\x04\x02\x01": "2.16.840.1.101.3.4.2.1",
		"\x60\x86\x48\x01\x65\x03\x04\x02\x03": "2.16.840.1.101.3.4.2.3", "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01": "1.2.840.113549.1.7.1",
		"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02": "1.2.840.113549.1.7.2", "\x55\x04\x0a": "2.5.4.10"} {
		if got := dotted([]byte(in)); got != want {
			t.Errorf("got %s want %s", got, want)
		}
		if got := oid([]byte(in)); got != want {
			t.Errorf("got %s want %s", got, want)
		}
	}
}

// FuzzRead: no panic, and no part outside of the file.
func FuzzRead(f *testing.F) {
	b := signed(f)
	f.Add(b[8000:])
	f.Add([]byte(Magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, _ := Read(elf.Mem(b))
		if s == nil {
			return
		}
		if s.Off+s.Size > uint64(len(b)) || s.DataLen > uint64(len(b)) {
			t.Fatalf("%+v in %d bytes", s, len(b))
		}
		s.Signer()
		s.KeyID()
		s.HashAlgo()
		s.Value()
		s.Check()
		s.CheckMessage()
		n := 0
		for _, f := range s.Modinfo() {
			n += len(f.Value)
		}
		if n > 8*len(b)+1000 {
			t.Fatalf("%d bytes for modinfo of a file of %d", n, len(b))
		}
	})
}
