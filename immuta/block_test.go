package immuta

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestNoWordOfABlockHeaderIsEverZero(t *testing.T) {
	for _, h := range []block{
		{kind: kindRecords, body: 1, count: 1, first: 1, commit: 1, time: 1, plain: 1},
		{kind: kindRecords, flags: flagLast | flagSettled, body: maxBody, count: maxCount, first: maxIndex, commit: maxIndex, time: 1 << 62, plain: maxCount},
	} {
		var b [blockHeader]byte
		h.encode(b[:], 99)
		for at := 0; at < blockHeader; at += 8 {
			if allZero(b[at : at+8]) {
				t.Errorf("%+v: the word at %d is zero", h, at)
			}
		}
		if got, why, err := decodeBlock(b[:], 99); why != "" || err != nil || got != h {
			t.Errorf("got %+v, %q, %v, want %+v", got, why, err, h)
		}
	}
}

func TestABlockIsGoodInItsPlaceOnly(t *testing.T) {
	h := block{kind: kindRecords, body: 1, count: 1, first: 1, commit: 1, time: 1, plain: 1}
	var b [blockHeader]byte
	h.encode(b[:], seedAt(7, 128))
	for _, seed := range []uint32{seedAt(7, 136), seedAt(8, 128)} {
		if _, why, _ := decodeBlock(b[:], seed); why == "" {
			t.Error("a block of another place or file was taken")
		}
	}
}

func TestWhatANewerVersionWritesIsNotCalledDamage(t *testing.T) {
	for name, h := range map[string]block{
		"kind": {kind: 4, body: 1, count: 1, first: 1, commit: 1, time: 1, plain: 1},
		"flag": {kind: kindRecords, flags: flagPacked, body: 1, count: 1, first: 1, commit: 1, time: 1, plain: 1},
	} {
		var b [blockHeader]byte
		h.encode(b[:], 5)
		if _, why, err := decodeBlock(b[:], 5); why != "" || !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: got %q and %v, want ErrUnsupported", name, why, err)
		}
	}
	file := (&header{first: 1}).encode()
	file[fhVersion] = 2
	putSum(file)
	if _, err := decodeHeader(file); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "log format 2") {
		t.Errorf("got %v, want ErrUnsupported that names format 2", err)
	}
}

// putSum makes a changed file header's checksum good.
func putSum(b []byte) {
	sum := checksum(b[:fhSum])
	for i := range 4 {
		b[fhSum+i] = byte(sum >> (8 * i))
	}
}

func TestASumThatIsOffByOneBitIsToldFromOthers(t *testing.T) {
	b := bytes.Repeat([]byte("some bytes "), 30)
	sum := checksum(b)
	for bit := range len(b) * 8 {
		b[bit/8] ^= 1 << (bit % 8)
		if at, ok := oneBitOff(checksum(b)^sum, len(b)); !ok || at != bit/8 {
			t.Fatalf("bit %d was not told", bit)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
	clear(b[100:200])
	if _, ok := oneBitOff(checksum(b)^sum, len(b)); ok {
		t.Fatal("100 zeros were taken for one bit")
	}
}

func TestZeroPiecesAreCutWhereTheFilesSectorsEnd(t *testing.T) {
	frame := make([]byte, 1024)
	frame[0] = 1
	for _, c := range []struct {
		offset int64
		want   int
	}{{0, 1}, {8, 2}, {504, 2}, {512, 1}} {
		if got := zeroPieces(frame, c.offset); got != c.want {
			t.Errorf("at %d: got %d, want %d", c.offset, got, c.want)
		}
	}
}

// FuzzBlock wants what decodes to encode to the same bytes, and to be in bounds.
func FuzzBlock(f *testing.F) {
	h := block{kind: kindRecords, flags: flagLast, body: 3, count: 1, first: 9, commit: 9, time: 77, plain: 3}
	var b [blockHeader]byte
	h.encode(b[:], 1)
	f.Add(b[:], []byte("\x02ab"), uint32(1))
	f.Add(b[:], []byte("\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), uint32(3))
	f.Fuzz(func(t *testing.T, head, body []byte, count uint32) {
		if len(head) >= blockHeader {
			h, why, err := decodeBlock(head, 1)
			var again [blockHeader]byte
			h.encode(again[:], 1)
			if why == "" && err == nil && !bytes.Equal(again[:], head[:blockHeader]) {
				t.Fatalf("got %x, want %x", again, head[:blockHeader])
			}
		}
		records, why := splitRecords(nil, body, count%maxCount)
		if why != "" {
			return
		}
		var again []byte
		for _, r := range records {
			again = appendRecord(again, r)
		}
		if len(again) > len(body) {
			t.Fatalf("%d bytes of records were read from %d", len(again), len(body))
		}
	})
}
