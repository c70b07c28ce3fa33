package immuta

import (
	"os"
	"syscall"
	"unsafe"
)

// freeBytes returns what this user may still write to the directory's disk.
func freeBytes(dir string) (int64, error) {
	path, err := syscall.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var free int64
	ask := syscall.NewLazyDLL("kernel32.dll").NewProc("GetDiskFreeSpaceExW")
	if ok, _, err := ask.Call(uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&free)), 0, 0); ok == 0 {
		return 0, err
	}
	return free, nil
}

// freeBytesOf is freeBytes of an open directory, which cannot be renamed
// meanwhile.
func freeBytesOf(d *os.File) (int64, error) { return freeBytes(d.Name()) }
