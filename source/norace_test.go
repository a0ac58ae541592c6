//go:build !race

package source

// A blob of zeros that is large, and its name.
const (
	hugeMegabytes = 1024
	hugeZeros     = "4fce05a4e4ed8cefef2d99f32c519b2fd7841b74"
)
