// Package scan works on many inputs at a time and gives the results in the order of the inputs.
package scan

import (
	"context"
	"iter"
	"sync"
)

// pieces is how many pieces of output a worker may be ahead of the reader; more stalls the worker, so
// that memory stays small however much a module prints.
const pieces = 4

// window is how many inputs for each worker may be under way or done and waiting. A wide one saves wake-ups; what waits is no module,
// only a few pieces of output.
const window = 64

// batch is how many inputs a worker gets at once when there are many: each handing over may wake somebody.
const batch = 8

// Stream runs work on each input, jobs at a time, and passes what they write to sink in the order of the inputs: the
// output of the first unfinished input flows at once, that of the others waits, a few pieces each. After the
// output of an input its result goes to done. All calls of sink and done come from this goroutine.
//
// No more than window*jobs inputs are under way or done and waiting, so that a slow first one stalls output, not memory.
// With one job everything happens in this goroutine. All goroutines have ended when Stream returns: work that can
// take long should look at its context.
//
// newWorker makes the state of a worker; work gets it, the input and a write function that keeps what it is given:
// the slice belongs to sink from then on.
// The first error of sink or done, or the end of the context, stops everything and is returned.
func Stream[W, I, R any](ctx context.Context, jobs int, inputs iter.Seq[I], newWorker func() W,
	work func(ctx context.Context, w W, in I, write func([]byte) error) R,
	sink func([]byte) error, done func(I, R) error) error {
	if jobs <= 1 {
		w := newWorker()
		for in := range inputs {
			if err := ctx.Err(); err != nil {
				return err
			}
			var failed error
			r := work(ctx, w, in, func(p []byte) error {
				if failed == nil {
					failed = sink(p)
				}
				return failed
			})
			if failed != nil {
				return failed
			}
			if err := done(in, r); err != nil {
				return err
			}
		}
		return ctx.Err()
	}

	type lane struct {
		in     I
		out    chan []byte
		result R
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	todo := make(chan []*lane)               // to the workers, first come first served
	order := make(chan *lane, window*jobs-2) // to this goroutine, in the order of the inputs; it and the sender hold one each
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)

	for range jobs {
		wg.Go(func() {
			w := newWorker()
			for some := range todo {
				for _, l := range some {
					l.result = work(ctx, w, l.in, func(p []byte) error {
						select {
						case l.out <- p:
							return nil
						case <-ctx.Done():
							return context.Cause(ctx)
						}
					})
					close(l.out)
				}
			}
		})
	}
	wg.Go(func() {
		defer close(order)
		defer close(todo)
		var some []*lane
		hand := func() bool {
			if len(some) == 0 {
				return true
			}
			select {
			case todo <- some:
				some = nil
				return true
			case <-ctx.Done():
				for _, l := range some {
					close(l.out)
				}
				return false
			}
		}
		n := 0
		for in := range inputs {
			if ctx.Err() != nil {
				break
			}
			l := &lane{in: in, out: make(chan []byte, pieces)}
			select {
			case order <- l:
				some = append(some, l)
			case <-ctx.Done():
			}
			if n++; n > window && len(some) < batch {
				continue // not the first ones: few inputs are for all workers alike
			}
			if !hand() {
				return
			}
		}
		hand()
	})
	for l := range order {
		for p := range l.out {
			if err := sink(p); err != nil {
				cancel(err)
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := done(l.in, l.result); err != nil {
			cancel(err)
			return err
		}
	}
	return ctx.Err()
}
