package main

import (
	"math"
	"runtime/debug"
	"testing"
)

func TestTheCollectorHasRoomUnlessToldOtherwise(t *testing.T) {
	t.Setenv("GOGC", "")
	if got := len(keepHeapRoom()); got != heapRoom {
		t.Errorf("got %d bytes, want %d", got, heapRoom)
	}
	t.Setenv("GOGC", "100")
	if got := keepHeapRoom(); got != nil {
		t.Errorf("with GOGC: got %d bytes, want none", len(got))
	}
	t.Setenv("GOGC", "")
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(1 << 30))
	if got := keepHeapRoom(); got != nil {
		t.Errorf("with a memory limit: got %d bytes, want none", len(got))
	}
	debug.SetMemoryLimit(math.MaxInt64)
	if got := len(keepHeapRoom()); got != heapRoom {
		t.Errorf("without a limit again: got %d bytes, want %d", got, heapRoom)
	}
}
