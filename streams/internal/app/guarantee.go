package app

import (
	"fmt"
	"strconv"
)

// Guarantee says how often a record takes effect.
type Guarantee int

const (
	// AtLeastOnce never loses a record; after a failure, records since the last
	// commit take effect again.
	AtLeastOnce Guarantee = iota
	// ExactlyOnceV2 makes outputs, state and offsets one transaction of each
	// worker, and reads only what is committed. Whoever reads the outputs has to
	// read only what is committed too. It needs brokers of Kafka 2.5 or later.
	ExactlyOnceV2
)

// String returns Kafka's name of the guarantee: at_least_once or
// exactly_once_v2.
func (g Guarantee) String() string {
	switch g {
	case AtLeastOnce:
		return "at_least_once"
	case ExactlyOnceV2:
		return "exactly_once_v2"
	default:
		return "guarantee(" + strconv.Itoa(int(g)) + ")"
	}
}

// MarshalText implements encoding.TextMarshaler, for flags and files.
func (g Guarantee) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler: it takes what String
// returns.
func (g *Guarantee) UnmarshalText(text []byte) error {
	for _, known := range []Guarantee{AtLeastOnce, ExactlyOnceV2} {
		if string(text) == known.String() {
			*g = known
			return nil
		}
	}
	return fmt.Errorf("%w: guarantee %q: want %s or %s", ErrConfig, text, AtLeastOnce, ExactlyOnceV2)
}
