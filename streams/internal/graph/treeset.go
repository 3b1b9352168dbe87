package graph

// treeSet is a sorted set whose order may change under it, as the sets of
// neighbours do in Kafka Streams' description. Where a new name goes then
// depends on the shape of the tree, so this is the same kind of tree as Java's:
// red-black, mended after each insertion from the bottom up.
type treeSet struct {
	root *treeNode
}

type treeNode struct {
	name                string
	parent, left, right *treeNode
	red                 bool
}

// insert adds name where before, asked from the root down, puts it.
func (t *treeSet) insert(name string, before func(a, b string) bool) {
	var parent *treeNode
	link := &t.root
	for *link != nil {
		parent = *link
		switch {
		case name == parent.name:
			return
		case before(name, parent.name):
			link = &parent.left
		default:
			link = &parent.right
		}
	}
	n := &treeNode{name: name, parent: parent, red: true}
	*link = n
	t.mend(n)
}

// mend restores the colours after n, which is red, was added.
func (t *treeSet) mend(n *treeNode) {
	for n != t.root && n.parent.red {
		parent, grand := n.parent, n.parent.parent
		left := parent == grand.left
		uncle := grand.left
		if left {
			uncle = grand.right
		}
		if uncle != nil && uncle.red {
			parent.red, uncle.red, grand.red = false, false, true
			n = grand
			continue
		}
		if inner := (n == parent.right) == left; inner {
			n = parent
			t.rotate(n, left)
		}
		n.parent.red, grand.red = false, true
		t.rotate(grand, !left)
	}
	t.root.red = false
}

// rotate turns n down, to the left or to the right.
func (t *treeSet) rotate(n *treeNode, left bool) {
	var up *treeNode
	if left {
		up = n.right
		n.right = up.left
		if up.left != nil {
			up.left.parent = n
		}
		up.left = n
	} else {
		up = n.left
		n.left = up.right
		if up.right != nil {
			up.right.parent = n
		}
		up.right = n
	}
	up.parent = n.parent
	switch {
	case n.parent == nil:
		t.root = up
	case n.parent.left == n:
		n.parent.left = up
	default:
		n.parent.right = up
	}
	n.parent = up
}

// names returns the names from left to right.
func (t *treeSet) names() []string {
	var list []string
	var walk func(n *treeNode)
	walk = func(n *treeNode) {
		if n != nil {
			walk(n.left)
			list = append(list, n.name)
			walk(n.right)
		}
	}
	walk(t.root)
	return list
}
