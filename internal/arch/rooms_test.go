package arch

import "slices"

// rooms is the import table of the house: every package of the tree, what it
// may import of ours beside the ground, and whether it is pure.
func rooms() map[string]Room {
	const b = "broker/internal/"
	return merge(
		map[string]Room{
			"internal/arch":       {},
			"internal/env":        {},
			"internal/config":     {},
			"internal/telemetry":  {},
			"internal/compress":   {},
			"internal/deadletter": {Pure: true},
		},
		map[string]Room{
			"broker":                   {May: []string{b + "..."}},
			"broker/logdir":            {May: []string{b + "commitlog/...", b + "record", b + "producer", b + "machine/field", b + "metadata"}},
			"broker/nullbroker":        {May: []string{b + "record", b + "wire"}},
			b + "server":               {May: []string{b + "api", b + "api/route", b + "auth", b + "quota", b + "wire"}},
			b + "admin":                {May: []string{b + "metadata"}},
			b + "wire":                 {},
			b + "api":                  {May: []string{b + "api/..."}},
			b + "api/route":            {May: []string{b + "commitlog", b + "metadata", b + "auth", b + "quota", b + "wire"}},
			b + "api/data":             {May: apiRooms()},
			b + "api/group":            {May: apiRooms()},
			b + "api/txn":              {May: apiRooms()},
			b + "api/admin":            {May: apiRooms()},
			b + "fetchsession":         {Pure: true},
			b + "machine":              {Pure: true},
			b + "machine/field":        {Pure: true},
			b + "machine/machinetest":  {May: []string{b + "machine"}},
			b + "group":                {May: []string{b + "machine", b + "machine/field", b + "metadata"}, Pure: true},
			b + "txn":                  {May: []string{b + "machine", b + "machine/field", b + "metadata"}, Pure: true},
			b + "coordinator":          {May: []string{b + "machine", b + "record"}},
			b + "producer":             {May: []string{b + "record"}, Pure: true},
			b + "partition":            {May: []string{b + "replica", b + "producer", b + "commitlog", b + "record"}},
			b + "commitlog":            {May: []string{b + "commitlog/...", b + "record"}},
			b + "commitlog/aborted":    {May: []string{b + "commitlog/layout"}},
			b + "commitlog/cleaner":    {May: []string{b + "commitlog/layout", b + "record"}, Pure: true},
			b + "commitlog/epochs":     {May: []string{b + "commitlog/layout"}},
			b + "commitlog/checkpoint": {May: []string{b + "commitlog/layout"}},
			b + "commitlog/layout":     {Pure: true},
			b + "commitlog/segment":    {May: []string{b + "commitlog/layout", b + "record"}},
			b + "record":               {May: []string{"internal/compress"}, Pure: true},
			b + "metadata":             {Pure: true},
			b + "controller":           {May: []string{b + "metadata", b + "peer", b + "commitlog", b + "record"}},
			b + "auth":                 {May: []string{b + "metadata"}},
			b + "quota":                {May: []string{b + "metadata"}},
		},
		map[string]Room{
			"streams":                  {May: []string{"streams/internal/...", "streams/processor", "streams/serde", "statestore", "statestore/pebble"}},
			"streams/internal/app":     {May: []string{"streams/internal/assign", "streams/internal/client", "streams/internal/graph", "streams/internal/runtime", "streams/processor", "statestore", "statestore/pebble"}},
			"streams/internal/op":      {May: []string{"streams/processor", "streams/serde", "statestore"}},
			"streams/internal/window":  {May: []string{"streams/internal/graph", "streams/internal/op"}},
			"streams/internal/wiring":  {May: []string{"streams/internal/graph", "streams/internal/op", "streams/processor", "streams/serde"}},
			"streams/internal/graph":   {Pure: true},
			"streams/internal/assign":  {May: []string{"streams/processor"}, Pure: true},
			"streams/internal/runtime": {May: []string{"streams/internal/assign", "streams/internal/graph", "streams/processor", "streams/serde", "statestore"}},
			"streams/internal/client":  {May: []string{"streams/internal/assign", "streams/internal/runtime"}},
			"streams/processor":        {May: []string{"statestore"}, Pure: true},
			"streams/serde":            {Pure: true},
			"streams/query":            {May: []string{"streams/internal/op", "streams/processor", "streams/serde", "statestore"}},
			"streams/streamstest":      {May: []string{"streams", "streams/...", "statestore", "statestore/leveldb"}},
			"streams/goka":             {May: []string{"streams/...", "statestore", "statestore/leveldb"}},
			"statestore":               {},
			"statestore/pebble":        {May: []string{"statestore"}},
			"statestore/leveldb":       {May: []string{"statestore"}},
			"statestore/storetest":     {May: []string{"statestore"}},
		},
		map[string]Room{
			"bench":                      {May: []string{"streams", "streams/serde"}},
			"cmd/weir":                   {May: []string{"bench", "broker", "broker/logdir", "broker/nullbroker", "streams", "statestore/..."}},
			"examples/goka":              {May: []string{"examples/internal/embedded", "broker", "streams/...", "statestore/..."}},
			"examples/internal/embedded": {May: []string{"broker"}},
			"examples/pv-uv":             {May: []string{"examples/internal/embedded", "broker", "streams/...", "statestore/..."}},
		},
	)
}

// apiRooms are what an API handler may ask.
func apiRooms() []string {
	const b = "broker/internal/"
	rooms := []string{"api/route", "coordinator", "group", "txn", "partition", "metadata", "fetchsession", "record", "wire"}
	for i := range rooms {
		rooms[i] = b + rooms[i]
	}
	return rooms
}

func merge(tables ...map[string]Room) map[string]Room {
	all := map[string]Room{}
	for _, table := range tables {
		for path, room := range table {
			room.May = slices.Clip(room.May)
			all[path] = room
		}
	}
	return all
}
