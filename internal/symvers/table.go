package symvers

import (
	"hash/maphash"
	"iter"
)

// Table is a Module.symvers, indexed by name. It is read-only, so that many may use it at once.
type Table struct {
	data  []byte
	rows  []row
	names index
	// HasExport says that the rows tell the kind of export, so that GPL-only is known.
	HasExport bool
	// HasNamespace says that the rows have a column for the namespace.
	HasNamespace bool
	// HasCRC says that at least one CRC is not 0: the kernel has CONFIG_MODVERSIONS.
	HasCRC bool
}

// row holds offsets in the file rather than slices: a table may have millions.
type row struct {
	crc       uint32
	line      uint32
	name      uint32
	nameLen   uint16
	exportLen uint16
	export    uint32
	module    uint32
	moduleLen uint16
	nsLen     uint16
	ns        uint32
	nextSame  uint32 // row number plus one of the next row of the same name
	tail      uint32 // in the first row of a name: row number plus one of the last
}

func newTable(data []byte) *Table {
	// A row of a real file has 70 to 80 bytes.
	return &Table{data: data, rows: make([]row, 0, len(data)/64+1)}
}

func (t *Table) name(i uint32) []byte {
	r := &t.rows[i]
	end := r.name + uint32(r.nameLen)
	return t.data[r.name:end:end]
}

func (t *Table) index() {
	t.names = newIndex(len(t.rows))
	for i := range t.rows {
		at, hit := t.names.put(uint32(i), t.name)
		if !hit {
			continue
		}
		// The name is there already: the rows of one name are a chain, the first one is found.
		head := &t.rows[at]
		last := head
		if head.tail != 0 {
			last = &t.rows[head.tail-1]
		}
		last.nextSame, head.tail = uint32(i+1), uint32(i+1)
	}
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
	cut := func(off uint32, n uint16) []byte {
		end := off + uint32(n)
		return t.data[off:end:end]
	}
	return Symbol{Name: cut(r.name, r.nameLen), CRC: r.crc, Module: cut(r.module, r.moduleLen),
		Export: cut(r.export, r.exportLen), Namespace: cut(r.ns, r.nsLen), Line: int(r.line)}
}

// Lookup returns the first row of a name.
func (t *Table) Lookup(name []byte) (Symbol, bool) {
	if t == nil {
		return Symbol{}, false
	}
	at, ok := t.names.find(name, t.name)
	if !ok {
		return Symbol{}, false
	}
	return t.At(int(at)), true
}

// Row is the number of the first row of a name, -1 where there is none.
func (t *Table) Row(name []byte) int {
	if t == nil {
		return -1
	}
	at, ok := t.names.find(name, t.name)
	if !ok {
		return -1
	}
	return int(at)
}

// Following is the number of the next row of the same name, -1 behind the last.
func (t *Table) Following(i int) int { return int(t.rows[i].nextSame) - 1 }

// InKernel reports whether row i is of the kernel image itself.
func (t *Table) InKernel(i int) bool {
	r := &t.rows[i]
	return r.moduleLen == 0 || r.moduleLen == 7 && string(t.data[r.module:r.module+7]) == "vmlinux"
}

// Same yields every row of a name, in file order.
func (t *Table) Same(name []byte) iter.Seq[Symbol] {
	return func(yield func(Symbol) bool) {
		if t == nil {
			return
		}
		at, ok := t.names.find(name, t.name)
		for ok && yield(t.At(int(at))) {
			next := t.rows[at].nextSame
			at, ok = next-1, next != 0
		}
	}
}

// Duplicates yields the first row of each name that has more than one. modpost writes none; a file joined from several may have them.
func (t *Table) Duplicates() iter.Seq[Symbol] {
	return func(yield func(Symbol) bool) {
		for i := range t.Len() {
			if t.rows[i].tail != 0 && !yield(t.At(i)) {
				return
			}
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

// index finds rows by name: open addressing over row numbers. The names stay where they are, in the file.
// The seed is the process's own, so that no file can be made to collide.
type index struct {
	slots []slot
	seed  maphash.Seed
}

type slot struct {
	hash uint32 // upper half: spares the look at most names that are not it
	row  uint32 // number plus one; 0: free
}

// newIndex makes room for n rows, a quarter of it free at least.
func newIndex(n int) index {
	size := 16
	for size/4 < n-size/2 {
		size *= 2
	}
	return index{slots: make([]slot, size), seed: maphash.MakeSeed()}
}

// at is the slot where name is, or would go.
func (x *index) at(name []byte, names func(uint32) []byte) (s *slot, hash uint32) {
	h := maphash.Bytes(x.seed, name)
	hash = uint32(h >> 32)
	mask := uint64(len(x.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		s = &x.slots[i]
		if s.row == 0 || s.hash == hash && string(names(s.row-1)) == string(name) {
			return s, hash
		}
	}
}

// put adds a row. Where its name is there already it returns that row, and hit.
func (x *index) put(row uint32, names func(uint32) []byte) (first uint32, hit bool) {
	s, hash := x.at(names(row), names)
	if s.row != 0 {
		return s.row - 1, true
	}
	*s = slot{hash, row + 1}
	return row, false
}

// find returns the first row of a name.
func (x *index) find(name []byte, names func(uint32) []byte) (row uint32, ok bool) {
	if len(x.slots) == 0 {
		return 0, false
	}
	s, _ := x.at(name, names)
	if s.row == 0 {
		return 0, false
	}
	return s.row - 1, true
}
