//go:build linux || darwin || freebsd

package immuta

import (
	"os"
	"syscall"
)

// freeBytes returns what this process may still write to the directory's disk;
// what is kept for root alone is not counted.
func freeBytes(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}

// freeBytesOf is freeBytes of an open directory, whatever its path is by now.
func freeBytesOf(d *os.File) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Fstatfs(int(d.Fd()), &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}
