package main

import (
	"encoding/json"
	"fmt"

	"github.com/weirstream/weir/streams/serde"
)

// lineSerde keeps an output line as JSON.
type lineSerde struct{}

// Append writes l behind dst.
func (lineSerde) Append(dst []byte, _ string, l outputLine) ([]byte, error) { return l.append(dst) }

// Decode reads what Append wrote.
func (lineSerde) Decode(_ string, b []byte) (l outputLine, err error) {
	if err := json.Unmarshal(b, &l); err != nil {
		return l, fmt.Errorf("an output line: %w", err)
	}
	return l, nil
}

var _ serde.Serde[outputLine] = lineSerde{}
