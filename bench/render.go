package bench

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// missed lists what a row does not reach.
func (r *Row) missed() []string {
	var all []string
	check := func(what string, got, target float64, most bool) {
		if target > 0 && (most && got > target || !most && got < target) {
			all = append(all, fmt.Sprintf("%s %.2f, wanted %.2f", what, got, target))
		}
	}
	if r.Null != nil {
		check("throughput against null", r.Ours.PerSecond()/r.Null.PerSecond(), r.perNull, false)
	}
	if k := r.Kafka; k != nil {
		check("throughput against Kafka", r.Ours.PerSecond()/k.PerSecond(), r.perKafka, false)
		check("CPU against Kafka", r.Ours.CPUPerMillion()/k.CPUPerMillion(), r.cpuKafka, true)
		check("p50 against Kafka", quotient(r.Ours, k, .5), r.p50, true)
		check("p99 against Kafka", quotient(r.Ours, k, .99), r.p99, true)
	}
	return all
}

func quotient(a, b *Result, q float64) float64 {
	return float64(a.Latency.Quantile(q)) / float64(max(b.Latency.Quantile(q), 1))
}

// WriteMarkdown writes the page that shows the rows, with the chart beside it as svg names it.
func WriteMarkdown(w io.Writer, rows []*Row, svg string) error {
	var b strings.Builder
	b.WriteString("# Performance\n\nWritten by `weir bench report`: Weir, the null broker (CRC check, append to a fresh file,\n" +
		"answer) and Apache Kafka on one machine in one run, load and broker on the same cores. Absolute\n" +
		"figures move with the machine; the ratios are the point. CPU is the broker's, user and system.\n" +
		"Kafka does not sync in any row.\n\n![Throughput as a share of the fastest](" + svg + ")\n\n" +
		"| workload | broker | durability | records/s | MB/s | CPU s/M records | CPU s/GB | p50 | p99 | p99.9 | RSS MB |\n" +
		"|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		mode := "pagecache"
		if r.Fsync {
			mode = "fsync"
		}
		line(&b, r.Name, "Weir", mode, r.Ours)
		line(&b, r.Name, "null", "pagecache", r.Null)
		line(&b, r.Name, "Apache Kafka", "pagecache", r.Kafka)
	}
	b.WriteString("\n## Missed\n\n")
	none := true
	for _, r := range rows {
		for _, m := range r.missed() {
			none = false
			fmt.Fprintf(&b, "- %s: %s\n", r.Name, m)
		}
	}
	if none {
		b.WriteString("Nothing.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func line(b *strings.Builder, name, broker, mode string, r *Result) {
	if r == nil {
		return
	}
	q := func(q float64) time.Duration { return r.Latency.Quantile(q).Round(time.Microsecond) }
	fmt.Fprintf(b, "| %s | %s | %s | %.0f | %.1f | %.3f | %.3f | %v | %v | %v | %d |\n", name, broker, mode,
		r.PerSecond(), r.BytesPerSecond()/1e6, r.CPUPerMillion(), r.CPUPerGB(), q(.5), q(.99), q(.999), r.RSS>>20)
}

// WriteSVG draws the throughput of each row as bars, the longest of a row being the same length.
func WriteSVG(w io.Writer, rows []*Row) error {
	const bar, gap, label, width = 14, 16, 20, 420
	var b strings.Builder
	y := 20
	for _, r := range rows {
		if r.latency {
			continue
		}
		fmt.Fprintf(&b, `<text x="0" y="%d" font-weight="bold">%s</text>`+"\n", y, r.Name)
		y += label / 2
		most := 0.0
		for _, one := range []*Result{r.Ours, r.Null, r.Kafka} {
			if one != nil {
				most = max(most, one.PerSecond())
			}
		}
		for i, one := range []*Result{r.Ours, r.Null, r.Kafka} {
			if one == nil {
				continue
			}
			fmt.Fprintf(&b, `<text x="0" y="%d">%s</text><rect x="90" y="%d" width="%.0f" height="%d" fill="%s"/><text x="%.0f" y="%d">%.2f M/s</text>`+"\n",
				y+bar-3, []string{"Weir", "null", "Apache Kafka"}[i], y, one.PerSecond()/most*width, bar-2,
				[]string{"#2a6f97", "#b8c4cc", "#c8553d"}[i], 96+one.PerSecond()/most*width, y+bar-3, one.PerSecond()/1e6)
			y += bar
		}
		y += gap + label/2
	}
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 %d" font-family="sans-serif" font-size="11">`+"\n%s</svg>\n", y, b.String())
	return err
}
