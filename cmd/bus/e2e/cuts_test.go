//go:build e2e

package e2e

import (
	"net/url"
	"testing"
)

// How many events are there before a subscriber comes, and how many new ones it
// must have seen on each connection.
const (
	historyEvents = 150
	liveEvents    = 15
)

// streamURL is where a subscriber reads the whole of a feed.
func streamURL(s *server, f *feed) string {
	return s.url() + "/?start=oldest&subject=" + url.QueryEscape(f.subject)
}

// throughCuts feeds a subscriber that has just been started: history, live
// events, a kill -9 of the server, its restart, a clean stop, its restart. The
// publisher never pauses. It returns how many events there are when the
// subscriber has seen them all.
func throughCuts(t *testing.T, s *server, f *feed, seen *sightings) int64 {
	t.Helper()
	seen.reach(t, historyEvents)
	f.start()
	seen.reach(t, historyEvents+liveEvents)
	s.kill()
	s.start()
	// What the new process accepts can only be seen on a new connection.
	seen.reach(t, f.accepted.Load()+liveEvents)
	s.stop()
	s.start()
	seen.reach(t, f.accepted.Load()+liveEvents)
	total := f.finish()
	seen.reach(t, total)
	return total
}

// setUp starts a server with a history, and what judges a subscriber of it.
func setUp(t *testing.T) (*server, *feed, *sightings) {
	t.Helper()
	s := startServer(t, "orders")
	f := newFeed(t, s, "orders.created")
	f.history(historyEvents)
	return s, f, newSightings(t)
}
