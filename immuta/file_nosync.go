//go:build nosync

package immuta

import "os"

// With this tag nothing is ever synced. It is no way to run a log: it is there so
// that cmd/bus-torture can show that it notices when answered events are lost.

func datasync(*os.File) error { return nil }

// Sync stands before the one that osFile would have from os.File.
func (osFile) Sync() error { return nil }
