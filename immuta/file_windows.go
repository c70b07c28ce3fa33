package immuta

import (
	"errors"
	"os"
	"syscall"
	"unsafe"
)

const (
	noFollow = 0
	noWait   = 0
)

// lockFile locks a byte far behind any content, since Windows' locks keep others
// from reading what they cover, and readers beside a writer are welcome.
func lockFile(f *os.File) error {
	const (
		exclusiveAtOnce = 0x1 | 0x2
		violation       = syscall.Errno(33)
	)
	lock := syscall.NewLazyDLL("kernel32.dll").NewProc("LockFileEx")
	where := syscall.Overlapped{OffsetHigh: 0x7FFFFFFF}
	ok, _, err := lock.Call(f.Fd(), exclusiveAtOnce, 0, 1, 0, uintptr(unsafe.Pointer(&where)))
	switch {
	case ok != 0:
		return nil
	case errors.Is(err, violation):
		return ErrLocked
	}
	return err
}

// syncDir has nothing to do: NTFS journals names itself, and has no call for it.
func syncDir(func() (*os.File, error)) error { return nil }

// otherNames is not asked for here: Windows lets few make such links.
func otherNames(*os.File) bool { return false }
