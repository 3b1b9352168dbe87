package broker

import (
	"strings"
	"testing"
)

func parse(t *testing.T, properties map[string]string) (settings, error) {
	t.Helper()
	keys, err := Keys()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := properties["log.dirs"]; !ok {
		properties["log.dirs"] = "data"
	}
	return parseSettings(keys, properties)
}

func TestKafkasOwnFileIsUnderstood(t *testing.T) {
	s, err := parse(t, map[string]string{
		"process.roles": "controller,broker", "node.id": "1", "controller.quorum.voters": "1@localhost:9093",
		"listeners": "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093",
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.listeners) != 2 || s.listeners[0].controller || !s.listeners[1].controller {
		t.Errorf("listeners: %+v", s.listeners)
	}
	if s.nodeID != 1 || s.listeners[0].address() != "localhost:9092" || s.group.partitions != 50 || !s.autoCreate {
		t.Errorf("settings: %+v", s)
	}
}

func TestSettingsRefuseWhatTheyCannotKeep(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"log.dirs", "", "config log.dirs: name the data directory"},
		{"log.dirs", "a,b", "one directory per node"},
		{"node.id", "-1", "must be at least 0"},
		{"process.roles", "broker", "use broker,controller"},
		{"process.roles", "broker,broker", "use broker,controller"},
		{"controller.quorum.voters", "2@h:1", "only this node, node.id=1, can be a voter"},
		{"controller.quorum.voters", "h:1", "want id@host:port"},
		{"listeners", "PLAINTEXT:9092", "want NAME://host:port"},
		{"listeners", "PLAINTEXT://h:99999", "want NAME://host:port"},
		{"listeners", "A://h:1,a://h:2", "listener A stands twice"},
		{"listeners", "INTERNAL://h:1", "not in listener.security.protocol.map"},
		{"listeners", "SSL://h:1", "protocol SSL is not served yet"},
		{"listeners", "CONTROLLER://h:1", "no listener for clients"},
		{"listener.security.protocol.map", "X", "want NAME:PROTOCOL"},
		{"advertised.listeners", "OTHER://h:1", "no listener of that name"},
		{"advertised.listeners", "nonsense", "want NAME://host:port"},
		{"authorizer.class.name", "org.example.Authorizer", "ACLs are not enforced yet"},
	} {
		_, err := parse(t, map[string]string{c.key: c.value})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.key) {
			t.Errorf("%s=%s: error %v, want %q", c.key, c.value, err, c.want)
		}
	}
}

func TestListenersMayBeNamedAndAdvertised(t *testing.T) {
	s, err := parse(t, map[string]string{
		"listeners": "internal://:0,outside://0.0.0.0:9094", "listener.security.protocol.map": "INTERNAL:PLAINTEXT,OUTSIDE:PLAINTEXT",
		"advertised.listeners": "OUTSIDE://kafka.example:19094",
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.listeners[1].advertised; got != (hostPort{"kafka.example", 19094}) {
		t.Errorf("advertised: %+v", got)
	}
	for _, c := range []struct {
		listener  listener
		bound     string
		host      string
		port      int32
		wantError bool
	}{
		{s.listeners[0], "[::]:34567", "localhost", 34567, false},
		{s.listeners[1], "0.0.0.0:9094", "kafka.example", 19094, false},
		{listener{host: "127.0.0.1"}, "127.0.0.1:5", "127.0.0.1", 5, false},
		{listener{host: "h", advertised: hostPort{host: "other"}}, "127.0.0.1:5", "other", 5, false},
		{listener{host: "h"}, "nonsense", "", 0, true},
	} {
		host, port, err := advertise(c.listener, addr(c.bound))
		if host != c.host || port != c.port || (err != nil) != c.wantError {
			t.Errorf("advertise %+v bound to %s: %s:%d %v", c.listener, c.bound, host, port, err)
		}
	}
}

type addr string

func (addr) Network() string  { return "tcp" }
func (a addr) String() string { return string(a) }

func TestBrokerIDIsTheOldNodeID(t *testing.T) {
	s, err := parse(t, map[string]string{"broker.id": "7"})
	if err != nil || s.nodeID != 7 {
		t.Errorf("node %d, %v", s.nodeID, err)
	}
}

func TestEveryTopicKeysSynonymIsABrokerKey(t *testing.T) {
	brokers, err := Keys()
	if err != nil {
		t.Fatal(err)
	}
	topics, err := TopicKeys()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range topics.Keys() {
		for _, synonym := range k.Synonyms {
			if _, ok := brokers.Key(synonym); !ok {
				t.Errorf("%s has the synonym %s, which is no broker key", k.Name, synonym)
			}
		}
		if k.Doc == "" && k.Ignored == "" {
			t.Errorf("%s says nothing of itself", k.Name)
		}
	}
}

func TestTheIgnoredTableIsChecked(t *testing.T) {
	for _, table := range []string{"a\tint\t1\n", "a\tnumber\t1\twhy\n"} {
		if _, err := parseIgnored(table); err == nil {
			t.Errorf("%q was taken", table)
		}
	}
}

func TestMillisDoNotOverflow(t *testing.T) {
	if got := millis(1 << 62); got != 1<<63-1 {
		t.Errorf("millis of a huge number: %d", got)
	}
	if got := limitMillis(1 << 62); got != -1 {
		t.Errorf("a limit beyond all time: %d", got)
	}
}
