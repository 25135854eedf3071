package outcome

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"
)

// Table prints a line for each profile: counts of passed/failed/skipped tests, features, and how
// long its tests took.
func (o *Outcome) Table(w io.Writer, tests *Tests, times *Times) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "profile\tcore pass/fail/skip\textended pass/fail/skip\tfeatures\tseconds")
	for _, name := range slices.Sorted(maps.Keys(o.Profiles)) {
		profile := o.Profiles[name]
		var took time.Duration
		for _, test := range tests.Members[name] {
			took += times.Tests[test]
		}
		supported := len(profile.SupportedFeatures)
		fmt.Fprintf(table, "%s\t%s\t%s\t%d of %d\t%.0f\n", name, slashed(profile.Core), slashed(profile.Extended),
			supported, supported+len(profile.UnsupportedFeatures), took.Seconds())
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("printing the table: %w", err)
	}
	_, err := fmt.Fprintf(w, "%s, %s channel; the suite took %.0f s, %d tests passed, %d failed, %d skipped, %d not claimed\n",
		o.GatewayAPI, o.Channel, times.Suite.Seconds(), len(o.Names(Passed)), len(o.Names(Failed)),
		len(o.Names(Skipped)), len(o.Names(Unclaimed)))
	return err
}

func slashed(c Counts) string {
	return fmt.Sprintf("%d/%d/%d", c.Passed, c.Failed, c.Skipped)
}
