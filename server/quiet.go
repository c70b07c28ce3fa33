package server

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// quiet says something that may happen ten thousand times a second only once in
// a while, and how often it was passed over. What peers can cause must not fill
// a disk with lines.
type quiet struct {
	every time.Duration
	burst int // how many are said in that time; 0 means 1

	mu     sync.Mutex // guards the rest
	next   time.Time
	said   int // since next was set
	passed int
}

// due reports whether it may be said now, and how often it was passed over since
// it was said last.
func (q *quiet) due() (passed int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	if !now.Before(q.next) {
		passed, q.passed, q.said, q.next = q.passed, 0, 0, now.Add(q.every)
	}
	if q.said >= max(q.burst, 1) {
		q.passed++
		return 0, false
	}
	q.said++
	return passed, true
}

func (q *quiet) warn(log *slog.Logger, text string, attrs ...any) {
	q.say(log, slog.LevelWarn, text, attrs...)
}

func (q *quiet) say(log *slog.Logger, level slog.Level, text string, attrs ...any) {
	passed, ok := q.due()
	if !ok {
		return
	}
	if passed > 0 {
		attrs = append(attrs, "times_since_last_said", passed)
	}
	log.Log(context.Background(), level, text, attrs...)
}
