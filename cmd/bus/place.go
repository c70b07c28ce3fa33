package main

import (
	"cmp"
	"fmt"

	"example.com/bus/crypto"
	"github.com/urfave/cli/v2"
)

// defaultPath is that of bus server.
const defaultPath = "./data"

// placeFlag is that of commands about a directory.
func placeFlag() cli.Flag {
	return &cli.StringFlag{Name: "path", Usage: "`DIRECTORY` of the logs, or the URL of a server [$BUS_PATH]", DefaultText: defaultPath}
}

// directoryFlag is that of commands that look at the files themselves.
func directoryFlag() cli.Flag {
	return &cli.StringFlag{Name: "path", Usage: "`DIRECTORY` of the logs [$BUS_PATH]", DefaultText: defaultPath}
}

// placeOf returns the directory or server that a command is about. A flag beats
// a variable, and the directory beats the server.
func placeOf(c *cli.Context) (string, error) {
	if c.IsSet("path") && c.IsSet("host") {
		return "", usageError("--path and --host are both given; wanted one of them")
	}
	given := environment()
	return cmp.Or(c.String("path"), c.String("host"), given["BUS_PATH"], given["BUS_HOST"], defaultPath), nil
}

// placeAndKeys returns the place, and the keys for it when it is a directory. A
// server has its own: there the variables of this machine mean nothing.
func placeAndKeys(c *cli.Context) (string, *crypto.Keyring, error) {
	place, err := placeOf(c)
	if err != nil || isURL(place) && !anySecretFlag(c, "") {
		return place, nil, err
	}
	ring, err := keysOf(c, "")
	return place, ring, err
}

// keysOf returns the keys of a place, nil when none are given.
func keysOf(c *cli.Context, place string) (*crypto.Keyring, error) {
	s, err := settings[secrets](c, place)
	if err != nil {
		return nil, err
	}
	return s.keyring(place, func(text string) { fmt.Fprintln(c.App.ErrWriter, "bus: warning:", text) })
}

// anySecretFlag tells a secret that was typed for this command from one that
// stands in the environment for others.
func anySecretFlag(c *cli.Context, place string) bool {
	for _, f := range flagsFor[secrets](place) {
		if c.IsSet(f.Names()[0]) {
			return true
		}
	}
	return false
}
