package streamstest_test

import "fmt"

// winSuppressRig is the rig of the op winsuppress. sgrace tells how long the
// suppression waits, which the topology knows by itself.
func winSuppressRig(c *testCase) (*rig, error) {
	wc, err := parseWindows(c, "win", "size", "advance", "diff", "gap", "sgrace")
	if err != nil {
		return nil, err
	}
	wc.suppressed = true
	switch c.args["win"] {
	case "time":
		err = wc.aligned(c)
	case "sliding":
		err = wc.slide(c)
	case "session":
		err = wc.session(c)
	default:
		err = fmt.Errorf("unknown win=%s", c.args["win"])
	}
	r := wc.rig()
	r.cached = !wc.isSession // with a cache, a session that grows in place is one change
	return r, err
}
