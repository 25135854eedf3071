// Package command is the command line: one file a command. It reads arguments, prints, and leaves the work to the
// other packages.
package command

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"

	"ringway.dev/cluster/internal/state"
)

// ExitError asks for an exit status without a message: a command that was run on somebody's behalf failed.
type ExitError int

func (e ExitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usageError is a mistake in the arguments.
type usageError struct{ error }

// verb is one thing the command line can do.
type verb struct {
	name, usage, summary string
	run                  func(arguments []string) error
}

func verbs() []verb {
	return []verb{
		{"up", "[--crds KIND|DIR] [--image NAME=PATH]... [--pool CIDR] [--lb-pool CIDR]", "start a cluster and wait until it is ready", up},
		{"down", "", "end a cluster and remove all of it", down},
		{"kubeconfig", "", "print the path of the administrator's kubeconfig", kubeconfig},
		{"exec", "[--pod NAMESPACE/POD] -- COMMAND [ARGUMENT]...", "run a command in the node's (or a pod's) network", execute},
		{"load-images", "IMAGE=PATH...", "name the local binaries that images stand for", loadImages},
		{"logs", "COMPONENT", "print the log of a component", logs},
		{"status", "", "show components and pods", status},
		{"kill", "COMPONENT", "SIGKILL a component and keep it down", kill},
		{"start", "COMPONENT", "start a component that was killed and wait until it answers", start},
	}
}

// Run obeys the arguments and gives the exit status.
func Run(arguments []string) int {
	if len(arguments) == 0 {
		fmt.Fprint(os.Stderr, overview())
		return 2
	}
	name := arguments[0]
	if slices.Contains([]string{"help", "--help", "-h", "-help"}, name) {
		fmt.Print(overview())
		return 0
	}
	index := slices.IndexFunc(verbs(), func(v verb) bool { return v.name == name })
	if index < 0 {
		fmt.Fprintf(os.Stderr, "cluster: there is no command %q\n\n%s", name, overview())
		return 2
	}
	return exitStatus(name, verbs()[index].run(arguments[1:]))
}

func exitStatus(name string, err error) int {
	var exit ExitError
	var usage usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &exit):
		return int(exit)
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "cluster %s: %v\nRun `cluster %s --help` for its arguments.\n", name, err, name)
		return 2
	default:
		fmt.Fprintf(os.Stderr, "cluster %s: %v\n", name, err)
		return 1
	}
}

// nameVariable holds the name of the cluster that a command runs in, so that it need not be told.
const nameVariable = "RINGWAY_CLUSTER_NAME"

// flags makes the flags of a command with the one that all have.
func flags(name string) (set *flag.FlagSet, cluster *string) {
	set = flag.NewFlagSet("cluster "+name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	cluster = set.String("name", cmp.Or(os.Getenv(nameVariable), state.DefaultName), "the cluster's `NAME`")
	index := slices.IndexFunc(verbs(), func(v verb) bool { return v.name == name })
	set.Usage = func() {
		set.SetOutput(os.Stdout)
		v := verbs()[index]
		fmt.Printf("cluster %s [--name NAME] %s\n\n%s\n\n", v.name, v.usage, explanations[v.name])
		set.PrintDefaults()
		set.SetOutput(io.Discard)
	}
	return set, cluster
}

// parse reads the flags and checks how many arguments follow them; a negative most is no limit.
func parse(set *flag.FlagSet, arguments []string, least, most int) error {
	if err := set.Parse(arguments); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil {
		return usageError{err}
	}
	switch count := set.NArg(); {
	case count < least:
		return usageError{errors.New("an argument is missing")}
	case most >= 0 && count > most:
		return usageError{fmt.Errorf("unexpected argument %q", set.Arg(most))}
	}
	return nil
}

// list collects a flag that may be given several times.
type list []string

func (l *list) String() string { return fmt.Sprint([]string(*l)) }

// Set adds one value.
func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}
