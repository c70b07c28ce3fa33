package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"example.com/bus/crypto"
	"github.com/urfave/cli/v2"
)

func keygenCommand() *cli.Command {
	return &cli.Command{
		Name:  "keygen",
		Usage: "make a secret to seal logs with",
		Description: `Prints 32 random bytes as 64 hexadecimal digits, or writes them to a file
that only its owner can read. Whoever has the secret reads everything; whoever
loses it reads nothing. Keep a copy apart from the data.

   bus keygen --output bus.key
   bus server --secret-key-file bus.key --namespaces orders`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Usage: "`FILE` to write, which must not exist; stdout when absent"},
		},
		Action: keygen,
	}
}

// keygen writes the file through to the disk: a secret that is lost in a power
// cut takes the first sealed events with it.
func keygen(c *cli.Context) error {
	line := crypto.GenerateSecret() + "\n"
	path := c.String("output")
	if path == "" || path == "-" {
		return writeOut(c.App.Writer, []byte(line))
	}
	// O_EXCL: a secret that is written over takes all that it sealed with it.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists, and a secret that is written over is lost with all that it sealed; choose another file", path)
	}
	if err != nil {
		return hint(err, "choose a file that can be written with --output")
	}
	_, err = f.WriteString(line)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
