package bench

import (
	"fmt"
	"strings"
	"time"
)

// check is a figure of a row and what it is held to: ours as a share of the ceiling's and of Kafka's,
// and in itself; a target of 0 is none.
type check struct {
	what               string
	of                 func(*Result) float64
	show               func(float64) string
	atLeast            bool // else at most
	null, kafka, limit float64
	when               func(*Row) bool // the target against Kafka holds; nil is always
}

func (c check) where(when func(*Row) bool) check {
	c.when = when
	return c
}

func throughput(ofNull, ofKafka float64) check {
	return check{what: "records/s", of: (*Result).PerSecond, show: millions, atLeast: true, null: ofNull, kafka: ofKafka}
}

// speed is throughput that is held to a figure.
func speed(atLeast float64) check {
	c := throughput(0, 0)
	c.limit = atLeast
	return c
}

func cpuPerRecord(ofKafka float64) check {
	return check{what: "CPU for a record", of: (*Result).CPUPerMillion, show: func(f float64) string { return fmt.Sprintf("%.3f s/M", f) }, kafka: ofKafka}
}

// perCPU is what a second of CPU brings.
func perCPU(what string, count func(*Result) int64, ofKafka float64) check {
	return check{
		what: what + "/CPU second", of: func(r *Result) float64 { return float64(count(r)) / r.CPU.Seconds() },
		show: millions, atLeast: true, kafka: ofKafka,
	}
}

func cpuPerByte(ofKafka float64) check {
	return check{what: "CPU for a byte", of: (*Result).CPUPerGB, show: func(f float64) string { return fmt.Sprintf("%.3f s/GB", f) }, kafka: ofKafka}
}

func latency(name string, q, ofKafka float64) check {
	return check{
		what: name, of: func(r *Result) float64 { return float64(r.Latency.Quantile(q)) }, kafka: ofKafka,
		show: func(f float64) string { return time.Duration(f).Round(time.Microsecond).String() },
	}
}

// value is the figure of a row that measures one thing: at most limit, and a share of Kafka's.
func value(what string, show func(float64) string, limit, ofKafka float64) check {
	return check{what: what, of: func(r *Result) float64 { return r.Value }, show: show, limit: limit, kafka: ofKafka}
}

func millions(f float64) string { return fmt.Sprintf("%.3f M", f/1e6) }

// verdict is what came of a check.
type verdict struct {
	what, ours, null, kafka string
	wanted, got             []string
	missed                  bool
}

// judge holds a row to one of its checks. Without Kafka's result nothing is asked of the ratio.
func (r *Row) judge(c check) verdict {
	ours := c.of(r.Ours)
	v := verdict{what: c.what, ours: c.show(ours)}
	if c.when != nil && !c.when(r) {
		c.kafka = 0
	}
	hold := func(got, target float64, text string) {
		word := "at most"
		if c.atLeast {
			word = "at least"
		}
		v.wanted = append(v.wanted, fmt.Sprintf("%s %s", word, text))
		v.missed = v.missed || c.atLeast && got < target || !c.atLeast && got > target
	}
	if c.limit > 0 {
		hold(ours, c.limit, c.show(c.limit))
	}
	for _, other := range []struct {
		name   string
		result *Result
		share  float64
		cell   *string
	}{{r.ceilingName(), r.Null, c.null, &v.null}, {"Kafka", r.Kafka, c.kafka, &v.kafka}} {
		if other.result == nil || c.of(other.result) == 0 {
			continue
		}
		ratio := ours / c.of(other.result)
		*other.cell = c.show(c.of(other.result))
		v.got = append(v.got, fmt.Sprintf("%.2f of %s", ratio, other.name))
		if other.share > 0 {
			hold(ratio, other.share, fmt.Sprintf("%.2f of %s", other.share, other.name))
		}
	}
	return v
}

func (r *Row) ceilingName() string {
	if r.ceiling != "" {
		return r.ceiling
	}
	return "null"
}

// missed says that a row does not reach one of its targets.
func (r *Row) missed() bool {
	for _, c := range r.checks {
		if r.judge(c).missed {
			return true
		}
	}
	return false
}

func (v *verdict) reached() string {
	switch {
	case len(v.wanted) == 0:
		return "–"
	case v.missed:
		return "**no**"
	}
	return "yes"
}

func joined(parts []string) string {
	if len(parts) == 0 {
		return "–"
	}
	return strings.Join(parts, ", ")
}
