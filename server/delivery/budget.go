package delivery

import "time"

// idleSlabs is how long after the last event the slabs of a quiet feed stay. A
// stream that has not read them by then reads the log.
const idleSlabs = 2 * time.Second

// keep counts a new slab and drops the oldest ones of all views over the
// budget. The newest stays: it is being written to.
func (f *feed) keep(s *slab) {
	s.elem = f.slabs.PushBack(s)
	f.slabSum += len(s.data)
	for f.slabSum > f.hub.viewBytes && f.slabs.Len() > 1 {
		f.dropSlab(f.slabs.Front().Value.(*slab))
	}
}

// dropSlab forgets the oldest slab of a view.
func (f *feed) dropSlab(s *slab) {
	f.slabs.Remove(s.elem)
	f.slabSum -= len(s.data)
	s.view.drop()
}

// rest lets go of all frames when the feed has been quiet, so that idle
// subscribers cost no buffer.
func (f *feed) rest() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dropSlabs()
}

func (f *feed) dropSlabs() {
	for e := f.slabs.Front(); e != nil; e = f.slabs.Front() {
		f.dropSlab(e.Value.(*slab))
	}
}

// postpone starts the wait for quiet anew.
func (f *feed) postpone() {
	switch {
	case f.slabs.Len() == 0:
	case f.idle == nil:
		f.idle = time.AfterFunc(idleSlabs, f.rest)
	default:
		f.idle.Reset(idleSlabs)
	}
}

// hush lets the frames go and stops the timer that would.
func (f *feed) hush() {
	f.dropSlabs()
	if f.idle != nil {
		f.idle.Stop()
	}
}

// quiet is for a feed whose goroutine has ended with the hub. The frames stay:
// streams may still take them.
func (f *feed) quiet() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.idle != nil {
		f.idle.Stop()
	}
}
