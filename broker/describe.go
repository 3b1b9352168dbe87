package broker

import (
	"github.com/weirstream/weir/broker/internal/api"
	"github.com/weirstream/weir/internal/telemetry"
)

// API is one API key that a node serves, with its versions.
type API struct {
	Key, Min, Max int16
	Name          string
}

// APIs lists what a node serves, in the order of the keys.
func APIs() []API {
	var out []API
	for _, r := range api.Table(api.Deps{}) {
		out = append(out, API{Key: r.Key, Min: r.Min, Max: r.Max, Name: r.Name})
	}
	return out
}

// Metrics lists what /metrics shows beside the figures of the Go runtime.
func Metrics() []telemetry.Description {
	r := telemetry.New()
	m := newMeters(r)
	m.topic("t")
	newConnections(r, []int16{0}).Refused("reason")
	(&parts{telemetry: r, replicas: &replicas{}}).gauges(nil)
	return r.Described()
}
