package broker

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/internal/config"
)

// settings are the keys of one node, checked and in their types.
type settings struct {
	nodeID     int32
	clusterID  string
	rack       string
	dir        string
	listeners  []listener
	admin      string
	autoCreate bool
	deletable  bool

	maxRequestBytes  int32
	sendBuffer       int
	receiveBuffer    int
	maxConnections   int
	maxPerIP         int
	idleTimeout      time.Duration
	fetchMaxBytes    int32
	fetchSessions    int
	describeLimit    int32
	producerExpiry   time.Duration
	readAhead        int64
	retentionCheck   time.Duration
	flushCheckpoint  time.Duration
	watermarkCheckpt time.Duration

	cleaner     commitlog.CleanerOptions
	group       groupSettings
	transaction transactionSettings
	internal    commitlog.Durability // of internal topics
	// fixed holds what was set, by key; the image of the cluster lies over it.
	fixed map[string]string
}

// groupSettings bound consumer groups.
type groupSettings struct {
	minSession, maxSession, initialDelay time.Duration
	maxSize, metadataBytes, partitions   int32
	retention, retentionCheck            time.Duration
}

// transactionSettings bound transactions.
type transactionSettings struct {
	maxTimeout, abortCheck, expiration, expireCheck time.Duration
	partitions                                      int32
}

// listener is one address clients connect to.
type listener struct {
	name, host string
	port       int32
	advertised hostPort
	controller bool
}

type hostPort struct {
	host string
	port int32
}

func (l listener) address() string {
	return net.JoinHostPort(l.host, strconv.Itoa(int(l.port)))
}

// parseSettings checks values against the broker keys and turns them into
// settings. Its errors are for people: each names its key and what to do.
func parseSettings(keys *config.Set, values map[string]string) (settings, error) {
	r := reader{keys: keys, values: values}
	s := settings{
		nodeID:     int32(r.int("node.id")),
		clusterID:  r.text("cluster.id"),
		rack:       r.text("broker.rack"),
		dir:        r.firstOf("log.dirs", "log.dir"),
		admin:      r.text("weir.admin.listener"),
		autoCreate: r.bool("auto.create.topics.enable"),
		deletable:  r.bool("delete.topic.enable"),

		maxRequestBytes:  int32(r.int("socket.request.max.bytes")),
		sendBuffer:       int(r.int("socket.send.buffer.bytes")),
		receiveBuffer:    int(r.int("socket.receive.buffer.bytes")),
		maxConnections:   int(r.int("max.connections")),
		maxPerIP:         int(r.int("max.connections.per.ip")),
		idleTimeout:      r.millis("connections.max.idle.ms"),
		fetchMaxBytes:    int32(r.int("fetch.max.bytes")),
		fetchSessions:    int(r.int("max.incremental.fetch.session.cache.slots")),
		describeLimit:    int32(r.int("max.request.partition.size.limit")),
		producerExpiry:   r.millis("producer.id.expiration.ms"),
		readAhead:        r.int("weir.read.ahead.bytes"),
		retentionCheck:   r.millis("log.retention.check.interval.ms"),
		flushCheckpoint:  r.millis("log.flush.offset.checkpoint.interval.ms"),
		watermarkCheckpt: r.millis("replica.high.watermark.checkpoint.interval.ms"),
		cleaner:          cleanerOptions(&r),
		group: groupSettings{
			minSession:     r.millis("group.min.session.timeout.ms"),
			maxSession:     r.millis("group.max.session.timeout.ms"),
			initialDelay:   r.millis("group.initial.rebalance.delay.ms"),
			maxSize:        int32(r.int("group.max.size")),
			metadataBytes:  int32(r.int("offset.metadata.max.bytes")),
			partitions:     int32(r.int("offsets.topic.num.partitions")),
			retention:      time.Duration(r.int("offsets.retention.minutes")) * time.Minute,
			retentionCheck: r.millis("offsets.retention.check.interval.ms"),
		},
		transaction: transactionSettings{
			maxTimeout:  r.millis("transaction.max.timeout.ms"),
			abortCheck:  r.millis("transaction.abort.timed.out.transaction.cleanup.interval.ms"),
			expiration:  r.millis("transactional.id.expiration.ms"),
			expireCheck: r.millis("transaction.remove.expired.transaction.cleanup.interval.ms"),
			partitions:  int32(r.int("transaction.state.log.num.partitions")),
		},
		internal: commitlog.Fsync,
		fixed:    values,
	}
	if strings.EqualFold(r.text("weir.internal.durability"), "pagecache") {
		s.internal = commitlog.PageCache
	}
	if id := r.text("broker.id"); id != "" && values["node.id"] == "" {
		s.nodeID = int32(r.int("broker.id"))
	}
	r.errs = append(r.errs, s.checkDir(), s.checkRoles(&r), s.readListeners(&r))
	return s, errors.Join(r.errs...)
}

// cleanerOptions reads what compaction may take.
func cleanerOptions(r *reader) commitlog.CleanerOptions {
	return commitlog.CleanerOptions{
		Disabled:       !r.bool("log.cleaner.enable"),
		Every:          r.millis("log.cleaner.backoff.ms"),
		MapBytes:       r.int("log.cleaner.dedupe.buffer.size"),
		MapLoad:        r.float("log.cleaner.io.buffer.load.factor"),
		BytesPerSecond: r.float("log.cleaner.io.max.bytes.per.second"),
	}
}

func (s *settings) checkDir() error {
	switch {
	case s.dir == "":
		return &config.ValueError{Key: "log.dirs", Reason: "name the data directory"}
	case strings.Contains(s.dir, ","):
		return &config.ValueError{Key: "log.dirs", Value: s.dir, Reason: "one directory per node is supported; name one"}
	}
	return nil
}

// checkRoles refuses what Weir would have to ignore at a cost: another voter,
// a missing role, an authorizer that would not be asked.
func (s *settings) checkRoles(r *reader) error {
	if name := r.text("authorizer.class.name"); name != "" {
		return &config.ValueError{Key: "authorizer.class.name", Value: name, Reason: "ACLs are not enforced yet, so a node that asks for them does not start; remove the key to run without"}
	}
	if roles := config.SplitList(r.text("process.roles")); len(roles) != 2 || roles[0] == roles[1] {
		return &config.ValueError{Key: "process.roles", Value: r.text("process.roles"), Reason: "a node is broker and controller in one; use broker,controller"}
	}
	for _, voter := range config.SplitList(r.text("controller.quorum.voters")) {
		id, _, ok := strings.Cut(voter, "@")
		if !ok {
			return &config.ValueError{Key: "controller.quorum.voters", Value: voter, Reason: "want id@host:port"}
		}
		if id != strconv.Itoa(int(s.nodeID)) {
			return &config.ValueError{Key: "controller.quorum.voters", Value: voter, Reason: "only this node, node.id=" + strconv.Itoa(int(s.nodeID)) + ", can be a voter"}
		}
	}
	return nil
}

// readListeners reads listeners, advertised.listeners and the map of protocols.
func (s *settings) readListeners(r *reader) error {
	protocols := map[string]string{"CONTROLLER": "PLAINTEXT"}
	for _, pair := range config.SplitList(r.text("listener.security.protocol.map")) {
		name, protocol, ok := strings.Cut(pair, ":")
		if !ok {
			return &config.ValueError{Key: "listener.security.protocol.map", Value: pair, Reason: "want NAME:PROTOCOL"}
		}
		protocols[strings.ToUpper(name)] = strings.ToUpper(protocol)
	}
	controllers := config.SplitList(r.text("controller.listener.names"))
	if r.values["controller.listener.names"] == "" {
		controllers = []string{"CONTROLLER"}
	}
	advertised, err := parseEndpoints("advertised.listeners", r.text("advertised.listeners"))
	if err != nil {
		return err
	}
	listening, err := parseEndpoints("listeners", r.text("listeners"))
	if err != nil {
		return err
	}
	for _, l := range listening {
		if protocol := protocols[l.name]; protocol != "PLAINTEXT" {
			return &config.ValueError{Key: "listeners", Value: l.name, Reason: describeProtocol(protocol)}
		}
		l.controller = slices.ContainsFunc(controllers, func(c string) bool { return strings.EqualFold(c, l.name) })
		i := slices.IndexFunc(advertised, func(a listener) bool { return a.name == l.name })
		if i >= 0 {
			l.advertised = hostPort{advertised[i].host, advertised[i].port}
			advertised = slices.Delete(advertised, i, i+1)
		}
		s.listeners = append(s.listeners, l)
	}
	if len(advertised) > 0 {
		return &config.ValueError{Key: "advertised.listeners", Value: advertised[0].name, Reason: "no listener of that name"}
	}
	if !slices.ContainsFunc(s.listeners, func(l listener) bool { return !l.controller }) {
		return &config.ValueError{Key: "listeners", Value: r.text("listeners"), Reason: "no listener for clients; add one such as PLAINTEXT://127.0.0.1:9092"}
	}
	return nil
}

func describeProtocol(protocol string) string {
	if protocol == "" {
		return "its protocol is not in listener.security.protocol.map"
	}
	return "protocol " + protocol + " is not served yet; use PLAINTEXT"
}

// parseEndpoints reads NAME://host:port items; names are unique and upper case.
func parseEndpoints(key, list string) ([]listener, error) {
	var out []listener
	for _, item := range config.SplitList(list) {
		name, address, ok := strings.Cut(item, "://")
		host, portText, err := net.SplitHostPort(address)
		port, perr := strconv.ParseUint(portText, 10, 16)
		if !ok || name == "" || err != nil || perr != nil {
			return nil, &config.ValueError{Key: key, Value: item, Reason: "want NAME://host:port"}
		}
		name = strings.ToUpper(name)
		if slices.ContainsFunc(out, func(l listener) bool { return l.name == name }) {
			return nil, &config.ValueError{Key: key, Value: list, Reason: "listener " + name + " stands twice"}
		}
		out = append(out, listener{name: name, host: host, port: int32(port)})
	}
	return out, nil
}

// reader reads typed values with the defaults of their keys and keeps the errors.
type reader struct {
	keys   *config.Set
	values map[string]string
	errs   []error
}

func (r *reader) text(name string) string {
	value, set := r.values[name]
	key, known := r.keys.Key(name)
	if !known {
		panic("bug: no such broker key: " + name)
	}
	if !set {
		return key.Default
	}
	if err := key.Check(value); err != nil {
		r.errs = append(r.errs, err)
		return key.Default
	}
	return strings.TrimSpace(value)
}

func (r *reader) int(name string) int64 {
	text := r.text(name)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("config %s: %w", name, err))
	}
	return n
}

func (r *reader) float(name string) float64 {
	n, err := strconv.ParseFloat(r.text(name), 64)
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("config %s: %w", name, err))
	}
	return n
}

func (r *reader) bool(name string) bool { return strings.EqualFold(r.text(name), "true") }

func (r *reader) millis(name string) time.Duration { return millis(r.int(name)) }

// millis is a duration of n milliseconds, or the longest one where n is too large.
func millis(n int64) time.Duration {
	if n > int64(time.Duration(1<<63-1)/time.Millisecond) {
		return time.Duration(1<<63 - 1)
	}
	return time.Duration(n) * time.Millisecond
}

func (r *reader) firstOf(names ...string) string {
	for _, name := range names {
		if v := r.text(name); v != "" {
			return v
		}
	}
	return ""
}
