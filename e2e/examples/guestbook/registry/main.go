// Command registry serves the images of the guestbook on this machine until it is interrupted, to be pulled by whatever runs
// the example's pods. It owns nothing of Belay's, takes nothing that is pushed, and never leaves the example.
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

const address = "127.0.0.1:5001" // as the manifests name it

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return errors.New("usage: registry PROGRAM, which is built of ../image without cgo")
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	program, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	blobs := map[string][]byte{} // by the path that they are asked at
	for _, name := range []string{"guestbook", "redis"} {
		if err := add(blobs, name, program); err != nil {
			return err
		}
		fmt.Fprintf(os.Stdout, "%s/%s:1\n", address, name)
	}
	fmt.Fprintln(os.Stdout, "serving until Ctrl-C")
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		blob, ok := blobs[r.URL.Path]
		switch {
		case r.URL.Path == "/v2/":
		case !ok:
			http.NotFound(w, r)
		default:
			w.Header().Set("Content-Type", "application/octet-stream")
			if filepath.Base(filepath.Dir(r.URL.Path)) == "manifests" {
				w.Header().Set("Content-Type", manifestType)
				w.Header().Set("Docker-Content-Digest", digest(blob))
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(blob))
		}
	})}
	return server.Serve(l)
}

// What an image consists of, as the Open Container Initiative has it.
const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
)

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int    `json:"size"`
}

type config struct {
	Architecture string         `json:"architecture"`
	OS           string         `json:"os"`
	Config       map[string]any `json:"config"`
	RootFS       struct {
		Type  string   `json:"type"`
		Diffs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

// add makes an image with the program under the name that it is called by.
func add(blobs map[string][]byte, name string, program []byte) error {
	put := func(mediaType string, data []byte) descriptor {
		d := descriptor{mediaType, digest(data), len(data)}
		blobs["/v2/"+name+"/blobs/"+d.Digest] = data
		return d
	}
	var layer bytes.Buffer
	archive := tar.NewWriter(&layer)
	if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(program))}); err != nil {
		return err
	}
	if _, err := archive.Write(program); err != nil {
		return err
	}
	if err := archive.Close(); err != nil {
		return err
	}
	c := config{Architecture: runtime.GOARCH, OS: "linux", Config: map[string]any{"Entrypoint": []string{"/" + name}}}
	c.RootFS.Type, c.RootFS.Diffs = "layers", []string{digest(layer.Bytes())}
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	m, err := json.Marshal(manifest{
		SchemaVersion: 2, MediaType: manifestType, Config: put(configType, text), Layers: []descriptor{put(layerType, layer.Bytes())},
	})
	if err != nil {
		return err
	}
	blobs["/v2/"+name+"/manifests/1"], blobs["/v2/"+name+"/manifests/"+digest(m)] = m, m
	return nil
}

func digest(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }
