package report

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"

	"kotool/internal/module"
	"kotool/internal/render"
	"kotool/internal/sig"
)

// InfoOptions choose what info shows, as modinfo's letters do.
type InfoOptions struct {
	Fields []string // -F: values of these alone
	Null   bool     // -0: NUL in place of newline; values raw
	Path   string   // what "filename" is
}

// Info is what modinfo shows.
type Info struct {
	o       InfoOptions
	name    string
	builtin bool
	packed  string
	entries []Entry
	params  []param
	buildID []byte
	sig     *sig.Signature
	missing []string
}

// Entry is a key and its value.
type Entry struct{ Key, Value []byte }

// param is a parameter by its parm= and parmtype= strings.
type param struct {
	name, desc, typ  []byte
	hasDesc, hasType bool
}

// NewInfo reports a module's .modinfo and signature.
func NewInfo(m *module.Module, o InfoOptions) *Info {
	src := m.Info()
	entries := make([]Entry, len(src.Entries))
	for i := range src.Entries {
		e := &src.Entries[i]
		entries[i] = Entry{e.Key, e.Value}
		if e.Key == nil { // modinfo takes a string without '=' for a key
			entries[i] = Entry{e.Value, nil}
		}
	}
	r := newInfo(entries, o)
	r.packed = m.Compression
	r.buildID = m.BuildID()
	r.sig = m.Signature()
	r.name = m.InfoName()
	r.find()
	return r
}

// NewBuiltinInfo reports what the kernel keeps of a built-in module: modules.builtin.modinfo.
func NewBuiltinInfo(name string, entries []Entry, o InfoOptions) *Info {
	o.Path = "(builtin)"
	r := newInfo(entries, o)
	r.name, r.builtin = name, true
	r.find()
	return r
}

func newInfo(entries []Entry, o InfoOptions) *Info {
	r := &Info{o: o, entries: entries}
	for i := range entries {
		e := &entries[i]
		isType := string(e.Key) == "parmtype"
		if !isType && string(e.Key) != "parm" {
			continue
		}
		name, text, ok := bytes.Cut(e.Value, []byte(":"))
		if !ok {
			continue // modinfo complains, and leaves it out
		}
		at := slices.IndexFunc(r.params, func(p param) bool { return bytes.Equal(p.name, name) })
		if at < 0 {
			at = len(r.params)
			r.params = append(r.params, param{name: name})
		}
		if isType {
			r.params[at].typ, r.params[at].hasType = text, true
		} else {
			r.params[at].desc, r.params[at].hasDesc = text, true
		}
	}
	return r
}

// find notes the wanted fields that are not there.
func (r *Info) find() {
	for _, f := range r.o.Fields {
		found := false
		r.values(f, func([]byte) { found = true })
		if !found {
			r.missing = append(r.missing, f)
		}
	}
}

// Failed implements the interface of the commands: an unknown field is a bad answer.
func (r *Info) Failed() error {
	switch {
	case len(r.missing) == 1:
		return fmt.Errorf("no field %q", r.missing[0])
	case len(r.missing) > 1:
		return fmt.Errorf("no fields %q", r.missing)
	}
	return nil
}

// Schema implements Report.
func (*Info) Schema() string { return "kotool.info/1" }

// JSON implements Report.
func (r *Info) JSON(j *render.JSON) {
	if len(r.o.Fields) > 0 {
		j.KStr("name", r.name)
		j.Key("fields")
		j.Obj()
		for i, f := range r.o.Fields {
			if slices.Contains(r.o.Fields[:i], f) {
				continue
			}
			j.B = appendKey(j, f)
			j.Arr()
			r.values(f, func(v []byte) { j.Bytes(v) })
			j.EndArr()
		}
		j.End()
		return
	}
	j.KStr("name", r.name)
	if r.builtin {
		j.KBool("builtin", true)
	} else {
		j.KStr("compression", r.packed)
	}
	j.Key("modinfo")
	j.Arr()
	for i := range r.entries {
		e := &r.entries[i]
		j.Obj()
		j.KBytes("key", e.Key)
		j.KBytes("value", e.Value)
		j.End()
		if !j.Spill() {
			return
		}
	}
	j.EndArr()
	j.Key("build_id")
	if r.buildID == nil {
		j.Null()
	} else {
		j.Str(hex.EncodeToString(r.buildID))
	}
	j.Key("signature")
	if r.sig == nil {
		j.Null()
		return
	}
	j.Obj()
	j.KStr("id_type", r.sig.Trailer.IDTypeName())
	j.KStr("signer", r.sig.Signer())
	j.KStr("key_id", r.sig.KeyID())
	j.KStr("hash", r.sig.HashAlgo())
	j.KStr("signature", hex.EncodeToString(r.sig.Value()))
	j.KUint("size", r.sig.Size)
	j.End()
}

// appendKey writes a member's name that may need escapes.
func appendKey(j *render.JSON, k string) []byte {
	var esc []byte
	esc = render.AppendJSONString(esc, k)
	j.Key(string(esc[1 : len(esc)-1]))
	return j.B
}

// sigEntries yields the signature's lines as kmod makes them. The values are valid during the call.
func (r *Info) sigEntries(yield func(key string, value []byte)) {
	if r.sig == nil || r.sig.Message == nil && r.sig.Legacy == nil {
		return
	}
	yield("sig_id", []byte(r.sig.Trailer.IDTypeName()))
	yield("signer", []byte(r.sig.Signer()))
	yield("sig_key", []byte(r.sig.KeyID()))
	yield("sig_hashalgo", []byte(r.sig.HashAlgo()))
	v := r.sig.Value()
	yield("signature", appendWrapped(make([]byte, 0, 4*len(v)), v))
}

// appendWrapped appends the signature's bytes, twenty a line, as modinfo breaks them.
func appendWrapped(dst, b []byte) []byte {
	for i := 0; i < len(b); i += 20 {
		if i > 0 {
			dst = append(dst, ":\n\t\t"...)
		}
		dst = sig.AppendColons(dst, b[i:min(i+20, len(b))])
	}
	return dst
}

// values yields the values of one field. "filename", the signature's fields, "parm" and "build_id" are made up.
func (r *Info) values(field string, yield func(v []byte)) {
	switch field {
	case "filename":
		yield([]byte(r.o.Path))
		return
	case "build_id", "build-id":
		if r.buildID != nil {
			yield([]byte(hex.EncodeToString(r.buildID)))
		}
		return
	case "parm":
		for i := len(r.params) - 1; i >= 0; i-- {
			yield(r.params[i].text(true))
		}
		return
	}
	for i := range r.entries {
		if string(r.entries[i].Key) == field {
			yield(r.entries[i].Value)
		}
	}
	r.sigEntries(func(k string, v []byte) {
		if k == field {
			yield(v)
		}
	})
}

// text is "name:description (type)". modinfo writes a parameter that has only a type in two ways: alone as here.
func (p *param) text(alone bool) []byte {
	b := append([]byte(nil), p.name...)
	b = append(b, ':')
	switch {
	case p.hasDesc && p.hasType:
		b = append(b, p.desc...)
		b = append(append(append(b, " ("...), p.typ...), ')')
	case p.hasDesc:
		b = append(b, p.desc...)
	case alone:
		b = append(append(append(b, " ("...), p.typ...), ')')
	default:
		b = append(b, p.typ...)
	}
	return b
}

// keyWidth is where modinfo's values begin.
const keyWidth = 16

// Text implements Texter: modinfo's own form.
func (r *Info) Text(out *render.Out, st *render.Style) {
	end, value := byte('\n'), render.AppendLines[[]byte]
	if r.o.Null {
		end, value = 0, func(dst, s []byte) []byte { return append(dst, s...) }
	}
	if len(r.o.Fields) > 0 {
		for _, f := range r.o.Fields {
			r.values(f, func(v []byte) {
				out.B = append(value(out.B, v), end)
			})
		}
		return
	}
	line := func(key, v []byte) {
		if r.o.Null {
			out.B = append(out.B, key...)
			out.B = append(append(append(out.B, '='), v...), end)
			return
		}
		out.B = appendLabel(out.B, st, key)
		out.B = append(value(out.B, v), end)
	}
	// The first line and those of parameters keep their form with -0 too.
	label := func(key string, v []byte) {
		out.B = appendLabel(out.B, st, []byte(key))
		out.B = append(value(out.B, v), end)
	}
	entries := r.entries
	if r.builtin && len(entries) > 0 { // modinfo begins with the name here
		label("name", entries[0].Value)
		entries = entries[1:]
	}
	label("filename", []byte(r.o.Path))
	for i := range entries {
		e := &entries[i]
		if k := string(e.Key); k == "parm" || k == "parmtype" {
			continue
		}
		line(e.Key, e.Value)
		out.Check()
	}
	r.sigEntries(func(k string, v []byte) {
		if k != "signature" || r.o.Null {
			line([]byte(k), v)
			return
		}
		out.B = appendLabel(out.B, st, []byte(k)) // digits and colons, much the longest value: it needs no look
		out.B = append(append(out.B, v...), end)
	})
	for i := len(r.params) - 1; i >= 0; i-- {
		label("parm", r.params[i].text(false))
	}
}

// appendLabel is "key:" and blanks up to the column of values.
func appendLabel(dst []byte, st *render.Style, key []byte) []byte {
	at := len(dst)
	dst = render.AppendText(dst, key)
	width := render.Width(dst[at:])
	if st.Palette != nil {
		text := string(dst[at:])
		dst = st.Palette.Paint(dst[:at], render.RoleKey, text)
	}
	return render.AppendPadded(append(dst, ':'), "", keyWidth-1-width)
}

// Tables implements Report.
func (r *Info) Tables() []*render.Table { return r.TSV() }

// TSV implements TSVer: a row a field.
func (r *Info) TSV() []*render.Table {
	return []*render.Table{{
		Columns: []render.Column{{Name: "key"}, {Name: "value"}},
		Rows: func(row *render.Row) {
			put := func(k string, v []byte) bool { row.TextStr(k); row.Text(v); return row.Next() }
			if len(r.o.Fields) > 0 {
				for _, f := range r.o.Fields {
					r.values(f, func(v []byte) { put(f, v) })
				}
				return
			}
			put("filename", []byte(r.o.Path))
			for i := range r.entries {
				if !put(string(r.entries[i].Key), r.entries[i].Value) {
					return
				}
			}
			r.sigEntries(func(k string, v []byte) { put(k, bytes.ReplaceAll(v, []byte("\n\t\t"), nil)) })
		},
	}}
}
