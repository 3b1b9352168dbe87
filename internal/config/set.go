package config

import (
	"fmt"
	"strings"
)

// Set is an ordered collection of keys with distinct names. It is immutable
// and safe for concurrent use.
type Set struct {
	keys   []Key
	byName map[string]int
}

// NewSet builds a set in the order given. It refuses two keys of one name and
// a default that its own key would not take.
func NewSet(keys ...Key) (*Set, error) {
	s := &Set{keys: keys, byName: make(map[string]int, len(keys))}
	for i := range keys {
		k := &keys[i]
		if _, twice := s.byName[k.Name]; twice {
			return nil, fmt.Errorf("config key %s is declared twice", k.Name)
		}
		s.byName[k.Name] = i
		if k.NoDefault {
			continue
		}
		if err := k.Check(k.Default); err != nil {
			return nil, fmt.Errorf("default of a declared key: %w", err)
		}
	}
	return s, nil
}

// Keys returns all keys in the order of their declaration; the caller must not change them.
func (s *Set) Keys() []Key { return s.keys }

// Key returns the key of that name.
func (s *Set) Key(name string) (*Key, bool) {
	i, ok := s.byName[name]
	if !ok {
		return nil, false
	}
	return &s.keys[i], true
}

// Check returns a *ValueError when no key has that name, or its key does not take value.
func (s *Set) Check(name, value string) error {
	k, ok := s.Key(name)
	if !ok {
		return s.Unknown(name)
	}
	return k.Check(value)
}

// Unknown returns the error for a name that no key has; it names the nearest known one.
func (s *Set) Unknown(name string) error {
	reason := "no such key"
	if near := s.Nearest(name); near != "" {
		reason += "; did you mean " + near + "?"
	} else {
		reason += "; remove it"
	}
	return &ValueError{Key: name, Reason: reason}
}

// Nearest returns the known name with the smallest edit distance to name, or
// "" when none is close enough to be a slip of the hand.
func (s *Set) Nearest(name string) string {
	best, bestDistance := "", len(name)/3+2
	for i := range s.keys {
		if d := distance(strings.ToLower(name), s.keys[i].Name, bestDistance); d < bestDistance {
			best, bestDistance = s.keys[i].Name, d
		}
	}
	return best
}

// distance is the Levenshtein distance of a and b, or limit when it is not below it.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return min(row[len(b)], limit)
}
