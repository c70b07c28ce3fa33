package server

import (
	"context"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// What a stream is at.
const (
	busy    int32 = iota // a goroutine is at it; so it begins
	again                // and has to look once more
	resting              // no goroutine is: wake brings one
)

// activity says whether a goroutine is at a stream. A stream that rests on a
// connection of its own holds none, and so no stack: a goroutine comes for what
// there is to do and goes again.
type activity struct {
	state atomic.Int32
	gone  atomic.Bool   // the peer is
	woken chan struct{} // by whom a stream that stays with its request is continued; nil: a new goroutine
	timer *time.Timer
	at    time.Time // what timer is set to
	leave func()    // counts the stream out
	alone func()    // goOn as a value, made once: go st.goOn() would make one at each wake-up
}

// wake has the stream look what there is to do. It never blocks, and may be
// called from any goroutine, also when the stream is over.
func (st *stream) wake() {
	for {
		switch st.state.Load() {
		case resting:
			if !st.state.CompareAndSwap(resting, busy) {
				continue
			}
			if st.woken != nil {
				st.woken <- struct{}{} // there is room: whoever rests has taken the last
			} else {
				go st.alone()
			}
			return
		case busy:
			if st.state.CompareAndSwap(busy, again) {
				return
			}
		default:
			return
		}
	}
}

// rest leaves the stream alone, unless it was woken meanwhile. After true only
// wake may touch it.
func (st *stream) rest() bool {
	if st.state.CompareAndSwap(busy, resting) {
		return true
	}
	st.state.Store(busy)
	return false
}

// wakeAt wakes the stream at a time, instead of one that was said before.
func (st *stream) wakeAt(at, now time.Time) {
	if at.Equal(st.at) && now.Before(at) {
		return
	}
	st.at = at
	if st.timer == nil {
		st.timer = time.AfterFunc(at.Sub(now), st.wake)
		return
	}
	st.timer.Reset(at.Sub(now))
}

// lose is for whoever sees that the peer has gone.
func (st *stream) lose() {
	st.gone.Store(true)
	st.wake()
}

// stay is the life of a stream whose goroutine is that of its request.
func (st *stream) stay(ctx context.Context) {
	st.woken = make(chan struct{}, 1)
	defer context.AfterFunc(ctx, st.lose)()
	defer context.AfterFunc(st.server.drained, st.wake)()
	for !st.turn() {
		if st.rest() {
			<-st.woken
		}
	}
	st.over()
}

// goOn continues a stream on a connection of its own until it rests or is over.
func (st *stream) goOn() {
	for !st.guarded() {
		if st.rest() {
			return
		}
	}
	st.depart()
}

// guarded is turn, but that what goes wrong in it ends this stream alone, as
// net/http would have it.
func (st *stream) guarded() (over bool) {
	defer func() {
		if err := recover(); err != nil {
			st.server.log.Error("a stream is broken off by a panic", "consumer_id", st.id, "error", err, "stack", string(debug.Stack()))
			st.broken, over = true, true
		}
	}()
	return st.turn()
}

// depart ends a stream on a connection of its own.
func (st *stream) depart() {
	st.over()
	st.part()
	st.peer.end(!st.broken)
	st.leave()
}

func (st *stream) over() {
	if st.timer != nil {
		st.timer.Stop()
	}
}
