package sig

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	_ "crypto/sha1" // the digests that signatures name
	_ "crypto/sha256"
	_ "crypto/sha3"
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"

	"kotool/internal/diag"
	"kotool/internal/elf"
)

// Certificate is a certificate that a kernel trusts.
type Certificate struct {
	*x509.Certificate
	From string // the file that it was read from
}

// ErrNoCertificate says that a file holds no X.509 certificate.
var ErrNoCertificate = errors.New("no X.509 certificate in DER or PEM form")

// ParseCertificates reads certificates in DER form (one or more) or PEM form.
func ParseCertificates(data []byte, from string) ([]*Certificate, error) {
	var list []*Certificate
	add := func(der []byte) error {
		certs, err := x509.ParseCertificates(der)
		if err != nil {
			return err
		}
		for _, c := range certs {
			list = append(list, &Certificate{c, from})
		}
		return nil
	}
	if bytes.Contains(data, []byte("-----BEGIN CERTIFICATE-----")) {
		for rest := data; ; {
			var b *pem.Block
			if b, rest = pem.Decode(rest); b == nil {
				break
			}
			if b.Type != "CERTIFICATE" {
				continue
			}
			if err := add(b.Bytes); err != nil {
				return nil, err
			}
		}
	} else if err := add(data); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoCertificate, err)
	}
	if len(list) == 0 {
		return nil, ErrNoCertificate
	}
	return list, nil
}

// FindCertificates finds the certificates that stand in the memory of a kernel, DER, where its built-in keyring comes from.
//
// Source: certs/system_certificates.S; RFC 5280, 4.1: a certificate of version 3 begins with SEQUENCE, SEQUENCE, [0] 2, INTEGER.
func FindCertificates(memory []byte, from string) ([]*Certificate, error) {
	var list []*Certificate
	version := []byte{0xa0, 3, 2, 1, 2, 2}
	for at := 0; ; {
		i := bytes.Index(memory[at:], version)
		if i < 0 {
			break
		}
		at += i + len(version)
		start := at - len(version) - 8
		if start < 0 || memory[start] != 0x30 || memory[start+1] != 0x82 || memory[start+4] != 0x30 || memory[start+5] != 0x82 {
			continue
		}
		size := 4 + int(memory[start+2])<<8 + int(memory[start+3])
		if size > len(memory)-start {
			continue
		}
		if c, err := x509.ParseCertificate(memory[start : start+size]); err == nil {
			list = append(list, &Certificate{c, from})
		}
	}
	if len(list) == 0 {
		return nil, ErrNoCertificate
	}
	return list, nil
}

// Verdict is what became of a signature.
type Verdict struct {
	Errno diag.Errno // 0: it is good. ENOKEY: no key for it. ENOPKG: a kind that is not known. EKEYREJECTED: it does not fit. EBADMSG: malformed
	Text  string
	Key   *Certificate // that it was verified with
}

var hashes = map[string]crypto.Hash{
	"sha1": crypto.SHA1, "sha224": crypto.SHA224, "sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512,
	"sha3-256": crypto.SHA3_256, "sha3-384": crypto.SHA3_384, "sha3-512": crypto.SHA3_512,
}

// Verify verifies the signature over the file with the keys that the kernel trusts. The trailer and the message have been checked
// (Check, CheckMessage).
//
// Source: crypto/asymmetric_keys/pkcs7_verify.c: pkcs7_verify, pkcs7_trust.c: pkcs7_validate_trust_one.
func (s *Signature) Verify(src elf.Source, keys []*Certificate) (Verdict, error) {
	m := s.Message
	h, known := hashes[m.DigestAlgo]
	if !known || !h.Available() {
		return Verdict{Errno: diag.ENOPKG, Text: "digest " + m.DigestAlgo}, nil
	}
	key := m.key(keys)
	if key == nil {
		return Verdict{Errno: diag.ENOKEY, Text: "no such key"}, nil
	}
	d := h.New()
	off, size := s.Signed()
	for size > 0 {
		n := min(size, 1<<20)
		b, err := src.Range(off, n)
		if err != nil {
			return Verdict{}, err
		}
		if _, err := io.Copy(d, bytes.NewReader(b)); err != nil {
			return Verdict{}, err
		}
		off, size = off+n, size-n
	}
	sum := d.Sum(nil)
	ok := false
	switch pub := key.PublicKey.(type) {
	case *rsa.PublicKey:
		ok = rsa.VerifyPKCS1v15(pub, h, sum, m.Value) == nil
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(pub, sum, m.Value)
	default:
		return Verdict{Errno: diag.ENOPKG, Text: "key of type " + key.PublicKeyAlgorithm.String()}, nil
	}
	if !ok {
		return Verdict{Errno: diag.EKEYREJECTED, Text: m.DigestAlgo + " digest " + Colons(sum[:4]) + "… of the file is not the signed one", Key: key}, nil
	}
	return Verdict{Key: key}, nil
}

// By is the certificate of the signer, nil where none of the keys is the signer's.
func (s *Signature) By(keys []*Certificate) *Certificate {
	if s.Message == nil {
		return nil
	}
	return s.Message.key(keys)
}

// key finds the signer's certificate: by issuer and serial number, or by the subject key identifier.
func (m *Message) key(keys []*Certificate) *Certificate {
	for _, c := range keys {
		switch {
		case len(m.Serial) > 0:
			if bytes.Equal(magnitude(m.Serial), c.SerialNumber.Bytes()) && bytes.Equal(m.RawIssuer, c.RawIssuer) {
				return c
			}
		case len(m.KeyID) > 0 && bytes.Equal(m.KeyID, c.SubjectKeyId):
			return c
		}
	}
	return nil
}
