package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Profiles have a listener of their own, so that what is open to the clients of
// the bus never shows what is in its memory. The package net/http/pprof puts
// itself into http.DefaultServeMux as well, which nothing here serves; package
// server does not import it, so that who embeds that does not have it at all.

// What is sampled while profiles are served, and only then: rare enough not to
// be seen in the figures of a busy server.
const (
	blockSampled = time.Millisecond // of waiting: one sample on average; every wait that is longer has one
	mutexSampled = 100              // one contended unlock in so many
)

// Times of the profile listener. A write may take writeProfile beside the time
// that was asked for with seconds=, which net/http/pprof adds.
const (
	headOfProfile = 5 * time.Second
	writeProfile  = 30 * time.Second
)

// profiler serves profiles of this process. nil serves none.
type profiler struct {
	http    *http.Server
	host    string // what --pprof says, without the port
	secrets []secret
	cancel  context.CancelFunc // of the profiles that are being taken
	forget  func() bool        // that ctx closes it

	mu      sync.Mutex // guards closed, and that nobody enters after it
	closed  bool
	running sync.WaitGroup // handlers, and Serve
}

// checkProfileAddr wants a host, because an empty one is every interface, which
// nobody says in passing.
func checkProfileAddr(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err == nil && host != "" {
		if n, bad := strconv.ParseUint(port, 10, 16); bad == nil && port == strconv.FormatUint(n, 10) {
			return nil
		}
	}
	return usageError("--pprof ($BUS_PPROF) is %q, wanted a host and a port, as in 127.0.0.1:6060; whoever reaches it sees into the server", addr)
}

// startProfiler serves profiles on addr until ctx ends or close is called; none
// when addr is empty.
func startProfiler(ctx context.Context, addr string, hidden []secret, log *slog.Logger) (*profiler, error) {
	if addr == "" {
		return nil, nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, hint(err, "give --pprof an address such as 127.0.0.1:6060 on which nothing else listens")
	}
	log.Info("profiles are served", "addr", l.Addr().String(), "path", "/debug/pprof/")
	if beyondLoopback(l.Addr()) {
		log.Warn("other machines can reach the profiles, which show what the process does and holds, and can slow it: put a firewall before them, or use --pprof 127.0.0.1:6060", "addr", l.Addr().String())
	}
	p := &profiler{host: host, secrets: hidden}
	p.serve(ctx, l, log)
	return p, nil
}

func (p *profiler) serve(ctx context.Context, l net.Listener, log *slog.Logger) {
	runtime.SetBlockProfileRate(int(blockSampled))
	runtime.SetMutexProfileFraction(mutexSampled)
	base, cancel := context.WithCancel(ctx)
	p.cancel = cancel
	p.http = &http.Server{
		Handler:           p.handler(),
		ReadHeaderTimeout: headOfProfile, // ReadTimeout would break off whatever takes longer
		WriteTimeout:      writeProfile,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return base },
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	p.http.SetKeepAlivesEnabled(false) // there are few connections to be had
	p.forget = context.AfterFunc(ctx, func() { p.http.Close() })
	p.running.Go(func() {
		if err := p.http.Serve(newFewConns(l, profileConnections)); !errors.Is(err, http.ErrServerClosed) {
			log.Error("profiles are not served any more", "error", err) // the bus is
		}
	})
}

// close breaks off what is being taken, and returns when nothing of it runs any
// more: at once, but for the tenth of a second that the runtime takes to end a
// CPU profile. A second call does nothing more.
func (p *profiler) close() {
	if p == nil {
		return
	}
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.forget()
	p.cancel()
	p.http.Close()
	p.running.Wait()
	runtime.SetBlockProfileRate(0)
	runtime.SetMutexProfileFraction(0)
}

// handler has a mux of its own.
func (p *profiler) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index) // and the profiles of the runtime, by name
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/cmdline", p.cmdline)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !p.allows(r):
			http.Error(w, "wanted a request of a tool such as go tool pprof to an address of this machine, found one of a web page, or another Host", http.StatusForbidden)
		case !p.enter():
			http.Error(w, "the server is stopping", http.StatusServiceUnavailable)
		default:
			defer p.running.Done()
			mux.ServeHTTP(w, r)
		}
	})
}

// enter counts a request in, unless close has begun, which waits for those that
// were.
func (p *profiler) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.running.Add(1)
	}
	return !p.closed
}

// allows keeps web pages out: without it any page that somebody opens on this
// machine could begin traces, and read them under a name that it points here.
func (p *profiler) allows(r *http.Request) bool {
	if r.Header.Get("Origin") != "" {
		return false
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "none" && site != "same-origin" {
		return false
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil || strings.EqualFold(host, "localhost") || strings.EqualFold(host, p.host)
}

// cmdline is the command line as net/http/pprof shows it, without the secrets
// that may stand in it.
func (p *profiler) cmdline(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, withoutSecrets(strings.Join(os.Args, "\x00"), p.secrets))
}

func withoutSecrets(text string, hidden []secret) string {
	for _, s := range hidden {
		if s != "" {
			text = strings.ReplaceAll(text, string(s), "…")
		}
	}
	return text
}
