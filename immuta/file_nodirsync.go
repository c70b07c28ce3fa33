//go:build unix && nodirsync

package immuta

import "os"

// syncDir does nothing with this tag, so that cmd/bus-torture can show that it
// notices when a name is lost. It is no way to run a log.
func syncDir(func() (*os.File, error)) error { return nil }
