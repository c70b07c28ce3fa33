// Package disk keeps events in files: an engine of the bus over immuta, one
// log a namespace. It is the only place where a namespace becomes a path and an
// event becomes bytes of a log. It knows no HTTP, no consumers and no crypto.
//
// FORMAT.md beside this file says what is written.
package disk
