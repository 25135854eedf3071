package outcome

import (
	"fmt"
	"maps"
	"slices"
)

// Difference is one thing that is not as expected. Each one fails a run: also a pass that nobody
// claimed, since the next regression of it would go unseen.
type Difference struct {
	// Subject is a test, a profile or a field of the outcome.
	Subject string
	// Text says what was expected and what is.
	Text string
	// Final: recording the outcome does not settle it.
	Final bool
}

// String is one line.
func (d Difference) String() string {
	return d.Subject + ": " + d.Text
}

// Compare lists how an outcome differs from what is expected, in a stable order.
func Compare(expected, actual *Outcome) []Difference {
	var all []Difference
	all = append(all, compareValue("gatewayAPI", expected.GatewayAPI, actual.GatewayAPI)...)
	all = append(all, compareValue("channel", expected.Channel, actual.Channel)...)
	all = append(all, compareSets("GatewayClass", "claims", expected.Claimed, actual.Claimed)...)
	for _, name := range keysOfBoth(expected.Profiles, actual.Profiles) {
		all = append(all, compareProfile(name, expected, actual)...)
	}
	for _, name := range keysOfBoth(expected.Tests, actual.Tests) {
		all = append(all, compareTest(name, expected.Tests[name], actual.Tests[name])...)
	}
	return all
}

func compareProfile(name string, expected, actual *Outcome) []Difference {
	before, was := expected.Profiles[name]
	now, is := actual.Profiles[name]
	switch {
	case !is:
		return []Difference{{Subject: name, Text: "expected, but not in the report", Final: true}}
	case !was:
		return []Difference{{Subject: name, Text: "a profile that is not expected"}}
	}
	var all []Difference
	all = append(all, compareValue(name+" core", before.Core, now.Core)...)
	all = append(all, compareValue(name+" extended", before.Extended, now.Extended)...)
	all = append(all, compareSets(name, "supports", before.SupportedFeatures, now.SupportedFeatures)...)
	all = append(all, compareSets(name, "does without", before.UnsupportedFeatures, now.UnsupportedFeatures)...)
	return all
}

func compareTest(name string, expected, actual Result) []Difference {
	switch {
	case actual == Skipped:
		return []Difference{{Subject: name, Text: "skipped, which no test may be", Final: true}}
	case actual == "":
		return []Difference{{Subject: name, Text: fmt.Sprintf("expected %s, but there is no such test", expected)}}
	case expected == "":
		return []Difference{{Subject: name, Text: fmt.Sprintf("%s, a test that is not expected", actual)}}
	default:
		return compareValue(name, expected, actual)
	}
}

func compareValue[T comparable](subject string, expected, actual T) []Difference {
	if expected == actual {
		return nil
	}
	return []Difference{{Subject: subject, Text: fmt.Sprintf("expected %v, got %v", expected, actual)}}
}

func compareSets(subject, verb string, expected, actual []string) []Difference {
	var all []Difference
	for _, name := range expected {
		if !slices.Contains(actual, name) {
			all = append(all, Difference{Subject: subject, Text: fmt.Sprintf("no longer %s %s", verb, name)})
		}
	}
	for _, name := range actual {
		if !slices.Contains(expected, name) {
			all = append(all, Difference{Subject: subject, Text: fmt.Sprintf("%s %s, which is not expected", verb, name)})
		}
	}
	return all
}

func keysOfBoth[T any](left, right map[string]T) []string {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(left)), maps.Keys(right))
	slices.Sort(keys)
	return slices.Compact(keys)
}
