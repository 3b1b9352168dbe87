package graph

import (
	"errors"
	"fmt"
	"strings"
)

// Legal says whether a name can stand in a topic name.
func Legal(name string) error {
	if name == "" {
		return errors.New("a name is empty")
	}
	if len(name) > 249 {
		return fmt.Errorf("the name %.20q... is longer than 249 bytes", name)
	}
	if name == "." || name == ".." {
		return fmt.Errorf("%q cannot be a name", name)
	}
	odd := strings.IndexFunc(name, func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		return !letter && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
	})
	if odd >= 0 {
		return fmt.Errorf("the name %q holds a character other than ASCII letters, digits, '.', '_' and '-'", name)
	}
	return nil
}
