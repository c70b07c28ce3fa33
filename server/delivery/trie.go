package delivery

import (
	"slices"
	"strings"

	"example.com/bus"
)

// trie finds the sinks whose patterns match a subject, in a time that grows
// with the segments of the subject and the matches, not with the patterns. It
// answers exactly what bus.Pattern.Match answers. It is not for concurrent
// use: the feed that owns it guards it.
type trie struct {
	root node
}

// node is the place that a sequence of segments leads to.
type node struct {
	children map[string]*node // nil until the first literal segment
	star     *node            // the segment "*"
	here     []*sink          // patterns that end at this node
	below    []*sink          // patterns that end with ">" after this node
}

// add makes the sink a match of the pattern. Adding it twice needs two removals.
func (t *trie) add(p bus.Pattern, k *sink) {
	n := &t.root
	for _, segment := range p.Segments() {
		if segment == ">" {
			n.below = append(n.below, k)
			return
		}
		n = n.child(segment)
	}
	n.here = append(n.here, k)
}

func (n *node) child(segment string) *node {
	if segment == "*" {
		if n.star == nil {
			n.star = &node{}
		}
		return n.star
	}
	next := n.children[segment]
	if next == nil {
		if n.children == nil {
			n.children = make(map[string]*node)
		}
		next = &node{}
		n.children[segment] = next
	}
	return next
}

// remove undoes one add, and lets go of nodes that lead nowhere any more: with
// patterns made from ids (orders.4711.>) they would pile up for ever.
func (t *trie) remove(p bus.Pattern, k *sink) {
	t.root.remove(p.Segments(), k)
}

func (n *node) remove(segments []string, k *sink) {
	switch {
	case len(segments) == 0:
		n.here = without(n.here, k)
	case segments[0] == ">":
		n.below = without(n.below, k)
	case segments[0] == "*":
		if n.star == nil {
			return
		}
		n.star.remove(segments[1:], k)
		if n.star.empty() {
			n.star = nil
		}
	default:
		n.removeChild(segments, k)
	}
}

func (n *node) removeChild(segments []string, k *sink) {
	next := n.children[segments[0]]
	if next == nil {
		return
	}
	next.remove(segments[1:], k)
	if next.empty() {
		delete(n.children, segments[0])
	}
}

func (n *node) empty() bool {
	return len(n.here) == 0 && len(n.below) == 0 && n.star == nil && len(n.children) == 0
}

// without takes one occurrence out; the order of sinks means nothing.
func without(sinks []*sink, k *sink) []*sink {
	i := slices.Index(sinks, k)
	if i < 0 {
		return sinks
	}
	last := len(sinks) - 1
	sinks[i], sinks[last] = sinks[last], nil
	if last == 0 {
		return nil
	}
	return sinks[:last]
}

// match appends the sinks of all patterns that stand for the subject. A sink
// with several such patterns is there several times.
func (t *trie) match(dst []*sink, subject string) []*sink {
	return t.root.match(dst, subject)
}

func (n *node) match(dst []*sink, rest string) []*sink {
	if rest != "" {
		dst = append(dst, n.below...)
	}
	segment, rest, more := strings.Cut(rest, ".")
	if next := n.children[segment]; next != nil {
		dst = next.arrive(dst, rest, more)
	}
	if n.star != nil {
		dst = n.star.arrive(dst, rest, more)
	}
	return dst
}

func (n *node) arrive(dst []*sink, rest string, more bool) []*sink {
	if more {
		return n.match(dst, rest)
	}
	return append(dst, n.here...)
}
