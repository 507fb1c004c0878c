// Package sig reads the signature appended to a module: its trailer, and what the PKCS#7
// message in it says. It verifies nothing.
package sig

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"kotool/internal/diag"
	"kotool/internal/elf"
)

// Magic ends a signed module, newline included. Source: include/linux/module_signature.h.
const Magic = "~Module signature appended~\n"

// trailerSize is sizeof(struct module_signature), in bytes.
const trailerSize = 12

// Trailer is struct module_signature.
type Trailer struct {
	Algo, Hash, IDType  uint8
	SignerLen, KeyIDLen uint8
	Pad                 [3]uint8
	SigLen              uint32 // big-endian in the file
	Off                 uint64 // file offset of the trailer
}

// The identifier types. Source: include/linux/module_signature.h: enum pkey_id_type.
const (
	PGP   = 0
	X509  = 1
	PKCS7 = 2
)

// IDTypeName is "PGP", "X509", "PKCS#7" or "unknown", as kmod prints them.
func (t *Trailer) IDTypeName() string {
	switch t.IDType {
	case PGP:
		return "PGP"
	case X509:
		return "X509"
	case PKCS7:
		return "PKCS#7"
	}
	return "unknown"
}

// Signature is an appended signature.
type Signature struct {
	Trailer  Trailer
	Off      uint64   // file offset of the signature data
	Size     uint64   // of the signature data, bytes
	DataLen  uint64   // of what is signed: the bytes before the signature data
	Raw      []byte   // the signature data
	Message  *Message // of PKCS#7; nil where it cannot be read
	Legacy   *Legacy  // of an X.509 trailer (to 4.2), or one of PGP
	TotalLen uint64   // signature data, trailer and magic
}

// Legacy is what modules were signed with before 4.3. Source: kernel/module_signing.c of 4.2.
type Legacy struct {
	Signer, KeyID, Signature []byte
	Hash                     string
}

// Error is a signature that the kernel does not take, with its errno.
type Error struct {
	Errno diag.Errno
	Dmesg string // the kernel's line after the prefix; "" where it says nothing
	Text  string
	Off   uint64
}

func (e *Error) Error() string { return fmt.Sprintf("signature: offset %#x: %s", e.Off, e.Text) }

// Read looks for a signature at the end of a file. It returns nil and no error where there is none. With an error the
// fields that can be read are there.
//
// Source: kernel/module/signing.c: module_sig_check; kernel/module_signature.c: mod_check_sig.
func Read(src elf.Source) (*Signature, error) {
	size := src.Size()
	if size < uint64(len(Magic)) {
		return nil, nil
	}
	tail := min(size, uint64(len(Magic)+trailerSize))
	b, err := src.Range(size-tail, tail)
	if err != nil {
		return nil, err
	}
	if string(b[len(b)-len(Magic):]) != Magic {
		return nil, nil
	}
	s := &Signature{}
	if size <= uint64(len(Magic)+trailerSize) {
		return s, &Error{diag.EBADMSG, "", "there is no room for the trailer before the magic", 0}
	}
	t := &s.Trailer
	t.Off = size - tail
	t.Algo, t.Hash, t.IDType, t.SignerLen, t.KeyIDLen = b[0], b[1], b[2], b[3], b[4]
	copy(t.Pad[:], b[5:8])
	t.SigLen = binary.BigEndian.Uint32(b[8:])
	if uint64(t.SigLen) >= t.Off {
		return s, &Error{diag.EBADMSG, "", fmt.Sprintf("the trailer says %d bytes of signature, the file has %d before it", t.SigLen, t.Off), t.Off + 8}
	}
	s.Size = uint64(t.SigLen)
	s.Off = t.Off - s.Size
	s.DataLen = s.Off
	s.TotalLen = s.Size + tail
	raw, err := src.Range(s.Off, s.Size)
	if err != nil {
		return s, err
	}
	s.Raw = raw
	if t.IDType == X509 {
		return s, s.legacy(src)
	}
	if t.IDType != PKCS7 {
		if t.IDType == PGP {
			data, total := s.DataLen, s.TotalLen
			_ = s.legacy(src) // of the same form, as kmod reads it; the error below says that the kernel does not
			s.DataLen, s.TotalLen = data, total
		}
		return s, &Error{diag.ENOPKG, "not signed with expected PKCS#7 message", fmt.Sprintf("identifier type %d (%s), the kernel takes 2 (PKCS#7) only", t.IDType, t.IDTypeName()), t.Off + 2}
	}
	if t.Algo|t.Hash|t.SignerLen|t.KeyIDLen|t.Pad[0]|t.Pad[1]|t.Pad[2] != 0 {
		err = &Error{diag.EBADMSG, "PKCS#7 signature info has unexpected non-zero params", "fields of the trailer that must be 0 are not", t.Off}
	}
	msg, perr := parseMessage(raw)
	s.Message = msg
	if perr != nil {
		perr = &Error{diag.EBADMSG, "", "PKCS#7: " + perr.Error(), s.Off}
	}
	return s, errors.Join(err, perr)
}

// lookBack is how far from the end Hidden looks, in bytes.
const lookBack = 64 << 10

// Hidden looks for a signature's magic that is not at the end of the file, where alone the kernel sees it. It returns the number of
// bytes behind it; 0 where there is none.
func Hidden(src elf.Source) uint64 {
	size := src.Size()
	n := min(size, lookBack)
	if n == 0 {
		return 0
	}
	b, err := src.Range(size-n, n)
	if err != nil {
		return 0
	}
	i := bytes.LastIndex(b, []byte(Magic))
	if i < 0 {
		return 0
	}
	return uint64(len(b) - i - len(Magic))
}

// hashNames are those of the X.509 trailer. Source: include/crypto/hash_info.h.
var hashNames = [...]string{"md4", "md5", "sha1", "rmd160", "sha256", "sha384", "sha512", "sha224", "sm3"}

func (s *Signature) legacy(src elf.Source) error {
	t := &s.Trailer
	before := uint64(t.SignerLen) + uint64(t.KeyIDLen)
	if before > s.Off {
		return &Error{diag.EBADMSG, "", "signer and key id do not fit into the file", t.Off + 3}
	}
	b, err := src.Range(s.Off-before, before)
	if err != nil {
		return err
	}
	l := &Legacy{Signer: b[:t.SignerLen], KeyID: b[t.SignerLen:], Hash: "unknown"}
	if int(t.Hash) < len(hashNames) {
		l.Hash = hashNames[t.Hash]
	}
	// A two-byte length stands before the number.
	if l.Signature = s.Raw; len(s.Raw) >= 2 {
		l.Signature = s.Raw[2:]
	}
	s.Legacy, s.DataLen = l, s.Off-before
	s.TotalLen += before
	return nil
}

// Signer is the name of who signed: the common name of the certificate's issuer.
func (s *Signature) Signer() string {
	switch {
	case s.Legacy != nil:
		return string(s.Legacy.Signer)
	case s.Message != nil:
		return s.Message.IssuerCN()
	}
	return ""
}

// KeyID is the number of the key, "3D:46:…": the certificate's serial number, or its subject key identifier.
func (s *Signature) KeyID() string {
	switch {
	case s.Legacy != nil:
		return Colons(s.Legacy.KeyID)
	case s.Message != nil:
		if len(s.Message.Serial) > 0 {
			return Colons(magnitude(s.Message.Serial))
		}
		return Colons(s.Message.KeyID)
	}
	return ""
}

// HashAlgo is the digest's name: "sha256".
func (s *Signature) HashAlgo() string {
	switch {
	case s.Legacy != nil:
		return s.Legacy.Hash
	case s.Message != nil:
		return s.Message.DigestAlgo
	}
	return "unknown"
}

// Value is the signature proper.
func (s *Signature) Value() []byte {
	switch {
	case s.Legacy != nil:
		return s.Legacy.Signature
	case s.Message != nil:
		return s.Message.Value
	}
	return nil
}

// Colons writes bytes as "3D:46:…".
func Colons(b []byte) string { return string(AppendColons(make([]byte, 0, 3*len(b)), b)) }

// AppendColons appends bytes as "3D:46:…".
func AppendColons(dst, b []byte) []byte {
	const hex = "0123456789ABCDEF"
	for i, c := range b {
		if i > 0 {
			dst = append(dst, ':')
		}
		dst = append(dst, hex[c>>4], hex[c&15])
	}
	return dst
}
