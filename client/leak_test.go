package client

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// goroutines returns the stacks of those that are busy with this package or with HTTP.
func goroutines() (stacks []string) {
	buf := make([]byte, 1<<20)
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(stack, "net/http") || strings.Contains(stack, "bus/client.") {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}

// eventually waits until a condition holds.
func eventually(t *testing.T, holds func() bool, what func() string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal(what())
		}
	}
}

// openServer is a real one that streams without end and counts its connections.
func openServer(t *testing.T) (url string, open *atomic.Int32) {
	t.Helper()
	open = &atomic.Int32{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := &stream{w, r}
		s.head()
		s.hello("c_1", 0)
		s.events(1, 2, 3)
		s.hold()
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	return server.URL, open
}

func TestALoopThatIsLeftLeavesNothingBehind(t *testing.T) {
	url, open := openServer(t)
	before := len(goroutines())
	for name, loop := range map[string]func(c *Client){
		"break": func(c *Client) {
			for range c.Get(t.Context(), WithSubject("app.>")) {
				break
			}
		},
		"limit": func(c *Client) {
			for range c.Get(t.Context(), WithSubject("app.>"), WithLimit(3)) {
			}
		},
		"cancelled within": func(c *Client) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			n := 0
			for _, err := range c.Get(ctx, WithSubject("app.>")) {
				if n++; err != nil {
					t.Errorf("got %v, want no error", err)
				}
				cancel()
			}
			if n != 1 {
				t.Errorf("got %d events after the cancel, want none", n-1)
			}
		},
		"cancelled while it waits": func(c *Client) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			for e, err := range c.Get(ctx, WithSubject("app.>")) {
				if err != nil {
					t.Errorf("got %v, want no error", err)
				} else if e.Index == 3 {
					time.AfterFunc(10*time.Millisecond, cancel)
				}
			}
		},
		"panic": func(c *Client) {
			defer func() { _ = recover() }()
			for range c.Get(t.Context(), WithSubject("app.>")) {
				panic("out of the loop")
			}
		},
		"never begun": func(c *Client) { c.Get(t.Context(), WithSubject("app.>")) },
	} {
		c := NewClient(url)
		for range 5 {
			loop(c)
		}
		eventually(t, func() bool { return open.Load() == 0 && len(goroutines()) <= before }, func() string {
			return fmt.Sprintf("%s: got %d connections and %d goroutines, want 0 and %d\n%s",
				name, open.Load(), len(goroutines()), before, strings.Join(goroutines(), "\n\n"))
		})
	}
}

func TestACancelledLoopEndsWithoutAnErrorWhateverItWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, answer := range map[string]func(n int, w http.ResponseWriter, r *http.Request){
			"an answer":     func(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			"the next try":  func(_ int, w http.ResponseWriter, _ *http.Request) { problem(w, 503, "unavailable", "later") },
			"an event":      onlyStream(func(_ int, s *stream) { s.hold() }),
			"rest of a one": onlyStream(func(_ int, s *stream) { s.send("data: {"); s.hold() }),
		} {
			s := newWire(t, answer)
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Second)
			began := time.Now()
			for e, err := range s.client.Get(ctx, WithSubject("app.>")) {
				t.Errorf("%s: got %v, %v, want nothing", name, e, err)
			}
			if got, want := time.Since(began), 100*time.Second; got != want {
				t.Errorf("%s: ended after %v, want %v", name, got, want)
			}
			cancel()
		}
	})
}

func onlyStream(script func(n int, s *stream)) func(int, http.ResponseWriter, *http.Request) {
	return func(n int, w http.ResponseWriter, r *http.Request) {
		s := &stream{w, r}
		s.head()
		script(n, s)
	}
}

func TestACancelledContextEndsALoopBeforeItBegins(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for e, err := range NewClient("http://127.0.0.1:1").Get(ctx, WithSubject("app.>")) {
		t.Errorf("got %v, %v, want nothing", e, err)
	}
}
