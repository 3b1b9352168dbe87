package window

import "fmt"

// EmitStrategy says when the rows of windows go on.
type EmitStrategy int

// The strategies.
const (
	OnWindowUpdate EmitStrategy = iota
	OnWindowClose
)

// CheckEmit says what is wrong with a strategy for windows with that grace.
func CheckEmit(e EmitStrategy, endless bool) error {
	switch {
	case e != OnWindowUpdate && e != OnWindowClose:
		return fmt.Errorf("%w: no emit strategy is %d", ErrWindow, e)
	case e == OnWindowClose && endless:
		return fmt.Errorf("%w: they never close, so nothing would be emitted", ErrWindow)
	default:
		return nil
	}
}
