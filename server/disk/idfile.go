package disk

import (
	"encoding/binary"
	"fmt"
	"time"
)

// The derived log that keeps an idSet over restarts: derived/<namespace>.log,
// of kind "ids". Behind its head stand deltas (FORMAT.md):
//
//	delta: version 1, kind 2, from u64, next u64, commit time i64 of next-1,
//	       runs u32, hashes u32, runs of 4×u64, hashes of 2×u64
//
// A delta says which ids of others stand at the indexes [from, next), and
// begins where the one before it ended.
const (
	idDeltaFixed = 2 + 3*8 + 2*4
	idRunSize    = 4 * 8
	idHashSize   = 2 * 8

	// idChunk bounds a delta's entries, and so its record and the memory that
	// reading one takes.
	idChunk = 4 << 10
)

type idDelta struct {
	span
	runs   []run
	hashes []hashed
}

func appendIDDelta(dst []byte, d idDelta) []byte {
	put := func(values ...uint64) {
		for _, v := range values {
			dst = binary.LittleEndian.AppendUint64(dst, v)
		}
	}
	dst = append(dst, derivedVersion, derivedKindMore)
	put(d.from, d.next, uint64(d.at.UnixNano()))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(d.runs)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(d.hashes)))
	for _, r := range d.runs {
		put(r.incarnation, r.foreign, r.local, r.count)
	}
	for _, h := range d.hashes {
		put(h.hash, h.local)
	}
	return dst
}

func parseIDDelta(data []byte) (d idDelta, err error) {
	if len(data) < idDeltaFixed || data[0] != derivedVersion || data[1] != derivedKindMore {
		return d, fmt.Errorf("wanted a delta of at least %d bytes and version %d, found %d bytes beginning % x", idDeltaFixed, derivedVersion, len(data), data[:min(2, len(data))])
	}
	runs, hashes := uint64(binary.LittleEndian.Uint32(data[26:])), uint64(binary.LittleEndian.Uint32(data[30:]))
	if want := idDeltaFixed + runs*idRunSize + hashes*idHashSize; uint64(len(data)) != want {
		return d, fmt.Errorf("wanted a delta of %d bytes for %d runs and %d hashes, found %d", want, runs, hashes, len(data))
	}
	at := 2
	get := func() uint64 {
		at += 8
		return binary.LittleEndian.Uint64(data[at-8:])
	}
	d.span = span{from: get(), next: get(), at: time.Unix(0, int64(get())).UTC()}
	at = idDeltaFixed
	for range runs {
		d.runs = append(d.runs, run{incarnation: get(), foreign: get(), local: get(), count: get()})
	}
	for range hashes {
		d.hashes = append(d.hashes, hashed{hash: get(), local: get()})
	}
	return d, nil
}

// loadDelta takes a delta that follows known, and returns what is known then.
func (s *idSet) loadDelta(data []byte, known span) (span, error) {
	d, err := parseIDDelta(data)
	if err != nil {
		return known, err
	}
	if d.from != known.next || d.next < d.from {
		return known, fmt.Errorf("wanted a delta from index %d on, found one from %d to %d", known.next, d.from, d.next)
	}
	s.load(d.runs, d.hashes)
	known.next, known.at = d.next, d.at
	return known, nil
}

// deltas returns the records that say what is new in [from, to.next): only the
// last one moves the end, so that a part of them is never mistaken for all.
func deltas(from uint64, to span, runs []run, hashes []hashed) [][]byte {
	var records [][]byte
	for len(runs) > 0 || len(hashes) > 0 {
		r, h := min(idChunk, len(runs)), min(idChunk, len(hashes))
		part := idDelta{span: span{from: from, next: from, at: to.at}, runs: runs[:r], hashes: hashes[:h]}
		runs, hashes = runs[r:], hashes[h:]
		if len(runs) == 0 && len(hashes) == 0 {
			part.next = to.next
		}
		records = append(records, appendIDDelta(nil, part))
	}
	if len(records) == 0 {
		records = append(records, appendIDDelta(nil, idDelta{span: span{from: from, next: to.next, at: to.at}}))
	}
	return records
}
