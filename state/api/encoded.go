package api

import (
	"bytes"
	"io"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// maxEncoded is how large an encoded object may be that is kept for the next watch, in bytes.
const maxEncoded = 64 << 10

// encodable is an object that many watches send: it is encoded once for each form that is asked for, and not once for
// each watch. Large ones are encoded each time, so that what is kept stays small.
type encodable struct {
	object runtime.Object // never modified

	mu    sync.Mutex // guards forms
	forms map[runtime.Identifier]*form
}

// form is an object encoded in one way.
type form struct {
	once  sync.Once
	bytes []byte
	large bool // and so not kept
	err   error
}

var (
	_ runtime.CacheableObject   = (*encodable)(nil)
	_ metav1.ObjectMetaAccessor = (*encodable)(nil)
)

// CacheEncode writes the object as encode does, which is asked once for all that have the same id.
func (e *encodable) CacheEncode(id runtime.Identifier, encode func(runtime.Object, io.Writer) error, w io.Writer) error {
	f := e.form(id)
	var own []byte
	f.once.Do(func() {
		var b bytes.Buffer
		f.err = encode(e.GetObject(), &b)
		own = b.Bytes()
		if f.large = b.Len() > maxEncoded; !f.large {
			f.bytes = own
		}
	})
	switch {
	case f.err != nil:
		return f.err
	case f.large && own == nil:
		return encode(e.GetObject(), w)
	case f.large:
		_, err := w.Write(own)
		return err
	}
	if s, ok := w.(runtime.Splice); ok { // it takes the bytes as they are, and does not modify them
		s.Splice(f.bytes)
		return nil
	}
	_, err := w.Write(f.bytes)
	return err
}

func (e *encodable) form(id runtime.Identifier) *form {
	e.mu.Lock()
	defer e.mu.Unlock()
	f, ok := e.forms[id]
	if !ok {
		if e.forms == nil {
			e.forms = map[runtime.Identifier]*form{}
		}
		f = &form{}
		e.forms[id] = f
	}
	return f
}

// GetObject is a copy that the caller may modify.
func (e *encodable) GetObject() runtime.Object { return e.object.DeepCopyObject() }

// GetObjectKind is the object's.
func (e *encodable) GetObjectKind() schema.ObjectKind { return e.object.GetObjectKind() }

// DeepCopyObject shares nothing that is encoded.
func (e *encodable) DeepCopyObject() runtime.Object { return &encodable{object: e.GetObject()} }

// GetObjectMeta is the object's, to be read.
func (e *encodable) GetObjectMeta() metav1.Object {
	if a, ok := e.object.(metav1.ObjectMetaAccessor); ok {
		return a.GetObjectMeta()
	}
	return nil
}
