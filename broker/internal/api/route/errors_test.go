package route

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
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
	packages, err := parser.ParseDir(token.NewFileSet(), "../../commitlog", func(f fs.FileInfo) bool {
		return !strings.HasSuffix(f.Name(), "_test.go")
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range packages {
		for _, f := range p.Files {
			for _, decl := range f.Decls {
				if d, ok := decl.(*ast.GenDecl); ok && d.Tok == token.VAR {
					for _, spec := range d.Specs {
						for _, name := range spec.(*ast.ValueSpec).Names {
							if strings.HasPrefix(name.Name, "Err") {
								names = append(names, name.Name)
							}
						}
					}
				}
			}
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
