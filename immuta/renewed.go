package immuta

import "errors"

// This file is for who finds that a closed segment was written anew (rewrite.go),
// by this process or, beside who only reads, by another one.

// errAnew says that a path leads to a rewritten segment.
var errAnew = errors.New("the segment was written anew")

// anew says whether h is the header of the same segment, rewritten: all is the same
// but for what its sums and its seals start from.
func (h header) anew(old header) bool {
	if h.salt == old.salt {
		return false
	}
	h.salt, h.keyID, h.check = old.salt, old.keyID, old.check
	return h == old
}

// renew lets the file that another process has written take the place of a part
// in the list. In the process that writes, the list knows of it already.
func (l *Log) renew(p *part) error {
	other := &CorruptError{Path: p.path, Why: "another file has taken the place of the segment"}
	if !l.o.ReadOnly {
		return other
	}
	fresh := newPart(l.dir, l.name, header{first: p.first})
	if err := fresh.load(l.name, &l.o); err != nil {
		return err
	}
	if !fresh.header.anew(p.header) {
		return other
	}
	fresh.next, fresh.until = p.next, p.until
	l.exchange(p, fresh)
	return nil
}

// reopen is openClosed for who has a part to himself: it becomes what another
// process has made of it.
func (p *part) reopen(name string, o *Options) (*segment, error) {
	const looks = 100
	for i := 0; ; i++ {
		s, err := openClosed(p, name, o)
		if !errors.Is(err, errAnew) || i == looks {
			return s, err
		}
		if err := p.load(name, o); err != nil {
			return nil, err
		}
	}
}

// exchange lets another part take the place of one in the list. Who reads the old
// file may read the block at hand; it is closed when the last one has left.
func (l *Log) exchange(old, fresh *part) {
	l.listing.Lock()
	all := append([]*part(nil), l.all()...)
	for i := range all {
		if all[i] == old {
			all[i] = fresh
		}
	}
	l.parts.Store(&all)
	l.listing.Unlock()
	old.replaced.Store(true)
	l.files.drop(old)
}
