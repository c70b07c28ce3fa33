package server

import (
	"net/http"
	"strconv"
	"time"

	"example.com/bus"
)

// Names of headers in the spelling in which net/http keeps and sends them: each
// other one would be made anew for each answer.
const (
	headerEventID    = "X-Bus-Event-Id"
	headerCreatedAt  = "X-Bus-Event-Created-At"
	headerIndex      = "X-Bus-Event-Index"
	headerDurability = "X-Bus-Durability"
	headerConsumerID = "X-Bus-Consumer-Id"
)

// receipt is the answer for one event.
type receipt struct {
	ID        string
	Index     uint64 // 0: an inbox event, never stored
	CreatedAt time.Time
	DeliverAt time.Time // zero: at once
	Duplicate bool      // the key was published before: this is that event
	Confirmed int       // consumers that acknowledged, with confirm=
	Receivers *int      // who listened on an inbox
}

// receiptBytes is more than a receipt of an id of ours needs.
const receiptBytes = 128

func receiptOf(e *bus.Event) receipt {
	rc := receipt{ID: e.Id, Index: e.GivenIndex(), CreatedAt: e.CreatedAt}
	if e.Timing != nil {
		rc.DeliverAt = e.Timing.DeliverAt
	}
	return rc
}

// appendJSON appends the receipt without what is zero. An id needs no escapes:
// bus.CheckID has let it in.
func (rc *receipt) appendJSON(dst []byte) []byte {
	dst = append(append(append(dst, `{"id":"`...), rc.ID...), '"')
	if rc.Index > 0 {
		dst = strconv.AppendUint(append(dst, `,"index":`...), rc.Index, 10)
	}
	dst = append(rc.CreatedAt.AppendFormat(append(dst, `,"created_at":"`...), time.RFC3339Nano), '"')
	if !rc.DeliverAt.IsZero() {
		dst = append(rc.DeliverAt.AppendFormat(append(dst, `,"deliver_at":"`...), time.RFC3339Nano), '"')
	}
	if rc.Duplicate {
		dst = append(dst, `,"duplicate":true`...)
	}
	if rc.Confirmed > 0 {
		dst = strconv.AppendInt(append(dst, `,"confirmed":`...), int64(rc.Confirmed), 10)
	}
	if rc.Receivers != nil {
		dst = strconv.AppendInt(append(dst, `,"receivers":`...), int64(*rc.Receivers), 10)
	}
	return append(dst, '}')
}

// accept answers 202 with the receipt in headers and body.
func (s *Server) accept(w http.ResponseWriter, rc receipt) {
	s.setReceipt(w.Header(), rc)
	s.writeBody(w, http.StatusAccepted, append(rc.appendJSON(make([]byte, 0, receiptBytes)), '\n'))
}

// acceptAll answers 202 with the receipts of a batch, in its order.
func (s *Server) acceptAll(w http.ResponseWriter, receipts []receipt) {
	out := append(make([]byte, 0, 3+len(receipts)*receiptBytes), '[')
	for i := range receipts {
		if i > 0 {
			out = append(out, ',')
		}
		out = receipts[i].appendJSON(out)
	}
	s.writeBody(w, http.StatusAccepted, append(out, "]\n"...))
}

// setReceipt shares what it allocates among the headers: this is done for each
// event that is published by itself.
func (s *Server) setReceipt(h http.Header, rc receipt) {
	var room [64]byte
	text := rc.CreatedAt.AppendFormat(room[:0], time.RFC3339Nano)
	n := len(text)
	said := string(strconv.AppendUint(text, rc.Index, 10)) // 0 for an inbox: older clients parse it always
	values := []string{rc.ID, said[:n], said[n:], s.engine.Durability()}
	if rc.Index == 0 {
		values[3] = "memory"
	}
	for i, name := range [...]string{headerEventID, headerCreatedAt, headerIndex, headerDurability} {
		h[name] = values[i : i+1 : i+1]
	}
}
