package server

import (
	"net"
	"net/netip"
	"sync"

	"example.com/bus"
)

// streamCount bounds the streams that are open at once, over all and for each
// client address, so that one client cannot take what is there for everybody.
type streamCount struct {
	most       int // 0: no limit
	mostByAddr int // 0: no limit

	mu     sync.Mutex // guards the rest
	open   int
	byAddr map[netip.Prefix]int // addresses with a stream, no others
}

// clientOf is who counts as one client: an IPv4 address, or the /64 of an IPv6
// address, which one machine has all of. ok is false for what is no address.
func clientOf(remote string) (client netip.Prefix, ok bool) {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return client, false
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return client, false
	}
	addr = addr.Unmap().WithZone("")
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	client, err = addr.Prefix(bits)
	return client, err == nil
}

// enter counts a stream in, or says which limit it is over, by name too. leave
// must be called once.
func (c *streamCount) enter(remote string) (leave func(), limit string, err error) {
	client, known := clientOf(remote)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.most > 0 && c.open >= c.most {
		return nil, limitStreams, bus.ErrServerFull.With("%d streams are open, which is all there may be; come back in a moment, or allow more with bus server --max-streams", c.most)
	}
	if known && c.mostByAddr > 0 && c.byAddr[client] >= c.mostByAddr {
		return nil, limitStreamsPerAddress, bus.ErrTooManyStreams.With("%d are open from %s, which is all that one address may have; close some, ask for several subjects on one, or allow more with bus server --max-streams-per-address", c.mostByAddr, client.Addr())
	}
	c.open++
	if known {
		if c.byAddr == nil {
			c.byAddr = make(map[netip.Prefix]int)
		}
		c.byAddr[client]++
	}
	return func() { c.leave(client, known) }, "", nil
}

func (c *streamCount) leave(client netip.Prefix, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	if !known {
		return
	}
	if c.byAddr[client]--; c.byAddr[client] == 0 {
		delete(c.byAddr, client)
	}
}

// used returns how many are open, and how many the address with the most has.
func (c *streamCount) used() (open, byAddr int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.byAddr {
		byAddr = max(byAddr, n)
	}
	return c.open, byAddr
}
