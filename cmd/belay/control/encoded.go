package control

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
)

// EncodedStatus is a Status on its way out. Its Deployments are the JSON of one each, which nobody changes: thousands are
// encoded once, and not whenever somebody asks.
type EncodedStatus struct {
	Sources     []Source
	Apps        []App
	Deployments [][]byte
	Problems    []Problem
}

// AppendJSON adds the Status to a buffer, as its client reads it.
func (s EncodedStatus) AppendJSON(b []byte) ([]byte, error) {
	sources, err := json.Marshal(s.Sources)
	if err != nil {
		return nil, fmt.Errorf("encode sources: %w", err)
	}
	apps, err := json.Marshal(s.Apps)
	if err != nil {
		return nil, fmt.Errorf("encode apps: %w", err)
	}
	problems, err := json.Marshal(s.Problems)
	if err != nil {
		return nil, fmt.Errorf("encode problems: %w", err)
	}
	b = append(append(b, `{"sources":`...), sources...)
	b = append(append(b, `,"apps":`...), apps...)
	b = append(b, `,"deployments":[`...)
	for i, d := range s.Deployments {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, d...)
	}
	b = append(append(b, `],"problems":`...), problems...)
	return append(b, "}\n"...), nil
}

// buffers are those of answers that are gone.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// status answers with a Status in one piece.
func status(r Reader) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		s, err := r.Status(req.Context())
		if err != nil {
			writeError(w, err)
			return
		}
		buffer := buffers.Get().(*[]byte)
		defer buffers.Put(buffer)
		text, err := s.AppendJSON((*buffer)[:0])
		if err != nil {
			writeError(w, err)
			return
		}
		*buffer = text
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		_, _ = w.Write(text) // the client is gone: nobody to tell
	})
}
