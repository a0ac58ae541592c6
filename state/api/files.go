package api

import (
	"errors"
	"path/filepath"

	"github.com/belay-dev/belay/state"
)

// The steps by which the server's files become durable.
const (
	// FileTokens makes the tokens, FileKubeconfig what kubectl needs.
	FileTokens     state.FilePoint = "tokens"
	FileKubeconfig state.FilePoint = "kubeconfig"
	// FileTLS makes the directory of the certificate, FileKey its key, FileCertificate the certificate itself: a key
	// without the certificate that is of it is made anew with it.
	FileTLS         state.FilePoint = "tls directory"
	FileKey         state.FilePoint = "tls key"
	FileCertificate state.FilePoint = "tls certificate"
	// FileCleared drops what a killed process left of one of these.
	FileCleared state.FilePoint = "api file cleared"
)

// clearFiles drops what a killed process left of the files of a server.
func clearFiles(files state.Files, dir string) error {
	var err error
	for _, name := range []string{"tokens", "kubeconfig", filepath.Join("tls", "server.crt"), filepath.Join("tls", "server.key")} {
		err = errors.Join(err, files.Clear(FileCleared, filepath.Join(dir, name)))
	}
	return err
}
