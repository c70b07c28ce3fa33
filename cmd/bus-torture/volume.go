package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// fileSystem is a real one, and how it is made and mounted.
type fileSystem struct {
	name    string // for people
	kind    string
	options string
	size    int64 // of the disk; the image is sparse
	mkfs    []string
	fsck    []string // says with its exit code whether all is well, and changes nothing
}

// What there is, and how it is made and checked. XFS takes no disk below 300 MB.
const (
	ext4Size = 96 << 20
	xfsSize  = 320 << 20
)

var (
	makeExt4  = []string{"mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"}
	checkExt4 = []string{"e2fsck", "-fn"}
	makeXFS   = []string{"mkfs.xfs", "-q", "-f"}
	checkXFS  = []string{"xfs_repair", "-n", "-f"}
)

// fileSystems are what servers stand on. commit is how many seconds ext4 lets
// pass before it writes down by itself what nobody has synced.
var fileSystems = []fileSystem{
	{"ext4 commit=1", "ext4", "data=ordered,commit=1", ext4Size, makeExt4, checkExt4},
	{"ext4 commit=5", "ext4", "data=ordered,commit=5", ext4Size, makeExt4, checkExt4},
	{"ext4 commit=1000", "ext4", "data=ordered,commit=1000", ext4Size, makeExt4, checkExt4},
	{"xfs", "xfs", "", xfsSize, makeXFS, checkXFS},
}

// volume is a disk that can lose its power. Nothing that was not synced is on it
// afterwards: the file system stops as it is, its log is not written out, and
// what is in memory is thrown away when it is unmounted.
type volume struct {
	fs     fileSystem
	image  string
	device string
	handle *os.File
	mount  string
	up     bool
}

// newVolume makes a disk with an empty file system, and mounts it below dir.
func newVolume(ctx context.Context, dir string, fs fileSystem) (*volume, error) {
	image := filepath.Join(dir, "image")
	if err := fs.make(ctx, image); err != nil {
		return nil, err
	}
	return mountVolume(dir, fs, image)
}

// mountVolume mounts a disk that has a file system.
func mountVolume(dir string, fs fileSystem, image string) (*volume, error) {
	v := &volume{fs: fs, image: image, mount: filepath.Join(dir, "mnt")}
	if err := os.MkdirAll(v.mount, 0o700); err != nil {
		return nil, err
	}
	var err error
	if v.device, v.handle, err = attach(v.image); err != nil {
		return nil, fmt.Errorf("a loop device: %w", err)
	}
	if err := v.on(); err != nil {
		return nil, errors.Join(err, v.discard())
	}
	return v, nil
}

// make makes a file that is a disk with an empty file system.
func (fs fileSystem) make(ctx context.Context, image string) error {
	f, err := os.Create(image)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(fs.size), f.Close()); err != nil {
		return err
	}
	mkfs, err := found(fs.mkfs[0])
	if err != nil {
		return err
	}
	args := append(fs.mkfs[1:len(fs.mkfs):len(fs.mkfs)], image)
	if out, err := exec.CommandContext(ctx, mkfs, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(fs.mkfs, " "), err, out)
	}
	return nil
}

// found looks where Debian keeps such tools, which is not in everybody's PATH.
func found(tool string) (string, error) {
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		path := filepath.Join(dir, tool)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is missing: sh cmd/bus-torture/tools.sh installs it", tool)
}

// on mounts it, which replays the file system's own journal.
func (v *volume) on() error {
	if err := syscall.Mount(v.device, v.mount, v.fs.kind, 0, v.fs.options); err != nil {
		return fmt.Errorf("mount %s of %s: %w", v.fs.name, v.device, err)
	}
	v.up = true
	return nil
}

// cut takes the power away. From now on nothing reaches the disk, and calls that
// would have to say EIO.
func (v *volume) cut() error {
	const (
		goingDown  = 0x8004587D // EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN
		noLogFlush = 2
	)
	root, err := os.Open(v.mount)
	if err != nil {
		return err
	}
	defer root.Close()
	how := uint32(noLogFlush)
	if _, err := ioctl(root, goingDown, unsafe.Pointer(&how)); err != nil {
		return fmt.Errorf("cut the power of %s: %w", v.fs.name, err)
	}
	return nil
}

// off unmounts it. The process that used it may need a moment to be gone.
func (v *volume) off() error {
	if !v.up {
		return nil
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		err := syscall.Unmount(v.mount, 0)
		if err == nil {
			v.up = false
			return nil
		}
		if !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
			return fmt.Errorf("unmount %s: %w", v.mount, err)
		}
	}
}

// discard takes all of it but the image away, whatever state it is in.
func (v *volume) discard() error {
	err := v.off()
	if err != nil {
		err = errors.Join(err, syscall.Unmount(v.mount, syscall.MNT_DETACH))
	}
	return errors.Join(err, v.handle.Close())
}
