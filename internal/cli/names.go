package cli

import (
	"errors"
	"fmt"
	"os"

	"kotool/internal/modtree"
	"kotool/internal/report"
)

func exists(p string) bool {
	_, err := os.Stat(p)
	return err == nil
}

// notFoundError says that a tree has no module of a name: an answer, though a bad one.
type notFoundError struct{ dir string }

func (e *notFoundError) Error() string { return "module not found in " + e.dir }

// names looks modules up by name or alias in lib/modules; the tree is opened when the first name comes.
type names struct {
	o    *infoOptions
	tree *modtree.Tree
	err  error
}

func (n *names) open() (*modtree.Tree, error) {
	if n.tree == nil && n.err == nil {
		kver := n.o.kver
		if kver == "" {
			kver = n.o.Release()
		}
		if kver == "" {
			n.err = errors.New("no kernel runs here whose modules could be meant: name a release with -k")
			return nil, n.err
		}
		n.tree, n.err = modtree.Open(n.o.root, kver)
	}
	return n.tree, n.err
}

// lookup returns an input for each module that name stands for.
func (n *names) lookup(name string) []input {
	tree, err := n.open()
	if err != nil {
		return []input{{path: name, err: fmt.Errorf("modules of that kernel: %w", err)}}
	}
	hits, err := tree.Lookup(name)
	if err != nil {
		return []input{{path: name, err: err}}
	}
	if len(hits) == 0 {
		return []input{{path: name, err: &notFoundError{tree.Dir}}}
	}
	var list []input
	for _, h := range hits {
		if !h.Builtin {
			list = append(list, input{path: h.Path})
			continue
		}
		list = append(list, input{path: h.Name, made: func() (report.Report, error) {
			info, err := tree.BuiltinInfo(h.Name)
			if err != nil {
				return nil, err
			}
			entries := make([]report.Entry, len(info))
			for i := range info {
				entries[i] = report.Entry{Key: info[i].Key, Value: info[i].Value}
			}
			o := n.o.options("(builtin)")
			return report.NewBuiltinInfo(h.Name, entries, o), nil
		}})
	}
	return list
}
