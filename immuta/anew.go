package immuta

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// builder writes the frames of a segment that is made anew. It is given what the
// old one holds in the order of the log, and puts records of one commit that stand
// beside each other into blocks, and removed ones into runs.
type builder struct {
	seg  *segment
	most int   // Options.BlockSize
	at   int64 // where the next frame goes
	out  []byte
	from int64 // where out goes

	h     block  // at hand; count 0: none
	plain []byte // its records
	gone  removal
	said  digest // of what was given
}

// digest tells whether a segment holds what it was made of: a sum over every record
// with its index, commit and time, and over all that hollow blocks say.
type digest struct {
	sum     uint32
	records uint64
	removed uint64
}

func (d *digest) add(h *block, first, count uint64, b []byte) {
	var fixed [42]byte
	fixed[0] = h.kind
	for i, v := range [...]uint64{first, count, h.commit, uint64(h.time), uint64(len(b))} {
		binary.LittleEndian.PutUint64(fixed[1+8*i:], v)
	}
	if h.isGap() {
		fixed[41] = h.flags
	}
	d.sum = crc32.Update(crc32.Update(d.sum, castagnoli, fixed[:]), castagnoli, b)
	switch h.kind {
	case kindRecords:
		d.records++
	case kindRemoved:
		d.removed += count
	}
}

// hollow adds a gap or removed records. A gap is of another length in another
// file: what it says is the name in it.
func (d *digest) hollow(h *block, body []byte) {
	d.add(h, h.first, uint64(h.count), said(body))
}

// frame adds a block of the file.
func (d *digest) frame(h *block, i *inspection) {
	if h.hollow() {
		d.hollow(h, i.saved)
		return
	}
	for n, rec := range i.held {
		d.add(h, h.first+uint64(n), 1, rec)
	}
}

// keep takes a record of a block.
func (b *builder) keep(from *block, index uint64, record []byte) error {
	if err := b.flushGone(); err != nil {
		return err
	}
	size := recordSize(len(record))
	if b.h.count == maxCount || len(b.plain)+size > b.most {
		if err := b.flush(false); err != nil {
			return err
		}
	}
	if b.h.count == 0 {
		// All in front of it was on stable storage before the old segment was closed.
		b.h = block{kind: kindRecords, flags: flagSettled, first: index, commit: from.commit, time: from.time}
	}
	b.h.count++
	b.plain = appendRecord(b.plain, record)
	b.said.add(from, index, 1, record)
	return nil
}

// remove takes the place of records.
func (b *builder) remove(r removal) error {
	if err := b.flush(false); err != nil {
		return err
	}
	if b.gone.joins(r) {
		return nil
	}
	if err := b.flushGone(); err != nil {
		return err
	}
	b.gone = r
	return nil
}

// gap takes a gap of an earlier repair, which covers no bytes here but its own.
func (b *builder) gap(h *block, body []byte) error {
	if err := b.flush(false); err != nil {
		return err
	}
	if err := b.flushGone(); err != nil {
		return err
	}
	name := said(body)
	if len(name) == 0 {
		name = []byte{padByte}
	}
	copied := *h
	b.said.hollow(h, body)
	return b.put(&copied, name)
}

// flush makes the block at hand; last says that its commit ends with it.
func (b *builder) flush(last bool) error {
	if b.h.count == 0 {
		return nil
	}
	if last {
		b.h.flags |= flagLast
	}
	err := b.put(&b.h, b.plain)
	b.h, b.plain = block{}, b.plain[:0]
	return err
}

// flushGone makes the block of the run at hand.
func (b *builder) flushGone() error {
	if b.gone.count == 0 {
		return nil
	}
	h := b.gone.block()
	body := []byte{b.gone.reason}
	b.gone = removal{}
	b.said.hollow(&h, body)
	return b.put(&h, body)
}

// put makes a frame, and writes what has gathered when that is enough.
func (b *builder) put(h *block, content []byte) (err error) {
	if b.out, err = b.seg.makeFrame(b.out, h, content, b.at); err != nil {
		return err
	}
	b.at = b.from + int64(len(b.out))
	if len(b.out) < chunk {
		return nil
	}
	return b.write()
}

func (b *builder) write() error {
	if _, err := b.seg.file.WriteAt(b.out, b.from); err != nil {
		return fmt.Errorf("write %d bytes at offset %d: %w", len(b.out), b.from, err)
	}
	b.from, b.out = b.at, b.out[:0]
	return nil
}

// finish writes what is left, and syncs.
func (b *builder) finish() error {
	if err := b.flush(false); err != nil {
		return err
	}
	if err := b.flushGone(); err != nil {
		return err
	}
	if err := b.write(); err != nil {
		return err
	}
	return b.seg.file.Sync()
}
