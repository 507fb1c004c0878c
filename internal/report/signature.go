package report

import (
	"encoding/hex"
	"fmt"
	"strconv"

	"kotool/internal/module"
	"kotool/internal/render"
	"kotool/internal/sig"
)

// Signature is the appended signature.
type Signature struct {
	s     *sig.Signature
	after uint64 // bytes behind a magic that is not at the end
}

// NewSignature reports a module's appended signature.
func NewSignature(m *module.Module) *Signature {
	r := &Signature{s: m.Signature()}
	if r.s == nil {
		r.after = sig.Hidden(m.File.Source())
	}
	return r
}

// Schema implements Report.
func (*Signature) Schema() string { return "kotool.signature/1" }

// JSON implements Report.
func (r *Signature) JSON(j *render.JSON) {
	j.KBool("signed", r.s != nil)
	j.KUint("bytes_after", r.after)
	j.Key("signature")
	if r.s == nil {
		j.Null()
		return
	}
	s := r.s
	j.Obj()
	j.Key("trailer")
	j.Obj()
	j.KUint("offset", s.Trailer.Off)
	j.KUint("algo", uint64(s.Trailer.Algo))
	j.KUint("hash", uint64(s.Trailer.Hash))
	j.KUint("id_type", uint64(s.Trailer.IDType))
	j.KStr("id_type_name", s.Trailer.IDTypeName())
	j.KUint("signer_len", uint64(s.Trailer.SignerLen))
	j.KUint("key_id_len", uint64(s.Trailer.KeyIDLen))
	j.KUint("sig_len", uint64(s.Trailer.SigLen))
	j.End()
	j.KUint("offset", s.Off)
	j.KUint("size", s.Size)
	j.KUint("signed_bytes", s.DataLen)
	j.KUint("appended", s.TotalLen)
	j.KStr("signer", s.Signer())
	j.KStr("key_id", s.KeyID())
	j.KStr("hash", s.HashAlgo())
	j.KStr("signature", hex.EncodeToString(s.Value()))
	if m := s.Message; m != nil {
		j.Key("pkcs7")
		j.Obj()
		j.KInt("version", int64(m.Version))
		j.KStr("issuer", m.IssuerName())
		j.KStr("serial", sig.Colons(m.Serial))
		j.KStr("subject_key_id", sig.Colons(m.KeyID))
		j.KStr("digest_algorithm", m.DigestAlgo)
		j.KStr("signature_algorithm", m.SigAlgo)
		j.KStr("content_type", m.ContentType)
		j.KBool("has_content", m.HasContent)
		j.KBool("has_certificates", m.Certificates)
		j.KBool("has_signed_attributes", m.AuthAttrs)
		j.KInt("signers", int64(m.Signers))
		j.End()
	}
	j.End()
}

// Tables implements Report.
func (r *Signature) Tables() []*render.Table {
	if r.s == nil && r.after > 0 {
		return []*render.Table{pairs("", []pair{{key: "signature", value: fmt.Sprintf("none that the kernel sees: %d bytes follow the signature's magic", r.after), role: render.RoleWarn},
			{key: "bytes after", value: strconv.FormatUint(r.after, 10)}})}
	}
	if r.s == nil {
		return []*render.Table{pairs("", []pair{{key: "signature", value: "none: the module is not signed", role: render.RoleWarn}})}
	}
	s := r.s
	list := []pair{
		{key: "id type", value: fmt.Sprintf("%s (%d)", s.Trailer.IDTypeName(), s.Trailer.IDType)},
		{key: "signer", value: s.Signer()},
		{key: "key id", value: s.KeyID()},
		{key: "digest", value: s.HashAlgo()},
	}
	if m := s.Message; m != nil {
		list = append(list,
			pair{key: "algorithm", value: m.SigAlgo},
			pair{key: "issuer", value: m.IssuerName()},
			pair{key: "PKCS#7 version", value: strconv.Itoa(m.Version)},
			pair{key: "content", value: dash(m.ContentType)})
		if m.HasContent || m.AuthAttrs || m.Certificates || m.Signers != 1 {
			list = append(list, pair{key: "unusual", value: fmt.Sprintf("content inside: %v, signed attributes: %v, certificates: %v, signers: %d",
				m.HasContent, m.AuthAttrs, m.Certificates, m.Signers), role: render.RoleWarn})
		}
	}
	list = append(list,
		pair{key: "signed bytes", value: strconv.FormatUint(s.DataLen, 10)},
		pair{key: "message", value: fmt.Sprintf("%d bytes at offset %#x", s.Size, s.Off)},
		pair{key: "trailer", value: fmt.Sprintf("at offset %#x: algo %d, hash %d, id_type %d, signer_len %d, key_id_len %d, sig_len %d", s.Trailer.Off,
			s.Trailer.Algo, s.Trailer.Hash, s.Trailer.IDType, s.Trailer.SignerLen, s.Trailer.KeyIDLen, s.Trailer.SigLen)},
		pair{key: "bytes after", value: "0"})
	if v := s.Value(); len(v) > 0 {
		list = append(list, pair{key: "signature", value: sig.Colons(v)})
	}
	return []*render.Table{pairs("", list)}
}
