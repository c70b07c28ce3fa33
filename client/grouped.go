package client

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"

	"example.com/bus"
)

// carry sends a group and tells everybody in it what the server says of his event.
func (g *grouping) carry(b *group) {
	ctx, cancel := context.WithTimeout(context.Background(), cmp.Or(b.key.timeout, ackTime))
	defer cancel()
	g.settle(ctx, b, b.acks)
	g.mu.Lock()
	delete(g.sent, b)
	for _, a := range b.acks {
		if a.async && g.first == nil {
			g.first = a.err
		}
	}
	g.mu.Unlock()
	close(b.done)
	for range b.acks {
		<-g.places
	}
}

// settle finds the answer to each of several acknowledgements. The server takes all that a
// request names or none, so that one which is refused is left out and the others are sent
// again: they must not come again because of it.
func (g *grouping) settle(ctx context.Context, b *group, acks []*AckResult) {
	for len(acks) > 0 {
		err := g.client.sendAck(ctx, b.request, b.key.to, idsOf(acks)...)
		if err == nil {
			return
		}
		named := func(a *AckResult) bool { return names(err, a.id) }
		switch {
		case slices.ContainsFunc(acks, named):
			refuse(slices.DeleteFunc(slices.Clone(acks), func(a *AckResult) bool { return !named(a) }), err)
			acks = slices.DeleteFunc(slices.Clone(acks), named)
		case len(acks) > 1 && ofOne(err):
			half := len(acks) / 2
			g.settle(ctx, b, acks[:half])
			acks = acks[half:]
		default:
			refuse(acks, err)
			return
		}
	}
}

func idsOf(acks []*AckResult) []string {
	ids := make([]string, len(acks))
	for i, a := range acks {
		ids[i] = a.id
	}
	return ids
}

func refuse(acks []*AckResult, err error) {
	for _, a := range acks {
		a.err = err
	}
}

// names tells whether a refusal is about this event.
func names(err error, id string) bool {
	e, ok := bus.AsError(err)
	return ok && e.EventID == id
}

// ofOne tells whether a refusal that names no event may be about one of several: one whose
// place in the log cannot be read, or one too many for a proxy. All others are about the
// consumer, the server or the way to it.
func ofOne(err error) bool {
	for _, target := range []error{bus.ErrNotDelivered, bus.ErrUnreadable, bus.ErrCorrupt, bus.ErrEventLost} {
		if errors.Is(err, target) {
			return true
		}
	}
	e, ok := bus.AsError(err)
	return ok && (e.Status == http.StatusRequestURITooLong || e.Status == http.StatusRequestHeaderFieldsTooLarge)
}
