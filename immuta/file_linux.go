//go:build !nosync

package immuta

import (
	"errors"
	"os"
	"syscall"
)

// datasync leaves out the times of the file, which saves the journal a write for
// each commit; the size, which recovery needs, is always included.
func datasync(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
