// Package quota says how much a client may do before it has to wait.
package quota

import "time"

// Kind is what a quota counts.
type Kind int

// The kinds of quotas of Kafka.
const (
	ProduceBytes        Kind = iota // producer_byte_rate: bytes
	FetchBytes                      // consumer_byte_rate: bytes
	RequestTime                     // request_percentage: seconds of handler time
	ControllerMutations             // controller_mutation_rate: partitions created or deleted
)

// Unlimited throttles nobody.
type Unlimited struct{}

// Charge returns 0.
func (Unlimited) Charge(string, string, Kind, float64) time.Duration { return 0 }
