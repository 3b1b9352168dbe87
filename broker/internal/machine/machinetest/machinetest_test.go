package machinetest

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weirstream/weir/broker/internal/machine"
)

// counter is a machine that counts words. Its flaws are planted.
type counter struct {
	durable map[string]string
	soft    map[string]string // what durable should be
	flaw    string
	turns   int
}

type set struct{ words []string }

func (m *counter) Decide(_ time.Time, in machine.Input) machine.Effects {
	m.turns++
	e, ok := in.Event.(set)
	if !ok {
		return machine.Effects{}
	}
	fx := machine.Effects{}
	words := map[string]bool{}
	for _, w := range e.words {
		words[w] = true
	}
	order := slices.Sorted(maps.Keys(words))
	if m.flaw == "walks a map" {
		order = slices.Collect(maps.Keys(words))
	}
	for _, w := range order {
		fx.Records = append(fx.Records, machine.Record{Key: []byte(w), Value: []byte("1")})
		m.soft[w] = "1"
		if m.flaw == "changes durable state" {
			m.durable[w] = "1"
		}
	}
	if m.flaw == "forgets a record" && len(fx.Records) > 1 {
		fx.Records = fx.Records[1:]
	}
	if m.flaw != "does not answer" {
		fx.Replies = append(fx.Replies, machine.Reply{Token: in.Token})
	}
	if m.flaw == "answers twice" {
		fx.Replies = append(fx.Replies, machine.Reply{Token: in.Token})
	}
	return fx
}

func (m *counter) Replay(r machine.Record) error {
	if len(r.Key) == 0 {
		if m.flaw == "panics" {
			_ = r.Key[0]
		}
		if m.flaw == "half takes what it refuses" {
			m.durable["?"] = "?"
		}
		return errors.New("no word")
	}
	if m.flaw == "remembers more than the log" && m.turns > 2 {
		m.durable["turns"] = "many"
	}
	m.durable[string(r.Key)] = string(r.Value)
	return nil
}

func (m *counter) ReplayMarker(machine.Marker) {}

func (m *counter) Commit(int) {}

func (m *counter) Query(any) (any, error) { return nil, nil }

func subject(flaw string) Subject {
	return Subject{
		New: func() machine.Machine {
			return &counter{durable: map[string]string{}, soft: map[string]string{}, flaw: flaw}
		},
		Event: func(t *rapid.T, _ []machine.Reply) any {
			return set{rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 0, 4).Draw(t, "words")}
		},
		Record: func(t *rapid.T) machine.Record {
			return machine.Record{Key: []byte(rapid.SampledFrom([]string{"", "a"}).Draw(t, "key")), Value: []byte("1")}
		},
		Durable: func(m machine.Machine) any { return maps.Clone(m.(*counter).durable) },
		Agrees: func(m machine.Machine) error {
			c := m.(*counter)
			for w := range c.soft {
				if c.durable[w] == "" {
					return errors.New("not in the log: " + w)
				}
			}
			return nil
		},
		Waits: func(any) bool { return false },
	}
}

// verdict records what a property test would report.
type verdict struct {
	testing.TB
	failed bool
}

func (v *verdict) Errorf(string, ...any) { v.failed = true }
func (v *verdict) Error(...any)          { v.failed = true }
func (v *verdict) Fatalf(string, ...any) { v.failed = true }
func (v *verdict) Fatal(...any)          { v.failed = true }
func (v *verdict) Fail()                 { v.failed = true }
func (v *verdict) FailNow()              {}
func (v *verdict) Failed() bool          { return v.failed }
func (v *verdict) Logf(string, ...any)   {}
func (v *verdict) Log(...any)            {}
func (v *verdict) Helper()               {}

// TestFlawsAreFound plants flaws and looks which laws they break.
func TestFlawsAreFound(t *testing.T) {
	t.Chdir(t.TempDir())     // where rapid leaves notes about failures
	tests := map[string]int{ // the law that must find it
		"changes durable state":       0,
		"forgets a record":            0,
		"answers twice":               0,
		"does not answer":             0,
		"remembers more than the log": 1,
		"walks a map":                 2,
		"panics":                      3,
		"half takes what it refuses":  3,
	}
	for flaw, law := range tests {
		t.Run(flaw, func(t *testing.T) {
			v := &verdict{TB: t}
			rapid.Check(v, subject(flaw).Laws()[law].Check)
			if !v.failed {
				t.Fatal("was not found")
			}
		})
	}
}

func TestGoodMachinePasses(t *testing.T) { Check(t, subject("")) }
