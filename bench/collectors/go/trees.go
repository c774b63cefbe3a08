package main

import "sync/atomic"

// --- Binary trees, after the benchmarks game ---

type tree struct{ left, right *tree }

var nodesMade uint64

func treeMake(depth int) *tree {
	if depth == 0 {
		return &tree{}
	}
	return &tree{treeMake(depth - 1), treeMake(depth - 1)}
}

func (t *tree) count() uint64 {
	if t.left == nil {
		return 1
	}
	return 1 + t.left.count() + t.right.count()
}

func makeAndDrop(depth int) {
	if treeMake(depth).count() != 2<<depth-1 {
		giveUp("a tree is not whole")
	}
}

func sayNodes(began int64) {
	say("nodes=%d mnodes_s=%.3f", nodesMade, float64(nodesMade)/(float64(nowNs()-began)/1e9)/1e6)
}

func runTrees(s *setting) {
	const shortest = 4
	began := nowNs()
	inThreads(s.threads, func(index int) {
		var made uint64
		var stays *tree
		if index == 0 {
			makeAndDrop(s.depth + 1)
			stays = treeMake(s.depth)
			made += 4<<s.depth - 1 + 2<<s.depth - 1
		}
		for depth := shortest; depth <= s.depth; depth += 2 {
			for i := index; i < 1<<(s.depth-depth+shortest); i += s.threads {
				makeAndDrop(depth)
				made += 2<<depth - 1
			}
		}
		if stays != nil && stays.count() != 2<<s.depth-1 {
			giveUp("the tree that stays is not whole")
		}
		atomic.AddUint64(&nodesMade, made)
	})
	sayNodes(began)
}

// --- The mix ---

type branch struct {
	left, right   *branch
	depth, number uint64
}

const (
	held    = 64
	numbers = 500000
)

func fromLeaves(depth int) *branch {
	if depth == 0 {
		return &branch{number: 0}
	}
	return &branch{fromLeaves(depth - 1), fromLeaves(depth - 1), uint64(depth), uint64(depth) * 3}
}

func (b *branch) populate(depth int) {
	if depth == 0 {
		return
	}
	b.left = &branch{depth: uint64(depth - 1), number: uint64(depth-1) * 3}
	b.right = &branch{depth: uint64(depth - 1), number: uint64(depth-1) * 3}
	b.left.populate(depth - 1)
	b.right.populate(depth - 1)
}

func fromRoot(depth int) *branch {
	b := &branch{depth: uint64(depth), number: uint64(depth) * 3}
	b.populate(depth)
	return b
}

func (b *branch) count() uint64 {
	if b.number != b.depth*3 {
		giveUp("a node lost its numbers")
	}
	if b.left == nil {
		return 1
	}
	return 1 + b.left.count() + b.right.count()
}

func runMix(s *setting) {
	const shortest = 4
	began := nowNs()
	inThreads(s.threads, func(index int) {
		made := uint64(2<<s.depth - 1)
		stays := fromRoot(s.depth)
		array := make([]float64, numbers)
		for i := range array {
			array[i] = 1.0 / float64(i+1+index)
		}
		kept := make([]*branch, held)
		count := 0
		for depth := shortest; depth <= s.depth; depth += 2 {
			for trees := 64 << (s.depth - depth); trees > 0; trees-- {
				var b *branch
				if trees%2 == 1 {
					b = fromLeaves(depth)
				} else {
					b = fromRoot(depth)
				}
				made += 2<<depth - 1
				if count == held {
					if kept[trees%held].count() < 31 {
						giveUp("a tree that was held is not whole")
					}
					kept = make([]*branch, held)
					count = 0
				}
				kept[count] = b
				count++
			}
		}
		if stays.count() != 2<<s.depth-1 {
			giveUp("the tree that stays is not whole")
		}
		for i := range array {
			if array[i] != 1.0/float64(i+1+index) {
				giveUp("the array that stays is not whole")
			}
		}
		atomic.AddUint64(&nodesMade, made)
	})
	sayNodes(began)
}
