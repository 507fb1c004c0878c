package report

import (
	"bytes"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"kotool/internal/bin"
	kelf "kotool/internal/elf"
	"kotool/internal/module"
	"kotool/internal/reloc"
	"kotool/internal/render"
	"kotool/internal/sim"
)

// Dump is a section in hexadecimal, with the relocations that touch each line.
type Dump struct {
	m    *module.Module
	secs []dumped
	errs []error // sections that are not there
	size uint64  // of what is shown, in bytes
}

type dumped struct {
	s    *kelf.Section
	data bin.View
	rels kelf.Targets

	memory bool // after relocation
}

// NewDump reports the sections of these names or, where there is none of a name, with that index.
func NewDump(m *module.Module, which []string) *Dump {
	r := &Dump{m: m}
	for _, w := range which {
		before := len(r.secs)
		for i := range m.File.Sections {
			if m.File.Sections[i].Name == w {
				r.add(i)
			}
		}
		if len(r.secs) > before {
			continue
		}
		if i, err := strconv.ParseUint(w, 0, 32); err == nil && i < uint64(len(m.File.Sections)) {
			r.add(int(i))
			continue
		}
		r.errs = append(r.errs, fmt.Errorf("no section %q", w))
	}
	return r
}

// Relocated shows the sections' bytes and addresses as they are in a snapshot, when relocation is done.
func (r *Dump) Relocated(snap *sim.Snapshot) {
	for i := range r.secs {
		d := &r.secs[i]
		for k := range snap.Sections {
			x := &snap.Sections[k]
			if x.Index != d.s.Index || x.Data == nil {
				continue
			}
			s := *d.s
			s.Addr, s.Size, s.Type = x.Addr, x.Size, elf.SHT_PROGBITS
			d.s, d.data = &s, bin.New(bytes.Clone(x.Data), d.s.Off, r.m.File.Big)
			d.memory = true
		}
		if !d.memory {
			r.errs = append(r.errs, fmt.Errorf("section %d %q is not loaded", d.s.Index, d.s.Name))
		}
	}
}

// add takes a section. One that is cut short is among the file's problems; what is there is shown.
func (r *Dump) add(i int) {
	data, _ := r.m.File.Data(i)
	if r.size += data.Len(); r.size > r.m.File.Size() {
		r.errs = append(r.errs, fmt.Errorf("section %d is left out: the sections asked for are larger than the file together", i))
		return
	}
	rels, _ := r.m.File.Targets(i)
	r.secs = append(r.secs, dumped{s: &r.m.File.Sections[i], data: data, rels: rels})
}

// Failed implements the interface of the commands: a section that is not there is a bad answer.
func (r *Dump) Failed() error { return errors.Join(r.errs...) }

// Schema implements Report.
func (*Dump) Schema() string { return "kotool.dump/1" }

// line is how many bytes stand on a line, as with readelf -x.
const line = 16

// note is "R_X86_64_64 testexport+0": what will be written at a place.
func (r *Dump) note(b []byte, rel kelf.Rel, rela bool) []byte {
	if n := reloc.Name(r.m.File.Header.Machine, rel.Type); n != "" {
		b = append(b, n...)
	} else {
		b = strconv.AppendUint(append(b, "type "...), uint64(rel.Type), 10)
	}
	b = append(b, ' ')
	t := r.m.Symtab()
	if uint64(rel.Sym) < uint64(t.Len()) {
		b = render.AppendText(b, r.m.File.DisplayName(t, t.At(int(rel.Sym))))
	} else {
		b = strconv.AppendUint(append(b, "symbol "...), uint64(rel.Sym), 10)
	}
	if rela && rel.Addend != 0 {
		b = appendAddend(b, rel.Addend)
	}
	if p, ok := r.m.File.Resolve(rel, rela, 0); ok && p.Section != 0 && rela {
		if sec := &r.m.File.Sections[p.Section]; sec.Flags&elf.SHF_STRINGS != 0 || sec.Name == "__ksymtab_strings" {
			if s, ok := r.m.File.CStringAt(p); ok {
				b = render.AppendText(append(b, ` "`...), s)
				b = append(b, '"')
			}
		}
	}
	return b
}

// JSON implements Report.
func (r *Dump) JSON(j *render.JSON) {
	j.Key("sections")
	j.Arr()
	for i := range r.secs {
		d := &r.secs[i]
		j.Obj()
		j.KInt("index", int64(d.s.Index))
		j.KStr("name", d.s.Name)
		j.KUint("offset", d.s.Off)
		j.KUint("size", d.s.Size)
		j.KHex("addr", d.s.Addr)
		j.Key("lines")
		j.Arr()
		for off := uint64(0); off < d.data.Len(); off += line {
			j.Obj()
			j.KUint("offset", off)
			j.KStr("hex", hex.EncodeToString(d.data.Clip(off, line).Bytes()))
			if rels := d.rels.In(off, off+line); len(rels) > 0 {
				j.Key("relocations")
				j.Arr()
				for _, rel := range rels {
					j.Obj()
					j.KUint("offset", rel.Off)
					j.KUint("type", uint64(rel.Type))
					j.KStr("text", string(r.note(nil, rel, d.rels.Rela)))
					j.End()
				}
				j.EndArr()
			}
			j.End()
			if !j.Spill() {
				return
			}
		}
		j.EndArr()
		j.End()
	}
	j.EndArr()
}

// Text implements Texter.
func (r *Dump) Text(out *render.Out, st *render.Style) {
	for i := range r.secs {
		d := &r.secs[i]
		if i > 0 {
			out.Str("\n")
		}
		title := "section " + strconv.Itoa(d.s.Index) + " " + render.Text(d.s.Name)
		if d.s.Type == elf.SHT_NOBITS {
			out.B = st.Palette.Paint(out.B, render.RoleTitle, title+": NOBITS, "+strconv.FormatUint(d.s.Size, 10)+" zero bytes, none in the file")
			out.Str("\n")
			continue
		}
		out.B = st.Palette.Paint(out.B, render.RoleTitle, title+": "+strconv.FormatUint(d.data.Len(), 10)+" bytes at "+d.where())
		out.Str("\n")
		for off := uint64(0); off < d.data.Len(); off += line {
			b := d.data.Clip(off, line).Bytes()
			out.Str("  ")
			out.B = render.AppendHex(out.B, d.s.Addr+off, 8)
			for k := range line {
				if k%4 == 0 {
					out.Str(" ")
				}
				if k < len(b) {
					out.B = hex.AppendEncode(out.B, b[k:k+1])
				} else {
					out.Str("  ")
				}
			}
			out.Str(" ")
			for _, c := range b {
				if c < 0x20 || c >= 0x7f {
					c = '.'
				}
				out.B = append(out.B, c)
			}
			rels := d.rels.In(off, off+line)
			for k, rel := range rels {
				if k == 0 {
					for n := len(b); n < line; n++ {
						out.Str(" ")
					}
				} else {
					out.Str("\n")
					for range 2 + 10 + 4*9 + 1 + line {
						out.B = append(out.B, ' ')
					}
				}
				out.Str("  +")
				out.B = render.AppendHex(out.B, rel.Off-off, 1)
				out.Str(" ")
				out.B = st.Palette.Paint(out.B, render.RoleName, string(r.note(nil, rel, d.rels.Rela)))
			}
			out.Str("\n")
			if !out.Check() {
				return
			}
		}
	}
}

// where says where the bytes are.
func (d *dumped) where() string {
	if d.memory {
		return render.Hex(d.s.Addr) + ", relocated"
	}
	return "offset " + render.Hex(d.s.Off)
}

// Tables implements Report.
func (r *Dump) Tables() []*render.Table {
	return []*render.Table{{
		Columns: []render.Column{{Name: "section"}, {Name: "offset"}, {Name: "hex"}, {Name: "relocations"}},
		Rows: func(row *render.Row) {
			for i := range r.secs {
				d := &r.secs[i]
				for off := uint64(0); off < d.data.Len(); off += line {
					row.TextStr(d.s.Name)
					row.Hex(off, 1)
					row.Str(hex.EncodeToString(d.data.Clip(off, line).Bytes()))
					row.Append(func(b []byte) []byte {
						for k, rel := range d.rels.In(off, off+line) {
							if k > 0 {
								b = append(b, "; "...)
							}
							b = r.note(b, rel, d.rels.Rela)
						}
						return b
					})
					if !row.Next() {
						return
					}
				}
			}
		},
	}}
}
