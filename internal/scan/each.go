package scan

import (
	"context"
	"iter"
)

// Each runs work on each input, jobs at a time, and gives the results to yield in the order of the inputs, by the
// goroutine that called Each. i counts the inputs from 0. It is Stream for work that writes nothing; its limits hold here too.
func Each[W, I, R any](ctx context.Context, jobs int, inputs iter.Seq[I], newWorker func() W,
	work func(ctx context.Context, w W, i int, in I) R, yield func(i int, in I, r R) error) error {
	type item struct {
		i  int
		in I
	}
	items := func(yield func(item) bool) {
		i := 0
		for in := range inputs {
			if !yield(item{i, in}) {
				return
			}
			i++
		}
	}
	return Stream(ctx, jobs, items, newWorker, func(ctx context.Context, w W, it item, _ func([]byte) error) R {
		return work(ctx, w, it.i, it.in)
	}, nil, func(it item, r R) error { return yield(it.i, it.in, r) })
}
