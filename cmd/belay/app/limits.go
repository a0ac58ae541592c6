package app

import (
	"fmt"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/belay-dev/belay/source"
)

// Limits bound what a repository may cost. Whoever can push to one could fill the disk or the memory otherwise.
type Limits struct {
	// Pack is the largest pack that one fetch may bring.
	Pack Size `yaml:"pack"`
	// Blob is the largest file that is read.
	Blob Size `yaml:"blob"`
	// Files is the largest number of files and directories of one commit.
	Files int `yaml:"files"`
	// Depth is the largest number of directories of a path, the file included.
	Depth int `yaml:"depth"`
}

// DefaultLimits returns the limits of an empty file.
func DefaultLimits() Limits {
	d := source.DefaultLimits()
	return Limits{Pack: Size(d.PackBytes), Blob: Size(d.BlobBytes), Files: d.Entries, Depth: d.Depth}
}

func (l Limits) source() source.Limits {
	return source.Limits{PackBytes: int64(l.Pack), BlobBytes: int64(l.Blob), Entries: l.Files, Depth: l.Depth}
}

// Size is a number of bytes, written as Kubernetes writes quantities: 512Mi, 2Gi, 500M.
type Size int64

// UnmarshalYAML reads a quantity.
func (s *Size) UnmarshalYAML(n *yaml.Node) error {
	q, err := resource.ParseQuantity(n.Value)
	if err != nil {
		return err
	}
	*s = Size(q.Value())
	return nil
}

// String writes it as it is read.
func (s Size) String() string { return resource.NewQuantity(int64(s), resource.BinarySI).String() }

// What limits may be: no less than any repository needs, no more than is read with care.
const (
	minPack, maxPack   = Size(1 << 20), Size(1 << 40)
	minBlob, maxBlob   = Size(1 << 10), Size(1 << 30)
	minFiles, maxFiles = 100, 10_000_000
	minDepth, maxDepth = 4, 1024
)

func (v *validator) limits(l Limits) {
	for _, row := range []struct {
		key         string
		ok          bool
		least, most any
	}{
		{"pack", l.Pack >= minPack && l.Pack <= maxPack, minPack, maxPack},
		{"blob", l.Blob >= minBlob && l.Blob <= maxBlob, minBlob, maxBlob},
		{"files", l.Files >= minFiles && l.Files <= maxFiles, minFiles, maxFiles},
		{"depth", l.Depth >= minDepth && l.Depth <= maxDepth, minDepth, maxDepth},
	} {
		if !row.ok {
			v.add("limits."+row.key, "must be %s to %s", fmt.Sprint(row.least), fmt.Sprint(row.most))
		}
	}
}
