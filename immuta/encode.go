package immuta

import "fmt"

// commit is a number of records on their way to disk as one.
type commit struct {
	frames []byte   // what is written, in one piece
	blocks []cached // the same in the bare, for readers; nil when it is too big to keep
	marks  []entry  // where its blocks are
	first  uint64
	next   uint64
	time   int64
	offset int64
}

func (c *commit) end() int64 { return c.offset + int64(len(c.frames)) }

// cached is a block in the bare, and where the next one starts in the file.
type cached struct {
	Block
	end  int64
	part *part // whose file it is
}

// cost is what keeping a block takes, roughly: bytes, slices, itself.
func (c *cached) cost() int {
	n := 64
	for _, r := range c.Records {
		n += len(r) + 24 + 2
	}
	return n
}

// encoder makes the frames of commits. Its buffers are used again for the next,
// except what readers are given.
type encoder struct {
	seg       *segment
	part      *part // of seg
	blockSize int
	spans     []span
	marks     []entry
	out       []byte
	plain     []byte
}

// span is the records of one block.
type span struct{ from, to, plain int }

// split puts records into blocks of at most blockSize plain bytes; a bigger
// record gets a block of its own.
func (e *encoder) split(records [][]byte) []span {
	spans := e.spans[:0]
	var s span
	for i, r := range records {
		n := recordSize(len(r))
		if s.to > s.from && (s.plain+n > e.blockSize || s.to-s.from == maxCount) {
			spans = append(spans, s)
			s = span{from: i}
		}
		s.to, s.plain = i+1, s.plain+n
	}
	e.spans = append(spans, s)
	return e.spans
}

// encode makes the frames of one commit at offset; c has everything but them.
func (e *encoder) encode(c *commit, records [][]byte, flags byte) error {
	spans := e.split(records)
	frames, plain := 0, 0
	for _, s := range spans {
		frames += blockHeader + padded(e.bodySize(s.plain))
		plain += sealedPrefix + s.plain
	}
	keep := plain+24*len(records) <= recentBytes
	out, bare := e.buffers(frames, plain, keep)
	var kept [][]byte
	if keep {
		kept = make([][]byte, 0, len(records))
		c.blocks = make([]cached, 0, len(spans))
	}
	c.marks = e.marks[:0]
	for i, s := range spans {
		h := block{
			kind: kindRecords, flags: flags, time: c.time, commit: c.first,
			first: c.first + uint64(s.from), count: uint32(s.to - s.from),
			plain: uint32(s.plain), body: uint32(e.bodySize(s.plain)),
		}
		if i == len(spans)-1 {
			h.flags |= flagLast
		}
		at := c.offset + int64(len(out))
		c.marks = append(c.marks, entry{first: h.first, time: h.time, offset: at, start: h.isStart()})
		mark := len(kept)
		var err error
		if out, bare, kept, err = e.block(&h, records[s.from:s.to], at, out, bare, kept); err != nil {
			return err
		}
		if keep {
			b := Block{First: h.first, Commit: h.commit, Time: unixTime(h.time), Records: kept[mark:len(kept):len(kept)]}
			c.blocks = append(c.blocks, cached{Block: b, end: c.offset + int64(len(out)), part: e.part})
		}
	}
	c.frames, e.marks = out, c.marks
	return nil
}

func (e *encoder) bodySize(plain int) int { return e.seg.bodySize(plain) }

// buffers returns where frames and, in a sealed log, plain bytes are built. What
// readers will be given must be new; all is big enough that it never moves,
// since records kept point into it.
func (e *encoder) buffers(frames, plain int, keep bool) (out, bare []byte) {
	sealed := e.seg.sealer != nil
	if keep && !sealed {
		return make([]byte, 0, frames), nil
	}
	if cap(e.out) < frames || cap(e.out) > 2*commitBytes {
		e.out = make([]byte, 0, frames)
	}
	if !sealed {
		return e.out[:0], nil
	}
	if keep {
		return e.out[:0], make([]byte, 0, plain)
	}
	if cap(e.plain) < plain || cap(e.plain) > 2*commitBytes {
		e.plain = make([]byte, 0, plain)
	}
	return e.out[:0], e.plain[:0]
}

// block appends one frame to out. kept gets the records as readers will see them,
// when it has room for them.
func (e *encoder) block(h *block, records [][]byte, at int64, out, bare []byte, kept [][]byte) ([]byte, []byte, [][]byte, error) {
	var room [blockHeader]byte
	start := len(out)
	out = append(out, room[:]...)
	if e.seg.sealer == nil {
		out, kept = putRecords(out, kept, records)
	} else {
		from := len(bare)
		bare, kept = putRecords(h.prefix(bare), kept, records)
		var err error
		if out, err = e.seg.sealer.Seal(out, bare[from:], uint64(at)); err != nil {
			return nil, nil, nil, fmt.Errorf("seal record %d: %w", h.first, err)
		}
		if got := len(out) - start - blockHeader; got != int(h.body) {
			return nil, nil, nil, fmt.Errorf("seal record %d: the sealer made %d bytes of %d, want %d", h.first, got, len(bare)-from, h.body)
		}
	}
	for len(out)%alignment != 0 {
		out = append(out, padByte)
	}
	e.seg.finish(h, out[start:], at)
	return out, bare, kept, nil
}

// makeFrame appends the frame of one block to dst. content is what it holds in the
// clear; the header has everything but what follows from that.
func (s *segment) makeFrame(dst []byte, h *block, content []byte, at int64) ([]byte, error) {
	h.plain, h.body = uint32(len(content)), uint32(s.bodySize(len(content)))
	var room [blockHeader]byte
	start := len(dst)
	dst = append(dst, room[:]...)
	if s.sealer == nil {
		dst = append(dst, content...)
	} else {
		var err error
		if dst, err = s.sealer.Seal(dst, append(h.prefix(nil), content...), uint64(at)); err != nil {
			return nil, fmt.Errorf("seal the block at offset %d: %w", at, err)
		}
	}
	if got := len(dst) - start - blockHeader; got != int(h.body) {
		return nil, fmt.Errorf("seal the block at offset %d: the sealer made %d bytes of %d, want %d", at, got, len(content), h.body)
	}
	for len(dst)%alignment != 0 {
		dst = append(dst, padByte)
	}
	s.finish(h, dst[start:], at)
	return dst, nil
}

// finish puts the header of a frame in front of its body and padding.
func (s *segment) finish(h *block, frame []byte, at int64) {
	h.sum = checksum(frame[blockHeader:])
	h.encode(frame, s.seedAt(at))
	// The header is never zero, so its own count cannot change the count.
	if h.zero = uint16(zeroPieces(frame, at)); h.zero > 0 {
		h.encode(frame, s.seedAt(at))
	}
}

func putRecords(dst []byte, kept, records [][]byte) ([]byte, [][]byte) {
	for _, r := range records {
		dst = appendRecord(dst, r)
		if cap(kept) > 0 {
			n := len(dst)
			kept = append(kept, dst[n-len(r):n:n])
		}
	}
	return dst, kept
}
