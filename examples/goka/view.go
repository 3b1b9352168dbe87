package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/lovoo/goka"
)

// await waits until the view has counted that many clicks.
func await(ctx context.Context, view *goka.View, want int) error {
	return poll(ctx, func() (bool, error) {
		got, err := total(view)
		return got >= want, err
	})
}

// each walks the rows of the view.
func each(view *goka.View, f func(user string, v visits) error) error {
	it, err := view.Iterator()
	if err != nil {
		return err
	}
	defer it.Release()
	for it.Next() {
		value, err := it.Value()
		if err != nil {
			return err
		}
		v, ok := value.(visits)
		if !ok {
			return fmt.Errorf("%s has a %T", it.Key(), value)
		}
		if err := f(it.Key(), v); err != nil {
			return err
		}
	}
	return it.Err()
}

func total(view *goka.View) (n int, err error) {
	return n, each(view, func(_ string, v visits) error {
		n += v.Clicks
		return nil
	})
}

func show(view *goka.View, asJSON bool, w io.Writer) error {
	return each(view, func(user string, v visits) error {
		if asJSON {
			return json.NewEncoder(w).Encode(map[string]any{"user": user, "clicks": v.Clicks, "region": v.Region})
		}
		_, err := fmt.Fprintf(w, "%-10s %6d clicks from %s\n", user, v.Clicks, v.Region)
		return err
	})
}
