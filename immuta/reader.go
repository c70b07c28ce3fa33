package immuta

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sort"
	"time"
)

// Block is a run of records that were committed together. It may be shared and
// kept, but not changed; a record kept may hold 256 KiB of its neighbours.
type Block struct {
	First   uint64 // index of Records[0]
	Commit  uint64 // of the first record that was committed with them, in this block or before it
	Time    time.Time
	Records [][]byte
}

// from is the block without the records before index.
func (b Block) from(index uint64) Block {
	if index > b.First {
		b.Records = b.Records[index-b.First:]
		b.First = index
	}
	return b
}

// Reader reads the visible records in order. It is not for concurrent use; any
// number of readers may work beside each other and the writer, and none waits
// for another. At the end of the log it holds next to no memory.
type Reader struct {
	log    *Log
	index  uint64 // the record wanted next
	win    window
	opened []byte // where sealed blocks are opened to
	closed bool
	shares bool // counted in log.opened

	held   *part // whose file it has; nil: none
	seg    *segment
	marks  *index // of seg
	end    int64  // how far seg may be read now
	behind uint64 // first index of the part behind it; 0: it is the last

	part   *part  // that offset is in
	at     uint64 // first index of the block at offset
	offset int64  // 0: to be looked up
	due    uint64 // of the last place that was not found by way of headers alone
	sure   int64  // that place: a checkpoint, or behind a block that was read
	past   place  // behind the removed records that Next has told of
}

const (
	firstRead = 8 << 10 // doubles up to chunk while blocks are read in order
	headRead  = 4 << 10 // for walking from header to header
)

// Reader returns a reader whose first block starts with the record from, or with
// the first one kept when that is later.
func (l *Log) Reader(from uint64) *Reader {
	r := &Reader{log: l}
	r.win = window{step: firstRead, most: chunk, keep: l.opened == nil}
	r.Seek(from)
	return r
}

// Seek makes index the record that Next starts with.
func (r *Reader) Seek(index uint64) {
	index = max(index, r.log.first())
	if r.past.part != nil && r.past.part == r.part && r.past.index == index {
		r.index = index
		r.stand(index, r.past.offset)
		return
	}
	if index != r.index {
		r.index, r.offset = index, 0
	}
}

// Close lets go of the reader's memory. Next returns ErrClosed from then on.
func (r *Reader) Close() error {
	r.closed = true
	r.rest()
	return nil
}

// rest drops buffers: a subscriber that has caught up costs next to nothing.
func (r *Reader) rest() {
	r.win.buf, r.win.step, r.opened = nil, firstRead, nil
	r.let()
	if r.shares {
		r.shares = false
		r.log.opened.leave()
	}
}

// Next returns the next visible block, its first record being the one that is
// due, or the first one kept where Trim has deleted that. io.EOF says that there
// is none yet: wait with Log.Wait and call again. A
// *CorruptError says that the record due cannot be read; the reader stays where
// it is until it is told to Seek, to the error's Next if there is one. A
// *GapError says that it was lost and that the log was repaired, and a
// *RemovedError that it was removed on purpose; they are left behind in the same
// way. ErrClosed: the reader or the log is.
func (r *Reader) Next() (Block, error) {
	l := r.log
	if r.closed || l.closed.Load() {
		return Block{}, ErrClosed
	}
	for {
		b, err := r.next()
		if err != nil && l.closed.Load() {
			return Block{}, ErrClosed // the file was closed under the read
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return b, err
		}
		// The segment was deleted under the read: there is another first one now.
	}
}

// next is Next at one moment of the log; fs.ErrNotExist when that has passed.
func (r *Reader) next() (Block, error) {
	l := r.log
	all, s := l.moment()
	if first := all[0].first; r.index < first { // what stood there was deleted
		r.Seek(first)
	}
	if r.index >= s.next {
		r.rest()
		if l.lost != nil {
			return Block{}, l.lost
		}
		return Block{}, io.EOF
	}
	if c, ok := s.find(r.index); ok && !c.part.replaced.Load() {
		b := r.hand(*c)
		r.rest()
		return b, nil
	}
	return r.read(all, s)
}

// stand makes a block's start the reader's place, in the part it has its place in.
func (r *Reader) stand(index uint64, offset int64) {
	r.at, r.offset = index, offset
	r.due, r.sure = index, offset
}

// enter opens the part that has the record due, unless the reader is in it.
func (r *Reader) enter(all []*part, s *state) error {
	p := r.part
	if p == nil || p.replaced.Load() || r.offset == 0 || r.index < p.first || p != s.part && r.index >= p.next {
		p, r.offset = partOf(all, r.index), 0
	}
	err := r.hold(p)
	if errors.Is(err, fs.ErrNotExist) {
		r.part, r.offset = nil, 0
		return err
	}
	r.part, r.end, r.behind = p, s.endOf(p), s.behind(p)
	return r.unreadable(p, err)
}

// unreadable says which records are lost with a segment that does not open.
func (r *Reader) unreadable(p *part, err error) error {
	damage, ok := errors.AsType[*CorruptError](err)
	if !ok {
		return err
	}
	return &CorruptError{Path: damage.Path, Offset: damage.Offset, Why: damage.Why, Missing: damage.Missing, From: r.index, Next: p.next}
}

// hold makes a part's file the one that is read.
func (r *Reader) hold(p *part) error {
	if r.held == p {
		return nil
	}
	r.let()
	s, x, err := r.log.hold(p)
	if err != nil {
		return err
	}
	r.held, r.seg, r.marks = p, s, x
	r.win.file, r.win.buf = s.file, nil
	return nil
}

func (r *Reader) let() {
	if r.held != nil {
		r.log.files.let(r.held)
		r.held, r.seg, r.marks, r.win.file, r.win.buf = nil, nil, nil, nil, nil
	}
}

// find looks for a record among the recent blocks.
func (s *state) find(index uint64) (*cached, bool) {
	if len(s.recent) == 0 || index < s.recent[0].First {
		return nil, false
	}
	i := sort.Search(len(s.recent), func(i int) bool { return s.recent[i].First > index })
	return &s.recent[i-1], true
}

// read reads the block that holds the record due from the file.
func (r *Reader) read(all []*part, s *state) (Block, error) {
	if err := r.enter(all, s); err != nil {
		return Block{}, err
	}
	if r.offset == 0 || r.at != r.index {
		if err := r.locate(); err != nil {
			return Block{}, err
		}
	}
	if r.log.opened != nil && !r.shares {
		r.shares = true
		r.log.opened.join()
	}
	for {
		if c, ok := r.log.opened.get(r.part, r.offset, r.at); ok {
			return r.hand(c), nil
		}
		from := r.offset
		h, plain, err := r.block()
		if err != nil {
			return Block{}, err
		}
		if h == nil { // the record is elsewhere, where the reader stands now
			continue
		}
		if h.hollow() {
			if err := r.missing(h, plain); err != nil {
				return Block{}, err
			}
			continue
		}
		records, why := splitRecords(make([][]byte, 0, h.count), plain, h.count)
		if why != "" {
			return Block{}, r.damaged(&flaw{why: why, trusted: true, h: *h})
		}
		c := cached{Block: Block{First: h.first, Commit: h.commit, Time: unixTime(h.time), Records: records}, end: from + h.frame(), part: r.part}
		if r.opened == nil && r.log.opened.shared() {
			r.log.opened.put(from, c)
		}
		return r.hand(c), nil
	}
}

// hand returns what is due of a block, and leaves the reader behind it.
func (r *Reader) hand(c cached) Block {
	b := c.from(r.index)
	r.part = c.part
	r.index = c.First + uint64(len(c.Records))
	r.stand(r.index, c.end)
	return b
}

// block reads and checks the block at the reader's place, which stays. No block
// and no error: a forged header had led there, and the reader was put right.
func (r *Reader) block() (*block, []byte, error) {
	seg := r.seg
	if r.offset >= r.end && r.behind > 0 { // of a closed segment: the last one is not read behind its end
		return nil, nil, r.corrupt(&flaw{why: fmt.Sprintf("the segment ends with record %d, and the next one starts with %d", r.at-1, r.behind)}, 0)
	}
	h, frame, bad, err := seg.frameAt(&r.win, r.offset, r.end)
	if err != nil {
		return nil, nil, err
	}
	if bad == nil {
		bad = outOfOrder(&h, r.at)
	}
	if bad != nil {
		return nil, nil, r.damaged(bad)
	}
	plain, why := seg.plain(r.room(&h), &h, frame, r.offset)
	if why != "" {
		// A header whose box does not open is not to be believed either.
		return nil, nil, r.damaged(&flaw{why: why, h: h})
	}
	if r.opened != nil {
		r.opened = r.opened[:len(r.opened)+sealedPrefix+len(plain)]
	}
	return &h, plain, nil
}

// gap says what the gap block at the reader's place, and those that follow it
// at once, say. The reader stays in front of it.
func (r *Reader) gap(h *block, body []byte) error {
	seg := r.seg
	g := seg.gapError(h, body, r.offset, r.index)
	w := window{file: seg.file, step: headRead}
	for at := r.offset + h.frame(); at < r.end; {
		more, frame, bad, err := seg.frameAt(&w, at, r.end)
		if err != nil {
			return err
		}
		if bad != nil || !more.isGap() || more.first != g.Next {
			break
		}
		if _, why := seg.plain(nil, &more, frame, at); why != "" {
			break
		}
		g.Next, g.AtMost = more.next(), g.AtMost || more.flags&flagAtMost != 0
		at += more.frame()
	}
	return g
}

// missing is what the hollow block at the reader's place says. nil: it stands for no
// record, or should not have been believed; the reader stands where to go on.
func (r *Reader) missing(h *block, body []byte) error {
	switch {
	case h.isRemoved():
		return r.removed(h, body)
	case h.next() > r.index:
		return r.gap(h, body)
	}
	r.stand(h.next(), r.offset+h.frame())
	return nil
}

// room is where a sealed block is opened to: behind the last one, in memory that
// many blocks share; in memory of its own when readers share it.
func (r *Reader) room(h *block) []byte {
	if r.seg.sealer == nil {
		return nil
	}
	if r.log.opened.shared() {
		r.opened = nil
		return make([]byte, 0, h.body)
	}
	if need := int(h.body); cap(r.opened)-len(r.opened) < need {
		size := min(int64(min(2*cap(r.opened), chunk)), r.end-r.offset)
		r.opened = make([]byte, 0, max(need, int(size)))
	}
	return r.opened
}

// locate finds the block that holds the record due.
func (r *Reader) locate() error {
	if r.offset == 0 {
		e, err := r.log.find(r.marks, func(e *entry) bool { return e.first <= r.index }, r.end)
		if err != nil {
			return err
		}
		r.stand(e.first, e.offset)
	}
	w := window{file: r.seg.file, step: headRead}
	for {
		h, at, bad, err := r.seg.step(&w, r.offset, r.at, r.end)
		if bad != nil && (err == io.EOF || err == nil) {
			return r.misled(bad)
		}
		if err != nil {
			return err
		}
		r.at, r.offset = h.first, at
		if h.next() > r.index {
			return nil
		}
		r.at, r.offset = h.next(), at+h.frame()
	}
}

// damaged reports a bad block at the reader's place and finds where to go on.
func (r *Reader) damaged(bad *flaw) error {
	seg := r.seg
	if seg.sealer != nil {
		return r.misled(bad)
	}
	h, at, found, err := seg.nextGood(&window{file: seg.file, step: chunk}, r.offset+alignment, r.at, r.end)
	if err != nil {
		return err
	}
	if !found {
		h.first = 0
	}
	damage := r.corrupt(bad, h.first)
	if found && h.first == r.at {
		r.offset = at // nothing is lost: said once, and the next call goes on
	}
	return damage
}

// misled is damaged where the header that is bad, or one that has led to it, may
// be forged: what counts are whole blocks, which open, from the last sure place
// on. It returns nil when the record due is in one of them.
func (r *Reader) misled(bad *flaw) error {
	seg := r.seg
	w := window{file: seg.file, step: chunk}
	at, from, led := r.sure, r.due, r.sure != r.offset
	for {
		h, found, ok, err := seg.nextWhole(&w, at, from, r.end)
		if err != nil {
			return err
		}
		if ok && h.next() <= r.index {
			at, from = found+h.frame(), h.next()
			continue
		}
		if !ok {
			h.first = 0
		}
		r.stand(from, at)
		damage := r.corrupt(bad, h.first)
		if ok && h.first <= r.index {
			r.stand(h.first, found)
			if led || found == at {
				return nil
			}
			// Nothing is lost: said once, and the next call goes on.
		}
		return damage
	}
}

// corrupt says what is damaged. Behind a closed segment there is a next one.
func (r *Reader) corrupt(bad *flaw, next uint64) error {
	if next == 0 {
		next = r.behind
	}
	return &CorruptError{Path: r.seg.path, Offset: r.offset, Why: bad.why, From: r.at, Next: next}
}
