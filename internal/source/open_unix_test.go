//go:build unix

package source

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Skip(err)
	}
	return path
}

func TestAPipeWithoutWriterIsGivenUp(t *testing.T) {
	t.Parallel()
	start := time.Now()
	_, err := Open(fifo(t), Options{})
	if !errors.Is(err, ErrSilent) {
		t.Errorf("got %v want %v", err, ErrSilent)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestAPipeWhoseWriterSaysNothingIsGivenUp(t *testing.T) {
	t.Parallel()
	path := fifo(t)
	w, err := os.OpenFile(path, os.O_RDWR, 0) // does not wait for a reader
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	start := time.Now()
	w.Write(packGzip(t, sample(10_000))[:20])
	_, err = Open(path, Options{})
	if !errors.Is(err, ErrSilent) {
		t.Errorf("got %v want %v", err, ErrSilent)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestAPipeIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	plain := sample(1 << 20)
	for name, file := range map[string][]byte{"plain": plain, "gzip": packGzip(t, plain)} {
		path := fifo(t)
		go func() {
			w, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err == nil {
				w.Write(file)
				w.Close()
			}
		}()
		in, err := Open(path, Options{})
		if err != nil || !bytes.Equal(all(t, in), plain) || in.PackedSize != uint64(len(file)) {
			t.Errorf("%s: got %v, or other bytes", name, err)
		}
	}
}

// As in kotool info <(zcat x.ko.gz).
func TestAPipeOfTheShellIsRead(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	path := "/dev/fd/" + strconv.Itoa(int(r.Fd()))
	if _, err := os.Stat(path); err != nil {
		t.Skip(err)
	}
	plain := sample(1 << 20)
	go func() {
		w.Write(plain)
		w.Close()
	}()
	in, err := Open(path, Options{})
	if err != nil || !bytes.Equal(all(t, in), plain) {
		t.Errorf("got %v, or other bytes", err)
	}
}

func TestADeviceWithoutEndIsLeftAfterItsHead(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/dev/zero", "/dev/null"} {
		var in *Input
		var err error
		n := allocated(func() { in, err = Open(path, Options{}) })
		if err != nil || in.Size() > headSize || n > 16<<20 {
			t.Errorf("%s: got %v, %d bytes allocated; want the head only", path, err, n)
			continue
		}
		if _, err := in.ReadAll(); (err == nil) != (path == "/dev/null") {
			t.Errorf("%s: ReadAll: %v", path, err)
		}
	}
	if _, err := Open("/dev/zero", Options{Any: true, MaxSize: 1 << 20}); err == nil {
		t.Error("/dev/zero whole: no error")
	}
}

func TestASocketIsAnError(t *testing.T) {
	t.Parallel()
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Skip(err)
	}
	defer syscall.Close(fd)
	path := filepath.Join(t.TempDir(), "s")
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		t.Skip(err)
	}
	if _, err := Open(path, Options{}); err == nil {
		t.Error("no error")
	}
}

func TestAFileOfProcIsReadThoughItClaimsToBeEmpty(t *testing.T) {
	t.Parallel()
	const path = "/proc/self/maps"
	if st, err := os.Stat(path); err != nil || st.Size() != 0 {
		t.Skip("there is no such file here")
	}
	in, err := Open(path, Options{Any: true})
	if err != nil || in.Size() == 0 {
		t.Errorf("got %v, %d bytes", err, in.Size())
	}
}
