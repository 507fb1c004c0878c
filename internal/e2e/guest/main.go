//go:build linux

// Command guest is the init of the machines that internal/e2e boots: it loads modules by /plan.json and tells the host, by a ring in its
// memory, what the kernel did with each. Then it switches the machine off.
package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"kotool/internal/e2e"
)

// The first thread is never the one that loads: an oops ends that, and without its first thread a process looks dead.
func init() { runtime.LockOSThread() }

func main() {
	if err := run(); err != nil {
		fmt.Println("guest:", err)
	}
	fmt.Println("guest:", unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
}

func run() error {
	for _, m := range []struct{ what, where string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}} {
		if err := os.MkdirAll(m.where, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.what, m.where, m.what, 0, ""); err != nil {
			return fmt.Errorf("%s: %w", m.where, err)
		}
	}
	var g guest
	b, err := os.ReadFile("/plan.json")
	if err == nil {
		err = json.Unmarshal(b, &g.plan)
	}
	if err != nil {
		return err
	}
	if g.out, err = openStream(); err != nil {
		return err
	}
	if g.log, err = openLog(); err != nil {
		return err
	}
	// Else our marks are dropped when they come fast.
	_ = os.WriteFile("/proc/sys/kernel/printk_devkmsg", []byte("on"), 0)
	g.log.lines()
	if err := g.introduce(); err != nil {
		return err
	}
	for _, s := range g.plan.Load {
		if !g.step(s) {
			return nil
		}
	}
	if g.plan.Dump {
		if err := g.dump(); err != nil {
			return err
		}
	}
	for _, s := range g.plan.Try {
		g.unload(s)
		if !g.step(s) {
			return nil
		}
		g.unload(s)
	}
	return g.out.put(e2e.EntryEnd, nil)
}

// unload removes a module of the step's name, and forgets what the kernel says to that.
func (g *guest) unload(s e2e.Step) {
	if !s.Keep {
		_ = unix.DeleteModule(s.Name, unix.O_NONBLOCK)
		g.log.lines()
	}
}

type guest struct {
	plan   e2e.Plan
	out    *stream
	log    *kernelLog
	loaded []e2e.Step // and still there
}

// introduce says what machine this is, and waits for the host's go where it is awaited.
func (g *guest) introduce() error {
	m := e2e.Guest{
		Version: text("/proc/version"), Release: text("/proc/sys/kernel/osrelease"), Cmdline: text("/proc/cmdline"), CPUInfo: text("/proc/cpuinfo"),
		Vulnerabilities: texts("/sys/devices/system/cpu/vulnerabilities"),
	}
	if len(g.plan.Await) > 0 {
		m.Symbols = symbols(g.plan.Await)
	}
	if err := g.out.putJSON(e2e.EntryGuest, &m); err != nil {
		return err
	}
	for len(g.plan.Await) > 0 && !g.out.released() {
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// step loads one module. It reports whether the kernel can go on after that.
func (g *guest) step(s e2e.Step) bool {
	if err := g.out.put(e2e.EntryBegin+s.ID, nil); err != nil {
		fmt.Println("guest:", err)
		return false
	}
	r := e2e.Outcome{ID: s.ID}
	start := time.Now()
	err := g.load(s)
	r.MS = time.Since(start).Milliseconds()
	var errno unix.Errno
	switch {
	case err == nil:
		g.loaded = append(g.loaded, s)
		r.ProcModules = moduleLine(s.Name)
		r.Sections = addresses(s.Name)
		r.Sysfs = sysfs(s.Name)
	case errors.As(err, &errno):
		r.Errno, r.Error = int(errno), errno.Error()
	case errors.Is(err, errHung):
		r.Errno, r.Error = e2e.Hung, err.Error()
	default:
		r.Errno, r.Error = e2e.Oopsed, err.Error()
	}
	r.Dmesg = g.log.lines()
	r.Taint = text("/proc/sys/kernel/tainted")
	if err := g.out.putJSON(e2e.EntryOutcome+s.ID, &r); err != nil {
		fmt.Println("guest:", err)
		return false
	}
	return r.Errno >= 0
}

var (
	errOopsed = errors.New("the loading thread is gone")
	errHung   = errors.New("the load does not return")
)

// load loads a module in a thread of its own, which may never come back.
func (g *guest) load(s e2e.Step) error {
	call, err := prepare(s)
	if err != nil {
		return err
	}
	thread, done := make(chan int, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		thread <- unix.Gettid()
		done <- call()
	}()
	task := fmt.Sprintf("/proc/self/task/%d", <-thread)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Duration(g.plan.Patience) * time.Second); ; {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			switch _, err := os.Stat(task); {
			case err != nil:
				return errOopsed
			case time.Now().After(deadline):
				return errHung
			}
		}
	}
}

// prepare does what comes before the system call.
func prepare(s e2e.Step) (call func() error, err error) {
	if s.Syscall == "init" {
		b, err := os.ReadFile(s.File)
		return func() error { return unix.InitModule(b, s.Params) }, err
	}
	fd, err := unix.Open(s.File, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	return func() error {
		defer unix.Close(fd)
		return unix.FinitModule(fd, s.Params, s.Flags)
	}, err
}

// dump sends the memory of what has been loaded, and the symbols.
func (g *guest) dump() error {
	kallsyms, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		return err
	}
	if err := g.out.put(e2e.EntryKallsyms, kallsyms); err != nil {
		return err
	}
	if err := g.out.put(e2e.EntryModules, []byte(text("/proc/modules")+"\n")); err != nil {
		return err
	}
	mem, err := openMemory()
	if errors.Is(err, os.ErrNotExist) { // arm has no kcore
		return nil
	} else if err != nil {
		return err
	}
	objects := map[string]string{}
	for line := range bytes.Lines(kallsyms) {
		addr, name, ok := symbol(line)
		if n := g.plan.Memory[string(name)]; ok && n > 0 {
			if b, err := mem.read(addr, uint64(n)); err == nil {
				objects[string(name)] = hex.EncodeToString(b)
			}
		}
	}
	if err := g.out.putJSON(e2e.EntryMemory, objects); err != nil {
		return err
	}
	for _, s := range g.loaded {
		list, image := mem.sections(addresses(s.Name), s.Sizes)
		if err := g.out.putJSON(e2e.EntrySections+s.Name, list); err != nil {
			return err
		}
		if err := g.out.put(e2e.EntryBytes+s.Name, image); err != nil {
			return err
		}
	}
	return nil
}

// text is a file's text without the newline at its end; empty where it cannot be read.
func text(path string) string {
	b, _ := os.ReadFile(path)
	return strings.TrimSuffix(string(b), "\n")
}

// names are those of a directory's entries, dot files included.
func names(dir string) []string {
	var list []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// texts are the texts of a directory's files, by name.
func texts(dir string) map[string]string {
	m := map[string]string{}
	for _, n := range names(dir) {
		m[n] = text(filepath.Join(dir, n))
	}
	return m
}

// moduleLine is the module's line of /proc/modules.
func moduleLine(name string) string {
	for line := range strings.SplitSeq(text("/proc/modules"), "\n") {
		if strings.HasPrefix(line, name+" ") {
			return line
		}
	}
	return ""
}

// addresses are those of a module's sections.
func addresses(name string) map[string]uint64 {
	m := map[string]uint64{}
	for section, s := range texts("/sys/module/" + name + "/sections") {
		if a, err := strconv.ParseUint(s, 0, 64); err == nil {
			m[section] = a
		}
	}
	return m
}

func sysfs(name string) *e2e.Sysfs {
	dir := "/sys/module/" + name + "/"
	s := e2e.Sysfs{
		Coresize: text(dir + "coresize"), Initsize: text(dir + "initsize"), Initstate: text(dir + "initstate"), Refcnt: text(dir + "refcnt"), Taint: text(dir + "taint"),
		Srcversion: text(dir + "srcversion"), Version: text(dir + "version"),
		Holders: names(dir + "holders"), Parameters: texts(dir + "parameters"), Notes: map[string]int64{},
	}
	for _, n := range names(dir + "notes") {
		if st, err := os.Stat(dir + "notes/" + n); err == nil {
			s.Notes[n] = st.Size()
		}
	}
	return &s
}
