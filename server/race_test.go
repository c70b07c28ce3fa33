//go:build race

package server_test

// allocsPerWake: the race detector has a sync.Pool forget a part of what is put
// into it, of which a write makes two anew.
const allocsPerWake = 0.9
