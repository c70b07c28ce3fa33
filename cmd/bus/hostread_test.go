package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/bus"
	"example.com/bus/client"
)

// expiring publishes an event that nobody is given any more.
func (b *testBus) expiring(subject string) {
	b.t.Helper()
	if err := b.client.Put(b.t.Context(), client.WithSubject(subject), client.WithExpiresAt(time.Now().Add(-time.Hour))).Error(); err != nil {
		b.t.Fatal(err)
	}
}

// inDirectory returns what stands in a log, whether it is delivered or not.
func inDirectory(t *testing.T, dir string) (events []bus.Event) {
	t.Helper()
	src, err := openSource(dir, nil, &damages{talk: &talk{}})
	if err != nil {
		t.Fatal(err)
	}
	defer src.close()
	err = src.read(t.Context(), wanted{namespace: "app"}, func(some []bus.Event) error { events = append(events, some...); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func TestWhatNobodyIsGivenAnyMoreIsCopiedFromAServerAsWell(t *testing.T) {
	a := openTestBus(t, t.TempDir(), "")
	for _, put := range []func(...string){func(s ...string) { a.expiring(s[0]) }, a.put, func(s ...string) { a.expiring(s[0]) }, a.put, func(s ...string) { a.expiring(s[0]) }} {
		put("app.x")
	}
	to := filepath.Join(t.TempDir(), "copy")
	for _, want := range []string{"copied 5 events, skipped 0", "copied 0 events, skipped 5"} {
		var said strings.Builder
		if code := run([]string{"bus", "copy", "--from", a.url, "--to", to}, nil, nil, &said); code != exitOK || !strings.Contains(said.String(), want) {
			t.Fatalf("got exit code %d and %s, want %s", code, said.String(), want)
		}
	}
	wantMirrored(t, inDirectory(t, to), inDirectory(t, a.dir))
}

func TestAMirrorOfAServerHasWhatNobodyIsGivenAnyMore(t *testing.T) {
	a, b := openTestBus(t, t.TempDir(), ""), openTestBus(t, t.TempDir(), "")
	a.expiring("app.x")
	a.put("app.x")
	for n := 2; n < 8; n += 3 {
		m := startMirror(t, "--from", a.url, "--to", b.url, "--namespaces", "app")
		m.says(fmt.Sprintf(`"msg":"in step","namespace":"app","index":%d`, n))
		a.expiring("app.x")
		a.put("app.x")
		a.expiring("app.x") // the last one: no event behind it shows that it is there
		m.said.until(t, b.url, n+3)
		m.end(exitOK)
	}
	wantMirrored(t, inDirectory(t, b.dir), inDirectory(t, a.dir))
}

// A server says 410 of an event that was removed on purpose.
func TestAnEventThatIsGoneIsNoHoleOfACopy(t *testing.T) {
	a := openTestBus(t, t.TempDir(), "")
	a.put("app.x", "app.x")
	a.expiring("app.x") // the stream passes over it
	a.put("app.x")
	to, err := url.Parse(a.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/namespaces/app/events/3" {
			w.WriteHeader(http.StatusGone)
			io.WriteString(w, `{"code":"event_removed","status":410}`)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	defer web.Close()
	copied := filepath.Join(t.TempDir(), "copy")
	var said strings.Builder
	if code := run([]string{"bus", "copy", "--from", web.URL, "--to", copied}, nil, nil, &said); code != exitOK || !strings.Contains(said.String(), "copied 3 events, skipped 0") {
		t.Errorf("got exit code %d and %s, want 3 events", code, said.String())
	}
}
