//go:build !linux && !nosync

package immuta

import "os"

// datasync is a full sync where there is nothing less; on macOS this is the one
// that also empties the disk's own cache.
func datasync(f *os.File) error { return f.Sync() }
