package api

import (
	"bytes"
	"flag"
	"io"
	"sync/atomic"

	"github.com/rs/zerolog"
	"k8s.io/klog/v2"
)

// libraries takes what the Kubernetes libraries log, which is the process's: the newest server's log gets it.
var libraries sink

// The destination is set before anything runs: klog reads it without a lock.
func init() {
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	for name, value := range map[string]string{"logtostderr": "false", "alsologtostderr": "false", "stderrthreshold": "FATAL"} {
		if err := flags.Set(name, value); err != nil {
			panic(err) // a flag of klog is gone
		}
	}
	klog.SetOutputBySeverity("INFO", io.Discard)
	klog.SetOutputBySeverity("WARNING", &libraries)
	klog.SetOutputBySeverity("ERROR", &libraries)
}

// sink passes warnings and errors on, a line each.
type sink struct {
	log atomic.Pointer[zerolog.Logger]
}

// hungUp is what the libraries complain with about a client that went away in the middle of an answer, which it may.
var hungUp = []byte("stream closed")

// Write logs one line; without a server it is dropped.
func (s *sink) Write(line []byte) (int, error) {
	if log := s.log.Load(); log != nil && !bytes.Contains(line, hungUp) {
		log.Warn().Str("library", "kubernetes").Msg(string(bytes.TrimSpace(line)))
	}
	return len(line), nil
}
