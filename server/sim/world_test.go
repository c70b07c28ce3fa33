package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing/synctest"
	"time"

	"example.com/bus"
	"example.com/bus/crypto"
	"example.com/bus/immuta"
	"example.com/bus/immuta/faultfs"
	"example.com/bus/server"
	"example.com/bus/server/disk"
)

const (
	dir         = "data"
	dedupWindow = 10 * time.Minute
	writeLimit  = 30 * time.Second // the server's for one write to a peer
)

// life is what a seed decides before the first step.
type life struct {
	seed    uint64
	sync    string
	every   time.Duration // of interval; 0: another mode
	latency time.Duration // of a sync
	age     time.Duration // at which streams end; 0: never
	block   int
	sealed  bool
	steps   []step
}

// world is one life under way. Its methods are the driver's, one goroutine;
// what others touch is behind mu.
type world struct {
	life        life
	sabotage    func(immuta.FS) immuta.FS // of a test that wants to see a life fail; nil: none
	fs          *faultfs.FS
	ring        *crypto.Keyring
	ahead       atomic.Int64 // nanoseconds, of the disk engine's clock
	jumped      bool         // the clock was set
	filled      bool         // the disk was full once
	deadFailed  bool         // the log of dead letters has met an EIO, and takes nothing more
	namedFailed bool         // that of named consumers has
	ownFailed   time.Time    // the first time either did, in this process or the last
	up          bool
	step        int
	cutAt       int       // the call of the file system behind which the power goes; 0: none
	diedAt      time.Time // the last crash
	server      *server.Server
	engine      *disk.Engine
	net         *memoryNet
	served      chan error
	client      *http.Client
	transport   *http.Transport

	spaces    map[string]*namespace
	events    []*event
	byTrace   map[string]*event
	batches   []*op
	readers   []*reader
	consumers []*consumer
	named     []*named
	own       []*namespace // logs of the bus's own, when the disk last rotted
	started   []time.Time  // when each process was
	undone    time.Time    // when a power cut took back what no mode promises
	conns     []*conn      // all there ever were
	sent      int          // operations so far
	pending   int          // operations that are not finished

	trace   []string
	failure string

	mu     sync.Mutex
	ops    []*op // finished, not yet looked at
	faults faults
}

var names = []string{"app", "orders"}

func newWorld(l life) *world {
	w := &world{life: l, fs: faultfs.New(), spaces: map[string]*namespace{}, byTrace: map[string]*event{}}
	for _, name := range names {
		w.spaces[name] = newNamespace(name)
	}
	key, err := crypto.NewKey("a secret of thirty-two characters, at least")
	if err != nil {
		w.failf("key: %v", err)
	}
	w.ring = crypto.NewKeyring(key)
	return w
}

// failf keeps the first failure, which the others only follow from.
func (w *world) failf(format string, args ...any) {
	if w.failure == "" {
		w.failure = fmt.Sprintf("step %d: ", w.step) + fmt.Sprintf(format, args...)
	}
}

func (w *world) tracef(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%3d ", w.step)+fmt.Sprintf(format, args...))
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

// open opens the engine on what the disk holds, as a process that starts does.
func (w *world) open(files *faultfs.FS) (*disk.Engine, error) {
	durability, err := disk.ParseDurability(w.life.sync)
	if err != nil {
		return nil, err
	}
	o := disk.Options{
		Namespaces: names, Durability: durability, FS: slowDisk{files, w.life.latency}, BlockSize: w.life.block, Now: w.now,
		GroupEvents: 1 + w.life.block%9, // lives are short
	}
	if w.life.sealed {
		o.Sealing = w.ring
	}
	if w.sabotage != nil {
		o.FS = w.sabotage(o.FS)
	}
	return disk.Open(dir, o)
}

// boot starts a server, and fails only when the file system does.
func (w *world) boot() bool {
	files := w.fs
	files.Inject(w.faults.hook)
	w.cutAt, w.deadFailed, w.namedFailed = 0, false, false
	engine, err := w.open(files)
	if err != nil {
		w.tracef("open: %v", err)
		return false
	}
	for _, own := range []string{bus.DeadNamespace, bus.ConsumersNamespace} { // as an engine does on a disk of its own
		if slices.Contains(files.Names(), dir+"/"+own+".log") {
			_ = engine.Keep(own)
		}
	}
	s, err := server.New(server.Config{Engine: engine, Version: "sim", DedupWindow: dedupWindow, WriteTimeout: writeLimit, MaxStreamAge: w.life.age})
	if err != nil {
		w.failf("new server: %v", err)
		engine.Close()
		return false
	}
	w.engine, w.server, w.net, w.served = engine, s, newMemoryNet(), make(chan error, 1)
	go func(listener *memoryNet) { w.served <- s.Serve(listener) }(w.net)
	w.transport = &http.Transport{DialContext: w.net.dial, DisableCompression: true}
	w.client = &http.Client{Transport: w.transport}
	w.up = true
	return true
}

// die ends the process as kill -9 does: nobody hears anything more of it, and
// nothing more reaches the disk.
func (w *world) die() {
	if !w.up {
		return
	}
	w.up = false
	w.fs.CutAfter(0)
	w.net.cut()
	w.transport.CloseIdleConnections()
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	w.server.Shutdown(gone)
	<-w.served
	w.engine.Close()
	w.rest()
}

// shutdown ends the server as a signal does.
func (w *world) shutdown() {
	if !w.up {
		return
	}
	const patience = 10 * time.Second
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	begin := time.Now()
	err := w.server.Shutdown(ctx)
	if took := time.Since(begin); took > patience {
		w.failf("Shutdown took %s, want at most %s (%v)", took, patience, err)
	}
	if err != nil && !w.anySlow() {
		w.failf("Shutdown with nobody slow: %v", err)
	}
	<-w.served
	if err := w.engine.Close(); err != nil && !w.anyFailed() && !w.faults.any() {
		w.failf("Close: %v", err)
	}
	w.up = false
	w.net.cut()
	w.transport.CloseIdleConnections()
	w.rest()
}

func (w *world) lifeNow() int { return len(w.started) }

// rest waits until nothing moves any more, and looks at what has happened.
func (w *world) rest() {
	synctest.Wait()
	w.collect()
}

// tick lets some time pass, or none: what is being stored may get done.
func (w *world) tick(rng *rand.Rand) {
	time.Sleep(w.life.latency * time.Duration(rng.IntN(8)) / 2)
}

// grace is how long after an answer an event may be taken back by a power cut,
// or be unseen: with sync=interval, until the sync that follows is done.
func (w *world) grace() time.Duration {
	if w.life.every == 0 {
		return 0
	}
	return w.life.every + 3*w.life.latency + time.Millisecond
}

func (w *world) anySlow() bool {
	for _, r := range w.readers {
		if r.slow && r.conn != nil {
			return true
		}
	}
	return false
}

func (w *world) anyFailed() bool {
	for _, ns := range w.spaces {
		if ns.failed > 0 {
			return true
		}
	}
	return w.deadFailed || w.namedFailed
}

// do sends a request and reads the answer; 0 when there was none.
func (w *world) do(method, query, body string, headers ...string) answer {
	return request(w.client, method, query, &trickle{text: body}, headers...)
}

// boots starts the server, over some starts that meet a power cut or a fault,
// until it stands. A disk without faults must always do.
func (w *world) boots(rng *rand.Rand, power bool) {
	for range rng.IntN(3) {
		switch rng.IntN(4) {
		case 0:
			w.faults.set(true, "", 0)
		case 1:
			w.faults.set(false, []string{"write", "sync", "truncate", "syncdir", "rename"}[rng.IntN(5)], rng.IntN(4))
		default:
			w.fs.CutAfter(w.fs.Calls() + 1 + rng.IntN(12))
		}
		if w.boot() {
			w.rest()
			w.die()
		}
		w.faults.clear()
		w.lose(rng, power)
	}
	w.faults.clear()
	if !w.boot() {
		w.failf("a disk without faults does not open")
		return
	}
	w.rest()
	w.reread(power)
}

// lose is what happens to the disk between two processes.
func (w *world) lose(rng *rand.Rand, power bool) {
	if !power {
		w.fs.Restart()
		return
	}
	keep := []faultfs.Keep{faultfs.None, faultfs.Random, faultfs.Random, faultfs.Random, faultfs.All}[rng.IntN(5)]
	w.fs = w.fs.After(keep, rng)
}
