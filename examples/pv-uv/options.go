package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/weirstream/weir/streams"
)

// options are the flags.
type options struct {
	input, brokers, uv, data, http string
	window                         time.Duration
	once, json                     bool
	rate                           int
	guarantee                      streams.Guarantee
}

// errUsage is a wrong command line; the flag package has said what is wrong.
var errUsage = errors.New("wrong flags")

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("pv-uv", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.input, "input", "", "access log in the common or combined format, also gzipped; - is standard input; without it traffic is generated")
	f.DurationVar(&o.window, "window", time.Minute, "length of a window")
	f.BoolVar(&o.once, "once", false, "stop when the input is counted")
	f.BoolVar(&o.json, "json", false, "write one JSON object a line instead of tables")
	f.StringVar(&o.brokers, "brokers", "", "host:port,... of any Kafka; without it a broker runs inside")
	f.StringVar(&o.uv, "uv", "exact", "how unique visitors are counted: exact or hll")
	f.TextVar(&o.guarantee, "guarantee", streams.ExactlyOnceV2, "at_least_once or exactly_once_v2: how often a view counts after a crash")
	f.StringVar(&o.data, "data", "", "folder for the data, used again by the next run; without it one in the user's data directory")
	f.IntVar(&o.rate, "rate", -1, "lines a second; 0 has no limit; without it 50 for generated live traffic and no limit otherwise")
	f.StringVar(&o.http, "http", "127.0.0.1:0", "address of the page with charts, or off")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, errUsage
	}
	return o, o.check(f.Args())
}

func (o *options) check(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q is not a flag; name a log with -input", rest[0])
	case o.window < time.Millisecond || o.window%time.Millisecond != 0:
		return fmt.Errorf("-window %s: want whole milliseconds, at least one", o.window)
	case o.uv != "exact" && o.uv != "hll":
		return fmt.Errorf("-uv %s: want exact or hll", o.uv)
	}
	if o.rate < 0 {
		o.rate = 0
		if o.input == "" && !o.once {
			o.rate = 50
		}
	}
	if o.data != "" {
		return nil
	}
	base := os.Getenv("XDG_DATA_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return errors.New("no home directory to keep data in; name a folder with -data")
		}
		base = filepath.Join(home, ".local", "share")
	}
	o.data = filepath.Join(base, "weir", "pv-uv")
	return nil
}

// fingerprint tells runs apart that must not share topics and state.
func (o *options) fingerprint(in source) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s|%s|%s|%t", in.fingerprint, o.window, o.uv, in.live))
	return hex.EncodeToString(sum[:6])
}
