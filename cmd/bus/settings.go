package main

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/urfave/cli/v2"
)

// A setting is a field of a struct with the tags
//
//	flag:"addr"       its flag; further names after commas
//	env:"ADDR"        its variable, without the prefix
//	envDefault:":2021"
//	usage:"…"
//
// A flag is nothing but a variable that is given on the command line: both
// reach the field through the same parser, and a flag that is not given cannot
// override a variable.

// settingsPrefix stands before every variable.
const settingsPrefix = "BUS_"

// setting is one field as its tags describe it.
type setting struct {
	field    string
	flags    []string
	variable string
	standard string
	usage    string
	list     bool
	toggle   bool // true when the flag is there
}

// settingsOf returns the fields of a struct, and those of structs in it.
// place, "from" or "to", stands before flags and variables of a command that
// has a set of them twice.
func settingsOf(t reflect.Type, place string) []setting {
	var all []setting
	for i := range t.NumField() {
		f := t.Field(i)
		if names := f.Tag.Get("flag"); names != "" {
			s := setting{field: f.Name, variable: settingsPrefix + f.Tag.Get("env"), standard: f.Tag.Get("envDefault"), usage: f.Tag.Get("usage")}
			s.list, s.toggle = f.Type.Kind() == reflect.Slice, f.Type.Kind() == reflect.Bool
			s.flags = strings.Split(names, ",")
			if place != "" {
				s.flags[0] = place + "-" + s.flags[0]
				s.variable = settingsPrefix + strings.ToUpper(place) + "_" + f.Tag.Get("env")
			}
			all = append(all, s)
		} else if f.Type.Kind() == reflect.Struct {
			all = append(all, settingsOf(f.Type, place)...)
		}
	}
	return all
}

// flagsFor returns the flags of a struct of settings.
func flagsFor[T any](place string) []cli.Flag {
	var flags []cli.Flag
	for _, s := range settingsOf(reflect.TypeFor[T](), place) {
		usage := s.usage + " [$" + s.variable + "]"
		switch {
		case s.list:
			flags = append(flags, &cli.StringSliceFlag{Name: s.flags[0], Aliases: s.flags[1:], Usage: usage})
		case s.toggle:
			flags = append(flags, &cli.BoolFlag{Name: s.flags[0], Aliases: s.flags[1:], Usage: usage})
		default:
			flags = append(flags, &cli.StringFlag{Name: s.flags[0], Aliases: s.flags[1:], Usage: usage, DefaultText: s.standard})
		}
	}
	return flags
}

// settings fills a struct from flags, variables and defaults, in this order.
func settings[T any](c *cli.Context, place string) (T, error) {
	var value T
	all := settingsOf(reflect.TypeFor[T](), place)
	given := environment()
	for _, s := range all {
		overrideByFlag(c, s, given)
		if v, ok := given[s.variable]; ok && v == "" {
			return value, usageError("--%s ($%s) is empty; give it a value or leave it out", s.flags[0], s.variable)
		}
	}
	prefix := settingsPrefix
	if place != "" {
		prefix += strings.ToUpper(place) + "_"
	}
	err := env.ParseWithOptions(&value, env.Options{Environment: given, Prefix: prefix})
	return value, settingError(err, all)
}

// overrideByFlag puts a flag that was given in the place of its variable.
func overrideByFlag(c *cli.Context, s setting, given map[string]string) {
	switch {
	case !c.IsSet(s.flags[0]):
	case s.list:
		given[s.variable] = strings.Join(c.StringSlice(s.flags[0]), "\n") + "\n"
	case s.toggle:
		given[s.variable] = strconv.FormatBool(c.Bool(s.flags[0]))
	default:
		given[s.variable] = c.String(s.flags[0])
	}
}

// keepEmpty are variables whose empty value is a mistake that must be seen: a
// secret that is lost on the way would leave everything unsealed.
func keepEmpty(name string) bool { return strings.Contains(name, "SECRET_KEY") }

// environment returns our variables. An empty one counts as absent, since a
// Compose file cannot leave one out. Names of the predecessor become ours.
func environment() map[string]string {
	given := make(map[string]string)
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, settingsPrefix) && (value != "" || keepEmpty(name)) {
			given[name] = value
		}
	}
	for old, name := range map[string]string{"BUS_DUP_SIZE": "BUS_DEDUP_KEYS", "BUS_DUP_TTL": "BUS_DEDUP_WINDOW"} {
		if _, ok := given[name]; !ok && given[old] != "" {
			given[name] = given[old]
		}
	}
	return given
}

// settingError names flag and variable, and leaves the field out.
func settingError(err error, all []setting) error {
	if err == nil {
		return nil
	}
	found, ok := errors.AsType[env.AggregateError](err)
	if !ok {
		return usageError("%v", err)
	}
	var texts []string
	for _, e := range found.Errors {
		parse, ok := errors.AsType[env.ParseError](e)
		if !ok {
			texts = append(texts, e.Error())
			continue
		}
		texts = append(texts, fmt.Sprintf("%s %v", settingName(parse.Name, all), parse.Err))
	}
	return usageError("%s", strings.Join(texts, "; "))
}

// settingName is how a person knows a field.
func settingName(field string, all []setting) string {
	for _, s := range all {
		if s.field == field {
			return "--" + s.flags[0] + " ($" + s.variable + ")"
		}
	}
	return field
}

// misspelt returns a warning for each variable that is none of ours and looks
// like one: a typo would otherwise be a default that nobody notices. What
// Kubernetes sets for a service named bus is passed over.
func misspelt(known []string) []string {
	var warnings []string
	for name := range environment() {
		if strings.Contains(name, "_SERVICE_") || strings.HasPrefix(name, "BUS_PORT") {
			continue
		}
		if near := nearest(name, known, 2); near != "" && near != name {
			warnings = append(warnings, fmt.Sprintf("the variable %s does not exist and is not used; did you mean %s?", name, near))
		}
	}
	return warnings
}
