package immuta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// chunk is how much is read at once. Reads of 4 KiB would make a replay several
// times slower; BenchmarkReplay shows what larger ones give.
const chunk = 256 << 10

// window reads a file in chunks and hands out pieces of them.
type window struct {
	file io.ReaderAt
	step int    // how much to read at once
	most int    // step doubles with each read up to this; 0: it stays
	keep bool   // pieces are kept by others: take new memory for each chunk
	at   int64  // where buf starts in the file
	buf  []byte // what is there
}

// piece returns n bytes at offset, or fewer when end or the file's end comes
// first. They hold until the next call, or for ever when keep is set.
func (w *window) piece(offset int64, n int, end int64) ([]byte, error) {
	room := end - offset
	if room <= 0 { // a wrong length has led there
		return nil, nil
	}
	n = int(min(int64(n), room))
	if skip := offset - w.at; skip >= 0 && skip+int64(n) <= int64(len(w.buf)) {
		return w.buf[skip : skip+int64(n) : skip+int64(n)], nil
	}
	size := int(min(int64(max(w.step, n)), room))
	w.step = max(w.step, min(2*w.step, w.most))
	if w.keep || size > cap(w.buf) {
		w.buf = make([]byte, size)
	}
	w.buf = w.buf[:size]
	got, err := w.file.ReadAt(w.buf, offset)
	w.at, w.buf = offset, w.buf[:got]
	if err != nil && !errors.Is(err, io.EOF) {
		w.buf = w.buf[:0]
		return nil, err
	}
	n = min(n, got)
	return w.buf[:n:n], nil
}

// flaw is what is wrong with a frame. Whether it means a power cut or damage is
// not its question: judge.go answers that.
type flaw struct {
	why     string
	cut     bool  // the file ends inside the frame
	trusted bool  // the header's sum is good
	order   bool  // the frame is good but does not belong here
	h       block // when trusted
}

// headAt reads the block header at offset. The error is of the disk, or wraps
// ErrUnsupported.
func (s *segment) headAt(w *window, offset, end int64) (block, *flaw, error) {
	b, err := w.piece(offset, blockHeader, end)
	if err != nil {
		return block{}, nil, fmt.Errorf("read %s at offset %d: %w", s.path, offset, err)
	}
	if len(b) < blockHeader {
		return block{}, &flaw{why: fmt.Sprintf("a block header has %d bytes, the file ends after %d", blockHeader, len(b)), cut: true}, nil
	}
	h, why, err := decodeBlock(b, s.seedAt(offset))
	if err != nil {
		return h, nil, fmt.Errorf("%s at offset %d: %w", s.path, offset, err)
	}
	if want := s.bodySize(int(h.plain)); why == "" && int(h.body) != want && want > 0 {
		why = fmt.Sprintf("%d bytes of records make a body of %d bytes, found %d", h.plain, want, h.body)
	}
	if why != "" {
		return h, &flaw{why: why}, nil
	}
	return h, nil, nil
}

// bodySize is how long the body with that many bytes of records is; 0 when it
// cannot be told because there is no key.
func (s *segment) bodySize(plain int) int {
	switch {
	case !s.sealed:
		return plain
	case s.sealer == nil:
		return 0
	}
	return sealedPrefix + plain + s.sealer.Overhead()
}

// frameAt reads and checks all of the frame at offset: header, body, padding.
func (s *segment) frameAt(w *window, offset, end int64) (block, []byte, *flaw, error) {
	h, bad, err := s.headAt(w, offset, end)
	if bad != nil || err != nil {
		return h, nil, bad, err
	}
	size := h.frame()
	frame, err := w.piece(offset, int(size), end)
	if err != nil {
		return h, nil, nil, fmt.Errorf("read %s at offset %d: %w", s.path, offset, err)
	}
	if int64(len(frame)) < size {
		return h, frame, &flaw{why: fmt.Sprintf("the block has %d bytes, the file ends after %d", size, len(frame)), cut: true, trusted: true, h: h}, nil
	}
	if got := checksum(frame[blockHeader:]); got != h.sum {
		return h, frame, &flaw{why: fmt.Sprintf("the block's checksum is %08x, its bytes give %08x", h.sum, got), trusted: true, h: h}, nil
	}
	return h, frame, nil, nil
}

// plain appends the record bytes of a checked frame to dst, opened when they are
// sealed; in a plain log it returns the frame's own bytes instead.
func (s *segment) plain(dst []byte, h *block, frame []byte, offset int64) ([]byte, string) {
	body := frame[blockHeader : blockHeader+int(h.body)]
	if s.sealer == nil {
		return body, ""
	}
	start := len(dst)
	dst, err := s.sealer.Open(dst, body, uint64(offset))
	if err != nil {
		return nil, fmt.Sprintf("the block does not open (%v): it was changed or moved", err)
	}
	opened := dst[start:]
	var room [sealedPrefix]byte
	if want := h.prefix(room[:0]); len(opened) < sealedPrefix || string(opened[:sealedPrefix]) != string(want) {
		return nil, "the block's header is not the one that was sealed with it"
	}
	return opened[sealedPrefix:], ""
}

// nextGood finds the first frame at or behind a place whose header is good and
// whose first index is at least from. Headers alone are looked at: their checksum
// starts from the file's secret salt and their place, so nothing else passes. No
// length is followed on the way, lest a wrong one leads past good frames.
func (s *segment) nextGood(w *window, at int64, from uint64, end int64) (block, int64, bool, error) {
	for ; at+blockHeader <= end; at += alignment {
		b, err := w.piece(at, blockHeader, end)
		if err != nil {
			return block{}, 0, false, fmt.Errorf("read %s at offset %d: %w", s.path, at, err)
		}
		if len(b) < blockHeader || binary.LittleEndian.Uint32(b) != blockMagic {
			continue
		}
		h, flaw, err := s.headAt(w, at, end)
		if err != nil {
			return block{}, 0, false, err
		}
		if flaw == nil && h.first >= from {
			return h, at, true, nil
		}
	}
	return block{}, 0, false, nil
}

// nextSound is nextGood where a header alone is not enough: in a sealed log
// whose key is at hand it counts only with a box that opens, since anybody who
// can write the file can make a header with a good sum.
func (s *segment) nextSound(w *window, at int64, from uint64, end int64) (block, int64, bool, error) {
	if s.sealer == nil {
		return s.nextGood(w, at, from, end)
	}
	return s.nextWhole(w, at, from, end)
}

// nextWhole finds the first frame of which all that can be checked is good.
func (s *segment) nextWhole(w *window, at int64, from uint64, end int64) (block, int64, bool, error) {
	for {
		_, found, ok, err := s.nextGood(w, at, from, end)
		if err != nil || !ok {
			return block{}, 0, false, err
		}
		h, frame, bad, err := s.frameAt(w, found, end)
		if err != nil {
			return h, found, false, err
		}
		if bad == nil {
			if _, why := s.plain(nil, &h, frame, found); why == "" {
				return h, found, true, nil
			}
		}
		at = found + alignment
	}
}

// step returns the first good header at or behind offset, for walks that pass
// over bodies: where it is, and the flaw that was stepped over, if any. io.EOF:
// there is none.
func (s *segment) step(w *window, offset int64, from uint64, end int64) (block, int64, *flaw, error) {
	h, bad, err := s.headAt(w, offset, end)
	if err != nil {
		return h, offset, nil, err
	}
	if bad == nil {
		bad = outOfOrder(&h, from)
	}
	if bad == nil {
		return h, offset, nil, nil
	}
	if !bad.order { // a good header with a later record than is due is where to go on
		offset += alignment
	}
	h, at, found, err := s.nextGood(w, offset, from, end)
	if err == nil && !found {
		err = io.EOF
	}
	return h, at, bad, err
}

// outOfOrder tells a block that starts with another record than is due.
func outOfOrder(h *block, due uint64) *flaw {
	if h.first == due {
		return nil
	}
	return &flaw{why: fmt.Sprintf("the block should start with record %d, found %d", due, h.first), trusted: true, order: true, h: *h}
}
