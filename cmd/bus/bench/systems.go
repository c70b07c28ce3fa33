package bench

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// system is a kind of server, set up in one way.
type system struct {
	name       string // bus, nats or redis
	setup      string // how durable it is, in its own words; of a bus: its --sync
	durability string // "yes", or what an answer to a publish means instead
	version    string
	slow       bool // filling a long log would take minutes
	dialect    dialect
}

// dialect is how one speaks to a kind of server, and starts it.
type dialect interface {
	// launch starts a server on s.dir, empty or not, and fills in its address.
	launch(r *run, s *server, flags ...string) error
	// prepare makes what has to be there before an event is published.
	prepare(r *run, s *server) error
	// rest waits until the work that a start leaves for later is done, and returns
	// how many events it had to store for that.
	rest(r *run, s *server) (int, error)
	// publisher opens a connection that sends so many events at a time.
	publisher(r *run, s *server, number, batch int) (*publisher, error)
	// subscriber opens a connection that events come on from now on.
	subscriber(r *run, s *server, want reading) (*subscriber, error)
}

// reading is what a subscriber wants.
type reading struct {
	from   string // "" for new events, "oldest"; of a bus all that start= takes
	near   bool   // look at every event, and not only at the sum of all bytes
	buffer int    // bytes that are read at once; 32 KiB when 0
	seen   seen
}

// seen is called for each event: which it is among those that came, from 1 on, its
// index, and its bytes as far as the server is a bus. It is for one goroutine.
type seen func(n int, index uint64, frame []byte) error

// systemsOf returns the bus, and the neighbours there are.
func systemsOf(ctx context.Context, c *Config) ([]system, error) {
	all := []system{busSystem(c)}
	for _, n := range c.Compare {
		if c.Host != "" {
			return nil, fmt.Errorf("--compare and --host are both given: neighbours are measured beside a bus of the same machine; leave one out")
		}
		more, err := n.systems(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}

func busSystem(c *Config) system {
	s := system{name: "bus", setup: "--sync=" + c.Sync, durability: durable(c.Sync), version: c.Version, dialect: busDialect{}}
	if c.Host != "" {
		s.setup, s.durability, s.version = "at "+c.Host, "as it is set", ""
	}
	return s
}

// yes is what durability says when an answer comes after the data is on stable
// storage.
const yes = "yes"

// durable says what an answer means of a bus with that --sync.
func durable(sync string) string {
	if sync == "always" {
		return yes
	}
	return "no: " + sync
}

// systems are the ways in which a neighbour is set up: durable, and as it is
// mostly run.
func (n Neighbour) systems(ctx context.Context) ([]system, error) {
	command := n.Program
	if command == "" {
		command = n.Kind + "-server"
	}
	program, err := exec.LookPath(command)
	if err != nil {
		return nil, fmt.Errorf("%w; install %s, or name its program, as in --compare %s=PATH", err, command, n.Kind)
	}
	told, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --version: %w", program, err)
	}
	version := strings.TrimSpace(string(told))
	switch n.Kind {
	case "nats":
		return []system{
			{name: "nats", setup: "sync_interval: always", durability: yes, version: version, slow: true, dialect: natsDialect{program, "always"}},
			{name: "nats", setup: "sync_interval: 2m, its default", durability: "no: 2m", version: version, dialect: natsDialect{program, "2m"}},
		}, nil
	case "redis":
		return []system{
			{name: "redis", setup: "appendfsync always", durability: yes, version: version, dialect: redisDialect{program, "always"}},
			{name: "redis", setup: "appendfsync everysec", durability: "no: 1s", version: version, dialect: redisDialect{program, "everysec"}},
		}, nil
	}
	return nil, fmt.Errorf("%q is no neighbour, wanted nats or redis", n.Kind)
}
