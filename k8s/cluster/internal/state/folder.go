// Package state is the folder in which one cluster keeps what it must remember: its settings, its image mapping, its
// keys, its logs and the identity of its supervisor. It starts nothing and talks to nobody.
package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"
)

// DefaultName is the cluster that commands mean when they name none.
const DefaultName = "ringway"

// homeVariable moves the folder that holds all clusters' folders.
const homeVariable = "RINGWAY_CLUSTER_HOME"

// socketPathMax is what the kernel takes as the path of a Unix socket, its terminating zero included.
const socketPathMax = 107

var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// Folder names the place of one cluster's state.
type Folder struct {
	// Name is the cluster's name.
	Name string
	// Path is the absolute path of the folder.
	Path string
}

// Locate gives the folder of the cluster called name, which need not exist.
func Locate(name string) (Folder, error) {
	if !namePattern.MatchString(name) {
		return Folder{}, fmt.Errorf("%q cannot name a cluster: use 1 to 32 of a-z, 0-9 and '-'", name)
	}
	home := os.Getenv(homeVariable)
	if home == "" {
		home = "/tmp/ringway-cluster"
	}
	home, err := filepath.Abs(home)
	if err != nil {
		return Folder{}, fmt.Errorf("the folder of all clusters: %w", err)
	}
	folder := At(filepath.Join(home, name))
	if len(folder.Socket()) > socketPathMax {
		return Folder{}, fmt.Errorf("%s is too long a path for a socket (%d bytes at most): set %s to a shorter one",
			folder.Socket(), socketPathMax, homeVariable)
	}
	return folder, nil
}

// At gives the folder at an absolute path.
func At(path string) Folder {
	return Folder{Name: filepath.Base(path), Path: path}
}

// Socket is where the supervisor listens for commands.
func (f Folder) Socket() string { return filepath.Join(f.Path, "control") }

// Kubeconfig is the administrator's kubeconfig.
func (f Folder) Kubeconfig() string { return filepath.Join(f.Path, "kubeconfig") }

// Keys is the folder of keys and certificates.
func (f Folder) Keys() string { return filepath.Join(f.Path, "keys") }

// Key is one file among the keys and certificates.
func (f Folder) Key(name string) string { return filepath.Join(f.Keys(), name) }

// Logs is the folder of the components' logs.
func (f Folder) Logs() string { return filepath.Join(f.Path, "logs") }

// Log is the log of one component.
func (f Folder) Log(component string) string { return filepath.Join(f.Logs(), component+".log") }

// Data is the folder in which one component keeps its data.
func (f Folder) Data(component string) string { return filepath.Join(f.Path, "data", component) }

// Pods is the folder in which the node agent keeps one folder a pod.
func (f Folder) Pods() string { return filepath.Join(f.Path, "pods") }

// Prepare makes the folder empty but for its lock, and everything a cluster expects in it.
func (f Folder) Prepare() error {
	if err := f.Clear(); err != nil {
		return err
	}
	for _, path := range []string{f.Keys(), f.Logs(), f.Data("etcd"), f.Pods()} {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return fmt.Errorf("the cluster's folder: %w", err)
		}
	}
	// Pods of other users reach their volumes through these two.
	for _, path := range []string{f.Path, f.Pods()} {
		if err := os.Chmod(path, 0o711); err != nil {
			return fmt.Errorf("the cluster's folder: %w", err)
		}
	}
	return nil
}

// Clear removes everything in the folder but its lock.
func (f Folder) Clear() error {
	entries, err := os.ReadDir(f.Path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("reading the cluster's folder: %w", err)
	}
	for _, entry := range entries {
		if entry.Name() == lockName {
			continue
		}
		if err := os.RemoveAll(filepath.Join(f.Path, entry.Name())); err != nil {
			return fmt.Errorf("clearing the cluster's folder: %w", err)
		}
	}
	return nil
}

const lockName = "lock"

// Lock makes the folder if need be and takes it for one command that starts or ends the cluster.
func (f Folder) Lock() (release func(), err error) {
	if err := os.MkdirAll(f.Path, 0o711); err != nil {
		return nil, fmt.Errorf("the cluster's folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(f.Path, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the cluster's lock: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("another `cluster up` or `cluster down` is at work on %s", f.Name)
	}
	return func() { lock.Close() }, nil
}

// Remove deletes the folder, and the one that holds all clusters if it is empty then.
func (f Folder) Remove() error {
	if err := os.RemoveAll(f.Path); err != nil {
		return fmt.Errorf("removing the cluster's folder: %w", err)
	}
	// It stays while other clusters have folders in it.
	_ = os.Remove(filepath.Dir(f.Path))
	return nil
}

// writeJSON replaces a file by value as a whole, so that readers see the old or the new one.
func writeJSON(path string, value any) error {
	content, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding %s: %w", path, err)
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(append(content, '\n'))
	if err := errors.Join(err, temporary.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := os.Rename(temporary.Name(), path); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

func readJSON(path string, value any) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(content, value); err != nil {
		return fmt.Errorf("decoding %s: %w", path, err)
	}
	return nil
}
