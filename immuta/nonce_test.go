package immuta

import (
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"example.com/bus/crypto"
)

var nonceBlocks = flag.Int("immuta.blocks", 200, "sealed blocks to write in each of 200 lives of a log")

// randomPart is how many bytes of a sealed block are the stored part of its
// nonce; the other part is the position.
const randomPart = 16

// nonces walks the frames from a checkpoint and notes their random parts. It
// returns how many there are.
func nonces(t *testing.T, l *segment, from entry, seen map[[randomPart]byte]int64) int {
	t.Helper()
	size, err := l.file.Size()
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	w := window{file: l.file, step: chunk}
	for at := from.offset; at < size; {
		h, frame, bad, err := l.frameAt(&w, at, size)
		if bad != nil || err != nil {
			t.Fatal(bad, err)
		}
		random := [randomPart]byte(frame[blockHeader:])
		if other, twice := seen[random]; twice {
			t.Fatalf("the blocks at %d and %d have one nonce %x", other, at, random)
		}
		seen[random] = at
		blocks++
		at += h.frame()
	}
	return blocks
}

// A counter alone would repeat itself here: a torn commit is cut, and other
// blocks are written at the same places under the same subkey.
func TestNoNonceIsEverUsedTwiceHoweverOftenATornTailIsWrittenAnew(t *testing.T) {
	key, err := crypto.NewKey(crypto.GenerateSecret())
	if err != nil {
		t.Fatal(err)
	}
	dir, r := t.TempDir(), rand.New(rand.NewPCG(1, 2))
	o := Options{Sealing: crypto.NewKeyring(key), Sync: SyncOS, BlockSize: 1}
	path := filepath.Join(dir, "orders.log")
	seen, blocks, torn := make(map[[randomPart]byte]int64), 0, 0
	for range 200 {
		l, err := Open(dir, "orders", o)
		if err != nil {
			t.Fatal(err)
		}
		torn += int(l.cuts.Load())
		from := entry{first: l.state.Load().next, offset: l.state.Load().end, start: true}
		commits := []int64{from.offset}
		for left := *nonceBlocks; left > 0; {
			records := make([][]byte, min(left, 1+r.IntN(100)))
			for i := range records {
				records[i] = []byte{byte(i)}
			}
			if _, err := l.Append(t.Context(), records); err != nil {
				t.Fatal(err)
			}
			left -= len(records)
			commits = append(commits, l.state.Load().end)
		}
		blocks += nonces(t, l.seg, from, seen)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		// The power goes within one of the last commits.
		last := len(commits) - 1 - r.IntN(min(3, len(commits)-1))
		if err := os.Truncate(path, commits[last]-1-r.Int64N(commits[last]-commits[last-1]-1)); err != nil {
			t.Fatal(err)
		}
	}
	if torn < 190 || len(seen) != blocks {
		t.Errorf("got %d torn tails and %d nonces of %d blocks, want about 199 tails and as many nonces as blocks", torn, len(seen), blocks)
	}
	t.Logf("%d blocks, %d torn tails", blocks, torn)
}
