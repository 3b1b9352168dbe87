package pebble

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	"github.com/weirstream/weir/statestore"
)

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	l := logger{slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo}))}
	l.Infof("flushed %d", 1)
	l.Errorf("lost %d", 2)
	if got := out.String(); strings.Contains(got, "flushed") || !strings.Contains(got, `level=ERROR msg=pebble message="lost 2"`) {
		t.Errorf("logged %q", got)
	}
	defer func() {
		if p := recover(); p != "bug: pebble: gone 3" {
			t.Errorf("panic %v", p)
		}
	}()
	l.Fatalf("gone %d", 3)
}

func TestLockErrors(t *testing.T) {
	for err, inUse := range map[error]bool{
		syscall.EAGAIN:                  true,
		errors.New("lock held already"): true,
		syscall.EACCES:                  false,
		syscall.EROFS:                   false,
	} {
		got := lockError("/state", err)
		if errors.Is(got, statestore.ErrInUse) != inUse || !errors.Is(got, err) {
			t.Errorf("%v became %v", err, got)
		}
	}
}
