package bench

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
)

// WriteMarkdown writes the page that shows the rows, with the chart beside it as svg names it. reasons
// tells, under a heading of each row's name, why rows are missed.
func WriteMarkdown(w io.Writer, rows []*Row, svg, reasons string) error {
	var b strings.Builder
	b.WriteString("# Performance\n\nWritten by `weir bench report`: Weir, the null broker (CRC check, append to a fresh file,\n" +
		"answer) and Apache Kafka 4.3.1 (one KRaft node, 1 GB heap, its defaults) on one machine in one run,\n" +
		"taking turns, load and broker on the same cores. Absolute figures move with the machine; the ratios\n" +
		"are the point. CPU is the broker's, user and system, or, under Streams, the application's. Kafka does not sync\n" +
		"in any row. What a connection and a partition cost is resident memory of ours, and live heap after\n" +
		"a collection of Kafka, which takes its memory before it needs it. A round counts\n" +
		"at most 1 GiB, of memory that was in use just before and with no dirty pages left, so that it is the\n" +
		"page cache that is measured and not the kernel's throttling of writers. Stolen is what the host of a virtual\n" +
		"machine kept of its processors for others meanwhile: where it is more than 2 %, the broker is measured again, up\n" +
		"to twice, end to end where it is more than 0.1 %, up to four times, and the time with the least counts.\n" +
		"Compaction, streams and footprint are measured once.\n\n")
	fmt.Fprintf(&b, "Machine: %s.\n\n![Records a second](%s)\n", machine(), svg)
	section := ""
	for i, r := range rows {
		if r.Section == section {
			continue
		}
		section = r.Section
		end := i
		for end < len(rows) && rows[end].Section == section {
			end++
		}
		fmt.Fprintf(&b, "\n## %s\n", section)
		writeLoads(&b, rows[i:end])
		writeTargets(&b, rows[i:end])
	}
	writeMissed(&b, rows, reasons)
	_, err := io.WriteString(w, b.String())
	return err
}

// machine is what the figures were measured on.
func machine() string {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	memory, _ := os.ReadFile("/proc/meminfo")
	total, _, _ := strings.Cut(string(memory), "\n")
	var kb int
	_, _ = fmt.Sscanf(total, "MemTotal: %d kB", &kb)
	return fmt.Sprintf("%d cores, %d GB of memory, %s %s, %s", runtime.NumCPU(), kb>>20, runtime.GOOS, strings.TrimSpace(string(kernel)), runtime.Version())
}

// writeLoads writes the figures of the rows that have records.
func writeLoads(b *strings.Builder, rows []*Row) {
	head := "\n| workload | broker | durability | records/s | MB/s | CPU s/M records | CPU s/GB | p50 | p99 | p99.9 | RSS MB | stolen |\n" +
		"|---|---|---|---|---|---|---|---|---|---|---|---|\n"
	line := func(name, broker, mode string, r *Result) {
		if r == nil || r.Records == 0 {
			return
		}
		b.WriteString(head)
		head = ""
		fmt.Fprintf(b, "| %s | %s | %s | %.0f | %.1f |", name, broker, mode, r.PerSecond(), r.BytesPerSecond()/1e6)
		if r.CPU == 0 {
			b.WriteString(" – | – | – | – | – | – |") // it is no process
		} else {
			q := func(q float64) time.Duration { return r.Latency.Quantile(q).Round(time.Microsecond) }
			fmt.Fprintf(b, " %.3f | %.3f | %v | %v | %v | %d |", r.CPUPerMillion(), r.CPUPerGB(), q(.5), q(.99), q(.999), r.RSS>>20)
		}
		fmt.Fprintf(b, " %.1f %% |\n", 100*r.stolenShare())
	}
	for _, r := range rows {
		line(r.Name, "Weir", r.Mode, r.Ours)
		line(r.Name, r.ceilingName(), pagecache, r.Null)
		line(r.Name, "Apache Kafka", pagecache, r.Kafka)
	}
}

// writeTargets writes what the rows are held to.
func writeTargets(b *strings.Builder, rows []*Row) {
	b.WriteString("\n| target | figure | Weir | ceiling | Apache Kafka | is | wanted | reached |\n|---|---|---|---|---|---|---|---|\n")
	for _, r := range rows {
		for _, c := range r.checks {
			v := r.judge(c)
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", r.Name, v.what, v.ours, v.null, v.kafka, joined(v.got), joined(v.wanted), v.reached())
		}
	}
}

// writeMissed lists the targets that were not reached, with the reason given for the row.
func writeMissed(b *strings.Builder, rows []*Row, reasons string) {
	b.WriteString("\n## Missed\n\n")
	none := true
	for _, r := range rows {
		if !r.missed() {
			continue
		}
		none = false
		fmt.Fprintf(b, "### %s\n\n", r.Name)
		for _, c := range r.checks {
			if v := r.judge(c); v.missed {
				fmt.Fprintf(b, "- %s: %s, %s; wanted %s\n", v.what, v.ours, joined(v.got), joined(v.wanted))
			}
		}
		if why := reason(reasons, r.Name); why != "" {
			fmt.Fprintf(b, "\n%s\n", why)
		}
		b.WriteString("\n")
	}
	if none {
		b.WriteString("Nothing.\n")
	}
}

// reason is what stands under the heading of a row.
func reason(reasons, row string) string {
	_, after, found := strings.Cut("\n"+reasons, "\n## "+row+"\n")
	if !found {
		return ""
	}
	text, _, _ := strings.Cut(after, "\n## ")
	return strings.TrimSpace(text)
}

// WriteSVG draws the throughput of each row that has a target for it as bars, the longest of a row
// being the same length.
func WriteSVG(w io.Writer, rows []*Row) error {
	const bar, gap, label, width = 14, 16, 20, 420
	names := [3]string{"Weir", "ceiling", "Apache Kafka"}
	colours := [3]string{"#2a6f97", "#b8c4cc", "#c8553d"}
	var b strings.Builder
	y := 20
	for _, r := range rows {
		if r.Ours == nil || r.Ours.Records == 0 || r.checks[0].what != throughput(0, 0).what {
			continue
		}
		fmt.Fprintf(&b, `<text x="0" y="%d" font-weight="bold">%s (%s)</text>`+"\n", y, r.Name, r.Mode)
		y += label / 2
		results := [3]*Result{r.Ours, r.Null, r.Kafka}
		most := 0.0
		for _, one := range results {
			if one != nil {
				most = max(most, one.PerSecond())
			}
		}
		for i, one := range results {
			if one == nil {
				continue
			}
			long := one.PerSecond() / most * width
			fmt.Fprintf(&b, `<text x="0" y="%d">%s</text><rect x="90" y="%d" width="%.0f" height="%d" fill="%s"/><text x="%.0f" y="%d">%.2f M/s</text>`+"\n",
				y+bar-3, names[i], y, long, bar-2, colours[i], 96+long, y+bar-3, one.PerSecond()/1e6)
			y += bar
		}
		y += gap + label/2
	}
	_, err := fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 %d" font-family="sans-serif" font-size="11">`+"\n%s</svg>\n", y, b.String())
	return err
}
