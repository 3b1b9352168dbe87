package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"time"
)

// generatedLines is how many lines the generator makes with -once.
const generatedLines = 20_000

// generated is the bundled traffic: visitors who come, read a few pages with
// pauses between them and leave; popular pages, robots and a few broken lines.
// With -once it is the same on every run; otherwise it goes on with the clock.
func generated(o options) source {
	s := source{name: "generated traffic", fingerprint: "generated", live: !o.once}
	s.open = func() (io.ReadCloser, error) {
		g := &generator{rng: random(2015), now: time.Date(2015, 5, 17, 10, 5, 0, 0, time.UTC), left: generatedLines}
		if s.live {
			g.rng, g.left, g.clock = random(uint64(time.Now().UnixNano())), -1, time.Now
		}
		return io.NopCloser(g), nil
	}
	return s
}

func random(seed uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, 5)) //nolint:gosec // traffic is no secret
}

// generator writes access log lines for as long as it is read.
type generator struct {
	rng   *rand.Rand
	now   time.Time
	clock func() time.Time // nil: time passes with the lines
	left  int              // lines to go; negative has no end
	line  []byte           // what is not read yet
}

// Read hands out generated lines.
func (g *generator) Read(p []byte) (int, error) {
	if len(g.line) == 0 {
		if g.left == 0 {
			return 0, io.EOF
		}
		g.left--
		g.line = g.next()
	}
	n := copy(p, g.line)
	g.line = g.line[n:]
	return n, nil
}

func (g *generator) next() []byte {
	if g.clock != nil {
		g.now = g.clock()
	} else {
		g.now = g.now.Add(time.Duration(g.rng.ExpFloat64() * float64(120*time.Millisecond)))
	}
	if g.rng.IntN(500) == 0 {
		return []byte("\\x16\\x03\\x01 - - - not a request\n")
	}
	at := g.now.Add(-time.Duration(g.rng.ExpFloat64() * float64(time.Second)))
	return fmt.Appendf(nil, "%s - - [%s] \"GET %s HTTP/1.1\" %d %d \"-\" \"Mozilla/5.0\"\n",
		g.visitor(), at.Format("02/Jan/2006:15:04:05 -0700"), g.page(), g.status(), 200+g.rng.IntN(40_000))
}

// visitor draws an address; few visitors make many requests.
func (g *generator) visitor() string {
	n := int(g.rng.ExpFloat64() * 300)
	return "10." + strconv.Itoa(n>>8&255) + "." + strconv.Itoa(n&255) + "." + strconv.Itoa(1+n%254)
}

// page draws a target; the first pages are the popular ones.
func (g *generator) page() string {
	n := int(g.rng.ExpFloat64() * 6)
	switch {
	case n == 0:
		return "/"
	case n < 6:
		return "/articles/" + strconv.Itoa(n) + "?ref=" + strconv.Itoa(g.rng.IntN(9))
	case n < 12:
		return "/images/photo-" + strconv.Itoa(n) + ".png"
	}
	return "/search?q=" + strconv.Itoa(n)
}

func (g *generator) status() int {
	switch g.rng.IntN(20) {
	case 0:
		return 404
	case 1:
		return 304
	}
	return 200
}
