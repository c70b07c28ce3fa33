//go:build !latedelete

package server

import "context"

// deleteAll deletes events wherever the bus has what was in them: first in the log,
// so that nobody reads them any more, then what was read before, then the dead letters
// made of it. What a crash or an error cuts short is finished by a second call. already
// says that all of them, wherever they stood, were removed before.
func (s *Server) deleteAll(ctx context.Context, namespace string, indexes []uint64, of erased) (already bool, err error) {
	all, before, err := s.engine.Delete(ctx, namespace, indexes)
	if err != nil {
		return false, err
	}
	if err := s.hub.Removed(namespace, all); err != nil {
		return false, err
	}
	return len(before) == len(all), s.deleteLetters(ctx, namespace, all, of)
}
