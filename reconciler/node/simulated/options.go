package simulated

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Behaviour is what becomes of the containers of an image.
type Behaviour string

// The behaviours. An image that has none of these runs and becomes ready.
const (
	Missing Behaviour = "missing" // cannot be pulled
	Crash   Behaviour = "crash"   // exits with 1 a second after each start
	Unready Behaviour = "unready" // runs and never becomes ready; an init container never ends
)

// DefaultDelay is how long a container takes to start when nothing else is asked for.
const DefaultDelay = time.Second

// Options says how the simulated node behaves.
type Options struct {
	// Delay passes between a pod's arrival on the node and the start of its containers, or the first failure to pull.
	// Without a readiness probe a container is ready as soon as it runs.
	Delay time.Duration
	// Stop passes between the deletion of a pod and its end, but never more than its grace period.
	Stop time.Duration
	// Images has the images that do not just run, as a container's image names them.
	Images map[string]Behaviour
}

// Parse reads what the command line says about the simulated node: each value is IMAGE=missing, IMAGE=crash,
// IMAGE=unready, delay=DURATION or stop=DURATION, and a later one for the same name wins. It reports every value that
// it does not understand.
func Parse(values []string) (Options, error) {
	options := Options{Delay: DefaultDelay, Images: map[string]Behaviour{}}
	var problems []error
	for _, value := range values {
		if err := options.set(value); err != nil {
			problems = append(problems, fmt.Errorf("simulate %q: %w", value, err))
		}
	}
	return options, errors.Join(problems...)
}

func (o *Options) set(value string) error {
	// The last =: a digest or a registry has none, but a tag might come with one by mistake.
	i := strings.LastIndex(value, "=")
	if i < 0 {
		return errors.New("want IMAGE=missing, IMAGE=crash, IMAGE=unready, delay=DURATION or stop=DURATION")
	}
	name, what := value[:i], value[i+1:]
	switch name {
	case "":
		return errors.New("an image, delay or stop is missing before =")
	case "delay":
		return setDuration(&o.Delay, what)
	case "stop":
		return setDuration(&o.Stop, what)
	}
	if strings.ContainsAny(name, "= \t") {
		return fmt.Errorf("%q is not the name of an image", name)
	}
	behaviour := Behaviour(what)
	if known := []Behaviour{Missing, Crash, Unready}; !slices.Contains(known, behaviour) {
		return fmt.Errorf("unknown behaviour %q, want missing, crash or unready", what)
	}
	o.Images[name] = behaviour
	return nil
}

func setDuration(to *time.Duration, text string) error {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a duration such as 200ms or 3s", text)
	case d < 0:
		return fmt.Errorf("%s is less than nothing", text)
	}
	*to = d
	return nil
}
