package server

import (
	"context"
	"net"
	"net/http"
	"testing"
)

// Whoever makes a child of a request's context leaves a goroutine behind that
// asks the parent for its Err once Done is closed: that must not be nil then, or
// package context panics, outside of any request, and the process is gone.
func TestARequestsContextStaysEndedWhenTheNextRequestBegins(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	var seen []context.Context
	s := &Server{http: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, before := range seen {
			select {
			case <-before.Done():
			default:
				t.Error("the context of a request before is not done")
			}
			if before.Err() == nil {
				t.Error("the context of a request before has no error")
			}
		}
		if r.Context().Err() != nil {
			t.Errorf("got %v during the request", r.Context().Err())
		}
		if len(seen)%2 == 0 { // some ask only when it is over
			_, cancel := context.WithCancel(r.Context())
			defer cancel()
		}
		seen = append(seen, r.Context())
	})}}
	c := newPlainConn(s, &gateConn{Conn: theirs}, &plainDoor{peers: &plainPeers{server: s}})
	h, ok := parsePlainHead([]byte("POST / HTTP/1.1\r\nHost: bus\r\nContent-Length: 2\r\n"))
	if !ok {
		t.Fatal("the head is not plain")
	}
	c.like = h.request()
	go func() {
		var b [4096]byte
		for {
			if _, err := ours.Read(b[:]); err != nil {
				return
			}
		}
	}()
	for range 6 {
		if !c.respond(0) {
			t.Fatal("the connection ended")
		}
	}
	if len(seen) != 6 {
		t.Errorf("got %d requests, want 6", len(seen))
	}
}

func TestAnIdleConnectionKeepsNothingOfALargeAnswer(t *testing.T) {
	var a plainAnswer
	a.header = make(http.Header)
	a.begin()
	a.Write(make([]byte, 2*plainRoom))
	a.bytes(false)
	a.rest()
	if cap(a.body)+cap(a.out) > plainRoom {
		t.Errorf("got %d and %d bytes kept, want at most %d", cap(a.body), cap(a.out), plainRoom)
	}
}

// A second length, or one that is not that of the body, would let somebody take a
// part of the answer for the next one.
func TestAHandlerCannotGiveAnAnswerAnotherLength(t *testing.T) {
	var a plainAnswer
	a.header = make(http.Header)
	a.begin()
	a.Header().Set("Content-Length", "100")
	a.Header().Set("Transfer-Encoding", "chunked")
	a.Header().Set("Date", "never")
	a.WriteHeader(http.StatusEarlyHints)
	a.WriteHeader(http.StatusAccepted)
	a.Write([]byte("{}"))
	out, _ := a.bytes(false)
	date := a.appendDate(nil)
	want := "HTTP/1.1 202 Accepted\r\nContent-Type: text/plain; charset=utf-8\r\n" + string(date) + "Content-Length: 2\r\n\r\n{}"
	if string(out) != want {
		t.Errorf("got %q, want %q", out, want)
	}
}
