package symvers

import (
	"hash/maphash"
	"iter"
	"sync/atomic"

	"kotool/internal/source"
)

// Table is a Module.symvers, indexed by name. It is read-only, so that many may use it at once.
type Table struct {
	text  []byte // names, and what texts refer to
	rows  []row
	kinds []kind
	texts []text // paths of modules, kinds of export and namespaces; the first is empty
	names index
	// HasExport says that the rows tell the kind of export, so that GPL-only is known.
	HasExport bool
	// HasNamespace says that the rows have a column for the namespace.
	HasNamespace bool
	// HasCRC says that at least one CRC is not 0: the kernel has CONFIG_MODVERSIONS.
	HasCRC bool
}

// row holds offsets rather than slices: a table may have millions.
type row struct {
	name    uint32 // offset in Table.text
	crc     uint32
	next    uint32 // row number plus one of the next one in the same bucket
	kind    uint32 // number in Table.kinds
	nameLen uint16
	tag     uint16 // of the name's hash: spares the look at most names that are not it
}

// kind is what many rows share, all but the name and its CRC: numbers in Table.texts.
type kind struct{ module, export, ns uint32 }

// text is a text that many rows share.
type text struct {
	off    uint32
	n      uint16
	kernel bool                   // as the path of a module: it is the kernel image
	gpl    bool                   // as a kind of export: only GPL-compatible modules see the symbol
	owner  atomic.Pointer[string] // the name of the module whose path it is, once somebody has asked
}

func newTable(size uint64) *Table {
	// A row of a real file has 70 to 80 bytes, a third of them its name.
	t := &Table{rows: make([]row, 0, size/64+1), text: make([]byte, 0, size/3), texts: make([]text, 1, 64)}
	t.texts[0].kernel = inKernel(nil)
	return t
}

func (t *Table) cut(x *text) []byte { return t.text[x.off : x.off+uint32(x.n) : x.off+uint32(x.n)] }

func (t *Table) name(r *row) []byte {
	end := r.name + uint32(r.nameLen)
	return t.text[r.name:end:end]
}

// index makes the chains of rows, each in the order of the file.
func (t *Table) index() {
	t.names = newIndex(len(t.rows))
	for i := len(t.rows) - 1; i >= 0; i-- {
		r := &t.rows[i]
		var head *uint32
		head, r.tag = t.names.bucket(t.name(r))
		r.next, *head = *head, uint32(i+1)
	}
}

// from is the first row of a name from row number at-1 on in its chain, -1 where there is none.
func (t *Table) from(at uint32, tag uint16, name []byte) int {
	for at != 0 {
		r := &t.rows[at-1]
		if r.tag == tag && int(r.nameLen) == len(name) && string(t.name(r)) == string(name) {
			return int(at - 1)
		}
		at = r.next
	}
	return -1
}

// Len is the number of rows.
func (t *Table) Len() int {
	if t == nil {
		return 0
	}
	return len(t.rows)
}

// At returns row i, in file order.
func (t *Table) At(i int) Symbol {
	r := &t.rows[i]
	k := t.kind(i)
	return Symbol{Name: t.name(r), CRC: r.crc, Module: t.cut(&t.texts[k.module]), Export: t.cut(&t.texts[k.export]), Namespace: t.cut(&t.texts[k.ns])}
}

// Lookup returns the first row of a name.
func (t *Table) Lookup(name []byte) (Symbol, bool) {
	i := t.Row(name)
	if i < 0 {
		return Symbol{}, false
	}
	return t.At(i), true
}

// Row is the number of the first row of a name, -1 where there is none.
func (t *Table) Row(name []byte) int {
	if t == nil || len(t.rows) == 0 {
		return -1
	}
	head, tag := t.names.bucket(name)
	return t.from(*head, tag, name)
}

// Following is the number of the next row of the same name, -1 behind the last.
func (t *Table) Following(i int) int {
	r := &t.rows[i]
	return t.from(r.next, r.tag, t.name(r))
}

func (t *Table) kind(i int) *kind { return &t.kinds[t.rows[i].kind] }

// InKernel reports whether row i is of the kernel image itself.
func (t *Table) InKernel(i int) bool { return t.texts[t.kind(i).module].kernel }

// GPL reports whether only GPL-compatible modules see the symbol of row i.
func (t *Table) GPL(i int) bool { return t.texts[t.kind(i).export].gpl }

// CRC is the CRC of row i.
func (t *Table) CRC(i int) uint32 { return t.rows[i].crc }

// Namespace is the namespace of row i.
func (t *Table) Namespace(i int) []byte { return t.cut(&t.texts[t.kind(i).ns]) }

// Owner is the name of the module that row i is of; "" for the kernel itself.
func (t *Table) Owner(i int) string {
	x := &t.texts[t.kind(i).module]
	if s := x.owner.Load(); s != nil {
		return *s
	}
	name := ""
	if !t.InKernel(i) {
		name = source.ModuleName(string(t.cut(x)))
	}
	x.owner.Store(&name)
	return name
}

// Same yields every row of a name, in file order.
func (t *Table) Same(name []byte) iter.Seq[Symbol] {
	return func(yield func(Symbol) bool) {
		for i := t.Row(name); i >= 0 && yield(t.At(i)); {
			i = t.Following(i)
		}
	}
}

// All yields the rows in file order.
func (t *Table) All() iter.Seq[Symbol] {
	return func(yield func(Symbol) bool) {
		for i := range t.Len() {
			if !yield(t.At(i)) {
				return
			}
		}
	}
}

// index has the first row of each chain of rows, by the hash of their names. The seed is the process's own, so that no file can be made to
// collide.
type index struct {
	heads []uint32 // row number plus one; 0: none
	seed  maphash.Seed
}

// newIndex makes room for n rows, one bucket each or a little more.
func newIndex(n int) index {
	size := 16
	for size < n {
		size *= 2
	}
	return index{heads: make([]uint32, size), seed: maphash.MakeSeed()}
}

// bucket is where the chain of a name begins, and the tag that its rows have.
func (x *index) bucket(name []byte) (head *uint32, tag uint16) {
	h := maphash.Bytes(x.seed, name)
	return &x.heads[h&uint64(len(x.heads)-1)], uint16(h >> 48)
}
