package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weirstream/weir/broker"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"weir": main})
}

// TestScripts runs testdata/*.txtar. $ADDR is a broker that all of them share.
// Beside the commands of testscript there are
//
//	binary FILE              write a file that is no text
//	code N program args...   run it and want this exit code
//	freeport NAME...         set variables to ports that nobody listens on
//	expand FILE...           replace the variables in files
//	serves ADDR              wait until a broker answers there
//	members GROUP            wait until a group at $ADDR has members and is stable
//	transact ID TOPIC P      begin a transaction at $ADDR, produce to partition P, and go away
//	tree DIR FILE            write names, sizes and hashes of all below DIR
func TestScripts(t *testing.T) {
	addr := shared(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("ADDR", addr)
			e.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector lets each program linger
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name != "root" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return os.Geteuid() == 0, nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"binary": binary, "code": exitCode, "freeport": freePort, "expand": expand, "serves": serves, "members": members, "transact": transact, "tree": tree,
		},
	})
}

// shared runs a broker until the test and its parallel scripts end.
func shared(t *testing.T) string {
	t.Helper()
	node, err := broker.New(broker.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0", Properties: map[string]string{"group.initial.rebalance.delay.ms": "0"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- node.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-node.Ready():
	case err := <-done:
		done <- nil
		t.Fatal(err)
	}
	return node.Addrs()["PLAINTEXT"].String()
}

func binary(ts *testscript.TestScript, _ bool, files []string) {
	for _, file := range files {
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte("node.id=1\n\x00\x01\xff\n"), 0o600))
	}
}

func exitCode(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: code N program args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func freePort(ts *testscript.TestScript, _ bool, names []string) {
	for _, name := range names {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		defer l.Close()
		ts.Setenv(name, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
}

func expand(ts *testscript.TestScript, _ bool, files []string) {
	for _, file := range files {
		text := os.Expand(ts.ReadFile(file), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(text), 0o600))
	}
}

func serves(ts *testscript.TestScript, _ bool, args []string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(args...), kgo.RequestRetries(0))
	ts.Check(err)
	defer client.Close()
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(5 * time.Millisecond) {
		err := client.Ping(context.Background())
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no broker at %s: %v", args[0], err)
		}
	}
}

func members(ts *testscript.TestScript, _ bool, args []string) {
	client, err := kgo.NewClient(kgo.SeedBrokers(ts.Getenv("ADDR")))
	ts.Check(err)
	defer client.Close()
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(5 * time.Millisecond) {
		groups, err := kadm.NewClient(client).DescribeGroups(context.Background(), args...)
		ts.Check(err)
		if g := groups[args[0]]; g.State == "Stable" && len(g.Members) > 0 {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("group %s is %s", args[0], groups[args[0]].State)
		}
	}
}

func transact(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: transact ID TOPIC PARTITION")
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(ts.Getenv("ADDR")), kgo.TransactionalID(args[0]), kgo.TransactionTimeout(40*time.Second), kgo.RecordPartitioner(kgo.ManualPartitioner()),
	)
	ts.Check(err)
	defer client.Close()
	ts.Check(client.BeginTransaction())
	partition, err := strconv.Atoi(args[2])
	ts.Check(err)
	r := &kgo.Record{Topic: args[1], Partition: int32(partition), Value: []byte("open")}
	ts.Check(client.ProduceSync(context.Background(), r).FirstErr())
}

func tree(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: tree DIR FILE")
	}
	var out strings.Builder
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		fmt.Fprintf(&out, "%s %d %x\n", path, len(data), sha256.Sum256(data))
		return err
	}))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(out.String()), 0o600))
}
