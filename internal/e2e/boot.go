package e2e

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Boot is one start of a machine. Zero fields have defaults.
type Boot struct {
	Kernel *Kernel
	CPU    string // else the machine's
	CPUs   int    // else 2
	Append string // more of the kernel's command line
	KASLR  bool
	// States: the states of these modules at module_finalize and do_init_module are read, when they get there for the first time. The plan has to
	// await both symbols.
	States []string
	Plan   Plan
	Files  map[string][]byte // in the initramfs, beside the plan and /init
	Init   []byte            // the guest, as BuildGuest makes it
	// Silence is how long the machine may say nothing at all before it is given up; else two minutes, or twice Plan.Patience.
	Silence time.Duration
	Console io.Writer // gets what the machine writes to its serial port
}

const defaultCPUs = 2

// Run is what came of a boot. What the guest did not get to is not there.
type Run struct {
	Guest    *Guest
	Outcomes map[string]*Outcome // by step
	Begun    string              // the step that has begun and has no outcome
	Ended    bool                // the plan was carried out
	Why      string              // why the machine has stopped
	Kallsyms []byte
	Modules  string // /proc/modules after Plan.Load
	Memory   map[string]string
	Live     map[string]Live
	Reloc    map[string]*State
	Ready    map[string]*State
	TOC      uint64 // the kernel's TOC pointer, where there is one
	Debug    error  // that ended the reading of states early

	QEMU    []string // the command, without names of temporary files
	Cmdline string
	Console string        // the end of it
	Begin   time.Duration // until the guest had begun
	Steps   time.Duration // until the last step was done
	Total   time.Duration
}

// Live is the memory of a module that has been loaded.
type Live struct {
	Sections []Section
	Bytes    []byte
}

// BuildGuest builds the init for a machine. It needs the go command and the sources: dir is a directory of this module.
func BuildGuest(ctx context.Context, m *Machine, dir string) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "e2e")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	out := filepath.Join(tmp, "init")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, "kotool/internal/e2e/guest")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), append([]string{"GOOS=linux", "CGO_ENABLED=0", "GOFLAGS="}, m.GoEnv...)...)
	if b, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the guest: %w: %s", err, bytes.TrimSpace(b))
	}
	return os.ReadFile(out)
}

// Run boots the machine and reads what the guest says, until the machine stops, or has to be stopped.
func (b *Boot) Run(ctx context.Context) (*Run, error) {
	tmp, err := os.MkdirTemp(ramDir(), "e2e")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	vm := &vm{
		boot: b, dir: tmp, announced: make(chan uint64, 16), gone: make(chan struct{}),
		run: &Run{Outcomes: map[string]*Outcome{}, Live: map[string]Live{}, Memory: map[string]string{}},
	}
	if err := vm.start(ctx); err != nil {
		if vm.ram != nil {
			_ = vm.ram.Close()
		}
		return nil, err
	}
	err = vm.follow()
	vm.stop()
	r := vm.run
	r.Total = time.Since(vm.started)
	r.Console = vm.tail.String()
	if r.Guest == nil && err == nil {
		err = fmt.Errorf("%s: the guest did not begin: %s: %s", b.Kernel.Release, r.Why, lastLines(r.Console, 12))
	}
	return r, err
}

// ramDir is a directory in memory where there is one: the machine's RAM is a file, which should not be written to a disk.
func ramDir() string {
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// vm is a running machine.
type vm struct {
	boot    *Boot
	dir     string
	run     *Run
	cmd     *exec.Cmd
	ram     *os.File
	started time.Time

	announced chan uint64
	gone      chan struct{} // closed when the process has ended
	sign      atomic.Int64  // of life, in nanoseconds since started
	halt      context.CancelFunc

	tail tail

	conn     net.Conn
	watch    *watcher
	watching chan error
}

func (v *vm) start(ctx context.Context) error {
	b, m := v.boot, v.boot.Kernel.Machine
	plan, err := json.Marshal(&b.Plan)
	if err != nil {
		return err
	}
	files := map[string][]byte{"init": b.Init, "plan.json": plan}
	for n, f := range b.Files {
		files[n] = f
	}
	initrd, err := os.Create(filepath.Join(v.dir, "initrd"))
	if err != nil {
		return err
	}
	if err := writeCPIO(initrd, files); err != nil {
		return errors.Join(fmt.Errorf("initramfs: %w", err), initrd.Close())
	}
	if err := initrd.Close(); err != nil {
		return fmt.Errorf("initramfs: %w", err)
	}
	ram := filepath.Join(v.dir, "ram")
	v.ram, err = os.Create(ram)
	if err != nil {
		return err
	}
	if err := v.ram.Truncate(int64(m.MB) << 20); err != nil {
		return err
	}
	cmdline := fmt.Sprintf("console=%s panic=-1 loglevel=6", m.Console)
	if !b.KASLR {
		cmdline += " nokaslr"
	}
	for _, more := range []string{m.Append, b.Append} {
		if more != "" {
			cmdline += " " + more
		}
	}
	v.run.Cmdline = cmdline
	image, err := v.image()
	if err != nil {
		return err
	}
	cpu, cpus := cmp.Or(b.CPU, m.CPU), cmp.Or(b.CPUs, m.CPUs, defaultCPUs)
	args := append([]string{}, m.Args...)
	args[1] += ",memory-backend=ram"
	args = append(args,
		"-cpu", cpu, "-accel", "tcg", "-smp", strconv.Itoa(cpus), "-m", fmt.Sprintf("%dM", m.MB),
		"-object", fmt.Sprintf("memory-backend-file,id=ram,size=%dM,mem-path=%s,share=on", m.MB, ram),
		"-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio", "-monitor", "none", "-net", "none",
		"-kernel", image, "-initrd", initrd.Name(), "-append", cmdline)
	if b.Kernel.DTB != "" {
		args = append(args, "-dtb", b.Kernel.DTB)
	}
	if len(b.States) > 0 {
		args = append(args, "-chardev", "socket,id=gdb,server=on,wait=off,path="+filepath.Join(v.dir, "gdb"), "-gdb", "chardev:gdb")
	}
	v.run.QEMU = append([]string{m.QEMU}, args...)
	for i := range v.run.QEMU {
		for _, path := range []string{v.ram.Name(), b.Kernel.Image, cmp.Or(b.Kernel.DTB, b.Kernel.Image)} {
			v.run.QEMU[i] = strings.ReplaceAll(v.run.QEMU[i], filepath.Dir(path)+string(filepath.Separator), "")
		}
	}
	ctx, v.halt = context.WithCancel(ctx)
	v.cmd = exec.CommandContext(ctx, m.QEMU, args...)
	v.cmd.Stdout = (*console)(v)
	v.cmd.Stderr = (*console)(v)
	v.cmd.WaitDelay = 5 * time.Second
	v.started = time.Now()
	if err := v.cmd.Start(); err != nil {
		return fmt.Errorf("start the machine: %w", err)
	}
	go func() {
		_ = v.cmd.Wait()
		close(v.gone)
	}()
	return nil
}

// image is the kernel that QEMU is given: the one of the package, unpacked where QEMU would not do that.
func (v *vm) image() (string, error) {
	packed, err := os.ReadFile(v.boot.Kernel.Image)
	if err != nil {
		return "", err
	}
	b, err := unzboot(packed)
	if b == nil || err != nil {
		return v.boot.Kernel.Image, err
	}
	path := filepath.Join(v.dir, filepath.Base(v.boot.Kernel.Image))
	return path, os.WriteFile(path, b, 0o600)
}

// stop ends the machine if it still runs.
func (v *vm) stop() {
	v.halt()
	<-v.gone
	if v.conn != nil {
		_ = v.conn.Close()
		// That the connection ends when the machine does is no news.
		var broken *net.OpError
		if err := <-v.watching; !errors.Is(err, io.EOF) && !errors.As(err, &broken) {
			v.run.Debug = err
		}
		v.run.Reloc, v.run.Ready, v.run.TOC = v.watch.Reloc, v.watch.Ready, v.watch.toc
	}
	_ = v.ram.Close()
}

// console takes what the machine writes to its serial port.
type console vm

func (c *console) Write(p []byte) (int, error) {
	v := (*vm)(c)
	v.alive()
	if v.boot.Console != nil {
		_, _ = v.boot.Console.Write(p)
	}
	for _, line := range v.tail.write(p) {
		if _, s, ok := strings.Cut(line, Announcement); ok {
			if frame, err := strconv.ParseUint(strings.TrimSpace(s), 16, 64); err == nil {
				select {
				case v.announced <- frame:
				default:
				}
			}
		}
	}
	return len(p), nil
}

// tail keeps the end of a text, and splits lines.
type tail struct {
	mu   sync.Mutex
	text []byte
	line []byte
}

const maxTail = 64 << 10

func (t *tail) write(p []byte) (lines []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if n := len(t.text) - maxTail; n > maxTail {
		t.text = append([]byte{}, t.text[n:]...)
	}
	t.line = append(t.line, p...)
	for {
		line, rest, ok := bytes.Cut(t.line, []byte("\n"))
		if !ok {
			break
		}
		lines = append(lines, string(line))
		t.line = rest
	}
	if len(t.line) > maxTail {
		t.line = nil
	}
	return lines
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func (v *vm) alive() { v.sign.Store(int64(time.Since(v.started))) }

func (v *vm) silence() time.Duration {
	if v.boot.Silence > 0 {
		return v.boot.Silence
	}
	return max(2*time.Minute, 2*time.Duration(v.boot.Plan.Patience)*time.Second)
}

var errSilent = errors.New("the machine says nothing any more")

// lives says why there will be no more, if so.
func (v *vm) lives() error {
	select {
	case <-v.gone:
		return io.EOF
	default:
	}
	if time.Since(v.started)-time.Duration(v.sign.Load()) > v.silence() {
		return errSilent
	}
	return nil
}

// follow reads the guest's stream to its end. Only what should never be is an error.
func (v *vm) follow() error {
	r, err := v.find()
	if r == nil {
		return err
	}
	v.run.Why = "the machine has stopped"
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		var data []byte
		if err == nil {
			v.alive()
			data, err = io.ReadAll(in)
		}
		switch {
		case errors.Is(err, errSilent):
			v.run.Why = err.Error()
			return nil
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // died, perhaps amid an entry
			return nil
		case err != nil:
			return fmt.Errorf("the guest's stream: %w", err)
		}
		v.alive()
		if err := v.entry(r, h.Name, data); err != nil {
			return fmt.Errorf("the guest's stream: %s: %w", h.Name, err)
		}
		if v.run.Ended {
			v.run.Why = "end"
			return nil
		}
	}
}

// find waits for the guest's ring; nil when the machine stops before.
func (v *vm) find() (*ring, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var wrong error
	for {
		select {
		case frame := <-v.announced:
			r, err := openRing(v.ram, v.boot.Kernel.Machine, frame, v.lives)
			if err == nil {
				v.run.Begin = time.Since(v.started)
				return r, nil
			}
			wrong = err // it is said again
		case <-tick.C:
			if err := v.lives(); err != nil {
				v.run.Why = err.Error()
				if errors.Is(err, io.EOF) {
					v.run.Why = "the machine has stopped"
				}
				return nil, wrong
			}
		}
	}
}

// entry takes one entry of the stream.
func (v *vm) entry(r *ring, name string, data []byte) error {
	run := v.run
	kind, id := name, ""
	if i := strings.IndexByte(name, '/'); i >= 0 {
		kind, id = name[:i+1], name[i+1:]
	}
	switch kind {
	case EntryGuest:
		run.Guest = &Guest{}
		if err := json.Unmarshal(data, run.Guest); err != nil {
			return err
		}
		if len(v.boot.States) > 0 {
			if err := v.attach(run.Guest.Symbols); err != nil {
				return err
			}
		}
		return r.release()
	case EntryBegin:
		run.Begun = id
	case EntryOutcome:
		var o Outcome
		if err := json.Unmarshal(data, &o); err != nil {
			return err
		}
		run.Outcomes[id] = &o
		run.Begun = ""
		run.Steps = time.Since(v.started)
	case EntryKallsyms:
		run.Kallsyms = data
	case EntryModules:
		run.Modules = string(data)
	case EntryMemory:
		return json.Unmarshal(data, &run.Memory)
	case EntrySections:
		var l Live
		if err := json.Unmarshal(data, &l.Sections); err != nil {
			return err
		}
		run.Live[id] = l
	case EntryBytes:
		l := run.Live[id]
		l.Bytes = data
		run.Live[id] = l
	case EntryEnd:
		run.Ended = true
	}
	return nil
}

// attach connects the debugger, and lets it read along in the background.
func (v *vm) attach(symbols map[string]uint64) error {
	conn, err := net.Dial("unix", filepath.Join(v.dir, "gdb"))
	if err != nil {
		return err
	}
	d, err := newDebugger(&pausing{conn, v})
	if err == nil {
		v.watch, err = newWatcher(d, v.boot.Kernel.Machine, symbols, v.boot.States)
	}
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	v.conn, v.watching = conn, make(chan error, 1)
	go func() {
		err := v.watch.run()
		if err != nil { // the machine must not stay stopped
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
			_ = v.watch.d.detach()
		}
		v.watching <- err
	}()
	return nil
}

// pausing is a connection whose traffic is a sign of life.
type pausing struct {
	net.Conn
	v *vm
}

func (p *pausing) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	p.v.alive()
	return n, err
}
