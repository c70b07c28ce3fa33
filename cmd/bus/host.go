package main

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"example.com/bus"
	"example.com/bus/client"
	"github.com/urfave/cli/v2"
)

// defaultHost is where bus server listens unless told.
const defaultHost = "http://localhost:2021"

// hostFlag is that of every command that speaks to a server.
func hostFlag() cli.Flag {
	return &cli.StringFlag{Name: "host", Usage: "`URL` of the server [$BUS_HOST]", DefaultText: defaultHost}
}

// hostOf lets the flag beat the variable.
func hostOf(c *cli.Context) string {
	return cmp.Or(c.String("host"), environment()["BUS_HOST"], defaultHost)
}

// newClient connects to nothing; a wrong URL is the error of its first call.
func newClient(c *cli.Context, options ...client.ClientOption) *client.Client {
	return client.NewClient(hostOf(c), options...)
}

// reachable fails when nothing answers at all. The client would try for ever,
// which is right for a stream that breaks, and wrong for a URL mistyped.
func reachable(ctx context.Context, host string) error {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(host, "/")+"/livez", nil)
	if err != nil {
		return nil // the client says it better
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return unreachable(err, host, withHost)
	}
	return resp.Body.Close()
}

// shown is a place to print: without the password of a URL.
func shown(place string) string {
	if u, err := url.Parse(place); err == nil && u.User != nil {
		return u.Redacted()
	}
	return place
}

// serverError says what to do about what a server answered, or about none.
func serverError(c *cli.Context, err error) error {
	if _, refused := bus.AsError(err); !refused {
		return unreachable(err, hostOf(c), withHost)
	}
	return hostError(err, hostOf(c))
}

// withHost is how commands are told where the server is, but for those that take
// a URL where a directory stands.
const withHost = "name it with --host"

// hostError tells a mistake of the command line, which the server found, from a
// server that cannot do what was asked.
func hostError(err error, host string) error {
	e, refused := bus.AsError(err)
	switch {
	case !refused:
		return unreachable(err, host, "give the URL of one that does")
	case e.Status == 0: // found wrong before anything was sent
		return err
	case errors.Is(err, bus.ErrInvalidParameter), errors.Is(err, bus.ErrInvalidSubject), errors.Is(err, bus.ErrInvalidEvent), errors.Is(err, bus.ErrInvalidID):
		return &exitError{exitUsage, err}
	case e.Status == http.StatusServiceUnavailable, e.Status == http.StatusInsufficientStorage:
		return hint(err, "try again later")
	case e.Status >= 500:
		return hint(err, "see the server's log")
	}
	return err
}

// unreachable says what to do when no server answers at all.
func unreachable(err error, host, otherwise string) error {
	_, lookup := errors.AsType[*net.DNSError](err)
	if lookup || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) {
		return hint(err, "is a server running there? start one with bus server, or %s (now %s)", otherwise, shown(host))
	}
	return err
}
