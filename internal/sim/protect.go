package sim

// Part is a piece of a region with permissions of its own.
type Part struct {
	Kind Kind
	Off  uint64 // in the region, bytes
	Size uint64
	Perm string // "r-x"
	// Before is what it has until the module's init function has returned, where that is something else.
	Before string
}

// bound is where a part of a region ends, bytes from the region's beginning.
type bound struct {
	kind Kind
	end  uint64
}

// Parts are a region's parts by their permissions when the module is live; those of init memory are what it has while it is there. Machines
// without CONFIG_STRICT_MODULE_RWX have memory for modules that is writable and executable, and leave it so.
//
// Source: kernel/module/strict_rwx.c: module_enable_x, module_enable_ro, module_enable_nx (to 6.3 by frob_text, frob_rodata, frob_ro_after_init
// and frob_writable_data); kernel/module/main.c: complete_formation, do_init_module.
func (r *Result) Parts(region int) []Part {
	g := &r.Regions[region]
	if !r.Load.StrictRWX() {
		return []Part{{Kind: g.Kind, Size: g.Used, Perm: "rwx"}}
	}
	bounds := []bound{{g.Kind, g.Used}}
	if l := r.Layout; l != nil && g.Kind == Core {
		bounds = []bound{{Text, l.Text}, {Rodata, l.Ro}, {RoAfterInit, l.RoAfterInit}, {Data, l.Core}}
	} else if l != nil && g.Kind == Init {
		bounds = []bound{{InitText, l.InitText}, {InitRodata, l.InitRo}, {InitData, l.Init}}
	}
	var list []Part
	from := uint64(0)
	for _, b := range bounds {
		if b.end <= from {
			continue
		}
		p := Part{Kind: b.kind, Off: from, Size: b.end - from}
		switch b.kind {
		case Text, InitText:
			p.Perm = "r-x"
		case Rodata, InitRodata:
			p.Perm = "r--"
		case RoAfterInit:
			p.Perm, p.Before = "r--", "rw-"
		default:
			p.Perm = "rw-"
		}
		list = append(list, p)
		from = b.end
	}
	return list
}
