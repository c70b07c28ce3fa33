package server_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// next reads from a stream what the document says arrives next on it.
func (w *walk) next(one *talk, want []string, end bool) error {
	sse := strings.HasPrefix(one.response.Header.Get("Content-Type"), "text/event-stream")
	for _, frame := range paragraphs(want, sse) {
		got, err := one.frame(sse, slices.Contains(frame, "event: ping"))
		if err != nil {
			return fmt.Errorf("want %s\n got %w", strings.Join(frame, "\n     "), err)
		}
		if err := w.lines(frame, got); err != nil {
			return err
		}
	}
	if !end {
		return nil
	}
	if got, err := one.frame(sse, false); !errors.Is(err, io.EOF) {
		return fmt.Errorf("want the end of the stream\n got %q, %v", got, err)
	}
	return nil
}

// paragraphs cuts lines into frames: at empty lines for SSE, each line one for
// NDJSON.
func paragraphs(lines []string, sse bool) [][]string {
	var frames [][]string
	var frame []string
	for _, line := range append(lines, "") {
		if line != "" {
			frame = append(frame, line)
		}
		if len(frame) > 0 && (line == "" || !sse) {
			frames, frame = append(frames, frame), nil
		}
	}
	return frames
}

// frame reads one frame. Pings are passed over unless one is wanted: they come
// by the clock, and the document shows them where they belong.
func (o *talk) frame(sse, ping bool) ([]string, error) {
	var frame []string
	for {
		line, err := o.body.ReadString('\n')
		if err != nil {
			return append(frame, line), err
		}
		line = strings.TrimSuffix(line, "\n")
		if line != "" {
			frame = append(frame, line)
		}
		if len(frame) == 0 || sse && line != "" {
			continue
		}
		if ping || !slices.Contains(frame, "event: ping") {
			return frame, nil
		}
		frame = nil
	}
}
