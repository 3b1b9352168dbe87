package env

import (
	"sync"
	"time"
)

// Every returns a channel that receives at an interval, dropping what is not taken, and the end of it.
func Every(clock Clock, interval time.Duration) (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	var mu sync.Mutex
	var timer Timer
	stopped := false
	mu.Lock()
	defer mu.Unlock()
	timer = clock.AfterFunc(interval, func() {
		select {
		case c <- struct{}{}:
		default:
		}
		mu.Lock()
		defer mu.Unlock()
		if !stopped {
			timer.Reset(interval)
		}
	})
	return c, func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
	}
}
