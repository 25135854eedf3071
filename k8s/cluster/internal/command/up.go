package command

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"go/build"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"sigs.k8s.io/gateway-api/pkg/consts"

	"ringway.dev/cluster/internal/state"
	"ringway.dev/cluster/internal/supervisor"
)

// crdModule holds the Gateway API's manifests in the module cache, where a binary without a copy beside it looks.
const crdModule = "sigs.k8s.io/gateway-api"

func up(arguments []string) error {
	set, name := flags("up")
	crds := set.String("crds", "experimental", "Gateway API CRDs: `experimental`, standard, none, or a folder of manifests")
	pool := set.String("pool", "10.245.0.0/24", "addresses local to the node (`CIDR`)")
	lbPool := set.String("lb-pool", "10.246.0.0/24", "addresses of Services of type LoadBalancer (`CIDR`)")
	var mapping list
	set.Var(&mapping, "image", "a local binary for an image (`NAME=PATH`), several times")
	if err := parse(set, arguments, 0, 0); err != nil {
		return err
	}
	images, err := state.ParseImages(mapping)
	if err != nil {
		return usageError{err}
	}
	settings, err := settingsOf(*pool, *lbPool, *crds)
	if err != nil {
		return usageError{err}
	}
	folder, err := state.Locate(*name)
	if err != nil {
		return usageError{err}
	}
	if err := checkMachine(); err != nil {
		return err
	}
	return bringUp(folder, settings, images)
}

func settingsOf(pool, lbPool, crds string) (state.Settings, error) {
	var settings state.Settings
	var err error
	if settings.Pool, err = netip.ParsePrefix(pool); err != nil {
		return settings, fmt.Errorf("--pool: %w", err)
	}
	if settings.LoadBalancerPool, err = netip.ParsePrefix(lbPool); err != nil {
		return settings, fmt.Errorf("--lb-pool: %w", err)
	}
	if settings.Manifests, err = manifestsOf(crds); err != nil {
		return settings, fmt.Errorf("--crds: %w", err)
	}
	return settings, settings.Check()
}

// manifestsOf gives the folder that --crds means, empty for none.
func manifestsOf(crds string) (string, error) {
	if crds == "none" {
		return "", nil
	}
	if crds != "experimental" && crds != "standard" {
		path, err := filepath.Abs(crds)
		if err != nil {
			return "", err
		}
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			return "", fmt.Errorf("%s is neither experimental, standard, none nor a folder", crds)
		}
		return path, nil
	}
	executable, err := os.Executable()
	if err != nil {
		return "", err
	}
	beside := filepath.Join(filepath.Dir(executable), "crd", crds)
	candidates := []string{beside, cachedManifests(crds)}
	for _, candidate := range candidates {
		if info, err := os.Stat(candidate); err == nil && info.IsDir() {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("the Gateway API's manifests are not in %s; build with k8s/cluster/build, which puts them there", beside)
}

// cachedManifests gives where Go's module cache has the manifests of the release that this binary was built with.
func cachedManifests(crds string) string {
	cache := os.Getenv("GOMODCACHE")
	if cache == "" {
		cache = filepath.Join(build.Default.GOPATH, "pkg/mod")
	}
	return filepath.Join(cache, crdModule+"@"+consts.BundleVersion, "config/crd", crds)
}

// checkMachine tells what this machine lacks before anything is started on it.
func checkMachine() error {
	if os.Geteuid() != 0 {
		return errors.New("it makes namespaces and interfaces, so it needs root")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		return errors.New("kube-proxy needs nft(8): install it with k8s/cluster/setup or `apt-get install nftables`")
	}
	return nil
}

func bringUp(folder state.Folder, settings state.Settings, images state.Images) error {
	began := time.Now()
	release, err := folder.Lock()
	if err != nil {
		return err
	}
	defer release()
	if _, err := folder.Supervisor(); err == nil {
		return fmt.Errorf("%s is up already; `cluster down --name %s` ends it", folder.Name, folder.Name)
	}
	if err := folder.Prepare(); err != nil {
		return err
	}
	if err := errors.Join(folder.WriteSettings(settings), folder.AddImages(images)); err != nil {
		return err
	}
	if err := startSupervisor(folder); err != nil {
		return fmt.Errorf("%w\nthe logs are in %s", err, folder.Logs())
	}
	fmt.Fprintf(os.Stderr, "%s is up after %.1f s\n", folder.Name, time.Since(began).Seconds())
	fmt.Println(folder.Kubeconfig())
	return nil
}

// startSupervisor starts the supervisor in namespaces of its own and follows it until the cluster is ready.
func startSupervisor(folder state.Folder) error {
	permission, permit, err := os.Pipe()
	if err != nil {
		return err
	}
	defer permit.Close()
	progress, report, err := os.Pipe()
	if err != nil {
		return err
	}
	defer progress.Close()
	command, err := supervisorCommand(folder, permission, report)
	if err != nil {
		return err
	}
	err = command.Start()
	permission.Close()
	report.Close()
	if err != nil {
		return fmt.Errorf("new namespaces: %w", err)
	}
	identity, err := state.Identify(command.Process.Pid)
	if err != nil {
		return fmt.Errorf("the supervisor: %w", err)
	}
	if err := folder.WriteSupervisor(identity); err != nil {
		return err
	}
	if _, err := permit.WriteString("go\n"); err != nil {
		return fmt.Errorf("the supervisor is gone: %w; %s", err, lastLines(folder))
	}
	if err := follow(folder, bufio.NewScanner(progress)); err != nil {
		_ = identity.Kill(killMax)
		_ = command.Wait()
		return err
	}
	return nil
}

func supervisorCommand(folder state.Folder, permission, report *os.File) (*exec.Cmd, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(folder.Log(supervisorLog), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	command := exec.Command(executable, "internal", "supervisor", folder.Path)
	command.Dir = "/"
	command.Stdout, command.Stderr = log, log
	command.ExtraFiles = []*os.File{permission, report}
	command.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	return command, nil
}

const supervisorLog = "supervisor"

// follow shows progress until the cluster is ready or failed.
func follow(folder state.Folder, lines *bufio.Scanner) error {
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var step supervisor.Step
		if err := json.Unmarshal(lines.Bytes(), &step); err != nil {
			return fmt.Errorf("the supervisor's progress: %w", err)
		}
		switch {
		case step.Error != "":
			return errors.New(step.Error)
		case step.Ready:
			return nil
		default:
			fmt.Fprintln(os.Stderr, step.Text)
		}
	}
	return fmt.Errorf("the supervisor ended; %s", lastLines(folder))
}

func lastLines(folder state.Folder) string {
	text, err := state.Tail(folder.Log(supervisorLog), 15)
	if err != nil || text == "" {
		return "it logged nothing"
	}
	return "the end of its log:\n" + text
}
