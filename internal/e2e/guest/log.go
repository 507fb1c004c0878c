//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// kernelLog is /dev/kmsg.
type kernelLog struct {
	fd    int
	marks int
}

func openLog() (*kernelLog, error) {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/kmsg: %w", err)
	}
	return &kernelLog{fd: fd}, nil
}

// lines are the kernel's new lines, each with its level. A mark of ours ends them: a message without a newline can be read only when
// the next one has come.
func (l *kernelLog) lines() []string {
	l.marks++
	mark := fmt.Sprintf("guest: mark %d", l.marks)
	_, _ = unix.Write(l.fd, []byte("<15>"+mark)) // a level that no console shows
	list := []string{}
	buf := make([]byte, 16<<10)
	for {
		n, err := unix.Read(l.fd, buf)
		switch {
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.EINTR): // some were overwritten before they were read
			continue
		case err != nil:
			return list
		}
		// PRIORITY,SEQUENCE,TIME,FLAGS;TEXT, then lines of a dictionary.
		head, rest, _ := bytes.Cut(buf[:n], []byte(";"))
		msg, _, _ := bytes.Cut(rest, []byte("\n"))
		field, _, _ := bytes.Cut(head, []byte(","))
		priority, _ := strconv.Atoi(string(field))
		switch {
		case string(msg) == mark:
			return list
		case priority>>3 == 0: // the kernel's own facility
			list = append(list, fmt.Sprintf("<%d>%s", priority&7, msg))
		}
	}
}
