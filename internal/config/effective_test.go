package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/internal/config"
)

func TestTheMostSpecificScopeDecides(t *testing.T) {
	retention := config.Key{Name: "retention.ms", Type: config.Long, Default: "7", Synonyms: []string{"log.retention.ms", "log.retention.minutes", "log.retention.hours"}}
	scopes := config.Scopes{
		Topic:         map[string]string{"retention.ms": "1"},
		Broker:        map[string]string{"log.retention.ms": "2"},
		BrokerDefault: map[string]string{"log.retention.ms": "3"},
		Static:        map[string]string{"log.retention.hours": "2", "log.retention.minutes": "-1"},
	}
	want := []config.Candidate{
		{Name: "retention.ms", Value: "1", Source: config.SourceTopic},
		{Name: "log.retention.ms", Value: "2", Source: config.SourceBroker},
		{Name: "log.retention.ms", Value: "3", Source: config.SourceBrokerDefault},
		{Name: "log.retention.minutes", Value: "-1", Source: config.SourceStatic},
		{Name: "log.retention.hours", Value: "7200000", Source: config.SourceStatic},
		{Name: "retention.ms", Value: "7", Source: config.SourceDefault},
	}
	if d := cmp.Diff(want, retention.Candidates(scopes)); d != "" {
		t.Error(d)
	}
	if got := retention.Effective(config.Scopes{}); got != "7" {
		t.Errorf("without any scope: %q", got)
	}
	rack := config.Key{Name: "broker.rack", Type: config.String, NoDefault: true}
	if got := rack.Candidates(config.Scopes{Static: map[string]string{"broker.rack": "a"}}); got[0].Value != "a" || !got[1].Null {
		t.Errorf("a broker key stands for itself: %+v", got)
	}
}
