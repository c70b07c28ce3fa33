//go:build !race

package main

// memoryFactor is what the race detector multiplies memory with.
const memoryFactor = 1
