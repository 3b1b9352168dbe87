package conformance

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// pvuv is one run of the example on a broker: an input of its own, so that
// topics and state are its own, with the same counts as every other.
type pvuv struct {
	t    *testing.T
	bin  string
	addr string
	args []string
	said bytes.Buffer
	out  bytes.Buffer
	cmd  *exec.Cmd
}

// accessLog writes lines of an access log: those of the file ACCESS_LOG, or 300 a minute, of few pages
// and many visitors.
func accessLog(t *testing.T, name string) string {
	t.Helper()
	var text bytes.Buffer
	if given := os.Getenv("ACCESS_LOG"); given != "" {
		lines, err := os.ReadFile(given)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(lines)
	} else {
		rng := rand.New(rand.NewPCG(11, 12))
		at := time.Date(2015, 5, 17, 10, 5, 0, 0, time.UTC)
		for i := range 6000 {
			fmt.Fprintf(&text, "10.0.%d.%d - - [%s] \"GET /page%d HTTP/1.1\" 200 %d\n", rng.IntN(4), rng.IntN(200),
				at.Add(time.Duration(i)*200*time.Millisecond).Format("02/Jan/2006:15:04:05 -0700"), rng.IntN(60), rng.IntN(9999))
		}
	}
	fmt.Fprintf(&text, "a line of %s that counts for nothing\n", name)
	path := filepath.Join(t.TempDir(), "access.log")
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func buildPVUV(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "pv-uv")
	build := exec.Command("go", "build", "-o", bin, "./examples/pv-uv")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build pv-uv: %v\n%s", err, out)
	}
	return bin
}

func newPVUV(t *testing.T, bin, addr, name string) *pvuv {
	t.Helper()
	return &pvuv{t: t, bin: bin, addr: addr, args: []string{
		"-once", "-json", "-input", accessLog(t, name), "-data", t.TempDir(), "-brokers", addr,
	}}
}

func (p *pvuv) start(rate int) {
	p.t.Helper()
	p.said.Reset()
	p.out.Reset()
	p.cmd = exec.Command(p.bin, append(p.args, "-rate", strconv.Itoa(rate))...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.said
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// wait returns the output of a run that ends by itself.
func (p *pvuv) wait() string {
	p.t.Helper()
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("pv-uv: %v\n%s", err, p.said.String())
	}
	return p.out.String()
}

var readBack = regexp.MustCompile(`(\d+) records of state read back`)

// readBack returns how many records of changelogs the run read.
func (p *pvuv) readBack() int {
	p.t.Helper()
	m := readBack.FindStringSubmatch(p.said.String())
	if m == nil {
		p.t.Fatalf("pv-uv does not say what it read back:\n%s", p.said.String())
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// committed returns the sum of the offsets that the run has committed. Each of
// its lines is one record of the views topic and two of the repartition topic.
func committed(t *testing.T, adm *kadm.Client) (n int64) {
	t.Helper()
	groups, err := adm.ListGroups(t.Context())
	if err != nil {
		return 0
	}
	for _, g := range groups.Groups() {
		offsets, err := adm.FetchOffsets(t.Context(), g)
		if err != nil {
			return 0
		}
		offsets.Each(func(o kadm.OffsetResponse) { n += max(0, o.At) })
	}
	return n
}

// changelogs tells how many bytes of changelog topics the broker has taken and served since it started.
func changelogs(t *testing.T, admin string) (taken, served int) {
	t.Helper()
	answer, err := http.Get("http://" + admin + "/metrics") //nolint:noctx // a test's own broker
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range changelogBytes.FindAllStringSubmatch(string(text), -1) {
		n, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		if m[1] == "in" {
			taken += int(n)
		} else {
			served += int(n)
		}
	}
	return taken, served
}

var changelogBytes = regexp.MustCompile(`kafka_server_brokertopicmetrics_bytes(in|out)_total\{topic="[^"]*-changelog"\} (\S+)`)

// difference names the first line that is not as wanted.
func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(w), len(g)) {
		if w[i] != g[i] {
			return fmt.Sprintf("line %d is %s, undisturbed %s", i+1, g[i], w[i])
		}
	}
	return fmt.Sprintf("there are %d lines, undisturbed %d", len(g), len(w))
}

// TestPageViewsOverKills kills application and broker at seeded moments between
// the first and the last commit of runs of the example, while lines are being
// fed. The counts must be those of an undisturbed run, and the state that was
// committed must not be read back from its changelogs.
func TestPageViewsOverKills(t *testing.T) {
	t.Parallel()
	kills := 20
	if testing.Short() {
		kills = 4
	}
	bin := buildPVUV(t)
	admin := freeAddr(t)
	b := newBroker(t, "--set", "weir.admin.listener="+admin)
	undisturbed := newPVUV(t, bin, b.addr, "undisturbed")
	undisturbed.start(0)
	want := undisturbed.wait()
	if n := undisturbed.readBack(); n != 0 || len(want) == 0 {
		t.Fatalf("an undisturbed run read %d records back and wrote %d bytes", n, len(want))
	}
	adm := kadm.NewClient(b.client(quickRetries()))
	all := committed(t, adm)
	reread, state := 0, 0
	taken, served := 0, 0 // bytes of changelogs, by brokers that are gone
	for seed := range 2 * kills {
		p := newPVUV(t, bin, b.addr, fmt.Sprintf("run %d", seed))
		rng := rand.New(rand.NewPCG(uint64(seed), 9))
		before := committed(t, adm)
		p.start(3000)
		waitFor(t, "a first commit", func() bool { return committed(t, adm) > before })
		time.Sleep(time.Duration(rng.IntN(700)) * time.Millisecond)
		what := "the application"
		if seed%2 == 1 {
			what = "the broker"
			in, out := changelogs(t, admin)
			taken, served = taken+in, served+out
			b.kill()
			b.start()
		} else if err := p.cmd.Process.Kill(); err != nil {
			t.Fatalf("seed %d: the run was over before its kill: %v", seed, err)
		}
		if done := committed(t, adm) - before; done >= all {
			t.Errorf("seed %d: all %d was committed before the kill", seed, done)
		} else {
			state += int(done)
		}
		if seed%2 == 0 {
			_ = p.cmd.Wait()
			p.start(0)
		}
		if got := p.wait(); got != want {
			t.Fatalf("seed %d: after the kill of %s %s\n%s", seed, what, difference(want, got), p.said.String())
		}
		reread += p.readBack()
	}
	if reread*20 > state {
		t.Errorf("%d records of state were read back, of %d that were counted before the kills", reread, state)
	}
	in, out := changelogs(t, admin)
	taken, served = taken+in, served+out
	if taken == 0 || served*20 > taken {
		t.Errorf("the broker served %d bytes of changelogs, and took %d", served, taken)
	}
	t.Logf("%d kills, %d records of state read back, %d counted before the kills; %d bytes of changelogs served, %d taken",
		2*kills, reread, state, served, taken)
}
