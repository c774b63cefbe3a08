package main

import (
	"fmt"
	"math"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// The cache server of cache.c. A value is an array of bytes without pointers, known by the address
// of its first, so that one atomic exchange replaces it; append() makes it without zeroing.

const (
	low     = 64
	high    = 1024
	header  = 16
	quantum = 50000
	late    = 100000
)

type node struct {
	next  *node
	value unsafe.Pointer
	key   uint64
}

type value struct {
	key            uint64
	nbytes, number uint32
}

var (
	table   []unsafe.Pointer // of *node
	mask    uint64
	sizes   [1 << 13]uint32
	pattern [high]byte
	ready   int32
)

func bucketOf(key uint64) uint64 { return (key * 0x9e3779b97f4a7c15 >> 20) & mask }

func newValue(key uint64, r *random) unsafe.Pointer {
	nbytes := sizes[r.next()%uint64(len(sizes))]
	bytes := append([]byte(nil), pattern[:nbytes]...)
	v := (*value)(unsafe.Pointer(&bytes[0]))
	v.key, v.nbytes, v.number = key, nbytes, uint32(key)^nbytes
	return unsafe.Pointer(v)
}

func check(v *value, key uint64) {
	if v.key != key || v.number != uint32(key)^v.nbytes || v.nbytes > high {
		giveUp("a value is not what was stored")
	}
	last := *(*byte)(unsafe.Add(unsafe.Pointer(v), v.nbytes-1))
	if v.nbytes > header && last != pattern[v.nbytes-1] {
		giveUp("a value is not whole")
	}
}

func find(key uint64) *node {
	n := (*node)(atomic.LoadPointer(&table[bucketOf(key)]))
	for n != nil && n.key != key {
		n = n.next
	}
	if n == nil {
		giveUp("a key was lost")
	}
	return n
}

func operate(r *random, count uint64, buffer *[high / 8]uint64) {
	key := r.below(count)
	if r.next()%5 == 0 {
		v := newValue(key, r)
		atomic.SwapPointer(&find(key).value, v)
		return
	}
	v := atomic.LoadPointer(&find(key).value)
	bytes := (*[high]byte)(unsafe.Pointer(buffer))
	copy(bytes[:], unsafe.Slice((*byte)(v), (*value)(v).nbytes))
	check((*value)(unsafe.Pointer(buffer)), key)
}

func serve(s *setting, w *waits, index int, began, done, wanted *int64, m *meeting) {
	r := randomOf(uint64(100 + index))
	for key := uint64(0); key < s.count; key++ {
		if bucket := bucketOf(key); bucket%uint64(s.threads) == uint64(index) {
			v := newValue(key, &r)
			next := (*node)(atomic.LoadPointer(&table[bucket]))
			atomic.StorePointer(&table[bucket], unsafe.Pointer(&node{next, v, key}))
		}
	}
	m.meet(func() { *began = nowNs(); atomic.StoreInt32(&ready, 1) })
	r = randomOf(uint64(200 + index))
	buffer := new([high / 8]uint64)
	if s.rate > 0 {
		w.begin(3 * s.seconds)
		atARate(s, w, &r, buffer, *began, done, wanted)
		return
	}
	w.begin(s.seconds)
	for now, end := *began, *began+int64(s.seconds*1e9); now < end; {
		operate(&r, s.count, buffer)
		*done++
		now = nowNs()
		w.note(now - w.last)
		w.alive(now)
	}
}

func waitUntil(s *setting, w *waits, now, due int64) int64 {
	if s.spin != 0 {
		for now < due {
			now = nowNs()
			w.alive(now)
		}
		return now
	}
	if due < now+quantum {
		due = now + quantum
	}
	for now < due {
		// a system call, not time.Sleep(), which takes a millisecond
		rest := syscall.Timespec{Nsec: due - now}
		syscall.Nanosleep(&rest, nil)
		now = nowNs()
	}
	w.last = due
	if now < due+late {
		w.last = now
	}
	w.alive(now)
	return now
}

func atARate(s *setting, w *waits, r *random, buffer *[high / 8]uint64, began int64, done, wanted *int64) {
	interval := 1e9 * float64(s.threads) / s.rate
	*wanted = int64(s.seconds * 1e9 / interval)
	for now, end := began, began+int64(s.seconds*3e9); *done < *wanted && now < end; *done++ {
		due := began + int64((float64(*done)+.5)*interval)
		if now < due {
			now = waitUntil(s, w, now, due)
		}
		operate(r, s.count, buffer)
		now = nowNs()
		w.note(now - due)
		w.alive(now)
	}
}

func fillSizes() {
	r := randomOf(7)
	for i := range sizes {
		part := float64(r.next()>>11) / 9007199254740992.0
		sizes[i] = uint32(low*math.Pow(float64(high)/low, part)) &^ 7
	}
}

func sampleRss() {
	first := nowNs()
	for {
		fmt.Fprintf(os.Stdout, "sample seconds=%.3f rss_kib=%d measuring=%d\n",
			float64(nowNs()-first)/1e9, statusKib("VmRSS:"), atomic.LoadInt32(&ready))
		time.Sleep(80 * time.Millisecond)
	}
}

func runCache(s *setting) {
	fillSizes()
	for i := header; i < high; i++ {
		pattern[i] = byte((i-header)*7 + 1)
	}
	for mask = 1; mask < s.count; mask *= 2 {
	}
	table = make([]unsafe.Pointer, mask)
	mask--
	all := make([]waits, s.threads)
	done, wanted := make([]int64, s.threads*8), make([]int64, s.threads*8)
	var began int64
	m := newMeeting(s.threads)
	go sampleRss()
	inThreads(s.threads, func(index int) {
		serve(s, &all[index], index, &began, &done[index*8], &wanted[index*8], m)
	})
	var sum, asked int64
	for i := range done {
		sum += done[i]
		asked += wanted[i]
	}
	seconds := float64(nowNs()-began) / 1e9
	say("operations=%d seconds=%.3f mops_s=%.4f", sum, seconds, float64(sum)/seconds/1e6)
	if s.rate > 0 {
		say("rate=%.0f kept=%.4f", s.rate, float64(sum)/float64(asked))
	}
	sayWaits(all)
	live := (mask + 1) * 8
	for key := uint64(0); key < s.count; key++ {
		v := (*value)(find(key).value)
		check(v, key)
		live += 24 + uint64(v.nbytes)
	}
	say("live_kib=%d", live/1024)
}
