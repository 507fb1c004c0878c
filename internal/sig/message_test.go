package sig

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kotool/internal/diag"
	"kotool/internal/elf"
	"kotool/internal/elftest"
)

// der is one element: tag, length in the shortest form, content.
func der(tag byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	switch n := len(body); {
	case n < 0x80:
		return append([]byte{tag, byte(n)}, body...)
	case n < 0x100:
		return append([]byte{tag, 0x81, byte(n)}, body...)
	default:
		return append([]byte{tag, 0x82, byte(n >> 8), byte(n)}, body...)
	}
}

// id is an object identifier.
func id(numbers ...uint32) []byte {
	body := []byte{byte(numbers[0]*40 + numbers[1])}
	for _, n := range numbers[2:] {
		var part []byte
		for more := byte(0); ; more = 0x80 {
			part = append([]byte{byte(n&0x7f) | more}, part...)
			if n >>= 7; n == 0 {
				break
			}
		}
		body = append(body, part...)
	}
	return der(0x06, body)
}

func set(parts ...[]byte) []byte { return der(0x31, parts...) }
func seq(parts ...[]byte) []byte { return der(0x30, parts...) }
func num(b ...byte) []byte       { return der(0x02, b) }

// shape is a message to be made; the zero shape is what the kernel's sign-file makes with an RSA key.
type shape struct {
	issuer  [][]byte // attributes
	serial  []byte
	keyID   []byte
	digest  []byte
	sigAlgo []byte
	content []byte // type
	inside  []byte
	attrs   bool
	certs   bool
	behind  []byte
}

var (
	oidCN     = id(2, 5, 4, 3)
	oidO      = id(2, 5, 4, 10)
	oidSHA256 = id(2, 16, 840, 1, 101, 3, 4, 2, 1)
	oidRSA    = id(1, 2, 840, 113549, 1, 1, 1)
	oidData   = id(1, 2, 840, 113549, 1, 7, 1)
)

func attribute(oid []byte, text string) []byte {
	return set(seq(oid, der(0x0c, []byte(text))))
}

func (s shape) message() []byte {
	or := func(b, other []byte) []byte {
		if b == nil {
			return other
		}
		return b
	}
	if s.issuer == nil {
		s.issuer = [][]byte{attribute(oidO, "Org"), attribute(oidCN, "the key")}
	}
	version, who := num(1), seq(seq(s.issuer...), num(or(s.serial, []byte{0x12, 0x34})...))
	if s.keyID != nil {
		version, who = num(3), der(0x80, s.keyID)
	}
	digest := seq(or(s.digest, oidSHA256))
	signer := [][]byte{version, who, digest}
	if s.attrs {
		signer = append(signer, der(0xa0, seq(oidCN, set(num(1)))))
	}
	signer = append(signer, seq(or(s.sigAlgo, oidRSA), der(0x05)), der(0x04, bytes.Repeat([]byte{0xab}, 45)))
	content := [][]byte{or(s.content, oidData)}
	if s.inside != nil {
		content = append(content, der(0xa0, der(0x04, s.inside)))
	}
	data := [][]byte{version, set(digest), seq(content...)}
	if s.certs {
		data = append(data, der(0xa0, seq()))
	}
	data = append(data, set(seq(signer...)))
	return append(seq(id(1, 2, 840, 113549, 1, 7, 2), der(0xa0, seq(data...))), s.behind...)
}

func TestMessages(t *testing.T) {
	type facts struct {
		Signer, KeyID, Digest, Algo    string
		Version, SignerVersion, Behind int
		Errno                          diag.Errno
		Dmesg                          string
	}
	for _, c := range []struct {
		name string
		in   shape
		want facts
	}{
		{"as sign-file makes it", shape{}, facts{"the key", "12:34", "sha256", "rsaEncryption", 1, 1, 0, 0, ""}},
		{"ECDSA", shape{sigAlgo: id(1, 2, 840, 10045, 4, 3, 2)}, facts{"the key", "12:34", "sha256", "ecdsa-with-SHA256", 1, 1, 0, 0, ""}},
		{"SHA-3", shape{digest: id(2, 16, 840, 1, 101, 3, 4, 2, 8)}, facts{"the key", "12:34", "sha3-256", "rsaEncryption", 1, 1, 0, 0, ""}},
		{"ML-DSA with signed attributes", shape{sigAlgo: id(2, 16, 840, 1, 101, 3, 4, 3, 18), attrs: true}, facts{"the key", "12:34", "sha256", "ML-DSA-65", 1, 1, 0, 0, ""}},
		{"an algorithm that nobody knows", shape{digest: id(1, 2, 3, 4)}, facts{"the key", "12:34", "1.2.3.4", "rsaEncryption", 1, 1, 0, 0, ""}},
		{"a serial number with a leading zero", shape{serial: []byte{0x00, 0xfe, 0x01}}, facts{"the key", "FE:01", "sha256", "rsaEncryption", 1, 1, 0, 0, ""}},
		{"a negative serial number", shape{serial: []byte{0xff, 0x00}}, facts{"the key", "01:00", "sha256", "rsaEncryption", 1, 1, 0, 0, ""}},
		{"a subject key identifier", shape{keyID: []byte{9, 8, 7}}, facts{"", "09:08:07", "sha256", "rsaEncryption", 3, 3, 0, 0, ""}},
		{"bytes behind the message", shape{behind: []byte("xyz")}, facts{"the key", "12:34", "sha256", "rsaEncryption", 1, 1, 3, 0, ""}},
		{"signed attributes", shape{attrs: true},
			facts{"the key", "12:34", "sha256", "rsaEncryption", 1, 1, 0, diag.EKEYREJECTED, "PKCS7: Invalid module sig (has authattrs)"}},
		{"content that is no data", shape{content: id(1, 2, 3)},
			facts{"the key", "12:34", "sha256", "rsaEncryption", 1, 1, 0, diag.EKEYREJECTED, "PKCS7: Invalid module sig (not pkcs7-data)"}},
		{"content inside", shape{inside: []byte("module")},
			facts{"the key", "12:34", "sha256", "rsaEncryption", 1, 1, 0, diag.EBADMSG, "PKCS#7 signature with non-detached data"}},
		{"certificates", shape{certs: true}, facts{"the key", "12:34", "sha256", "rsaEncryption", 1, 1, 0, 0, ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Read(elf.Mem(elftest.Sign([]byte("the module"), c.in.message())))
			if err != nil {
				t.Fatal(err)
			}
			m := s.Message
			got := facts{s.Signer(), s.KeyID(), s.HashAlgo(), m.SigAlgo, m.Version, m.SignerVersion, m.Trailing, 0, ""}
			if got.Errno, got.Dmesg = s.Check(); got.Errno != 0 {
				t.Errorf("the trailer is refused: %v", got.Errno)
			}
			got.Errno, got.Dmesg = s.CheckMessage()
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if off, size := s.Signed(); off != 0 || size != 10 || !bytes.Equal(s.Value(), bytes.Repeat([]byte{0xab}, 45)) {
				t.Errorf("signed: %d+%d; signature %x", off, size, s.Value())
			}
			if m.Certificates != c.in.certs || m.AuthAttrs != c.in.attrs {
				t.Errorf("certificates %v, attributes %v", m.Certificates, m.AuthAttrs)
			}
		})
	}
}

func TestEveryCutOfAMessageIsAnError(t *testing.T) {
	whole := shape{}.message()
	for n := range whole {
		s, err := Read(elf.Mem(elftest.Sign(nil, append([]byte("m"), whole[:n]...)[:n+1])))
		if err == nil {
			t.Errorf("%d of %d bytes: no error", n, len(whole))
		}
		if errno, _ := s.CheckMessage(); errno != diag.EBADMSG {
			t.Errorf("%d of %d bytes: got %v", n, len(whole), errno)
		}
	}
}

// The trailers that were tried on Debian's 6.1 and 6.12. Source: kernel/module_signature.c: mod_check_sig.
func TestTheKernelsAnswerToTheTrailer(t *testing.T) {
	for _, c := range []struct {
		name  string
		edit  func(trailer []byte)
		errno diag.Errno
		dmesg string
	}{
		{"good", func([]byte) {}, 0, ""},
		{"length 2^30", func(b []byte) { copy(b[8:], "\x40\x00\x00\x00") }, diag.EBADMSG, ""},
		{"length of all that is before", func(b []byte) { b[8], b[9], b[10], b[11] = 0, 0, 0, 10 }, diag.EBADMSG, ""},
		{"one byte less", func(b []byte) { b[8], b[9], b[10], b[11] = 0, 0, 0, 9 }, 0, ""},
		{"id_type 1", func(b []byte) { b[2] = 1 }, diag.ENOPKG, "module: not signed with expected PKCS#7 message"},
		{"id_type 0", func(b []byte) { b[2] = 0 }, diag.ENOPKG, "module: not signed with expected PKCS#7 message"},
		{"id_type 1 and algo 7: the type counts first", func(b []byte) { b[0], b[2] = 7, 1 }, diag.ENOPKG, "module: not signed with expected PKCS#7 message"},
		{"algo 7", func(b []byte) { b[0] = 7 }, diag.EBADMSG, "module: PKCS#7 signature info has unexpected non-zero params"},
		{"hash 4", func(b []byte) { b[1] = 4 }, diag.EBADMSG, "module: PKCS#7 signature info has unexpected non-zero params"},
		{"signer_len 1", func(b []byte) { b[3] = 1 }, diag.EBADMSG, "module: PKCS#7 signature info has unexpected non-zero params"},
		{"key_id_len 1", func(b []byte) { b[4] = 1 }, diag.EBADMSG, "module: PKCS#7 signature info has unexpected non-zero params"},
		{"padding", func(b []byte) { b[6] = 1 }, diag.EBADMSG, "module: PKCS#7 signature info has unexpected non-zero params"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := elftest.Sign([]byte("module"), []byte("sign"))
			c.edit(b[10:])
			s, _ := Read(elf.Mem(b))
			if errno, dmesg := s.Check(); errno != c.errno || dmesg != c.dmesg {
				t.Errorf("got %v %q want %v %q", errno, dmesg, c.errno, c.dmesg)
			}
		})
	}
	s, err := Read(elf.Mem(strings.Repeat("x", trailerSize) + Magic)) // nothing before the trailer: the kernel wants more than 12 bytes
	if errno, _ := s.Check(); errno != diag.EBADMSG || err == nil {
		t.Errorf("trailer alone: got %v, %v", errno, err)
	}
}

func TestModinfoShowsWhatModinfoShows(t *testing.T) {
	value := strings.Repeat(strings.TrimSuffix(strings.Repeat("AB:", 20), ":")+":\n\t\t", 2) + "AB:AB:AB:AB:AB"
	fields := func(signer, key, hash string) []Field {
		return []Field{{"sig_id", "PKCS#7"}, {"signer", signer}, {"sig_key", key}, {"sig_hashalgo", hash}, {"signature", value}}
	}
	long := bytes.Repeat([]byte{0x11}, 20)
	for _, c := range []struct {
		name string
		in   shape
		want []Field
	}{
		{"as sign-file makes it", shape{}, fields("the key", "12:34", "sha256")},
		{"twenty bytes stay in one line", shape{serial: long}, fields("the key", Colons(long), "sha256")},
		{"twenty-one do not", shape{serial: append(long, 0x22)}, fields("the key", Colons(long)+":\n\t\t22", "sha256")},
		{"no common name: the last part", shape{issuer: [][]byte{attribute(id(2, 5, 4, 6), "DE"), attribute(oidO, "Org")}}, fields("Org", "12:34", "sha256")},
		{"a NUL ends the name", shape{issuer: [][]byte{attribute(oidCN, "a\x00b")}}, fields("a", "12:34", "sha256")},
		{"a subject key identifier: nothing", shape{keyID: []byte{1}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Read(elf.Mem(elftest.Sign([]byte("the module"), c.in.message())))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, s.Modinfo()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestSignaturesFromBeforePKCS7(t *testing.T) {
	tail := "the signer" + "\x01\x02\x03" + "\x00\x04MPI!"
	trailer := "\x01\x04\x01\x0a\x03\x00\x00\x00\x00\x00\x00\x06"
	s, err := Read(elf.Mem("module" + tail + trailer + Magic))
	if err != nil {
		t.Fatal(err)
	}
	if s.Signer() != "the signer" || s.KeyID() != "01:02:03" || s.HashAlgo() != "sha256" || string(s.Value()) != "MPI!" || s.DataLen != 6 {
		t.Errorf("got %q %q %q %q, %d bytes signed", s.Signer(), s.KeyID(), s.HashAlgo(), s.Value(), s.DataLen)
	}
	want := []Field{{"sig_id", "X509"}, {"signer", "the signer"}, {"sig_key", "01:02:03"}, {"sig_hashalgo", "sha256"}, {"signature", "00:04:4D:50:49:21"}}
	if diff := cmp.Diff(want, s.Modinfo()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	s, err = Read(elf.Mem("module" + tail + strings.Replace(trailer, "\x0a\x03", "\xff\xff", 1) + Magic))
	if err == nil || s.Modinfo() != nil {
		t.Errorf("lengths past the file's beginning: got %v, %v", err, s.Modinfo())
	}
}

func TestCertificatesInAKernelsMemory(t *testing.T) {
	der, err := os.ReadFile(filepath.Join("..", "..", "testdata", "ko", "amd64-6.1", "signing-key.der"))
	if err != nil {
		t.Fatal(err)
	}
	var memory []byte
	for range 2 {
		memory = append(append(memory, "\x30\x82\x00\x10\x30\x82\x00\x08\xa0\x03\x02\x01\x02\x02 no certificate "...), der...)
	}
	list, err := FindCertificates(memory, "vmlinux")
	if err != nil || len(list) != 2 || list[0].Subject.CommonName != "kotool test key" {
		t.Fatalf("got %d, %v", len(list), err)
	}
	for n := range len(der) - 1 {
		if list, err := FindCertificates(der[:n], "vmlinux"); err == nil {
			t.Fatalf("%d of %d bytes: got %d certificates", n, len(der), len(list))
		}
	}
}
