package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
)

// screen is where a log and a line of progress meet: on a terminal the line is
// always the last. Elsewhere there is only the log. It is for many goroutines.
type screen struct {
	terminal bool

	mu   sync.Mutex // guards all below
	w    io.Writer
	line string
}

func newScreen(w io.Writer) *screen { return &screen{terminal: isTerminal(w), w: w} }

// Write puts lines of a log above the line of progress.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line == "" {
		return s.w.Write(p)
	}
	fmt.Fprint(s.w, "\r\x1b[K")
	n, err := s.w.Write(p)
	fmt.Fprint(s.w, s.line)
	return n, err
}

// draw replaces the line of progress; "" takes it away.
func (s *screen) draw(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if line == s.line {
		return
	}
	s.line = line
	fmt.Fprint(s.w, "\r\x1b[K", line)
}

// trimLine takes from a line of talk what a log does not want.
func trimLine(p []byte) string {
	return strings.TrimPrefix(strings.TrimSpace(string(p)), "bus: ")
}
