package delivery

import "maps"

func (h *Hub) feed(namespace string) *feed { return (*h.feeds.Load())[namespace] }

// Add lets streams be opened on a namespace. One that is there is left alone.
func (h *Hub) Add(namespace string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.feed(namespace) != nil {
		return
	}
	feeds := maps.Clone(*h.feeds.Load())
	feeds[namespace] = newFeed(h, namespace)
	h.feeds.Store(&feeds)
}

// Drop ends all streams and named consumers of a namespace with err, and lets no
// more be opened. It does not wait for them. A second call does nothing.
func (h *Hub) Drop(namespace string, err error) {
	h.mu.Lock()
	feeds := maps.Clone(*h.feeds.Load())
	delete(feeds, namespace)
	h.feeds.Store(&feeds)
	var streams []*Stream
	for s := range h.streams {
		for _, c := range s.cursors {
			if c.feed.namespace == namespace && s.consumer == nil {
				streams = append(streams, s)
			}
		}
	}
	h.mu.Unlock()
	for _, c := range h.Consumers(namespace) {
		h.Forget(c, err, func() error { return nil }) // what was written of it goes with the namespace
	}
	for _, s := range streams {
		s.finish(err)
	}
}
