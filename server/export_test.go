package server

// PlainConns returns how many connections have seen nothing but plain publishes.
func (s *Server) PlainConns() int {
	s.plain.mu.Lock()
	defer s.plain.mu.Unlock()
	return len(s.plain.conns)
}
