package node

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"k8s.io/api/core/v1"

	"ringway.dev/cluster/internal/space"
)

// rootSizeMax bounds what a container writes into its root folder, which is memory.
const rootSizeMax = "size=256m"

// systemFolders are the machine's, read-only in every container: images are plain binaries and may need its libraries.
var systemFolders = []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr"}

// configFiles are the machine's too: what finds libraries, and the authorities it trusts.
var configFiles = []string{"ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "ssl", "ca-certificates", "nsswitch.conf", "protocols", "services", "localtime"}

// rootfs is the root folder of one container. It is mounted in a namespace of the container's thread, so the kernel
// removes it together with the last process in it.
type rootfs struct {
	dir      string
	binary   string
	mounts   []mount
	files    map[string]string
	readOnly bool
	workDir  string
}

// mount shows a folder or file of the node in the container.
type mount struct {
	from, to string
	readOnly bool
}

// entrypoint is where the container finds its image's binary.
func (r *rootfs) entrypoint() string { return "/" + filepath.Base(r.binary) }

// mountAll must run on a thread of its own (space.OnThread), whose mounts it makes private.
func (r *rootfs) mountAll() error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("a new mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("separating the mounts: %w", err)
	}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", r.dir, "tmpfs", unix.MS_NOSUID, "mode=755,"+rootSizeMax); err != nil {
		return fmt.Errorf("the root folder: %w", err)
	}
	steps := []func() error{r.addSystem, r.addDevices, r.addFiles, r.addBinary, r.addMounts, r.finish}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (r *rootfs) addSystem() error {
	for _, name := range systemFolders {
		info, err := os.Lstat("/" + name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			if err := r.bind(mount{from: "/" + name, to: "/" + name, readOnly: true}); err != nil {
				return err
			}
			continue
		}
		target, err := os.Readlink("/" + name)
		if err != nil {
			return err
		}
		if err := os.Symlink(target, filepath.Join(r.dir, name)); err != nil {
			return err
		}
	}
	for _, name := range configFiles {
		path := filepath.Join("/etc", name)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if err := r.bind(mount{from: path, to: path, readOnly: true}); err != nil {
			return err
		}
	}
	for _, name := range []string{"/proc", "/sys"} {
		if err := r.bind(mount{from: name, to: name}); err != nil {
			return err
		}
	}
	return nil
}

func (r *rootfs) addDevices() error {
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		path := "/dev/" + name
		if err := r.bind(mount{from: path, to: path}); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(target, filepath.Join(r.dir, "dev", name)); err != nil {
			return err
		}
	}
	shared := filepath.Join(r.dir, "dev/shm")
	if err := os.Mkdir(shared, 0o755); err != nil {
		return err
	}
	return unix.Mount("tmpfs", shared, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777,size=64m")
}

func (r *rootfs) addFiles() error {
	for _, name := range []string{"tmp", "var/tmp", "run", "var/run", "root"} {
		path := filepath.Join(r.dir, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"tmp", "var/tmp"} {
		if err := os.Chmod(filepath.Join(r.dir, name), 0o777|fs.ModeSticky); err != nil {
			return err
		}
	}
	for path, content := range r.files {
		if err := os.WriteFile(filepath.Join(r.dir, path), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return os.MkdirAll(filepath.Join(r.dir, r.workDir), 0o755)
}

func (r *rootfs) addBinary() error {
	return r.bind(mount{from: r.binary, to: r.entrypoint(), readOnly: true})
}

func (r *rootfs) addMounts() error {
	// An outer mount would hide an inner one that was there before it.
	slices.SortStableFunc(r.mounts, func(a, b mount) int { return cmp.Compare(len(a.to), len(b.to)) })
	for _, mount := range r.mounts {
		if err := r.bind(mount); err != nil {
			return err
		}
	}
	return nil
}

func (r *rootfs) finish() error {
	if !r.readOnly {
		return nil
	}
	if err := unix.Mount("", r.dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID, ""); err != nil {
		return fmt.Errorf("making the root folder read-only: %w", err)
	}
	return nil
}

func (r *rootfs) bind(m mount) error {
	target := filepath.Join(r.dir, m.to)
	info, err := os.Stat(m.from)
	if err != nil {
		return fmt.Errorf("mounting at %s: %w", m.to, err)
	}
	if err := makeTarget(target, info.IsDir()); err != nil {
		return fmt.Errorf("mounting at %s: %w", m.to, err)
	}
	if err := unix.Mount(m.from, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mounting %s at %s: %w", m.from, m.to, err)
	}
	if !m.readOnly {
		return nil
	}
	if err := unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("making %s read-only: %w", m.to, err)
	}
	return nil
}

func makeTarget(target string, folder bool) error {
	if folder {
		return os.MkdirAll(target, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(target, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return err
	}
	return file.Close()
}

// rootOf describes the root folder of a container.
func (w *worker) rootOf(pod *v1.Pod, container *v1.Container, binary string, r rights, env *environment) (*rootfs, error) {
	root := &rootfs{
		dir:      filepath.Join(w.dir, "root", container.Name),
		binary:   binary,
		readOnly: r.readOnlyRoot,
		workDir:  cmp.Or(container.WorkingDir, "/"),
		files:    configOf(pod, r),
	}
	if container.TerminationMessagePath != "" {
		root.files["/dev/termination-log"] = ""
	}
	for _, entry := range container.VolumeMounts {
		from, err := w.volumes.path(pod, entry.Name)
		if err != nil {
			return nil, err
		}
		sub := cmp.Or(entry.SubPath, env.expand(entry.SubPathExpr))
		if slices.Contains(strings.Split(sub, "/"), "..") {
			return nil, fmt.Errorf("the sub-path %s leaves volume %s", sub, entry.Name)
		}
		if sub != "" {
			from = filepath.Join(from, sub)
			// Made when it is missing, as a folder.
			if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
				if err := os.MkdirAll(from, 0o777); err != nil {
					return nil, err
				}
			}
		}
		root.mounts = append(root.mounts, mount{from: from, to: entry.MountPath, readOnly: entry.ReadOnly})
	}
	return root, nil
}

// configOf gives the files of /etc that describe the pod itself.
func configOf(pod *v1.Pod, r rights) map[string]string {
	hosts := "127.0.0.1 localhost\n::1 localhost\n" + pod.Status.PodIP + " " + hostname(pod) + "\n"
	for _, alias := range pod.Spec.HostAliases {
		hosts += alias.IP + " " + strings.Join(alias.Hostnames, " ") + "\n"
	}
	// There is no name server in the cluster; without a line here, look-ups fail at once.
	resolver := ""
	if pod.Spec.DNSConfig != nil {
		for _, server := range pod.Spec.DNSConfig.Nameservers {
			resolver += "nameserver " + server + "\n"
		}
		if len(pod.Spec.DNSConfig.Searches) > 0 {
			resolver += "search " + strings.Join(pod.Spec.DNSConfig.Searches, " ") + "\n"
		}
	}
	users, groups := "root:x:0:0:root:/root:/bin/sh\n", "root:x:0:\n"
	if r.uid != 0 {
		users += fmt.Sprintf("user:x:%d:%d:user:/:/bin/sh\n", r.uid, r.gid)
	}
	if r.gid != 0 {
		groups += fmt.Sprintf("user:x:%d:\n", r.gid)
	}
	return map[string]string{
		"/etc/hosts":       hosts,
		"/etc/hostname":    hostname(pod) + "\n",
		"/etc/resolv.conf": resolver,
		"/etc/passwd":      users,
		"/etc/group":       groups,
	}
}

// enter prepares the calling thread for children in the pod's namespaces and the container's root folder.
func (w *worker) enter(root *rootfs, r rights) error {
	if err := root.mountAll(); err != nil {
		return err
	}
	if r.hostNamespace {
		return r.confine()
	}
	if err := space.Join(w.network, space.Network); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("a new host name: %w", err)
	}
	if err := unix.Sethostname([]byte(w.hostname)); err != nil {
		return fmt.Errorf("a new host name: %w", err)
	}
	return r.confine()
}
