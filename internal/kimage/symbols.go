package kimage

import "iter"

// Symbol is a symbol of the kernel. Type is the letter that nm and /proc/kallsyms have for it.
type Symbol struct {
	Name string
	Addr uint64
	Type byte
}

// Symbols yields the kernel's symbols with the addresses that it is linked to: those of ELF, or of the embedded kallsyms. It yields none where
// neither is there.
func (im *Image) Symbols() iter.Seq[Symbol] {
	if im.symtab.tab == nil {
		if k := im.kallsyms(); k != nil {
			return k.all()
		}
		return func(func(Symbol) bool) {}
	}
	return func(yield func(Symbol) bool) {
		for s := range im.symtab.tab.All() {
			letter := im.symtab.letter(s)
			if letter == 0 {
				continue
			}
			if name := im.symtab.tab.Name(s); len(name) > 0 && !yield(Symbol{string(name), s.Value, letter}) {
				return
			}
		}
	}
}

// HasSymbols reports whether Symbols yields any.
func (im *Image) HasSymbols() bool { return im.symtab.tab != nil || im.kallsyms() != nil }

// Address is where the kernel has that symbol, as it is linked: by ELF's symbols, the exports, or kallsyms. Of several symbols of one name it is
// the global one, or the first.
func (im *Image) Address(name string) (uint64, bool) {
	if im.symtab.tab == nil {
		im.indexExports()
		if i, ok := im.exports[name]; ok && im.Exports[i].HasValue {
			return im.Exports[i].Value.Off, true
		}
	}
	im.indexSymbols()
	if at, ok := im.index[name]; ok {
		return at.addr, true
	}
	im.indexExports()
	if i, ok := im.exports[name]; ok && im.Exports[i].HasValue {
		return im.Exports[i].Value.Off, true
	}
	return 0, false
}

func (im *Image) indexExports() {
	im.exportsOnce.Do(func() {
		im.exports = make(map[string]int, len(im.Exports))
		for i := range im.Exports {
			if _, ok := im.exports[string(im.Exports[i].Name)]; !ok {
				im.exports[string(im.Exports[i].Name)] = i
			}
		}
	})
}

// located is where a symbol is.
type located struct {
	addr   uint64
	global bool
}

func (im *Image) indexSymbols() {
	im.indexOnce.Do(func() {
		im.index = map[string]located{}
		for s := range im.Symbols() {
			global := s.Type >= 'A' && s.Type <= 'Z'
			if old, ok := im.index[s.Name]; !ok || global && !old.global {
				im.index[s.Name] = located{s.Addr, global}
			}
		}
	})
}
