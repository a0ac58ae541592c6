//go:build race

package manifests

const raceDetector = true
