package verbs

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/belay-dev/belay/cmd/belay/app"
)

//go:embed site/main.go
var site []byte

// choose settles what runs the pods, and serves the images of real ones. Unless it was asked for, it is what works here.
func (d *story) choose(ctx context.Context) error {
	asked := d.runtime
	switch asked {
	case app.RuntimeSimulated:
		return nil
	case "":
		d.runtime = app.RuntimeEmbedded
	case app.RuntimeDocker, app.RuntimeEmbedded:
	default:
		return UsageError("belay demo", fmt.Errorf("unknown runtime %q: want docker, embedded or simulated", asked))
	}
	var err error
	if d.runtime == app.RuntimeEmbedded {
		err = app.Embeddable(d.dir)
	}
	if err == nil {
		err = d.build(ctx)
	}
	if err == nil || asked != "" || ctx.Err() != nil {
		return err
	}
	d.say("Pods are simulated, for real ones cannot run here: %v\n\n", err)
	d.runtime = app.RuntimeSimulated
	return nil
}

// build makes the images of the first two versions: a tiny program in the place of the real thing, and a registry for it.
func (d *story) build(ctx context.Context) error {
	compiler, err := exec.LookPath("go")
	if err != nil {
		return errors.New("go is not installed, which builds the images")
	}
	dir := filepath.Join(d.dir, "site")
	source, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "site")
	err = os.Mkdir(dir, 0o755)
	if err == nil {
		err = os.WriteFile(source, site, 0o644)
	}
	if err != nil {
		return fmt.Errorf("build the images: %w", err)
	}
	cmd := exec.CommandContext(ctx, compiler, "build", "-trimpath", "-ldflags=-s -w", "-o", program, source)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the images: %w\n%s", err, out)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		return fmt.Errorf("build the images: %w", err)
	}
	images, err := app.ServeImages()
	if err != nil {
		return err
	}
	for _, tag := range []string{"1.43.5", "1.44.2"} {
		if err := images.Push(ctx, "mediawiki", tag, data, "SITE=mediawiki "+tag); err != nil {
			return errors.Join(err, images.Close())
		}
	}
	if d.port, err = freePort(); err != nil {
		return errors.Join(err, images.Close())
	}
	d.images = images
	d.say("A registry on this machine has two tiny images, in the place of mediawiki's: %s and %s\n\n", d.image("1.43.5"), d.image("1.44.2"))
	return nil
}

// image is the name of a version's image.
func (d *story) image(tag string) string {
	if d.images == nil {
		return "mediawiki:" + tag
	}
	return d.images.Ref("mediawiki", tag)
}

// visits are the requests of somebody who uses what the demo deploys, all the while.
type visits struct {
	stop    context.CancelFunc
	going   sync.WaitGroup
	good    atomic.Int64
	failed  atomic.Int64
	mistake atomic.Pointer[error] // the first
}

// visitPause is between two requests.
const visitPause = 10 * time.Millisecond

// visit begins to ask the Service, once it answers; with simulated pods nobody does.
func (d *story) visit(ctx context.Context) error {
	if d.images == nil {
		return nil
	}
	address := fmt.Sprintf("http://127.0.0.1:%d/", d.port)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	var answer string
	var err error
	for answer == "" {
		if answer, err = request(ctx, client, address); ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			<-time.After(visitPause)
		}
	}
	d.say("$ curl %s\n%sSomebody goes on asking, with a connection for each request.\n", address, answer)
	ctx, cancel := context.WithCancel(ctx)
	v := &visits{stop: cancel}
	v.going.Go(func() {
		for ctx.Err() == nil {
			_, err := request(ctx, client, address)
			switch {
			case err == nil:
				v.good.Add(1)
			case ctx.Err() == nil:
				v.failed.Add(1)
				v.mistake.CompareAndSwap(nil, &err)
			}
			select {
			case <-time.After(visitPause):
			case <-ctx.Done():
			}
		}
	})
	d.visits = v
	return nil
}

func request(ctx context.Context, client *http.Client, address string) (string, error) {
	asked, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	answer, err := client.Do(asked)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	return string(text), err
}

// freePort finds a node port that nobody listens on.
func freePort() (int, error) {
	const first, last = 30000, 32767 // of node ports
	for port := last; port >= first; port-- {
		if l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("no port of this machine is free for the Service")
}

// end ends the requests.
func (v *visits) end() {
	if v != nil {
		v.stop()
		v.going.Wait()
	}
}

// tell says how they went.
func (v *visits) tell(out io.Writer) {
	if v == nil {
		return
	}
	fmt.Fprintf(out, "\nMeanwhile: %d requests, %d failed\n", v.good.Load()+v.failed.Load(), v.failed.Load())
	if err := v.mistake.Load(); err != nil {
		fmt.Fprintf(out, "the first of them: %v\n", *err)
	}
}
