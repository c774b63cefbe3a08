package main

import (
	"fmt"
	"math/bits"
	"os"
)

// How long operations took, and when a goroutine did not get on: as in waits.c, but that the
// time in the run queue is not known of a goroutine.

const (
	waitBits  = 5
	waitCells = 48 << waitBits
	gapNs     = 20000
	binNs     = 100000
	window    = 10000000 / binNs
)

type waits struct {
	cells       [waitCells]uint64
	max         int64
	start, last int64
	lost        []uint32
	gapMax      int64
	_           [64]byte
}

func (w *waits) begin(seconds float64) {
	w.lost = make([]uint32, int(seconds*1e9/binNs)+window+1)
	w.start = nowNs()
	w.last = w.start
}

func (w *waits) note(ns int64) {
	cell := int(ns)
	if ns >= 1<<waitBits {
		top := 63 - bits.LeadingZeros64(uint64(ns))
		cell = (top-waitBits+1)<<waitBits + int(ns>>(top-waitBits))&(1<<waitBits-1)
		if cell >= waitCells {
			cell = waitCells - 1
		}
	}
	w.cells[cell]++
	if ns > w.max {
		w.max = ns
	}
}

func (w *waits) alive(now int64) {
	if now-w.last > gapNs {
		w.gap(now)
	}
	w.last = now
}

func (w *waits) gap(now int64) {
	if now-w.last > w.gapMax {
		w.gapMax = now - w.last
	}
	from, to := w.last-w.start, now-w.start
	if from < 0 { // it was due before this began
		from = 0
	}
	for bin := from / binNs; bin < int64(len(w.lost)) && bin*binNs < to; bin++ {
		start, end := bin*binNs, (bin+1)*binNs
		if start < from {
			start = from
		}
		if end > to {
			end = to
		}
		w.lost[bin] += uint32(end - start)
	}
}

func cellUs(cell int) float64 {
	if cell < 1<<waitBits {
		return float64(cell) / 1e3
	}
	top := cell>>waitBits + waitBits - 1
	below := cell & (1<<waitBits - 1)
	width := float64(uint64(1) << (top - waitBits))
	return (float64(1<<waitBits+below)*width + width/2) / 1e3
}

func sayWaits(all []waits) {
	var cells [waitCells]uint64
	var sum uint64
	var max, gap int64
	for i := range all {
		for cell, count := range all[i].cells {
			cells[cell] += count
			sum += count
		}
		if all[i].max > max {
			max = all[i].max
		}
		if all[i].gapMax > gap {
			gap = all[i].gapMax
		}
	}
	for cell, count := range cells {
		if count > 0 {
			fmt.Fprintf(os.Stdout, "latency us=%.3f count=%d\n", cellUs(cell), count)
		}
	}
	percentile := func(part float64) float64 {
		below, wanted := uint64(0), uint64(float64(sum)*part)
		for cell, count := range cells {
			below += count
			if below > wanted {
				return cellUs(cell)
			}
		}
		return cellUs(waitCells - 1)
	}
	say("p50_us=%.2f p99_us=%.2f p999_us=%.2f p9999_us=%.2f max_us=%.2f", percentile(.5),
		percentile(.99), percentile(.999), percentile(.9999), float64(max)/1e3)
	lowest, mean, counted, lost := 1.0, 0.0, 0, 0.0
	last := int((all[0].last - all[0].start) / binNs)
	if last > len(all[0].lost) {
		last = len(all[0].lost)
	}
	var windows [1001]int
	for bin := 0; bin < last; bin++ {
		for i := range all {
			lost += float64(all[i].lost[bin])
			if bin >= window {
				lost -= float64(all[i].lost[bin-window])
			}
		}
		if bin+1 < window {
			continue
		}
		used := 1 - lost/float64(len(all)*window*binNs)
		if used < 0 {
			used = 0
		} else if used > 1 {
			used = 1
		}
		windows[int(used*1000)]++
		if used < lowest {
			lowest = used
		}
		mean += used
		counted++
	}
	hundredth, below := 1.0, 0
	for i, count := range windows {
		below += count
		if below*100 >= counted {
			hundredth = float64(i) / 1000
			break
		}
	}
	if counted > 0 {
		mean /= float64(counted)
	}
	say("gap_us_max=%.1f util_min=%.3f util_p1=%.3f util_mean=%.4f", float64(gap)/1e3, lowest,
		hundredth, mean)
}
