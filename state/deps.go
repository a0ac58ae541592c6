//go:build deps

package state
import (
 _ "go.etcd.io/bbolt"
 _ "k8s.io/api/apps/v1"
)
