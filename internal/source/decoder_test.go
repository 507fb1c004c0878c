package source

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"testing"
)

func TestStreamsAreDecompressedAsTheyComeBy(t *testing.T) {
	// "hello\n" three times, by bzip2.
	bz, err := hex.DecodeString("425a683931415926535927bc6671000004410000100244a000223f546419a0a8e45c78bb9229c284813de33388")
	if err != nil {
		t.Fatal(err)
	}
	if c := Container(bz); c != "bzip2" {
		t.Fatalf("container %q", c)
	}
	read := func(b []byte) (string, error) {
		r, err := NewReader(Container(b), bytes.NewReader(b))
		if err != nil {
			return "", err
		}
		out, err := io.ReadAll(r)
		return string(out), err
	}
	if got, err := read(bz); err != nil || got != "hello\nhello\nhello\n" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := read([]byte("plain")); err != nil || got != "plain" {
		t.Errorf("got %q, %v", got, err)
	}
	_, err = read(bz[:len(bz)-8])
	if s, ok := errors.AsType[*StreamError](err); !ok || s.Container != "bzip2" {
		t.Errorf("cut short: got %v", err)
	}
	for _, b := range [][]byte{[]byte("\x1f\x8bgarbage"), []byte("\xfd7zXZ\x00garbage garbage"), []byte("\x28\xb5\x2f\xfdgarbage garbage")} {
		if _, err := read(b); err == nil {
			t.Errorf("%q: no error", b)
		}
	}
}
