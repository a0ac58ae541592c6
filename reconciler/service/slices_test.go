package service_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/belay-dev/belay/reconciler/controller"
	"github.com/belay-dev/belay/reconciler/service"
	"github.com/belay-dev/belay/state"
)

// addressed is a pod with the address that follows its words after "@", if any.
func addressed(words string) *corev1.Pod {
	words, ip, _ := strings.Cut(words, "@")
	p := pod(words)
	p.Status.PodIP = strings.TrimSpace(ip)
	return p
}

func addressedAll(words string) []*corev1.Pod {
	var pods []*corev1.Pod
	for w := range strings.SplitSeq(words, ",") {
		if w = strings.TrimSpace(w); w != "" {
			pods = append(pods, addressed(w))
		}
	}
	return pods
}

// sliceWords tell of a slice in one line.
func sliceWords(s *discoveryv1.EndpointSlice) string {
	var words []string
	for _, p := range s.Ports {
		words = append(words, fmt.Sprintf("%s/%d", *p.Name, *p.Port))
	}
	line := strings.Join(words, " ") + " →"
	for _, e := range s.Endpoints {
		line += " " + e.TargetRef.Name + "=" + e.Addresses[0]
		for _, c := range []struct {
			is   *bool
			mark string
		}{{e.Conditions.Ready, "r"}, {e.Conditions.Serving, "s"}, {e.Conditions.Terminating, "t"}} {
			if *c.is {
				line += c.mark
			}
		}
	}
	return line
}

func subsetWords(e *corev1.Endpoints) string {
	var lines []string
	for _, s := range e.Subsets {
		var words []string
		for _, p := range s.Ports {
			words = append(words, fmt.Sprintf("%s/%d", p.Name, p.Port))
		}
		line := strings.Join(words, " ") + " →"
		for _, a := range s.Addresses {
			line += " " + a.IP
		}
		for _, a := range s.NotReadyAddresses {
			line += " !" + a.IP
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "; ")
}

func TestPlanSlices(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		edit      func(*corev1.Service)
		pods      string
		slices    string // those made, separated by "; "
		addresses string
	}{
		{name: "nobody", slices: " →"},
		{
			name: "by readiness", pods: "b unready @10.0.0.2, a @10.0.0.1, c leaving @10.0.0.3, d leaving unready @10.0.0.4",
			slices:    "http/8080 → a=10.0.0.1rs b=10.0.0.2 c=10.0.0.3st d=10.0.0.4t",
			addresses: "http/8080 → 10.0.0.1 !10.0.0.2",
		},
		{
			name: "published unready", edit: func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true },
			pods: "a @10.0.0.1, b unready @10.0.0.2, c leaving @10.0.0.3", slices: "http/8080 → a=10.0.0.1rs b=10.0.0.2r c=10.0.0.3rst",
			addresses: "http/8080 → 10.0.0.1 10.0.0.2 10.0.0.3",
		},
		{name: "none of its", pods: "a other @10.0.0.1, b failed @10.0.0.2, c, d elsewhere @10.0.0.4, e @fd00::1", slices: " →"},
		{
			name: "other ports", pods: "a @10.0.0.1, b sidecar @10.0.0.2, c @10.0.0.3",
			slices: "http/8080 → a=10.0.0.1rs c=10.0.0.3rs; http/15001 → b=10.0.0.2rs", addresses: "http/8080 → 10.0.0.1 10.0.0.3; http/15001 → 10.0.0.2",
		},
		{name: "no such port", pods: "a unnamed @10.0.0.1", slices: " → a=10.0.0.1rs"},
		{name: "no selector", edit: func(s *corev1.Service) { s.Spec.Selector = nil }, pods: "a @10.0.0.1"},
		{name: "elsewhere", edit: func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName }, pods: "a @10.0.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := web(corev1.ServiceTypeClusterIP)
			s.Spec.Ports[0].Name, s.Labels = "http", map[string]string{"team": "shop"}
			if c.edit != nil {
				c.edit(s)
			}
			pods := addressedAll(c.pods)
			plan := service.PlanSlices(s, pods, nil)
			var got []string
			for _, made := range plan.Create {
				got = append(got, sliceWords(made))
				if made.GenerateName != "web-" || made.Labels[discoveryv1.LabelServiceName] != "web" || made.Labels["team"] != "shop" ||
					made.Labels[discoveryv1.LabelManagedBy] != "endpointslice-controller.k8s.io" || made.OwnerReferences[0].Kind != "Service" {
					t.Errorf("made as %v", made.ObjectMeta)
				}
			}
			if words := strings.Join(got, "; "); words != c.slices {
				t.Errorf("slices %s\nwant   %s", words, c.slices)
			}
			if again := service.PlanSlices(s, pods, plan.Create); len(again.Create)+len(again.Update)+len(again.Delete) != 0 {
				t.Errorf("the second plan changes what the first one made: %v", again)
			}
			made := service.PlanAddresses(s, pods, nil)
			if made == nil {
				made = &corev1.Endpoints{}
			} else if again := service.PlanAddresses(s, pods, made); again != nil {
				t.Errorf("the second plan changes what the first one made: %v", again)
			}
			if words := subsetWords(made); words != c.addresses {
				t.Errorf("addresses %s\nwant      %s", words, c.addresses)
			}
		})
	}
}

// TestPlanSlicesOfMany: a slice holds a hundred endpoints, and one Endpoints object a thousand addresses.
func TestPlanSlicesOfMany(t *testing.T) {
	t.Parallel()
	var pods []*corev1.Pod
	for n := range 1010 {
		words := fmt.Sprintf("p%04d @10.0.%d.%d", n, n/250, n%250)
		if n < 20 {
			words = strings.Replace(words, " ", " unready ", 1)
		}
		pods = append(pods, addressed(words))
	}
	s := web(corev1.ServiceTypeClusterIP)
	plan := service.PlanSlices(s, pods, nil)
	if len(plan.Create) != 11 || len(plan.Create[0].Endpoints) != 100 || len(plan.Create[10].Endpoints) != 10 {
		t.Errorf("%d slices", len(plan.Create))
	}
	e := service.PlanAddresses(s, pods, nil)
	if n := len(e.Subsets[0].Addresses); n != 990 || len(e.Subsets[0].NotReadyAddresses) != 10 || e.Annotations[corev1.EndpointsOverCapacity] != "truncated" {
		t.Errorf("%d ready addresses and %d others, %v", n, len(e.Subsets[0].NotReadyAddresses), e.Annotations)
	}
	if few := service.PlanAddresses(s, pods[:100], e); few == nil || len(few.Annotations) != 0 {
		t.Errorf("still over capacity: %v", few)
	}

	// What is there is filled again, and what is left over goes.
	there := plan.Create
	for n, one := range there {
		one.Name = fmt.Sprintf("web-%02d", n)
	}
	copies := make([]*discoveryv1.EndpointSlice, 0, len(there))
	for _, one := range there {
		copies = append(copies, one.DeepCopy())
	}
	less := service.PlanSlices(s, pods[10:160], there)
	if len(less.Create) != 0 || len(less.Update) != 2 || less.Update[0].Name != "web-00" || len(less.Delete) != 9 || less.Delete[0].Name != "web-02" {
		t.Errorf("%d made, %d changed, %d gone", len(less.Create), len(less.Update), len(less.Delete))
	}
	if !equality.Semantic.DeepEqual(there, copies) {
		t.Error("the plan changed what it was given")
	}
	s.Spec.Ports[0].TargetPort = intstr.FromInt32(9000)
	if other := service.PlanSlices(s, pods[:1], there[:1]); len(other.Create) != 1 || len(other.Delete) != 1 {
		t.Errorf("another port: %d made, %d gone", len(other.Create), len(other.Delete))
	}
}

func TestPublishes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, err := state.OpenMemory(state.Options{Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- controller.Run(ctx, store, service.NewPublisher(store, zerolog.Nop(), time.Now)) }()
		commit := func(ws ...state.Write) {
			t.Helper()
			if _, err := store.Commit(ws...); err != nil {
				t.Fatal(err)
			}
		}
		expect := func(when, want string) {
			t.Helper()
			synctest.Wait()
			var lines []string
			for _, s := range state.List[*discoveryv1.EndpointSlice](store, "") {
				lines = append(lines, sliceWords(s))
			}
			for _, e := range state.List[*corev1.Endpoints](store, "") {
				lines = append(lines, e.Name+": "+subsetWords(e))
			}
			if got := strings.Join(lines, "\n"); got != want {
				t.Errorf("%s:\n%s\nwant\n%s", when, got, want)
			}
		}
		at := func(words string) *corev1.Pod {
			p := addressed(words)
			p.UID, p.DeletionTimestamp = "", nil
			return p
		}
		commit(state.Create(web(corev1.ServiceTypeClusterIP)))
		expect("no pods", " →\nweb: ")
		commit(state.Create(at("a")), state.Create(at("b")))
		commit(state.UpdateStatus(at("a @10.0.0.1")), state.UpdateStatus(at("b unready @10.0.0.2")))
		expect("two", "/8080 → a=10.0.0.1rs b=10.0.0.2\nweb: /8080 → 10.0.0.1 !10.0.0.2")

		of := func() *discoveryv1.EndpointSlice { return state.List[*discoveryv1.EndpointSlice](store, "default")[0] }
		version := of().ResourceVersion
		noise := at("a @10.0.0.1")
		noise.Status.Message = "nothing that an endpoint cares for"
		commit(state.UpdateStatus(noise))
		expect("noise", "/8080 → a=10.0.0.1rs b=10.0.0.2\nweb: /8080 → 10.0.0.1 !10.0.0.2")
		if of().ResourceVersion != version {
			t.Error("a change that is none was written")
		}

		spoiled := of().DeepCopy()
		spoiled.Endpoints = nil
		commit(state.Update(spoiled))
		expect("somebody's change", "/8080 → a=10.0.0.1rs b=10.0.0.2\nweb: /8080 → 10.0.0.1 !10.0.0.2")
		commit(state.Delete(state.KeyOf(of()), state.DeleteOptions{}))
		expect("somebody's removal", "/8080 → a=10.0.0.1rs b=10.0.0.2\nweb: /8080 → 10.0.0.1 !10.0.0.2")

		free := &corev1.Endpoints{}
		free.Namespace, free.Name = "default", "db"
		commit(state.Create(free), state.Delete(state.KeyOf(web("")), state.DeleteOptions{}))
		expect("the Service is gone", "db: ")
		cancel()
		if err := errors.Join(<-done, store.Close()); err != nil {
			t.Error(err)
		}
	})
}
