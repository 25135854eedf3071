// Package supervisor is the first process of a cluster's own process, network and mount namespaces. It starts the
// control plane and the node agent, restarts what ends by itself, and obeys commands on a Unix socket. When it ends,
// for whatever reason, the kernel ends every process of the cluster and takes its network and mounts down with them:
// that is why nothing here cleans up.
package supervisor

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/tools/clientcmd"

	"ringway.dev/cluster/internal/manifest"
	"ringway.dev/cluster/internal/nodenet"
	"ringway.dev/cluster/internal/pki"
	"ringway.dev/cluster/internal/state"
)

// bringUpMax bounds the time from the first process to the ready cluster.
const bringUpMax = 2 * time.Minute

// Supervisor runs one cluster.
type Supervisor struct {
	folder     state.Folder
	settings   state.Settings
	reaper     *reaper
	components []*component
}

// Step is one line of progress that the command that brings a cluster up reads.
type Step struct {
	Text  string `json:"text,omitempty"`
	Ready bool   `json:"ready,omitempty"`
	Error string `json:"error,omitempty"`
}

// Run is the whole life of the supervisor. It starts when a line arrives on permission and gives up if that ends
// before the cluster is ready; it reports on progress.
func Run(folder state.Folder, permission io.Reader, progress io.WriteCloser) error {
	lines := bufio.NewReader(permission)
	if _, err := lines.ReadString('\n'); err != nil {
		return errors.New("the command that brought the cluster up is gone")
	}
	report := json.NewEncoder(progress)
	ready := make(chan struct{})
	go func() {
		_, _ = lines.ReadByte()
		select {
		case <-ready:
		default:
			log.Print("the command that brought the cluster up is gone; giving up")
			os.Exit(1)
		}
	}()
	supervisor, err := bringUp(folder, func(text string) { _ = report.Encode(Step{Text: text}) })
	if err != nil {
		_ = report.Encode(Step{Error: err.Error()})
		return err
	}
	close(ready)
	_ = report.Encode(Step{Ready: true})
	progress.Close()
	return supervisor.serve()
}

func bringUp(folder state.Folder, step func(string)) (*Supervisor, error) {
	ctx, cancel := context.WithTimeout(context.Background(), bringUpMax)
	defer cancel()
	settings, err := folder.ReadSettings()
	if err != nil {
		return nil, err
	}
	if err := prepareNode(settings); err != nil {
		return nil, err
	}
	if err := pki.Lay(folder); err != nil {
		return nil, err
	}
	client, err := clientcmd.BuildConfigFromFlags("", folder.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("the administrator's kubeconfig: %w", err)
	}
	client.QPS = -1
	s := &Supervisor{folder: folder, settings: settings, reaper: newReaper()}
	s.components = inOrder(folder, s.reaper, client)
	if err := s.startAll(ctx, step); err != nil {
		return nil, err
	}
	if settings.Manifests == "" {
		return s, nil
	}
	step("applying " + settings.Manifests)
	return s, manifest.Apply(ctx, client, settings.Manifests)
}

// startAll starts etcd and the API server one after the other and then the others at once.
func (s *Supervisor) startAll(ctx context.Context, step func(string)) error {
	for _, component := range s.components[:2] {
		step("starting " + component.name)
		if err := component.start(); err != nil {
			return err
		}
		if err := component.await(ctx); err != nil {
			return err
		}
	}
	for _, component := range s.components[2:] {
		step("starting " + component.name)
		if err := component.start(); err != nil {
			return err
		}
	}
	for _, component := range s.components[2:] {
		if err := component.await(ctx); err != nil {
			return err
		}
	}
	return nil
}

// prepareNode makes mounts, limits and network those of a machine of its own.
func prepareNode(settings state.Settings) error {
	// Mounts made outside still come in, none made here go out.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("separating the mounts: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	if err := unix.Sethostname([]byte(state.NodeName)); err != nil {
		return fmt.Errorf("naming the node: %w", err)
	}
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("the limit of open files: %w", err)
	}
	files.Cur = files.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("the limit of open files: %w", err)
	}
	return nodenet.SetUpNode(settings)
}

// serve obeys commands until a signal asks it to end.
func (s *Supervisor) serve() error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM, unix.SIGINT)
	failed := make(chan error, 1)
	go func() { failed <- s.control() }()
	select {
	case received := <-stop:
		log.Printf("ending: %s", received)
		return nil
	case err := <-failed:
		return err
	}
}

func (s *Supervisor) component(name string) (*component, bool) {
	for _, component := range s.components {
		if component.name == name {
			return component, true
		}
	}
	return nil, false
}
