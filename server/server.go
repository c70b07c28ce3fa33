// Package server is the HTTP interface of the bus: it turns requests into
// events and acknowledgements, and commits into streams. It does not know how
// events are kept (Engine), nor who is owed which event (package delivery).
package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/bus"
	"example.com/bus/server/delivery"
)

// Config is what a server is made of. Zero values stand for the defaults that
// are named.
type Config struct {
	Engine  Engine       // required
	Logger  *slog.Logger // nil: nothing is logged
	Version string

	MaxEvent       int // bytes of one event; bus.DefaultMaxEvent
	MaxBatch       int // bytes of one batch; bus.DefaultMaxBatch
	MaxBatchEvents int // events of one batch; bus.DefaultBatchCount
	MaxBuffered    int // bytes of bodies and arrays in memory at once, over all requests, and as many of unacknowledged events; 256 MiB

	// What the process has at once. Negative: no limit.
	MaxConnections       int // 20,000; an eighth of them, at most 32, only for probes and refusals
	MaxStreams           int // 20,000
	MaxStreamsPerAddress int // 16,000; an IPv6 address counts by its /64

	MaxSubjects      int // patterns on one stream; 64
	MaxPatternLength int // bytes of one pattern; bus.MaxSubjectLen, which is also the most
	MaxInflight      int // what inflight= may ask for; 10,000
	MaxConsumers     int // named consumers of one namespace; 1,000

	DedupWindow time.Duration // how long a key is remembered; 10 minutes
	DedupKeys   int           // how many keys a namespace remembers; 1,000,000; negative: none

	Heartbeat    time.Duration // between pings on a stream; 15 s
	WriteTimeout time.Duration // for one write to a peer; 30 s
	BodyTimeout  time.Duration // for a request body to arrive; 30 s
	HeadTimeout  time.Duration // for request headers to arrive; 5 s
	MaxStreamAge time.Duration // after which a stream is ended for a reconnect; 0: never

	rewriteConsumers int64 // bytes of the log of named consumers at which it is written anew

	Admin bool // whoever can reach Handler may declare and delete namespaces; ServeAdmin lets him in any case

	Origins []string // browser origins allowed beside our own and loopback; "*" for all
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&c.MaxEvent, bus.DefaultMaxEvent)
	setDefault(&c.MaxBatch, bus.DefaultMaxBatch)
	setDefault(&c.MaxBatchEvents, bus.DefaultBatchCount)
	setDefault(&c.MaxBuffered, 256<<20)
	c.limitDefaults()
	setDefault(&c.DedupWindow, 10*time.Minute)
	setDefault(&c.DedupKeys, 1_000_000)
	if c.rewriteConsumers == 0 {
		c.rewriteConsumers = rewriteConsumersAt
	}
	setDefault(&c.Heartbeat, 15*time.Second)
	setDefault(&c.WriteTimeout, 30*time.Second)
	setDefault(&c.BodyTimeout, 30*time.Second)
	setDefault(&c.HeadTimeout, 5*time.Second)
	c.MaxBatch = max(c.MaxBatch, c.MaxEvent)
	c.MaxBuffered = max(c.MaxBuffered, 4*c.MaxBatch, 8*maxArrayBytes) // or the largest could never come in
	return c
}

func setDefault[T int | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// Server serves one engine. Its methods may be called from many goroutines.
type Server struct {
	config   Config
	engine   Engine
	hub      *delivery.Hub
	log      *slog.Logger
	metrics  *metrics
	http     *http.Server
	office   *http.Server // for administrators
	sse      sseFormat
	ndjson   ndjsonFormat
	inboxes  idSource // ids of events that are never stored
	budget   budget   // of bytes that requests hold
	gate     *gate
	streams  streamCount
	named    consumers
	letters  openLetters
	burials  burials
	declared declared
	schedule *delivery.Schedule // of events that wait for their delivery
	conns    connPeers
	plain    plainPeers
	buffers  sync.Pool // of *buffer
	asked    asked
	crowded  quiet // requests refused because of a limit of the process
	shrunk   quiet // keys forgotten early
	slow     quiet // readers let go
	dead     quiet // events given up
	spoilt   quiet // streams that came to the damaged end of a log

	draining atomic.Bool
	drained  context.Context // done once the streams have to end
	drain    context.CancelFunc
	keys     sync.Map // by namespace: *keyLoad
	loading  sync.WaitGroup
}

// New makes a server over an open engine. The engine stays the caller's, to be
// closed after Shutdown.
func New(c Config) (*Server, error) {
	if c.Engine == nil {
		return nil, errors.New("an engine is needed, found none")
	}
	c = c.withDefaults()
	origins, err := parseOrigins(c.Origins)
	if err != nil {
		return nil, err
	}
	s := &Server{config: c, engine: c.Engine, log: c.Logger, inboxes: newIDSource()}
	s.budget.most = int64(c.MaxBuffered)
	s.streams.most, s.streams.mostByAddr = max(c.MaxStreams, 0), max(c.MaxStreamsPerAddress, 0)
	s.crowded.every, s.shrunk.every, s.slow.every, s.spoilt.every = time.Minute, time.Minute, 10*time.Second, time.Minute
	s.dead.every, s.dead.burst = time.Minute, 20
	s.named.serve(s)
	s.letters = openLetters{server: s, most: maxOpenDead, claims: make(map[uint64]struct{}), done: make(map[uint64]struct{})}
	s.drained, s.drain = context.WithCancel(context.Background())
	s.hub = delivery.NewHub(c.Engine, append(slices.Clone(c.Engine.Namespaces()), bus.DeadNamespace), delivery.Options{
		FlightBytes: c.MaxBuffered,
		DedupWindow: c.DedupWindow,
		DedupKeys:   max(c.DedupKeys, 0),
		Lookup:      s.lookup,
		Journal:     &s.named,
		Bury:        s.bury,
	})
	s.metrics = newMetrics(c.Engine, s.hub, c.Version)
	s.metrics.registry.MustRegister(newLimitCollector(s), newDeadCollector(s))
	s.schedule = delivery.NewSchedule(c.Engine, s.metrics.late, s.releaseFailed)
	s.budget.refused = func(err error) error { return s.overLimit(limitBuffered, err) }
	s.gate = newGate(c.MaxConnections, c.HeadTimeout, c.WriteTimeout+unheardFor, c.Logger, s.metrics.acceptErrors.Inc)
	s.sse, s.ndjson = sseFormat{engine: c.Engine, plain: &sync.Map{}}, newNDJSONFormat()
	s.http = &http.Server{
		Handler:           origins.protect(s, s.routes(c.Admin)),
		ReadHeaderTimeout: c.HeadTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    64 << 10,
		Protocols:         protocols(),
		ConnContext:       s.gate.mark,
		// The deadline of a stream ends its handler with a frame, which cannot be
		// written either to a peer whose window is closed.
		HTTP2:    &http.HTTP2Config{WriteByteTimeout: c.WriteTimeout},
		ErrorLog: slog.NewLogLogger(c.Logger.Handler(), slog.LevelDebug),
	}
	s.office = &http.Server{
		Handler: origins.protect(s, s.routes(true)), ReadHeaderTimeout: c.HeadTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: 64 << 10,
		ErrorLog: s.http.ErrorLog,
	}
	s.plain.server = s
	s.loadKeys(c.Engine.Namespaces())
	s.declared.server = s
	s.declared.begin()
	s.expectDelayed(c.Engine.Namespaces()) // with those that were declared at run time
	if c.Engine.Incarnation(bus.ConsumersNamespace) != 0 {
		s.loading.Go(s.named.begin)
	}
	if c.Engine.Incarnation(bus.DeadNamespace) != 0 {
		s.loading.Go(s.letters.begin)
	}
	return s, nil
}

// protocols: HTTP/1.1, and HTTP/2 in the clear for those who know beforehand.
func protocols() *http.Protocols {
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return &p
}

// Handler returns the whole HTTP interface, for tests and for embedding. Over
// HTTP/1.1 a stream without an end takes its connection over once its first
// frames are written, where the ResponseWriter, or one it unwraps to, lets it
// (http.Hijacker); Shutdown waits for those too.
func (s *Server) Handler() http.Handler { return s.http.Handler }

// Serve answers requests from the listener until Shutdown, which makes it
// return nil. Its connections count towards MaxConnections, with those of other
// listeners that are served. Small publishes that come first on a connection it
// gives to Handler itself, all other requests net/http does.
func (s *Server) Serve(l net.Listener) error {
	d := s.plain.open(s.gate.listen(l))
	err := s.http.Serve(d) // which closes it
	<-d.done
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Shutdown stops in the order that keeps every promise: no more publishes are
// taken, those under way are finished and answered, streams end cleanly and
// say when to come back. It returns when all requests are done or ctx ends,
// whichever is first. A second call waits like the first.
func (s *Server) Shutdown(ctx context.Context) error {
	s.draining.Store(true)
	s.drain()
	s.conns.wake()
	s.plain.close()
	err := s.http.Shutdown(ctx)
	if e := s.office.Shutdown(ctx); err == nil {
		err = e
	}
	// A listener that fails to close is no reason to leave those who are under way.
	for _, wait := range []func(context.Context) error{s.plain.wait, s.conns.wait} {
		if e := wait(ctx); err == nil {
			err = e
		}
	}
	if err != nil {
		err = errors.Join(err, s.http.Close(), s.office.Close())
	}
	s.plain.cut() // whom the time did not suffice for
	s.conns.cut()
	s.schedule.Close()
	s.hub.Close()
	s.loading.Wait()
	return err
}

// ServeAdmin answers requests from a listener as Serve does, and those of
// administrators whether or not Config.Admin says so. Its connections have no
// limit: it belongs on an address that few can reach. It returns nil after
// Shutdown.
func (s *Server) ServeAdmin(l net.Listener) error {
	if err := s.office.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *Server) routes(admin bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", s.data)
	s.admin(mux, admin)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, bus.ErrNotFound.With("%.200q; publish, subscribe and acknowledge at /, see also /v1/namespaces, /livez, /readyz, /metrics, /version", r.URL.Path))
	})
	return mux
}

// data is the data plane: the verb says what is wanted.
func (s *Server) data(w http.ResponseWriter, r *http.Request) {
	full := s.gate.isFull(w, r)
	if full && r.Method != http.MethodGet { // which has its own way to say so
		s.fail(w, r, s.overLimit(limitConnections, s.gate.refusal()))
		return
	}
	switch r.Method {
	case http.MethodPost:
		s.publish(w, r)
	case http.MethodGet, http.MethodHead:
		s.subscribe(w, r, full)
	case http.MethodPut:
		s.acknowledge(w, r)
	default:
		s.methodNotAllowed(w, r, "GET, HEAD, POST, PUT, OPTIONS")
	}
}

func (s *Server) methodNotAllowed(w http.ResponseWriter, r *http.Request, allowed string) {
	w.Header().Set("Allow", allowed)
	s.fail(w, r, bus.ErrMethodNotAllowed.With("%.20s; allowed are %s", r.Method, allowed))
}

// checkNamespace refuses subjects of namespaces that were not declared, and
// says which were. Those of the bus itself count as such.
func (s *Server) checkNamespace(namespace string) error {
	if s.engine.Incarnation(namespace) != 0 && !bus.IsOwn(namespace) {
		return nil
	}
	e := bus.ErrUnknownNamespace.With("%.80q; declared are %v, more with bus server --namespaces or bus namespaces declare", namespace, s.engine.Namespaces())
	e.Namespaces = s.engine.Namespaces()
	return e
}
