//go:build !race

package server_test

// allocsPerWake is none, but for what other goroutines do meanwhile.
const allocsPerWake = 0.05
