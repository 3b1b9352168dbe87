package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"

	"golang.org/x/sync/errgroup"

	"github.com/weirstream/weir/broker/internal/admin"
	"github.com/weirstream/weir/broker/internal/api"
	apiadmin "github.com/weirstream/weir/broker/internal/api/admin"
	"github.com/weirstream/weir/broker/internal/api/data"
	"github.com/weirstream/weir/broker/internal/api/route"
	"github.com/weirstream/weir/broker/internal/api/txn"
	"github.com/weirstream/weir/broker/internal/auth"
	"github.com/weirstream/weir/broker/internal/commitlog"
	"github.com/weirstream/weir/broker/internal/controller"
	"github.com/weirstream/weir/broker/internal/metadata"
	"github.com/weirstream/weir/broker/internal/quota"
	"github.com/weirstream/weir/broker/internal/record"
	"github.com/weirstream/weir/broker/internal/server"
	"github.com/weirstream/weir/internal/telemetry"
)

// parts are the rooms of one running node.
type parts struct {
	node         *Node
	dir          *commitlog.Dir
	controller   *controller.Controller
	replicas     *replicas
	groups       *groupCoordinators
	transactions *transactions
	server       *server.Server
	admin        *admin.Listener // nil when it is off
	telemetry    *telemetry.Registry
	serving      chan struct{} // closed when clients are let in
}

// build opens the data directory and the admin port and connects the rooms. When
// it fails, everything it opened is closed again and nothing on disk has changed
// but what an empty directory lacks.
func (n *Node) build(ctx context.Context) (*parts, error) {
	p := &parts{node: n, telemetry: telemetry.New(), serving: make(chan struct{})}
	meters := newMeters(p.telemetry)
	if err := n.checkPorts(ctx); err != nil {
		return nil, err
	}
	if n.settings.admin != "" {
		p.admin = admin.New(admin.Options{
			Net: n.env.Net, Addr: n.settings.admin, Metrics: p.telemetry.Handler(), Ready: n.ready, Failed: p.health,
		})
		if err := p.admin.Listen(ctx); err != nil {
			return nil, err
		}
	}
	dir, err := commitlog.OpenDir(n.env, n.settings.dir, commitlog.DirOptions{
		ClusterID: n.settings.clusterID, NodeID: n.settings.nodeID, Logger: n.logger, ReadAheadBytes: n.settings.readAhead,
		RetentionCheck: n.settings.retentionCheck, CheckpointEvery: n.settings.flushCheckpoint, WatermarkEvery: n.settings.watermarkCheckpt,
		Cleaner: n.settings.cleaner,
	})
	if err != nil {
		return nil, errors.Join(dirError(n.settings.dir, err), p.closeAdmin())
	}
	p.dir = dir
	p.transactions = &transactions{clock: n.env.Clock}
	p.groups = newGroupCoordinators(n, p.transactions)
	p.transactions.groups, p.transactions.coordinators = p.groups, newTransactionCoordinators(n, p.transactions)
	p.replicas = &replicas{
		env: n.env, dir: dir, nodeID: n.settings.nodeID, meters: meters, groups: p.groups, transactions: p.transactions.coordinators, logger: n.logger, coders: new(record.Coders),
		configs: configs{nodeID: n.settings.nodeID, topics: n.topicKeys, brokers: n.brokerKeys, fixed: n.settings.fixed, internal: n.settings.internal},
	}
	p.controller = controller.New(controller.Options{
		Env: n.env, Dir: dir, NodeID: n.settings.nodeID, ClusterID: dir.ClusterID(), Logger: n.logger,
		Register: p.register, Reconcile: p.reconcile,
	})
	p.transactions.image, p.transactions.partitions = p.controller.Image, p.replicas
	routes := api.Table(p.deps())
	p.server = server.New(server.Options{
		Env: n.env, Logger: n.logger, Routes: routes, Listeners: n.serverListeners(), Meter: newConnections(p.telemetry, keysOf(routes)),
		MaxRequestBytes: int(n.settings.maxRequestBytes), MaxIdle: n.settings.idleTimeout,
		SendBuffer: n.settings.sendBuffer, ReceiveBuffer: n.settings.receiveBuffer,
		MaxConnections: n.settings.maxConnections, MaxConnectionsPerIP: n.settings.maxPerIP, Gate: p.serving,
	})
	p.gauges(p.controller.Image)
	return p, nil
}

// dirError says what to do about a data directory that cannot be used at all.
func dirError(dir string, err error) error {
	if _, ok := errors.AsType[*commitlog.FileError](err); ok {
		return err
	}
	return fmt.Errorf("log.dirs=%s: %w; name a directory that this user can write to", dir, err)
}

// checkPorts finds out that a port is taken before anything is written.
func (n *Node) checkPorts(ctx context.Context) error {
	for _, l := range n.settings.listeners {
		if l.port == 0 {
			continue
		}
		probe, err := n.env.Net.Listen(ctx, l.address())
		if err != nil {
			return fmt.Errorf("listener %s on %s: %w; choose an address of this machine and a port that no other program has", l.name, l.address(), err)
		}
		if err := probe.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (p *parts) closeAdmin() error {
	if p.admin == nil {
		return nil
	}
	return p.admin.Close()
}

func keysOf(routes []route.Route) []int16 {
	keys := make([]int16, 0, len(routes))
	for _, r := range routes {
		keys = append(keys, r.Key)
	}
	return keys
}

func (n *Node) serverListeners() []server.Listener {
	var out []server.Listener
	for _, l := range n.settings.listeners {
		out = append(out, server.Listener{Name: l.name, Addr: l.address(), Protocol: "PLAINTEXT"})
	}
	return out
}

// register says where clients reach this node, once its listeners are bound.
func (p *parts) register(ctx context.Context) (metadata.Broker, error) {
	select {
	case <-p.server.Ready():
	case <-ctx.Done():
		return metadata.Broker{}, ctx.Err()
	}
	addrs := p.server.Addrs()
	self := metadata.Broker{Rack: p.node.settings.rack}
	if err := self.Directory.UnmarshalText([]byte(p.dir.ID())); err != nil {
		return self, fmt.Errorf("directory id: %w", err)
	}
	if _, err := p.node.env.Rand.Read(self.Incarnation[:]); err != nil {
		return self, fmt.Errorf("draw an id: %w", err)
	}
	for _, l := range p.node.settings.listeners {
		if l.controller {
			continue
		}
		host, port, err := advertise(l, addrs[l.name])
		if err != nil {
			return self, err
		}
		self.Endpoints = append(self.Endpoints, metadata.Endpoint{Listener: l.name, Protocol: "PLAINTEXT", Host: host, Port: port})
	}
	return self, nil
}

// advertise returns what a client is told: the advertised address where there is
// one, else the host that was listened on and the port that was bound.
func advertise(l listener, bound net.Addr) (host string, port int32, err error) {
	if l.advertised.host != "" {
		if l.advertised.port != 0 {
			return l.advertised.host, l.advertised.port, nil
		}
	}
	boundPort, err := portOf(bound)
	if err != nil {
		return "", 0, err
	}
	host = l.advertised.host
	if host == "" {
		host = l.host
	}
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "localhost"
	}
	return host, boundPort, nil
}

// reconcile is the controller's: coordinators must know how many partitions their
// topic has before the first of them is led.
func (p *parts) reconcile(ctx context.Context, from, to *metadata.Image) error {
	if from == nil {
		p.groups.begin(to)
		p.transactions.coordinators.begin(to)
	}
	return p.replicas.reconcile(ctx, from, to)
}

// deps hands each handler what it needs.
func (p *parts) deps() api.Deps {
	n := p.node
	everybody := auth.AllowAll{}
	admin := apiadmin.Deps{
		NodeID: n.settings.nodeID, Image: p.controller.Image, Propose: p.controller.Propose,
		TopicKeys: n.topicKeys, BrokerKeys: n.brokerKeys, Static: n.settings.fixed,
		Authorizer: everybody, Quota: quota.Unlimited{}, Rand: n.env.Rand, Logger: n.logger, LogDirs: p.logDirs,
	}
	return api.Deps{
		Admin: admin, Coordinator: p.groups, EnsureTopic: admin.EnsureTopic, Random: n.env.Rand, Logger: n.logger,
		Data: data.Deps{
			Image: p.controller.Image, Partitions: p.replicas, Transactions: p.transactions,
			Authorizer: everybody, Quota: quota.Unlimited{}, Clock: n.env.Clock, Logger: n.logger, Random: rand.Int32, FetchMaxBytes: int(n.settings.fetchMaxBytes), FetchSessions: noneIsNegative(n.settings.fetchSessions),
		},
		Txn: txn.Deps{
			Coordinator: p.transactions.coordinators, GroupPartition: p.groups.Partition,
			ProducerIDs: txn.NewProducerIDs(n.settings.nodeID, p.controller.Propose), Image: p.controller.Image, Authorizer: everybody, Logger: n.logger,
		},
	}
}

// noneIsNegative turns a configured 0 into what rooms, whose 0 is the default, take for none.
func noneIsNegative(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

// run runs every part until ctx ends or one fails, then stops them in the reverse
// order of their needs: connections first, the log directory last.
func (p *parts) run(ctx context.Context) error {
	live, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	front, ctx := errgroup.WithContext(ctx)
	back, live := errgroup.WithContext(live)
	background := func(name string, f func(context.Context) error) {
		back.Go(func() error { return named(name, f(live)) })
	}
	disk, endDisk := context.WithCancel(context.WithoutCancel(ctx))
	diskDone := make(chan error, 1)
	go func() { diskDone <- p.dir.Run(disk) }()
	background("controller", p.controller.Run)
	background("groups", p.groups.run)
	background("transactions", p.transactions.coordinators.run)
	background("telemetry", p.telemetry.Run)
	background("maintenance", p.maintain)
	if p.admin != nil {
		background("admin", p.admin.Run)
	}
	front.Go(func() error { return p.server.Run(ctx) })
	front.Go(func() error { return p.open(ctx) })
	front.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-live.Done():
			return errPartEnded
		}
	})
	err := front.Wait()
	stop(nil)
	err = errors.Join(err, back.Wait())
	p.replicas.close()
	endDisk()
	return errors.Join(err, <-diskDone)
}

var errPartEnded = errors.New("a part of the node ended")

func named(part string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", part, err)
	}
	return nil
}

// open lets connections in once everything this node leads serves.
func (p *parts) open(ctx context.Context) error {
	select {
	case <-p.controller.Ready():
	case <-ctx.Done():
		return nil
	}
	if self, ok := p.controller.Image().Broker(p.node.settings.nodeID); ok {
		p.dir.SetBrokerEpoch(self.Epoch)
	}
	if err := p.foundFeatures(ctx); err != nil {
		return err
	}
	close(p.serving)
	p.node.running.Store(p)
	close(p.node.ready)
	p.node.logger.Info("serving", slog.Int("node", int(p.node.settings.nodeID)), slog.String("dir", p.node.settings.dir))
	return nil
}

// foundFeatures puts the features of a new cluster in force.
func (p *parts) foundFeatures(ctx context.Context) error {
	if p.controller.Image().Features()[metadata.MetadataVersion] > 0 {
		return nil
	}
	r, err := p.controller.Propose(ctx, metadata.NewFeatures())
	if err = errors.Join(err, r.Err); err != nil && ctx.Err() == nil {
		return fmt.Errorf("features of the cluster: %w", err)
	}
	return nil
}

// health is why the node is not healthy, or nil.
func (p *parts) health() error { return p.dir.Err() }
