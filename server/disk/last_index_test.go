package disk

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/bus"
)

// startingAt makes an empty log whose first index is first.
func startingAt(t *testing.T, first uint64) string {
	t.Helper()
	dir := t.TempDir()
	if err := openTest(t, dir, Options{}).Close(); err != nil {
		t.Fatal(err)
	}
	log := readFile(t, dir, "orders.log")
	binary.LittleEndian.PutUint64(log[24:], first)
	binary.LittleEndian.PutUint32(log[124:], crc32.Checksum(log[:124], crc32.MakeTable(crc32.Castagnoli)))
	writeFile(t, log, dir, "orders.log")
	if err := os.Remove(filepath.Join(dir, "orders.idx")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return dir
}

func TestALogThatBeginsBeyondTheLastIndexIsNotOpened(t *testing.T) {
	for _, first := range []uint64{bus.MaxIndex + 1, 1 << 61} {
		e, err := Open(startingAt(t, first), Options{Namespaces: []string{"orders"}})
		if err == nil {
			e.Close()
			t.Fatalf("first index %d: the log was opened", first)
		}
		if !strings.Contains(err.Error(), "ids reach up to 281474976710655") {
			t.Errorf("first index %d: got %v", first, err)
		}
	}
}

func TestNoEventGetsAnIndexBeyondTheLastOne(t *testing.T) {
	dir := startingAt(t, bus.MaxIndex-1)
	e := openTest(t, dir, Options{Namespaces: []string{"orders"}})
	if err := e.Append(t.Context(), "orders", []bus.Event{testEvent("orders.a", "1"), testEvent("orders.a", "2"), testEvent("orders.a", "3")}); !errors.Is(err, bus.ErrStorage) {
		t.Fatalf("three events, two indexes: got %v, want %v", err, bus.ErrStorage)
	}
	stored := mustAppend(t, e, testEvent("orders.a", "1"), testEvent("orders.a", "2"))
	if got := stored[1].Index; got != bus.MaxIndex {
		t.Errorf("got index %d, want the last one", got)
	}
	for range 2 {
		err := e.Append(t.Context(), "orders", []bus.Event{testEvent("orders.a", "3")})
		if !errors.Is(err, bus.ErrStorage) || !strings.Contains(err.Error(), "full") {
			t.Errorf("got %v, want a full namespace", err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = openTest(t, dir, Options{Namespaces: []string{"orders"}})
	if at, err := e.Find(t.Context(), "orders", stored[1].Id); err != nil || at != bus.MaxIndex {
		t.Errorf("find the last: got %d and %v", at, err)
	}
	if got, damage := readOn(t, e); damage != nil || len(got) != 2 {
		t.Errorf("read: got %d events and %v, want 2", len(got), damage)
	}
}
