//go:build !linux && !darwin && !freebsd && !windows

package immuta

import (
	"errors"
	"os"
)

// freeBytes is not known here: a full disk is noticed when it refuses a write.
func freeBytes(string) (int64, error) { return 0, errors.ErrUnsupported }

func freeBytesOf(*os.File) (int64, error) { return 0, errors.ErrUnsupported }
