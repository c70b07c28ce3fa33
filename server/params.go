package server

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/bus"
)

// params reads a query strictly: a name that does not exist, a value that
// cannot be read and a name that stands twice are refused, so that a typo
// cannot turn safety off. An empty value counts as absent. The first mistake
// is kept and told by err.
type params struct {
	values url.Values
	err    error
}

// parseParams refuses names that are not among the allowed ones.
func parseParams(rawQuery string, allowed []string) (*params, error) {
	values, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, bus.ErrInvalidParameter.With("the query cannot be read: %s", err)
	}
	for name := range values {
		if !slices.Contains(allowed, name) {
			return nil, unknownParameter(name, allowed)
		}
	}
	return &params{values: values}, nil
}

func unknownParameter(name string, allowed []string) error {
	return bus.ErrUnknownParameter.With("%.80q; wanted one of: %s", name, strings.Join(allowed, ", "))
}

func (p *params) fail(name, found, wanted string) {
	if p.err == nil {
		p.err = bus.ErrInvalidParameter.With("%s is %.80q, wanted %s", name, found, wanted)
	}
}

// text returns the only value of a parameter, "" when there is none.
func (p *params) text(name string) string {
	values := p.list(name)
	if len(values) > 1 {
		p.fail(name, strings.Join(values, ", "), "one value")
	}
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// list returns all values of a repeatable parameter that are not empty.
func (p *params) list(name string) []string {
	var values []string
	for _, v := range p.values[name] {
		if v != "" {
			values = append(values, v)
		}
	}
	return values
}

func (p *params) choice(name, fallback string, choices ...string) string {
	v := p.text(name)
	if v == "" {
		return fallback
	}
	if !slices.Contains(choices, v) {
		p.fail(name, v, strings.Join(choices, " or "))
	}
	return v
}

func (p *params) flag(name string) bool {
	return p.choice(name, "false", "true", "false") == "true"
}

func (p *params) number(name string, fallback, least, most int) int {
	v := p.text(name)
	if v == "" {
		return fallback
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		p.fail(name, v, "a number from "+strconv.Itoa(least)+" to "+strconv.Itoa(most))
		return fallback
	}
	return n
}

// duration reads "5s", "15m", "7d". A zero duration counts as absent.
func (p *params) duration(name string, fallback, least, most time.Duration) time.Duration {
	v := p.text(name)
	if v == "" {
		return fallback
	}
	d, ok := bus.ParseAge(v)
	if ok && d == 0 {
		return fallback
	}
	if !ok || d < least || d > most {
		p.fail(name, v, "a duration from "+least.String()+" to "+most.String()+", as in 500ms, 5s or 2m")
		return fallback
	}
	return d
}
