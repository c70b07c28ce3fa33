package bench

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httputil"
	"testing"
)

// chunked is a body in chunks of those sizes, in turn.
func chunked(body []byte, sizes []byte) []byte {
	var b bytes.Buffer
	for i := 0; len(body) > 0; i++ {
		n := 1
		if len(sizes) > 0 {
			n = int(sizes[i%len(sizes)])%300 + 1
		}
		n = min(n, len(body))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	b.WriteString("0\r\n\r\n")
	return b.Bytes()
}

// unchunk feeds text in pieces of a size.
func unchunk(text []byte, piece int) ([]byte, error) {
	var c chunks
	var got []byte
	for len(text) > 0 {
		n := min(piece, len(text))
		if err := c.feed(text[:n], func(part []byte) error { got = append(got, part...); return nil }); err != nil {
			return got, err
		}
		text = text[n:]
	}
	return got, nil
}

func FuzzChunksAreReadAsTheStandardLibraryReadsThem(f *testing.F) {
	f.Add([]byte("event: msg\ndata: {}\n\n"), []byte{3, 200, 1}, uint8(1))
	f.Add([]byte("\r\n0\r\n\r\n"), []byte{}, uint8(7))
	f.Add([]byte{}, []byte{1}, uint8(255))
	f.Fuzz(func(t *testing.T, body, sizes []byte, piece uint8) {
		text := chunked(body, sizes)
		want, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(text)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := unchunk(text, int(piece)+1)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("got %q %v, want %q", got, err, want)
		}
	})
}

func FuzzBytesThatAreNoChunksAreAnErrorOrTheSameBody(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\n"), uint8(1))
	f.Add([]byte("5;x=y\r\nhello\r\n"), uint8(2))
	f.Add([]byte("fffffffffffffffff\r\n"), uint8(3))
	f.Add([]byte("0\r\n\n1\r\n0"), uint8(5))
	f.Fuzz(func(t *testing.T, text []byte, piece uint8) {
		want, refused := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(text)))
		got, err := unchunk(text, int(piece)+1)
		if refused == nil && err == nil && !bytes.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestFramesAreCountedTheSameHoweverTheyAreCut(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		text := make([]byte, random.IntN(24))
		for i := range text {
			text[i] = "\n\n\na"[random.IntN(4)]
		}
		want := bytes.Count(text, frameEnd)
		for first := range len(text) + 1 {
			for second := first; second <= len(text); second++ {
				got, rest := 0, []byte(nil)
				for _, part := range [][]byte{text[:first], text[first:second], text[second:]} {
					var n int
					n, rest = countFrames(rest, part)
					got += n
				}
				if got != want {
					t.Fatalf("%q cut at %d and %d: got %d frames, want %d", text, first, second, got, want)
				}
			}
		}
	}
}

func TestWhatIsNoChunkIsRefused(t *testing.T) {
	for _, text := range []string{"x\r\n", "\r\n", "5\n", "5\r\nhelloX", "1\r\na\n", "1\r\na\r\r", "fffffffff\r\n", "-1\r\n", "0\r\n\n", "0\r\na: b\r\n", "0\r\n\r\n1"} {
		if got, err := unchunk([]byte(text), 1); err == nil {
			t.Errorf("%q: got %q, want an error", text, got)
		}
	}
}
