package main

import (
	"fmt"
	"log/slog"
	"math"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/bus"
	"example.com/bus/server/disk"
)

// serverConfig is all that can be said to bus server. The zero value of a
// number stands for the library's default, which the usage names.
type serverConfig struct {
	Addr       string `env:"ADDR" envDefault:":2021" flag:"addr" usage:"address to listen on; 127.0.0.1:2021 keeps it on this machine"`
	Path       string `env:"PATH" envDefault:"./data" flag:"path" usage:"directory of the logs, made when absent"`
	Namespaces names  `env:"NAMESPACES" flag:"namespaces" usage:"first segments of subjects to take, as in orders,app; required"`

	Secret secrets

	Sync           durability `env:"SYNC" envDefault:"always" flag:"sync" usage:"what an answer to a publish means: always (on stable storage), interval=100ms or os"`
	BlockSize      byteSize   `env:"BLOCK_SIZE" envDefault:"4096" flag:"block-size" usage:"bytes that are checksummed or sealed as one"`
	MaxEvent       byteSize   `env:"MAX_EVENT" envDefault:"1MiB" flag:"max-event" usage:"bytes of one event"`
	MaxBatch       byteSize   `env:"MAX_BATCH" envDefault:"8MiB" flag:"max-batch" usage:"bytes of one batch"`
	MaxBatchEvents count      `env:"MAX_BATCH_EVENTS" envDefault:"10000" flag:"max-batch-events" usage:"events of one batch"`
	MaxBuffered    byteSize   `env:"MAX_BUFFERED" envDefault:"256MiB" flag:"max-buffered" usage:"bytes of bodies and arrays in memory at once, over all requests, and as many of unacknowledged events"`
	Retention      retention  `env:"RETENTION" flag:"retention" usage:"how much of a namespace is kept, as in orders=7d,10GiB or orders=1000000events; with discard=new events beyond bytes or events are refused, else the oldest go; with compact the newest event of each subject is kept for good, and older ones go when that pays; repeatable; everything unless given"`
	MinFree        room       `env:"MIN_FREE" envDefault:"16MiB" flag:"min-free" usage:"bytes of the disk that stay free: below it events are refused; 0: none"`

	MaxConnections       count `env:"MAX_CONNECTIONS" envDefault:"20000" flag:"max-connections" usage:"connections at once; 0: as many as there are descriptors for, which is never exceeded"`
	MaxStreams           count `env:"MAX_STREAMS" envDefault:"20000" flag:"max-streams" usage:"streams at once, with publishers that wait for confirmations or a reply; 0: no limit"`
	MaxStreamsPerAddress count `env:"MAX_STREAMS_PER_ADDRESS" envDefault:"16000" flag:"max-streams-per-address" usage:"streams of one client address at once; 0: no limit, as behind a proxy that has one"`
	MaxSubjects          count `env:"MAX_SUBJECTS" envDefault:"64" flag:"max-subjects" usage:"subjects on one stream"`
	MaxPatternLength     count `env:"MAX_PATTERN_LENGTH" envDefault:"255" flag:"max-pattern-length" usage:"bytes of one subject of a stream; no subject has more than 255"`
	MaxInflight          count `env:"MAX_INFLIGHT" envDefault:"10000" flag:"max-inflight" usage:"unacknowledged events that a stream may ask for at once"`
	MaxConsumers         count `env:"MAX_CONSUMERS" envDefault:"1000" flag:"max-consumers" usage:"named consumers of one namespace"`
	MaxDelayed           count `env:"MAX_DELAYED" envDefault:"100000" flag:"max-delayed" usage:"events of one namespace that may wait for their delivery; 0: none"`

	DedupWindow   span  `env:"DEDUP_WINDOW" envDefault:"10m" flag:"dedup-window,dup-ttl" usage:"how long an idempotency key is remembered"`
	DedupKeys     count `env:"DEDUP_KEYS" envDefault:"1000000" flag:"dedup-keys,dup-size" usage:"how many keys a namespace remembers; 0: none"`
	Heartbeat     span  `env:"HEARTBEAT" envDefault:"15s" flag:"heartbeat" usage:"time between pings on a stream"`
	WriteTimeout  span  `env:"WRITE_TIMEOUT" envDefault:"30s" flag:"write-timeout" usage:"time for one write to a peer, after which it is let go"`
	BodyTimeout   span  `env:"BODY_TIMEOUT" envDefault:"30s" flag:"body-timeout" usage:"time for a request's body to arrive"`
	HeaderTimeout span  `env:"HEADER_TIMEOUT" envDefault:"5s" flag:"header-timeout" usage:"time for a request's headers to arrive"`
	StreamMaxAge  span  `env:"STREAM_MAX_AGE" envDefault:"0s" flag:"stream-max-age" usage:"age at which a stream is ended for a reconnect; 0: never"`
	Shutdown      span  `env:"SHUTDOWN_TIMEOUT" envDefault:"10s" flag:"shutdown-timeout" usage:"time for requests to finish when the server stops"`
	Origins       names `env:"CORS_ORIGINS" flag:"cors-origins" usage:"origins of web pages that may use the bus, beside its own; * for all"`

	Admin     bool   `env:"ADMIN" flag:"admin" usage:"namespaces may be declared and deleted over HTTP, by whoever reaches --addr"`
	AdminAddr string `env:"ADMIN_ADDR" flag:"admin-addr" usage:"a second address, such as 127.0.0.1:2022, on which they may, whether or not --admin is given; none unless given"`

	Pprof string `env:"PPROF" flag:"pprof" usage:"address on which go tool pprof may ask for profiles, such as 127.0.0.1:6060; none unless given; meanwhile one wait of 1ms and one contended lock in 100 are sampled"`

	LogLevel  logLevel  `env:"LOG_LEVEL" envDefault:"INFO" flag:"log-level" usage:"DEBUG, INFO, WARN or ERROR"`
	LogFormat logFormat `env:"LOG_FORMAT" envDefault:"auto" flag:"log-format" usage:"text, json, or auto: text on a terminal"`
}

// check refuses what is wrong only in sum, before anything is opened.
func (s *serverConfig) check() error {
	if len(s.Namespaces) == 0 {
		return usageError("no namespace is declared; name at least one, as in --namespaces orders,app (or BUS_NAMESPACES=orders,app)")
	}
	for _, name := range s.Namespaces {
		if err := bus.CheckNamespace(name); err != nil {
			return usageError("--namespaces ($BUS_NAMESPACES): %w", err)
		}
	}
	if err := s.Retention.check(s.Namespaces); err != nil {
		return err
	}
	if s.Pprof != "" {
		if err := checkProfileAddr(s.Pprof); err != nil {
			return err
		}
	}
	if s.AdminAddr != "" {
		if host, _, err := net.SplitHostPort(s.AdminAddr); err != nil || host == "" {
			return usageError("--admin-addr ($BUS_ADMIN_ADDR) is %q, wanted a host and a port, as in 127.0.0.1:2022; whoever reaches it may delete namespaces", s.AdminAddr)
		}
	}
	for _, limit := range []struct {
		name        string
		value, most count
	}{
		{"--max-subjects ($BUS_MAX_SUBJECTS)", s.MaxSubjects, mostSubjects},
		{"--max-pattern-length ($BUS_MAX_PATTERN_LENGTH)", s.MaxPatternLength, bus.MaxSubjectLen},
		{"--max-inflight ($BUS_MAX_INFLIGHT)", s.MaxInflight, mostInflight},
		{"--max-consumers ($BUS_MAX_CONSUMERS)", s.MaxConsumers, mostConsumers},
	} {
		if limit.value < 1 || limit.value > limit.most {
			return usageError("%s is %d, wanted a number from 1 to %d", limit.name, limit.value, limit.most)
		}
	}
	return nil
}

// The most that can be set: subjects have to fit into the head of a request, and
// each unacknowledged event is in memory.
const (
	mostSubjects  = 10_000
	mostInflight  = 1_000_000
	mostConsumers = 1_000_000
)

// knownVariables are those of all commands.
func knownVariables() []string {
	known := []string{"BUS_HOST", "BUS_DUP_SIZE", "BUS_DUP_TTL"}
	for _, s := range settingsOf(reflect.TypeFor[serverConfig](), "") {
		known = append(known, s.variable)
	}
	for _, place := range []string{"from", "to"} {
		for _, s := range settingsOf(reflect.TypeFor[secrets](), place) {
			known = append(known, s.variable)
		}
	}
	return known
}

// names is a list of short words. Flags may be repeated, and each flag and the
// variable may hold several with commas between them.
type names []string

// UnmarshalText adds the names in text. Naming one twice is no mistake.
func (n *names) UnmarshalText(text []byte) error {
	for _, name := range strings.FieldsFunc(string(text), func(r rune) bool { return r == ',' || r == '\n' }) {
		if name = strings.TrimSpace(name); name != "" && !slices.Contains(*n, name) {
			*n = append(*n, name)
		}
	}
	return nil
}

// durability is what disk.ParseDurability reads.
type durability struct{ disk.Durability }

// UnmarshalText leaves the words to the package that keeps the promise.
func (d *durability) UnmarshalText(text []byte) (err error) {
	d.Durability, err = disk.ParseDurability(string(text))
	return err
}

// span is a length of time that is not negative.
type span time.Duration

// UnmarshalText refuses a number without a unit: 5 may be meant as seconds or
// as nanoseconds.
func (s *span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil || d < 0 {
		return fmt.Errorf("is %q, wanted a length of time such as 500ms, 5s or 2m", text)
	}
	*s = span(d)
	return nil
}

// count is a number that is not negative.
type count int

// UnmarshalText takes digits only.
func (n *count) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 10, 31)
	if err != nil {
		return fmt.Errorf("is %q, wanted a number from 0 to %d", text, math.MaxInt32)
	}
	*n = count(v)
	return nil
}

// byteSize is a number of bytes, also written 64KiB, 1MiB or 8MB.
type byteSize int

// UnmarshalText refuses 0, which stands for the default elsewhere.
func (b *byteSize) UnmarshalText(text []byte) error {
	v, ok := parseBytes(string(text), math.MaxInt32)
	if !ok || v == 0 {
		return fmt.Errorf("is %q, wanted a size such as 4096, 64KiB or 1MiB", text)
	}
	*b = byteSize(v)
	return nil
}

// room is a number of bytes of a disk. None is a size too.
type room int64

// UnmarshalText takes more than fits into memory.
func (r *room) UnmarshalText(text []byte) error {
	v, ok := parseBytes(string(text), math.MaxInt64)
	if !ok {
		return fmt.Errorf("is %q, wanted 0 or a size such as 64MiB or 2GiB", text)
	}
	*r = room(v)
	return nil
}

// parseBytes refuses what is beyond most: a limit that wraps round would be none.
func parseBytes(text string, most uint64) (v uint64, ok bool) {
	scale := uint64(1)
	for _, unit := range []struct {
		name  string
		scale uint64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}} {
		if digits, found := strings.CutSuffix(text, unit.name); found {
			text, scale = strings.TrimSpace(digits), unit.scale
			break
		}
	}
	v, err := strconv.ParseUint(text, 10, 64)
	return v * scale, err == nil && v <= most/scale
}

// logLevel is one of slog's four.
type logLevel slog.Level

// UnmarshalText takes any case, as in info.
func (l *logLevel) UnmarshalText(text []byte) error {
	var level slog.Level
	if err := level.UnmarshalText(text); err != nil {
		return fmt.Errorf("is %q, wanted DEBUG, INFO, WARN or ERROR", text)
	}
	*l = logLevel(level)
	return nil
}

// logFormat is auto, text or json.
type logFormat string

// UnmarshalText takes the three words.
func (f *logFormat) UnmarshalText(text []byte) error {
	*f = logFormat(text)
	if *f != "auto" && *f != "text" && *f != "json" {
		return fmt.Errorf("is %q, wanted auto, text or json", text)
	}
	return nil
}
