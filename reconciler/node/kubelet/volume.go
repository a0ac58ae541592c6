package kubelet

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/belay-dev/belay/reconciler/node"
)

// Names inside of a volume that is made from objects: every file is a link through dataLink, so that all of them change
// at once.
const (
	dataLink = "..data"
	dataNext = "..data_next"
)

// volumes are the directories of pods: DIR/UID/volumes/NAME.
type volumes struct {
	dir       string
	hostPaths []string // what pods may name, with all below it
	objects   Objects
}

func (v volumes) pod(uid types.UID) string { return filepath.Join(v.dir, string(uid)) }

func (v volumes) path(pod *corev1.Pod, name string) string {
	return filepath.Join(v.pod(pod.UID), "volumes", name)
}

// remove removes all of a pod. Directories that its containers made unwritable go too.
func (v volumes) remove(uid types.UID) error {
	if uid == "" {
		return errors.New("no pod is named")
	}
	dir := v.pod(uid)
	err := os.RemoveAll(dir)
	if errors.Is(err, fs.ErrPermission) {
		walk := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				return os.Chmod(name, 0o700)
			}
			return nil
		})
		err = errors.Join(walk, os.RemoveAll(dir))
		if walk == nil && err != nil {
			return err
		}
	}
	return err
}

// make makes every volume of a pod that is not there, and brings those made from objects up to date.
func (v volumes) make(pod *corev1.Pod) error {
	for i := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[i]
		if err := v.one(pod, volume); err != nil {
			return fmt.Errorf("MountVolume.SetUp failed for volume %q : %w", volume.Name, err)
		}
	}
	return nil
}

func (v volumes) one(pod *corev1.Pod, volume *corev1.Volume) error {
	if volume.HostPath != nil {
		return v.hostPath(volume.HostPath)
	}
	if inMemory(volume) {
		return nil
	}
	files, made, err := payload(pod, volume, v.objects)
	if err != nil {
		return err
	}
	dir := v.path(pod, volume.Name)
	mode := fs.FileMode(0o777)
	if made {
		mode = 0o755
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	gid := -1
	if s := pod.Spec.SecurityContext; s != nil && s.FSGroup != nil {
		gid = int(*s.FSGroup)
		mode |= fs.ModeSetgid | 0o070
		if err := os.Chown(dir, -1, gid); err != nil {
			return err
		}
	}
	if err := os.Chmod(dir, mode); err != nil { // MkdirAll's is masked
		return err
	}
	if !made {
		return nil
	}
	return project(dir, files, gid)
}

// project has a directory hold files and nothing else, all changed at once. It writes nothing when nothing changed.
func project(dir string, files map[string]file, gid int) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	now, err := root.Readlink(dataLink)
	if err == nil && same(root, now, files) {
		return nil
	}
	temp, err := os.MkdirTemp(dir, "..version-")
	if err != nil {
		return err
	}
	next := filepath.Base(temp)
	if err := root.Chmod(next, 0o755); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := put(root, path.Join(next, name), files[name], gid); err != nil {
			return errors.Join(err, root.RemoveAll(next))
		}
	}
	if err := root.RemoveAll(dataNext); err != nil {
		return err
	}
	if err := root.Symlink(next, dataNext); err != nil {
		return err
	}
	if err := root.Rename(dataNext, dataLink); err != nil {
		return err
	}
	if now != "" {
		if err := root.RemoveAll(now); err != nil {
			return err
		}
	}
	return link(root, files)
}

// same says whether a version holds exactly the files.
func same(root *os.Root, version string, files map[string]file) bool {
	count := 0
	err := fs.WalkDir(root.FS(), version, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		count++
		data, err := root.ReadFile(name)
		f, ok := files[strings.TrimPrefix(name, version+"/")]
		if err != nil || !ok || !bytes.Equal(data, f.data) {
			return errors.Join(err, fs.ErrInvalid)
		}
		return nil
	})
	return err == nil && count == len(files)
}

func put(root *os.Root, name string, f file, gid int) error {
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	mode := fs.FileMode(f.mode) & 0o777
	if gid >= 0 {
		mode |= 0o440
	}
	if err := root.WriteFile(name, f.data, 0o600); err != nil {
		return err
	}
	if gid >= 0 {
		if err := root.Chown(name, -1, gid); err != nil {
			return err
		}
	}
	return root.Chmod(name, mode)
}

// link has a link for the first element of each file's path, and for nothing else.
func link(root *os.Root, files map[string]file) error {
	wanted := map[string]bool{}
	for name := range files {
		first, _, _ := strings.Cut(name, "/")
		wanted[first] = true
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "..") {
			continue
		}
		if wanted[e.Name()] {
			delete(wanted, e.Name())
		} else if err := root.RemoveAll(e.Name()); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if err := root.Symlink(path.Join(dataLink, name), name); err != nil {
			return err
		}
	}
	return nil
}

// hostPath checks a path of the machine against what pods may name, and makes it where the pod says so.
func (v volumes) hostPath(s *corev1.HostPathVolumeSource) error {
	if !allowed(v.hostPaths, s.Path) {
		return fmt.Errorf("hostPath %q is not allowed by the configuration", s.Path)
	}
	kind := corev1.HostPathUnset
	if s.Type != nil {
		kind = *s.Type
	}
	if err := v.create(s.Path, kind); err != nil {
		return err
	}
	// A link must not lead out of what is allowed.
	real, err := filepath.EvalSymlinks(s.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && kind == corev1.HostPathUnset:
		return nil
	case err != nil:
		return fmt.Errorf("hostPath type check failed: %w", err)
	case !allowed(v.hostPaths, real):
		return fmt.Errorf("hostPath %q leads to what is not allowed by the configuration", s.Path)
	}
	info, err := os.Stat(real)
	if err != nil {
		return err
	}
	if wrong := mistyped(kind, info.Mode()); wrong != "" {
		return fmt.Errorf("hostPath type check failed: %s is not %s", s.Path, wrong)
	}
	return nil
}

// create makes what may be made of a path of the machine, never through a link that leads out of what is allowed.
func (v volumes) create(name string, kind corev1.HostPathType) error {
	if kind != corev1.HostPathDirectoryOrCreate && kind != corev1.HostPathFileOrCreate {
		return nil
	}
	i := slices.IndexFunc(v.hostPaths, func(prefix string) bool { return allowed([]string{prefix}, name) })
	root, err := os.OpenRoot(v.hostPaths[i])
	if err != nil {
		return err
	}
	defer root.Close()
	rel, err := filepath.Rel(filepath.Clean(v.hostPaths[i]), filepath.Clean(name))
	if err != nil {
		return err
	}
	if kind == corev1.HostPathDirectoryOrCreate {
		return root.MkdirAll(rel, 0o755)
	}
	f, err := root.OpenFile(rel, os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// mistyped says what a file should have been; empty: it is.
func mistyped(kind corev1.HostPathType, mode fs.FileMode) string {
	switch kind {
	case corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate:
		if !mode.IsDir() {
			return "a directory"
		}
	case corev1.HostPathFile, corev1.HostPathFileOrCreate:
		if !mode.IsRegular() {
			return "a file"
		}
	case corev1.HostPathSocket:
		if mode&fs.ModeSocket == 0 {
			return "a socket file"
		}
	case corev1.HostPathCharDev, corev1.HostPathBlockDev:
		if mode&fs.ModeDevice == 0 {
			return "a device"
		}
	default:
	}
	return ""
}

// allowed says whether a path is one of the prefixes, or lies below one.
func allowed(prefixes []string, name string) bool {
	name = filepath.Clean(name)
	return slices.ContainsFunc(prefixes, func(prefix string) bool {
		prefix = filepath.Clean(prefix)
		return name == prefix || strings.HasPrefix(name, strings.TrimSuffix(prefix, "/")+"/")
	})
}

// mounts are the volumes of a container where it wants them.
func (v volumes) mounts(pod *corev1.Pod, c *corev1.Container, env []string) ([]node.Mount, error) {
	var out []node.Mount
	for _, m := range c.VolumeMounts {
		i := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
		if i < 0 {
			return nil, fmt.Errorf("volume %q of container %q is not found", m.Name, c.Name)
		}
		volume := &pod.Spec.Volumes[i]
		if inMemory(volume) {
			out = append(out, node.Mount{Memory: m.Name, Target: m.MountPath, ReadOnly: m.ReadOnly})
			continue
		}
		source := v.path(pod, m.Name)
		if volume.HostPath != nil {
			source = filepath.Clean(volume.HostPath.Path)
		}
		sub := m.SubPath
		if m.SubPathExpr != "" {
			sub = expandAll([]string{m.SubPathExpr}, env)[0]
		}
		if sub != "" {
			var err error
			if source, err = within(source, sub); err != nil {
				return nil, fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q: %w", m.Name, c.Name, err)
			}
		}
		out = append(out, node.Mount{Source: source, Target: m.MountPath,
			ReadOnly: m.ReadOnly || volume.ConfigMap != nil || volume.Secret != nil || volume.DownwardAPI != nil || volume.Projected != nil})
	}
	return out, nil
}

// within is the real path of what lies at sub below dir, made as a directory when there is nothing. It is refused when
// links lead out of dir.
func within(dir, sub string) (string, error) {
	if !filepath.IsLocal(sub) {
		return "", fmt.Errorf("%q leaves the volume", sub)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	if _, err := root.Stat(sub); errors.Is(err, fs.ErrNotExist) {
		err = root.MkdirAll(sub, 0o777)
		if err != nil {
			return "", err
		}
	} else if err != nil {
		return "", err
	}
	base, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	real, err := filepath.EvalSymlinks(filepath.Join(dir, sub))
	if err != nil {
		return "", err
	}
	if !allowed([]string{base}, real) {
		return "", fmt.Errorf("%q leaves the volume", sub)
	}
	return real, nil
}
