package server

// PlainConns returns how many connections have seen nothing but plain publishes.
func (s *Server) PlainConns() int {
	s.plain.mu.Lock()
	defer s.plain.mu.Unlock()
	return len(s.plain.conns)
}

// BoundOpenDead sets how many open dead letters of a namespace are kept in mind.
func (s *Server) BoundOpenDead(most int) { s.letters.most = most }

// RewriteConsumersAt sets at how many bytes the log of named consumers is written
// anew.
func RewriteConsumersAt(bytes int64) func(*Config) {
	return func(c *Config) { c.rewriteConsumers = bytes }
}
