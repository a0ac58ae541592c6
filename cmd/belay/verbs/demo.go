package verbs

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/cmd/belay/app"
	"github.com/belay-dev/belay/cmd/belay/control"
)

//go:embed mediawiki.yaml
var mediawiki string

// The commits of the demo's story.
const (
	firstCommit  = "Primer despliegue. Desplegamos versión 1.43.5"
	secondCommit = "Segundo despliegue. Actualizamos a la versión 1.44.2"
	thirdCommit  = "Tercer despliegue. Actualizamos a la versión 2"
)

// demo tells the whole story on a repository of its own.
func (e *env) demo() *cobra.Command {
	var exit bool
	var runtime string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show it all: push, rollout, a bad image, rollback",
		Long: "Make a Git repository in a temporary directory, serve it as `belay serve` would, and push to it: a first version,\n" +
			"a second one, and one whose image does not exist. Then go back with kubectl's command, which Git is told of.\n" +
			"The pods are real: tiny images are built with go, served by a registry in this process, and run in namespaces of\n" +
			"Linux; where that cannot be, pods are simulated. Needs git. Nothing is left behind.",
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.runDemo(cmd.Context(), exit, app.Runtime(runtime))
		},
	}
	cmd.Flags().BoolVar(&exit, "exit", false, "end after the story instead of going on serving")
	cmd.Flags().StringVar(&runtime, "runtime", "", "what runs the pods: docker, embedded or simulated (default embedded where this machine lets it)")
	return cmd
}

// story is the demo at work: a bare remote, a clone of it as a developer has one, and a service.
type story struct {
	e       *env
	dir     string
	client  *control.Client
	runtime app.Runtime
	images  *app.Images // nil: pods are simulated
	port    int         // of this machine, for the Service; 0: any
	visits  *visits     // nil: pods are simulated
}

func (e *env) runDemo(ctx context.Context, exit bool, runtime app.Runtime) (err error) {
	if _, err := exec.LookPath("git"); err != nil {
		return errors.New("git is not installed; the demo pushes real commits")
	}
	dir, err := os.MkdirTemp("", "belay-demo-")
	if err != nil {
		return fmt.Errorf("make a directory for the demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	inside := *e
	inside.uncaught = func() {} // an interrupt ends the whole story
	d := &story{e: &inside, dir: dir, runtime: runtime}
	if err := d.choose(ctx); err != nil {
		return err
	}
	if d.images != nil {
		defer func() { err = errors.Join(err, d.images.Close()) }()
	}
	if err := d.prepare(ctx); err != nil {
		return err
	}
	stop, err := d.serve(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	defer d.client.Close()
	if err := d.tell(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // interrupted
		}
		return err
	}
	if exit {
		return nil
	}
	belay := "belay"
	if self, err := os.Executable(); err == nil && strings.Contains(self, "go-build") {
		belay = "go run ./cmd/belay"
	}
	d.say("\nBelay goes on serving until you press Ctrl-C. Try, in another terminal:\n  export BELAY_DATA_DIR=%s\n", d.data())
	for _, try := range []string{"status", "history deploy/mediawiki", "get pods", "plan deploy/mediawiki --replicas 4"} {
		d.say("  %s %s\n", belay, try)
	}
	d.say("or push something yourself:\n  cd %s\n  git commit --allow-empty -m hello && git push\n", d.clone())
	<-ctx.Done()
	return nil
}

func (d *story) remote() string { return filepath.Join(d.dir, "wiki.git") }
func (d *story) clone() string  { return filepath.Join(d.dir, "wiki") }
func (d *story) data() string   { return filepath.Join(d.dir, "data") }

func (d *story) say(format string, args ...any) { fmt.Fprintf(d.e.out, format, args...) }

// prepare makes the remote and the clone.
func (d *story) prepare(ctx context.Context) error {
	d.say("A remote, and a clone of it:\n")
	if err := d.git(ctx, d.dir, "init", "--quiet", "--bare", "--initial-branch=main", d.remote()); err != nil {
		return err
	}
	if err := d.quiet(ctx, d.dir, "init", "--quiet", "--initial-branch=main", d.clone()); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"remote", "add", "origin", d.remote()},
		{"config", "user.name", "Demo"}, {"config", "user.email", "demo@example.com"}, {"config", "commit.gpgsign", "false"},
		{"config", "push.autoSetupRemote", "true"}, {"config", "push.default", "current"},
	} {
		if err := d.quiet(ctx, d.clone(), args...); err != nil {
			return err
		}
	}
	return nil
}

// serve starts the service as `belay serve` does. Where pods are simulated, so is a registry that lacks mediawiki:2. stop
// waits for its end, and leaves no pod behind.
func (d *story) serve(ctx context.Context) (stop func() error, err error) {
	if err := d.commit(ctx, "1.43.5", firstCommit); err != nil {
		return nil, err
	}
	flags := app.Flags{
		Repo: d.remote(), Interval: time.Second, Runtime: string(d.runtime), Push: true, Listen: "127.0.0.1:0",
	}
	d.say("\n$ belay serve --repo %s --interval 1s --push --runtime %s", flags.Repo, d.runtime)
	if d.images == nil {
		flags.Simulate = []string{"mediawiki:2=missing", "delay=400ms"}
		d.say(" --simulate %s", strings.Join(flags.Simulate, " --simulate "))
	}
	d.say("\n")
	c, err := app.ReadConfig("", flags)
	if err != nil {
		return nil, err
	}
	serving, cancel := context.WithCancel(ctx)
	service := app.New(c, d.data(), zerolog.Nop())
	service.API = d.e.api
	ended := make(chan error, 1)
	var wg sync.WaitGroup
	wg.Go(func() { ended <- service.Run(serving) })
	stop = func() error {
		cancel()
		wg.Wait()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return errors.Join(<-ended, service.RemovePods(end))
	}
	select {
	case <-service.Ready():
	case err := <-ended:
		cancel()
		return nil, fmt.Errorf("serve: %w", err)
	}
	d.e.dataDir = d.data()
	d.client, err = d.e.client()
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	return stop, nil
}

// tell goes through the story.
func (d *story) tell(ctx context.Context) error {
	if err := d.show(ctx, "sync", "--wait"); err != nil {
		return err
	}
	if err := d.visit(ctx); err != nil {
		return err
	}
	defer d.visits.end()
	d.say("\nThe second version:\n")
	if err := d.commit(ctx, "1.44.2", secondCommit); err != nil {
		return err
	}
	if err := errors.Join(d.show(ctx, "sync", "--wait"), d.show(ctx, "rollout", "status", "deploy/mediawiki")); err != nil {
		return err
	}
	d.say("\nThe third one names an image that does not exist:\n")
	if err := d.commit(ctx, "2", thirdCommit); err != nil {
		return err
	}
	if err := errors.Join(d.show(ctx, "sync"), d.stuck(ctx)); err != nil {
		return err
	}
	d.say("\nIt is stuck, and the pod of 1.44.2 still serves:\n")
	if err := errors.Join(d.show(ctx, "get", "pods"), d.show(ctx, "status")); err != nil {
		return err
	}
	d.say("\nGo back at once, as with kubectl, whatever Git says:\n")
	err := errors.Join(
		d.show(ctx, "rollout", "undo", "deploy/mediawiki"), d.show(ctx, "rollout", "status", "deploy/mediawiki"), d.show(ctx, "get", "pods"),
	)
	if err != nil {
		return err
	}
	d.say("\nGit is told, by a commit that reverts the bad one:\n")
	err = errors.Join(
		d.reverted(ctx), d.quiet(ctx, d.clone(), "pull", "--quiet", "--ff-only"), d.print(ctx, d.clone(), "log", "--stat", "-1", "--format=%h %an: %s"),
	)
	if err != nil {
		return err
	}
	d.say("\nThat ends the hold; nothing rolls, for what Git wants runs already:\n")
	err = errors.Join(d.show(ctx, "sync", "--wait"), d.show(ctx, "holds"))
	if err != nil {
		return err
	}
	d.say("\nRevision 2 came back as 4, as Kubernetes numbers it, and every commit has its outcome:\n")
	err = errors.Join(d.show(ctx, "rollout", "history", "deploy/mediawiki"), d.show(ctx, "history", "deploy/mediawiki"))
	if err != nil {
		return err
	}
	d.visits.end()
	d.visits.tell(d.e.out)
	return nil
}

// reverted waits until the remote's branch ends with a commit that nobody made here.
func (d *story) reverted(ctx context.Context) error {
	const pause = 50 * time.Millisecond
	for {
		mine, err := d.read(ctx, d.clone(), "rev-parse", "HEAD")
		if err != nil {
			return err
		}
		there, err := d.read(ctx, d.remote(), "rev-parse", "main")
		if err != nil || there != mine {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// commit writes the manifest with an image tag, commits and pushes it.
func (d *story) commit(ctx context.Context, tag, message string) error {
	file := filepath.Join(d.clone(), "mediawiki-deployment.yaml")
	text := strings.Replace(mediawiki, "mediawiki:1.43.5", d.image(tag), 1)
	if d.port != 0 {
		text += fmt.Sprintf("    nodePort: %d\n", d.port)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	if err := d.quiet(ctx, d.clone(), "add", "."); err != nil {
		return err
	}
	return errors.Join(
		d.git(ctx, d.clone(), "commit", "--quiet", "-m", message),
		d.git(ctx, d.clone(), "push", "--quiet"),
	)
}

// stuck waits until a pod says that its image cannot be pulled.
func (d *story) stuck(ctx context.Context) error {
	for q := (control.ObjectQuery{Kind: "Pod", Namespace: "default"}); ; {
		pods, err := d.client.Objects(ctx, q)
		if err != nil {
			return err
		}
		for _, item := range pods.Items {
			var p corev1.Pod
			if err := json.Unmarshal(item, &p); err != nil {
				return err
			}
			for _, c := range p.Status.ContainerStatuses {
				if w := c.State.Waiting; w != nil && (w.Reason == "ErrImagePull" || w.Reason == "ImagePullBackOff") {
					return nil
				}
			}
		}
		q.After = pods.Version
	}
}

// show runs one of Belay's own verbs as a person would. Its exit status is part of the story, not an error.
func (d *story) show(ctx context.Context, args ...string) error {
	d.say("$ belay %s\n", strings.Join(quoted(args), " "))
	root := d.e.root(args)
	err := root.ExecuteContext(ctx)
	if exit := (*ExitError)(nil); errors.As(err, &exit) && exit.Err == nil {
		return nil
	}
	return err
}

// quoted are arguments as a shell takes them.
func quoted(args []string) []string {
	out := slices.Clone(args)
	for i, a := range out {
		if strings.Contains(a, " ") {
			out[i] = `"` + a + `"`
		}
	}
	return out
}

// git shows a git command and what it prints.
func (d *story) git(ctx context.Context, dir string, args ...string) error {
	shown := slices.DeleteFunc(quoted(args), func(a string) bool { return a == "--quiet" })
	d.say("$ git %s\n", strings.Join(shown, " "))
	return d.quiet(ctx, dir, args...)
}

// print shows a git command and what it prints.
func (d *story) print(ctx context.Context, dir string, args ...string) error {
	out, err := d.read(ctx, dir, args...)
	d.say("$ git %s\n%s\n", strings.Join(quoted(args), " "), out)
	return err
}

// quiet runs a git command; what it prints is shown only when it fails.
func (d *story) quiet(ctx context.Context, dir string, args ...string) error {
	_, err := d.read(ctx, dir, args...)
	return err
}

// read runs a git command and returns what it prints.
func (d *story) read(ctx context.Context, dir string, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull, "GIT_TERMINAL_PROMPT=0")
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w\n%s", strings.Join(args, " "), err, out.String())
	}
	return strings.TrimSpace(out.String()), nil
}
