// load.go: how do programs fare under Go's collector? The same loads as load.c's, with the same
// names, arguments and output, written as one would in Go.
package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

type setting struct {
	shape                  string
	count                  uint64
	nbytes, depth, threads int
	seconds, rate          float64
	spin, cycles           int
}

var loads = map[string]func(*setting){
	"trees": runTrees, "mix": runMix, "cache": runCache, "graph": runGraph,
	"die": runDie, "old": runOld, "stops": runStops,
}

var line bytes.Buffer

func say(format string, more ...interface{}) {
	fmt.Fprintf(&line, format+" ", more...)
}

func giveUp(what string) {
	fmt.Fprintln(os.Stderr, "load:", what)
	os.Exit(1)
}

// Nanoseconds since the start: the cheapest reading of the clock that there is.
var base = time.Now()

func nowNs() int64 { return int64(time.Since(base)) }

// --- Threads ---

func inThreads(n int, body func(index int)) {
	var all sync.WaitGroup
	for i := 0; i < n; i++ {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			body(i)
		}(i)
	}
	all.Wait()
}

type meeting struct {
	waiting int32
	n       int32
	done    chan struct{}
}

func newMeeting(n int) *meeting { return &meeting{n: int32(n), done: make(chan struct{})} }

func (m *meeting) meet(all func()) {
	if atomic.AddInt32(&m.waiting, 1) == m.n {
		if all != nil {
			all()
		}
		close(m.done)
	}
	<-m.done
}

// --- Random numbers and sizes, as in load.h ---

type random struct{ state uint64 }

func randomOf(seed uint64) random { return random{(seed + 1) * 0x9e3779b97f4a7c15} }

func (r *random) next() uint64 {
	r.state ^= r.state >> 12
	r.state ^= r.state << 25
	r.state ^= r.state >> 27
	return r.state * 0x2545f4914f6cdd1d
}

func (r *random) below(limit uint64) uint64 { return ((r.next() >> 32) * limit) >> 32 }

// --- The process ---

func statusKib(key string) uint64 {
	text, _ := os.ReadFile("/proc/self/status")
	at := strings.Index(string(text), "\n"+key)
	if at < 0 {
		return 0
	}
	fields := strings.Fields(string(text)[at+1+len(key):])
	value, _ := strconv.ParseUint(fields[0], 10, 64)
	return value
}

func stealMs() float64 {
	text, _ := os.ReadFile("/proc/stat")
	fields := strings.Fields(string(text))
	if len(fields) < 9 {
		return 0
	}
	value, _ := strconv.ParseFloat(fields[8], 64)
	return value * 10
}

func cpuSeconds() float64 {
	var used syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
}

func queuedMs() float64 {
	sum := 0.0
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, task := range tasks {
		text, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/schedstat")
		if fields := strings.Fields(string(text)); len(fields) > 1 {
			ns, _ := strconv.ParseFloat(fields[1], 64)
			sum += ns / 1e6
		}
	}
	return sum
}

func (s *setting) take(name, value string) bool {
	number, _ := strconv.ParseUint(value, 0, 64)
	real, _ := strconv.ParseFloat(value, 64)
	switch name {
	case "count":
		s.count = number
	case "bytes":
		s.nbytes = int(number)
	case "depth":
		s.depth = int(number)
	case "threads":
		s.threads = int(number)
	case "seconds":
		s.seconds = real
	case "rate":
		s.rate = real
	case "spin":
		s.spin = int(number)
	case "cycles":
		s.cycles = int(number)
	case "shape":
		s.shape = value
	default:
		return false
	}
	return true
}

func main() {
	s := &setting{shape: "random", count: 1000000, nbytes: 64, depth: 16, threads: 1, seconds: 5}
	if len(os.Args) < 2 || loads[os.Args[1]] == nil {
		giveUp("name a load")
	}
	for _, word := range os.Args[2:] {
		pair := strings.SplitN(word, "=", 2)
		if len(pair) != 2 || !s.take(pair[0], pair[1]) {
			giveUp("there is no such argument")
		}
	}
	say("load=%s", os.Args[1])
	cpu, wall, steal := cpuSeconds(), nowNs(), stealMs()
	loads[os.Args[1]](s)
	say("memory=go wall_s=%.3f cpu_s=%.3f", float64(nowNs()-wall)/1e9, cpuSeconds()-cpu)
	say("peak_kib=%d end_kib=%d", statusKib("VmHWM:"), statusKib("VmRSS:"))
	say("steal_ms=%.0f queued_ms=%.0f", stealMs()-steal, queuedMs())
	stats := debug.GCStats{PauseQuantiles: make([]time.Duration, 2)}
	debug.ReadGCStats(&stats)
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	// a cycle's pause is the sum of its two stops: the longest sum is what is known
	say("collections=%d stop_us_max=%.1f stop_ms_total=%.3f gc_cpu=%.4f", stats.NumGC,
		float64(stats.PauseQuantiles[1])/1e3, float64(stats.PauseTotal)/1e6, memory.GCCPUFraction)
	fmt.Println(strings.TrimSpace(line.String()))
}
