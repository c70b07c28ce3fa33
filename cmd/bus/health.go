package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

func healthCommand() *cli.Command {
	return &cli.Command{
		Name:  "health",
		Usage: "ask a server whether it takes events, for HEALTHCHECK and scripts",
		Description: `Asks /readyz of --host, or else of BUS_HOST, or else of the address in
BUS_ADDR, so that it needs no flag beside a server in a container.
Exit code 0: ready. 1: not, or no answer.`,
		Flags: []cli.Flag{
			hostFlag(),
			&cli.DurationFlag{Name: "timeout", Value: 3 * time.Second, Usage: "how long to wait for the answer"},
		},
		Action: health,
	}
}

// health is silent when all is well, as a HEALTHCHECK wants it.
func health(c *cli.Context) error {
	host := healthHost(c)
	base, err := url.Parse(host)
	if err != nil || base.Host == "" {
		return usageError("--host is %q, wanted a URL such as %s", host, defaultHost)
	}
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath("readyz").String(), nil)
	if err != nil {
		return usageError("--host: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return hint(fmt.Errorf("not healthy: %w", err), "is the server running? see its log")
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	return hint(fmt.Errorf("not healthy: %s answered %s: %.1000s", base.Redacted(), resp.Status, strings.TrimSpace(string(body))), "see the server's log")
}

// healthHost is the server to ask: by flag or variable, or the one that listens
// where BUS_ADDR says.
func healthHost(c *cli.Context) string {
	given := environment()
	if c.IsSet("host") || given["BUS_HOST"] != "" {
		return hostOf(c)
	}
	host, port, err := net.SplitHostPort(given["BUS_ADDR"])
	if err != nil {
		return defaultHost
	}
	// Every address is no address to connect to.
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}
