package immuta_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
)

var update = flag.Bool("update", false, "write the golden log anew (a change of format)")

// TestTheFirstFormatIsWrittenAndReadForever has a log of this format in the tree:
// it reads as ever, and the same appends make the same bytes.
func TestTheFirstFormatIsWrittenAndReadForever(t *testing.T) {
	golden := filepath.Join("testdata", "format-1.hex")
	s := makeSmall(t, immuta.Options{
		Rand: rand.NewChaCha8([32]byte{1}),
		Now:  func() time.Time { return time.Unix(1_700_000_000, 42) },
	}, someCommits...)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, hexLines(s.log), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(s.log, want) {
		t.Errorf("got a log of %d bytes that differs from the golden one of %d", len(s.log), len(want))
	}
	fs := faultfs.New()
	fs.WriteFile(logFile, want)
	got, err := all(open(t, fs, immuta.Options{ReadOnly: true}))
	if err != nil || !slices.Equal(got, s.records) {
		t.Fatalf("got %d records and %v, want %d", len(got), err, len(s.records))
	}
}

// hexLines is a file that anyone can read: 32 bytes a line.
func hexLines(b []byte) []byte {
	var text []byte
	for line := range slices.Chunk(b, 32) {
		text = append(hex.AppendEncode(text, line), '\n')
	}
	return text
}
