package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"example.com/bus/crypto"
	"example.com/bus/server"
	"example.com/bus/server/disk"
	"github.com/urfave/cli/v2"
)

func serverCommand() *cli.Command {
	return &cli.Command{
		Name:  "server",
		Usage: "serve events over HTTP",
		Description: `Serves the logs of a directory until it is interrupted or terminated; then
it finishes what it has begun and exits with 0. A second signal ends it at
once, which loses nothing that was answered.

   bus server --addr :2021 --path ./data --namespaces app,orders

There is no authentication: listen on 127.0.0.1, or behind a proxy or firewall
that says who may come in.`,
		Flags:  flagsFor[serverConfig](""),
		Action: serve,
	}
}

// serve checks everything that can be checked before it opens the directory, so
// that a mistake leaves no files behind.
func serve(c *cli.Context) error {
	cfg, err := settings[serverConfig](c, "")
	if err != nil {
		return err
	}
	if err := cfg.check(); err != nil {
		return err
	}
	log := newLogger(c.App.ErrWriter, cfg.LogLevel, cfg.LogFormat)
	for _, text := range misspelt(knownVariables()) {
		log.Warn(text)
	}
	if err := cfg.boundConnections(descriptors(), log); err != nil {
		return err
	}
	// Before the directory is opened, because that too can be worth a profile.
	profiles, err := startProfiler(c.Context, cfg.Pprof, append([]secret{cfg.Secret.Key}, cfg.Secret.Old...), log)
	if err != nil {
		return err
	}
	defer profiles.close()
	room := keepHeapRoom()
	defer runtime.KeepAlive(room)
	ring, err := cfg.Secret.keyring("", func(text string) { log.Warn(text) })
	if err != nil {
		return err
	}
	engine, err := openEngine(cfg.Path, diskOptions(&cfg, log), ring)
	if err != nil {
		return err
	}
	err = serveEngine(c.Context, &cfg, engine, log, ring != nil)
	// The server first, the engine last: what was taken is stored, then the
	// directory is given back.
	return errors.Join(err, engine.Close())
}

// diskOptions is the part of the configuration that is about files.
func diskOptions(cfg *serverConfig, log *slog.Logger) disk.Options {
	return disk.Options{
		Namespaces: cfg.Namespaces,
		Durability: cfg.Sync.Durability,
		BlockSize:  int(cfg.BlockSize),
		MaxEvent:   int(cfg.MaxEvent),
		Retention:  cfg.Retention.byNamespace(),
		MinFree:    int64(cfg.MinFree),
		MaxDelayed: mayWait(cfg.MaxDelayed),
		Logger:     log,
	}
}

// mayWait is a limit as the library has it, where 0 stands for the usual one.
func mayWait(n count) int {
	if n == 0 {
		return -1
	}
	return int(n)
}

// openEngine opens a directory with the keys there are.
func openEngine(dir string, o disk.Options, ring *crypto.Keyring) (*disk.Engine, error) {
	if ring != nil { // a nil pointer in the interface would not be "plain"
		o.Sealing = ring
	}
	engine, err := disk.Open(dir, o)
	switch {
	case errors.Is(err, disk.ErrSealed):
		return nil, hint(err, "with --secret-key-file or BUS_SECRET_KEY_FILE")
	case errors.Is(err, crypto.ErrWrongKey):
		return nil, hint(err, "--secret-key-file takes the newest, --old-secret-key-file older ones")
	case isDamagedFile(err):
		return nil, hint(err, "bus repair says what can be done; leave the namespace out to go on with the others meanwhile")
	}
	return engine, err
}

// isDamagedFile tells a file that cannot be opened at all: damage behind its
// header is met by who reads there.
func isDamagedFile(err error) bool {
	_, ok := errors.AsType[*disk.CorruptError](err)
	return ok
}

// serverOptions is the part of the configuration that is about HTTP.
func serverOptions(cfg *serverConfig, engine *disk.Engine, log *slog.Logger) server.Config {
	return server.Config{
		Engine:         engine,
		Logger:         log,
		Version:        buildVersion().Version,
		MaxEvent:       int(cfg.MaxEvent),
		MaxBatch:       int(cfg.MaxBatch),
		MaxBatchEvents: int(cfg.MaxBatchEvents),
		MaxBuffered:    int(cfg.MaxBuffered),

		MaxConnections:       orNone(cfg.MaxConnections),
		MaxStreams:           orNone(cfg.MaxStreams),
		MaxStreamsPerAddress: orNone(cfg.MaxStreamsPerAddress),
		MaxSubjects:          int(cfg.MaxSubjects),
		MaxPatternLength:     int(cfg.MaxPatternLength),
		MaxInflight:          int(cfg.MaxInflight),
		MaxConsumers:         int(cfg.MaxConsumers),

		DedupWindow:  time.Duration(cfg.DedupWindow),
		DedupKeys:    orNone(cfg.DedupKeys),
		Heartbeat:    time.Duration(cfg.Heartbeat),
		WriteTimeout: time.Duration(cfg.WriteTimeout),
		BodyTimeout:  time.Duration(cfg.BodyTimeout),
		HeadTimeout:  time.Duration(cfg.HeaderTimeout),
		MaxStreamAge: time.Duration(cfg.StreamMaxAge),
		Origins:      cfg.Origins,
		Admin:        cfg.Admin,
	}
}

// orNone: the library's zero is its default.
func orNone(n count) int {
	if n == 0 {
		return -1
	}
	return int(n)
}

// serveEngine listens and answers until ctx ends.
func serveEngine(ctx context.Context, cfg *serverConfig, engine *disk.Engine, log *slog.Logger, sealed bool) error {
	s, err := server.New(serverOptions(cfg, engine, log))
	if err != nil {
		return usageError("%w; see bus server --help", err)
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return errors.Join(hint(err, "give --addr an address such as :2021 or 127.0.0.1:2021 on which nothing else listens"), s.Shutdown(context.Background()))
	}
	warnOfUndeclared(log, cfg.Path, engine.Namespaces())
	for _, name := range engine.Namespaces() {
		info := engine.Inspect(name)
		log.Info("serving", "namespace", name, "events", info.Events, "first_index", info.First, "last_index", info.Last, "bytes", info.Bytes, "retention", retentionOf(cfg, name))
	}
	log.Info("listening", "addr", l.Addr().String(), "path", cfg.Path, "namespaces", engine.Namespaces(),
		"durability", engine.Durability(), "sealed", sealed, "max_connections", int(cfg.MaxConnections), "version", buildVersion().Version)
	if beyondLoopback(l.Addr()) {
		log.Warn("other machines can reach this address and there is no authentication: put a proxy or firewall before it, or listen with --addr 127.0.0.1:2021")
	}
	served := make(chan error, 2)
	if cfg.AdminAddr != "" {
		office, err := config.Listen(ctx, "tcp", cfg.AdminAddr)
		if err != nil {
			return errors.Join(hint(err, "give --admin-addr an address such as 127.0.0.1:2022 on which nothing else listens"), l.Close(), s.Shutdown(context.Background()))
		}
		log.Info("listening for administrators", "addr", office.Addr().String())
		go func() {
			if err := s.ServeAdmin(office); err != nil {
				served <- err
			}
		}()
	}
	go func() { served <- s.Serve(l) }()
	select {
	case err = <-served: // it gave up by itself
	case <-ctx.Done():
	}
	return errors.Join(err, stopServer(s, time.Duration(cfg.Shutdown), log))
}

// stopServer lets requests finish for a while. Those that do not are cut off:
// what was answered is stored all the same, so that is no failure.
func stopServer(s *server.Server, limit time.Duration, log *slog.Logger) error {
	log.Info("stopping", "timeout", limit.String())
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	err := s.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		log.Warn("requests were cut off that did not finish in time", "timeout", limit.String())
		err = nil
	}
	if err != nil {
		return fmt.Errorf("stopping the server: %w", err)
	}
	log.Info("stopped")
	return nil
}

// beyondLoopback is true when in doubt, since it is what is warned of.
func beyondLoopback(addr net.Addr) bool {
	at, err := netip.ParseAddrPort(addr.String())
	return err != nil || !at.Addr().Unmap().IsLoopback()
}

// warnOfUndeclared tells of logs that nobody can reach: a namespace may have been
// forgotten, or misspelt.
func warnOfUndeclared(log *slog.Logger, path string, declared []string) {
	found, err := disk.Discover(path)
	if err != nil {
		return // opening has read the directory; a warning is not worth more
	}
	found = slices.DeleteFunc(found, func(name string) bool { return slices.Contains(declared, name) })
	if len(found) > 0 {
		log.Warn("the directory has logs of namespaces that are not declared; name them in --namespaces to serve them", "namespaces", found)
	}
}

// retentionOf is the policy of a namespace in words.
func retentionOf(cfg *serverConfig, name string) string {
	if r, ok := cfg.Retention.byNamespace()[name]; ok {
		return r.String()
	}
	return "everything"
}
