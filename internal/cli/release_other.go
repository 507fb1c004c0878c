//go:build !linux

package cli

// release is empty: no Linux kernel runs here.
func release() string { return "" }
