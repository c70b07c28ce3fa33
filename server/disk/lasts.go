package disk

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"

	"example.com/bus"
	"example.com/bus/immuta"
)

// DefaultLastSubjects is of how many subjects a namespace the last index is kept. A
// subject takes some 150 bytes.
const DefaultLastSubjects = 1 << 20

// lasts knows the index of the newest event of each subject. It is the ledger of its
// log: the goroutine that gives indexes tells it of each, so that a check that is
// asked by the same goroutine hears of everything in front of it, and a commit that
// fails is taken back. Until somebody asks it only counts; the first to ask has the
// log read, once.
type lasts struct {
	name string
	most int
	of   *namespace

	known  atomic.Bool  // table has every subject; set with the lock held
	size   atomic.Int64 // subjects in table once it is known, for who must not wait
	ctx    context.Context
	cancel context.CancelFunc
	turn   chan struct{} // holds a token while one looks through all subjects: copied is his
	copied []uint64

	// held guards all below; a token in it is the lock. The committing goroutine has it
	// from Begin to End, so that others see whole commits. It is no Mutex because a
	// commit waits for a disk: who waits for that is idle, in tests of time too.
	held    chan struct{}
	start   uint64     // where the commit at hand begins
	had     int        // subjects in table by then
	wasOver bool       // over by then
	next    uint64     // one past the last index given
	table   *lastTable // what was stored since reading began, or with known, all; nil: nobody has asked, or there are too many
	undo    []lastUndo // what the commit at hand has changed
	places  []placeUndo
	over    bool // there are more than most: until events are deleted, and subjects with them
	reading *lastReading
	lost    []bus.DamageError // passed over when the log was read
	stopped bool
}

// lastTable holds subjects in the order in which they came. They are only ever
// appended, but for takeBack, so that who has copied the slice may read it without a
// lock.
type lastTable struct {
	slots    map[string]uint32
	subjects []string
	last     []uint64 // 0: its first event was not stored after all

	// places is where the newest event that was delivered stands, by slot, of the few
	// subjects where that is not last: their newest event waits, or stands where it was
	// delivered once more. A condition is about what was published: last is the index
	// that a publisher was told, and delivering an event changes nothing about it.
	places map[uint32]uint64
}

type lastUndo struct {
	slot uint32
	last uint64
}

type placeUndo struct {
	slot uint32
	at   uint64
	was  bool // there was one
}

func newLasts(name string, most int) *lasts {
	l := &lasts{name: name, most: most, turn: make(chan struct{}, 1), held: make(chan struct{}, 1)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

func (l *lasts) lock()   { l.held <- struct{}{} }
func (l *lasts) unlock() { <-l.held }

// follow begins to count, before the first append.
func (l *lasts) follow(n *namespace) {
	l.of = n
	_, l.next = n.log.Bounds()
}

func newLastTable() *lastTable {
	return &lastTable{slots: make(map[string]uint32), places: make(map[uint32]uint64)}
}

func (t *lastTable) add(subject string) uint32 {
	slot := uint32(len(t.subjects))
	t.slots[subject] = slot
	t.subjects, t.last = append(t.subjects, subject), append(t.last, 0)
	return slot
}

// Begin implements immuta.Ledger.
func (l *lasts) Begin() {
	l.lock()
	l.start, l.wasOver, l.had = l.next, l.over, 0
	if l.table != nil {
		l.had = len(l.table.subjects)
	}
}

// Take implements immuta.Ledger.
func (l *lasts) Take(first uint64, records [][]byte) {
	l.next = first + uint64(len(records))
	for i := range records {
		if l.table == nil {
			return // nearly always
		}
		l.take(recordSubject(records[i]), first+uint64(i), recordTiming(records[i]))
	}
}

func (l *lasts) take(subject []byte, index uint64, t *bus.Timing) {
	slot, ok := l.table.slots[string(subject)]
	if !ok {
		if len(l.table.subjects) >= l.most {
			l.overflow()
			return
		}
		slot = l.table.add(string(subject))
	}
	l.undo = append(l.undo, lastUndo{slot, l.table.last[slot]})
	if at, was := l.table.places[slot]; was || t != nil {
		l.places = append(l.places, placeUndo{slot, at, was})
	}
	l.table.set(slot, index, t)
}

// set notes an event of a subject, which is newer than all before it.
func (t *lastTable) set(slot uint32, index uint64, timing *bus.Timing) {
	switch e := (bus.Event{Timing: timing}); {
	case timing != nil && timing.Published != 0:
		t.places[slot] = index
		t.last[slot] = max(t.last[slot], timing.Published) // of which nothing else may be left
		return
	case e.Waits():
		if _, is := t.places[slot]; !is {
			t.places[slot] = t.last[slot]
		}
	case len(t.places) > 0:
		delete(t.places, slot)
	}
	t.last[slot] = index
}

// maxUndo is how many changes of a commit room is kept for.
const maxUndo = 1 << 14

// End implements immuta.Ledger.
func (l *lasts) End(stored bool) {
	if !stored {
		for _, u := range slices.Backward(l.undo) {
			l.table.last[u.slot] = u.last
		}
		for _, u := range slices.Backward(l.places) {
			if delete(l.table.places, u.slot); u.was {
				l.table.places[u.slot] = u.at
			}
		}
		l.next = l.start
		l.takeBack()
	}
	if len(l.undo) > 0 && l.known.Load() {
		l.size.Store(int64(len(l.table.subjects)))
	}
	if l.undo = l.undo[:0]; cap(l.undo) > maxUndo {
		l.undo = nil
	}
	l.places = l.places[:0]
	l.unlock()
}

// takeBack forgets the subjects that came with a commit that was not stored, so that
// they do not count. Who has copied the slice has none of them: see held. Of a table
// that became too large by them nothing is left: who asks next has the log read anew.
func (l *lasts) takeBack() {
	if l.table == nil {
		l.over = l.wasOver
		return
	}
	for _, subject := range l.table.subjects[l.had:] {
		delete(l.table.slots, subject)
	}
	l.table.subjects, l.table.last = l.table.subjects[:l.had], l.table.last[:l.had]
}

// overflow gives the memory back. What is held of some subjects would be a wrong
// answer for the others. The caller holds the lock.
func (l *lasts) overflow() {
	l.over, l.table, l.undo, l.places, l.lost = true, nil, nil, nil, nil
	l.known.Store(false)
	l.size.Store(0)
}

func (l *lasts) tooMany() error {
	return bus.ErrTooManySubjects.With("namespace %s has more than %d subjects, and of so many the last index is not kept: expect the index of the namespace instead, begin with start=oldest, or divide it into several namespaces", l.name, l.most)
}

// lastOf is for a check, and called by the goroutine that commits.
func (l *lasts) lastOf(subject string) (uint64, error) {
	if !l.known.Load() && !l.over {
		return 0, errReadAnew
	}
	if !l.known.Load() { // it was known before the append was queued
		return 0, l.tooMany()
	}
	slot, ok := l.table.slots[subject]
	if !ok {
		return 0, nil
	}
	// Who opens the log again does not find what was deleted, so that it counts for
	// nothing at once.
	if first, _ := l.of.log.Bounds(); max(l.table.last[slot], l.table.place(slot)) < first {
		return 0, nil
	}
	return l.table.last[slot], nil
}

// AppendIf is Append on a condition. It is looked at by the goroutine that gives the
// indexes: in front of it is everything that is or will be answered with a smaller
// one, of other appends in the same commit too. bus.ErrWrongIndex, with the actual
// index, when it does not hold.
func (e *Engine) AppendIf(ctx context.Context, namespace string, events []bus.Event, when bus.Condition) error {
	n, err := e.namespace(namespace)
	if err != nil {
		return err
	}
	if err := when.CheckEvents(events); err != nil || len(events) == 0 {
		return err
	}
	for {
		if when.SubjectIndex.Asked() {
			if err := n.lasts.await(ctx); err != nil {
				return err
			}
		}
		err := n.store(ctx, events, n.checkOf(events[0].Subject, when), false)
		if !errors.Is(err, errReadAnew) {
			return err
		}
	}
}

// errReadAnew says that an event was deleted between the queue and the check, so that
// the last indexes have to be read again. Nothing was stored.
var errReadAnew = errors.New("the last indexes are read again")

func (n *namespace) checkOf(subject string, when bus.Condition) immuta.Check {
	if !when.Asks() {
		return nil
	}
	return func(next uint64) error {
		if !when.Index.Is(next - 1) {
			return bus.WrongIndex(n.name, when.Index.Index(), next-1)
		}
		if !when.SubjectIndex.Asked() {
			return nil
		}
		last, err := n.lasts.lastOf(subject)
		if err == nil && !when.SubjectIndex.Is(last) {
			err = bus.WrongSubjectIndex(subject, when.SubjectIndex.Index(), last)
		}
		return err
	}
}
