//go:build binary

package tests

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	goruntime "runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// These tests run the gateway of RINGWAY_BIN under the profile that the chart ships. To do so the
// test starts itself, confines itself, and becomes the gateway.

const (
	profileVariable = "RINGWAY_TEST_PROFILE"
	// Offsets in what a filter looks at.
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
	// readyMax bounds the start of the gateway.
	readyMax = 30 * time.Second
)

func TestMain(m *testing.M) {
	if text := os.Getenv(profileVariable); text != "" {
		fmt.Fprintln(os.Stderr, "not confined:", becomeConfined(text))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestTheGatewayServesOverIoUringUnderTheShippedProfile(t *testing.T) {
	serveUnder(t, readProfile(t), "monoio", "monoio")
}

func TestTheGatewayServesOverEpollUnderTheShippedProfile(t *testing.T) {
	serveUnder(t, readProfile(t), "epoll", "epoll")
}

func TestAutoFallsBackToEpollWhereTheProfileRefusesIoUring(t *testing.T) {
	refusing := readProfile(t)
	for i := range refusing.Syscalls {
		refusing.Syscalls[i].Names = slices.DeleteFunc(refusing.Syscalls[i].Names, func(name string) bool {
			return strings.HasPrefix(name, "io_uring_")
		})
	}
	for name, errno := range map[string]uint32{"as containerd refuses": uint32(unix.EPERM), "as CRI-O refuses": uint32(unix.ENOSYS)} {
		t.Run(name, func(t *testing.T) {
			refusing.DefaultErrnoRet = errno
			if errno == uint32(unix.EPERM) {
				// Threads are made by clone3, whose refusal must say that there is none.
				refusing.Syscalls[0].Names = append(refusing.Syscalls[0].Names, "clone3")
			}
			serveUnder(t, refusing, "auto", "epoll")
		})
	}
}

// serveUnder starts the demo under a profile and sends it a request.
func serveUnder(t *testing.T, under profile, asked, want string) {
	t.Helper()
	text, err := json.Marshal(under)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(os.Args[0], "demo", "--runtime", asked, "--admin", "off")
	command.Env = append(os.Environ(), profileVariable+"="+string(text))
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	command.Stdout, command.Stderr = write, write
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	timer := time.AfterFunc(readyMax, func() { command.Process.Kill() })
	defer timer.Stop()
	lines := bufio.NewReader(read)
	url, output := awaitDemo(lines)
	if !strings.Contains(output, "runtime "+want) || url == "" {
		command.Process.Kill()
		t.Fatalf("no line says that it serves with %s:\n%s", want, output)
	}
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = "app.example.com"
	request.Close = true
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("%s: %v %s", response.Status, err, body)
	}
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(lines)
	if err := command.Wait(); err != nil {
		t.Errorf("the gateway did not end well: %v\n%s%s", err, output, rest)
	}
}

var demoURL = regexp.MustCompile(`http://127\.0\.0\.1:\d+/v1/hello`)

// awaitDemo reads until the demo names an address, and returns it and what was read.
func awaitDemo(lines *bufio.Reader) (url, output string) {
	for {
		line, err := lines.ReadString('\n')
		output += line
		if url = demoURL.FindString(line); url != "" || err != nil {
			return url, output
		}
	}
}

// becomeConfined applies a profile to this process and turns it into the gateway.
func becomeConfined(text string) error {
	var under profile
	if err := json.Unmarshal([]byte(text), &under); err != nil {
		return err
	}
	filter, err := assemble(under)
	if err != nil {
		return err
	}
	goruntime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	binary := os.Getenv("RINGWAY_BIN")
	environment := slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, profileVariable) })
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	return syscall.Exec(binary, append([]string{binary}, os.Args[1:]...), environment)
}

// assemble turns a profile into a filter for this machine: each system call is compared in turn.
func assemble(under profile) ([]unix.SockFilter, error) {
	info, err := arch.GetInfo("")
	if err != nil {
		return nil, err
	}
	refuse := bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | under.DefaultErrnoRet}
	allow := bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offsetArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(info.ID), SkipTrue: 1},
		bpf.RetConstant{Val: unix.SECCOMP_RET_KILL_PROCESS},
		bpf.LoadAbsolute{Off: offsetNumber, Size: 4},
	}
	for _, group := range under.Syscalls {
		for _, name := range group.Names {
			number, known := info.SyscallNames[name]
			if !known {
				continue // of the other architecture
			}
			block, err := conditions(group.Args, allow)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			program = append(program, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(number), SkipTrue: uint8(len(block))})
			program = append(program, block...)
		}
	}
	raw, err := bpf.Assemble(append(program, refuse))
	if err != nil {
		return nil, err
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, instruction := range raw {
		filter[i] = unix.SockFilter{Code: instruction.Op, Jt: instruction.Jt, Jf: instruction.Jf, K: instruction.K}
	}
	return filter, nil
}

// conditions allows if the one condition holds, and otherwise leaves the number loaded for what follows.
func conditions(all []condition, allow bpf.Instruction) ([]bpf.Instruction, error) {
	if len(all) == 0 {
		return []bpf.Instruction{allow}, nil
	}
	one := all[0]
	mask, value := ^uint32(0), one.Value
	switch {
	case len(all) > 1 || max(one.Value, one.ValueTwo) > 1<<32-1:
		return nil, fmt.Errorf("this test knows single conditions of 32 bits only: %v", all)
	case one.Op == "SCMP_CMP_MASKED_EQ":
		mask, value = uint32(one.Value), one.ValueTwo
	case one.Op != "SCMP_CMP_EQ":
		return nil, fmt.Errorf("this test does not know %s", one.Op)
	}
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: offsetArgs + 8*uint32(one.Index), Size: 4},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(value), SkipTrue: 1},
		allow,
		bpf.LoadAbsolute{Off: offsetNumber, Size: 4},
	}, nil
}
