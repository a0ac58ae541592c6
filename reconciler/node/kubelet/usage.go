package kubelet

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/belay-dev/belay/reconciler/node"
)

// measureEvery is how often the volumes of a pod that have a limit are measured, as the kubelet does.
const measureEvery = 10 * time.Second

// evicted is the kubelet's word for a pod that was ended for what it took.
const evicted = "Evicted"

// evictionGrace is what containers get that are ended because of that.
const evictionGrace = time.Second

// limited says whether a volume lies on the disk, and has a limit there. One in memory has its limit from what holds it.
func limited(v corev1.Volume) bool {
	s := v.EmptyDir
	return s != nil && s.Medium == corev1.StorageMediumDefault && s.SizeLimit != nil && s.SizeLimit.Sign() > 0
}

// inMemory says whether a volume is held by the driver, in memory.
func inMemory(v *corev1.Volume) bool {
	return v.EmptyDir != nil && v.EmptyDir.Medium == corev1.StorageMediumMemory
}

// measure has the volumes with a limit measured, every now and then.
func (p *planner) measure() {
	if !slices.ContainsFunc(p.pod.Spec.Volumes, limited) {
		return
	}
	if at := p.m.measured.Add(measureEvery); p.now.Before(at) {
		p.wake(at)
		return
	}
	p.act(action{kind: measureVolumes})
}

// endEvicted stops all that runs of a pod that is evicted.
func (p *planner) endEvicted() {
	if p.m.starting != "" || p.m.making {
		p.act(action{kind: giveUpStart})
	}
	each(p.pod, func(c *corev1.Container, init bool) {
		if b := p.m.box(c.Name); b.running() && b.stopping == nil {
			p.say(c, init, corev1.EventTypeNormal, "Killing", "Stopping container "+c.Name)
			p.act(action{kind: stopContainer, container: c.Name, init: init, run: b.run().ID, grace: evictionGrace})
		}
	})
}

// quietened says whether nothing of a pod runs, nor is about to.
func (m *memory) quietened() bool {
	for _, b := range m.boxes {
		if b.running() {
			return false
		}
	}
	return m.starting == "" && !m.making
}

// doMeasure looks how much the volumes of a pod hold. The first that holds more than it may ends the pod.
func (k *Kubelet) doMeasure(w *worker, pod *corev1.Pod) {
	for _, v := range pod.Spec.Volumes {
		if !limited(v) {
			continue
		}
		used, err := usage(k.volumes.path(pod, v.Name))
		w.mu.Lock()
		told := w.m.unmeasured
		w.m.unmeasured = err != nil
		w.mu.Unlock()
		if err != nil && !told {
			w.tell(node.Event{Type: corev1.EventTypeWarning, Reason: "FailedMeasure",
				Message: fmt.Sprintf("Usage of EmptyDir volume %q cannot be measured: %v", v.Name, err)})
		}
		if used <= v.EmptyDir.SizeLimit.Value() {
			continue
		}
		message := fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, v.EmptyDir.SizeLimit.String())
		w.mu.Lock()
		again := w.m.evicted != ""
		w.m.evicted = message
		w.mu.Unlock()
		if !again {
			w.tell(node.Event{Type: corev1.EventTypeWarning, Reason: evicted, Message: message})
		}
		return
	}
}

// usage is how many bytes of the disk a directory takes with all below it; of a file with several names one is counted.
// What goes while it is measured takes nothing. With an error it is at least so much.
func usage(dir string) (bytes int64, err error) {
	type file struct {
		device uint64
		inode  uint64
	}
	seen := map[file]bool{}
	var unread error
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				s, ok := info.Sys().(*syscall.Stat_t)
				if !ok {
					return errors.New("the size on disk is not known on this system")
				}
				f := file{uint64(s.Dev), s.Ino} //nolint:unconvert // the type is another on other systems
				if s.Nlink > 1 && !d.IsDir() {
					if seen[f] {
						return nil
					}
					seen[f] = true
				}
				const block = 512 // of stat(2), whatever the file system has
				bytes += s.Blocks * block
				return nil
			}
		}
		if !errors.Is(err, fs.ErrNotExist) {
			unread = err
		}
		if d != nil && d.IsDir() {
			return fs.SkipDir
		}
		return nil
	})
	return bytes, errors.Join(err, unread)
}
