package bus

import "strings"

// InboxNamespace is the reserved first segment of inbox subjects. They live in
// memory, match exactly, and are never written to a log.
const InboxNamespace = "_bus_"

// Namespaces of the bus itself. Nobody else publishes to them.
const (
	// DeadNamespace has the dead letters: _dead_.<namespace>.<consumer>. It can be
	// subscribed to.
	DeadNamespace = "_dead_"
	// NamespacesNamespace has what was declared and deleted at run time.
	NamespacesNamespace = "_namespaces_"
	// ConsumersNamespace has what named consumers have come to.
	ConsumersNamespace = "_consumers_"
)

// IsOwn reports whether a namespace is one of the bus itself.
func IsOwn(namespace string) bool { return strings.HasPrefix(namespace, "_") }

// Namespace returns the first segment of a subject or pattern, without
// checking either.
func Namespace(subject string) string {
	namespace, _, _ := strings.Cut(subject, ".")
	return namespace
}

// IsInbox reports whether the subject is an inbox: in memory, never persisted.
func IsInbox(subject string) bool { return Namespace(subject) == InboxNamespace }

// CheckNamespace returns nil for a name that can be declared as a namespace. A
// leading underscore is the bus's own: inboxes have one, and what it will keep
// for itself.
func CheckNamespace(name string) error {
	switch {
	case IsOwn(name):
		return ErrInvalidSubject.With("namespace %.80q: a leading underscore is reserved for the bus itself", name)
	case !validSegment(name):
		return ErrInvalidSubject.With("namespace %.80q: wanted 1 to %d characters of A-Z a-z 0-9 _ -", name, MaxSegmentLen)
	}
	return nil
}
