package app

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/belay-dev/belay/cmd/belay/control"
	"github.com/belay-dev/belay/source/trigger"
)

// Reload says where the configuration of a service comes from when it changes.
type Reload struct {
	// Load reads it; nil: it cannot change.
	Load func() (Config, error)
	// File is the file that it is in, which is watched; empty: flags.
	File string
	// Asked receives a value when somebody wants everything to be read again.
	Asked <-chan os.Signal
}

// Reasons of problems of a configuration.
const (
	reasonRefused = "ConfigurationRefused"
	reasonRestart = "RestartNeeded"
	reasonTokens  = "TokensRefused"
)

// run looks at the sources, and takes up every configuration that comes, until ctx ends.
func (f *following) run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	f.begin(ctx, &wg)
	f.sweep()
	changed := make(chan string)
	wg.Go(func() {
		trigger.WatchFiles(ctx, trigger.FilesConfig{List: f.files, Log: f.app.log, Changed: func(name string) {
			select {
			case changed <- name:
			case <-ctx.Done():
			}
		}})
	})
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.app.Reload.Asked:
			f.reload(ctx, &wg)
			f.reloadTokens()
		case name := <-changed:
			switch name {
			case f.app.Reload.File:
				f.reload(ctx, &wg)
			case f.tokensFile():
				f.reloadTokens()
			default:
				f.credentials(name)
			}
		}
	}
}

func (f *following) tokensFile() string { return filepath.Join(f.app.dir, "tokens") }

// files are all that the service works with and that may be replaced while it runs.
func (f *following) files() []string {
	out := []string{f.tokensFile()}
	if f.app.Reload.File != "" {
		out = append(out, f.app.Reload.File)
	}
	for _, s := range f.current() {
		for _, name := range s.config.Auth.files() {
			if *name != "" {
				out = append(out, *name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// credentials looks at once at the sources that are shown what is in a file: it was replaced because something is
// wrong, or will be. What is shown is read at each use.
func (f *following) credentials(name string) {
	for _, s := range f.current() {
		for _, used := range s.config.Auth.files() {
			if *used == name {
				f.app.log.Info().Str("source", s.config.Name).Str("file", name).Msg("credentials changed")
				s.repository.ask()
				break
			}
		}
	}
}

// reload reads the configuration and puts it in force, or says why not and leaves the one before.
func (f *following) reload(ctx context.Context, wg *sync.WaitGroup) {
	log := f.app.log
	if f.app.Reload.Load == nil {
		return
	}
	c, err := f.app.Reload.Load()
	if err == nil {
		err = c.usable()
	}
	if err != nil {
		f.refuse(err)
		line := log.Warn().Err(err)
		if _, hint := texts(err); hint != "" {
			line = line.Str("hint", hint)
		}
		line.Msg("configuration refused: the one before stays in force")
		return
	}
	was := f.inForce()
	restart := f.keepStarted(&c, was)
	if reflect.DeepEqual(c, was) {
		f.remember(restart)
		log.Info().Msg("configuration is the one in force")
		return
	}
	if err := f.apply(ctx, wg, c); err != nil {
		if ctx.Err() == nil {
			f.refuse(err)
			log.Error().Err(err).Msg("configuration is in force in part")
		}
		return
	}
	f.remember(restart)
	added, changed, removed := compare(was, c)
	log.Info().Strs("added", added).Strs("changed", changed).Strs("removed", removed).Strs("settings", settings(was, c)).
		Msg("configuration applied")
}

// usable reports what a configuration cannot be put in force with, although it is well-formed.
func (c Config) usable() error {
	if c.Webhook.Listen == "" {
		return nil
	}
	_, err := c.Webhook.secret()
	return err
}

func (f *following) inForce() Config {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.config
}

// keepStarted puts back what only a restart can change, and lists what would have. The secret of webhooks is none of it:
// while the address stays although the file names none, the secret in force does.
func (f *following) keepStarted(c *Config, was Config) []control.Problem {
	started := f.app.config
	var out []control.Problem
	keep := func(key string, same bool, put func()) {
		if same {
			return
		}
		put()
		out = append(out, control.Problem{
			Reason: reasonRestart, File: f.app.Reload.File, Field: key, Message: "what the configuration says now takes a restart",
		})
		f.app.log.Warn().Str("key", key).Msg("this change of the configuration takes a restart")
	}
	keep("runtime", c.Runtime == started.Runtime, func() { c.Runtime = started.Runtime })
	keep("simulate", slices.Equal(c.Simulate, started.Simulate), func() { c.Simulate = started.Simulate })
	keep("hostPaths", slices.Equal(c.HostPaths, started.HostPaths), func() { c.HostPaths = started.HostPaths })
	keep("listen", c.Listen == started.Listen, func() { c.Listen = started.Listen })
	keep("webhook.listen", c.Webhook.Listen == started.Webhook.Listen, func() {
		c.Webhook.Listen = started.Webhook.Listen
		if c.Webhook.SecretFile == "" {
			c.Webhook.SecretFile = was.Webhook.SecretFile
		}
	})
	return out
}

// compare names the sources that differ between two configurations.
func compare(was, is Config) (added, changed, removed []string) {
	find := func(c Config, name string) *SourceConfig {
		i := slices.IndexFunc(c.Sources, func(s SourceConfig) bool { return s.Name == name })
		if i < 0 {
			return nil
		}
		return &c.Sources[i]
	}
	added, changed, removed = []string{}, []string{}, []string{}
	for _, s := range is.Sources {
		switch old := find(was, s.Name); {
		case old == nil:
			added = append(added, s.Name)
		case was.Limits != is.Limits || !reflect.DeepEqual(*old, s):
			changed = append(changed, s.Name)
		}
	}
	for _, s := range was.Sources {
		if find(is, s.Name) == nil {
			removed = append(removed, s.Name)
		}
	}
	return added, changed, removed
}

// settings names what differs between two configurations beside the sources.
func settings(was, is Config) []string {
	out := []string{}
	for _, s := range []struct {
		key  string
		same bool
	}{
		{"writes", was.Writes == is.Writes},
		{"maxRollouts", was.MaxRollouts == is.MaxRollouts},
		{"limits", was.Limits == is.Limits},
		{"webhook.secretFile", was.Webhook.SecretFile == is.Webhook.SecretFile},
	} {
		if !s.same {
			out = append(out, s.key)
		}
	}
	return out
}

// refuse remembers for status why a configuration is not in force.
func (f *following) refuse(err error) {
	var out []control.Problem
	if e, ok := errors.AsType[*InvalidError](err); ok {
		for _, p := range e.Problems {
			out = append(out, control.Problem{
				Reason: reasonRefused, File: e.File, Line: p.Line, Field: p.Key, Message: strings.TrimSpace(p.Message),
			})
		}
	} else {
		out = []control.Problem{{Reason: reasonRefused, File: f.app.Reload.File, Message: err.Error()}}
	}
	f.remember(out)
}

func (f *following) remember(problems []control.Problem) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wrong = problems
}

// reloadTokens has the Kubernetes API read its tokens again, if it is served.
func (f *following) reloadTokens() {
	f.mu.RLock()
	read := f.tokens
	f.mu.RUnlock()
	if read == nil {
		return
	}
	err := read()
	f.mu.Lock()
	f.noTokens = err
	f.mu.Unlock()
	if err != nil {
		f.app.log.Warn().Err(err).Msg("tokens refused: the ones before stay in force")
		return
	}
	f.app.log.Info().Msg("tokens read")
}

// readTokens is how tokens are read again from now on.
func (f *following) readTokens(read func() error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens = read
}

// problems is what of the newest configuration is not in force.
func (f *following) problems() []control.Problem {
	f.mu.RLock()
	defer f.mu.RUnlock()
	out := slices.Clone(f.wrong)
	if f.noTokens != nil {
		out = append(out, control.Problem{Reason: reasonTokens, File: f.tokensFile(), Message: f.noTokens.Error()})
	}
	return out
}
