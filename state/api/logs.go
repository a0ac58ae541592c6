package api

import (
	"context"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	core "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	"k8s.io/utils/ptr"
)

// logs is the subresource pods/log.
type logs struct{ inside }

var (
	_ rest.GetterWithOptions = logs{}
	_ rest.StorageMetadata   = logs{}
)

// New is the kind that the subresource belongs to.
func (logs) New() runtime.Object { return &core.Pod{} }

// ProducesMIMETypes tells clients what they get.
func (logs) ProducesMIMETypes(string) []string { return []string{"text/plain"} }

// ProducesObject is the type that documents the answer.
func (logs) ProducesObject(string) any { return "" }

// NewGetOptions are read from the query.
func (logs) NewGetOptions() (runtime.Object, bool, string) { return &core.PodLogOptions{}, false, "" }

func (l logs) Get(ctx context.Context, name string, options runtime.Object) (runtime.Object, error) {
	o, ok := options.(*core.PodLogOptions)
	if !ok {
		return nil, fmt.Errorf("%T are no options of a log", options)
	}
	if o.Stream == nil {
		o.Stream = ptr.To(core.LogStreamAll)
	}
	if errs := validation.ValidatePodLogOptions(o, true); len(errs) > 0 {
		return nil, apierrors.NewInvalid(core.Kind("PodLogOptions"), name, errs)
	}
	if *o.Stream != core.LogStreamAll {
		return nil, apierrors.NewBadRequest("the streams of a log are not kept apart")
	}
	location, _, err := pod.LogLocation(ctx, l.pods, here{}, name, o)
	if err != nil {
		return nil, err
	}
	p, err := l.pod(ctx, name)
	if err != nil {
		return nil, err
	}
	s := &logStream{inside: l.inside, pod: p}
	if location == nil { // not on a node yet
		return s, nil
	}
	s.container = containerOf(location)
	if err := legacyscheme.Scheme.Convert(o, &s.options, nil); err != nil {
		return nil, err
	}
	s.options.Container = s.container
	return s, readable(p, s.container, o.Previous)
}

// logStream is a log about to be read.
type logStream struct {
	inside
	pod       *corev1.Pod
	container string // empty: there is no log yet
	options   corev1.PodLogOptions
}

var _ rest.ResourceStreamer = (*logStream)(nil)

// GetObjectKind and DeepCopyObject make it something that a registry may return. It is never written as an object.
func (*logStream) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject gives the same one: nothing changes it.
func (s *logStream) DeepCopyObject() runtime.Object { return s }

// InputStream opens the log. It ends with the request, with the server, and after as many bytes as were asked for.
func (s *logStream) InputStream(ctx context.Context, _, _ string) (stream io.ReadCloser, flush bool, mime string, err error) {
	if s.container == "" {
		return nil, false, "", nil
	}
	ctx, end := s.lasting(ctx)
	r, err := s.reach.Logs(ctx, s.pod, s.container, &s.options)
	if err != nil {
		end()
		return nil, false, "", err
	}
	log := &logReader{Reader: r, close: func() error { end(); return r.Close() }}
	if s.options.LimitBytes != nil {
		log.Reader = io.LimitReader(r, *s.options.LimitBytes)
	}
	return log, s.options.Follow, "text/plain", nil
}

// logReader reads a log, perhaps not all of it.
type logReader struct {
	io.Reader
	close func() error
}

func (r *logReader) Close() error { return r.close() }
