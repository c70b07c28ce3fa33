package client

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// wireSettings are settings as they travel: durations are texts, and what is absent is not
// asked for.
type wireSettings struct {
	Subjects        []string `json:"subjects,omitempty"`
	Start           string   `json:"start,omitempty"`
	Redelivery      string   `json:"redelivery,omitempty"`
	RedeliveryCount *int     `json:"redelivery_count,omitempty"`
	Backoff         []string `json:"backoff,omitzero"` // an empty one is asked for
	Inflight        int      `json:"inflight,omitempty"`
	IdleExpiry      string   `json:"idle_expiry,omitempty"`
	Paused          *bool    `json:"paused,omitempty"`
}

func (s *ConsumerSettings) wire() wireSettings {
	w := wireSettings{Subjects: s.Subjects, Start: s.Start, Redelivery: span(s.Redelivery), Inflight: s.Inflight, IdleExpiry: span(s.IdleExpiry), Paused: s.Paused}
	if s.RedeliveryCount != 0 {
		w.RedeliveryCount = new(s.RedeliveryCount)
		if s.RedeliveryCount == Endless {
			w.RedeliveryCount = new(0)
		}
	}
	if s.IdleExpiry == Never {
		w.IdleExpiry = "never"
	}
	if s.Backoff != nil {
		w.Backoff = make([]string, 0, len(s.Backoff))
	}
	for _, d := range s.Backoff {
		w.Backoff = append(w.Backoff, d.String())
	}
	return w
}

func span(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

// wireInfo is what a server says of a consumer, as it travels.
type wireInfo struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	wireSettings
	CreatedAt       time.Time `json:"created_at"`
	Connections     int       `json:"connections"`
	DeliveredIndex  uint64    `json:"delivered_index"`
	AckFloor        uint64    `json:"ack_floor"`
	Unacked         int       `json:"unacked"`
	Waiting         int       `json:"waiting"`
	Behind          uint64    `json:"behind"`
	Redelivered     uint64    `json:"redelivered"`
	Dead            uint64    `json:"dead"`
	OldestUnacked   uint64    `json:"oldest_unacked,omitempty"`
	OldestUnackedAt time.Time `json:"oldest_unacked_at,omitzero"`
	Stalled         bool      `json:"stalled"`
}

// UnmarshalJSON reads what a server says. Members that a later one adds are passed over.
func (i *ConsumerInfo) UnmarshalJSON(data []byte) error {
	var w wireInfo
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	settings, err := w.settings()
	*i = ConsumerInfo{
		ConsumerSettings: settings, Name: w.Name, Namespace: w.Namespace, CreatedAt: w.CreatedAt,
		Connections: w.Connections, DeliveredIndex: w.DeliveredIndex, AckFloor: w.AckFloor, Unacked: w.Unacked, Waiting: w.Waiting,
		Behind: w.Behind, Redelivered: w.Redelivered, Dead: w.Dead, OldestUnacked: w.OldestUnacked, OldestUnackedAt: w.OldestUnackedAt, Stalled: w.Stalled,
	}
	return err
}

// MarshalJSON returns what a server says, with durations as Go writes them.
func (i ConsumerInfo) MarshalJSON() ([]byte, error) {
	return json.Marshal(wireInfo{
		Name: i.Name, Namespace: i.Namespace, wireSettings: i.wire(), CreatedAt: i.CreatedAt,
		Connections: i.Connections, DeliveredIndex: i.DeliveredIndex, AckFloor: i.AckFloor, Unacked: i.Unacked, Waiting: i.Waiting,
		Behind: i.Behind, Redelivered: i.Redelivered, Dead: i.Dead, OldestUnacked: i.OldestUnacked, OldestUnackedAt: i.OldestUnackedAt, Stalled: i.Stalled,
	})
}

func (w *wireSettings) settings() (s ConsumerSettings, err error) {
	s = ConsumerSettings{Subjects: w.Subjects, Start: w.Start, Inflight: w.Inflight, Paused: new(w.Paused != nil && *w.Paused), RedeliveryCount: Endless}
	if w.RedeliveryCount != nil && *w.RedeliveryCount > 0 {
		s.RedeliveryCount = *w.RedeliveryCount
	}
	if s.Redelivery, err = parseSpan(w.Redelivery); err != nil {
		return s, err
	}
	if s.IdleExpiry, err = parseSpan(w.IdleExpiry); err != nil {
		return s, err
	}
	for _, text := range w.Backoff {
		d, err := parseSpan(text)
		if err != nil {
			return s, err
		}
		s.Backoff = append(s.Backoff, d)
	}
	return s, nil
}

// parseSpan is time.ParseDuration with the days and weeks that a server takes.
func parseSpan(text string) (time.Duration, error) {
	for unit, length := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if count, ok := strings.CutSuffix(text, unit); ok {
			n, err := strconv.Atoi(count)
			return time.Duration(n) * length, err
		}
	}
	if text == "" {
		return 0, nil
	}
	return time.ParseDuration(text)
}
