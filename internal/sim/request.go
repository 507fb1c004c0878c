package sim

import (
	"kotool/internal/elf"
	"kotool/internal/module"
)

// RequestOf is a call that loads a file, with what is known of its exports and parameters.
func RequestOf(src elf.Source) *Request {
	req := &Request{Source: src}
	m, err := module.Decode(src, module.Meta{})
	if err == nil && m.NeedSections() == nil {
		req.Module = m
		t := m.Exports()
		req.Exports, req.Form, req.Params = t.Exports, t.Form, m.Params()
		if this := m.This(); this != nil {
			req.HasInit, req.HasExit = this.Init != nil, this.Exit != nil
		}
	}
	return req
}
