package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/bus"
	"example.com/bus/server/disk"
)

// retention is how much is kept, by namespace, as in
//
//	orders=7d,10GiB,discard=new
//	app=1000000events
//	prices=compact
//
// A limit belongs to the namespace named last before it: commas part both, since
// that is what the flag and the variable of a list do.
type retention []policy

type policy struct {
	namespace string
	disk.Retention
}

// UnmarshalText adds what text says. A limit that is given twice is a mistake.
func (r *retention) UnmarshalText(text []byte) error {
	for _, word := range strings.FieldsFunc(string(text), func(c rune) bool { return c == ',' || c == '\n' }) {
		word = strings.TrimSpace(word)
		name, limit, named := strings.Cut(word, "=")
		if named && (name != "discard" || limit != "new" && limit != "old") {
			r.begin(name)
		} else if limit = word; len(*r) == 0 {
			return fmt.Errorf("is %q, wanted a namespace before the first limit, %s", strings.TrimSpace(string(text)), retentionExample)
		}
		if err := (*r)[len(*r)-1].add(limit); err != nil {
			return fmt.Errorf("has %q for %s: %w", limit, (*r)[len(*r)-1].namespace, err)
		}
	}
	return nil
}

const retentionExample = "as in orders=7d,10GiB or orders=1000000events,discard=new"

// begin makes a namespace the one that limits are of; the last in the list is.
func (r *retention) begin(name string) {
	i := slices.IndexFunc(*r, func(p policy) bool { return p.namespace == name })
	if i < 0 {
		*r = append(*r, policy{namespace: name})
		return
	}
	p := (*r)[i]
	*r = append(slices.Delete(*r, i, i+1), p)
}

// add takes one limit.
func (p *policy) add(limit string) error {
	if limit == "discard=new" || limit == "discard=old" {
		p.DiscardNew = limit == "discard=new"
		return nil
	}
	if limit == "compact" {
		p.Compact = true
		return nil
	}
	twice := false
	if digits, ok := strings.CutSuffix(limit, "events"); ok {
		n, err := strconv.ParseUint(digits, 10, 62)
		if err != nil || n == 0 {
			return errLimit
		}
		twice, p.MaxEvents = p.MaxEvents > 0, n
	} else if age, ok := bus.ParseAge(limit); ok && age > 0 {
		twice, p.MaxAge = p.MaxAge > 0, age
	} else if size, ok := parseBytes(limit, math.MaxInt64); ok && size > 0 && strings.HasSuffix(limit, "B") {
		twice, p.MaxBytes = p.MaxBytes > 0, int64(size)
	} else {
		return errLimit
	}
	if twice {
		return errors.New("a limit of this kind was given before")
	}
	return nil
}

var errLimit = errors.New("wanted an age (7d, 36h), a size (10GiB, 500MiB), a number of events (1000000events), discard=new, or compact")

// check refuses policies of namespaces that are not declared, and those that
// cannot be kept.
func (r retention) check(declared names) error {
	for _, p := range r {
		if !slices.Contains(declared, p.namespace) {
			return usageError("--retention ($BUS_RETENTION) is for namespace %q, which is not declared; declared are %s", p.namespace, strings.Join(declared, ", "))
		}
		if err := p.Check(); err != nil {
			return usageError("--retention ($BUS_RETENTION) of %s: %w", p.namespace, err)
		}
		if !p.Limits() {
			return usageError("--retention ($BUS_RETENTION) of %s has no limit; %w", p.namespace, errLimit)
		}
	}
	return nil
}

func (r retention) byNamespace() map[string]disk.Retention {
	all := make(map[string]disk.Retention, len(r))
	for _, p := range r {
		all[p.namespace] = p.Retention
	}
	return all
}

// keptText is a policy as --retention takes it.
func keptText(r *bus.RetentionInfo) string {
	if r == nil {
		return "all"
	}
	var parts []string
	for _, part := range []struct {
		is   bool
		text string
	}{{r.MaxAge != "", ageText(r.MaxAge)}, {r.MaxBytes > 0, sizeText(r.MaxBytes)}, {r.MaxEvents > 0, fmt.Sprintf("%devents", r.MaxEvents)}, {r.Discard == "new", "discard=new"}, {r.Compact, "compact"}} {
		if part.is {
			parts = append(parts, part.text)
		}
	}
	return oneLine(strings.Join(parts, ","))
}

// ageText is a duration without what it has none of: 7d, not 168h0m0s.
func ageText(text string) string {
	const day = 24 * time.Hour
	d, err := time.ParseDuration(text)
	if err != nil {
		return text
	}
	if d > 0 && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	short, none := strings.CutSuffix(d.String(), "m0s")
	if !none {
		return d.String()
	}
	if hours, whole := strings.CutSuffix(short, "h0"); whole {
		return hours + "h"
	}
	return short + "m"
}

// sizeText is a number of bytes in the largest unit that it is a multiple of.
func sizeText(n int64) string {
	for i, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if size := int64(1) << (40 - 10*i); n%size == 0 {
			return fmt.Sprintf("%d%s", n/size, unit)
		}
	}
	return fmt.Sprintf("%dB", n)
}
