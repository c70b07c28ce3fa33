package immuta

import "syscall"

// Free is how many bytes can still be written in dir by this user.
func (osFS) Free(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}
