// Package config declares configuration keys as data: from one Key line come
// parsing, checking, DescribeConfigs and the rendered reference. It decides
// nothing about where values come from; see Layers for that.
package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Type is the kind of value a key takes, with Kafka's names for them.
type Type int

// The types of values, as Kafka's DescribeConfigs knows them.
const (
	Bool Type = iota + 1
	String
	Int
	Short
	Long
	Double
	List
	Class
	Password
)

// String returns Kafka's name of the type.
func (t Type) String() string {
	names := [...]string{"unknown", "boolean", "string", "int", "short", "long", "double", "list", "class", "password"}
	if t < 0 || int(t) >= len(names) {
		return names[0]
	}
	return names[t]
}

// Key is one configuration key. The zero Default of a key with NoDefault set
// means null; a key with Ignored set is accepted, has no effect, and says why.
type Key struct {
	Name      string
	Type      Type
	Default   string
	NoDefault bool
	Doc       string   // one sentence
	Dynamic   bool     // takes effect without a restart
	Min, Max  *int64   // inclusive bounds of numbers
	OneOf     []string // the allowed words of a string, or of each list item
	Synonyms  []string // the broker keys that stand behind a topic key, first wins
	Ignored   string   // why Kafka's key has no effect here
}

// Sensitive says that the value must never be shown.
func (k *Key) Sensitive() bool { return k.Type == Password }

// ValueError is a value that its key does not take, or a key nobody knows.
// Its text names the key, the value, what is allowed and what to do.
type ValueError struct {
	Key, Value, Reason string
}

// Error returns the one line for people.
func (e *ValueError) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("config %s: %s", e.Key, e.Reason)
	}
	return fmt.Sprintf("config %s=%s: %s", e.Key, e.Value, e.Reason)
}

// Check returns a *ValueError when value is not one the key takes.
func (k *Key) Check(value string) error {
	reason := k.reject(strings.TrimSpace(value))
	if reason == "" {
		return nil
	}
	shown := value
	if k.Sensitive() {
		shown = "***"
	}
	return &ValueError{Key: k.Name, Value: shown, Reason: reason}
}

// maxValue bounds a value in bytes: it is kept and shown for as long as it is set.
const maxValue = 32 << 10

// reject returns why value is refused, or "".
func (k *Key) reject(value string) string {
	if len(value) > maxValue || !utf8.ValidString(value) {
		return fmt.Sprintf("want text of at most %d bytes", maxValue)
	}
	switch k.Type {
	case Bool:
		if lower := strings.ToLower(value); lower != "true" && lower != "false" {
			return "want true or false"
		}
	case Int, Short, Long:
		return k.rejectInteger(value)
	case Double:
		return k.rejectDouble(value)
	case List:
		for _, item := range SplitList(value) {
			if reason := k.rejectWord(item); reason != "" {
				return reason
			}
		}
	case String, Class:
		return k.rejectWord(value)
	case Password:
	}
	return ""
}

func (k *Key) rejectInteger(value string) string {
	bits := map[Type]int{Int: 32, Short: 16, Long: 64}[k.Type]
	n, err := strconv.ParseInt(value, 10, bits)
	if err != nil {
		return fmt.Sprintf("want a whole number of %d bits", bits)
	}
	return k.rejectBounds(float64(n))
}

func (k *Key) rejectDouble(value string) string {
	f, err := strconv.ParseFloat(value, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return "want a number"
	}
	return k.rejectBounds(f)
}

func (k *Key) rejectBounds(n float64) string {
	if k.Min != nil && n < float64(*k.Min) {
		return fmt.Sprintf("must be at least %d", *k.Min)
	}
	if k.Max != nil && n > float64(*k.Max) {
		return fmt.Sprintf("must be at most %d", *k.Max)
	}
	return ""
}

func (k *Key) rejectWord(value string) string {
	if len(k.OneOf) == 0 || slices.Contains(k.OneOf, value) {
		return ""
	}
	return "want one of " + strings.Join(k.OneOf, ", ")
}

// SplitList splits a list value at commas, trims the items and drops empty ones.
func SplitList(value string) []string {
	items := []string{}
	for item := range strings.SplitSeq(value, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}
