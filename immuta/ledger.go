package immuta

// Check decides on an append when it is its turn: next is the index that its first
// record would get. An error refuses it. It is called by the goroutine that commits,
// and must neither wait nor call the log.
type Check func(next uint64) error

// Ledger is told of every append, by the goroutine that commits, in the order of
// the log. It is for who keeps what a Check is to ask: between Begin and End it sees
// all that was taken, and when all of it counts. Every append waits for it, so it
// must be quick, and it must not call the log.
type Ledger interface {
	// Begin begins a commit.
	Begin()
	// Take says that records would get the indexes from first on. They are the
	// caller's of Append and must not be kept.
	Take(first uint64, records [][]byte)
	// End ends the commit. stored says whether all that was taken since Begin is in
	// the log; otherwise nothing of it counts, and its indexes are given again, or
	// the log has failed and gives no more.
	End(stored bool)
}

// admit gives indexes: it asks the checks, in the order of the queue, and returns
// the records of those that are not refused.
func (w *writer) admit(batch []*request) [][]byte {
	records, next := w.records[:0], w.next
	for _, r := range batch {
		if r.check != nil {
			if r.err = r.check(next); r.err != nil {
				continue
			}
		}
		if w.log.o.Ledger != nil {
			w.log.o.Ledger.Take(next, r.records)
		}
		records = append(records, r.records...)
		next += uint64(len(r.records))
	}
	return records
}
