package immuta

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
)

// countedSealing counts the boxes that were opened.
type countedSealing struct {
	fakeSealing
	opened *atomic.Int64
}

func (c countedSealing) Segment(salt [32]byte, keyID [16]byte, name, kind string, first uint64) (Sealer, error) {
	s, err := c.fakeSealing.Segment(salt, keyID, name, kind, first)
	return countedSealer{s, c.opened}, err
}

type countedSealer struct {
	Sealer
	opened *atomic.Int64
}

func (c countedSealer) Open(dst, sealed []byte, position uint64) ([]byte, error) {
	c.opened.Add(1)
	return c.Sealer.Open(dst, sealed, position)
}

// sealedBlocks makes a log of blocks with a record each, and opens it anew, so
// that nothing of it is in memory.
func sealedBlocks(t *testing.T, blocks int) (*Log, *atomic.Int64) {
	t.Helper()
	opened := new(atomic.Int64)
	dir, o := t.TempDir(), Options{Sealing: countedSealing{fakeSealing{1}, opened}, BlockSize: 1}
	l := mustOpen(t, dir, o)
	for i := range blocks {
		if _, err := l.Append(context.Background(), [][]byte{fmt.Appendf(nil, "record %d", i+1)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, dir, o)
	opened.Store(0)
	return l, opened
}

// reads wants the record with an index.
func reads(t *testing.T, r *Reader, index int) {
	t.Helper()
	b, err := r.Next()
	if want := fmt.Sprintf("record %d", index); err != nil || len(b.Records) != 1 || b.First != uint64(index) || string(b.Records[0]) != want {
		t.Fatalf("got %d %q %v, want %d %q", b.First, b.Records, err, index, want)
	}
}

func TestReadersAtTheSamePlaceOpenASealedBlockOnce(t *testing.T) {
	const blocks, readers = 100, 4
	l, opened := sealedBlocks(t, blocks)
	var all [readers]*Reader
	for i := range all {
		all[i] = l.Reader(1)
		defer all[i].Close()
		reads(t, all[i], 1) // it takes two of them to share
	}
	before := opened.Load()
	for index := 2; index <= blocks; index++ {
		for _, r := range all {
			reads(t, r, index)
		}
	}
	if got := opened.Load() - before; got != blocks-1 {
		t.Errorf("got %d boxes opened by %d readers of %d blocks, want each once", got, readers, blocks-1)
	}
}

func TestAReaderInTheMiddleOfASharedBlockGetsTheRestOfIt(t *testing.T) {
	dir, o := t.TempDir(), Options{Sealing: fakeSealing{1}}
	l := mustOpen(t, dir, o)
	if _, err := l.Append(context.Background(), [][]byte{[]byte("a"), []byte("b"), []byte("c")}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, dir, o)
	first, second, third := l.Reader(1), l.Reader(1), l.Reader(2)
	for i, r := range []*Reader{first, second, third} {
		defer r.Close()
		b, err := r.Next()
		if want := max(1, i); err != nil || b.First != uint64(want) || len(b.Records) != 4-want {
			t.Errorf("reader %d: got %d records from %d, %v, want those from %d", i, len(b.Records), b.First, err, want)
		}
	}
}

func TestWhatReadersShareGoesWhenAllButOneHaveCaughtUpOrLeft(t *testing.T) {
	const blocks = 10
	l, _ := sealedBlocks(t, blocks)
	ahead, behind, gone := l.Reader(1), l.Reader(1), l.Reader(1)
	defer behind.Close()
	for index := 1; index <= blocks; index++ {
		reads(t, ahead, index)
		if index < blocks {
			reads(t, behind, index)
			reads(t, gone, index)
		}
	}
	if l.opened.bytes == 0 {
		t.Fatal("nothing is shared among three readers")
	}
	if _, err := ahead.Next(); err != io.EOF {
		t.Fatalf("got %v, want io.EOF", err)
	}
	gone.Close()
	gone.Close() // a second time does nothing
	if o := l.opened; o.readers != 1 || o.bytes != 0 || len(o.blocks) != 0 {
		t.Errorf("got %d readers and %d bytes in %d blocks, want 1 and none", o.readers, o.bytes, len(o.blocks))
	}
	reads(t, behind, blocks)
}

func TestWhatReadersShareIsBounded(t *testing.T) {
	o := &openedBlocks{readers: 2}
	record := make([]byte, 1<<20)
	for i := range 20 {
		o.put(int64(i), cached{Block: Block{First: uint64(i), Records: [][]byte{record}}})
		if o.bytes > maxOpened {
			t.Fatalf("got %d bytes after %d blocks, want at most %d", o.bytes, i+1, maxOpened)
		}
	}
	if _, ok := o.get(nil, 19, 19); !ok || len(o.blocks) != len(o.order) {
		t.Errorf("got newest %v, %d blocks and %d in order, want the newest and as many", ok, len(o.blocks), len(o.order))
	}
	if _, ok := o.get(nil, 19, 18); ok {
		t.Error("got a block that begins with another record than is due")
	}
}
