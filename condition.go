package bus

// Condition is what must hold for a publish to be stored: the state that the
// publisher has decided by. It is looked at in the same step in which the events
// get their indexes, so that nothing comes between. The zero value asks nothing.
//
// Indexes are never given twice, also not of events that were lost to damage, so
// the one of a namespace is that of the last event ever stored. The one of a subject
// is that of its newest event that can be read; 0 stands for none.
type Condition struct {
	Index        Expected // the last index of the namespace
	SubjectIndex Expected // the last index of the one subject of all events
}

// Expected is an index that is expected. Its zero value expects none: any will do.
type Expected struct {
	asked bool
	index uint64
}

// Expect expects n; 0 that there is no event.
func Expect(n uint64) Expected { return Expected{asked: true, index: n} }

// Asked reports whether an index is expected.
func (e Expected) Asked() bool { return e.asked }

// Index returns the index that is expected.
func (e Expected) Index() uint64 { return e.index }

// Is reports whether the actual index will do.
func (e Expected) Is(actual uint64) bool { return !e.asked || e.index == actual }

// Asks reports whether there is anything to hold.
func (c Condition) Asks() bool { return c.Index.asked || c.SubjectIndex.asked }

// CheckEvents refuses a condition that does not fit the events: that on the subject
// is for events of one subject, and none is for no events at all.
func (c Condition) CheckEvents(events []Event) error {
	if !c.Asks() {
		return nil
	}
	if len(events) == 0 {
		return ErrInvalidParameter.With("an index is expected, but there are no events: of what namespace?")
	}
	for i := range events {
		if c.SubjectIndex.asked && events[i].Subject != events[0].Subject {
			return ErrInvalidParameter.With("a last index of the subject is expected, but item 1 has the subject %s and item %d %s: wanted one subject in all of the batch", events[0].Subject, i+1, events[i].Subject)
		}
	}
	return nil
}

// WrongIndex is the refusal of a publish whose Condition.Index is not the actual
// last index of the namespace.
func WrongIndex(namespace string, expected, actual uint64) *Error {
	e := ErrWrongIndex.With("the last index of namespace %s is %d, expected was %d; nothing was stored: read what came since, and if it is still right send it again expecting %[2]d", namespace, actual, expected)
	e.Index = actual
	return e
}

// WrongSubjectIndex is the refusal of a publish whose Condition.SubjectIndex is not
// the actual last index of the subject, 0 for none.
func WrongSubjectIndex(subject string, expected, actual uint64) *Error {
	e := ErrWrongIndex.With("the last index of subject %s is %d, expected was %d; nothing was stored: read that event, and if it is still right send this again expecting %[2]d", subject, actual, expected)
	if actual == 0 {
		e = ErrWrongIndex.With("subject %s has no event, expected was one at index %d; nothing was stored: if it is still right, send it again expecting 0", subject, expected)
	}
	e.Index = actual
	return e
}
