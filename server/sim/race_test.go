//go:build race

package sim

// shuffled: the race detector makes the scheduler choose at random.
const shuffled = true
