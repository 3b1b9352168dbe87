package leveldb_test

import (
	"testing"

	"github.com/weirstream/weir/statestore"
	"github.com/weirstream/weir/statestore/leveldb"
	"github.com/weirstream/weir/statestore/storetest"
)

func TestEngine(t *testing.T) {
	storetest.Run(t, storetest.Suite{
		Engine:  func(*testing.T) statestore.Engine { return leveldb.New(leveldb.Options{}) },
		Dir:     func(t *testing.T) string { return t.TempDir() },
		Durable: true,
	})
}
