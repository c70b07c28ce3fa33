package server

import (
	"time"

	"example.com/bus/server/delivery"
)

// tendEvery is how late an event may become a dead letter that has had its last
// attempt with a pull that is gone, unless there are very many.
const tendEvery = time.Second

// tend sees to the consumers that nobody is connected to, until the server ends. It
// begins with the first one.
func (c *consumers) tend() {
	c.every(tendEvery, func() {
		for _, live := range c.live() {
			_ = live.Tend() // said by who could not write it; the next one tries again
		}
	})
}

// every calls do again and again until the server ends.
func (c *consumers) every(d time.Duration, do func()) {
	ticker := time.NewTicker(d)
	defer ticker.Stop()
	for {
		select {
		case <-c.server.drained.Done():
			return
		case <-ticker.C:
			do()
		}
	}
}

func (c *consumers) live() (all []*delivery.Consumer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.known {
		if k.live != nil {
			all = append(all, k.live)
		}
	}
	return all
}
