package node

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"k8s.io/api/core/v1"
	volumeutil "k8s.io/kubernetes/pkg/volume/util"
)

// payload is the content of one volume, by relative path.
type payload map[string]volumeutil.FileProjection

// volumes keeps the files of one pod's volumes as its Secrets, config maps and tokens say. One goroutine at a time.
type volumes struct {
	agent   *Agent
	dir     string
	written map[string]payload
	tokens  map[string]token
}

func newVolumes(agent *Agent, dir string) *volumes {
	return &volumes{agent: agent, dir: dir, written: map[string]payload{}, tokens: map[string]token{}}
}

// path is where a volume's files are, as the node sees them.
func (v *volumes) path(pod *v1.Pod, name string) (string, error) {
	for _, volume := range pod.Spec.Volumes {
		if volume.Name == name && volume.HostPath != nil {
			return volume.HostPath.Path, nil
		}
		if volume.Name == name {
			return filepath.Join(v.dir, name), nil
		}
	}
	return "", fmt.Errorf("there is no volume %s", name)
}

// sync writes what changed. An error means that the pod cannot start yet, and names what is missing.
func (v *volumes) sync(ctx context.Context, pod *v1.Pod) error {
	for index := range pod.Spec.Volumes {
		volume := &pod.Spec.Volumes[index]
		if err := v.syncOne(ctx, pod, volume); err != nil {
			return fmt.Errorf("volume %s: %w", volume.Name, err)
		}
	}
	return nil
}

func (v *volumes) syncOne(ctx context.Context, pod *v1.Pod, volume *v1.Volume) error {
	switch {
	case volume.HostPath != nil:
		return prepareHostPath(volume.HostPath)
	case volume.EmptyDir != nil:
		return v.makeEmpty(pod, volume.Name)
	}
	content, err := v.contentOf(ctx, pod, &volume.VolumeSource)
	if err != nil {
		return err
	}
	if written, done := v.written[volume.Name]; done && reflect.DeepEqual(written, content) {
		return nil
	}
	dir := filepath.Join(v.dir, volume.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	writer, err := volumeutil.NewAtomicWriter(dir, pod.Namespace+"/"+pod.Name)
	if err != nil {
		return err
	}
	giveAway := func(string) error { return giveToGroup(dir, fsGroup(pod)) }
	if err := writer.Write(content, giveAway); err != nil {
		return err
	}
	v.written[volume.Name] = content
	return nil
}

// makeEmpty gives a volume that is empty at first and writable for everybody in the pod.
func (v *volumes) makeEmpty(pod *v1.Pod, name string) error {
	dir := filepath.Join(v.dir, name)
	if _, done := v.written[name]; done {
		return nil
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	// The process's umask took bits from MkdirAll's mode.
	if err := os.Chmod(dir, 0o777); err != nil {
		return err
	}
	if group := fsGroup(pod); group != nil {
		if err := os.Chown(dir, -1, int(*group)); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o777|fs.ModeSetgid); err != nil {
			return err
		}
	}
	v.written[name] = payload{}
	return nil
}

func prepareHostPath(source *v1.HostPathVolumeSource) error {
	kind := v1.HostPathUnset
	if source.Type != nil {
		kind = *source.Type
	}
	info, err := os.Stat(source.Path)
	switch {
	case err == nil && kind == v1.HostPathDirectory && !info.IsDir():
		return fmt.Errorf("%s is no directory", source.Path)
	case err == nil:
		return nil
	case kind == v1.HostPathDirectoryOrCreate:
		return os.MkdirAll(source.Path, 0o755)
	default:
		return err
	}
}

func fsGroup(pod *v1.Pod) *int64 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return pod.Spec.SecurityContext.FSGroup
}

// giveToGroup lets a group read everything below a folder.
func giveToGroup(dir string, group *int64) error {
	if group == nil {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := os.Lchown(path, -1, int(*group)); err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		mode := info.Mode() | 0o040
		if entry.IsDir() {
			mode |= 0o010
		}
		return os.Chmod(path, mode)
	})
}

// token is a ServiceAccount token of the pod.
type token struct {
	text    string
	renewAt time.Time
}
