package reloc

// KernelSort is the heap sort of lib/sort.c over elements 0 to n-1. It is not stable: where elements compare equal, their
// order is a property of this algorithm, and shows in sorted tables. pairs is the form of 6.10 and later, which takes the two largest
// elements off the heap at once.
//
// Source: lib/sort.c: sort_r (6.1), __sort_r (6.12).
func KernelSort(n int, pairs bool, cmp func(i, j int) int, swap func(i, j int)) {
	if n < 2 {
		return
	}
	// sift moves element a down to its place in the heap of n elements: first to a leaf, along the
	// larger children, then back up.
	sift := func(a, n int) {
		b := a
		for 2*b+2 < n {
			if c := 2*b + 1; cmp(c, c+1) >= 0 {
				b = c
			} else {
				b = c + 1
			}
		}
		if 2*b+2 == n { // a leaf without a sibling
			b = 2*b + 1
		}
		for b != a && cmp(a, b) >= 0 {
			b = (b - 1) / 2
		}
		for c := b; b != a; {
			b = (b - 1) / 2
			swap(b, c)
		}
	}
	for a := n/2 - 1; a >= 0; a-- {
		sift(a, n)
	}
	if !pairs {
		for n--; n > 0; n-- {
			swap(0, n)
			sift(0, n)
		}
		return
	}
	for n > 3 {
		n--
		swap(0, n)
		second := 1
		if cmp(1, 2) <= 0 {
			second = 2
		}
		n--
		swap(second, n)
		// The element that came up at second may be below its children, then that at the root.
		sift(second, n)
		sift(0, n)
	}
	n--
	swap(0, n)
	if n == 2 && cmp(0, 1) > 0 {
		swap(0, 1)
	}
}
