//go:build e2e

package e2e

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"testing"
)

// chromium finds the browser. Debian's is called chromium.
func chromium(t *testing.T) string {
	t.Helper()
	return tool(t, "chromium", "chromium-browser", "google-chrome")
}

func TestPageOfAnotherOriginSeesEveryEventOnceInOrder(t *testing.T) {
	t.Parallel()
	s, f, seen := setUp(t)
	openPage(t, seen, foreignPage(t, s.url(), f, "none"))
	seen.wantOnceInOrder(t, throughCuts(t, s, f, seen))
}

func TestPageOfTheSameOriginSeesEveryEventOnceInOrder(t *testing.T) {
	t.Parallel()
	s, f, seen := setUp(t)
	// The bus serves no files. The browser is told what it finds there.
	openPage(t, seen, s.url()+"/reader.html?"+pageQuery(f, "none").Encode(), filepath.Join("pages", "reader.html"))
	seen.wantOnceInOrder(t, throughCuts(t, s, f, seen))
}

func TestPageAcknowledgesEveryEventWithWhatHelloSaid(t *testing.T) {
	t.Parallel()
	s, f, seen := setUp(t)
	openPage(t, seen, foreignPage(t, s.url(), f, "manual"))
	total := throughCuts(t, s, f, seen)
	seen.reachAcked(t, total)
	seen.wantAllAcked(t, total)
}

// foreignPage serves the page from an origin that is not the bus's.
func foreignPage(t *testing.T, bus string, f *feed, ack string) string {
	t.Helper()
	site := httptest.NewServer(http.FileServer(http.Dir("pages")))
	t.Cleanup(site.Close)
	query := pageQuery(f, ack)
	query.Set("bus", bus)
	return site.URL + "/reader.html?" + query.Encode()
}

func pageQuery(f *feed, ack string) url.Values {
	query := url.Values{"subject": {f.subject}, "start": {"oldest"}}
	if ack != "none" {
		query.Set("ack", ack)
	}
	return url.Values{"query": {query.Encode()}}
}

// openPage opens a page in a browser of its own, for as long as the test lasts.
func openPage(t *testing.T, seen *sightings, args ...string) {
	t.Helper()
	args = append([]string{filepath.Join("peers", "page.mjs"), chromium(t)}, args...)
	launch(t, command{name: node(t), args: args, stdout: seen.line})
}
