package bench

import "golang.org/x/sys/unix"

// freeBytes is the space left for data in a directory.
func freeBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	err := unix.Statfs(dir, &s)
	return int64(s.Bavail) * s.Bsize, err
}
