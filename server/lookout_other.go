//go:build !linux

package server

import (
	"errors"
	"net"
)

// lookout is there on Linux; elsewhere each connection has a goroutine.
type lookout struct{}

func newLookout(func(key uint64)) (*lookout, error) { return nil, errors.ErrUnsupported }

func (*lookout) watch(net.Conn, uint64) error { return errors.ErrUnsupported }

func (*lookout) watchAgain(net.Conn, uint64) error { return errors.ErrUnsupported }

func (*lookout) close() {}

func readNow(net.Conn, []byte) (int, error) { return 0, errors.ErrUnsupported }
