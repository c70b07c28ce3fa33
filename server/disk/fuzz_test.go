package disk

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"example.com/bus"
	"example.com/bus/immuta"
)

// FuzzAnyIDFile puts any bytes in the place of the saved index of ids: every id
// is found where it is, and no other.
func FuzzAnyIDFile(f *testing.F) {
	dir := f.TempDir()
	unsynced, err := ParseDurability("os")
	if err != nil {
		f.Fatal(err)
	}
	e, err := Open(dir, Options{Namespaces: []string{"orders"}, Durability: unsynced})
	if err != nil {
		f.Fatal(err)
	}
	events := strange(0, 30)
	if err := errors.Join(e.Append(f.Context(), "orders", events), e.Close()); err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(dir, derivedDir, "orders.log")
	good, err := immutaFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-5])
	f.Add(good[:128])
	f.Add([]byte{})
	f.Add([]byte("not a log"))
	f.Fuzz(func(t *testing.T, file []byte) {
		writeFile(t, file, path)
		e, err := Open(dir, Options{Namespaces: []string{"orders"}, ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		defer mustClose(t, e)
		checkFound(t, e, events)
		if index, err := e.Find(t.Context(), "orders", "nobody's"); !errors.Is(err, bus.ErrUnknownEvent) {
			t.Fatalf("got index %d and %v for an id that is not there", index, err)
		}
	})
}

// FuzzAnyGroupOfSubjects takes any bytes for a saved group: what is taken is as it
// would be written, and holds what it says.
func FuzzAnyGroupOfSubjects(f *testing.F) {
	at := span{from: 1, next: 7, at: testTime}
	f.Add(appendGroup(nil, subjectGroup{span: at, hashes: []uint32{1, 2, 1 << 31}}))
	f.Add(appendGroup(nil, subjectGroup{span: at, anything: true}))
	f.Add(appendGroup(nil, subjectGroup{span: at, hashes: []uint32{2, 1}}))
	f.Add(appendGroup(nil, subjectGroup{span: at}))
	f.Add([]byte{derivedVersion, derivedKindMore})
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := parseGroup(data)
		if err != nil {
			return
		}
		if got := appendGroup(nil, g); !bytes.Equal(got, data) {
			t.Fatalf("got % x, want % x", got, data)
		}
		if g.next <= g.from || g.anything != (len(g.hashes) == 0) {
			t.Fatalf("got %+v", g)
		}
		for _, h := range g.hashes {
			if !containsAny(g.hashes, []uint32{h}) {
				t.Fatalf("got %+v, in which %08x is not found", g, h)
			}
		}
	})
}

// immutaFile reads a file as the engine does.
func immutaFile(path string) ([]byte, error) {
	file, err := immuta.OS().OpenFile(path, 0, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	data := make([]byte, size)
	_, err = file.ReadAt(data, 0)
	return data, err
}
