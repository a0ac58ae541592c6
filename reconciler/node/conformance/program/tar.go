package program

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// archive writes one file as an archive, or files from one.
func archive(p Process, args []string) error {
	if len(args) > 0 {
		args = append([]string{strings.TrimPrefix(args[0], "-")}, args[1:]...)
	}
	switch {
	case len(args) == 3 && args[0] == "cf" && args[1] == "-":
		return pack(p, args[2])
	case len(args) == 4 && args[0] == "xmf" && args[2] == "-C":
		return unpack(p, args[3])
	case len(args) == 2 && args[0] == "xmf":
		return unpack(p, ".")
	}
	return fmt.Errorf("tar: %q is not known", args)
}

func pack(p Process, name string) error {
	data, err := os.ReadFile(p.Root + name)
	if err != nil {
		return err
	}
	w := tar.NewWriter(p.Stdout)
	if err := w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(name, "/"), Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	return w.Close()
}

func unpack(p Process, dir string) error {
	r := tar.NewReader(p.Stdin)
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			_, err = io.Copy(io.Discard, p.Stdin)
			return err
		}
		if err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg || !filepath.IsLocal(header.Name) {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(p.Root+dir, header.Name), data, 0o644); err != nil {
			return err
		}
	}
}
