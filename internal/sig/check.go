package sig

import "kotool/internal/diag"

// Check is the kernel's answer to the trailer: 0 where it goes on to the PKCS#7 message, else the errno, and the line that it logs ("" for
// none; [e]). EBADMSG refuses the module whether signatures are enforced or not; with ENOPKG it counts as unsigned.
//
// Source: kernel/module/signing.c: mod_verify_sig; kernel/module_signature.c: mod_check_sig (5.4 and later).
func (s *Signature) Check() (errno diag.Errno, dmesg string) {
	t := &s.Trailer
	switch {
	case t.Off == 0, uint64(t.SigLen) >= t.Off: // no room for the trailer, or for the signature before it
		return diag.EBADMSG, ""
	case t.IDType != PKCS7:
		return diag.ENOPKG, "module: not signed with expected PKCS#7 message"
	case t.Algo|t.Hash|t.SignerLen|t.KeyIDLen|t.Pad[0]|t.Pad[1]|t.Pad[2] != 0:
		return diag.EBADMSG, "module: PKCS#7 signature info has unexpected non-zero params"
	}
	return 0, ""
}

// CheckMessage is the kernel's answer to what the PKCS#7 message is, before any key is looked for: 0 where only the cryptography is left. It is
// to be asked after Check. Newer kernels may take signed attributes with ML-DSA signatures; that is not refused here.
//
// Source: crypto/asymmetric_keys/pkcs7_verify.c: pkcs7_verify; certs/system_keyring.c: verify_pkcs7_message_sig.
func (s *Signature) CheckMessage() (errno diag.Errno, dmesg string) {
	m := s.Message
	switch {
	case m == nil || m.Value == nil: // the DER is broken
		return diag.EBADMSG, ""
	case m.HasContent:
		return diag.EBADMSG, "PKCS#7 signature with non-detached data"
	case m.ContentType != "pkcs7-data":
		return diag.EKEYREJECTED, "PKCS7: Invalid module sig (not pkcs7-data)"
	case m.AuthAttrs && !m.mldsa():
		return diag.EKEYREJECTED, "PKCS7: Invalid module sig (has authattrs)"
	}
	return 0, ""
}

// mldsa reports whether the signature is one of ML-DSA.
func (m *Message) mldsa() bool {
	switch m.SigAlgo {
	case "ML-DSA-44", "ML-DSA-65", "ML-DSA-87":
		return true
	}
	return false
}

// Signed is the range of the file that the signature is over, in bytes.
func (s *Signature) Signed() (off, size uint64) { return 0, s.DataLen }
