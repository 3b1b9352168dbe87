package config

import (
	"strconv"
	"strings"
)

// Source says where a value stands, with Kafka's numbers of DescribeConfigs.
type Source int8

// The sources of a value, as DescribeConfigs numbers them.
const (
	SourceTopic         Source = 1
	SourceBroker        Source = 2
	SourceBrokerDefault Source = 3
	SourceStatic        Source = 4
	SourceDefault       Source = 5
)

// Scopes are the values that may decide a key, the most specific first: those
// set on a topic, on a broker, for all brokers, and at the start of the node.
type Scopes struct {
	Topic, Broker, BrokerDefault, Static map[string]string
}

// Candidate is one value that a key could take, under the name it was set by.
type Candidate struct {
	Name, Value string
	Null        bool
	Source      Source
}

// Candidates returns every value set for the key, the deciding one first and
// its declared default last. Values of a synonym in hours or minutes are
// given in milliseconds when the key itself is.
func (k *Key) Candidates(sc Scopes) []Candidate {
	var out []Candidate
	add := func(name string, values map[string]string, source Source) {
		if v, ok := values[name]; ok {
			out = append(out, Candidate{Name: name, Value: inUnitOf(k.Name, name, v), Source: source})
		}
	}
	add(k.Name, sc.Topic, SourceTopic)
	names := k.Synonyms
	if len(names) == 0 {
		names = []string{k.Name}
	}
	for _, name := range names {
		add(name, sc.Broker, SourceBroker)
	}
	for _, name := range names {
		add(name, sc.BrokerDefault, SourceBrokerDefault)
	}
	for _, name := range names {
		add(name, sc.Static, SourceStatic)
	}
	name := k.Name
	if len(k.Synonyms) == 1 { // Kafka's brokers have the default under the name of theirs
		name = k.Synonyms[0]
	}
	return append(out, Candidate{Name: name, Value: k.Default, Null: k.NoDefault, Source: SourceDefault})
}

// Effective returns the deciding value of the key.
func (k *Key) Effective(sc Scopes) string { return k.Candidates(sc)[0].Value }

// inUnitOf turns a value in hours or minutes into milliseconds for a key in milliseconds.
func inUnitOf(key, name, value string) string {
	if !strings.HasSuffix(key, ".ms") || strings.HasSuffix(name, ".ms") {
		return value
	}
	perUnit := int64(1)
	switch {
	case strings.HasSuffix(name, ".hours"):
		perUnit = 3_600_000
	case strings.HasSuffix(name, ".minutes"):
		perUnit = 60_000
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		return value
	}
	return strconv.FormatInt(n*perUnit, 10)
}
