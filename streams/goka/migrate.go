package goka

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/lovoo/goka/storage"
	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
)

// gokaOffset is the key under which goka's own storage keeps the offset, as a decimal.
const gokaOffset = "__offset"

// Migrate copies a table partition that goka kept with its default storage, the folder
// "<path>/<topic>.<partition>", into another storage, with its offset, and returns how
// many rows that were. The folder is only read; no application may have it open. The
// target is to be empty: rows that only it has stay.
func Migrate(dir string, to storage.Storage) (rows int, err error) {
	db, err := leveldb.OpenFile(dir, &opt.Options{ReadOnly: true, ErrorIfMissing: true})
	if err != nil {
		return 0, fmt.Errorf("open goka's table %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	it := db.NewIterator(nil, nil)
	defer it.Release()
	offset, known := int64(0), false
	for it.Next() {
		if string(it.Key()) == gokaOffset {
			if offset, err = strconv.ParseInt(string(it.Value()), 10, 64); err != nil {
				return rows, fmt.Errorf("offset of goka's table %s: %w", dir, err)
			}
			known = true
			continue
		}
		if err := to.Set(string(it.Key()), append([]byte{}, it.Value()...)); err != nil {
			return rows, err
		}
		rows++
	}
	if err := it.Error(); err != nil {
		return rows, fmt.Errorf("read goka's table %s: %w", dir, err)
	}
	if !known {
		return rows, nil // goka reads the whole topic then
	}
	return rows, errors.Join(to.SetOffset(offset), to.MarkRecovered())
}
