package sig

import "bytes"

// Field is a line of modinfo(8).
type Field struct{ Key, Value string }

// Modinfo is what modinfo(8) shows of a signature: sig_id, signer, sig_key, sig_hashalgo and signature; nothing where it does not take the
// signature for one. That is not what the kernel thinks: see Check.
//
// Source: kmod: libkmod/libkmod-signature.c (kmod_module_signature_info, built with libcrypto), libkmod/libkmod-module.c.
func (s *Signature) Modinfo() []Field {
	t := &s.Trailer
	if t.Off == 0 || t.SigLen == 0 || uint64(t.SigLen) >= t.Off || t.Algo > 1 || int(t.Hash) >= len(hashNames) {
		return nil
	}
	var signer, key, value []byte
	var hash string
	switch {
	case t.IDType > PKCS7:
		return nil
	case t.IDType != PKCS7:
		if s.Legacy == nil {
			return nil
		}
		signer, key, value, hash = s.Legacy.Signer, s.Legacy.KeyID, s.Raw, s.Legacy.Hash
	case s.Message == nil || s.Message.Serial == nil || s.Message.Value == nil:
		return nil // libcrypto's PKCS#7 has no subject key identifiers
	default:
		signer, key, value, hash = []byte(s.Message.shownIssuer()), magnitude(s.Message.Serial), s.Message.Value, s.Message.DigestAlgo
	}
	return []Field{
		{"sig_id", t.IDTypeName()},
		{"signer", string(signer)},
		{"sig_key", string(wrapped(key))},
		{"sig_hashalgo", hash},
		{"signature", string(wrapped(value))},
	}
}

// shownIssuer is the first common name, else the last part of the name, up to a NUL. Source: kmod: x509_name_to_str.
func (m *Message) shownIssuer() string {
	name := ""
	for _, a := range m.Issuer {
		name = a.Value
		if a.OID == commonName {
			break
		}
	}
	b, _, _ := bytes.Cut([]byte(name), []byte{0})
	return string(b)
}

const commonName = "2.5.4.3"

// perLine is how many bytes stand in a line of modinfo.
const perLine = 20

// wrapped writes bytes as "3D:46:…", with a line break and two tabs after every twenty. Source: kmod: kmod_module_hex_to_str.
func wrapped(b []byte) []byte {
	out := make([]byte, 0, 3*len(b)+3*(len(b)/perLine))
	for len(b) > perLine {
		out = append(AppendColons(out, b[:perLine]), ":\n\t\t"...)
		b = b[perLine:]
	}
	return AppendColons(out, b)
}

// magnitude is a DER integer without sign and leading zeros, as libcrypto's big numbers are.
func magnitude(b []byte) []byte {
	if len(b) > 0 && b[0]&0x80 != 0 {
		neg := make([]byte, len(b))
		carry := byte(1)
		for i := len(b) - 1; i >= 0; i-- {
			neg[i] = ^b[i] + carry
			if neg[i] != 0 {
				carry = 0
			}
		}
		b = neg
	}
	return bytes.TrimLeft(b, "\x00")
}
