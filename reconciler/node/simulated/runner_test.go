package simulated

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

func named(name string, images ...string) *corev1.Pod {
	p := pod(images...)
	p.Name, p.UID = name, types.UID(name)
	return p
}

// live gives the pod to the runner and stores its status, as the agent does. It returns what was said.
func live(t interface{ Fatal(...any) }, r *Runner, p *corev1.Pod, now time.Time) []string {
	report, err := r.Sync(context.Background(), p, now)
	if err != nil {
		t.Fatal(err)
	}
	p.Status = report.Status
	var said []string
	for _, e := range report.Events {
		said = append(said, e.Reason+" "+e.Message)
	}
	return said
}

func TestAddressesAreUnique(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	rapid.Check(t, func(t *rapid.T) {
		r := New(Options{})
		pods := map[string]*corev1.Pod{}
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			names := make([]string, 0, len(pods))
			for name := range pods {
				names = append(names, name)
			}
			slices.Sort(names)
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0: // one goes
				if len(names) > 0 {
					name := rapid.SampledFrom(names).Draw(t, "gone")
					if err := r.Remove(ctx, types.UID(name)); err != nil {
						t.Fatal(err)
					}
					delete(pods, name)
				}
			case 1: // a new process
				var all []*corev1.Pod
				for _, name := range names {
					all = append(all, pods[name])
				}
				r = New(Options{})
				r.Adopt(all)
			default:
				p := named(fmt.Sprint("p", i), "web")
				pods[p.Name] = p
				live(t, r, p, arrival)
			}
			used := map[string]string{}
			for _, name := range append(names, fmt.Sprint("p", i)) {
				p, ok := pods[name]
				if !ok {
					continue
				}
				before := p.Status.PodIP
				live(t, r, p, arrival)
				ip := p.Status.PodIP
				if before != ip || used[ip] != "" && used[ip] != name {
					t.Fatalf("%s had %s, has %s, which %q has too", name, before, ip, used[ip])
				}
				if a := netip.MustParseAddr(ip); !podNetwork.Contains(a) || a.As4()[3] == 0 || a.As4()[3] == 255 {
					t.Fatalf("%s is no address for a pod", ip)
				}
				used[ip] = name
			}
		}
	})
}

func TestAddressesComeBackLate(t *testing.T) {
	t.Parallel()
	r := New(Options{})
	for i := range 1000 {
		name := fmt.Sprint("p", i)
		p := named(name, "web")
		live(t, r, p, arrival)
		want := fmt.Sprintf("10.64.%d.%d", i/254, i%254+1)
		if p.Status.PodIP != want {
			t.Fatalf("pod %d has %s, want %s", i, p.Status.PodIP, want)
		}
		if err := r.Remove(t.Context(), types.UID(name)); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.pods) != 0 || len(r.taken) != 0 {
		t.Errorf("%d pods and %d addresses are remembered", len(r.pods), len(r.taken))
	}
}

func TestImagesAreShared(t *testing.T) {
	t.Parallel()
	r := New(Options{Delay: time.Second})
	a, b, c, d := named("a", "web"), named("b", "web"), named("c", "web"), named("d", "web")
	d.Spec.Containers[0].ImagePullPolicy = corev1.PullAlways
	for _, p := range []*corev1.Pod{a, b} { // side by side: both pull
		if got := strings.Join(live(t, r, p, arrival), "; "); got != `Pulling Pulling image "web"` {
			t.Errorf("%s: %s", p.Name, got)
		}
	}
	const pulled = `Pulled Successfully pulled image "web" in 1s (1s including waiting). Image size: 0 bytes.`
	for _, p := range []*corev1.Pod{a, b} {
		if got := live(t, r, p, arrival.Add(time.Second)); got[0] != pulled {
			t.Errorf("%s: %s", p.Name, got[0])
		}
	}
	live(t, r, c, arrival.Add(time.Second))
	if got := live(t, r, c, arrival.Add(2*time.Second)); got[0] != `Pulled Container image "web" already present on machine and can be accessed by the pod` {
		t.Errorf("c: %s", got[0])
	}
	live(t, r, d, arrival.Add(time.Second))
	if got := live(t, r, d, arrival.Add(2*time.Second)); got[0] != pulled {
		t.Errorf("d: %s", got[0])
	}

	// A new process knows by the pods that run.
	r = New(Options{Delay: time.Second})
	r.Adopt([]*corev1.Pod{a})
	e := named("e", "web")
	if got := live(t, r, e, arrival); len(got) != 0 {
		t.Errorf("e: %v", got)
	}
}

// TestAdoptTwins has two pods claim one address.
func TestAdoptTwins(t *testing.T) {
	t.Parallel()
	a, b := named("a", "web"), named("b", "web")
	for _, p := range []*corev1.Pod{a, b} {
		at := second(arrival)
		p.Status.StartTime, p.Status.PodIP = &at, "10.64.0.1"
	}
	r := New(Options{})
	r.Adopt([]*corev1.Pod{a, b})
	live(t, r, a, arrival)
	live(t, r, b, arrival)
	if a.Status.PodIP != "10.64.0.1" || b.Status.PodIP == "10.64.0.1" {
		t.Errorf("a has %s, b has %s", a.Status.PodIP, b.Status.PodIP)
	}
}

// TestAdoptChangesNothing restarts Belay at any moment in the life of a pod: nothing that is so changes.
func TestAdoptChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		options := Options{
			Delay:  time.Duration(rapid.IntRange(0, 2500).Draw(t, "delay")) * time.Millisecond,
			Images: map[string]Behaviour{"bad": Missing, "deaf": Unready},
		}
		p := named("a", rapid.SliceOfN(rapid.SampledFrom([]string{"web", "deaf", "bad"}), 1, 3).Draw(t, "images")...)
		r := New(options)
		now := arrival
		live(t, r, p, now)
		now = now.Add(time.Duration(rapid.IntRange(0, 60_000).Draw(t, "age")) * time.Millisecond)
		live(t, r, p, now)
		before := p.DeepCopy()
		r = New(options)
		r.Adopt([]*corev1.Pod{p})
		// The arrival is known to the second: what was about to happen may have happened by now, nothing else.
		live(t, r, p, now)
		for i, s := range p.Status.ContainerStatuses {
			was := before.Status.ContainerStatuses[i]
			if s.RestartCount != was.RestartCount || was.Ready && !s.Ready || was.State.Running != nil && !cmp.Equal(s.State, was.State) {
				t.Fatalf("was %v, is %v", was, s)
			}
		}
		if p.Status.PodIP != before.Status.PodIP || !p.Status.StartTime.Equal(before.Status.StartTime) {
			t.Fatalf("was %s since %v, is %s since %v", before.Status.PodIP, before.Status.StartTime, p.Status.PodIP, p.Status.StartTime)
		}
	})
}

func TestRunnerSideBySide(t *testing.T) {
	t.Parallel()
	r := New(Options{})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 50 {
				p := named(fmt.Sprintf("p%d-%d", i, j), "web")
				live(t, r, p, arrival)
				if err := r.Remove(t.Context(), p.UID); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// BenchmarkSync is one pod that is as it was: the usual case.
func BenchmarkSync(b *testing.B) {
	r := New(Options{})
	p := named("a", "web")
	live(b, r, p, arrival)
	for b.Loop() {
		if _, err := r.Sync(b.Context(), p, arrival); err != nil {
			b.Fatal(err)
		}
	}
}
