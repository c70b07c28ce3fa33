package delivery

import "example.com/bus"

// recentSize is how many ids a stream remembers of what has no place in a log
// or in the window any more: inbox events, and dead ones.
const recentSize = 256

// recentIDs remembers the last recentSize ids. The zero value is empty and
// holds no memory.
type recentIDs struct {
	ids  []string
	next int
}

func (r *recentIDs) add(id string) {
	if len(r.ids) < recentSize {
		r.ids = append(r.ids, id)
		return
	}
	r.ids[r.next] = id
	r.next = (r.next + 1) % recentSize
}

func (r *recentIDs) has(id string) bool {
	for _, known := range r.ids {
		if known == id {
			return true
		}
	}
	return false
}

// recent remembers the last inbox events of a stream without their payloads,
// so that they can be acknowledged and replied to.
type recent struct {
	events []*bus.Event
	next   int
}

func (r *recent) add(e *bus.Event) {
	light := *e
	light.Payload, light.Headers = nil, nil
	if len(r.events) < recentSize {
		r.events = append(r.events, &light)
		return
	}
	r.events[r.next] = &light
	r.next = (r.next + 1) % recentSize
}

func (r *recent) find(id string) *bus.Event {
	for _, e := range r.events {
		if e.Id == id {
			return e
		}
	}
	return nil
}
