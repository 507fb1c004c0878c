// Package difftest compares kotool with kmod, binutils and Module.symvers over whole kernels. `make diff` runs it: KERNELS names
// directories as bench/fetch-kernel makes them, KOTOOL_EVERY takes each n-th module only. Where a peer is known to be
// wrong the test says so beside the exception.
package difftest
