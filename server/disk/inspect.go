package disk

import (
	"encoding/hex"
	"time"

	"example.com/bus"
)

// Inspect returns what there is to say about a namespace, and the zero value
// for an unknown one.
func (e *Engine) Inspect(namespace string) bus.NamespaceInfo {
	n := e.log(namespace)
	if n == nil {
		return bus.NamespaceInfo{}
	}
	s := n.log.Stat()
	prefix := bus.FormatID(bus.Position{Incarnation: n.incarnation})
	info := bus.NamespaceInfo{
		Name: n.name, First: s.First, Last: s.Next - 1, Events: s.Next - s.First, Bytes: s.Bytes,
		FirstAt: s.FirstTime, LastAt: s.LastTime, Sealed: s.Sealed,
		Incarnation: prefix[:len(prefix)-1], // without the digit of index 0
		TornTails:   uint64(s.TornCuts),
		Subjects:    int(n.lasts.size.Load()),
		Segments:    s.Segments, Retention: n.policy.Load().info(),
		Removed: bus.Removed{Deleted: n.removed[reasonDeleted].Load(), Compacted: n.removed[reasonCompacted].Load(), Expired: n.removed[reasonExpired].Load()},
		Deleted: bus.Deleted{Segments: n.deleted.segments.Load(), Events: n.deleted.events.Load(), Bytes: n.deleted.bytes.Load()},
	}
	if s.First == s.Next { // of one that was emptied, the log still knows it
		info.LastAt = time.Time{}
	}
	if s.Sealed {
		info.KeyID = hex.EncodeToString(s.KeyID[:])
	}
	n.inspectDelays(&info)
	info.FreeBytes, info.Problem = n.room.inspect(n.name)
	if s.Err != nil {
		info.Problem = s.Err.Error()
	}
	return info
}
