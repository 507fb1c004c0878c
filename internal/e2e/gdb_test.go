package e2e

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeStub answers packets of a debugger until the connection ends. Memory is one piece.
type fakeStub struct {
	addr   uint64
	mem    []byte
	regs   map[int]uint64
	stops  []string       // what "c" is answered by, one by one
	before map[int]func() // what happens before the stop of that number
	breaks map[string]bool
	seen   []string

	// Of a mips: registers come all at once, a word each, and memory has to be in the TLB. Code is what touch may change, from addr 0x1000.
	word int
	tlb  map[uint64]bool // pages
	code []byte
}

// touch executes what the debugger has put behind a breakpoint, if that is where it goes on.
func (s *fakeStub) touch(pc int) bool {
	at := s.regs[pc]
	if s.tlb == nil || at < codeAddr || at >= codeAddr+uint64(len(s.code)) || orderOf(false).Uint32(s.code[at-codeAddr:]) != touchCode[0] || !s.breaks[fmt.Sprintf("1,%x,1", at+4)] {
		return false
	}
	clear(s.tlb) // it is small
	s.tlb[s.regs[touchReg]/pageSize] = true
	s.regs[pc] += 4
	return true
}

const (
	codeAddr  = 0x1000
	mipsPC    = 37
	registers = 40 // of a mips, as far as they count here
)

func (s *fakeStub) answer(body string) string {
	s.seen = append(s.seen, body)
	var a, n uint64
	var r int
	switch {
	case body == "?":
		return "T05thread:01;"
	case body == "c", strings.HasPrefix(body, "vCont;s"):
		if body != "c" || s.touch(mipsPC) {
			return "T05thread:01;"
		}
		if len(s.stops) == 0 {
			return "W00"
		}
		stop := s.stops[0]
		s.stops = s.stops[1:]
		if f := s.before[len(s.stops)]; f != nil {
			f()
		}
		return stop
	case body[0] == 'Z', body[0] == 'z':
		s.breaks[body[1:]] = body[0] == 'Z'
		return "OK"
	case body[0] == 'H', body == "D":
		return "OK"
	case body[0] == 'M' && parse(body, "M%x,%x:", &a, &n):
		if a < codeAddr || a+n > codeAddr+uint64(len(s.code)) {
			return "E14"
		}
		_, digits, _ := strings.Cut(body, ":")
		if b, err := hex.DecodeString(digits); err != nil || copy(s.code[a-codeAddr:], b) != int(n) {
			return "E22"
		}
		return "OK"
	case s.word > 0 && (body[0] == 'p' || body[0] == 'P'):
		return ""
	case body == "g":
		var b []byte
		for i := range registers {
			b = orderOf(false).AppendUint64(b, s.regs[i])[:s.word*(i+1)]
		}
		return hex.EncodeToString(b)
	case body[0] == 'G':
		b, err := hex.DecodeString(body[1:])
		if err != nil || len(b) != registers*s.word {
			return "E22"
		}
		for i := range registers {
			s.regs[i] = orderOf(false).Uint64(append(bytes.Clone(b[i*s.word:][:s.word]), 0, 0, 0, 0, 0, 0, 0))
		}
		return "OK"
	case parse(body, "m%x,%x", &a, &n):
		if a >= codeAddr && a+n <= codeAddr+uint64(len(s.code)) {
			return hex.EncodeToString(s.code[a-codeAddr:][:n])
		}
		for p := a / pageSize; s.tlb != nil && p <= (a+n-1)/pageSize; p++ {
			if !s.tlb[p] {
				return "E14"
			}
		}
		if a < s.addr || a-s.addr > uint64(len(s.mem)) || n > uint64(len(s.mem))-(a-s.addr) {
			return "E14"
		}
		return hex.EncodeToString(s.mem[a-s.addr:][:n])
	case parse(body, "p%x", &r):
		v, ok := s.regs[r]
		if !ok {
			return "E14"
		}
		var b [8]byte
		orderOf(false).PutUint64(b[:], v)
		return hex.EncodeToString(b[:])
	}
	return ""
}

func parse(s, format string, args ...any) bool {
	n, err := fmt.Sscanf(s, format, args...)
	return err == nil && n == len(args)
}

func (s *fakeStub) serve(c net.Conn) {
	s.breaks = map[string]bool{}
	in := bufio.NewReader(c)
	for {
		if _, err := in.ReadString('$'); err != nil {
			return
		}
		body, err := in.ReadString('#')
		if err != nil {
			return
		}
		if _, err := in.Discard(2); err != nil {
			return
		}
		reply := s.answer(strings.TrimSuffix(body, "#"))
		if _, err := fmt.Fprintf(c, "+$%s#%02x", reply, checksum(reply)); err != nil {
			return
		}
	}
}

func checksum(s string) (sum byte) {
	for i := range len(s) {
		sum += s[i]
	}
	return sum
}

func connect(t *testing.T, s *fakeStub) *debugger {
	t.Helper()
	here, there := net.Pipe()
	t.Cleanup(func() { _ = here.Close() })
	go func() {
		s.serve(there)
		_ = there.Close()
	}()
	d, err := newDebugger(here)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDebuggerReadsMemoryAndRegisters(t *testing.T) {
	t.Parallel()
	s := &fakeStub{addr: 0xffff0000, mem: bytes.Repeat([]byte("0123456789abcdef"), 400), regs: map[int]uint64{5: 0x1122334455667788}}
	d := connect(t, s)
	got, err := d.read(0xffff0010, 5000)
	if err != nil || !bytes.Equal(got, s.mem[0x10:0x10+5000]) {
		t.Errorf("read: %d bytes, %v", len(got), err)
	}
	if _, err := d.read(0xffff0000, uint64(len(s.mem))+1); !errors.Is(err, errRemote) {
		t.Errorf("read past the end: got %v", err)
	}
	b, err := d.register(5)
	if err != nil || orderOf(false).Uint64(b) != 0x1122334455667788 {
		t.Errorf("register: % x, %v", b, err)
	}
	if err := d.cont(); !errors.Is(err, errExited) {
		t.Errorf("cont: got %v", err)
	}
}

// replay is a connection on which everything was said before.
type replay struct {
	*bytes.Reader
	sent bytes.Buffer
}

func (r *replay) Write(p []byte) (int, error) { return r.sent.Write(p) }

func TestDebuggerTakesPackets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, said, want, err string }{
		{name: "plain", said: "+$OK#9a", want: "OK"},
		{name: "repeated", said: "+$0* #7a", want: "0000"},
		{name: "escaped", said: "+$a}\x03b#43", want: "a#b"},
		{name: "a stop in between", said: "$T05#b9+$OK#9a", want: "OK"},
		{name: "not acknowledged at first", said: "-+$OK#9a", want: "OK"},
		{name: "a wrong checksum at first", said: "+$OK#00$OK#9a", want: "OK"},
		{name: "nothing", said: "", err: "EOF"},
		{name: "no acknowledgement", said: "x", err: "want an acknowledgement"},
		{name: "cut off", said: "+$OK#9", err: "EOF"},
		{name: "wrong checksums", said: "+$OK#00$OK#00$OK#00", err: "checksums"},
		{name: "without end", said: "+$" + strings.Repeat("0*~", 1000), err: "without end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &replay{Reader: bytes.NewReader([]byte(c.said))}
			d := &debugger{rw: r, in: bufio.NewReader(r)}
			got, err := d.ask("m0,1")
			if c.err == "" && (err != nil || got != c.want) {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
			if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Errorf("got %v, want %s", err, c.err)
			}
		})
	}
}

// loadedHello is hello.ko in memory, as it might be at module_finalize: sections are where the file has them.
func loadedHello(t *testing.T, base uint64) (mem []byte, sechdrs uint64) {
	t.Helper()
	file, err := os.ReadFile(filepath.Join("..", "..", "testdata", "ko", "amd64-6.1", "hello.ko"))
	if err != nil {
		t.Fatal(err)
	}
	x, err := parseObject(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range x.secs {
		x.putWord(s.at+16, base+s.off)
	}
	return x.b, base + x.shoff
}

func TestWatcherTouchesWhatIsNotInTheTLB(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"mips64el", "mipsel"} {
		m := &machines[slices.IndexFunc(machines, func(m Machine) bool { return m.Name == name })]
		mem := bytes.Repeat([]byte("0123456789abcdef"), 1024)
		s := &fakeStub{addr: 0xc0000000, mem: mem, regs: map[int]uint64{4: 77, mipsPC: codeAddr}, word: m.bits / 8, tlb: map[uint64]bool{}, code: []byte("what was there before, whole")}
		before := string(s.code)
		d := connect(t, s)
		w, err := newWatcher(d, m, map[string]uint64{symFinalize: codeAddr, symInit: 0x9000}, []string{"hello"})
		if err != nil {
			t.Fatal(err)
		}
		w.at = codeAddr
		if v, err := w.register(4); err != nil || v != 77 {
			t.Errorf("%s: register: got %d, %v", name, v, err)
		}
		got, err := w.read(0xc0000ff0, 9000)
		if err != nil || !bytes.Equal(got, mem[0xff0:][:9000]) {
			t.Errorf("%s: read: %d bytes, %v", name, len(got), err)
		}
		if string(s.code) == before || s.regs[mipsPC] == codeAddr {
			t.Errorf("%s: nothing was touched", name)
		}
		if err := w.untouch(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if string(s.code) != before || s.regs[mipsPC] != codeAddr || s.breaks["1,100c,1"] {
			t.Errorf("%s: left: code %q, pc %#x, breakpoints %v", name, s.code, s.regs[mipsPC], s.breaks)
		}
	}
}

func TestWatcherReadsStates(t *testing.T) {
	t.Parallel()
	const base, mod = 0xffffffffc0000000, 0xffffffffc0123000
	mem, sechdrs := loadedHello(t, base)
	m := &machines[0]
	stop := "T05thread:01;"
	s := &fakeStub{addr: base, mem: mem, regs: map[int]uint64{}, stops: []string{stop, stop, stop}}
	at := func(pc uint64, args ...uint64) func() {
		return func() {
			s.regs[m.PC] = pc
			for i, n := range m.Args3 {
				s.regs[n] = 0
				if i < len(args) {
					s.regs[n] = args[i]
				}
			}
		}
	}
	s.before = map[int]func(){2: at(0x1000, base, sechdrs, mod), 1: at(0x3000), 0: at(0x2000, mod)}
	w, err := newWatcher(connect(t, s), m, map[string]uint64{symFinalize: 0x1000, symInit: 0x2000}, []string{"hello"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.run(); err != nil {
		t.Fatal(err)
	}
	for name, st := range map[string]*State{"reloc": w.Reloc["hello"], "ready": w.Ready["hello"]} {
		if st == nil {
			t.Fatalf("%s: not seen", name)
		}
		if st.Module != mod {
			t.Errorf("%s: struct module at %#x", name, st.Module)
		}
		x, err := parseObject(mem)
		if err != nil {
			t.Fatal(err)
		}
		for i, sec := range st.Sections {
			if sec.Name != x.secs[i].name || sec.Size != x.secs[i].size || sec.Idx != i {
				t.Errorf("%s: section %d: %+v", name, i, sec)
			}
			if sec.Off >= 0 && x.data(i) != nil && !bytes.Equal(st.Bytes[sec.Off:][:sec.Size], x.data(i)) {
				t.Errorf("%s: %s: other bytes", name, sec.Name)
			}
		}
	}
	for b, set := range s.breaks {
		if set {
			t.Errorf("breakpoint %s is left", b)
		}
	}
	if last := s.seen[len(s.seen)-1]; last != "D" {
		t.Errorf("the last request is %q, want the machine let go", last)
	}
}

func TestWatcherSurvivesOddMemory(t *testing.T) {
	t.Parallel()
	const base = 0xffffffffc0000000
	for _, c := range []struct {
		name   string
		damage func(mem []byte)
	}{
		{"no ELF header", func(mem []byte) { mem[0] = 0 }},
		{"names in no section", func(mem []byte) { mem[62], mem[63] = 0xff, 0xff }},
		{"more headers than memory", func(mem []byte) { mem[60], mem[61] = 0xff, 0xff }},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem, sechdrs := loadedHello(t, base)
			c.damage(mem)
			m := &machines[0]
			s := &fakeStub{
				addr: base, mem: mem, stops: []string{"T05thread:01;"},
				regs: map[int]uint64{m.PC: 0x1000, m.Args3[0]: base, m.Args3[1]: sechdrs, m.Args3[2]: 1},
			}
			w, err := newWatcher(connect(t, s), m, map[string]uint64{symFinalize: 0x1000, symInit: 0x2000}, []string{"hello"})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.run(); err == nil {
				t.Error("got no error")
			}
		})
	}
}
