package disk

import (
	"encoding/binary"
	"fmt"
	"time"
)

// Which events wait is kept over restarts in the derived log of foreign ids, since
// all of them have such an id. It stands in front of the delta of the same save:
//
//	delays: version 1, kind 3, from u64, next u64, commit time i64 of next-1,
//	        waits u32, gone u32, waits of index u64 and due i64, gone of u64
//
// It is true once a delta with the same next and time follows.
const (
	derivedKindDelays = 3

	delayWaitSize = 2 * 8
	delayGoneSize = 8
)

type delayDelta struct {
	span
	waits []wait
	gone  []uint64
}

func appendDelayDelta(dst []byte, d delayDelta) []byte {
	put := func(v uint64) { dst = binary.LittleEndian.AppendUint64(dst, v) }
	dst = append(dst, derivedVersion, derivedKindDelays)
	put(d.from)
	put(d.next)
	put(uint64(d.at.UnixNano()))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(d.waits)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(d.gone)))
	for _, w := range d.waits {
		put(w.index)
		put(uint64(w.due))
	}
	for _, index := range d.gone {
		put(index)
	}
	return dst
}

func parseDelayDelta(data []byte) (d delayDelta, err error) {
	if len(data) < idDeltaFixed || data[0] != derivedVersion || data[1] != derivedKindDelays {
		return d, fmt.Errorf("wanted delays of at least %d bytes and version %d, found %d bytes beginning % x", idDeltaFixed, derivedVersion, len(data), data[:min(2, len(data))])
	}
	waits, gone := uint64(binary.LittleEndian.Uint32(data[26:])), uint64(binary.LittleEndian.Uint32(data[30:]))
	if want := idDeltaFixed + waits*delayWaitSize + gone*delayGoneSize; uint64(len(data)) != want {
		return d, fmt.Errorf("wanted delays of %d bytes for %d that wait and %d that do not, found %d", want, waits, gone, len(data))
	}
	at := 2
	get := func() uint64 {
		at += 8
		return binary.LittleEndian.Uint64(data[at-8:])
	}
	d.span = span{from: get(), next: get(), at: time.Unix(0, int64(get())).UTC()}
	at = idDeltaFixed
	for range waits {
		d.waits = append(d.waits, wait{index: get(), due: int64(get())})
	}
	for range gone {
		d.gone = append(d.gone, get())
	}
	return d, nil
}

// delayDeltas returns the records that say what is new in [from, to.next).
func delayDeltas(from uint64, to span, waits []wait, releases []release) [][]byte {
	var records [][]byte
	for len(waits) > 0 || len(releases) > 0 {
		w, r := min(idChunk, len(waits)), min(idChunk, len(releases))
		part := delayDelta{span: span{from: from, next: to.next, at: to.at.UTC()}, waits: waits[:w]}
		for _, gone := range releases[:r] {
			part.gone = append(part.gone, gone.index)
		}
		waits, releases = waits[w:], releases[r:]
		records = append(records, appendDelayDelta(nil, part))
	}
	return records
}
