package compat

import (
	"fmt"
	"testing"
)

func TestASetOfNamesKnowsItsNamesAtAnyLength(t *testing.T) {
	var s names
	for i := range 3 * fewNames {
		if !s.add(fmt.Sprint(i)) {
			t.Errorf("%d is not new", i)
		}
		for _, k := range []int{0, i / 2, i} {
			if s.add(fmt.Sprint(k)) {
				t.Errorf("%d is new after %d", k, i)
			}
		}
	}
}
