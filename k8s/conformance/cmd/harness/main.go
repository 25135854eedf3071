// Command harness is what ../../run needs around a run of the suite and a shell does badly: waiting
// for the gateway, following the suite's events, keeping logs, and judging the outcome.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage: harness COMMAND [FLAGS]

  wait    until the GatewayClass is accepted and the gateway's pods are ready
  logs    store what the gateway's pods logged
  follow  print progress from the suite's events on standard input, and store logs of failed tests
  judge   print the table, and compare the outcome with what is expected`

// errDiffers ends the command without a further message: the differences are printed.
var errDiffers = errors.New("the outcome is not as expected")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "harness:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	switch args[0] {
	case "wait":
		return wait(ctx, args[1:])
	case "logs":
		return logs(ctx, args[1:])
	case "follow":
		return follow(args[1:])
	case "judge":
		return judge(args[1:])
	default:
		return fmt.Errorf("no command %q\n%s", args[0], usage)
	}
}
