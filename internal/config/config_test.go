package config_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weirstream/weir/internal/config"
)

func testSet(t *testing.T) *config.Set {
	t.Helper()
	s, err := config.NewSet(
		config.Key{Name: "node.id", Type: config.Int, Default: "1", Min: new(int64(0))},
		config.Key{Name: "weir.durability", Type: config.String, Default: "fsync", OneOf: []string{"fsync", "pagecache"}},
		config.Key{Name: "log.retention.ms", Type: config.Long, NoDefault: true, Min: new(int64(-1))},
		config.Key{Name: "cleanup.policy", Type: config.List, Default: "delete", OneOf: []string{"delete", "compact"}},
		config.Key{Name: "ratio", Type: config.Double, Default: "0.5", Min: new(int64(0)), Max: new(int64(1))},
		config.Key{Name: "auto", Type: config.Bool, Default: "true"},
		config.Key{Name: "cluster.id", Type: config.String, NoDefault: true},
		config.Key{Name: "secret", Type: config.Password, NoDefault: true},
		config.Key{Name: "num.io.threads", Type: config.Int, Default: "8", Ignored: "goroutines need no thread pools"},
	)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestCheckNamesKeyValueAndWhatIsAllowed(t *testing.T) {
	s := testSet(t)
	for _, c := range []struct{ key, value, want string }{
		{"node.id", "3", ""},
		{"node.id", " 3 ", ""},
		{"node.id", "-1", "config node.id=-1: must be at least 0"},
		{"node.id", "x", "config node.id=x: want a whole number of 32 bits"},
		{"node.id", "4294967296", "config node.id=4294967296: want a whole number of 32 bits"},
		{"weir.durability", "none", "config weir.durability=none: want one of fsync, pagecache"},
		{"cleanup.policy", "compact, delete", ""},
		{"cleanup.policy", "compact,shred", "config cleanup.policy=compact,shred: want one of delete, compact"},
		{"ratio", "1.5", "config ratio=1.5: must be at most 1"},
		{"ratio", "half", "config ratio=half: want a number"},
		{"ratio", "NaN", "config ratio=NaN: want a number"},
		{"node.id", "\xff", "config node.id=\xff: want text of at most 32768 bytes"},
		{"auto", "TRUE", ""},
		{"auto", "yes", "config auto=yes: want true or false"},
		{"nod.id", "1", "config nod.id: no such key; did you mean node.id?"},
		{"zzzzzzzzzzzzzzz", "1", "config zzzzzzzzzzzzzzz: no such key; remove it"},
	} {
		got := ""
		if err := s.Check(c.key, c.value); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("Check(%q, %q) = %q, want %q", c.key, c.value, got, c.want)
		}
	}
}

func TestNewSetRefusesTwinsAndBadDefaults(t *testing.T) {
	for name, keys := range map[string][]config.Key{
		"declared twice": {{Name: "a", Type: config.String}, {Name: "a", Type: config.String}},
		"default of":     {{Name: "a", Type: config.Int, Default: "x"}},
	} {
		if _, err := config.NewSet(keys...); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("want an error about %q, got %v", name, err)
		}
	}
}

func TestResolveTakesTheFirstLayer(t *testing.T) {
	s := testSet(t)
	file, err := config.ParseFile("server.properties", []byte("node.id=1\nlog.retention.ms = 5\nnum.io.threads=4\n# a comment\n"))
	if err != nil {
		t.Fatal(err)
	}
	env := s.ParseEnv([]string{
		"WEIR_NODE_ID=2", "KAFKA_NODE_ID=9", "KAFKA_LOG_RETENTION_MS=6", "WEIR_DURABILITY=pagecache", "CLUSTER_ID=abc",
		"KAFKA_HEAP_OPTS=-Xmx1g", "KAFKA_JMX_PORT=1", "WEIR_CASES=x", "KAFKA_NO_SUCH=1", "HOME=/", "broken",
	})
	flags := config.Layer{Origin: "flag", Values: map[string]string{"node.id": "3"}}
	got, warnings, err := s.Resolve(append([]config.Layer{flags}, append(env, file)...)...)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]config.Value{
		"node.id":          {Text: "3", Origin: "flag"},
		"log.retention.ms": {Text: "6", Origin: "environment"},
		"weir.durability":  {Text: "pagecache", Origin: "environment"},
		"cluster.id":       {Text: "abc", Origin: "environment"},
		"num.io.threads":   {Text: "4", Origin: "server.properties"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if len(warnings) != 2 || !strings.Contains(warnings[0], "no.such") || !strings.Contains(warnings[1], "num.io.threads has no effect") {
		t.Errorf("warnings: %q", warnings)
	}
}

func TestResolveRefusesUnknownAndImpossible(t *testing.T) {
	s := testSet(t)
	env := s.ParseEnv([]string{"WEIR_NODE_IDD=2"})
	file := config.Layer{Origin: "f", Values: map[string]string{"auto": "maybe"}}
	_, _, err := s.Resolve(append(env, file)...)
	for _, want := range []string{"environment WEIR_NODE_IDD: config node.idd: no such key; did you mean node.id?", "f: config auto=maybe"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
}

func TestParseFileRefusesBinaryAndBadEscapes(t *testing.T) {
	for _, text := range []string{"a=\x00b", "a=\\u12"} {
		if _, err := config.ParseFile("f", []byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestPasswordsStayHidden(t *testing.T) {
	k := config.Key{Name: "secret", Type: config.Password}
	if !k.Sensitive() || k.Check("x") != nil {
		t.Error("a password takes any value and is sensitive")
	}
}
