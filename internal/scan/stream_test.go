package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"
)

func run(t *testing.T, jobs, n, lines int) (string, error) {
	t.Helper()
	var out bytes.Buffer
	inputs := make([]int, n)
	for i := range inputs {
		inputs[i] = i
	}
	err := Stream(t.Context(), jobs, slices.Values(inputs), func() *int { return new(int) },
		func(_ context.Context, w *int, in int, write func([]byte) error) int {
			*w++
			for k := range lines {
				if write(fmt.Appendf(nil, "%d.%d\n", in, k)) != nil {
					break
				}
			}
			return in * in
		},
		func(p []byte) error { _, err := out.Write(p); return err },
		func(in, r int) error { fmt.Fprintf(&out, "done %d %d\n", in, r); return nil })
	return out.String(), err
}

func TestOutputIsThatOfOneWorkerWhateverTheirNumber(t *testing.T) {
	want, err := run(t, 1, 40, 25)
	if err != nil {
		t.Fatal(err)
	}
	for _, jobs := range []int{2, 3, 16} {
		got, err := run(t, jobs, 40, 25)
		if err != nil || got != want {
			t.Errorf("jobs %d: output differs (%v)", jobs, err)
		}
	}
}

func TestAnErrorOfTheSinkStopsAllWorkers(t *testing.T) {
	before := runtime.NumGoroutine()
	boom := errors.New("disk full")
	for _, jobs := range []int{1, 4} {
		n := 0
		err := Stream(t.Context(), jobs, slices.Values(make([]int, 1000)), func() struct{} { return struct{}{} },
			func(_ context.Context, _ struct{}, _ int, write func([]byte) error) int {
				for write([]byte("x")) == nil {
				}
				return 0
			},
			func([]byte) error {
				if n++; n == 10 {
					return boom
				}
				return nil
			},
			func(int, int) error { return nil })
		if !errors.Is(err, boom) {
			t.Errorf("jobs %d: got %v want %v", jobs, err, boom)
		}
	}
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
}

func TestCancellingStops(t *testing.T) {
	for _, jobs := range []int{1, 4} {
		ctx, cancel := context.WithCancel(t.Context())
		err := Stream(ctx, jobs, slices.Values(make([]int, 1000)), func() struct{} { return struct{}{} },
			func(context.Context, struct{}, int, func([]byte) error) int { cancel(); return 0 },
			func([]byte) error { return nil }, func(int, int) error { return nil })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("jobs %d: got %v want %v", jobs, err, context.Canceled)
		}
	}
}
