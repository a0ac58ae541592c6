package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sys/unix"
)

// unpackLayer fetches one layer and writes it.
func unpackLayer(ctx context.Context, u *unpacker, l v1.Layer) error {
	r, err := l.Uncompressed()
	if err != nil {
		return err
	}
	content := archive{ctx, r, u}
	if err = u.layer(content); err == nil { // the digest is checked at the end of the layer, beyond that of its archive
		_, err = io.Copy(io.Discard, content)
	}
	return errors.Join(err, r.Close())
}

// layerClass says what kind of thing keeps a layer from being unpacked. Whatever is not known better is the layer's own fault.
func layerClass(err error) Class {
	for _, full := range []error{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO} {
		if errors.Is(err, full) {
			return Disk
		}
	}
	if _, ok := errors.AsType[*transport.Error](err); ok {
		if told, ok := errors.AsType[*PullError](classify(err)); ok {
			return told.Class
		}
	}
	if _, ok := errors.AsType[*net.OpError](err); ok { // an error of the system's is a net.Error too, wherever it is from
		return Network
	}
	return Corrupt
}

// layerError names the layer. What a layer says itself can be as long as it likes, and is cut.
func layerError(err error, l v1.Layer, i, of int) error {
	const part = 500 // of the beginning, and of the end
	name := "?"
	if digest, known := l.Digest(); known == nil {
		name = digest.String()
	}
	if text := err.Error(); len(text) > 2*part {
		err = errors.New(strings.ToValidUTF8(text[:part]+" … "+text[len(text)-part:], "?"))
	}
	return fmt.Errorf("layer %d of %d (%s): %w", i+1, of, name, err)
}
