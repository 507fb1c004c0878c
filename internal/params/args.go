package params

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"kotool/internal/diag"
	kelf "kotool/internal/elf"
	"kotool/internal/kver"
)

// Options say which kernel parses.
type Options struct {
	Module  string       // the name in struct module
	Version kver.Version // of the kernel; zero: the newest
	Word    int          // sizeof(unsigned long), bytes; 0: 8
	Big     bool         // big-endian

	NoDynamicDebug bool   // CONFIG_DYNAMIC_DEBUG is not set
	Lockdown       bool   // the lockdown LSM forbids parameters of hardware
	Comm           string // name of the loading process, for the line of lockdown
}

func (o *Options) word() int {
	if o.Word == 4 {
		return 4
	}
	return 8
}

// Levels of kernel log lines.
const (
	LevelErr     = 3
	LevelWarning = 4
	LevelNotice  = 5
)

// Line is a line of the kernel's log, without its newline. Names and values are in it as they were given: any byte but NUL.
type Line struct {
	Level uint8
	Text  string
}

// Arg is one argument as next_arg cuts it. Its bytes are those of a copy.
type Arg struct {
	Name, Value []byte
	HasValue    bool // there was a "="
}

// Store is a write to a variable of the module.
type Store struct {
	Name    string     // of the parameter
	Element int        // of an array; 0 otherwise
	Var     kelf.Place // where: section 0 is a variable outside of the module
	Data    []byte     // what; nil for a pointer
	Pointer bool       // the address of a copy of Text is written: its value is the allocator's
	Text    []byte     // without its NUL
	Count   bool       // it is the count variable of an array
}

// Undecided is an argument whose outcome the module's own code decides.
type Undecided struct{ Name, Why string }

// Failure is an argument that is refused.
type Failure struct {
	Name, Value string
	Errno       diag.Errno
	Param       *Param // nil: there is none of that name
	Log         []string
}

// Result is what parse_args does.
type Result struct {
	Args []Arg
	// Errno is the last failing argument's, positive; loading fails with it. 0: no argument is known to fail.
	Errno      diag.Errno
	Log        []Line
	Stores     []Store // in order; those before an error stay done
	Tainted    bool    // an unsafe parameter was set (TAINT_USER)
	AsyncProbe *bool   // what async_probe= asks for; nil without it
	Dyndbg     []string
	Undecided  []Undecided
	Failed     []Failure
	Unknown    []string // names that no parameter has, and that are ignored
	Dashes     bool     // a "--" ended the arguments
	After      []byte   // what follows it, which is ignored
}

// The kernels that changed what is done with arguments.
var (
	stopsAtDashes  = kver.Since(3, 15) // (≈)
	ignoresUnknown = kver.Since(3, 12) // (≈)
	hasAsyncProbe  = kver.Since(4, 2)  // (≈)
	asyncProbeBool = kver.Since(6, 0)  // (≈) 5.10 ignores the value, 6.1 reads it
	exactDyndbg    = kver.Since(6, 1)  // (≈) the stub of kernels without DYNAMIC_DEBUG looked for the word anywhere before
)

// space is the kernel's isspace: that of ASCII, and the no-break space of Latin-1. Source: lib/ctype.c.
func space(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' || c == 0xa0 }

// skipSpaces cuts spaces off the front. The NUL at the end is none.
func skipSpaces(b []byte) []byte {
	for space(b[0]) {
		b = b[1:]
	}
	return b
}

// cstring is b up to its NUL.
func cstring(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i:i]
	}
	return b
}

// terminated is a copy of args up to a NUL, and that NUL.
func terminated(args []byte) []byte {
	args = cstring(args)
	return append(append(make([]byte, 0, len(args)+1), args...), 0)
}

// nextArg cuts the first argument off args, which ends in a NUL and is written to. Name and value end in a NUL; val is nil for none.
//
// Source: lib/cmdline.c: next_arg.
func nextArg(args []byte) (name, val, rest []byte) {
	quoted := args[0] == '"'
	if quoted {
		args = args[1:]
	}
	i, equals, open := 0, 0, quoted
	for ; args[i] != 0 && (open || !space(args[i])); i++ {
		switch args[i] {
		case '=':
			if equals == 0 { // at position 0 it stays 0: no separator
				equals = i
			}
		case '"':
			open = !open
		}
	}
	name = args
	if equals > 0 {
		args[equals] = 0
		val = args[equals+1:]
		if val[0] == '"' {
			val = val[1:]
			if args[i-1] == '"' {
				args[i-1] = 0
			}
		}
	}
	if quoted && i > 0 && args[i-1] == '"' {
		args[i-1] = 0
	}
	if args[i] != 0 {
		args[i] = 0
		i++
	}
	return name, val, skipSpaces(args[i:])
}

// Tokenise cuts a parameter string into arguments as the kernel does, up to a "--" that stands alone; after is what follows that.
// A NUL ends the string.
//
// Source: kernel/params.c: parse_args; lib/cmdline.c: next_arg.
func Tokenise(args []byte) (list []Arg, after []byte, dashes bool) {
	for b := skipSpaces(terminated(args)); b[0] != 0; {
		name, val, rest := nextArg(b)
		a := Arg{Name: cstring(name), Value: cstring(val), HasValue: val != nil}
		if !a.HasValue && string(a.Name) == "--" {
			return list, cstring(rest), true
		}
		list, b = append(list, a), rest
	}
	return list, nil, false
}

// parser is a run of parse_args.
type parser struct {
	o    *Options
	res  *Result
	list []Param
	at   map[string]int  // index in list by name, dashes as underscores: the first in the table's order
	only map[string]bool // what bool_enable_only parameters hold now
}

// plainName is a name with dashes as underscores. Source: kernel/params.c: dash2underscore.
func plainName(s string) string { return strings.ReplaceAll(s, "-", "_") }

// ParseArgs does what the kernel does with a module's parameter string: it says what would be stored, what is logged and what
// loading fails with. list is what Read returned. All arguments are looked at; the last error counts. Arguments that the module's
// own code takes are listed in Undecided: whether that code takes them is not known.
//
// Source: kernel/params.c: parse_args, parse_one; kernel/module/main.c: unknown_module_param_cb, load_module.
func ParseArgs(args []byte, list []Param, o Options) *Result {
	p := &parser{o: &o, res: &Result{}, list: list, at: make(map[string]int, len(list)), only: map[string]bool{}}
	order := make([]int, 0, len(list))
	for i := range list {
		if list[i].Record != nil {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(list[a].Record.Index, list[b].Record.Index) })
	for _, i := range order {
		if n := plainName(list[i].Name); !p.taken(n) {
			p.at[n] = i
		}
	}
	r := p.res
	for b := skipSpaces(terminated(args)); b[0] != 0; {
		name, val, rest := nextArg(b)
		b = rest
		if val == nil && string(cstring(name)) == "--" && stopsAtDashes.Holds(o.Version) {
			r.Dashes, r.After = true, cstring(rest)
			break
		}
		r.Args = append(r.Args, Arg{Name: bytes.Clone(cstring(name)), Value: bytes.Clone(cstring(val)), HasValue: val != nil})
		lines := len(r.Log)
		errno := p.one(name, val)
		switch errno {
		case 0:
			continue
		case diag.ENOENT:
			p.log(LevelErr, "%s: Unknown parameter `%s'", o.Module, cstring(name))
		case diag.ENOSPC:
			p.log(LevelErr, "%s: `%s' too large for parameter `%s'", o.Module, cstring(val), cstring(name))
		default:
			p.log(LevelErr, "%s: `%s' invalid for parameter `%s'", o.Module, cstring(val), cstring(name))
		}
		r.Errno = errno
		p.failed(errno, lines)
	}
	if r.Dashes && r.Errno == 0 {
		p.log(LevelWarning, "%s: parameters '%s' after `--' ignored", o.Module, r.After)
	}
	return r
}

// failed notes that the last argument is refused; its lines begin at from.
func (p *parser) failed(errno diag.Errno, from int) {
	r := p.res
	a := &r.Args[len(r.Args)-1]
	f := Failure{Name: string(a.Name), Value: string(a.Value), Errno: errno}
	if i, ok := p.at[plainName(f.Name)]; ok {
		f.Param = &p.list[i]
	}
	for _, l := range r.Log[from:] {
		f.Log = append(f.Log, l.Text)
	}
	r.Failed = append(r.Failed, f)
}

func (p *parser) taken(name string) bool {
	_, ok := p.at[name]
	return ok
}

func (p *parser) log(level uint8, format string, args ...any) {
	p.res.Log = append(p.res.Log, Line{level, fmt.Sprintf(format, args...)})
}

func (p *parser) undecided(name, why string) {
	p.res.Undecided = append(p.res.Undecided, Undecided{name, why})
}

// one handles one argument; both end in a NUL and may be written to. Source: kernel/params.c: parse_one, param_check_unsafe.
func (p *parser) one(name, val []byte) diag.Errno {
	i, ok := p.at[plainName(string(cstring(name)))]
	if !ok {
		return p.unknown(name, val)
	}
	prm := &p.list[i]
	rec := prm.Record
	kind := rec.SetKind()
	if val == nil {
		switch {
		case rec.Kind == "" && !rec.HasOps:
			p.undecided(prm.Name, "its operations are not in the module: whether it needs a value is not known")
			return 0
		case rec.Kind != "" && !optional(kind), rec.Kind == "" && !rec.NoArg:
			return diag.EINVAL
		}
	}
	if rec.Flags&HW != 0 && p.o.Lockdown {
		p.log(LevelNotice, "Lockdown: %s: unsafe module parameters is restricted; see man kernel_lockdown.7", p.o.Comm)
		return diag.EPERM
	}
	if rec.Flags&Unsafe != 0 {
		p.log(LevelNotice, "Setting dangerous option %s - tainting kernel", prm.Name)
		p.res.Tainted = true
	}
	switch {
	case strings.HasPrefix(kind, "array"):
		return p.array(prm, val)
	case kind == "string" && val != nil:
		return p.copyString(prm, val)
	case kind == "":
		why := "its set function is the module's own"
		switch {
		case rec.NoSet:
			why = "its operations have no set function: the kernel jumps to address 0"
		case rec.SetFn != "":
			why = "its set function " + rec.SetFn + " is not one of the kernel's standard types"
		}
		p.undecided(prm.Name, why)
		return 0
	case val == nil && kind == "invbool": // the module's own flags let it through
		val = []byte("1\x00")
	case val == nil && !optional(kind):
		p.undecided(prm.Name, "its flags allow no value, its set function does not: the kernel reads address 0")
		return 0
	}
	return p.scalar(prm, kind, val, rec.Var, 0)
}

// scalar sets one variable, or one element of an array.
func (p *parser) scalar(prm *Param, kind string, val []byte, at kelf.Place, element int) diag.Errno {
	s := Store{Name: prm.Name, Element: element, Var: at}
	if kind == "charp" {
		text := cstring(val)
		if len(text) > maxCharp {
			p.log(LevelErr, "%s: string parameter too long", prm.Name)
			return diag.ENOSPC
		}
		s.Pointer, s.Text = true, bytes.Clone(text)
		p.res.Stores = append(p.res.Stores, s)
		return 0
	}
	if val != nil {
		val = cstring(val)
	}
	data, errno, _ := Set(kind, val, p.o)
	if errno != 0 {
		return errno
	}
	if kind == "bool_enable_only" {
		if done, errno := p.enableOnly(prm, data[0] != 0, element); done {
			return errno
		}
	}
	s.Data = data
	p.res.Stores = append(p.res.Stores, s)
	return 0
}

// maxCharp is the longest string that a charp parameter takes, in bytes. Source: kernel/params.c: param_set_charp.
const maxCharp = 1024

// enableOnly refuses to turn a set boolean off. done is false where the value is to be stored.
//
// Source: kernel/params.c: param_set_bool_enable_only.
func (p *parser) enableOnly(prm *Param, on bool, element int) (done bool, errno diag.Errno) {
	key := fmt.Sprintf("%s/%d", prm.Name, element)
	if on {
		p.only[key] = true
		return false, 0
	}
	was, known := p.only[key]
	if !known && prm.Record.Default != nil {
		values := strings.Split(*prm.Record.Default, ",")
		if element < len(values) {
			was, known = values[element] == "Y", values[element] == "Y" || values[element] == "N"
		}
	}
	switch {
	case !known:
		p.undecided(prm.Name, "what it starts with cannot be read")
		return true, 0
	case was:
		return true, diag.EROFS
	}
	return true, 0 // nothing is written
}

// copyString sets a character array. Source: kernel/params.c: param_set_copystring.
func (p *parser) copyString(prm *Param, val []byte) diag.Errno {
	text, rec := cstring(val), prm.Record
	switch {
	case !rec.HasMax:
		p.undecided(prm.Name, "the size of its string cannot be read")
		return 0
	case uint64(len(text)) >= uint64(rec.Max):
		p.log(LevelErr, "%s: string doesn't fit in %d chars.", prm.Name, rec.Max-1)
		return diag.ENOSPC
	}
	p.res.Stores = append(p.res.Stores, Store{Name: prm.Name, Var: rec.Var, Data: append(bytes.Clone(text), 0)})
	return 0
}

// scalarKind reports whether scalar knows a type.
func scalarKind(kind string) bool {
	bits, _ := numeric(kind, 8)
	return bits != 0 || optional(kind) || kind == "invbool" || kind == "charp"
}

// array sets the elements one by one; commas become NULs, which the error's line then shows.
//
// Source: kernel/params.c: param_array.
func (p *parser) array(prm *Param, val []byte) diag.Errno {
	rec := prm.Record
	if !rec.HasMax {
		p.undecided(prm.Name, "the size of its array cannot be read")
		return 0
	}
	kind, _ := strings.CutPrefix(rec.Kind, "array of ")
	if !scalarKind(kind) {
		p.undecided(prm.Name, "its elements are set by the module's own function")
		return 0
	}
	errno, n := diag.Errno(0), uint32(0)
	for {
		if n == rec.Max {
			p.log(LevelErr, "%s: can only take %d arguments", prm.Name, int32(rec.Max))
			errno = diag.EINVAL
			break
		}
		end := bytes.IndexAny(val, ",\x00")
		more := val[end] == ','
		val[end] = 0
		at := rec.Var
		at.Off += uint64(n) * uint64(rec.Elem)
		if errno = p.scalar(prm, kind, val, at, int(n)); errno != 0 {
			break
		}
		n++
		if !more {
			break
		}
		val = val[end+1:]
	}
	if rec.HasNum {
		p.res.Stores = append(p.res.Stores, Store{Name: prm.Name, Var: rec.Num, Data: p.o.bytes(uint64(n), 4), Count: true})
	}
	return errno
}

// unknown handles an argument that no parameter has the name of. It cuts the name at its first dot, as dynamic debug does.
//
// Source: kernel/module/main.c: unknown_module_param_cb; lib/dynamic_debug.c: ddebug_dyndbg_param_cb.
func (p *parser) unknown(name, val []byte) diag.Errno {
	v := p.o.Version
	if string(cstring(name)) == "async_probe" && hasAsyncProbe.Holds(v) {
		on := true
		if asyncProbeBool.Holds(v) {
			if b, errno := Bool(cstring(val), v); errno == 0 {
				on = b
			}
		}
		p.res.AsyncProbe = &on
		return 0
	}
	query := cstring(name)
	if p.o.NoDynamicDebug {
		if string(query) == "dyndbg" || !exactDyndbg.Holds(v) && bytes.Contains(query, []byte("dyndbg")) {
			p.log(LevelWarning, "dyndbg param is supported only in CONFIG_DYNAMIC_DEBUG builds")
			return 0
		}
	} else {
		if i := bytes.IndexByte(query, '.'); i >= 0 {
			name[i] = 0
			query = query[i+1:]
		}
		if string(query) == "dyndbg" {
			p.dyndbg(val)
			return 0
		}
	}
	if !ignoresUnknown.Holds(v) {
		return diag.ENOENT
	}
	p.log(LevelWarning, "%s: unknown parameter '%s' ignored", p.o.Module, cstring(name))
	p.res.Unknown = append(p.res.Unknown, string(cstring(name)))
	return 0
}

// Takes says in words what a parameter's type takes; "" where the module's own code decides. word is sizeof(unsigned long), bytes.
//
// Source: kernel/params.c: param_set_*, param_array; lib/kstrtox.c: kstrtobool.
func (r *Record) Takes(word int) string {
	kind := r.SetKind()
	if elem, ok := strings.CutPrefix(kind, "array of "); ok {
		s := fmt.Sprintf("an array of at most %d", r.Max)
		if each := takes(elem, 0, word); each != "" {
			s += ", each " + each
		}
		return s
	}
	return takes(kind, r.Max, word)
}

func takes(kind string, room uint32, word int) string {
	switch kind {
	case "bool", "invbool", "bool_enable_only", "bint":
		return "y, n, 1, 0, on or off"
	case "charp":
		return fmt.Sprintf("a text of at most %d bytes", maxCharp)
	case "string":
		if room > 0 {
			return fmt.Sprintf("a text of at most %d bytes", room-1)
		}
	}
	switch bits, signed := numeric(kind, word); {
	case bits == 0:
		return ""
	case signed:
		return fmt.Sprintf("a number from %d to %d", int64(-1)<<(bits-1), int64(^(uint64(1)<<63))>>(64-bits))
	default:
		return fmt.Sprintf("a number from 0 to %d", ^uint64(0)>>(64-bits))
	}
}

// dyndbg notes a dynamic debug query; "+p" is meant by none. Of the messages about bad queries only those about the flags' operator
// are made here. None of them is an error for the module.
//
// Source: lib/dynamic_debug.c: ddebug_exec_queries, ddebug_parse_flags.
func (p *parser) dyndbg(val []byte) {
	text := "+p"
	if val != nil {
		text = string(cstring(val))
	}
	p.res.Dyndbg = append(p.res.Dyndbg, text)
	for query := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ';' || r == '\n' }) {
		words := strings.FieldsFunc(query, func(r rune) bool { return r == ' ' || r >= '\t' && r <= '\r' })
		if len(words) == 0 || words[0][0] == '#' || strings.ContainsAny(query, `"'#`) {
			continue // nothing, a comment, or quoting
		}
		flags := words[len(words)-1]
		if op := flags[0]; op != '+' && op != '-' && op != '=' {
			p.log(LevelErr, "dyndbg: bad flag-op %s, at start of %s", flags[:1], flags)
			p.log(LevelErr, "dyndbg: flags parse failed")
		}
	}
}
