package command

import (
	"errors"
	"fmt"
	"os"
	"time"

	"ringway.dev/cluster/internal/state"
)

// killMax is how long the kernel may take to end all processes of a cluster.
const killMax = 20 * time.Second

func down(arguments []string) error {
	set, name := flags("down")
	if err := parse(set, arguments, 0, 0); err != nil {
		return err
	}
	folder, err := state.Locate(*name)
	if err != nil {
		return usageError{err}
	}
	if _, err := os.Stat(folder.Path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	release, err := folder.Lock()
	if err != nil {
		return err
	}
	defer release()
	identity, err := folder.Supervisor()
	if err != nil && !errors.Is(err, state.ErrDown) {
		return err
	}
	if err == nil && identity.PID == 1 {
		return fmt.Errorf("this runs in %s itself, which only the machine can end", folder.Name)
	}
	if err == nil {
		if err := identity.Kill(killMax); err != nil {
			return fmt.Errorf("ending %s: %w", folder.Name, err)
		}
	}
	return folder.Remove()
}

func kubeconfig(arguments []string) error {
	set, name := flags("kubeconfig")
	if err := parse(set, arguments, 0, 0); err != nil {
		return err
	}
	folder, _, err := running(*name)
	if err != nil {
		return err
	}
	fmt.Println(folder.Kubeconfig())
	return nil
}

// running gives a cluster that is up.
func running(name string) (state.Folder, state.Identity, error) {
	folder, err := state.Locate(name)
	if err != nil {
		return state.Folder{}, state.Identity{}, usageError{err}
	}
	identity, err := folder.Supervisor()
	return folder, identity, err
}
