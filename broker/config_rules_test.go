package broker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weirstream/weir/broker"
)

// shows is one key as DescribeConfigs shows it, with its synonyms.
func (r *raw) shows(kind kmsg.ConfigResourceType, name, key string) (out []string) {
	r.t.Helper()
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Version, req.IncludeSynonyms = 4, true
	res := kmsg.NewDescribeConfigsRequestResource()
	res.ResourceType, res.ResourceName, res.ConfigNames = kind, name, []string{key}
	req.Resources = append(req.Resources, res)
	got := call[*kmsg.DescribeConfigsResponse](r, req).Resources[0]
	wantCode(r.t, "describe "+key, got.ErrorCode, nil)
	show := func(name string, value *string, source kmsg.ConfigSource) string {
		text := "null"
		if value != nil {
			text = *value
		}
		return fmt.Sprintf("%s=%s %s", name, text, source)
	}
	for _, c := range got.Configs {
		out = append(out, show(c.Name, c.Value, c.Source))
		for _, s := range c.ConfigSynonyms {
			out = append(out, show(s.Name, s.Value, s.Source))
		}
	}
	return out
}

func step(op kmsg.IncrementalAlterConfigOp, key string, value ...string) kmsg.IncrementalAlterConfigsRequestResourceConfig {
	c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	c.Op, c.Name = op, key
	if len(value) > 0 {
		c.Value = &value[0]
	}
	return c
}

const (
	opSet      = kmsg.IncrementalAlterConfigOpSet
	opDelete   = kmsg.IncrementalAlterConfigOpDelete
	opAppend   = kmsg.IncrementalAlterConfigOpAppend
	opSubtract = kmsg.IncrementalAlterConfigOpSubtract

	ofTopic  = kmsg.ConfigResourceTypeTopic
	ofBroker = kmsg.ConfigResourceTypeBroker
)

// TestConfigsTellWhereTheyComeFrom, through alterations and a restart.
func TestConfigsTellWhereTheyComeFrom(t *testing.T) {
	dir := t.TempDir()
	properties := func() map[string]string { return map[string]string{"log.segment.bytes": "5000"} }
	addr, _, stop := start(t, broker.Config{Dir: dir, Properties: properties()})
	r := dialRaw(t, addr)
	r.create("c", 1)
	want := func(name, key string, lines ...string) {
		t.Helper()
		kind := ofTopic
		if name != "c" {
			kind = ofBroker
		}
		if diff := cmp.Diff(lines, r.shows(kind, name, key)); diff != "" {
			t.Error(diff)
		}
	}
	ok := func(kind kmsg.ConfigResourceType, name string, s kmsg.IncrementalAlterConfigsRequestResourceConfig) {
		t.Helper()
		got := r.alter(kind, name, s)
		wantCode(t, "alter "+s.Name, got.ErrorCode, nil)
	}
	want("c", "segment.bytes", "segment.bytes=5000 STATIC_BROKER_CONFIG", "log.segment.bytes=5000 STATIC_BROKER_CONFIG", "log.segment.bytes=1073741824 DEFAULT_CONFIG")
	ok(ofBroker, "", step(opSet, "log.segment.bytes", "6000"))
	ok(ofBroker, "1", step(opSet, "log.segment.bytes", "7000"))
	ok(ofTopic, "c", step(opSet, "segment.bytes", "8000"))
	all := []string{
		"segment.bytes=8000 DYNAMIC_TOPIC_CONFIG", "segment.bytes=8000 DYNAMIC_TOPIC_CONFIG", "log.segment.bytes=7000 DYNAMIC_BROKER_CONFIG",
		"log.segment.bytes=6000 DYNAMIC_DEFAULT_BROKER_CONFIG", "log.segment.bytes=5000 STATIC_BROKER_CONFIG", "log.segment.bytes=1073741824 DEFAULT_CONFIG",
	}
	want("c", "segment.bytes", all...)
	stop()
	addr, _, _ = start(t, broker.Config{Dir: dir, Properties: properties()})
	r = dialRaw(t, addr)
	want("c", "segment.bytes", all...)
	want("1", "log.segment.bytes", append([]string{"log.segment.bytes=7000 DYNAMIC_BROKER_CONFIG"}, all[2:]...)...)
	want("", "log.segment.bytes", "log.segment.bytes=6000 DYNAMIC_DEFAULT_BROKER_CONFIG", "log.segment.bytes=6000 DYNAMIC_DEFAULT_BROKER_CONFIG")
	ok(ofTopic, "c", step(opDelete, "segment.bytes"))
	ok(ofBroker, "1", step(opDelete, "log.segment.bytes"))
	want("c", "segment.bytes", "segment.bytes=6000 DYNAMIC_DEFAULT_BROKER_CONFIG", all[3], all[4], all[5])
}

// TestAlterationsAreHeldToTheRules: each row is one request for the topic "c" and what is in force after it.
func TestAlterationsAreHeldToTheRules(t *testing.T) {
	r := startRaw(t, nil)
	r.create("c", 1)
	type steps = []kmsg.IncrementalAlterConfigsRequestResourceConfig
	rows := []struct {
		rule  string
		kind  kmsg.ConfigResourceType
		name  string
		steps steps
		want  error
		after string // cleanup.policy
	}{
		{"append to a default", ofTopic, "c", steps{step(opAppend, "cleanup.policy", "compact")}, nil, "delete,compact"},
		{"append what is there", ofTopic, "c", steps{step(opAppend, "cleanup.policy", "compact")}, nil, "delete,compact"},
		{"subtract", ofTopic, "c", steps{step(opSubtract, "cleanup.policy", "delete")}, nil, "compact"},
		{"subtract what is not there", ofTopic, "c", steps{step(opSubtract, "cleanup.policy", "delete")}, nil, "compact"},
		{"append to what is no list", ofTopic, "c", steps{step(opAppend, "retention.ms", "5")}, kerr.InvalidConfig, "compact"},
		{"append a word that is not one", ofTopic, "c", steps{step(opAppend, "cleanup.policy", "burn")}, kerr.InvalidConfig, "compact"},
		{"the same key twice", ofTopic, "c", steps{step(opSet, "cleanup.policy", "delete"), step(opDelete, "cleanup.policy")}, kerr.InvalidRequest, "compact"},
		{"one of two is wrong", ofTopic, "c", steps{step(opSet, "cleanup.policy", "delete"), step(opSet, "retention.ms", "x")}, kerr.InvalidConfig, "compact"},
		{"no value", ofTopic, "c", steps{step(opSet, "cleanup.policy")}, kerr.InvalidRequest, "compact"},
		{"an operation nobody knows", ofTopic, "c", steps{step(9, "cleanup.policy", "delete")}, kerr.InvalidRequest, "compact"},
		{"a key nobody knows", ofTopic, "c", steps{step(opSet, "no.such.key", "1")}, kerr.InvalidConfig, "compact"},
		{"a topic nobody knows", ofTopic, "d", steps{step(opSet, "retention.ms", "1")}, kerr.UnknownTopicOrPartition, "compact"},
		{"a broker nobody knows", ofBroker, "7", steps{step(opSet, "log.retention.ms", "1")}, kerr.InvalidRequest, "compact"},
		{"a broker that is no number", ofBroker, "x", steps{step(opSet, "log.retention.ms", "1")}, kerr.InvalidRequest, "compact"},
		{"a key that needs a restart", ofBroker, "1", steps{step(opSet, "node.id", "2")}, kerr.InvalidRequest, "compact"},
		{"a resource without configs", 77, "x", steps{step(opSet, "a", "b")}, kerr.InvalidRequest, "compact"},
		{"delete", ofTopic, "c", steps{step(opDelete, "cleanup.policy")}, nil, "delete"},
	}
	for _, row := range rows {
		t.Run(row.rule, func(t *testing.T) {
			wantCode(t, "alter", r.alter(row.kind, row.name, row.steps...).ErrorCode, row.want)
			req := kmsg.NewPtrDescribeConfigsRequest()
			req.Version = 4
			res := kmsg.NewDescribeConfigsRequestResource()
			res.ResourceType, res.ResourceName = ofTopic, "c"
			req.Resources = append(req.Resources, res)
			configs := call[*kmsg.DescribeConfigsResponse](r, req).Resources[0].Configs
			for _, c := range configs {
				if c.Name == "cleanup.policy" && *c.Value != row.after {
					t.Errorf("cleanup.policy=%s, want %s", *c.Value, row.after)
				}
			}
			if len(configs) < 30 {
				t.Errorf("%d keys are described", len(configs))
			}
		})
	}
}

// TestALegacyAlterationReplacesAll: what it does not name goes back to its default; validate only
// changes nothing.
func TestALegacyAlterationReplacesAll(t *testing.T) {
	r := startRaw(t, nil)
	r.create("c", 1, "retention.ms", "5000", "segment.ms", "6000")
	alter := func(validate bool) {
		req := kmsg.NewPtrAlterConfigsRequest()
		req.Version, req.ValidateOnly = 2, validate
		res := kmsg.NewAlterConfigsRequestResource()
		res.ResourceType, res.ResourceName = ofTopic, "c"
		c := kmsg.NewAlterConfigsRequestResourceConfig()
		value := "7000"
		c.Name, c.Value = "retention.ms", &value
		res.Configs = append(res.Configs, c)
		req.Resources = append(req.Resources, res)
		wantCode(t, "alter", call[*kmsg.AlterConfigsResponse](r, req).Resources[0].ErrorCode, nil)
	}
	alter(true)
	if got := r.shows(ofTopic, "c", "segment.ms")[0]; got != "segment.ms=6000 DYNAMIC_TOPIC_CONFIG" {
		t.Errorf("after validation only: %s", got)
	}
	alter(false)
	if got := r.shows(ofTopic, "c", "segment.ms")[0]; got != "segment.ms=604800000 DEFAULT_CONFIG" {
		t.Errorf("what was not named: %s", got)
	}
	if got := r.shows(ofTopic, "c", "retention.ms")[0]; got != "retention.ms=7000 DYNAMIC_TOPIC_CONFIG" {
		t.Errorf("what was named: %s", got)
	}
}

// TestTheCleanerIsToldOfNewConfigs: one that looks once in an hour is told to look more often.
func TestTheCleanerIsToldOfNewConfigs(t *testing.T) {
	r := startRaw(t, map[string]string{"log.cleaner.backoff.ms": "3600000"})
	r.create("c", 1, "cleanup.policy", "compact", "segment.bytes", "1024", "min.cleanable.dirty.ratio", "0.01")
	for range 40 {
		r.mustProduce("c", plain(strings.Repeat("x", 100)))
	}
	wantCode(t, "alter", r.alter(ofBroker, "", step(opSet, "log.cleaner.backoff.ms", "1")).ErrorCode, nil)
	for deadline := time.Now().Add(20 * time.Second); ; {
		if first := batches(t, r.fetch("c", 0).RecordBatches)[0]; first.BaseOffset() > 0 || first.Count() == 0 {
			return // what was the first record was replaced
		}
		if time.Now().After(deadline) {
			t.Fatal("the log is not compacted")
		}
	}
}
