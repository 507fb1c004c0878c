//go:build !race

package oracletest

// Every is which of the recorded modules are compared: each under a plain build, a sample with the race detector, which is ten times slower.
const Every = 1
