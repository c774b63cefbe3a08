package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sort"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

type graphNode struct {
	to             [3]*graphNode
	leaf           unsafe.Pointer // in a table a leaf, else a node
	number, unused uint64
}

type leaf [64]byte

var (
	arrays  [][]*graphNode
	leaves  [][]unsafe.Pointer
	objects uint64
)

func makeRandom(count uint64) {
	all := make([]*graphNode, count)
	r := randomOf(5)
	for i := range all {
		all[i] = &graphNode{number: uint64(i)}
	}
	for _, n := range all {
		for k := range n.to {
			n.to[k] = all[r.below(count)]
		}
		n.leaf = unsafe.Pointer(all[r.below(count)])
	}
	arrays = append(arrays, append([]*graphNode(nil), all[:64]...))
	objects += count
}

func makeLists(count uint64) {
	heads := make([]*graphNode, 64)
	for i := uint64(0); i < count; i++ {
		n := &graphNode{number: i}
		n.to[0] = heads[i%64]
		heads[i%64] = n
	}
	arrays = append(arrays, heads)
	objects += count
}

func treeOf(count uint64) *graphNode {
	if count == 0 {
		return nil
	}
	n := &graphNode{number: count}
	n.to[0] = treeOf((count - 1) / 2)
	n.to[1] = treeOf(count - 1 - (count-1)/2)
	return n
}

func makeTable(count uint64) {
	r := randomOf(6)
	buckets := make([]*graphNode, count/2)
	for i := uint64(0); i < count/2; i++ {
		at := r.below(count / 2)
		l := new(leaf)
		l[0] = 1
		n := &graphNode{number: i, leaf: unsafe.Pointer(l)}
		n.to[0] = buckets[at]
		buckets[at] = n
	}
	arrays = append(arrays, buckets)
	objects += count / 2 * 2
}

func makeArrays(count uint64) {
	r := randomOf(8)
	length := count / 64
	for k := 0; k < 64; k++ {
		array := make([]unsafe.Pointer, length)
		for i := range array {
			l := new([48]byte)
			l[0] = 1
			array[i] = unsafe.Pointer(l)
		}
		for i := range array {
			other := uint64(i) + r.below(length-uint64(i))
			array[i], array[other] = array[other], array[i]
		}
		leaves = append(leaves, array)
	}
	objects += length * 64
}

func makeGraph(shape string, count uint64) {
	switch shape {
	case "random":
		makeRandom(count)
	case "lists":
		makeLists(count)
	case "tree":
		arrays = append(arrays, []*graphNode{treeOf(count)})
		objects += count
	case "table":
		makeTable(count)
	case "arrays":
		makeArrays(count)
	case "mixed":
		makeTable(count / 4)
		makeRandom(count / 4)
		makeLists(count / 4)
		arrays = append(arrays, []*graphNode{treeOf(count / 4)})
		objects += count / 4
	default:
		giveUp("there is no such shape")
	}
}

// Markers are as many as GOMAXPROCS says: all else is idle while a collection is waited for.
func runGraph(s *setting) {
	makeGraph(s.shape, s.count)
	debug.SetGCPercent(-1)
	runtime.GC()
	times := s.cycles
	if times == 0 {
		times = 5
	}
	seconds := make([]float64, times)
	for i := range seconds {
		began := nowNs()
		runtime.GC()
		seconds[i] = float64(nowNs()-began) / 1e9
	}
	sort.Float64s(seconds)
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	if after.HeapObjects < objects*95/100 {
		giveUp("the heap holds less than can be reached")
	}
	say("shape=%s objects=%d mobj_s=%.3f", s.shape, objects,
		float64(objects)/1e6/seconds[times/2])
	runtime.KeepAlive(arrays)
	runtime.KeepAlive(leaves)
}

// --- Stops against the heap's size, beside goroutines that sleep ---

type block struct {
	left, right *block
	number      uint64
	rest        [1024 - 24]byte
}

func blocksOf(count uint64) *block {
	if count == 0 {
		return nil
	}
	return &block{left: blocksOf((count - 1) / 2), right: blocksOf(count - 1 - (count-1)/2)}
}

func runStops(s *setting) {
	var made, ended uint64
	var all []*block
	var sleepers sync.WaitGroup
	for i := 1; i < s.threads; i++ {
		sleepers.Add(1)
		go func() {
			runtime.LockOSThread()
			for atomic.LoadUint64(&ended) == 0 {
				time.Sleep(200 * time.Millisecond)
			}
			sleepers.Done()
		}()
	}
	cycles := s.cycles
	if cycles == 0 {
		cycles = 16
	}
	for mib := uint64(64); mib <= s.count; mib *= 2 {
		wanted := mib<<20/1024 - made
		all = append(all, blocksOf(wanted))
		made += wanted
		for i := 0; i < cycles; i++ {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			began := nowNs()
			runtime.GC()
			took := nowNs() - began
			runtime.ReadMemStats(&after)
			fmt.Printf("stop mib=%d us=%.2f stops=2 cycle_ms=%.1f\n", mib,
				float64(after.PauseTotalNs-before.PauseTotalNs)/2e3, float64(took)/1e6)
		}
	}
	atomic.StoreUint64(&ended, 1)
	sleepers.Wait()
	runtime.KeepAlive(all)
}
