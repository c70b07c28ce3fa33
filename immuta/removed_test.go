package immuta

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestARemovedFrameSaysWhatTheDocumentSays reads the bytes where FORMAT.md has them.
func TestARemovedFrameSaysWhatTheDocumentSays(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		s := gapSegment(sealed)
		r := removal{first: 70, count: 1 << 31, reason: 200, time: 5, when: 99}
		h := r.block()
		frame, err := s.makeFrame(nil, &h, []byte{r.reason}, 1024)
		if err != nil || int64(len(frame)) != s.leastGap() {
			t.Fatalf("got %d bytes and %v, want %d", len(frame), err, s.leastGap())
		}
		le := binary.LittleEndian
		for field, got := range map[string]uint64{
			"kind": uint64(frame[bhKind]) - 3, "flags": uint64(frame[bhFlags] ^ (flagLast | flagSettled)),
			"count": uint64(le.Uint32(frame[bhCount:])) - 1<<31, "first": le.Uint64(frame[bhFirst:]) - 70,
			"commit": le.Uint64(frame[bhCommit:]) - 99, "time": le.Uint64(frame[bhTime:]) - 5,
		} {
			if got != 0 {
				t.Errorf("%s is off by %d", field, int64(got))
			}
		}
		got, body, bad, err := s.frameAt(&window{file: bytes.NewReader(append(make([]byte, 1024), frame...)), step: chunk}, 1024, 2048)
		if bad != nil || err != nil {
			t.Fatalf("it does not read: %v, %v", bad, err)
		}
		plain, why := s.plain(nil, &got, body, 1024)
		if reason, bad := reasonOf(plain); why != "" || bad != "" || reason != 200 || got.next() != 70+1<<31 || !got.isStart() || !got.hollow() {
			t.Errorf("sealed %v: got %+v and % x", sealed, got, plain)
		}
	}
}

func TestRemovalsJoinOnlyWhereOneBlockCanSayBoth(t *testing.T) {
	one := removal{first: 10, count: 5, reason: 1, time: 7, when: 9}
	for name, c := range map[string]struct {
		next removal
		want removal // count 0: they do not join
	}{
		"the next":        {removal{first: 15, count: 2, reason: 1, time: 8, when: 3}, removal{first: 10, count: 7, reason: 1, time: 8, when: 9}},
		"another reason":  {removal{first: 15, count: 2, reason: 2}, removal{}},
		"a record behind": {removal{first: 16, count: 2, reason: 1}, removal{}},
		"as many as fit":  {removal{first: 15, count: math.MaxUint32 - 5, reason: 1}, removal{first: 10, count: math.MaxUint32, reason: 1, when: 9}},
		"one too many":    {removal{first: 15, count: math.MaxUint32 - 4, reason: 1}, removal{}},
	} {
		got := one
		if joined := got.joins(c.next); joined != (c.want.count > 0) || joined && got != c.want || !joined && got != one {
			t.Errorf("%s: got %+v, joined is %v, want %+v", name, got, joined, c.want)
		}
	}
}

func TestNobodyWithoutTheKeySaysThatARecordOfASealedLogWasRemoved(t *testing.T) {
	f := forge(t, Options{Sealing: fakeSealing{1}}, 5)
	f.head(2, func(h *block) {
		h.kind, h.commit, h.flags = kindRemoved, 99, flagLast|flagSettled
		h.plain = 1 // as it must be; the body fits it in no way
	})
	if records, damage, gaps := f.records(); records != 4 || damage == 0 || gaps > 0 {
		t.Errorf("got %d records, %d damaged places and %d gaps, want damage", records, damage, gaps)
	}
	report, err := Verify(f.dir, "orders", f.o)
	if err != nil || len(report.Damage) != 1 || report.Removed > 0 || report.Records != 4 {
		t.Errorf("verify: got %+v and %v, want damage", report, err)
	}
}

// TestAClosedFileThatIsMadeTheOpenOneGivesNoRemovedIndexAgain copies a rewritten
// segment by hand; its last records were removed. Where that is damaged nothing is cut.
func TestAClosedFileThatIsMadeTheOpenOneGivesNoRemovedIndexAgain(t *testing.T) {
	forKinds(t, func(t *testing.T, o Options) {
		path := t.TempDir()
		l := mustOpen(t, path, o)
		mustAppend(t, l, strings.Repeat("a", 270)) // so that the body of what follows in a plain log is in a sector of its own
		mustAppend(t, l, "b", "c", "d", "e", "f")
		if err := l.Roll(t.Context()); err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(l.all()[0].path)
		_, err := l.Rewrite(t.Context(), 1, func(i uint64, _ time.Time, _ []byte) uint8 { return min(uint8(i)-1, 1) })
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		b, err := os.ReadFile(filepath.Join(path, name))
		if err != nil {
			t.Fatal(err)
		}
		again := t.TempDir()
		file := filepath.Join(again, filepath.Base(l.seg.path))
		for _, harm := range []string{"", "a bit", "zeros"} {
			bad := bytes.Clone(b)
			switch harm {
			case "a bit":
				bad[len(bad)-3] ^= 1
			case "zeros": // as of a power cut
				clear(bad[len(bad)-8:])
			}
			if err := os.WriteFile(file, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			os.Remove(filepath.Join(again, "orders.idx"))
			l := mustOpen(t, again, o)
			if failed := l.Err() != nil; failed != (harm != "") {
				t.Errorf("%q: got %v", harm, l.Err())
			}
			if harm == "" {
				if got := mustAppend(t, l, "c"); got.First != 7 {
					t.Errorf("got index %d, want 7", got.First)
				}
			}
			l.Close()
			if now, _ := os.ReadFile(file); harm != "" && !bytes.Equal(now, bad) {
				t.Errorf("%q: a damaged file was written to", harm)
			}
		}
	})
}

// FuzzRemovedHeader wants any header with a good sum to be refused or to be within
// its limits, and what is taken to encode to the same bytes.
func FuzzRemovedHeader(f *testing.F) {
	r := removal{first: 3, count: 9, reason: 1, time: 5, when: 6}
	h := r.block()
	good, err := gapSegment(false).makeFrame(nil, &h, []byte{1}, 128)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[:blockHeader], []byte{1})
	f.Add(bytes.Repeat([]byte{0xFF}, blockHeader), []byte{})
	f.Add(make([]byte, blockHeader), []byte{0})
	f.Fuzz(func(t *testing.T, b, body []byte) {
		if reason, why := reasonOf(body); why == "" && (len(body) != 1 || reason != body[0] || reason == 0) {
			t.Fatalf("got reason %d of % x", reason, body)
		}
		if len(b) < blockHeader {
			return
		}
		b = bytes.Clone(b[:blockHeader])
		binary.LittleEndian.PutUint32(b[bhMagic:], blockMagic)
		binary.LittleEndian.PutUint32(b[bhConstant:], blockConstant)
		b[bhKind] = kindRemoved
		binary.LittleEndian.PutUint32(b[bhSum:], headerSum(b, 9))
		h, why, err := decodeBlock(b, 9)
		if why != "" || err != nil {
			return
		}
		if !h.isRemoved() || h.next() <= h.first || h.first > maxIndex || h.body > maxBody || h.plain != 1 || h.time < 1 || int64(h.commit) < 1 || !h.isStart() {
			t.Fatalf("got %+v", h)
		}
		again := make([]byte, blockHeader)
		if h.encode(again, 9); !bytes.Equal(again, b) {
			t.Fatalf("got % x, want % x", again, b)
		}
	})
}
