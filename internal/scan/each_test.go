package scan

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// count is an endless input that notes how far it was read.
func count(n *atomic.Int64) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := 0; yield(i); i++ {
			n.Add(1)
		}
	}
}

// settled waits for goroutines to end, and fails when there are more than before.
func settled(t *testing.T, before int) {
	t.Helper()
	for range 1000 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
}

func TestResultsComeInTheOrderOfTheInputs(t *testing.T) {
	for _, jobs := range []int{0, 1, 2, 7} {
		var got []int
		err := Each(t.Context(), jobs, slices.Values([]string{"a", "bb", "ccc", "dddd", "eeeee", "ffffff", "ggggggg", "hhhhhhhh", "iiiiiiiii"}),
			func() struct{} { return struct{}{} },
			func(_ context.Context, _ struct{}, i int, in string) int {
				// Later inputs are ready earlier.
				for range 1000 * (9 - i) {
					runtime.Gosched()
				}
				return len(in)
			},
			func(i int, in string, r int) error {
				if len(in) != r || i+1 != r {
					t.Errorf("jobs %d: result %d of %q has number %d", jobs, r, in, i)
				}
				got = append(got, r)
				return nil
			})
		if want := []int{1, 2, 3, 4, 5, 6, 7, 8, 9}; err != nil || !slices.Equal(got, want) {
			t.Errorf("jobs %d: got %v, %v want %v", jobs, got, err, want)
		}
	}
}

func TestASlowFirstInputHoldsUpNoMoreThanTheWindow(t *testing.T) {
	const jobs = 3
	var taken, done atomic.Int64
	stop := errors.New("enough")
	release := make(chan struct{})
	go func() {
		// Until nothing moves: everything that may run before the first result has run.
		for last := int64(-1); last != done.Load() || last == 0; time.Sleep(20 * time.Millisecond) {
			last = done.Load()
		}
		close(release)
	}()
	err := Each(t.Context(), jobs, count(&taken), func() int { return 0 },
		func(ctx context.Context, _, i, _ int) int {
			if i == 0 {
				<-release
			}
			done.Add(1)
			return i
		},
		func(i, _, _ int) error {
			if n := taken.Load(); n > window*jobs {
				t.Errorf("%d inputs were taken before the first result, the window is %d", n, window*jobs)
			}
			return stop
		})
	if !errors.Is(err, stop) {
		t.Errorf("got %v want %v", err, stop)
	}
}

func TestAnErrorOfYieldEndsAnEndlessInput(t *testing.T) {
	before := runtime.NumGoroutine()
	stop := errors.New("enough")
	for _, jobs := range []int{1, 4} {
		var n atomic.Int64
		results := 0
		err := Each(t.Context(), jobs, count(&n), func() int { return 0 },
			func(_ context.Context, _, _, in int) int { return in },
			func(i, in, r int) error {
				if results++; i == 99 {
					return stop
				}
				return nil
			})
		if !errors.Is(err, stop) || results != 100 {
			t.Errorf("jobs %d: got %v after %d results, want %v after 100", jobs, err, results, stop)
		}
	}
	settled(t, before)
}

func TestCancellingEndsAnEndlessInput(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, jobs := range []int{1, 4} {
		ctx, cancel := context.WithCancel(t.Context())
		var n atomic.Int64
		err := Each(ctx, jobs, count(&n), func() int { return 0 },
			func(_ context.Context, _, i, _ int) int {
				if i == 50 {
					cancel()
				}
				return i
			},
			func(int, int, int) error { return nil })
		if !errors.Is(err, context.Canceled) || n.Load() > 60 {
			t.Errorf("jobs %d: got %v after %d inputs, want %v soon after 50", jobs, err, n.Load(), context.Canceled)
		}
		cancel()
	}
	settled(t, before)
}

func TestEachWorkerHasItsOwnState(t *testing.T) {
	type state struct{ busy atomic.Bool }
	var made atomic.Int64
	const jobs = 4
	err := Each(t.Context(), jobs, slices.Values(make([]int, 500)), func() *state { made.Add(1); return &state{} },
		func(_ context.Context, w *state, _, _ int) bool {
			if !w.busy.CompareAndSwap(false, true) {
				return false
			}
			runtime.Gosched()
			w.busy.Store(false)
			return true
		},
		func(i, _ int, alone bool) error {
			if !alone {
				t.Errorf("input %d: its worker's state was in use", i)
			}
			return nil
		})
	if err != nil || made.Load() != jobs {
		t.Errorf("got %v, %d states, want %d", err, made.Load(), jobs)
	}
}

// The cost of passing one input through: no work is done.
func BenchmarkEach(b *testing.B) {
	for _, jobs := range []int{1, 2, 8} {
		b.Run(string(rune('0'+jobs))+" jobs", func(b *testing.B) {
			b.ReportAllocs()
			in := func(yield func(int) bool) {
				for i := range b.N {
					if !yield(i) {
						return
					}
				}
			}
			sum := 0
			if err := Each(b.Context(), jobs, in, func() int { return 0 },
				func(_ context.Context, _, i, _ int) int { return i },
				func(_, _, r int) error { sum += r; return nil }); err != nil {
				b.Fatal(err)
			}
		})
	}
}
