package docker

import (
	"context"
	"errors"
	"testing"

	"github.com/belay-dev/belay/reconciler/node/image"
)

// TestClassify has what engines say of pulls.
func TestClassify(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]image.Class{
		"manifest for 127.0.0.1:5000/app:2 not found: manifest unknown: Unknown manifest":                             image.NotFound,
		"Get \"http://127.0.0.1:5000/v2/\": dial tcp 127.0.0.1:5000: connect: connection refused":                     image.Network,
		"Head \"http://127.0.0.1:5000/v2/app/manifests/1\": no basic auth credentials":                                image.Denied,
		"toomanyrequests: You have reached your pull rate limit.":                                                     image.RateLimit,
		"filesystem layer verification failed for digest sha256:9074aa56fe63760455a3839e6d00200b65cb57986268aaf616f3": image.Corrupt,
		"failed to register layer: Error processing tar file(exit status 1): unexpected EOF":                          image.Corrupt,
		"failed to register layer: Error processing tar file(exit status 1): write /program: no space left on device": image.Disk,
		"write /var/lib/docker/tmp/GetImageBlob1234: no space left on device":                                         image.Disk,
		"something else": image.Unknown,
	} {
		if pull, ok := errors.AsType[*image.PullError](classify(errors.New(text))); !ok || pull.Class != want {
			t.Errorf("%s: %+v, want class %s", text, pull, want)
		}
	}
	if err := classify(context.Canceled); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := classify(nil); err != nil {
		t.Error(err)
	}
}
