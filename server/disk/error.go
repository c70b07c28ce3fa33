package disk

import (
	"context"
	"errors"
	"io"
	"syscall"

	"example.com/bus"
	"example.com/bus/immuta"
)

// Why a directory or a log cannot be opened, for those who do not import the
// log. They come wrapped: use errors.Is and errors.As.
var (
	ErrLocked = immuta.ErrLocked // another process has the directory
	ErrSealed = immuta.ErrSealed // a key is missing
	ErrPlain  = immuta.ErrPlain  // a key was given for a plain log
)

// A CorruptError says which file is damaged, where, and what was found.
type CorruptError = immuta.CorruptError

// appendError says an error of the log in the words of the bus.
func (n *namespace) appendError(err error) error {
	if refused, ok := bus.AsError(err); ok {
		return refused // by a condition
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, errReadAnew):
		return err
	case errors.Is(err, immuta.ErrTooLarge):
		return bus.ErrTooLarge.With("%v", err)
	case errors.Is(err, immuta.ErrClosed):
		return bus.ErrUnavailable.With("namespace %s is closed: the server is stopping", n.name)
	case errors.Is(err, immuta.ErrReadOnly):
		return bus.ErrStorage.With("namespace %s is open for reading only", n.name)
	case errors.Is(err, immuta.ErrFull):
		return bus.ErrStorage.With("namespace %s is full and can still be read: %v", n.name, err)
	case outOfSpace(err) && n.log.Err() == nil:
		return n.noSpace(err.Error())
	}
	if damage, ok := errors.AsType[*immuta.CorruptError](err); ok {
		return bus.ErrStorage.With("namespace %s is damaged and takes no events, but can still be read: %v; stop the server: bus repair shows what is lost, and with --write sets it aside", n.name, damage)
	}
	return bus.ErrStorage.With("namespace %s takes no more events until the server is started again, and can still be read: %v", n.name, err)
}

func (n *namespace) noSpace(why string) error {
	return bus.ErrInsufficientSpace.With("namespace %s: %s; nothing of it was stored, make room and send it again", n.name, why)
}

func (n *namespace) atLimit(why string) error {
	return bus.ErrInsufficientSpace.With("namespace %s takes no more: %s; nothing of it was stored: send it again when older events are past their age, or raise the limit where the server is started (--retention)", n.name, why)
}

func outOfSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// readError says an error of the log's reader, which was to read the index due,
// in the words of the bus. io.EOF stays what it is.
func (n *namespace) readError(err error, due uint64) error {
	if damage, ok := errors.AsType[*immuta.CorruptError](err); ok {
		// The damaged block may begin with events that nobody asked for.
		return &bus.DamageError{Namespace: n.name, From: max(damage.From, due), Next: damage.Next, Err: err}
	}
	if gap, ok := errors.AsType[*immuta.GapError](err); ok {
		return &bus.DamageError{Namespace: n.name, From: max(gap.From, due), Next: gap.Next, AtMost: gap.AtMost, Repaired: gap.Repaired, Err: err}
	}
	if removed, ok := errors.AsType[*immuta.RemovedError](err); ok {
		return &bus.RemovedError{Namespace: n.name, From: max(removed.From, due), Next: removed.Next, Reason: reasonName(removed.Reason), At: removed.Time}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, immuta.ErrClosed) {
		return n.waitError(err)
	}
	// What the disk does not give now is not gone: no gap, and no end.
	return bus.ErrUnreadable.With("namespace %s cannot be read at index %d, nothing of it is lost yet: look after the disk, and read again from there: %v", n.name, due, err)
}

// A Gap says that events were lost to damage that has been repaired since.
type Gap = immuta.GapError

func (n *namespace) waitError(err error) error {
	if errors.Is(err, immuta.ErrClosed) {
		return bus.ErrUnavailable.With("namespace %s is closed: the server is stopping", n.name)
	}
	return err
}
