package streamstest_test

// slideWinRig is the rig of the op slidewin.
func slideWinRig(c *testCase) (*rig, error) {
	wc, err := parseWindows(c, "diff")
	if err != nil {
		return nil, err
	}
	return wc.rig(), wc.slide(c)
}
