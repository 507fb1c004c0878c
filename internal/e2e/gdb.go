package e2e

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// debugger talks to QEMU's gdb stub: the remote serial protocol, as much of it as is needed here. While it is stopped, so is the machine.
type debugger struct {
	rw     io.ReadWriter
	in     *bufio.Reader
	thread string // that stopped
	word   int    // bytes of a register
}

// errRemote is an answer that says no.
var errRemote = errors.New("the gdb stub refuses")

// errExited says that the machine is gone.
var errExited = errors.New("the machine has stopped for good")

const (
	maxReply = 64 << 10
	maxRead  = 2048 // bytes of memory that the stub gives at once
)

// newDebugger greets the stub. The machine stops when it is connected to.
func newDebugger(rw io.ReadWriter) (*debugger, error) {
	d := &debugger{rw: rw, in: bufio.NewReader(rw)}
	if _, err := d.ask("qSupported"); err != nil {
		return nil, err
	}
	// QEMU gives single registers only to those who have seen its description of them.
	if _, err := d.ask("qXfer:features:read:target.xml:0,400"); err != nil {
		return nil, err
	}
	reply, err := d.ask("?")
	if err != nil {
		return nil, err
	}
	return d, d.stopped(reply)
}

// send writes a packet and waits until the stub has acknowledged it.
func (d *debugger) send(body string) error {
	var sum byte
	for i := range len(body) {
		sum += body[i]
	}
	packet := fmt.Sprintf("$%s#%02x", body, sum)
	if _, err := io.WriteString(d.rw, packet); err != nil {
		return err
	}
	for range 8 {
		switch c, err := d.in.ReadByte(); {
		case err != nil:
			return err
		case c == '+':
			return nil
		case c == '$': // that the machine has stopped because we came
			if err := d.in.UnreadByte(); err != nil {
				return err
			}
			if _, err := d.receive(); err != nil {
				return err
			}
		case c == '-':
			if _, err := io.WriteString(d.rw, packet); err != nil {
				return err
			}
		default:
			return fmt.Errorf("gdb stub: %q: got %q, want an acknowledgement", body, c)
		}
	}
	return fmt.Errorf("gdb stub: %q does not arrive", body)
}

// receive reads a packet and acknowledges it.
func (d *debugger) receive() (string, error) {
	for range 3 {
		if err := d.skipTo('$'); err != nil {
			return "", err
		}
		var body []byte
		var sum, c byte
		var err error
		for {
			if c, err = d.in.ReadByte(); err != nil {
				return "", err
			}
			if c == '#' {
				break
			}
			sum += c
			switch {
			case c == '}': // the next is escaped
				if c, err = d.in.ReadByte(); err != nil {
					return "", err
				}
				sum += c
				body = append(body, c^0x20)
			case c == '*' && len(body) > 0: // the last is repeated
				if c, err = d.in.ReadByte(); err != nil {
					return "", err
				}
				sum += c
				for range int(c) - 29 {
					body = append(body, body[len(body)-1])
				}
			default:
				body = append(body, c)
			}
			if len(body) > maxReply {
				return "", errors.New("gdb stub: a packet without end")
			}
		}
		var digits [2]byte
		if _, err := io.ReadFull(d.in, digits[:]); err != nil {
			return "", err
		}
		if want, err := strconv.ParseUint(string(digits[:]), 16, 8); err != nil || byte(want) != sum {
			if _, err := io.WriteString(d.rw, "-"); err != nil {
				return "", err
			}
			continue
		}
		_, err = io.WriteString(d.rw, "+")
		return string(body), err
	}
	return "", errors.New("gdb stub: checksums do not match")
}

func (d *debugger) skipTo(want byte) error {
	for {
		switch c, err := d.in.ReadByte(); {
		case err != nil:
			return err
		case c == want:
			return nil
		}
	}
}

// ask sends a request and returns the reply.
func (d *debugger) ask(body string) (string, error) {
	if err := d.send(body); err != nil {
		return "", err
	}
	return d.receive()
}

// must sends a request that is answered by OK.
func (d *debugger) must(body string) error {
	reply, err := d.ask(body)
	if err == nil && reply != "OK" {
		err = fmt.Errorf("gdb stub: %q: got %q: %w", body, reply, errRemote)
	}
	return err
}

// stopped reads a stop reply: "T05thread:01;".
func (d *debugger) stopped(reply string) error {
	switch {
	case strings.HasPrefix(reply, "W"), strings.HasPrefix(reply, "X"):
		return errExited
	case strings.HasPrefix(reply, "S"):
		d.thread = ""
		return nil
	case !strings.HasPrefix(reply, "T") || len(reply) < 3:
		return fmt.Errorf("gdb stub: got %q, want a stop reply", reply)
	}
	for pair := range strings.SplitSeq(reply[3:], ";") {
		if v, ok := strings.CutPrefix(pair, "thread:"); ok {
			d.thread = v
		}
	}
	return nil
}

// resume sends a request that lets the machine run, and waits until it stops.
func (d *debugger) resume(body string) error {
	if err := d.send(body); err != nil {
		return err
	}
	for {
		reply, err := d.receive()
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(reply, "O") && reply != "OK": // output of the debugged program
			continue
		}
		return d.stopped(reply)
	}
}

// cont lets the machine run to the next breakpoint.
func (d *debugger) cont() error { return d.resume("c") }

// step lets the thread that stopped execute one instruction.
func (d *debugger) step() error {
	if d.thread == "" {
		return d.resume("s")
	}
	return d.resume("vCont;s:" + d.thread)
}

// setBreak and clearBreak set and clear a hardware breakpoint.
func (d *debugger) setBreak(addr uint64) error   { return d.must(fmt.Sprintf("Z1,%x,1", addr)) }
func (d *debugger) clearBreak(addr uint64) error { return d.must(fmt.Sprintf("z1,%x,1", addr)) }

// detach lets the machine run on without us.
func (d *debugger) detach() error { return d.must("D") }

// register reads a register of the thread that stopped: bytes as the machine has them. A stub without a description of the registers gives
// only all of them at once; those in question are a word each.
func (d *debugger) register(n int) ([]byte, error) {
	if err := d.choose(); err != nil {
		return nil, err
	}
	reply, err := d.ask(fmt.Sprintf("p%x", n))
	if err != nil || reply != "" {
		return unhex(fmt.Sprintf("p%x", n), reply, err)
	}
	all, err := d.bytes("g")
	if err == nil && len(all) < (n+1)*d.word {
		err = fmt.Errorf("gdb stub: no register %d in %d bytes: %w", n, len(all), errRemote)
	}
	if err != nil {
		return nil, err
	}
	return all[n*d.word:][:d.word], nil
}

// setRegister writes a register of the thread that stopped.
func (d *debugger) setRegister(n int, b []byte) error {
	if err := d.choose(); err != nil {
		return err
	}
	reply, err := d.ask(fmt.Sprintf("P%x=%x", n, b))
	switch {
	case err != nil || reply == "OK":
		return err
	case reply != "":
		return fmt.Errorf("gdb stub: register %d: got %q: %w", n, reply, errRemote)
	}
	all, err := d.bytes("g")
	if err == nil && len(all) < n*d.word+len(b) {
		err = fmt.Errorf("gdb stub: no register %d in %d bytes: %w", n, len(all), errRemote)
	}
	if err != nil {
		return err
	}
	copy(all[n*d.word:], b)
	return d.must(fmt.Sprintf("G%x", all))
}

// choose names the thread that stopped as the one whose registers are meant.
func (d *debugger) choose() error {
	if d.thread == "" {
		return nil
	}
	return d.must("Hg" + d.thread)
}

// write writes memory at a virtual address.
func (d *debugger) write(addr uint64, b []byte) error {
	return d.must(fmt.Sprintf("M%x,%x:%x", addr, len(b), b))
}

// read reads memory at a virtual address.
func (d *debugger) read(addr, n uint64) ([]byte, error) {
	b := make([]byte, 0, n)
	for uint64(len(b)) < n {
		k := min(n-uint64(len(b)), maxRead)
		part, err := d.bytes(fmt.Sprintf("m%x,%x", addr+uint64(len(b)), k))
		if err != nil {
			return b, err
		}
		if uint64(len(part)) != k {
			return b, fmt.Errorf("gdb stub: %d bytes at %#x: got %d", k, addr+uint64(len(b)), len(part))
		}
		b = append(b, part...)
	}
	return b, nil
}

// bytes sends a request that is answered by hexadecimal digits, or by an error: E14.
func (d *debugger) bytes(body string) ([]byte, error) {
	reply, err := d.ask(body)
	return unhex(body, reply, err)
}

func unhex(body, reply string, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	b, err := hex.DecodeString(reply)
	if err != nil || len(b) == 0 {
		return nil, fmt.Errorf("gdb stub: %q: got %.20q: %w", body, reply, errRemote)
	}
	return b, nil
}
