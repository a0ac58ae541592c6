package state

import (
	"encoding/binary"
	"math"
)

// bucket is where a kind of value lies on disk.
type bucket string

const (
	bucketRows      bucket = "rows"
	bucketCommits   bucket = "commits"
	bucketCursors   bucket = "cursors"
	bucketTemplates bucket = "templates"
	bucketManaged   bucket = "managed"
	bucketHolds     bucket = "holds"
)

// diskChange is one value to be written; a nil value is taken away.
type diskChange struct {
	bucket bucket
	key    string
	value  any
}

const maxNumber = math.MaxInt64

// numberKey sorts by prefix, then by number.
func numberKey(prefix string, number int64) string {
	key := make([]byte, 0, len(prefix)+9)
	key = append(key, prefix...)
	key = append(key, 0)
	return string(binary.BigEndian.AppendUint64(key, uint64(number)))
}

func objectKey(key Key) string {
	return string(key.Kind) + "/" + key.Namespace + "/" + key.Name
}
