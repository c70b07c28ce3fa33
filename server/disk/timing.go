package disk

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"time"

	"example.com/bus"
)

// The timing of an event stands in its record like this (FORMAT.md says the same):
//
//	size  name
//	1     flags: which of the fields are there, at least one
//	0, 8  deliver_at, unix nanoseconds, little-endian
//	0, 8  expires_at, in the same way
//	0, 8  published, the index that the event was given
const (
	timingDeliverAt = 1 << 0
	timingExpiresAt = 1 << 1
	timingPublished = 1 << 2
	timingReserved  = 0xF8

	maxTiming = 1 + 3*8 // bytes of it, at most
)

func timingSize(e *bus.Event) int {
	if e.Timing == nil {
		return 0
	}
	return maxTiming
}

// appendTiming appends the timing of an event that has passed Check. What a
// publisher says relative to now has been settled by then.
func appendTiming(dst []byte, t *bus.Timing) []byte {
	at := len(dst)
	dst = append(dst, 0)
	if !t.DeliverAt.IsZero() {
		dst[at] |= timingDeliverAt
		dst = binary.LittleEndian.AppendUint64(dst, uint64(t.DeliverAt.UnixNano()))
	}
	if !t.ExpiresAt.IsZero() {
		dst[at] |= timingExpiresAt
		dst = binary.LittleEndian.AppendUint64(dst, uint64(t.ExpiresAt.UnixNano()))
	}
	if t.Published != 0 {
		dst[at] |= timingPublished
		dst = binary.LittleEndian.AppendUint64(dst, t.Published)
	}
	return dst
}

// checkTiming refuses what would not be read back as it is.
func checkTiming(t *bus.Timing) error {
	switch {
	case t == nil:
	case t.Delay != 0 || t.TTL != 0:
		return fmt.Errorf("the event says %s and %s from a moment that is not known here", t.Delay, t.TTL)
	case t.DeliverAt.IsZero() && t.ExpiresAt.IsZero() && t.Published == 0:
		return fmt.Errorf("the event has a timing that says nothing")
	}
	return nil
}

// timingLength returns how many bytes of data, which begins with a timing, are it.
func timingLength(data []byte) (int, error) {
	if len(data) == 0 {
		return 0, fmt.Errorf("record ends before its timing")
	}
	flags := data[0]
	if flags&timingReserved != 0 || flags == 0 {
		return 0, fmt.Errorf("record has the timing flags %#02x, of which %#02x are unknown", flags, flags&timingReserved)
	}
	n := 1 + 8*bits.OnesCount8(flags)
	if len(data) < n {
		return 0, fmt.Errorf("record has %d bytes of timing, its flags say %d", len(data), n)
	}
	if at := n - 8; flags&timingPublished != 0 && binary.LittleEndian.Uint64(data[at:])-1 >= bus.MaxIndex {
		return 0, fmt.Errorf("record was published at index %d", binary.LittleEndian.Uint64(data[at:]))
	}
	return n, nil
}

// readTiming returns a timing that timingLength has measured.
func readTiming(data []byte) *bus.Timing {
	t, flags := &bus.Timing{}, data[0]
	data = data[1:]
	next := func() (n uint64) {
		n, data = binary.LittleEndian.Uint64(data), data[8:]
		return n
	}
	if flags&timingDeliverAt != 0 {
		t.DeliverAt = time.Unix(0, int64(next())).UTC()
	}
	if flags&timingExpiresAt != 0 {
		t.ExpiresAt = time.Unix(0, int64(next())).UTC()
	}
	if flags&timingPublished != 0 {
		t.Published = next()
	}
	return t
}
