package sig

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Message is what a PKCS#7 SignedData says, as far as the kernel looks at it. RFC 2315, section 9.
type Message struct {
	Version      int
	DigestAlgo   string // "sha256", or the dotted number
	SigAlgo      string // "rsaEncryption", "ecdsa-with-SHA256", …, or the dotted number
	SigAlgoOID   string
	DigestOID    string
	ContentType  string // "pkcs7-data", or the dotted number
	HasContent   bool   // the signed bytes are inside; the kernel wants them detached
	Certificates bool
	AuthAttrs    bool // signed attributes: the kernel refuses them
	Issuer       []Attribute
	RawIssuer    []byte // the issuer's name as it is encoded
	Serial       []byte // of the certificate; nil with a KeyID
	KeyID        []byte // subject key identifier
	Value        []byte // the signature
	Signers      int
	// SignerVersion is SignerInfo's: 1 with issuer and serial number, 3 with a subject key identifier.
	SignerVersion int
	Trailing      int // bytes behind the message, which are not part of it
}

// Attribute is one part of a distinguished name.
type Attribute struct{ OID, Name, Value string }

// IssuerCN is the issuer's common name.
func (m *Message) IssuerCN() string {
	for _, a := range m.Issuer {
		if a.OID == commonName {
			return a.Value
		}
	}
	return ""
}

// IssuerName is the whole distinguished name: "CN=…, O=…".
func (m *Message) IssuerName() string {
	parts := make([]string, len(m.Issuer))
	for i, a := range m.Issuer {
		parts[i] = a.Name + "=" + a.Value
	}
	return strings.Join(parts, ", ")
}

// value is one DER element: its tag and content. Source: ITU-T X.690, section 8.1.
type value struct {
	tag  byte
	body []byte
	all  []byte
}

const (
	tagInteger  = 0x02
	tagOctets   = 0x04
	tagOID      = 0x06
	tagSequence = 0x30
	tagSet      = 0x31
)

var errDER = errors.New("the DER encoding is broken")

// next takes one element off b.
func next(b []byte) (v value, rest []byte, err error) {
	if len(b) < 2 || b[0]&0x1f == 0x1f {
		return v, nil, errDER
	}
	n, head := uint64(b[1]), 2
	if n >= 0x80 {
		k := int(n & 0x7f)
		if k == 0 || k > 4 || len(b) < 2+k {
			return v, nil, errDER
		}
		n = 0
		for _, c := range b[2 : 2+k] {
			n = n<<8 | uint64(c)
		}
		head += k
	}
	if n > uint64(len(b)-head) {
		return v, nil, errDER
	}
	end := head + int(n)
	return value{b[0], b[head:end], b[:end]}, b[end:], nil
}

// want takes one element of that tag off b.
func want(b []byte, tag byte) (v value, rest []byte, err error) {
	v, rest, err = next(b)
	if err == nil && v.tag != tag {
		err = fmt.Errorf("tag %#x where %#x was expected", v.tag, tag)
	}
	return v, rest, err
}

// parseMessage reads ContentInfo { signedData, SignedData }. With an error the fields before it are there.
func parseMessage(b []byte) (*Message, error) {
	outer, behind, err := want(b, tagSequence)
	if err != nil {
		return nil, err
	}
	typ, rest, err := want(outer.body, tagOID)
	if err != nil {
		return nil, err
	}
	if oid(typ.body) != "1.2.840.113549.1.7.2" {
		return nil, fmt.Errorf("content type %s is not signedData", oid(typ.body))
	}
	wrap, _, err := want(rest, 0xa0)
	if err != nil {
		return nil, err
	}
	sd, _, err := want(wrap.body, tagSequence)
	if err != nil {
		return nil, err
	}
	m := &Message{Trailing: len(behind)}
	return m, m.signedData(sd.body)
}

func (m *Message) signedData(b []byte) error {
	ver, b, err := want(b, tagInteger)
	if err != nil {
		return err
	}
	if len(ver.body) == 1 {
		m.Version = int(ver.body[0])
	}
	if _, b, err = want(b, tagSet); err != nil { // digestAlgorithms: the signer's own counts
		return err
	}
	content, b, err := want(b, tagSequence)
	if err != nil {
		return err
	}
	ct, inner, err := want(content.body, tagOID)
	if err != nil {
		return err
	}
	if m.ContentType = oid(ct.body); m.ContentType == "1.2.840.113549.1.7.1" {
		m.ContentType = "pkcs7-data"
	}
	m.HasContent = len(inner) > 0
	for len(b) > 0 {
		v, rest, err := next(b)
		if err != nil {
			return err
		}
		b = rest
		switch v.tag {
		case 0xa0:
			m.Certificates = true
		case 0xa1: // revocation lists
		case tagSet:
			return m.signers(v.body)
		default:
			return fmt.Errorf("tag %#x in SignedData", v.tag)
		}
	}
	return errors.New("there is no signer")
}

func (m *Message) signers(b []byte) error {
	for len(b) > 0 {
		v, rest, err := want(b, tagSequence)
		if err != nil {
			return err
		}
		if m.Signers++; m.Signers == 1 {
			if err := m.signer(v.body); err != nil {
				return err
			}
		}
		b = rest
	}
	if m.Signers == 0 {
		return errors.New("there is no signer")
	}
	return nil
}

func (m *Message) signer(b []byte) error {
	ver, b, err := want(b, tagInteger)
	if err != nil {
		return err
	}
	if len(ver.body) == 1 {
		m.SignerVersion = int(ver.body[0])
	}
	id, b, err := next(b)
	if err != nil {
		return err
	}
	switch id.tag {
	case tagSequence: // issuer and serial number
		name, rest, err := want(id.body, tagSequence)
		if err != nil {
			return err
		}
		m.RawIssuer = id.body[:len(id.body)-len(rest)]
		if err := m.issuer(name.body); err != nil {
			return err
		}
		serial, _, err := want(rest, tagInteger)
		if err != nil {
			return err
		}
		m.Serial = serial.body
	case 0x80: // subject key identifier
		m.KeyID = id.body
	default:
		return fmt.Errorf("tag %#x for the signer's identity", id.tag)
	}
	digest, b, err := want(b, tagSequence)
	if err != nil {
		return err
	}
	if m.DigestOID, err = algorithm(digest.body); err != nil {
		return err
	}
	m.DigestAlgo = algorithmName(m.DigestOID)
	v, rest, err := next(b)
	if err != nil {
		return err
	}
	if v.tag == 0xa0 {
		m.AuthAttrs = true
		if v, rest, err = next(rest); err != nil {
			return err
		}
	}
	if v.tag != tagSequence {
		return fmt.Errorf("tag %#x for the signature algorithm", v.tag)
	}
	if m.SigAlgoOID, err = algorithm(v.body); err != nil {
		return err
	}
	m.SigAlgo = algorithmName(m.SigAlgoOID)
	sig, _, err := want(rest, tagOctets)
	if err != nil {
		return err
	}
	m.Value = sig.body
	return nil
}

// issuer reads a distinguished name: a sequence of sets of pairs.
func (m *Message) issuer(b []byte) error {
	for len(b) > 0 {
		set, rest, err := want(b, tagSet)
		if err != nil {
			return err
		}
		b = rest
		for in := set.body; len(in) > 0; {
			pair, more, err := want(in, tagSequence)
			if err != nil {
				return err
			}
			in = more
			typ, val, err := want(pair.body, tagOID)
			if err != nil {
				return err
			}
			text, _, err := next(val)
			if err != nil {
				return err
			}
			o := oid(typ.body)
			m.Issuer = append(m.Issuer, Attribute{o, attributeName(o), string(text.body)})
		}
	}
	return nil
}

func algorithm(b []byte) (string, error) {
	v, _, err := want(b, tagOID)
	return oid(v.body), err
}

// oid is an object identifier's dotted form.
func oid(b []byte) string {
	// What nearly every signature has.
	switch string(b) {
	case "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01":
		return "1.2.840.113549.1.7.1"
	case "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02":
		return "1.2.840.113549.1.7.2"
	case "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01":
		return "1.2.840.113549.1.1.1"
	case "\x60\x86\x48\x01\x65\x03\x04\x02\x01":
		return "2.16.840.1.101.3.4.2.1"
	case "\x60\x86\x48\x01\x65\x03\x04\x02\x03":
		return "2.16.840.1.101.3.4.2.3"
	case "\x55\x04\x03":
		return commonName
	}
	return dotted(b)
}

func dotted(b []byte) string {
	var buf [64]byte
	dst := buf[:0]
	var n uint64
	first := true
	for _, c := range b {
		if n > 1<<56 {
			return "?"
		}
		n = n<<7 | uint64(c&0x7f)
		if c&0x80 != 0 {
			continue
		}
		if first {
			lead := min(n/40, 2)
			dst = strconv.AppendUint(dst, lead, 10)
			n -= lead * 40
			first = false
		}
		dst = strconv.AppendUint(append(dst, '.'), n, 10)
		n = 0
	}
	return string(dst)
}

func attributeName(o string) string {
	switch o {
	case commonName:
		return "CN"
	case "2.5.4.6":
		return "C"
	case "2.5.4.7":
		return "L"
	case "2.5.4.8":
		return "ST"
	case "2.5.4.10":
		return "O"
	case "2.5.4.11":
		return "OU"
	case "1.2.840.113549.1.9.1":
		return "emailAddress"
	}
	return o
}

// algorithmName names the algorithms that the kernel knows. Source: include/linux/oid_registry.h.
func algorithmName(o string) string {
	switch o {
	case "1.2.840.113549.2.4":
		return "md4"
	case "1.2.840.113549.2.5":
		return "md5"
	case "1.3.14.3.2.26":
		return "sha1"
	case "2.16.840.1.101.3.4.2.1":
		return "sha256"
	case "2.16.840.1.101.3.4.2.2":
		return "sha384"
	case "2.16.840.1.101.3.4.2.3":
		return "sha512"
	case "2.16.840.1.101.3.4.2.4":
		return "sha224"
	case "2.16.840.1.101.3.4.2.5":
		return "sha512-224"
	case "2.16.840.1.101.3.4.2.6":
		return "sha512-256"
	case "2.16.840.1.101.3.4.2.7":
		return "sha3-224"
	case "2.16.840.1.101.3.4.2.8":
		return "sha3-256"
	case "2.16.840.1.101.3.4.2.9":
		return "sha3-384"
	case "2.16.840.1.101.3.4.2.10":
		return "sha3-512"
	case "2.16.840.1.101.3.4.2.11":
		return "shake128"
	case "2.16.840.1.101.3.4.2.12":
		return "shake256"
	case "1.2.156.10197.1.401":
		return "sm3"
	case "1.2.840.113549.1.1.1":
		return "rsaEncryption"
	case "1.2.840.113549.1.1.5":
		return "sha1WithRSAEncryption"
	case "1.2.840.113549.1.1.11":
		return "sha256WithRSAEncryption"
	case "1.2.840.113549.1.1.12":
		return "sha384WithRSAEncryption"
	case "1.2.840.113549.1.1.13":
		return "sha512WithRSAEncryption"
	case "1.2.840.10045.4.1":
		return "ecdsa-with-SHA1"
	case "1.2.840.10045.4.3.1":
		return "ecdsa-with-SHA224"
	case "1.2.840.10045.4.3.2":
		return "ecdsa-with-SHA256"
	case "1.2.840.10045.4.3.3":
		return "ecdsa-with-SHA384"
	case "1.2.840.10045.4.3.4":
		return "ecdsa-with-SHA512"
	case "2.16.840.1.101.3.4.3.10":
		return "ecdsa-with-SHA3-256"
	case "2.16.840.1.101.3.4.3.11":
		return "ecdsa-with-SHA3-384"
	case "2.16.840.1.101.3.4.3.12":
		return "ecdsa-with-SHA3-512"
	case "2.16.840.1.101.3.4.3.17":
		return "ML-DSA-44"
	case "2.16.840.1.101.3.4.3.18":
		return "ML-DSA-65"
	case "2.16.840.1.101.3.4.3.19":
		return "ML-DSA-87"
	}
	return o
}
