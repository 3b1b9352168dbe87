package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/magiconair/properties"
)

// Layer is one origin of values, for example a file, the environment or the
// flags of a command. Lax layers warn of unknown names, the others refuse them.
type Layer struct {
	Origin string
	Values map[string]string
	Names  map[string]string // how a key was spelled there, where that differs
	Lax    bool
}

// place is the origin of one key, for people.
func (l Layer) place(name string) string {
	if spelled := l.Names[name]; spelled != "" {
		return l.Origin + " " + spelled
	}
	return l.Origin
}

// Value is a configured value and the origin it came from.
type Value struct {
	Text   string
	Origin string
}

// Resolve lays the layers over one another, the first wins, and checks every
// value. It returns what was set (defaults are not filled in), one warning for
// each key that has no effect and each unknown name of a lax layer, and all
// errors joined; each names its key and origin.
func (s *Set) Resolve(layers ...Layer) (set map[string]Value, warnings []string, err error) {
	set = map[string]Value{}
	var errs []error
	for _, layer := range layers {
		for _, name := range slices.Sorted(maps.Keys(layer.Values)) {
			key, known := s.Key(name)
			if !known && layer.Lax {
				warnings = append(warnings, fmt.Sprintf("%s: %v; it is ignored", layer.place(name), s.Unknown(name)))
				continue
			}
			if err := s.Check(name, layer.Values[name]); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", layer.place(name), err))
				continue
			}
			if _, over := set[name]; over {
				continue
			}
			set[name] = Value{Text: strings.TrimSpace(layer.Values[name]), Origin: layer.Origin}
			if key.Ignored != "" {
				warnings = append(warnings, fmt.Sprintf("%s: %s has no effect: %s", layer.place(name), name, key.Ignored))
			}
		}
	}
	return set, warnings, errors.Join(errs...)
}

// ParseFile reads the text of a Java properties file. ${} is not expanded; the
// last of two lines with one name counts, as in Java.
func ParseFile(name string, text []byte) (Layer, error) {
	if bytes.IndexByte(text, 0) >= 0 {
		return Layer{}, fmt.Errorf("%s: not a properties file: it holds binary data", name)
	}
	loader := properties.Loader{Encoding: properties.UTF8, DisableExpansion: true}
	p, err := loader.LoadBytes(text)
	if err != nil {
		return Layer{}, fmt.Errorf("%s: %w", name, err)
	}
	return Layer{Origin: name, Values: p.Map()}, nil
}

// envOwn are the variables that are not keys: WEIR_CASES belongs to the
// conformance runner, the others to Kafka's start scripts and the JVM.
func envOwn(name string) bool {
	switch name {
	case "WEIR_CASES", "KAFKA_OPTS", "KAFKA_HEAP_OPTS", "KAFKA_LOG4J_OPTS", "KAFKA_JVM_PERFORMANCE_OPTS":
		return true
	}
	return strings.HasPrefix(name, "KAFKA_JMX_")
}

// ParseEnv reads the WEIR_ and KAFKA_ variables of an environment as
// os.Environ gives it, WEIR_ first. Names follow the rule of Kafka's container
// image: the prefix is dropped, the rest lowered, _ becomes a dot, __ an
// underscore and ___ a dash. A WEIR_ variable is tried with its prefix too, so
// that WEIR_DURABILITY is weir.durability. CLUSTER_ID is cluster.id.
func (s *Set) ParseEnv(environ []string) []Layer {
	own := Layer{Origin: "environment", Values: map[string]string{}, Names: map[string]string{}}
	kafka := Layer{Origin: "environment", Values: map[string]string{}, Names: map[string]string{}, Lax: true}
	put := func(l Layer, key, name, value string) { l.Values[key], l.Names[key] = value, name }
	for _, pair := range environ {
		name, value, ok := strings.Cut(pair, "=")
		switch {
		case !ok || envOwn(name):
		case name == "CLUSTER_ID":
			put(kafka, "cluster.id", name, value)
		case strings.HasPrefix(name, "WEIR_"):
			put(own, s.envKey(name), name, value)
		case strings.HasPrefix(name, "KAFKA_"):
			put(kafka, dotted(strings.TrimPrefix(name, "KAFKA_")), name, value)
		}
	}
	return []Layer{own, kafka}
}

func (s *Set) envKey(name string) string {
	if key := dotted(name); s.has(key) {
		return key
	}
	return dotted(strings.TrimPrefix(name, "WEIR_"))
}

func (s *Set) has(name string) bool {
	_, ok := s.byName[name]
	return ok
}

// dotted turns the name of an environment variable into that of a key.
func dotted(name string) string {
	name = strings.ToLower(name)
	name = strings.ReplaceAll(name, "___", "-")
	name = strings.ReplaceAll(name, "__", "\x00")
	name = strings.ReplaceAll(name, "_", ".")
	return strings.ReplaceAll(name, "\x00", "_")
}
