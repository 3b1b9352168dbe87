package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/axiomhq/hyperloglog"
)

// stat is what is known of one page in one window: its views and who saw it.
// Adding a visitor twice changes nothing, so uniques stay right when a crash
// makes the topology see a record again.
type stat struct {
	PV       int64
	UV       int64
	visitors string // the visitors seen, each between spaces; empty in a sketch
	sketch   *hyperloglog.Sketch
}

// seen returns s after one more view by the visitor.
func (s stat) seen(visitor string) stat {
	s.PV++
	if s.sketch != nil {
		s.sketch.Insert([]byte(visitor))
		s.UV = int64(s.sketch.Estimate())
		return s
	}
	if s.visitors == "" {
		s.visitors = " "
	}
	if !strings.Contains(s.visitors, " "+visitor+" ") {
		s.visitors += visitor + " "
		s.UV++
	}
	return s
}

// newStat returns the initial value of an aggregate; kind is exact or hll.
func newStat(kind string) func() stat {
	if kind == "hll" {
		return func() stat { return stat{sketch: hyperloglog.New14()} }
	}
	return func() stat { return stat{} }
}

// statSerde keeps a stat as JSON with the numbers first, so that kcat shows
// them: {"pv":2,"uv":1,"visitors":" 10.0.0.1 "}.
type statSerde struct{}

type statJSON struct {
	PV       int64  `json:"pv"`
	UV       int64  `json:"uv"`
	Visitors string `json:"visitors,omitempty"`
	Sketch   string `json:"hll,omitempty"`
}

// Append writes s behind dst.
func (statSerde) Append(dst []byte, _ string, s stat) ([]byte, error) {
	dst = append(dst, `{"pv":`...)
	dst = strconv.AppendInt(dst, s.PV, 10)
	dst = append(dst, `,"uv":`...)
	dst = strconv.AppendInt(dst, s.UV, 10)
	if s.sketch != nil {
		raw, err := s.sketch.MarshalBinary()
		if err != nil {
			return nil, err
		}
		dst = append(dst, `,"hll":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, raw)
		return append(dst, `"}`...), nil
	}
	dst = append(dst, `,"visitors":"`...)
	dst = append(dst, s.visitors...)
	return append(dst, `"}`...), nil
}

// Decode reads what Append wrote. The visitors, which may be many, are cut out
// as they are: visitorToken leaves nothing in them to unescape.
func (statSerde) Decode(_ string, b []byte) (stat, error) {
	numbers, visitors, exact := bytes.Cut(b, []byte(`,"visitors":"`))
	if exact {
		visitors, exact = bytes.CutSuffix(visitors, []byte(`"}`))
		numbers = append(bytes.Clone(numbers), '}')
	} else {
		numbers = b
	}
	var j statJSON
	if err := json.Unmarshal(numbers, &j); err != nil {
		return stat{}, fmt.Errorf("a stored count: %w", err)
	}
	s := stat{PV: j.PV, UV: j.UV}
	switch {
	case exact:
		s.visitors = string(visitors)
	case j.Sketch != "":
		raw, err := base64.StdEncoding.DecodeString(j.Sketch)
		if err != nil {
			return stat{}, fmt.Errorf("a stored sketch: %w", err)
		}
		s.sketch = new(hyperloglog.Sketch)
		if err := s.sketch.UnmarshalBinary(raw); err != nil {
			return stat{}, fmt.Errorf("a stored sketch: %w", err)
		}
	default:
		return stat{}, errors.New("a stored count without visitors")
	}
	return s, nil
}

// visitorToken is a visitor's address as it is kept: printable ASCII that a
// JSON string holds as it is, everything else as %XX.
func visitorToken(address string) string {
	plain := true
	for i := range len(address) {
		plain = plain && plainByte(address[i])
	}
	if plain {
		return address
	}
	var b strings.Builder
	for i := range len(address) {
		if plainByte(address[i]) {
			b.WriteByte(address[i])
		} else {
			fmt.Fprintf(&b, "%%%02X", address[i])
		}
	}
	return b.String()
}

func plainByte(c byte) bool { return c > ' ' && c < 0x7f && c != '"' && c != '\\' && c != '%' }
