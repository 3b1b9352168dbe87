package streamstest_test

// sessWinRig is the rig of the op sesswin. Its store keeps sessions for three
// gaps, as that of the cases' source does: records may join what is closed.
func sessWinRig(c *testCase) (*rig, error) {
	wc, err := parseWindows(c, "gap")
	if err != nil {
		return nil, err
	}
	if err := wc.session(c); err != nil {
		return nil, err
	}
	r := wc.rig()
	r.cached = !c.replaces()
	return r, nil
}

// replaces reports whether a row goes just before another one of its key comes:
// with a cache, that is one change.
func (c *testCase) replaces() bool {
	for _, l := range c.body {
		for i := 1; i < len(l.recs); i++ {
			if l.verb != "in" && l.recs[i-1].value == nil && text(l.recs[i-1].key) == text(l.recs[i].key) {
				return true
			}
		}
	}
	return false
}
