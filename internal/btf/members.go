package btf

// members checks the members of a type one by one.
//
// Source: kernel/bpf/btf.c: btf_struct_check_meta, btf_enum_check_meta, btf_enum64_check_meta, btf_datasec_check_meta.
func (c *checker) members(k *kind, t *typ) *Refusal {
	switch t.kind {
	case kindStruct, kindUnion:
		return c.fields(k, t)
	case kindEnum, kindEnum64:
		return c.values(k, t)
	case kindDatasec:
		return c.variables(k, t)
	case kindFuncProto:
		for b := t.rest[:t.needs(k)]; len(b) > 0; b = b[8:] {
			c.highest = max(c.highest, u32(b[4:]))
		}
	}
	return nil
}

// field is a member of a structure or union, with its place.
type field struct{ name, id, place uint32 }

// bitOff is __btf_member_bit_offset.
func (f *field) bitOff(t *typ) uint32 {
	if t.flag() {
		return f.place & 0xffffff
	}
	return f.place
}

func (c *checker) fields(k *kind, t *typ) *Refusal {
	last := uint32(0)
	for b := t.rest[:t.needs(k)]; len(b) >= 12; b = b[12:] {
		f := field{u32(b), u32(b[4:]), u32(b[8:])}
		off := f.bitOff(t)
		word := ""
		switch {
		case !c.nameThere(f.name):
			word = "Invalid member name_offset:%d"
		case f.name != 0 && !c.identifier(f.name, c.naming.dots):
			word = "Invalid name"
		case f.id == 0 || f.id > maxType:
			word = "Invalid type_id"
		case t.kind == kindUnion && off != 0, last > off:
			word = "Invalid member bits_offset"
		case roundUp(off) > t.size:
			word = "Member bits_offset exceeds its struct size"
		}
		if word != "" {
			return c.refuseField(k, t, &f, word)
		}
		c.highest = max(c.highest, f.id)
		last = off
	}
	return nil
}

func (c *checker) values(k *kind, t *typ) *Refusal {
	for b := t.rest[:t.needs(k)]; len(b) > 0; b = b[k.member:] {
		name := u32(b)
		if !c.nameThere(name) {
			r := refuse(einval, "\tInvalid name_offset:%d", name)
			r.Reason = c.title(k, t) + ": Invalid name_offset"
			return r
		}
		if name == 0 || !c.identifier(name, c.naming.dots) {
			return c.refuseType(k, t, maybeNamed)
		}
	}
	return nil
}

func (c *checker) variables(k *kind, t *typ) *Refusal {
	// 32 bits overflow here as in the kernel, which finds that by the sum.
	end, sum := uint32(0), uint64(0)
	for b := t.rest[:t.needs(k)]; len(b) >= 12; b = b[12:] {
		id, off, size := u32(b), u32(b[4:]), u32(b[8:])
		word := ""
		switch {
		case id == 0 || id > maxType:
			word = "Invalid type_id"
		case off < end || off >= t.size:
			word = "Invalid offset"
		case size == 0 || size > t.size:
			word = "Invalid size"
		case off+size > t.size:
			word = "Invalid offset+size"
		}
		if word != "" {
			return c.refuseVariable(k, t, [3]uint32{id, off, size}, word)
		}
		c.highest = max(c.highest, id)
		end = off + size
		sum += uint64(size)
	}
	if uint64(t.size) < sum {
		return c.refuseWord(k, t, "Invalid btf_info size")
	}
	return nil
}
