package main

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
)

// between is a proxy before a server, which calls a function before each publish.
func between(t *testing.T, b *testBus, before func(r *http.Request)) string {
	t.Helper()
	to, err := url.Parse(b.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.FlushInterval = -1
	proxy.Transport = &http.Transport{}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			before(r)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		web.CloseClientConnections()
		web.Close()
		proxy.Transport.(*http.Transport).CloseIdleConnections()
	})
	return web.URL
}

func TestAMirrorThatIsToEndCountsWhatItWasWriting(t *testing.T) {
	a, b := openTestBus(t, t.TempDir(), ""), openTestBus(t, t.TempDir(), "")
	a.put("app.x")
	writing, goOn := make(chan bool), make(chan bool)
	to := between(t, b, func(*http.Request) { writing <- true; <-goOn })
	m := startMirror(t, "--from", a.url, "--to", to, "--namespaces", "app")
	<-writing
	m.stop()
	close(goOn)
	m.exit(exitOK, "copied 1 event, skipped 0")
	if got := len(inDirectory(t, b.dir)); got != 1 {
		t.Errorf("got %d events, want 1", got)
	}
}
