package tests

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/elastic/go-seccomp-bpf/arch"
)

const profilePath = chart + "/files/io-uring.json"

// profile is a seccomp profile as container runtimes read it.
type profile struct {
	DefaultAction   string   `json:"defaultAction"`
	DefaultErrnoRet uint32   `json:"defaultErrnoRet"`
	Architectures   []string `json:"architectures"`
	Syscalls        []struct {
		Action string      `json:"action"`
		Names  []string    `json:"names"`
		Args   []condition `json:"args"`
	} `json:"syscalls"`
}

// condition is one on an argument of a system call.
type condition struct {
	Index    int    `json:"index"`
	Value    uint64 `json:"value"`
	ValueTwo uint64 `json:"valueTwo"`
	Op       string `json:"op"`
}

func readProfile(t *testing.T) profile {
	t.Helper()
	text, err := os.ReadFile(profilePath)
	if err != nil {
		t.Fatal(err)
	}
	var read profile
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatalf("%s: %v", profilePath, err)
	}
	return read
}

func (p profile) names() []string {
	var names []string
	for _, group := range p.Syscalls {
		names = append(names, group.Names...)
	}
	return names
}

func TestTheSeccompProfileAllowsIoUringAndNamesOnlySystemCalls(t *testing.T) {
	read := readProfile(t)
	if read.DefaultAction != "SCMP_ACT_ERRNO" {
		t.Errorf("what is not named: %s", read.DefaultAction)
	}
	for _, group := range read.Syscalls {
		if group.Action != "SCMP_ACT_ALLOW" {
			t.Errorf("%v: %s", group.Names, group.Action)
		}
	}
	names := read.names()
	for _, name := range []string{"io_uring_setup", "io_uring_enter", "io_uring_register"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is not allowed", name)
		}
	}
	for _, name := range names {
		_, intel := arch.X86_64.SyscallNames[name]
		_, arm := arch.AARCH64.SyscallNames[name]
		if !intel && !arm {
			t.Errorf("there is no system call %s", name)
		}
	}
}

func TestTheSeccompProfileRefusesWhatAGatewayHasNoUseFor(t *testing.T) {
	names := readProfile(t).names()
	for _, name := range []string{
		"ptrace", "mount", "umount2", "unshare", "setns", "bpf", "perf_event_open", "init_module", "kexec_load",
		"keyctl", "add_key", "userfaultfd", "process_vm_readv", "pivot_root", "reboot", "swapon", "clone3",
	} {
		if slices.Contains(names, name) {
			t.Errorf("%s is allowed", name)
		}
	}
}
