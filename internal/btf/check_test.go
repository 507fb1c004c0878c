package btf

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kotool/internal/kver"
)

// split is BTF of types that are given as words, with strings of its own.
func split(big bool, strs string, words ...uint32) []byte {
	b := build(big, words...)
	o := order(big)
	o.PutUint32(b[16:], uint32(4*len(words)))
	o.PutUint32(b[20:], uint32(len(strs)))
	return append(b, strs...)
}

// The base of the tests: void, an int and a constant int; its strings are baseNames, those of a module begin at own.
const (
	baseNames = "\x00int\x00b ad\x00"
	own       = uint32(len(baseNames))
	flag      = uint32(1 << 31)
)

func testBase(t testing.TB, big bool) *Base {
	t.Helper()
	b := ReadBase(split(big, baseNames, 1, kindInt<<24, 4, 1<<24|32, 0, kindConst<<24, 1), big)
	if b == nil || b.Types != 3 {
		t.Fatalf("the base: %+v", b)
	}
	return b
}

// names are the strings of a module: where each begins.
func names(list ...string) (strs string, at map[string]uint32) {
	at = map[string]uint32{}
	strs = "\x00"
	for _, s := range list {
		at[s] = own + uint32(len(strs))
		strs += s + "\x00"
	}
	return strs, at
}

// pieces are what the kernel prints of a type: its title, details, the word.
func pieces(title, details, word string) []string {
	return []string{title + " ", details, " ", word, "\n"}
}

func TestTypesAreCheckedInTheKernelsWords(t *testing.T) {
	strs, at := names("x", "1x", "a b", "a.b", "sec!", "\x07sec")
	x, digit, space, dots, mark, bell := at["x"], at["1x"], at["a b"], at["a.b"], at["sec!"], at["\x07sec"]
	const huge = maxType + 1
	k := func(kind, vlen uint32) uint32 { return kind<<24 | vlen }
	for _, c := range []struct {
		name  string
		words []uint32
		want  []string // pieces; nil: it is taken
		errno int      // EINVAL where it is 0
	}{
		{"nothing", nil, nil, 0},
		{"an integer", []uint32{x, k(kindInt, 0), 4, 1<<24 | 32}, nil, 0},
		{"an integer of any name", []uint32{space, k(kindInt, 0), 4, 32}, nil, 0},
		{"an integer with members", []uint32{x, k(kindInt, 1), 4, 1<<24 | 32}, pieces("[3] INT x", "size=4 bits_offset=0 nr_bits=32 encoding=SIGNED", "vlen != 0"), 0},
		{"an integer with a flag", []uint32{x, flag | k(kindInt, 0), 4, 2<<24 | 32}, pieces("[3] INT x", "size=4 bits_offset=0 nr_bits=32 encoding=CHAR", "Invalid btf_info kind_flag"), 0},
		{"an integer with unused bits", []uint32{x, k(kindInt, 0), 4, 1<<28 | 32}, []string{"[3] INT x", " ", "Invalid int_data:10000020", "\n"}, 0},
		{"an integer of 129 bits", []uint32{x, k(kindInt, 0), 32, 100<<16 | 29}, pieces("[3] INT x", "size=32 bits_offset=100 nr_bits=29 encoding=(none)", "nr_bits exceeds 128"), 0},
		{"an integer larger than its size", []uint32{0, k(kindInt, 0), 4, 4<<24 | 33}, pieces("[3] INT (anon)", "size=4 bits_offset=0 nr_bits=33 encoding=BOOL", "nr_bits exceeds type_size"), 0},
		{"an integer of two encodings", []uint32{x, k(kindInt, 0), 4, 3<<24 | 32}, pieces("[3] INT x", "size=4 bits_offset=0 nr_bits=32 encoding=UNKN", "Unsupported encoding"), enotsupp},
		{"an integer that is cut", []uint32{x, k(kindInt, 0), 4}, []string{"[3] INT x", " ", "meta_left:0 meta_needed:4", "\n"}, 0},

		{"a pointer to void", []uint32{0, k(kindPtr, 0), 0}, nil, 0},
		{"a pointer to what is not there", []uint32{0, k(kindPtr, 0), 99}, nil, 0},
		{"a pointer with members", []uint32{0, k(kindPtr, 1), 1}, pieces("[3] PTR (anon)", "type_id=1", "vlen != 0"), 0},
		{"a pointer with a flag", []uint32{0, flag | k(kindPtr, 0), 1}, pieces("[3] PTR (anon)", "type_id=1", "Invalid btf_info kind_flag"), 0},
		{"a pointer to too high a type", []uint32{0, k(kindPtr, 0), huge}, pieces("[3] PTR (anon)", "type_id=1048576", "Invalid type_id"), 0},
		{"a pointer with a name", []uint32{x, k(kindPtr, 0), 1}, pieces("[3] PTR x", "type_id=1", "Invalid name"), 0},
		{"a constant with a name", []uint32{1, k(kindConst, 0), 1}, pieces("[3] CONST int", "type_id=1", "Invalid name"), 0},
		{"a volatile with a name", []uint32{x, k(kindVolatile, 0), 1}, pieces("[3] VOLATILE x", "type_id=1", "Invalid name"), 0},
		{"a restrict with members", []uint32{0, k(kindRestrict, 2), 1}, pieces("[3] RESTRICT (anon)", "type_id=1", "vlen != 0"), 0},
		{"a typedef", []uint32{x, k(kindTypedef, 0), 1}, nil, 0},
		{"a typedef by a name of the base", []uint32{1, k(kindTypedef, 0), 1}, nil, 0},
		{"a typedef by the middle of such a name", []uint32{2, k(kindTypedef, 0), 1}, nil, 0},
		{"a typedef by a bad name of the base", []uint32{5, k(kindTypedef, 0), 1}, pieces("[3] TYPEDEF b ad", "type_id=1", "Invalid name"), 0},
		{"a typedef without a name", []uint32{0, k(kindTypedef, 0), 1}, pieces("[3] TYPEDEF (anon)", "type_id=1", "Invalid name"), 0},
		{"a typedef of an empty name", []uint32{own, k(kindTypedef, 0), 1}, pieces("[3] TYPEDEF ", "type_id=1", "Invalid name"), 0},
		{"a typedef whose name begins with a digit", []uint32{digit, k(kindTypedef, 0), 1}, pieces("[3] TYPEDEF 1x", "type_id=1", "Invalid name"), 0},
		{"a typedef with dots", []uint32{dots, k(kindTypedef, 0), 1}, nil, 0},
		{"a type tag of any name", []uint32{space, k(kindTypeTag, 0), 1}, nil, 0},
		{"a type tag without a name", []uint32{0, k(kindTypeTag, 0), 1}, pieces("[3] TYPE_TAG (anon)", "type_id=1", "Invalid name"), 0},
		{"a type tag with a flag", []uint32{x, flag | k(kindTypeTag, 0), 1}, nil, 0},

		{"an array", []uint32{0, k(kindArray, 0), 0, 1, 1, 7}, nil, 0},
		{"an array with a name", []uint32{x, k(kindArray, 0), 0, 1, 1, 7}, pieces("[3] ARRAY x", "type_id=1 index_type_id=1 nr_elems=7", "Invalid name"), 0},
		{"an array with members", []uint32{0, k(kindArray, 1), 0, 1, 1, 7}, pieces("[3] ARRAY (anon)", "type_id=1 index_type_id=1 nr_elems=7", "vlen != 0"), 0},
		{"an array with a flag", []uint32{0, flag | k(kindArray, 0), 0, 1, 1, 7}, pieces("[3] ARRAY (anon)", "type_id=1 index_type_id=1 nr_elems=7", "Invalid btf_info kind_flag"), 0},
		{"an array with a size", []uint32{0, k(kindArray, 0), 4, 1, 1, 7}, pieces("[3] ARRAY (anon)", "type_id=1 index_type_id=1 nr_elems=7", "size != 0"), 0},
		{"an array of void", []uint32{0, k(kindArray, 0), 0, 0, 1, 7}, pieces("[3] ARRAY (anon)", "type_id=0 index_type_id=1 nr_elems=7", "Invalid elem"), 0},
		{"an array by too high a type", []uint32{0, k(kindArray, 0), 0, 1, huge, 7}, pieces("[3] ARRAY (anon)", "type_id=1 index_type_id=1048576 nr_elems=7", "Invalid index"), 0},
		{"an array that is cut", []uint32{0, k(kindArray, 0), 0, 1}, []string{"[3] ARRAY (anon)", " ", "meta_left:4 meta_needed:12", "\n"}, 0},

		{"a structure", []uint32{x, k(kindStruct, 2), 8, x, 1, 0, 0, 1, 64}, nil, 0},
		{"a structure of a bad name", []uint32{space, k(kindStruct, 0), 8}, pieces("[3] STRUCT a b", "size=8 vlen=0", "Invalid name"), 0},
		{"a structure that is cut", []uint32{x, k(kindStruct, 2), 8, x, 1, 0}, []string{"[3] STRUCT x", " ", "meta_left:12 meta_needed:24", "\n"}, 0},
		{"a member whose name is past the end", []uint32{x, k(kindStruct, 1), 8, 999, 1, 0}, []string{"\t(invalid-name-offset) type_id=1 bits_offset=0", " ", "Invalid member name_offset:999", "\n"}, 0},
		{"a member of a bad name", []uint32{x, k(kindStruct, 1), 8, space, 1, 0}, []string{"\ta b type_id=1 bits_offset=0", " ", "Invalid name", "\n"}, 0},
		{"a member of void", []uint32{x, k(kindStruct, 1), 8, x, 0, 0}, []string{"\tx type_id=0 bits_offset=0", " ", "Invalid type_id", "\n"}, 0},
		{"members out of order", []uint32{x, k(kindStruct, 2), 8, x, 1, 32, x, 1, 0}, []string{"\tx type_id=1 bits_offset=0", " ", "Invalid member bits_offset", "\n"}, 0},
		{"a member behind the structure", []uint32{x, k(kindStruct, 1), 8, 0, 1, 65}, []string{"\t(anon) type_id=1 bits_offset=65", " ", "Member bits_offset exceeds its struct size", "\n"}, 0},
		{"bit fields", []uint32{x, flag | k(kindStruct, 2), 8, x, 1, 3 << 24, x, 1, 2<<24 | 3}, nil, 0},
		{"bit fields out of order", []uint32{x, flag | k(kindStruct, 2), 8, x, 1, 2<<24 | 3, x, 1, 3 << 24}, []string{"\tx type_id=1 bitfield_size=3 bits_offset=0", " ", "Invalid member bits_offset", "\n"}, 0},
		{"a union", []uint32{x, k(kindUnion, 1), 8, x, 1, 0}, nil, 0},
		{"a union whose member has an offset", []uint32{x, k(kindUnion, 1), 8, x, 1, 8}, []string{"\tx type_id=1 bits_offset=8", " ", "Invalid member bits_offset", "\n"}, 0},

		{"an enumeration", []uint32{x, flag | k(kindEnum, 1), 4, x, 1}, nil, 0},
		{"an enumeration of 3 bytes", []uint32{x, k(kindEnum, 1), 3, x, 1}, pieces("[3] ENUM x", "size=3 vlen=1", "Unexpected size"), 0},
		{"an enumeration of 16 bytes", []uint32{x, k(kindEnum, 0), 16}, pieces("[3] ENUM x", "size=16 vlen=0", "Unexpected size"), 0},
		{"an enumeration of nothing", []uint32{x, k(kindEnum, 0), 0}, pieces("[3] ENUM x", "size=0 vlen=0", "Unexpected size"), 0},
		{"a value whose name is past the end", []uint32{x, k(kindEnum, 1), 4, 999, 1}, []string{"\tInvalid name_offset:999"}, 0},
		{"a value without a name", []uint32{x, k(kindEnum, 1), 4, 0, 1}, pieces("[3] ENUM x", "size=4 vlen=1", "Invalid name"), 0},
		{"a value of a bad name", []uint32{x, k(kindEnum, 1), 4, digit, 1}, pieces("[3] ENUM x", "size=4 vlen=1", "Invalid name"), 0},
		{"an enumeration of 64 bits", []uint32{x, flag | k(kindEnum64, 1), 8, x, 1, 0}, nil, 0},
		{"such a one that is cut", []uint32{x, k(kindEnum64, 1), 8, x, 1}, []string{"[3] ENUM64 x", " ", "meta_left:8 meta_needed:12", "\n"}, 0},
		{"such a one whose value has no name", []uint32{x, k(kindEnum64, 1), 8, 0, 1, 0}, pieces("[3] ENUM64 x", "size=8 vlen=1", "Invalid name"), 0},

		{"a declaration", []uint32{x, flag | k(kindFwd, 0), 0}, nil, 0},
		{"a declaration with members", []uint32{x, k(kindFwd, 1), 0}, pieces("[3] FWD x", "struct", "vlen != 0"), 0},
		{"a declaration of a type", []uint32{x, flag | k(kindFwd, 0), 1}, pieces("[3] FWD x", "union", "type != 0"), 0},
		{"a declaration without a name", []uint32{0, k(kindFwd, 0), 0}, pieces("[3] FWD (anon)", "struct", "Invalid name"), 0},

		{"a function", []uint32{dots, k(kindFunc, 1), 99}, nil, 0},
		{"a function without a name", []uint32{0, k(kindFunc, 0), 1}, pieces("[3] FUNC (anon)", "type_id=1", "Invalid name"), 0},
		{"an extern function", []uint32{x, k(kindFunc, 2), 1}, pieces("[3] FUNC x", "type_id=1", "Invalid func linkage"), 0},
		{"a function with a flag", []uint32{x, flag | k(kindFunc, 0), 1}, pieces("[3] FUNC x", "type_id=1", "Invalid btf_info kind_flag"), 0},
		{"a prototype", []uint32{0, k(kindFuncProto, 2), 0, 999, 99, 0, 0}, nil, 0},
		{"a prototype with a name", []uint32{x, k(kindFuncProto, 0), 7}, []string{"[3] FUNC_PROTO x ", "return=7 args=(", "void", ")", " ", "Invalid name", "\n"}, 0},
		{"a prototype of one vararg with a name", []uint32{x, k(kindFuncProto, 1), 0, 0, 0}, []string{"[3] FUNC_PROTO x ", "return=0 args=(", "vararg", ")", " ", "Invalid name", "\n"}, 0},
		{"a prototype with a flag", []uint32{0, flag | k(kindFuncProto, 3), 0, x, 1, 999, 2, 0, 0},
			[]string{"[3] FUNC_PROTO (anon) ", "return=0 args=(", "1 x", ", 2 (invalid-name-offset)", ", vararg", ")", " ", "Invalid btf_info kind_flag", "\n"}, 0},

		{"a variable", []uint32{dots, k(kindVar, 0), 1, 1}, nil, 0},
		{"a variable without a name", []uint32{0, k(kindVar, 0), 1, 1}, pieces("[3] VAR (anon)", "type_id=1 linkage=1", "Invalid name"), 0},
		{"a variable of void", []uint32{x, k(kindVar, 0), 0, 1}, pieces("[3] VAR x", "type_id=0 linkage=1", "Invalid type_id"), 0},
		{"an extern variable", []uint32{x, k(kindVar, 0), 1, 2}, pieces("[3] VAR x", "type_id=1 linkage=2", "Linkage not supported"), 0},
		{"a section", []uint32{mark, k(kindDatasec, 2), 8, 1, 0, 4, 1, 4, 4}, nil, 0},
		{"a section of no size", []uint32{x, k(kindDatasec, 0), 0}, pieces("[3] DATASEC x", "size=0 vlen=0", "size == 0"), 0},
		{"a section of a name that cannot be printed", []uint32{bell, k(kindDatasec, 0), 8}, pieces("[3] DATASEC \x07sec", "size=8 vlen=0", "Invalid name"), 0},
		{"a section's variable of void", []uint32{x, k(kindDatasec, 1), 8, 0, 0, 4}, []string{"\t type_id=0 offset=0 size=4", " ", "Invalid type_id", "\n"}, 0},
		{"a section's variables that overlap", []uint32{x, k(kindDatasec, 2), 8, 1, 0, 4, 1, 3, 4}, []string{"\t type_id=1 offset=3 size=4", " ", "Invalid offset", "\n"}, 0},
		{"a section's variable of no size", []uint32{x, k(kindDatasec, 1), 8, 1, 0, 0}, []string{"\t type_id=1 offset=0 size=0", " ", "Invalid size", "\n"}, 0},
		{"a section's variable over its end", []uint32{x, k(kindDatasec, 1), 8, 1, 6, 4}, []string{"\t type_id=1 offset=6 size=4", " ", "Invalid offset+size", "\n"}, 0},
		{"a section whose offsets overflow", []uint32{x, k(kindDatasec, 2), 0xffffffff, 1, 16, 0xfffffffe, 1, 16, 0xfffffffe}, pieces("[3] DATASEC x", "size=4294967295 vlen=2", "Invalid btf_info size"), 0},

		{"a float", []uint32{x, k(kindFloat, 0), 12}, nil, 0},
		{"a float of 3 bytes", []uint32{x, k(kindFloat, 0), 3}, pieces("[3] FLOAT x", "size=3", "Invalid type_size"), 0},
		{"a declaration tag", []uint32{space, flag | k(kindDeclTag, 0), 1, 0xffffffff}, nil, 0},
		{"a declaration tag without a value", []uint32{own, k(kindDeclTag, 0), 1, 0}, pieces("[3] DECL_TAG ", "type=1 component_idx=0", "Invalid value"), 0},
		{"a declaration tag of member -2", []uint32{x, k(kindDeclTag, 0), 1, 0xfffffffe}, pieces("[3] DECL_TAG x", "type=1 component_idx=-2", "Invalid component_idx"), 0},

		{"no kind", []uint32{0, 0, 0}, []string{"[3] Invalid kind:0"}, 0},
		{"a kind that is not there", []uint32{0, k(20, 0), 0}, []string{"[3] Invalid kind:20"}, 0},
		{"a name past the end", []uint32{own + uint32(len(strs)), k(kindInt, 0), 4, 32}, []string{"[3] Invalid name_offset:" + strconv.Itoa(int(own)+len(strs))}, 0},
		{"half a type behind a whole one", []uint32{0, k(kindPtr, 0), 1, 0}, []string{"[4] meta_left:4 meta_needed:12"}, 0},

		{"a chain of a missing type", []uint32{0, k(kindConst, 0), 4}, nil, 0},
		{"a constant of itself", []uint32{0, k(kindConst, 0), 3}, []string{"Max chain length or cycle detected"}, eloop},
		{"a tag behind a constant", []uint32{0, k(kindConst, 0), 4, x, k(kindTypeTag, 0), 1}, nil, 0},
	} {
		for _, big := range []bool{false, true} {
			_, r := Check(split(big, strs, c.words...), testBase(t, big), kver.Version{}, big)
			if c.name == "a chain of a missing type" {
				if r == nil || !r.Missing || len(r.Pieces) > 0 {
					t.Errorf("%s: got %+v", c.name, r)
				}
				continue
			}
			var got []string
			errno := 0
			if r != nil {
				got, errno = r.Pieces, r.Errno
				if r.Reason == "" {
					t.Errorf("%s: no reason", c.name)
				}
			}
			want := c.errno
			if want == 0 && c.want != nil {
				want = einval
			}
			if d := cmp.Diff(c.want, got); d != "" || errno != want {
				t.Errorf("%s (big %v): errno %d want %d; pieces (-want +got):\n%s", c.name, big, errno, want, d)
			}
		}
	}
}

func TestChecksAreThoseOfTheVersion(t *testing.T) {
	strs, at := names("x", "a.b", "?x", "x!", strings.Repeat("n", 129))
	x := at["x"]
	const kf = flag
	for _, c := range []struct {
		name  string
		words []uint32
		v     kver.Version
		want  string
	}{
		{"no floats yet", []uint32{x, kindFloat << 24, 4}, kver.V(5, 12), "[3] Invalid btf_info:10000000"},
		{"floats", []uint32{x, kindFloat << 24, 4}, kver.V(5, 13), ""},
		{"no declaration tags yet", []uint32{x, kindDeclTag << 24, 1, 0}, kver.V(5, 15), "[3] Invalid kind:17"},
		{"no type tags yet", []uint32{x, kindTypeTag << 24, 1}, kver.V(5, 16), "[3] Invalid kind:18"},
		{"no enumerations of 64 bits yet", []uint32{x, kindEnum64 << 24, 8}, kver.V(5, 19), "[3] Invalid kind:19"},
		{"no signed enumerations yet", []uint32{x, kf | kindEnum<<24, 4}, kver.V(5, 19), "[3] ENUM x: Invalid btf_info kind_flag"},
		{"signed enumerations", []uint32{x, kf | kindEnum<<24, 4}, kver.V(6, 0), ""},
		{"no flag in tags yet", []uint32{x, kf | kindTypeTag<<24, 1}, kver.V(6, 14), "[3] TYPE_TAG x: Invalid btf_info kind_flag"},
		{"a flag in tags", []uint32{x, kf | kindTypeTag<<24, 1}, kver.V(6, 15), ""},
		{"no dots yet", []uint32{at["a.b"], kindFwd << 24, 0}, kver.V(5, 14), "[3] FWD a.b: Invalid name"},
		{"no dots in what was not maintained", []uint32{at["a.b"], kindFwd << 24, 0}, kver.V(6, 3), "[3] FWD a.b: Invalid name"},
		{"dots", []uint32{at["a.b"], kindFwd << 24, 0}, kver.V(6, 1), ""},
		{"dots in variables", []uint32{at["a.b"], kindVar << 24, 1, 0}, kver.V(5, 11), ""},
		{"no question mark yet", []uint32{at["?x"], kindDatasec << 24, 8}, kver.V(6, 8), "[3] DATASEC ?x: Invalid name"},
		{"a question mark", []uint32{at["?x"], kindDatasec << 24, 8}, kver.V(6, 9), ""},
		{"not what can be printed yet", []uint32{at["x!"], kindDatasec << 24, 8}, kver.V(6, 9), "[3] DATASEC x!: Invalid name"},
		{"what can be printed", []uint32{at["x!"], kindDatasec << 24, 8}, kver.V(6, 10), ""},
		{"long names not yet", []uint32{at[strings.Repeat("n", 129)], kindFwd << 24, 0}, kver.V(6, 0), "[3] FWD " + strings.Repeat("n", 129) + ": Invalid name"},
		{"long names", []uint32{at[strings.Repeat("n", 129)], kindFwd << 24, 0}, kver.V(6, 1), ""},
		{"unused bits", []uint32{0, kindStruct<<24 | 1<<16, 4}, kver.V(7, 1), "[3] Invalid btf_info:4010000"},
		{"they count members now", []uint32{0, kindStruct<<24 | 1<<16, 4}, kver.V(7, 2), "[3] STRUCT (anon): meta_left:0 meta_needed:786432"},
		{"chains are not followed yet", []uint32{0, kindConst << 24, 3}, kver.V(5, 18), ""},
		{"chains are followed", []uint32{0, kindConst << 24, 3}, kver.V(5, 19), "Max chain length or cycle detected"},
		{"tags come first", []uint32{0, kindConst << 24, 4, x, kindTypeTag << 24, 1}, kver.V(7, 1), "Type tags don't precede modifiers"},
		{"tags of tags", []uint32{x, kindTypeTag << 24, 4, x, kindTypeTag << 24, 1}, kver.V(7, 1), ""},
		{"tags come anywhere", []uint32{0, kindConst << 24, 4, x, kindTypeTag << 24, 1}, kver.V(7, 2), ""},
	} {
		_, r := Check(split(false, strs, c.words...), testBase(t, false), c.v, false)
		if r == nil && c.want != "" || r != nil && r.Reason != c.want {
			t.Errorf("%s, %v: got %+v, want %q", c.name, c.v, r, c.want)
		}
	}
}

func TestChainsHave32ModifiersAtMost(t *testing.T) {
	chain := func(n int, last uint32) (words []uint32) {
		for i := range n {
			next := 3 + uint32(i) + 1
			if i == n-1 {
				next = last
			}
			words = append(words, 0, kindConst<<24, next)
		}
		return words
	}
	for _, c := range []struct {
		name  string
		words []uint32
		ok    bool
	}{
		{"32 to an integer of the base", chain(32, 1), true},
		{"31 to a constant of the base", chain(31, 2), true},
		{"32 to a constant of the base", chain(32, 2), false},
		{"33", chain(33, 1), false},
		{"a pointer ends a chain", []uint32{0, kindConst << 24, 4, 0, kindPtr << 24, 3}, true},
	} {
		if _, r := Check(split(false, "\x00", c.words...), testBase(t, false), kver.Version{}, false); (r == nil) != c.ok {
			t.Errorf("%s: got %+v", c.name, r)
		}
	}
}

func TestStringsEndInNUL(t *testing.T) {
	typedef := []uint32{1, kindTypedef << 24, 1}
	for _, c := range []struct{ strs, want string }{
		{"\x00abc", "Invalid string section"}, {"abc\x00", ""}, {"", ""},
	} {
		_, r := Check(split(false, c.strs, typedef...), testBase(t, false), kver.Version{}, false)
		if r == nil && c.want != "" || r != nil && r.Reason != c.want {
			t.Errorf("%q: got %+v", c.strs, r)
		}
	}
	// Without a base there have to be some, and the first is empty.
	for _, c := range []struct{ strs, want string }{{"\x00int\x00", ""}, {"int\x00", "Invalid string section"}, {"", "Invalid string section"}} {
		_, r := Check(split(false, c.strs, 0, kindInt<<24, 4, 32), nil, kver.Version{}, false)
		if r == nil && c.want != "" || r != nil && r.Reason != c.want {
			t.Errorf("without a base, %q: got %+v", c.strs, r)
		}
	}
}

func TestEveryPieceIsALine(t *testing.T) {
	strs, at := names("fo o")
	_, r := Check(split(false, strs, at["fo o"], flag|kindFwd<<24, 0), testBase(t, false), kver.Version{}, false)
	if r == nil {
		t.Fatal("it is taken")
	}
	for _, c := range []struct {
		v    kver.Version
		want []string
	}{
		{kver.V(5, 16), []string{"BPF:[3] FWD fo o ", "BPF:union", "BPF: ", "BPF:Invalid name", "BPF:\n"}},
		{kver.V(5, 17), []string{"BPF: [3] FWD fo o ", "BPF: union", "BPF:  ", "BPF: Invalid name", "BPF: "}},
	} {
		if d := cmp.Diff(c.want, r.Log(c.v)); d != "" {
			t.Errorf("%v (-want +got):\n%s", c.v, d)
		}
	}
}

func TestNamesAreJudgedAlikeInCleanAndOtherSections(t *testing.T) {
	all := "\x00abc\x00_9\x00x.y\x00.z\x00\xe9\x00"
	clean, other := textOf([]byte(all)), textOf([]byte(all+"a b\x00"))
	if clean.odd != nil || !other.odd[0] {
		t.Fatalf("got %v %v", clean.odd, other.odd)
	}
	long := textOf([]byte(all + strings.Repeat("x", 1<<block) + "!" + strings.Repeat("y", 200) + "\x00"))
	for off := range long.b {
		s := long.at(uint32(off))
		if got, want := long.identifier(uint32(off), true, 512), len(s) > 0 && ctype[s[0]]&begin != 0 && !bytes.Contains(s, []byte("!")); got != want {
			t.Errorf("%q at %d: got %v", s, off, got)
		}
	}
	for off := range uint32(len(all)) {
		for _, dots := range []bool{false, true} {
			for _, limit := range []int{2, 128} {
				if a, b := clean.identifier(off, dots, limit), other.identifier(off, dots, limit); a != b {
					t.Errorf("%q at %d, dots %v, limit %d: got %v, %v", clean.at(off), off, dots, limit, a, b)
				}
			}
		}
	}
}

// FuzzCheck: whatever the bytes, no panic; what is refused has an errno and a reason, its pieces can be printed, and no more types are counted
// than their bytes can hold.
func FuzzCheck(f *testing.F) {
	strs, at := names("x")
	x := at["x"]
	for _, words := range [][]uint32{
		{x, kindInt << 24, 4, 32}, {0, kindConst << 24, 4, x, kindTypeTag << 24, 3}, {x, kindStruct<<24 | 1, 8, x, 1, 0},
		{x, kindEnum64<<24 | 1, 8, x, 1, 0}, {0, flag | kindFuncProto<<24 | 2, 1, x, 1, 0, 0}, {x, kindDatasec<<24 | 1, 8, 1, 0, 4},
	} {
		f.Add(split(false, strs, words...), false, uint16(7), uint16(2), true)
		f.Add(split(true, strs, words...), true, uint16(5), uint16(11), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, big bool, major, minor uint16, withBase bool) {
		v := kver.V(major, minor)
		var base *Base
		if withBase {
			base = testBase(t, big)
		}
		before := bytes.Clone(b)
		got, r := Check(b, base, v, big)
		if !bytes.Equal(before, b) {
			t.Error("the bytes were changed")
		}
		if int(got.Own) > len(b)/typeSize {
			t.Errorf("%d types in %d bytes", got.Own, len(b))
		}
		if r != nil {
			if r.Errno == 0 || r.Reason == "" || len(r.Log(v)) != len(r.Pieces) {
				t.Errorf("got %+v", r)
			}
			return
		}
		// What is taken can be a base.
		if own, _, ok := Refs(b, big); ok && own != got.Own {
			t.Errorf("%d types, and by Refs %d", got.Own, own)
		}
		ReadBase(b, big)
	})
}

func BenchmarkCheck(b *testing.B) {
	var words []uint32
	strs, at := names("alpha", "beta", "gamma")
	for i := range uint32(1000) {
		words = append(words, at["alpha"], kindStruct<<24|2, 16, at["beta"], 1, 0, at["gamma"], 1, 64, 0, kindPtr<<24, i, 0, kindConst<<24, 1)
	}
	data, base := split(false, strs, words...), testBase(b, false)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, r := Check(data, base, kver.Version{}, false); r != nil {
			b.Fatal(r.Reason)
		}
	}
}
