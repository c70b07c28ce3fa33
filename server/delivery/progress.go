package delivery

import (
	"slices"
	"time"
)

// Progress is how far a named consumer has come: all that has to be known to go
// on where it was. Events below Next are settled, but for those in Open; events
// from Next on are not, but for those in Done.
type Progress struct {
	Next uint64    `json:"next"`
	Open []Attempt `json:"open,omitempty"` // by index
	Done []uint64  `json:"done,omitempty"` // by index
}

// Attempt is what is known of an event that was delivered and is not settled.
type Attempt struct {
	Index uint64    `json:"index"`
	Count int       `json:"count,omitempty"` // deliveries so far
	Due   time.Time `json:"due,omitzero"`    // when it may go out again; zero: now
}

// Floor is one past the last index below which everything is settled.
func (p *Progress) Floor() uint64 {
	if len(p.Open) > 0 {
		return min(p.Open[0].Index, p.Next)
	}
	return p.Next
}

// Apply makes the progress what it was after a note. Notes are applied in the
// order they were written; one that is applied twice changes nothing.
func (p *Progress) Apply(n Note) {
	if n.State != nil {
		*p = n.State.clone()
	}
	for _, a := range n.Again {
		p.again(a)
	}
	for _, index := range n.Settled {
		p.settle(index)
	}
	for _, index := range n.Reopened {
		p.reopen(index)
	}
}

func (p *Progress) clone() Progress {
	return Progress{Next: p.Next, Open: slices.Clone(p.Open), Done: slices.Clone(p.Done)}
}

// settle takes an event for settled.
func (p *Progress) settle(index uint64) {
	if p == nil {
		return
	}
	if i, ok := p.find(index); ok {
		p.Open = slices.Delete(p.Open, i, i+1)
	}
	if index < p.Next {
		return
	}
	if i, ok := slices.BinarySearch(p.Done, index); !ok {
		p.Done = slices.Insert(p.Done, i, index)
	}
	n := 0 // where all matches, nothing is to be remembered one by one
	for n < len(p.Done) && p.Done[n] == p.Next {
		n, p.Next = n+1, p.Next+1
	}
	p.Done = p.Done[n:]
}

// again notes a delivery that did not do. Of an event that was settled meanwhile
// nothing is noted: it would be delivered behind a durable acknowledgement.
func (p *Progress) again(a Attempt) {
	if p == nil {
		return
	}
	if _, owed := p.owes(a.Index); !owed {
		return
	}
	if i, ok := p.find(a.Index); ok {
		p.Open[i] = a
	} else {
		p.Open = slices.Insert(p.Open, i, a)
	}
}

// reopen takes an event for one that was never delivered.
func (p *Progress) reopen(index uint64) {
	if _, owed := p.owes(index); owed {
		return
	}
	if i, ok := slices.BinarySearch(p.Done, index); ok {
		p.Done = slices.Delete(p.Done, i, i+1)
		return
	}
	i, _ := p.find(index)
	p.Open = slices.Insert(p.Open, i, Attempt{Index: index})
}

// Within returns the progress in a log that ends at an index, and whether it was
// ahead of that: it is of a log that had more, and what comes to stand there now
// was never delivered.
func (p *Progress) Within(next uint64) (at Progress, ahead bool) {
	at = p.clone()
	at.Next = min(p.Next, next)
	open, _ := p.find(next)
	done, _ := slices.BinarySearch(p.Done, next)
	at.Open, at.Done = at.Open[:open], at.Done[:done]
	return at, p.Next > next || open < len(p.Open) || done < len(p.Done)
}

// passed forgets what lies below a position.
func (p *Progress) passed(position uint64) {
	if n := len(p.Done); n > 0 && p.Done[n-1] < position {
		p.Done = nil
	}
}

func (p *Progress) find(index uint64) (int, bool) {
	return slices.BinarySearchFunc(p.Open, index, func(a Attempt, index uint64) int {
		switch {
		case a.Index < index:
			return -1
		case a.Index > index:
			return 1
		}
		return 0
	})
}

// owes returns whether the event at an index is still to be delivered, and what
// is known of it when it was delivered before. Of no progress all is.
func (p *Progress) owes(index uint64) (attempt *Attempt, owed bool) {
	if p == nil {
		return nil, true
	}
	if i, ok := p.find(index); ok {
		return &p.Open[i], true
	}
	if index < p.Next {
		return nil, false
	}
	_, done := slices.BinarySearch(p.Done, index)
	return nil, !done
}

// after returns the first index, at or behind the given one, that may be owed.
func (p *Progress) after(index uint64) uint64 {
	if index >= p.Next {
		return index
	}
	if i, _ := p.find(index); i < len(p.Open) {
		return min(p.Open[i].Index, p.Next)
	}
	return p.Next
}
