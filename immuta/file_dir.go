//go:build unix && !nodirsync

package immuta

import (
	"errors"
	"os"
)

func syncDir(open func() (*os.File, error)) error {
	d, err := open()
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}
