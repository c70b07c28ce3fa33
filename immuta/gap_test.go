package immuta

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"
)

func gapSegment(sealed bool) *segment {
	s := &segment{seed: 7, path: "orders.log"}
	if sealed {
		sealer, err := fakeSealing{1}.Segment([32]byte{}, [16]byte{1}, "orders", "log", 1)
		if err != nil {
			panic(err) // of a test's own making
		}
		s.sealed, s.sealer = true, sealer
	}
	return s
}

// TestAGapFrameSaysWhatTheDocumentSays reads the bytes where FORMAT.md has them.
func TestAGapFrameSaysWhatTheDocumentSays(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		s := gapSegment(sealed)
		for _, name := range []string{"orders.damaged-1024", strings.Repeat("x", 200)} {
			g := gap{offset: 1024, size: 240, from: 70, next: 73, atMost: true, time: 5, saved: name}
			frame, err := s.gapFrame(g, 99)
			if err != nil || len(frame) != 240 {
				t.Fatalf("got %d bytes and %v, want 240", len(frame), err)
			}
			le := binary.LittleEndian
			for field, got := range map[string]uint64{
				"flags": uint64(frame[bhFlags] ^ (flagLast | flagSettled | flagAtMost)), "count": uint64(le.Uint32(frame[bhCount:])) - 3,
				"first": le.Uint64(frame[bhFirst:]) - 70, "commit": le.Uint64(frame[bhCommit:]) - 99, "time": le.Uint64(frame[bhTime:]) - 5,
			} {
				if got != 0 {
					t.Errorf("%s is off by %d", field, int64(got))
				}
			}
			h, body, bad, err := s.frameAt(&window{file: bytes.NewReader(append(make([]byte, 1024), frame...)), step: chunk}, 1024, 1264)
			if bad != nil || err != nil {
				t.Fatalf("it does not read: %v, %v", bad, err)
			}
			plain, why := s.plain(nil, &h, body, 1024)
			want := name
			if len(name) > len(plain) {
				want = ""
			}
			if got := s.gapError(&h, plain, 1024, 71); why != "" || got.From != 71 || got.Next != 73 || !got.AtMost || got.Saved != want {
				t.Errorf("sealed %v: got %+v and %q, want 71 to 73 in %q", sealed, got, why, want)
			}
		}
	}
}

func TestAGapOfAnySizeIsCutIntoFramesThatCoverItExactly(t *testing.T) {
	const most = blockHeader + maxBody
	for _, sealed := range []bool{false, true} {
		s := gapSegment(sealed)
		for _, size := range []int64{s.leastGap(), s.leastGap() + 8, most, most + 8, most + s.leastGap(), 2*most - 8, 2*most + 8} {
			pieces, err := s.pieces(gap{offset: 128, size: size, from: 10, next: 20})
			at, next := int64(128), uint64(10)
			for _, p := range pieces {
				if p.offset != at || p.size < s.leastGap() || p.size > most || p.size%alignment != 0 || p.from != next {
					t.Fatalf("size %d: got piece %+v at %d", size, p, at)
				}
				at, next = at+p.size, p.next
			}
			if err != nil || at != 128+size || next != 20 {
				t.Fatalf("size %d: got an end at %d, index %d and %v", size, at, next, err)
			}
		}
		if _, err := s.pieces(gap{size: s.leastGap() - 8, from: 1, next: 2}); err == nil {
			t.Error("a gap without room for its header was made")
		}
		if _, err := s.pieces(gap{size: s.leastGap(), from: 1, next: math.MaxUint32 + 3}); err == nil {
			t.Error("a gap that says less than is lost was made")
		}
	}
}

// TestNoBlockHoldsMoreRecordsThanAreGivenUpForItsBytes is what an index that
// was answered is safe by.
func TestNoBlockHoldsMoreRecordsThanAreGivenUpForItsBytes(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		s := gapSegment(sealed)
		for _, n := range []int{1, 2, 7, 1000, maxCount - 1, maxCount, maxCount + 1, 3 * maxCount} {
			size := int64(0)
			for left := n; left > 0; left -= min(left, maxCount) {
				size += blockHeader + int64(padded(s.bodySize(min(left, maxCount)))) // empty records: a byte each
			}
			if got := s.mostRecords(size); got < uint64(n) {
				t.Errorf("sealed %v: %d bytes that hold %d records are taken for at most %d", sealed, size, n, got)
			}
		}
		if got := s.mostRecords(8); got != 0 {
			t.Errorf("8 bytes are taken for %d records", got)
		}
	}
}

// FuzzGapHeader wants any header with a good sum to be refused or to be within
// its limits, and what is taken to encode to the same bytes.
func FuzzGapHeader(f *testing.F) {
	good, err := gapSegment(false).gapFrame(gap{offset: 128, size: 64, from: 1, next: 3, time: 1, saved: "x"}, 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[:blockHeader])
	f.Add(bytes.Repeat([]byte{0xFF}, blockHeader))
	f.Add(make([]byte, blockHeader))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < blockHeader {
			return
		}
		b = bytes.Clone(b[:blockHeader])
		binary.LittleEndian.PutUint32(b[bhMagic:], blockMagic)
		binary.LittleEndian.PutUint32(b[bhConstant:], blockConstant)
		b[bhKind] = kindGap
		binary.LittleEndian.PutUint32(b[bhSum:], headerSum(b, 9))
		h, why, err := decodeBlock(b, 9)
		if why != "" || err != nil {
			return
		}
		if !h.isGap() || h.next() < h.first || h.first > maxIndex || h.body > maxBody || h.plain > h.body || h.time < 1 || int64(h.commit) < 1 || !h.isStart() {
			t.Fatalf("got %+v", h)
		}
		again := make([]byte, blockHeader)
		if h.encode(again, 9); !bytes.Equal(again, b) {
			t.Fatalf("got % x, want % x", again, b)
		}
	})
}
