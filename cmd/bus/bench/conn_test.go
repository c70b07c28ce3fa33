package bench

import (
	"bufio"
	"strings"
	"testing"
)

func answerOf(text string) (string, error) {
	c := conn{in: bufio.NewReader(strings.NewReader(text))}
	body, err := c.answer()
	return string(body), err
}

func TestAnAnswerIsReadToItsEndOrRefused(t *testing.T) {
	for _, c := range []struct {
		name, text, want string
		refused          string
	}{
		{name: "with a length", text: "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok", want: "ok"},
		{name: "in chunks", text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", want: "abcde"},
		{name: "without a body", text: "HTTP/1.1 204 No Content\r\n\r\n", want: ""},
		{name: "a refusal", text: "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nfull", refused: "got 503 full"},
		{name: "cut", text: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", refused: "EOF"},
		{name: "a negative length", text: "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", refused: "wanted at most"},
		{name: "more than there can be", text: "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", refused: "wanted at most"},
		{name: "a chunk of more than there can be", text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n", refused: "over"},
		{name: "no status", text: "hello\r\n\r\n", refused: "status line"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := answerOf(c.text)
			if c.refused == "" && (err != nil || got != c.want) || c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)) {
				t.Errorf("got %q %v, want %q%s", got, err, c.want, c.refused)
			}
		})
	}
}

func FuzzNoAnswerOfAServerStopsTheBench(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n[{\"index\":12}]")
	f.Fuzz(func(t *testing.T, text string) {
		body, err := answerOf(text)
		if err != nil {
			return
		}
		if len(body) > len(text) {
			t.Errorf("got a body of %d bytes from %d", len(body), len(text))
		}
		n := 0
		err = indexes([]byte(body), func(uint64) error { n++; return nil })
		if err == nil && n == 0 {
			t.Errorf("got no index and no error from %q", body)
		}
	})
}

func FuzzNoStreamOfAServerStopsTheBench(f *testing.F) {
	f.Add([]byte("event: msg\ndata: {\"index\":1}\n\nevent: msg\ndata: {\"index\":2}\n\n"), uint8(3))
	f.Fuzz(func(t *testing.T, data []byte, cut uint8) {
		b := &stream{subscriber: counting(), near: true}
		at := min(int(cut), len(data))
		if b.take(data[:at]) == nil && b.take(data[at:]) == nil && b.count.Load() > int64(len(data)) {
			t.Errorf("got %d events in %d bytes", b.count.Load(), len(data))
		}
	})
}
