package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"k8s.io/api/core/v1"
)

// nonRootUser runs containers that must not be root and name no user: an image has no user of its own here.
const nonRootUser = 65532

// capabilityNames are in the order of their numbers.
var capabilityNames = strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP
	LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
	SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE
	AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF
	CHECKPOINT_RESTORE`)

// defaultCapabilities are what container runtimes leave to a container that asks for nothing.
var defaultCapabilities = strings.Fields(`CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE
	NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP`)

// rights are what a container's process may do.
type rights struct {
	uid, gid     uint32
	groups       []uint32
	capabilities []uintptr
	// ambient are those that a process that is not root keeps.
	ambient       []uintptr
	noEscalation  bool
	readOnlyRoot  bool
	hostNamespace bool
}

// rightsOf reads the security contexts of a pod and one of its containers.
func rightsOf(pod *v1.Pod, container *v1.Container) (rights, error) {
	ofPod, own := pod.Spec.SecurityContext, container.SecurityContext
	if ofPod == nil {
		ofPod = &v1.PodSecurityContext{}
	}
	if own == nil {
		own = &v1.SecurityContext{}
	}
	r := rights{
		noEscalation:  own.AllowPrivilegeEscalation != nil && !*own.AllowPrivilegeEscalation,
		readOnlyRoot:  own.ReadOnlyRootFilesystem != nil && *own.ReadOnlyRootFilesystem,
		hostNamespace: pod.Spec.HostNetwork,
	}
	user := first(own.RunAsUser, ofPod.RunAsUser)
	if nonRoot := first(own.RunAsNonRoot, ofPod.RunAsNonRoot); nonRoot != nil && *nonRoot {
		if user != nil && *user == 0 {
			return rights{}, errors.New("runAsNonRoot is true and runAsUser is 0")
		}
		if user == nil {
			user = new(int64)
			*user = nonRootUser
		}
	}
	if user != nil {
		r.uid = uint32(*user)
	}
	if group := first(own.RunAsGroup, ofPod.RunAsGroup); group != nil {
		r.gid = uint32(*group)
	}
	for _, group := range ofPod.SupplementalGroups {
		r.groups = append(r.groups, uint32(group))
	}
	if ofPod.FSGroup != nil {
		r.groups = append(r.groups, uint32(*ofPod.FSGroup))
	}
	return r.withCapabilities(own)
}

func (r rights) withCapabilities(own *v1.SecurityContext) (rights, error) {
	names := defaultCapabilities
	var added []string
	if own.Privileged != nil && *own.Privileged {
		names = capabilityNames
	} else if own.Capabilities != nil {
		if slices.Contains(own.Capabilities.Drop, "ALL") {
			names = nil
		}
		for _, name := range own.Capabilities.Drop {
			names = slices.DeleteFunc(slices.Clone(names), func(other string) bool { return other == plain(name) })
		}
		for _, name := range own.Capabilities.Add {
			if name == "ALL" {
				added = append(added, capabilityNames...)
				continue
			}
			added = append(added, plain(name))
		}
	}
	for _, name := range slices.Concat(names, added) {
		number := slices.Index(capabilityNames, name)
		if number < 0 {
			return rights{}, fmt.Errorf("there is no capability %q", name)
		}
		r.capabilities = append(r.capabilities, uintptr(number))
		if r.uid != 0 && slices.Contains(added, name) {
			r.ambient = append(r.ambient, uintptr(number))
		}
	}
	return r, nil
}

func plain(name v1.Capability) string { return strings.TrimPrefix(string(name), "CAP_") }

// confine limits what the calling thread's children can ever do. The thread itself keeps what it has.
func (r rights) confine() error {
	for number := range uintptr(unix.CAP_LAST_CAP + 1) {
		if slices.Contains(r.capabilities, number) {
			continue
		}
		// A kernel older than this list answers EINVAL for what it does not know.
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, number, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("dropping capability %d: %w", number, err)
		}
	}
	if r.noEscalation {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("forbidding new privileges: %w", err)
		}
	}
	return nil
}

// first gives the first of its arguments that is set.
func first[T any](values ...*T) *T {
	for _, value := range values {
		if value != nil {
			return value
		}
	}
	return nil
}
