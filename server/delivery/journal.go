package delivery

import "context"

// Note is one line of a consumer's journal: what became of events, and now and
// then all there is to know, so that a reader needs no older ones.
type Note struct {
	Namespace string    `json:"-"`
	Consumer  string    `json:"-"`
	State     *Progress `json:"state,omitempty"`    // before what follows
	Settled   []uint64  `json:"settled,omitempty"`  // acknowledged, or given up
	Again     []Attempt `json:"again,omitempty"`    // to be delivered again
	Reopened  []uint64  `json:"reopened,omitempty"` // to be delivered although they were settled
}

// Journal keeps the notes of named consumers. Write returns once the note is as
// durable as events are; of one consumer no two are written at once. An error
// says that it may not be: the note is then not acted on.
type Journal interface {
	Write(ctx context.Context, n Note) error
}

// size is about how many bytes a note takes.
func (n *Note) size() int {
	size := 8*(len(n.Settled)+len(n.Reopened)) + 40*len(n.Again)
	if n.State != nil {
		size += n.State.size()
	}
	return size
}

func (p *Progress) size() int { return 40*len(p.Open) + 8*len(p.Done) + 16 }
