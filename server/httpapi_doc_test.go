package server_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// block is one fenced http block of HTTP_API.md.
type block struct {
	line int    // of its fence, for messages
	kind string // "request", "answer" or "frames"
	name string // as= of a request, of= of the others; "" means the latest
	end  bool   // the stream ends after these frames
	text []string
}

// section is what stands under one heading of the second level. Its streams
// are closed at its end.
type section struct {
	title string
	steps []any // block or directive
}

// directive is a comment of the document that tells the test what no request
// can say: <!-- test: heartbeat=50ms -->.
type directive struct {
	line int
	text string
}

// readSections finds the blocks of a document, in order.
func readSections(t *testing.T, document string) []*section {
	t.Helper()
	current := &section{title: "before the first heading"}
	sections := []*section{current}
	var open *block
	for i, line := range strings.Split(document, "\n") {
		switch {
		case open != nil && line == "```":
			open.classify(t)
			current.steps = append(current.steps, *open)
			open = nil
		case open != nil:
			open.text = append(open.text, line)
		case strings.HasPrefix(line, "```http"):
			open = newBlock(t, i+1, strings.Fields(line)[1:])
		case strings.HasPrefix(line, "## "):
			current = &section{title: line[3:]}
			sections = append(sections, current)
		case strings.HasPrefix(line, "<!-- test: "):
			text := strings.TrimSuffix(strings.TrimPrefix(line, "<!-- test: "), " -->")
			current.steps = append(current.steps, directive{i + 1, text})
		}
	}
	if open != nil {
		t.Fatalf("line %d: the block has no end", open.line)
	}
	return sections
}

func newBlock(t *testing.T, line int, words []string) *block {
	t.Helper()
	b := &block{line: line}
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "as", "of":
			b.name = value
		case "end":
			b.end = true
		default:
			t.Fatalf("line %d: unknown word %q after http", line, word)
		}
	}
	return b
}

func (b *block) classify(t *testing.T) {
	t.Helper()
	if len(b.text) == 0 && !b.end {
		t.Fatalf("line %d: the block is empty", b.line)
	}
	switch {
	case len(b.text) > 0 && regexp.MustCompile(`^(GET|HEAD|POST|PUT|OPTIONS|PATCH|DELETE) /`).MatchString(b.text[0]):
		b.kind = "request"
	case len(b.text) > 0 && strings.HasPrefix(b.text[0], "HTTP/1.1 "):
		b.kind = "answer"
	default:
		b.kind = "frames"
	}
}

// split returns the lines before the first empty one, and those after it.
func (b *block) split() (head, body []string) {
	for i, line := range b.text {
		if line == "" {
			return b.text[:i], b.text[i+1:]
		}
	}
	return b.text, nil
}

// captures are the values of ⟨names⟩, kept at their first appearance.
type captures map[string]string

var namePattern = regexp.MustCompile(`⟨([a-z0-9-]+)⟩`)

// fill puts captured values in the place of their names.
func (c captures) fill(line string) (string, error) {
	var missing error
	filled := namePattern.ReplaceAllStringFunc(line, func(name string) string {
		value, ok := c[name]
		if !ok {
			missing = fmt.Errorf("%s has no value yet", name)
		}
		return value
	})
	return filled, missing
}

// match compares one line of an answer with what the document says, and keeps
// what stands where a new name does.
func (c captures) match(want, got string) error {
	var pattern strings.Builder
	var names []string
	pattern.WriteString(`\A`)
	for rest := want; rest != ""; {
		ellipsis, name := strings.Index(rest, "…"), namePattern.FindStringIndex(rest)
		switch {
		case ellipsis == 0:
			pattern.WriteString(`.*`)
			rest = rest[len("…"):]
		case name != nil && name[0] == 0:
			pattern.WriteString(c.part(rest[:name[1]], &names))
			rest = rest[name[1]:]
		default:
			stop := len(rest)
			if ellipsis > 0 {
				stop = ellipsis
			}
			if name != nil {
				stop = min(stop, name[0])
			}
			pattern.WriteString(regexp.QuoteMeta(rest[:stop]))
			rest = rest[stop:]
		}
	}
	pattern.WriteString(`\z`)
	return c.keep(regexp.MustCompile(pattern.String()), names, want, got)
}

func (c captures) part(name string, names *[]string) string {
	if value, ok := c[name]; ok {
		return regexp.QuoteMeta(value)
	}
	*names = append(*names, name)
	return `([A-Za-z0-9_.:+-]+)`
}

func (c captures) keep(pattern *regexp.Regexp, names []string, want, got string) error {
	found := pattern.FindStringSubmatch(got)
	if found == nil {
		filled, _ := c.fill(want)
		return fmt.Errorf("want %s\n  or %s\n got %s", want, filled, got)
	}
	for i, name := range names {
		if value, ok := c[name]; ok && value != found[i+1] {
			return fmt.Errorf("%s is %s and %s in one line", name, value, found[i+1])
		}
		c[name] = found[i+1]
	}
	return nil
}
