package route

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weirstream/weir/broker/internal/commitlog"
)

func TestCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int16
	}{
		{nil, 0},
		{kerr.FencedLeaderEpoch, kerr.FencedLeaderEpoch.Code},
		{fmt.Errorf("topic x: %w", kerr.UnknownTopicID), kerr.UnknownTopicID.Code},
		{fmt.Errorf("append: %w", commitlog.ErrOffline), kerr.KafkaStorageError.Code},
		{errors.Join(errors.New("other"), commitlog.ErrTooLarge), kerr.RecordListTooLarge.Code},
		{context.Canceled, kerr.RequestTimedOut.Code},
		{fmt.Errorf("propose: %w", context.DeadlineExceeded), kerr.RequestTimedOut.Code},
		{errors.New("anything else"), kerr.UnknownServerError.Code},
	} {
		if got := Code(c.err); got != c.want {
			t.Errorf("Code(%v) = %d, want %d", c.err, got, c.want)
		}
	}
}

func TestOnlyUnexpectedErrorsAreLogged(t *testing.T) {
	var lines bytes.Buffer
	log := slog.New(slog.NewTextHandler(&lines, nil))
	if LogCode(log, commitlog.ErrOffline) != kerr.KafkaStorageError.Code || lines.Len() > 0 {
		t.Errorf("a known error was logged: %s", &lines)
	}
	if LogCode(log, errors.New("odd thing")) != kerr.UnknownServerError.Code || !strings.Contains(lines.String(), "odd thing") {
		t.Errorf("an unknown error was not logged: %s", &lines)
	}
}

// TestEverySentinelOfTheStorageIsMapped reads the sentinels from the source, so that a
// new one cannot be forgotten here.
func TestEverySentinelOfTheStorageIsMapped(t *testing.T) {
	files, err := filepath.Glob("../../commitlog/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, "_test.go") {
			names = append(names, sentinels(f)...)
		}
	}
	if len(names) != len(storage()) {
		t.Errorf("commitlog has the sentinels %v, %d are mapped", names, len(storage()))
	}
	for _, m := range storage() {
		if Code(fmt.Errorf("wrapped: %w", m.is)) != m.code.Code {
			t.Errorf("%v is not %s", m.is, m.code.Message)
		}
	}
}

// sentinels lists the package variables of a file that begin with Err.
func sentinels(f *ast.File) (names []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Err") {
			names = append(names, spec.Names[0].Name)
		}
		return true
	})
	return names
}
