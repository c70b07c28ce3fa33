//go:build unix

package immuta

import (
	"errors"
	"os"
	"syscall"
)

// noFollow refuses a symbolic link planted where a log's file should be; noWait
// opens a pipe at once, so that it can be refused.
const (
	noFollow = syscall.O_NOFOLLOW
	noWait   = syscall.O_NONBLOCK
)

// lockFile uses flock: it belongs to the open file, so a second Open in the same
// process is refused too, and the kernel lets go of it when the process dies.
func lockFile(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EWOULDBLOCK):
			return ErrLocked
		}
		return err
	}
}

// otherNames says whether an open file has more than one name.
func otherNames(f *os.File) bool {
	info, err := f.Stat()
	if err != nil {
		return false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && s.Nlink > 1
}
