package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/bus"
)

const (
	// DefaultMaxEvent holds the largest event a server can be set to take: a payload of 30 MiB
	// is 40 MiB in base64, and all other fields are far below the 1 MiB that is left.
	DefaultMaxEvent = 41 << 20
	// maxIdlePerHost keeps as many connections for the next Put as a busy publisher has
	// goroutines. The two of net/http would close and dial for nearly every event.
	maxIdlePerHost = 128
	maxProblem     = 64 << 10 // bytes of a refusal that are read
)

// Client speaks to one server. It may be used from many goroutines and needs no Close. What
// AckAsync has gathered leaves by itself; a program that ends right behind one calls Flush.
type Client struct {
	base     *url.URL
	err      error // what is wrong with the URL
	http     *http.Client
	stream   *http.Client // the same, without its time limit: streams have no end
	log      *slog.Logger
	maxEvent int
	acks     *grouping
}

// ClientOption is an option of NewClient.
type ClientOption func(*Client)

// WithHTTPClient sends requests through h: for TLS settings, proxies, credentials. Its
// Timeout bounds Put and Ack; streams are not bound by it.
func WithHTTPClient(h *http.Client) ClientOption {
	return func(c *Client) {
		if h != nil {
			c.http = h
		}
	}
}

// WithLogger logs what a loop over Get does not say: lost connections and how long it waits.
func WithLogger(l *slog.Logger) ClientOption {
	return func(c *Client) {
		if l != nil {
			c.log = l
		}
	}
}

// WithMaxEvent is how many bytes one event of a stream, or one answer, may have; the default
// is DefaultMaxEvent. A longer one is an error with the code of bus.ErrTooLarge, and it ends
// the loop: asking again would bring the same event. Less than 1 means the default.
func WithMaxEvent(bytes int) ClientOption {
	return func(c *Client) {
		if bytes > 0 {
			c.maxEvent = bytes
		}
	}
}

// NewClient returns a client of the server at a URL such as http://localhost:2021. A path is
// kept, for a server behind a proxy. NewClient connects to nothing and never fails: a URL that
// cannot be used is the error of every later call.
func NewClient(rawURL string, opts ...ClientOption) *Client {
	c := &Client{log: slog.New(slog.DiscardHandler), maxEvent: DefaultMaxEvent}
	c.base, c.err = parseURL(rawURL)
	c.acks = newGrouping(c)
	for _, o := range opts {
		o(c)
	}
	if c.http == nil {
		c.http = &http.Client{Transport: newTransport()}
	}
	stream := *c.http
	stream.Timeout = 0
	c.stream = &stream
	return c
}

// CloseIdleConnections closes connections that are kept for later and not in use. The client
// can be used afterwards.
func (c *Client) CloseIdleConnections() { c.http.CloseIdleConnections() }

func newTransport() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok { // a program has put its own in place: then it wants that one
		return http.DefaultTransport
	}
	t = t.Clone()
	t.MaxIdleConns = 0
	t.MaxIdleConnsPerHost = maxIdlePerHost
	return t
}

func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, bus.ErrInvalidParameter.With("the server's URL is %q, wanted one like http://localhost:2021", redact(u, raw))
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return nil, bus.ErrInvalidParameter.With("the server's URL %q has a query or fragment, wanted only scheme, host and path", u.Redacted())
	}
	if !strings.HasSuffix(u.Path, "/") {
		u = u.JoinPath("/")
	}
	return u, nil
}

// redact keeps a password that is in the URL out of the error.
func redact(u *url.URL, raw string) string {
	if u != nil {
		return u.Redacted()
	}
	if _, host, ok := strings.Cut(raw, "@"); ok {
		return "…@" + host
	}
	return raw
}

// request makes a request to the server. A body is JSON, and can be sent again.
func (c *Client) request(ctx context.Context, method string, query url.Values, body []byte) (*http.Request, error) {
	return c.requestAt(ctx, method, "", query, body)
}

// requestAt is request for a path below the server's.
func (c *Client) requestAt(ctx context.Context, method, path string, query url.Values, body []byte) (*http.Request, error) {
	if c.err != nil {
		return nil, c.err
	}
	u := *c.base
	if path != "" {
		u = *u.JoinPath(path)
	}
	u.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("User-Agent", "bus-go-client")
	return r, nil
}

// repeatable lets net/http send a request again when the idle connection it had chosen turns
// out to be closed. The empty list marks the request and puts no header on the wire.
func repeatable(r *http.Request) { r.Header["X-Idempotency-Key"] = []string{} }

// do sends a request and reads the whole answer. An answer that is no success is an *Error.
func (c *Client) do(r *http.Request) (*http.Response, []byte, error) {
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return resp, nil, problemOf(resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(c.maxEvent)+1))
	if err != nil {
		return resp, nil, fmt.Errorf("the answer broke off: %w", err)
	}
	if len(body) > c.maxEvent {
		return resp, nil, bus.ErrTooLarge.With("the answer has more than %d bytes; allow more with WithMaxEvent", c.maxEvent)
	}
	return resp, body, nil
}

// sleep waits, and tells whether it did so to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
