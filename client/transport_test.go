package client

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestACertificateThatIsRefusedEndsTheLoopAndIsNotTriedAgain(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Error("the request was sent")
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	for _, url := range []string{server.URL, strings.Replace(plain.URL, "http:", "https:", 1)} {
		n := 0
		for e, err := range NewClient(url).Get(t.Context(), WithSubject("app.x")) {
			if n++; e != nil || err == nil {
				t.Errorf("got %v, %v, want an error", e, err)
			}
		}
		if n != 1 {
			t.Errorf("%s: got %d errors, want 1", url, n)
		}
		if err := NewClient(url).Put(t.Context(), WithSubject("app.x"), WithKey("k")).Error(); err == nil {
			t.Error("put: got no error")
		}
	}
}

func TestAStreamOverHTTP2IsReadAndLeft(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("protocol: got %s, want HTTP/2", r.Proto)
		}
		s := &stream{w, r}
		s.head()
		s.events(1, 2, 3)
		s.hold()
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close() // waits until every stream has been let go
	transport := newTransport().(*http.Transport)
	transport.TLSClientConfig = &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	s := &wire{t: t, client: NewClient(server.URL, WithHTTPClient(&http.Client{Transport: transport}))}
	if got, want := collect(s, WithLimit(3)), indexes(1, 3); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAClientsTimeLimitDoesNotEndItsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(t, func(_ int, s *stream) {
			s.events(1)
			s.idle(10 * defaultHeartbeat)
			s.events(2)
			s.hold()
		})
		h := *s.client.http
		h.Timeout = time.Second
		s.client = NewClient("http://bus.test", WithHTTPClient(&h))
		if got, want := collect(s, WithLimit(2)), indexes(1, 2); !slices.Equal(got, want) || len(s.seen()) != 1 {
			t.Errorf("got %q over %d connections, want %q over 1", got, len(s.seen()), want)
		}
		if h.Timeout != time.Second {
			t.Error("the program's own http.Client was changed")
		}
	})
}

func TestOneClientServesManyGoroutines(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			s := &stream{w, r}
			s.head()
			s.hello("c_1", 0)
			s.events(1, 2, 3)
			s.hold()
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		accept(0, w, r)
	}))
	defer server.Close()
	c := NewClient(server.URL)
	defer c.CloseIdleConnections()
	subject := WithSubject("app.x") // options may be shared as well
	data := WithData("shared")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if err := c.Put(t.Context(), subject, data).Error(); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for e, err := range c.Get(t.Context(), subject, WithLimit(3)) {
				if err != nil {
					t.Error(err)
					continue
				}
				if err := e.Ack(t.Context(), data); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestAPathInTheURLIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var path string
		s := newWire(t, func(n int, w http.ResponseWriter, r *http.Request) {
			path = r.URL.Path
			accept(n, w, r)
		})
		c := NewClient("http://bus.test/behind/proxy", WithHTTPClient(s.client.http), WithHTTPClient(nil), WithLogger(nil), WithMaxEvent(0))
		if err := c.Put(t.Context(), WithSubject("app.x")).Error(); err != nil {
			t.Fatal(err)
		}
		if want := "/behind/proxy/"; path != want {
			t.Errorf("path: got %s, want %s", path, want)
		}
	})
}

// FuzzAnyStream gives a loop whatever a server might send. What it yields must be an event or
// an error, and never both.
func FuzzAnyStream(f *testing.F) {
	f.Add([]byte("event: hello\ndata: {\"consumer_id\":\"c\",\"heartbeat\":\"1ns\",\"tail\":{\"app\":1}}\n\nevent: msg\ndata: {\"id\":\"e\",\"subject\":\"app.x\",\"index\":1}\n\n"))
	f.Add([]byte("event: problem\ndata: {\"title\":\"\",\"code\":\"\"}\n\nevent: problem\ndata: null\n\nevent: msg\ndata: {}\n\n"))
	f.Add([]byte("event: gap\ndata: {\"lost\":-1}\n\nevent: problem\ndata: {}\n\nevent: msg\ndata: null\n\n"))
	c := NewClient("http://bus.test")
	f.Fuzz(func(t *testing.T, text []byte) {
		var last *Event
		s := &subscription{client: c, req: newGetRequest([]GetOption{WithSubject("app.x"), WithUntilNewest()}), seen: map[string]uint64{},
			yield: func(e *Event, err error) bool {
				if (e == nil) == (err == nil) || e != nil && e == last {
					t.Errorf("yielded %v, %v", e, err)
				}
				last = e
				if err != nil && err.Error() == "" {
					t.Error("an error without a text")
				}
				return true
			}}
		k := &connection{subscription: s, frames: newSSEReader(&chunks{data: text, size: 7}, 1000), body: &watchedBody{}}
		if err := k.read(t.Context()); err == nil {
			t.Error("got no reason for the end")
		}
	})
}

func BenchmarkReadMessage(b *testing.B) {
	c := NewClient("http://bus.test")
	data := fmt.Appendf(nil, `{"id":"e_abcdef12345","subject":"app.users.created","index":12345,"created_at":"2026-01-31T12:00:00.123456789Z","payload":{"text":%q}}`, strings.Repeat("x", 500))
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if e, err := c.readEvent(data, "c_1"); err != nil || e.Index != 12345 {
			b.Fatal(err)
		}
	}
}
