//go:build race

package source

// The race detector makes inflating slow: what is large is an eighth.
const (
	hugeMegabytes = 128
	hugeZeros     = "52e65dd21c3fc2924229516cb140503b22ee21fb"
)
