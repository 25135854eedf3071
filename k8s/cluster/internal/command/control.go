package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"ringway.dev/cluster/internal/state"
	"ringway.dev/cluster/internal/supervisor"
)

func kill(arguments []string) error {
	return onComponent("kill", arguments, (*supervisor.Client).Kill)
}

func start(arguments []string) error {
	return onComponent("start", arguments, (*supervisor.Client).Start)
}

func onComponent(name string, arguments []string, act func(*supervisor.Client, context.Context, string) error) error {
	set, cluster := flags(name)
	if err := parse(set, arguments, 1, 1); err != nil {
		return err
	}
	if err := checkComponent(set.Arg(0), supervisor.Names()); err != nil {
		return err
	}
	folder, _, err := running(*cluster)
	if err != nil {
		return err
	}
	return act(supervisor.Dial(folder), context.Background(), set.Arg(0))
}

func checkComponent(name string, names []string) error {
	if slices.Contains(names, name) {
		return nil
	}
	return usageError{fmt.Errorf("there is no component %q; there are %s", name, strings.Join(names, ", "))}
}

func status(arguments []string) error {
	set, name := flags("status")
	if err := parse(set, arguments, 0, 0); err != nil {
		return err
	}
	folder, identity, err := running(*name)
	if err != nil {
		return err
	}
	conditions, err := supervisor.Dial(folder).Status(context.Background())
	if err != nil {
		return err
	}
	fmt.Printf("%s is up: supervisor %d, folder %s\n", folder.Name, identity.PID, folder.Path)
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "COMPONENT\tSTATE\tPROCESS\tRESTARTS\tRESIDENT MIB")
	for _, c := range conditions {
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\n", c.Name, c.State, c.PID, c.Restarts, c.Resident/1024)
	}
	fmt.Fprintln(table, "\nPOD\tPROCESS\t\t\t")
	for where, err := range pods(folder) {
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "%s\t%d\t\t\t\n", where.pod, where.pid)
	}
	return table.Flush()
}

func logs(arguments []string) error {
	set, name := flags("logs")
	if err := parse(set, arguments, 1, 1); err != nil {
		return err
	}
	if err := checkComponent(set.Arg(0), append(supervisor.Names(), supervisorLog)); err != nil {
		return err
	}
	// A cluster that failed to come up has logs, too.
	folder, err := state.Locate(*name)
	if err != nil {
		return usageError{err}
	}
	log, err := os.Open(folder.Log(set.Arg(0)))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s has no log of %s", folder.Name, set.Arg(0))
	}
	if err != nil {
		return err
	}
	defer log.Close()
	_, err = io.Copy(os.Stdout, log)
	return err
}

func loadImages(arguments []string) error {
	set, name := flags("load-images")
	if err := parse(set, arguments, 1, -1); err != nil {
		return err
	}
	images, err := state.ParseImages(set.Args())
	if err != nil {
		return usageError{err}
	}
	folder, _, err := running(*name)
	if err != nil {
		return err
	}
	return folder.AddImages(images)
}
