package main

import (
	"runtime"
	"sync/atomic"
)

// --- Objects that die at once ---

type small struct {
	other  *small
	number uint64
}
type small64 struct {
	small
	_ [48]byte
}
type small512 struct {
	small
	_ [496]byte
}

// Where a goroutine's last object is, so that the compiler puts it on the heap.
type place struct {
	last *small
	_    [120]byte
}

func die16(p *place, count, index uint64) (sum uint64) {
	for i := uint64(0); i < count; i++ {
		s := new(small)
		s.number = i + index
		p.last = s
		sum += s.number
	}
	return
}

func die64(p *place, count, index uint64) (sum uint64) {
	for i := uint64(0); i < count; i++ {
		s := new(small64)
		s.number = i + index
		p.last = &s.small
		sum += s.number
	}
	return
}

func die512(p *place, count, index uint64) (sum uint64) {
	for i := uint64(0); i < count; i++ {
		s := new(small512)
		s.number = i + index
		p.last = &s.small
		sum += s.number
	}
	return
}

func runDie(s *setting) {
	die := map[int]func(*place, uint64, uint64) uint64{16: die16, 64: die64, 512: die512}[s.nbytes]
	if die == nil {
		giveUp("objects are of 16, 64 or 512 bytes")
	}
	places := make([]place, s.threads)
	count := s.count / uint64(s.threads)
	began := nowNs()
	inThreads(s.threads, func(index int) {
		i := uint64(index)
		if die(&places[index], count, i) != count*(count-1)/2+count*i {
			giveUp("an object lost its number")
		}
	})
	say("objects=%d ns=%.3f", count*uint64(s.threads), float64(nowNs()-began)/float64(count))
	runtime.KeepAlive(places)
}

// --- Young garbage beside a large old structure ---

type link struct {
	next          *link
	leaf          []byte
	number, owner uint64
}

const length = 20

func newList(owner uint64, r *random) *link {
	var list *link
	for i := uint64(0); i < length; i++ {
		leaf := make([]byte, 16+8*r.below(15))
		for k := range leaf {
			leaf[k] = byte(i)
		}
		list = &link{list, leaf, i, owner}
	}
	return list
}

func checkList(list *link, owner uint64) {
	left := uint64(length)
	for ; list != nil; list = list.next {
		left--
		if list.number != left || list.owner != owner || list.leaf[0] != byte(left) {
			giveUp("a list is not whole")
		}
	}
	if left != 0 {
		giveUp("a list is too short")
	}
}

func runOld(s *setting) {
	old := make([]*link, s.count/length)
	lists := uint64(len(old)) / uint64(s.threads)
	var made uint64
	var ends int64
	m := newMeeting(s.threads)
	began, cpu := nowNs(), cpuSeconds()
	inThreads(s.threads, func(index int) {
		first := uint64(index) * lists
		r := randomOf(uint64(300 + index))
		for i := first; i < first+lists; i++ {
			old[i] = newList(i, &r)
		}
		m.meet(func() { ends = nowNs() + int64(s.seconds*1e9) })
		done := uint64(0)
		for ; nowNs() < ends; done++ {
			at := first + r.below(lists)
			list := newList(at, &r)
			checkList(list, at)
			if done%64 == 0 {
				checkList(old[at], at)
				old[at] = list
			}
		}
		for i := first; i < first+lists; i++ {
			checkList(old[i], i)
		}
		atomic.AddUint64(&made, done)
	})
	objects := float64(made) * length * 2 / 1e6
	say("lists=%d mobjects_s=%.3f objects_per_cpu_us=%.3f", made,
		objects/(float64(nowNs()-began)/1e9), objects/(cpuSeconds()-cpu))
}
